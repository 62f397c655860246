/* Commands that read and change the configuration, and look at the cluster: the control-plane's
 * API. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

void cli_print(const struct strbuf *text)
{
	fputs(strbuf_str(text), stdout);
	fflush(stdout);
}

void cli_print_json(const json_t *doc)
{
	json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

int cli_usage(const struct error *err)
{
	fprintf(stderr, "penstock: %s\n",
		*err->msg ? err->msg : "too few or too many words; see --help");
	return CLI_USAGE;
}

/* --- shared shapes ------------------------------------------------------------------------- */

int cli_show_list(struct cli *cli, const char *path, const struct cli_column *columns, size_t n)
{
	struct strbuf out = {0};
	json_t *items;
	int rc = cli_list(cli, path, &items);

	if (rc != CLI_OK)
		return rc;
	if (cli->json)
		cli_print_json(items);
	else
		cli_table(&out, items, columns, n);
	cli_print(&out);
	strbuf_done(&out);
	json_decref(items);
	return CLI_OK;
}

int cli_show(struct cli *cli, struct cli_answer *a)
{
	struct strbuf out = {0};

	if (!a->doc)
		return CLI_OK;
	if (cli->json)
		cli_print_json(a->doc);
	else
		cli_object(&out, a->doc);
	cli_print(&out);
	strbuf_done(&out);
	cli_answer_done(a);
	return CLI_OK;
}

static int get(struct cli *cli, const char *path)
{
	struct cli_answer a;
	int rc = cli_control(cli, "GET", path, NULL, NULL, &a);

	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

static int post(struct cli *cli, const char *path, json_t *body)
{
	struct cli_answer a;
	int rc = cli_control(cli, "POST", path, body, NULL, &a);

	json_decref(body);
	return rc == CLI_OK ? cli_show(cli, &a) : rc;
}

int cli_change(struct cli *cli, const char *method, const char *path, json_t *body, bool may_be_new)
{
	struct strbuf match = {0}, url = {0};
	const char *headers[2] = {NULL, NULL};
	struct cli_answer a;
	struct error err = {0};
	int rc = CLI_OK;

	strbuf_addf(&url, "%s/v1%s", cli->control, path);
	if (!cli->admin_key ||
	    cli_http("GET", url.data, cli->admin_key, NULL, NULL, &a, &err) != 0) {
		rc =
		    cli->admin_key ? cli_fail(&err) : cli_control(cli, "GET", path, NULL, NULL, &a);
	} else {
		if (a.status == 200 && a.etag[0]) {
			strbuf_addf(&match, "If-Match: %s", a.etag);
			headers[0] = match.data;
		}
		cli_answer_done(&a);
		if (a.status != 200 && !(a.status == 404 && may_be_new))
			rc = cli_control(cli, "GET", path, NULL, NULL, &a); /* says why */
		if (rc == CLI_OK)
			rc = cli_control(cli, method, path, body, headers, &a);
		if (rc == CLI_OK)
			rc = cli_show(cli, &a);
	}
	json_decref(body);
	strbuf_done(&url);
	strbuf_done(&match);
	return rc;
}

static const char *path1(struct strbuf *b, const char *head, const char *segment, const char *tail)
{
	strbuf_reset(b);
	strbuf_adds(b, head);
	cli_segment(b, segment);
	strbuf_adds(b, tail);
	return b->data;
}

/* --- tenants ------------------------------------------------------------------------------- */

int cmd_tenant_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"TENANT", "id"},     {"NAME", "name"},
						    {"REGION", "region"}, {"CLASS", "class"},
						    {"STATUS", "status"}, {"WEIGHT", "weight"}};

	(void)argc;
	(void)argv;
	return cli_show_list(cli, "/tenants", columns, 6);
}

/* Runs fn on "/tenants/<t><tail>". */
static int on_tenant(struct cli *cli, const char *tenant, const char *tail, const char *method,
		     json_t *body)
{
	struct strbuf path = {0};
	int rc;

	path1(&path, "/tenants/", tenant, tail);
	if (strcmp(method, "GET") == 0)
		rc = get(cli, path.data);
	else if (strcmp(method, "POST") == 0)
		rc = post(cli, path.data, body);
	else
		rc = cli_change(cli, method, path.data, body, false);
	strbuf_done(&path);
	return rc;
}

int cmd_tenant_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_tenant(cli, argv[0], "", "GET", NULL);
}

int cmd_tenant_create(struct cli *cli, int argc, char **argv)
{
	struct cli_option o[] = {
	    {"--name", false, NULL}, {"--region", false, NULL}, {"--weight", false, NULL}};
	struct error err = {0};
	long weight = 0;
	json_t *body;

	if (cli_options(&argc, argv, o, 3, &err) != 0 || argc != 1 ||
	    (o[2].value && cli_int(o[2].value, 1, 1000, &weight, &err) != 0))
		return cli_usage(&err);
	body = json_pack("{s:s,s:s}", "id", argv[0], "name", o[0].value ? o[0].value : argv[0]);
	if (o[1].value)
		json_object_set_new(body, "region", json_string(o[1].value));
	if (weight)
		json_object_set_new(body, "weight", json_integer(weight));
	return post(cli, "/tenants", body);
}

int cmd_tenant_suspend(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_tenant(cli, argv[0], ":suspend", "POST", NULL);
}

int cmd_tenant_resume(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_tenant(cli, argv[0], ":resume", "POST", NULL);
}

int cmd_tenant_delete(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_tenant(cli, argv[0], "", "DELETE", NULL);
}

int cmd_tenant_limits(struct cli *cli, int argc, char **argv)
{
	json_t *body;

	if (argc == 1)
		return on_tenant(cli, argv[0], "/limits", "GET", NULL);
	body = json_object();
	for (int i = 1; i < argc; i++) {
		char *equal = strchr(argv[i], '=');
		struct error err = {0};
		long v;

		if (!equal) {
			json_decref(body);
			err_set(&err, ERR_REJECTED, "%s: NAME=VALUE is wanted", argv[i]);
			return cli_usage(&err);
		}
		*equal = 0;
		if (cli_int(equal + 1, 0, LONG_MAX, &v, &err) == 0)
			json_object_set_new(body, argv[i], json_integer(v));
		else
			json_object_set_new(body, argv[i], json_string(equal + 1));
	}
	return on_tenant(cli, argv[0], "/limits", "PATCH", body);
}

int cmd_tenant_origins(struct cli *cli, int argc, char **argv)
{
	bool any = argc == 2 && !strcmp(argv[1], "any");
	json_t *list;

	if (argc == 1)
		return on_tenant(cli, argv[0], "", "GET", NULL);
	list = any ? json_null() : json_array();
	for (int i = 1; !any && i < argc; i++)
		json_array_append_new(list, json_string(argv[i]));
	return on_tenant(cli, argv[0], "", "PATCH", json_pack("{s:o}", "origins", list));
}

/* --- keys and event types ------------------------------------------------------------------ */

int cmd_key_create(struct cli *cli, int argc, char **argv)
{
	static const char *const members[] = {"name",      "scopes",  "expires_at",
					      "subscribe", "publish", "pipelines"};
	struct cli_option o[] = {{"--name", false, NULL},    {"--scopes", false, NULL},
				 {"--expires", false, NULL}, {"--subscribe", false, NULL},
				 {"--publish", false, NULL}, {"--pipelines", false, NULL}};
	struct error err = {0};
	json_t *body, *channels;

	if (cli_options(&argc, argv, o, 6, &err) != 0 || argc != 1)
		return cli_usage(&err);
	body = json_object();
	channels = json_object();
	for (int i = 0; i < 6; i++) {
		bool list = i != 0 && i != 2;

		if (o[i].value)
			json_object_set_new(i == 3 || i == 4 ? channels : body, members[i],
					    list ? cli_words(o[i].value) : json_string(o[i].value));
	}
	if (json_object_size(channels))
		json_object_set(body, "channels", channels);
	json_decref(channels);
	return on_tenant(cli, argv[0], "/keys", "POST", body);
}

int cmd_key_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"KEY", "id"},
						    {"NAME", "name"},
						    {"SCOPES", "scopes"},
						    {"STATUS", "status"},
						    {"CREATED", "created_at"}};
	struct strbuf path = {0};
	int rc;

	(void)argc;
	rc = cli_show_list(cli, path1(&path, "/tenants/", argv[0], "/keys"), columns, 5);
	strbuf_done(&path);
	return rc;
}

int cmd_key_revoke(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	int rc;

	(void)argc;
	path1(&path, "/tenants/", argv[0], "/keys/");
	cli_segment(&path, argv[1]);
	rc = cli_change(cli, "DELETE", path.data, NULL, false);
	strbuf_done(&path);
	return rc;
}

/* The material may be a file's or come by stdin: a secret on a command line is everybody's. */
int cmd_signing_create(struct cli *cli, int argc, char **argv)
{
	static const char *const members[] = {"id", "name", "expires_at", "secret", "public_key"};
	struct cli_option o[] = {{"--id", false, NULL},
				 {"--name", false, NULL},
				 {"--expires", false, NULL},
				 {"--secret", false, NULL},
				 {"--public-key", false, NULL}};
	struct error err = {0};
	json_t *body;

	if (cli_options(&argc, argv, o, 5, &err) != 0 || argc != 2)
		return cli_usage(&err);
	body = json_pack("{s:s}", "alg", argv[1]);
	for (int i = 0; i < 5; i++) {
		char *text =
		    o[i].value ? i < 3 ? xstrdup(o[i].value) : cli_text(o[i].value, &err) : NULL;

		if (o[i].value && !text) {
			json_decref(body);
			return cli_usage(&err);
		}
		if (text)
			json_object_set_new(body, members[i], json_string(text));
		free(text);
	}
	return on_tenant(cli, argv[0], "/signing-keys", "POST", body);
}

int cmd_signing_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"KEY", "id"},
						    {"ALG", "alg"},
						    {"NAME", "name"},
						    {"STATUS", "status"},
						    {"CREATED", "created_at"}};
	struct strbuf path = {0};
	int rc;

	(void)argc;
	rc = cli_show_list(cli, path1(&path, "/tenants/", argv[0], "/signing-keys"), columns, 5);
	strbuf_done(&path);
	return rc;
}

int cmd_signing_revoke(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	int rc;

	(void)argc;
	path1(&path, "/tenants/", argv[0], "/signing-keys/");
	cli_segment(&path, argv[1]);
	rc = cli_change(cli, "DELETE", path.data, NULL, false);
	strbuf_done(&path);
	return rc;
}

int cmd_hook_delete(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	int rc;

	(void)argc;
	path1(&path, "/tenants/", argv[0], "/hooks/");
	cli_segment(&path, argv[1]);
	rc = cli_change(cli, "DELETE", path.data, NULL, false);
	strbuf_done(&path);
	return rc;
}

int cmd_type_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"TYPE", "type"}, {"CLASS", "class"}, {"VERSIONS", "versions"}};
	struct strbuf path = {0};
	int rc;

	(void)argc;
	rc = cli_show_list(cli, path1(&path, "/tenants/", argv[0], "/schemas"), columns, 3);
	strbuf_done(&path);
	return rc;
}

int cmd_type_create(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	struct error err = {0};
	json_t *schema = argc > 3 ? cli_document(argv[3], &err) : json_object();
	int rc;

	if (!schema)
		return cli_usage(&err);
	path1(&path, "/tenants/", argv[0], "/schemas/");
	cli_segment(&path, argv[1]);
	strbuf_adds(&path, "/versions");
	rc = post(cli, path.data, json_pack("{s:s,s:o}", "class", argv[2], "schema", schema));
	strbuf_done(&path);
	return rc;
}

/* --- models and pipelines ------------------------------------------------------------------ */

int cmd_model_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"MODEL", "name"},
						    {"KIND", "kind"},
						    {"URL", "url"},
						    {"ASKED FOR", "model"},
						    {"RPM", "limits.rpm"},
						    {"TPM", "limits.tpm"},
						    {"AT ONCE", "limits.concurrent"}};

	(void)argc;
	(void)argv;
	return cli_show_list(cli, "/models", columns, 7);
}

static int on_model(struct cli *cli, const char *model, const char *method, json_t *body)
{
	struct strbuf path = {0};
	int rc;

	path1(&path, "/models/", model, "");
	rc = strcmp(method, "GET") == 0
		 ? get(cli, path.data)
		 : cli_change(cli, method, path.data, body, strcmp(method, "PUT") == 0);
	strbuf_done(&path);
	return rc;
}

int cmd_model_get(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_model(cli, argv[0], "GET", NULL);
}

int cmd_model_put(struct cli *cli, int argc, char **argv)
{
	struct error err = {0};
	json_t *body = cli_document(argv[1], &err);

	(void)argc;
	return body ? on_model(cli, argv[0], "PUT", body) : cli_usage(&err);
}

int cmd_model_delete(struct cli *cli, int argc, char **argv)
{
	(void)argc;
	return on_model(cli, argv[0], "DELETE", NULL);
}

int cmd_pipeline_list(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"PIPELINE", "name"}, {"NEWEST", "latest"}, {"VERSIONS", "versions"}};

	(void)argc;
	(void)argv;
	return cli_show_list(cli, "/pipelines", columns, 3);
}

static int newest(struct cli *cli, const char *pipeline, long *version)
{
	json_t *items, *p;
	size_t i;
	int rc = cli_list(cli, "/pipelines", &items);

	*version = 0;
	if (rc != CLI_OK)
		return rc;
	json_array_foreach(items, i, p) if (strcmp(json_string_value(json_object_get(p, "name")),
						   pipeline) == 0) *version =
	    (long)json_integer_value(json_object_get(p, "latest"));
	json_decref(items);
	if (*version)
		return CLI_OK;
	fprintf(stderr, "penstock: not_found: no pipeline %s\n", pipeline);
	return CLI_FAILED;
}

int cmd_pipeline_get(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	struct cli_answer a;
	struct error err = {0};
	long version;
	int rc;

	if (argc > 1 && cli_int(argv[1], 1, INT32_MAX, &version, &err) != 0)
		return cli_usage(&err);
	if (argc < 2 && (rc = newest(cli, argv[0], &version)) != CLI_OK)
		return rc;
	path1(&path, "/pipelines/", argv[0], "/versions/");
	strbuf_addf(&path, "%ld", version);
	rc = cli_control(cli, "GET", path.data, NULL, NULL, &a);
	strbuf_done(&path);
	if (rc == CLI_OK) {
		cli_print_json(a.doc); /* a document: a table would not show it */
		cli_answer_done(&a);
	}
	return rc;
}

int cmd_pipeline_put(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0};
	struct error err = {0};
	json_t *body = cli_document(argv[1], &err);
	int rc;

	(void)argc;
	if (!body)
		return cli_usage(&err);
	rc = post(cli, path1(&path, "/pipelines/", argv[0], "/versions"), body);
	strbuf_done(&path);
	return rc;
}

/* --- looking ------------------------------------------------------------------------------- */

int cmd_trace(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0}, out = {0};
	struct cli_answer a;
	int rc;

	(void)argc;
	rc =
	    cli_control(cli, "GET", path1(&path, "/events/", argv[0], "/timeline"), NULL, NULL, &a);
	strbuf_done(&path);
	if (rc != CLI_OK)
		return rc;
	if (cli->json)
		cli_print_json(a.doc);
	else
		cli_timeline(&out, a.doc, cli->colour);
	cli_print(&out);
	strbuf_done(&out);
	cli_answer_done(&a);
	return CLI_OK;
}

int cli_show_page(struct cli *cli, const char *path, const struct cli_column *columns, size_t n)
{
	struct strbuf out = {0};
	struct cli_answer a;
	int rc = cli_control(cli, "GET", path, NULL, NULL, &a);

	if (rc != CLI_OK)
		return rc;
	if (cli->json)
		cli_print_json(json_object_get(a.doc, "items"));
	else
		cli_table(&out, json_object_get(a.doc, "items"), columns, n);
	cli_print(&out);
	strbuf_done(&out);
	cli_answer_done(&a);
	return CLI_OK;
}

int cmd_members(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"SERVICE", "service"},
						    {"MEMBER", "id"},
						    {"REGION", "region"},
						    {"SLOTS", "slots"},
						    {"URL", "url"}};

	(void)argc;
	(void)argv;
	return cli_show_page(cli, "/members", columns, 5);
}

int cmd_audit(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {{"AT", "at"},
						    {"WHO", "actor"},
						    {"WHAT", "action"},
						    {"ON", "resource"},
						    {"REASON", "reason"}};
	struct cli_option o[] = {{"--last", false, NULL}};
	struct strbuf path = {0};
	struct error err = {0};
	long last = 50;
	int rc;

	if (cli_options(&argc, argv, o, 1, &err) != 0 || argc != 0 ||
	    (o[0].value && cli_int(o[0].value, 1, 1000, &last, &err) != 0))
		return cli_usage(&err);
	strbuf_addf(&path, "/audit?page_size=%ld", last);
	rc = cli_show_page(cli, path.data, columns, 5);
	strbuf_done(&path);
	return rc;
}
