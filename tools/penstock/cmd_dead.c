/* Tasks as operators see them: lists, and the dead letters. */
#include <stdio.h>
#include <string.h>

#include "tools/penstock/cli.h"

#define LAST     50
#define LAST_MAX 1000

/* A page of a list with filters: options[0] is --last, the others are named as their parameters. */
static int show(struct cli *cli, const char *list, const struct cli_option *options, size_t n,
		const struct cli_column *columns, size_t n_columns)
{
	struct strbuf path = {0};
	struct error err = {0};
	long last = LAST;
	if (options[0].value && cli_int(options[0].value, 1, LAST_MAX, &last, &err) != 0)
		return cli_usage(&err);
	strbuf_addf(&path, "%s?page_size=%ld", list, last);
	for (size_t i = 1; i < n; i++) {
		if (!options[i].value)
			continue;
		strbuf_addf(&path, "&%s=", options[i].name + 2);
		cli_segment(&path, options[i].value);
	}
	int rc = cli_show_page(cli, path.data, columns, n_columns);
	strbuf_done(&path);
	return rc;
}

int cmd_task_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"TASK", "task"},   {"PIPELINE", "pipeline"}, {"VERSION", "version"},
	    {"STATE", "state"}, {"ATTEMPTS", "attempts"}, {"REASON", "error.reason"}};
	struct cli_option o[] = {{"--last", false, NULL},
				 {"--pipeline", false, NULL},
				 {"--state", false, NULL},
				 {"--tenant", false, NULL}};
	struct error err = {0};
	if (cli_options(&argc, argv, o, 3, &err) != 0 || argc != 1)
		return cli_usage(&err);
	o[3].value = argv[0];
	return show(cli, "/tasks", o, 4, columns, sizeof(columns) / sizeof(*columns));
}

int cmd_dead_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"TASK", "task"},         {"TENANT", "tenant"},     {"PIPELINE", "pipeline"},
	    {"STATE", "state"},       {"STAGE", "error.stage"}, {"REASON", "error.reason"},
	    {"ATTEMPTS", "attempts"}, {"GEN", "redrive_gen"},   {"ERROR", "error.message"}};
	struct cli_option o[] = {{"--last", false, NULL},
				 {"--tenant", false, NULL},
				 {"--pipeline", false, NULL},
				 {"--reason", false, NULL}};
	struct error err = {0};
	if (cli_options(&argc, argv, o, 4, &err) != 0 || argc != 0)
		return cli_usage(&err);
	return show(cli, "/dead-letters", o, 4, columns, sizeof(columns) / sizeof(*columns));
}

int cmd_dead_get(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	struct cli_answer a;
	(void)argc;
	strbuf_adds(&path, "/tasks/");
	cli_segment(&path, argv[1]);
	strbuf_adds(&path, "?tenant=");
	cli_segment(&path, argv[0]);
	int rc = cli_control(cli, "GET", path.data, NULL, NULL, &a);
	strbuf_done(&path);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

/* --- letting them live again ------------------------------------------------------------------ */

static int order(struct cli *cli, const char *method, const char *path, const json_t *body)
{
	struct cli_answer a;
	int rc = cli_control(cli, method, path, body, NULL, &a);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_dead_redrive(struct cli *cli, int argc, char **argv)
{
	static const char *const members[] = {"tenant", "pipeline", "reason", "state"};
	struct cli_option o[] = {{"--tenant", false, NULL}, {"--pipeline", false, NULL},
				 {"--reason", false, NULL}, {"--state", false, NULL},
				 {"--limit", false, NULL},  {"--rate", false, NULL}};
	struct error err = {0};
	long limit, rate;
	if (cli_options(&argc, argv, o, 6, &err) != 0 || argc != 0 ||
	    (o[4].value && cli_int(o[4].value, 1, 100000, &limit, &err) != 0) ||
	    (o[5].value && cli_int(o[5].value, 1, 1000, &rate, &err) != 0))
		return cli_usage(&err);
	json_t *body = json_object();
	for (size_t i = 0; i < 4; i++)
		if (o[i].value)
			json_object_set_new(body, members[i], json_string(o[i].value));
	if (o[4].value)
		json_object_set_new(body, "limit", json_integer(limit));
	if (o[5].value)
		json_object_set_new(body, "per_s", json_integer(rate));
	int rc = order(cli, "POST", "/dead-letters:redrive", body);
	json_decref(body);
	return rc;
}

int cmd_task_redrive(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	(void)argc;
	strbuf_adds(&path, "/tasks/");
	cli_segment(&path, argv[1]);
	strbuf_adds(&path, ":redrive?tenant=");
	cli_segment(&path, argv[0]);
	int rc = order(cli, "POST", path.data, NULL);
	strbuf_done(&path);
	return rc;
}

static int on_operation(struct cli *cli, const char *method, const char *id, const char *verb)
{
	struct strbuf path = {0};
	strbuf_adds(&path, "/operations/");
	cli_segment(&path, id);
	strbuf_adds(&path, verb);
	int rc = order(cli, method, path.data, NULL);
	strbuf_done(&path);
	return rc;
}

int cmd_operation_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_operation(cli, "GET", argv[0], "");
}

int cmd_operation_cancel(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_operation(cli, "POST", argv[0], ":cancel");
}
