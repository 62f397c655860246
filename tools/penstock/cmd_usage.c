/* What calls of models took and cost. */
#include <stdio.h>

#include "tools/penstock/cli.h"

int cmd_usage(struct cli *cli, int argc, char **argv)
{
	static const struct cli_column columns[] = {
	    {"DAY", "day"},          {"TENANT", "tenant"},         {"PIPELINE", "pipeline"},
	    {"MODEL", "model"},      {"CALLS", "calls"},           {"FAILED", "failed"},
	    {"IN", "prompt_tokens"}, {"OUT", "completion_tokens"}, {"TOKENS", "total_tokens"},
	    {"COST", "cost"}};
	struct cli_option o[] = {{"--tenant", false, NULL},   {"--task", false, NULL},
				 {"--pipeline", false, NULL}, {"--model", false, NULL},
				 {"--from", false, NULL},     {"--to", false, NULL},
				 {"--by", false, NULL}};
	size_t n = sizeof(o) / sizeof(*o);
	struct error err = {0};
	struct strbuf path = {0};
	if (cli_options(&argc, argv, o, n, &err) != 0 || argc != 0)
		return cli_usage(&err);
	strbuf_adds(&path, "/usage");
	for (size_t i = 0, named = 0; i < n; i++) {
		if (!o[i].value)
			continue;
		strbuf_addf(&path, "%s%s=", named++ ? "&" : "?", o[i].name + 2);
		cli_segment(&path, o[i].value);
	}
	int rc = cli_show_list(cli, path.data, columns, sizeof(columns) / sizeof(*columns));
	strbuf_done(&path);
	return rc;
}
