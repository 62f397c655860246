/* From the words of the command line to the command that is meant. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/penstock/cli.h"

static void usage_line(FILE *out, const struct cli_command *c)
{
	fprintf(out, "  %s%s%s%s%s\n      %s\n", c->group, c->verb ? " " : "",
		c->verb ? c->verb : "", *c->args ? " " : "", c->args, c->help);
}

static void help(FILE *out, const char *group)
{
	if (!group)
		fputs("penstock: asks and changes a running Penstock.\n\n"
		      "usage: penstock [-o table|json] [--control URL] [--edge URL] [--admin-key "
		      "K] [--key K] COMMAND …\n\n"
		      "What is not given comes from PENSTOCK_CONTROL_URL, PENSTOCK_EDGE_URL, "
		      "PENSTOCK_ADMIN_KEY and\n"
		      "PENSTOCK_KEY, or from the file .run/env that `make up` wrote.\n"
		      "DATA, INPUT, SCHEMA and DOCUMENT are JSON: as an argument, - for standard "
		      "input, or @FILE; a\n"
		      "FILE whose name does not end in .json is sent as {\"document\": its "
		      "text}. For SCHEMA and\nDOCUMENT the @ may be left out.\n\n",
		      out);
	for (const struct cli_command *c = cli_commands; c->group; c++)
		if (!group || strcmp(group, c->group) == 0)
			usage_line(out, c);
}

int cli_globals(struct cli *cli, int argc, char **argv)
{
	const struct {
		const char *name;
		char **value;
	} texts[] = {{"--control", &cli->control},
		     {"--edge", &cli->edge},
		     {"--admin-key", &cli->admin_key},
		     {"--key", &cli->key}};
	int i = 1;

	while (i < argc && argv[i][0] == '-' && argv[i][1]) {
		bool known = false;

		if (i + 1 >= argc)
			return -1;
		if (strcmp(argv[i], "-o") == 0) {
			cli->json = strcmp(argv[i + 1], "json") == 0;
			if (!cli->json && strcmp(argv[i + 1], "table") != 0)
				return -1;
			known = true;
		}
		for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
			if (strcmp(argv[i], texts[t].name) != 0)
				continue;
			free(*texts[t].value);
			*texts[t].value = xstrdup(argv[i + 1]);
			known = true;
		}
		if (!known)
			return -1;
		i += 2;
	}
	return i;
}

static bool asks_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

bool cli_fits(const struct cli_command *c, int argc, char **argv)
{
	bool options = strstr(c->args, "--") != NULL;

	for (int i = 0; i < argc && !options; i++)
		if (strncmp(argv[i], "--", 2) == 0)
			return false;
	return argc >= c->min_args && (options || c->max_args < 0 || argc <= c->max_args);
}

static int run(struct cli *cli, int argc, char **argv)
{
	int at = cli_globals(cli, argc, argv), used = 0;
	const struct cli_command *c;
	int words;

	if (at < 0 || at >= argc) {
		help(stderr, NULL);
		return CLI_USAGE;
	}
	c = cli_find(argc - at, argv + at, &used);
	if (!c) {
		fprintf(stderr, "penstock: no such command: %s\n", argv[at]);
		help(stderr, argv[at]);
		return CLI_USAGE;
	}
	words = argc - at - used;
	if (!cli_fits(c, words, argv + at + used)) {
		fputs("usage: penstock\n", stderr);
		usage_line(stderr, c);
		return CLI_USAGE;
	}
	cli_settings(cli);
	return c->fn(cli, words, argv + at + used);
}

int cli_main(int argc, char **argv)
{
	struct cli cli = {.colour = isatty(STDOUT_FILENO) != 0};
	int rc;

	if (asks_help(argc, argv)) {
		help(stdout, argc > 2 && argv[1][0] != '-' ? argv[1] : NULL);
		return CLI_OK;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = run(&cli, argc, argv);
	free(cli.control);
	free(cli.edge);
	free(cli.admin_key);
	free(cli.key);
	curl_global_cleanup();
	return rc;
}
