/* A tenant's schedules and triggers. */
#include <stdlib.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

#define SCHEDULES "schedules"
#define TRIGGERS  "triggers"

static const char *path_of(struct strbuf *path, const char *kind, const char *tenant,
			   const char *name)
{
	strbuf_adds(path, "/tenants/");
	cli_segment(path, tenant);
	strbuf_addf(path, "/%s", kind);
	if (name) {
		strbuf_addc(path, '/');
		cli_segment(path, name);
	}
	return path->data;
}

static int show_one(struct cli *cli, const char *kind, char **argv)
{
	struct strbuf path = {0};
	struct cli_answer a;
	int rc = cli_control(cli, "GET", path_of(&path, kind, argv[0], argv[1]), NULL, NULL, &a);
	strbuf_done(&path);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_schedule_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"SCHEDULE", "name"},
						    {"CRON", "cron"},
						    {"ZONE", "zone"},
						    {"PIPELINE", "pipeline"},
						    {"PAUSED", "paused"},
						    {"NEXT", "status.next_at"},
						    {"LAST", "status.last.due_at"},
						    {"RESULT", "status.last.result"},
						    {"RUNS", "status.runs"},
						    {"MISSED", "status.missed"}};
	struct strbuf path = {0};
	(void)argc;
	int rc = cli_show_list(cli, path_of(&path, SCHEDULES, argv[0], NULL), columns,
			       sizeof(columns) / sizeof(*columns));
	strbuf_done(&path);
	return rc;
}

int cmd_schedule_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return show_one(cli, SCHEDULES, argv);
}

int cmd_schedule_put(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--zone", false, NULL},
				 {"--input", false, NULL},
				 {"--priority", false, NULL},
				 {"--missed", false, NULL},
				 {"--paused", true, NULL}};
	struct error err = {0};
	struct strbuf path = {0};
	long priority = 0;
	if (cli_options(&argc, argv, o, 5, &err) != 0 || argc != 4 ||
	    (o[2].value && cli_int(o[2].value, -100, 100, &priority, &err) != 0))
		return cli_usage(&err);
	json_t *input = o[1].value ? cli_value(o[1].value, &err) : json_object();
	if (!input)
		return cli_usage(&err);
	json_t *body =
	    json_pack("{s:s, s:s, s:o, s:i, s:b}", "cron", argv[2], "pipeline", argv[3], "input",
		      input, "priority", (int)priority, "paused", o[4].value != NULL);
	if (o[0].value)
		json_object_set_new(body, "zone", json_string(o[0].value));
	if (o[3].value)
		json_object_set_new(body, "missed", json_string(o[3].value));
	int rc = cli_change(cli, "PUT", path_of(&path, SCHEDULES, argv[0], argv[1]), body, true);
	strbuf_done(&path);
	return rc;
}

static int set_paused(struct cli *cli, const char *kind, char **argv, bool paused)
{
	struct strbuf path = {0}, match = {0};
	struct cli_answer a;
	path_of(&path, kind, argv[0], argv[1]);
	int rc = cli_control(cli, "GET", path.data, NULL, NULL, &a);
	if (rc == CLI_OK) {
		json_t *doc = json_incref(a.doc);
		strbuf_addf(&match, "If-Match: %s", a.etag);
		cli_answer_done(&a);
		json_object_set_new(doc, "paused", json_boolean(paused));
		rc =
		    cli_control(cli, "PUT", path.data, doc, (const char *[]){match.data, NULL}, &a);
		json_decref(doc);
		if (rc == CLI_OK)
			rc = cli_show(cli, &a);
	}
	strbuf_done(&match);
	strbuf_done(&path);
	return rc;
}

int cmd_schedule_pause(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return set_paused(cli, SCHEDULES, argv, true);
}

int cmd_schedule_resume(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return set_paused(cli, SCHEDULES, argv, false);
}

static int delete_one(struct cli *cli, const char *kind, char **argv)
{
	struct strbuf path = {0};
	path_of(&path, kind, argv[0], argv[1]);
	int rc = cli_change(cli, "DELETE", path.data, NULL, false);
	strbuf_done(&path);
	return rc;
}

int cmd_schedule_delete(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return delete_one(cli, SCHEDULES, argv);
}

/* --- triggers ----------------------------------------------------------------------------------
 */

int cmd_trigger_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"TRIGGER", "name"},           {"TYPE", "type"},
	    {"CHANNEL", "channel"},        {"PIPELINE", "pipeline"},
	    {"PAUSED", "paused"},          {"STARTED", "status.started"},
	    {"WAITING", "status.waiting"}, {"REFUSED", "status.refused"},
	    {"LAST", "status.last.at"},    {"RESULT", "status.last.result"},
	    {"CODE", "status.last.code"}};
	struct strbuf path = {0};
	(void)argc;
	int rc = cli_show_list(cli, path_of(&path, TRIGGERS, argv[0], NULL), columns,
			       sizeof(columns) / sizeof(*columns));
	strbuf_done(&path);
	return rc;
}

int cmd_trigger_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return show_one(cli, TRIGGERS, argv);
}

int cmd_trigger_put(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {
	    {"--channel", false, NULL}, {"--priority", false, NULL}, {"--paused", true, NULL}};
	struct error err = {0};
	struct strbuf path = {0};
	long priority = 0;
	if (cli_options(&argc, argv, o, 3, &err) != 0 || argc != 4 ||
	    (o[1].value && cli_int(o[1].value, -100, 100, &priority, &err) != 0))
		return cli_usage(&err);
	json_t *body = json_pack("{s:s, s:s, s:s, s:i, s:b}", "type", argv[2], "pipeline", argv[3],
				 "channel", o[0].value ? o[0].value : "*", "priority",
				 (int)priority, "paused", o[2].value != NULL);
	int rc = cli_change(cli, "PUT", path_of(&path, TRIGGERS, argv[0], argv[1]), body, true);
	strbuf_done(&path);
	return rc;
}

int cmd_trigger_pause(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return set_paused(cli, TRIGGERS, argv, true);
}

int cmd_trigger_resume(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return set_paused(cli, TRIGGERS, argv, false);
}

int cmd_trigger_delete(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return delete_one(cli, TRIGGERS, argv);
}
