/* audit deliveries: what became of one event at each session. */
#include "tools/penstock/cli.h"

static void deliveries_text(struct strbuf *out, const json_t *doc)
{
	static const struct cli_column columns[] = {
	    {"STATE", "state"},     {"REASON", "reason"},       {"SESSION", "session"},
	    {"EDGE", "edge"},       {"PRINCIPAL", "principal"}, {"SUBSCRIBED", "subscribed_at"},
	    {"SENT TO", "sent_to"}, {"ACKED TO", "acked_to"},   {"ACKED", "acked_at"},
	    {"SPILLED", "spilled"}, {"CLOSED", "closed_at"},
	};
	const json_t *counts = json_object_get(doc, "counts"), *n;
	const char *state;

	strbuf_adds(out, "event ");
	cli_clean(out, json_string_value(json_object_get(doc, "event_id")));
	strbuf_addf(out, ", offset %lld of ",
		    (long long)json_integer_value(json_object_get(doc, "offset")));
	cli_clean(out, json_string_value(json_object_get(doc, "channel")));
	strbuf_adds(out, ", ");
	cli_clean(out, json_string_value(json_object_get(doc, "time")));
	strbuf_addc(out, '\n');
	json_object_foreach((json_t *)counts, state, n)
	{
		strbuf_addf(out, "%lld ", (long long)json_integer_value(n));
		cli_clean(out, state);
		strbuf_adds(out, "  ");
	}
	strbuf_adds(out, json_is_true(json_object_get(doc, "truncated"))
			     ? "(of the first sessions; there are more)\n"
			     : "\n");
	cli_table(out, json_object_get(doc, "deliveries"), columns,
		  sizeof(columns) / sizeof(columns[0]));
}

int cmd_audit_deliveries(struct cli *cli, int argc, char **argv)
{
	struct strbuf path = {0}, out = {0};
	struct cli_answer a;
	int rc;

	(void)argc;
	strbuf_adds(&path, "/events/");
	cli_segment(&path, argv[0]);
	strbuf_adds(&path, "/deliveries");
	rc = cli_control(cli, "GET", path.data, NULL, NULL, &a);
	strbuf_done(&path);
	if (rc != CLI_OK)
		return rc;
	if (cli->json) {
		cli_print_json(a.doc);
	} else {
		deliveries_text(&out, a.doc);
		cli_print(&out);
	}
	cli_answer_done(&a);
	strbuf_done(&out);
	return CLI_OK;
}
