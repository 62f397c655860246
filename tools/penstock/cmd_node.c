/* Edges and workers: who serves how many, and sending their clients or tasks elsewhere. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tools/penstock/cli.h"

#define TIME_MAX_MS (24L * 3600 * 1000)

int cmd_edge_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"EDGE", "id"},
						    {"REGION", "region"},
						    {"LIVE", "live"},
						    {"STATE", "state"},
						    {"CONNECTIONS", "connections"},
						    {"DRAINED", "drain.drained"},
						    {"FOR TENANTS", "drain.tenants"},
						    {"URL", "url"}};

	(void)argc;
	(void)argv;
	return cli_show_list(cli, "/edges", columns, sizeof(columns) / sizeof(*columns));
}

static int get_node(struct cli *cli, const char *list, const char *node)
{
	struct strbuf path = {0};
	struct cli_answer a;
	int rc;

	strbuf_adds(&path, list);
	cli_segment(&path, node);
	rc = cli_control(cli, "GET", path.data, NULL, NULL, &a);
	strbuf_done(&path);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_edge_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return get_node(cli, "/edges/", argv[0]);
}

/* One line, or curl would send what follows as headers of their own. */
static bool is_line(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			return false;
	return true;
}

static bool is_reason(const char *text, struct error *err)
{
	if (text && *text && is_line(text))
		return true;
	err_set(err, ERR_REJECTED, "--reason TEXT is needed: one line, for the audit");
	return false;
}

static int on_node(struct cli *cli, const char *list, const char *node, const char *verb,
		   const char *reason, json_t *body)
{
	struct strbuf path = {0}, header = {0};
	const char *headers[2] = {NULL, NULL};
	struct cli_answer a;
	int rc;

	strbuf_adds(&path, list);
	cli_segment(&path, node);
	strbuf_adds(&path, verb);
	strbuf_addf(&header, "X-Audit-Reason: %s", reason);
	headers[0] = header.data;
	rc = cli_control(cli, "POST", path.data, body, headers, &a);
	json_decref(body);
	strbuf_done(&path);
	strbuf_done(&header);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

static int set_time(json_t *body, const char *member, const char *value, struct error *err)
{
	long ms;

	if (!value)
		return 0;
	if (cli_int(value, 0, TIME_MAX_MS, &ms, err) != 0)
		return -1;
	json_object_set_new(body, member, json_integer(ms));
	return 0;
}

static int set_drain(struct cli *cli, int argc, char **argv, bool drain)
{
	struct cli_option o[] = {{"--reason", false, NULL},
				 {"--tenant", false, NULL},
				 {"--deadline", false, NULL},
				 {"--spread", false, NULL}};
	struct error err = {0};
	json_t *body = json_object();

	if (cli_options(&argc, argv, o, drain ? 4 : 2, &err) != 0 || argc != 1)
		goto usage;
	if (!is_reason(o[0].value, &err))
		goto usage;
	if (o[1].value)
		json_object_set_new(body, "tenant", json_string(o[1].value));
	if (set_time(body, "deadline_ms", o[2].value, &err) != 0 ||
	    set_time(body, "spread_ms", o[3].value, &err) != 0)
		goto usage;
	return on_node(cli, "/edges/", argv[0], drain ? ":drain" : ":undrain", o[0].value, body);
usage:
	json_decref(body);
	return cli_usage(&err);
}

int cmd_edge_drain(struct cli *cli, int argc, char **argv)
{
	return set_drain(cli, argc, argv, true);
}

int cmd_edge_undrain(struct cli *cli, int argc, char **argv)
{
	return set_drain(cli, argc, argv, false);
}

/* --- workers ---------------------------------------------------------------------------------- */

int cmd_worker_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"WORKER", "id"},
						    {"LIVE", "live"},
						    {"STATE", "state"},
						    {"SLOTS", "slots"},
						    {"BATCH SLOTS", "batch_slots"},
						    {"DRAINED", "drain.drained"}};

	(void)argc;
	(void)argv;
	return cli_show_list(cli, "/workers", columns, sizeof(columns) / sizeof(*columns));
}

int cmd_worker_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return get_node(cli, "/workers/", argv[0]);
}

static int drain_worker(struct cli *cli, int argc, char **argv, bool drain)
{
	struct cli_option o[] = {{"--reason", false, NULL}, {"--grace", false, NULL}};
	struct error err = {0};
	json_t *body = json_object();

	if (cli_options(&argc, argv, o, drain ? 2 : 1, &err) != 0 || argc != 1 ||
	    !is_reason(o[0].value, &err) || set_time(body, "grace_ms", o[1].value, &err) != 0) {
		json_decref(body);
		return cli_usage(&err);
	}
	return on_node(cli, "/workers/", argv[0], drain ? ":drain" : ":undrain", o[0].value, body);
}

int cmd_worker_drain(struct cli *cli, int argc, char **argv)
{
	return drain_worker(cli, argc, argv, true);
}

int cmd_worker_undrain(struct cli *cli, int argc, char **argv)
{
	return drain_worker(cli, argc, argv, false);
}
