/* Replays: events of the log that are delivered again. */
#include <limits.h>

#include "tools/penstock/cli.h"

#define LAST     50
#define LAST_MAX 1000
#define RATE_MAX 1000

static int ask(struct cli *cli, const char *method, const char *path, const json_t *body)
{
	struct cli_answer a;
	int rc = cli_control(cli, method, path, body, NULL, &a);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_replay_put(struct cli *cli, int argc, char **argv)
{
	static const char *const members[] = {"target", "hook",  "pipeline",
					      "after",  "until", "per_s"};
	static const long max[] = {0, 0, 0, LONG_MAX, LONG_MAX, RATE_MAX}; /* 0: a text */
	struct cli_option o[] = {{"--target", false, NULL},   {"--hook", false, NULL},
				 {"--pipeline", false, NULL}, {"--after", false, NULL},
				 {"--until", false, NULL},    {"--rate", false, NULL}};
	struct error err = {0};
	long n;
	int rc = CLI_USAGE;
	if (cli_options(&argc, argv, o, 6, &err) != 0 || argc != 2)
		return cli_usage(&err);
	json_t *body = json_pack("{s:s, s:s}", "tenant", argv[0], "channel", argv[1]);
	for (size_t i = 0; i < 6; i++) {
		if (!o[i].value)
			continue;
		if (max[i] && cli_int(o[i].value, 0, max[i], &n, &err) != 0) {
			cli_usage(&err);
			goto out;
		}
		json_object_set_new(body, members[i],
				    max[i] ? json_integer(n) : json_string(o[i].value));
	}
	rc = ask(cli, "POST", "/replays", body);
out:
	json_decref(body);
	return rc;
}

int cmd_replay_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"REPLAY", "id"},     {"TENANT", "tenant"},     {"CHANNEL", "channel"},
	    {"TARGET", "target"}, {"HOOK", "hook"},         {"PIPELINE", "pipeline"},
	    {"STATE", "state"},   {"POSITION", "position"}, {"UNTIL", "until"},
	    {"SENT", "sent"},     {"REFUSED", "refused"},   {"REASON", "reason"}};
	struct cli_option o[] = {{"--last", false, NULL}};
	struct error err = {0};
	struct strbuf path = {0};
	long last = LAST;
	if (cli_options(&argc, argv, o, 1, &err) != 0 || argc != 0 ||
	    (o[0].value && cli_int(o[0].value, 1, LAST_MAX, &last, &err) != 0))
		return cli_usage(&err);
	strbuf_addf(&path, "/replays?page_size=%ld", last);
	int rc = cli_show_page(cli, path.data, columns, sizeof(columns) / sizeof(*columns));
	strbuf_done(&path);
	return rc;
}

static int on_replay(struct cli *cli, const char *method, const char *id, const char *verb)
{
	struct strbuf path = {0};
	strbuf_adds(&path, "/replays/");
	cli_segment(&path, id);
	strbuf_adds(&path, verb);
	int rc = ask(cli, method, path.data, NULL);
	strbuf_done(&path);
	return rc;
}

int cmd_replay_show(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_replay(cli, "GET", argv[0], "");
}

int cmd_replay_pause(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_replay(cli, "POST", argv[0], ":pause");
}

int cmd_replay_resume(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_replay(cli, "POST", argv[0], ":resume");
}

int cmd_replay_cancel(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_replay(cli, "POST", argv[0], ":cancel");
}
