/* A tenant's hooks, inbound and outgoing. */
#include <string.h>

#include "tools/penstock/cli.h"

static void hooks_of(struct strbuf *path, const char *tenant, const char *hook)
{
	strbuf_adds(path, "/tenants/");
	cli_segment(path, tenant);
	strbuf_adds(path, "/hooks");
	if (!hook)
		return;
	strbuf_addc(path, '/');
	cli_segment(path, hook);
}

int cmd_hook_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"HOOK", "id"},           {"NAME", "name"},       {"PIPELINE", "pipeline"},
	    {"URL", "url"},           {"ENABLED", "enabled"}, {"PRIORITY", "priority"},
	    {"CREATED", "created_at"}};
	struct strbuf path = {0};
	(void)argc;
	hooks_of(&path, argv[0], NULL);
	int rc = cli_show_list(cli, path.data, columns, sizeof(columns) / sizeof(*columns));
	strbuf_done(&path);
	return rc;
}

int cmd_hook_create(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--name", false, NULL}, {"--priority", false, NULL}};
	struct error err = {0};
	struct strbuf path = {0};
	struct cli_answer a;
	long priority = 0;
	if (cli_options(&argc, argv, o, 2, &err) != 0 || argc != 2 ||
	    (o[1].value && cli_int(o[1].value, -100, 100, &priority, &err) != 0))
		return cli_usage(&err);
	json_t *body = json_pack("{s:s, s:i}", "pipeline", argv[1], "priority", (int)priority);
	if (o[0].value)
		json_object_set_new(body, "name", json_string(o[0].value));
	hooks_of(&path, argv[0], NULL);
	int rc = cli_control(cli, "POST", path.data, body, NULL, &a);
	strbuf_done(&path);
	json_decref(body);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

/* "room.*,chat.*" */
static json_t *patterns(const char *text)
{
	json_t *list = json_array();
	while (*text) {
		size_t n = strcspn(text, ",");
		json_array_append_new(list, json_stringn(text, n));
		text += n + (text[n] == ',');
	}
	return list;
}

int cmd_hook_deliver(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {
	    {"--types", false, NULL}, {"--name", false, NULL}, {"--allow-private", true, NULL}};
	struct error err = {0};
	struct strbuf path = {0};
	struct cli_answer a;
	if (cli_options(&argc, argv, o, 3, &err) != 0 || argc != 3)
		return cli_usage(&err);
	json_t *body = json_pack("{s:s, s:s, s:o}", "direction", "out", "url", argv[1], "channels",
				 patterns(argv[2]));
	if (o[0].value)
		json_object_set_new(body, "types", patterns(o[0].value));
	if (o[1].value)
		json_object_set_new(body, "name", json_string(o[1].value));
	if (o[2].value)
		json_object_set_new(body, "allow_private", json_true());
	hooks_of(&path, argv[0], NULL);
	int rc = cli_control(cli, "POST", path.data, body, NULL, &a);
	strbuf_done(&path);
	json_decref(body);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

/* Only what is said changes. */
int cmd_hook_set(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--url", false, NULL},
				 {"--channels", false, NULL},
				 {"--types", false, NULL},
				 {"--name", false, NULL},
				 {"--pipeline", false, NULL}};
	struct error err = {0};
	struct strbuf path = {0};
	if (cli_options(&argc, argv, o, 5, &err) != 0 || argc != 2)
		return cli_usage(&err);
	json_t *body = json_object();
	for (size_t i = 0; i < sizeof(o) / sizeof(*o); i++) {
		bool list = i == 1 || i == 2;
		if (o[i].value)
			json_object_set_new(body, o[i].name + 2,
					    list && *o[i].value ? patterns(o[i].value)
					    : list              ? json_null() /* all */
								: json_string(o[i].value));
	}
	hooks_of(&path, argv[0], argv[1]);
	int rc = cli_change(cli, "PATCH", path.data, body, false);
	strbuf_done(&path);
	return rc;
}

static int ask(struct cli *cli, char **argv, const char *method, const char *tail,
	       const json_t *body)
{
	struct strbuf path = {0};
	struct cli_answer a;
	hooks_of(&path, argv[0], argv[1]);
	strbuf_adds(&path, tail);
	int rc = cli_control(cli, method, path.data, body, NULL, &a);
	strbuf_done(&path);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_hook_status(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return ask(cli, argv, "GET", "/status", NULL);
}

int cmd_hook_enable(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return ask(cli, argv, "POST", ":enable", NULL);
}

int cmd_hook_disable(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return ask(cli, argv, "POST", ":disable", NULL);
}

int cmd_hook_rotate(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--grace", false, NULL}};
	struct error err = {0};
	long grace = 86400;
	if (cli_options(&argc, argv, o, 1, &err) != 0 || argc != 2 ||
	    (o[0].value && cli_int(o[0].value, 0, 2592000, &grace, &err) != 0))
		return cli_usage(&err);
	json_t *body = json_pack("{s:i}", "grace_s", (int)grace);
	int rc = ask(cli, argv, "POST", ":rotate", body);
	json_decref(body);
	return rc;
}
