/* Words of the command line, the environment and files into values. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tools/penstock/cli.h"

#define INPUT_MAX ((size_t)8 << 20)

static struct cli_option *option_of(const char *word, struct cli_option *options, size_t n,
				    const char **value)
{
	size_t len = strcspn(word, "=");

	*value = word[len] ? word + len + 1 : NULL;
	for (size_t i = 0; i < n; i++)
		if (strlen(options[i].name) == len && strncmp(options[i].name, word, len) == 0)
			return &options[i];
	return NULL;
}

int cli_options(int *argc, char **argv, struct cli_option *options, size_t n, struct error *err)
{
	int left = 0;

	for (int i = 0; i < *argc; i++) {
		const char *value;
		struct cli_option *o;

		if (strncmp(argv[i], "--", 2) != 0) {
			argv[left++] = argv[i];
			continue;
		}
		o = option_of(argv[i], options, n, &value);
		if (!o)
			return err_set(err, ERR_REJECTED, "no such option: %s", argv[i]);
		if (o->flag)
			value = "yes";
		else if (!value && ++i < *argc)
			value = argv[i];
		if (!value)
			return err_set(err, ERR_REJECTED, "%s needs a value", o->name);
		o->value = value;
	}
	*argc = left;
	return 0;
}

int cli_int(const char *text, long min, long max, long *out, struct error *err)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < min || v > max)
		return err_set(err, ERR_REJECTED, "%s is no whole number from %ld to %ld", text,
			       min, max);
	*out = v;
	return 0;
}

static int read_all(FILE *in, struct strbuf *out, struct error *err)
{
	char buf[65536];
	size_t n;

	while ((n = fread(buf, 1, sizeof(buf), in)) > 0) {
		strbuf_add(out, buf, n);
		if (out->len > INPUT_MAX)
			return err_set(err, ERR_REJECTED, "the input has more than %zu bytes",
				       INPUT_MAX);
	}
	if (ferror(in))
		return err_set(err, ERR_TRANSIENT, "cannot read: %s", strerror(errno));
	return 0;
}

static json_t *file_value(const char *path, struct error *err)
{
	FILE *in = fopen(path, "r");
	struct strbuf text = {0};
	size_t len = strlen(path);
	json_t *value = NULL;

	if (!in) {
		err_set(err, ERR_REJECTED, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (read_all(in, &text, err) == 0) {
		if (len > 5 && strcmp(path + len - 5, ".json") == 0)
			value = json_parse(strbuf_str(&text), text.len, err);
		else if (!(value =
			       json_pack("{s:s#}", "document", strbuf_str(&text), (int)text.len)))
			err_set(err, ERR_REJECTED, "%s is not UTF-8 text", path);
	}
	fclose(in);
	strbuf_done(&text);
	return value;
}

json_t *cli_value(const char *arg, struct error *err)
{
	struct strbuf text = {0};
	json_t *value = NULL;

	if (arg[0] == '@')
		return file_value(arg + 1, err);
	if (strcmp(arg, "-") != 0)
		return json_parse(arg, strlen(arg), err);
	if (read_all(stdin, &text, err) == 0)
		value = json_parse(strbuf_str(&text), text.len, err);
	strbuf_done(&text);
	return value;
}

json_t *cli_document(const char *arg, struct error *err)
{
	bool text = strchr("{[@", *arg) || !strcmp(arg, "-") || !strcmp(arg, "true") ||
		    !strcmp(arg, "false");

	return text ? cli_value(arg, err) : file_value(arg, err);
}

char *cli_text(const char *arg, struct error *err)
{
	struct strbuf text = {0};
	FILE *in = arg[0] == '@' ? fopen(arg + 1, "r") : !strcmp(arg, "-") ? stdin : NULL;
	int rc = 0;

	if (arg[0] == '@' && !in) {
		err_set(err, ERR_REJECTED, "%s: %s", arg + 1, strerror(errno));
		return NULL;
	}
	if (in)
		rc = read_all(in, &text, err);
	else
		strbuf_adds(&text, arg);
	if (in && in != stdin)
		fclose(in);
	while (in && text.len &&
	       (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
		text.data[--text.len] = 0;
	if (rc == 0)
		return strbuf_detach(&text, NULL);
	strbuf_done(&text);
	return NULL;
}

json_t *cli_words(const char *arg)
{
	json_t *list = json_array();
	char *words = xstrdup(arg), *save = NULL;

	for (char *w = strtok_r(words, ",", &save); w; w = strtok_r(NULL, ",", &save))
		json_array_append_new(list, json_string(w));
	free(words);
	return list;
}

/* A variable of the file, or NULL; the file is small and read once for each of the four. */
static char *from_file(const char *name)
{
	FILE *in = fopen(".run/env", "r");
	char line[1024], *found = NULL;
	size_t len = strlen(name);

	while (in && !found && fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, name, len) == 0 && line[len] == '=')
			found = xstrdup(line + len + 1);
	}
	if (in)
		fclose(in);
	return found;
}

static void setting(char **value, const char *name, const char *otherwise)
{
	const char *env = getenv(name);

	if (*value)
		return;
	*value = env && *env ? xstrdup(env) : from_file(name);
	if (!*value && otherwise)
		*value = xstrdup(otherwise);
}

void cli_settings(struct cli *cli)
{
	setting(&cli->control, "PENSTOCK_CONTROL_URL", "http://127.0.0.1:7081");
	setting(&cli->edge, "PENSTOCK_EDGE_URL", "http://127.0.0.1:7080");
	setting(&cli->admin_key, "PENSTOCK_ADMIN_KEY", NULL);
	setting(&cli->key, "PENSTOCK_KEY", NULL);
}
