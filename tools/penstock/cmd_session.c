/* session list and session disconnect. */
#include <string.h>

#include "tools/penstock/cli.h"

int cmd_session_disconnect(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {{"--reason", false, NULL}, {"--resume", true, NULL}};
	struct strbuf path = {0}, header = {0};
	const char *headers[2] = {NULL, NULL};
	struct error err = {0};
	struct cli_answer a;
	json_t *body;
	int rc;

	if (cli_options(&argc, argv, o, 2, &err) != 0 || argc != 1)
		return cli_usage(&err);
	if (!o[0].value || !*o[0].value || strpbrk(o[0].value, "\r\n")) {
		err_set(&err, ERR_REJECTED, "--reason TEXT is needed: one line, for the audit");
		return cli_usage(&err);
	}
	strbuf_adds(&path, "/sessions/");
	cli_segment(&path, argv[0]);
	strbuf_adds(&path, ":disconnect");
	strbuf_addf(&header, "X-Audit-Reason: %s", o[0].value);
	headers[0] = header.data;
	body = json_pack("{sb}", "resume", o[1].value != NULL);
	rc = cli_control(cli, "POST", path.data, body, headers, &a);
	json_decref(body);
	strbuf_done(&path);
	strbuf_done(&header);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cmd_session_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"SESSION", "session"}, {"TENANT", "tenant"},   {"PRINCIPAL", "principal"},
	    {"EDGES", "edges"},     {"SOCKETS", "sockets"}, {"SUBSCRIPTIONS", "subscriptions"}};
	struct cli_option o[] = {{"--tenant", false, NULL}};
	struct strbuf path = {0};
	struct error err = {0};
	int rc;

	if (cli_options(&argc, argv, o, 1, &err) != 0 || argc != 0)
		return cli_usage(&err);
	strbuf_adds(&path, "/sessions");
	if (o[0].value) {
		strbuf_adds(&path, "?tenant=");
		cli_segment(&path, o[0].value);
	}
	rc = cli_show_list(cli, path.data, columns, sizeof(columns) / sizeof(*columns));
	strbuf_done(&path);
	return rc;
}
