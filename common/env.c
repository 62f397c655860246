#include "common/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"

#ifndef PENSTOCK_VERSION /* the build sets it */
#define PENSTOCK_VERSION "unknown"
#endif

static int parse_int(const struct env_setting *s, const char *text, int64_t *out, struct error *err)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (end == text || *end || text[0] == ' ')
		return err_set(err, ERR_FATAL, "%s: not an integer", s->name);
	if (errno == ERANGE || v < s->min || v > s->max)
		return err_set(err, ERR_FATAL, "%s: not within %lld and %lld", s->name,
			       (long long)s->min, (long long)s->max);
	*out = v;
	return 0;
}

static int parse_bool(const struct env_setting *s, const char *text, bool *out, struct error *err)
{
	static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};

	for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!strcmp(text, words[i])) {
			*out = i % 2;
			return 0;
		}
	}
	return err_set(err, ERR_FATAL, "%s: neither true nor false", s->name);
}

static void *member(const struct env_setting *s, void *config)
{
	return (char *)config + s->offset;
}

static int load_one(const struct env_setting *s, void *config, struct error *err)
{
	const char *text = getenv(s->name);

	if (!text)
		text = s->dflt;
	if (!text)
		return err_set(err, ERR_FATAL, "%s is not set", s->name);
	switch (s->type) {
	case ENV_TEXT:
		if (!s->dflt && !*text)
			return err_set(err, ERR_FATAL, "%s is empty", s->name);
		*(char **)member(s, config) = xstrdup(text);
		return 0;
	case ENV_INT:
		return parse_int(s, text, member(s, config), err);
	case ENV_BOOL:
		return parse_bool(s, text, member(s, config), err);
	}
	return err_set(err, ERR_FATAL, "%s: unknown type of setting", s->name);
}

/* A misspelt setting would silently be a default. */
static int check_unknown(const char *prefix, const struct env_setting *table, size_t n,
			 struct error *err)
{
	for (char **e = environ; e && *e; e++) {
		size_t len = strcspn(*e, "=");
		size_t i = 0;

		if (strncmp(*e, prefix, strlen(prefix)) != 0)
			continue;
		while (i < n && (strncmp(table[i].name, *e, len) != 0 || table[i].name[len]))
			i++;
		if (i == n)
			return err_set(err, ERR_FATAL, "%.*s is not a setting (see --help)",
				       (int)(len > 128 ? 128 : len), *e);
	}
	return 0;
}

int env_load(const char *prefix, const struct env_setting *table, size_t n, void *config,
	     struct error *err)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].type == ENV_TEXT)
			*(char **)member(&table[i], config) = NULL;
	if (check_unknown(prefix, table, n, err))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (load_one(&table[i], config, err)) {
			env_done(table, n, config);
			return -1;
		}
	}
	return 0;
}

void env_done(const struct env_setting *table, size_t n, void *config)
{
	for (size_t i = 0; i < n; i++) {
		if (table[i].type == ENV_TEXT) {
			char **text = member(&table[i], config);

			free(*text);
			*text = NULL;
		}
	}
}

static void help_one(FILE *out, const struct env_setting *s)
{
	static const char *const type_name[] = {"text", "integer", "true or false"};

	fprintf(out, "  %s\n      %s\n      %s", s->name, s->help, type_name[s->type]);
	if (s->type == ENV_INT)
		fprintf(out, " within %lld and %lld", (long long)s->min, (long long)s->max);
	if (!s->dflt)
		fprintf(out, ", required");
	else if (s->secret)
		fprintf(out, ", secret");
	else if (!*s->dflt)
		fprintf(out, ", default empty");
	else
		fprintf(out, ", default %s", s->dflt);
	fputc('\n', out);
}

void env_help(FILE *out, const char *program, const char *purpose, const struct env_setting *table,
	      size_t n)
{
	fprintf(
	    out,
	    "%s: %s\n\nOptions: --help, --version. Everything else is set by the environment:\n\n",
	    program, purpose);
	for (size_t i = 0; i < n; i++)
		help_one(out, &table[i]);
}

static const char *program_name(int argc, char **argv)
{
	const char *slash;

	if (argc < 1 || !argv[0])
		return "penstock";
	slash = strrchr(argv[0], '/');
	return slash ? slash + 1 : argv[0];
}

static void name_instance(struct env_common *common)
{
	struct strbuf b = {0};
	char host[65];

	if (common->instance[0])
		return;
	if (gethostname(host, sizeof(host)))
		strcpy(host, "host");
	host[sizeof(host) - 1] = '\0';
	/* The name becomes a token of a subject and of a bucket's key, and those have no dots. */
	for (char *p = host; *p; p++)
		if (*p == '.')
			*p = '-';
	strbuf_addf(&b, "%s-%ld", host, (long)getpid());
	free(common->instance);
	common->instance = strbuf_detach(&b, NULL);
}

int env_main(int argc, char **argv, const char *service, const char *purpose, const char *prefix,
	     const struct env_setting *table, size_t n, void *config, struct env_common *common)
{
	const char *program = program_name(argc, argv);
	enum log_level level;
	struct error err;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		env_help(stdout, program, purpose, table, n);
		return 1;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("%s %s\n", program, PENSTOCK_VERSION);
		return 1;
	}
	if (argc > 1) {
		fprintf(stderr, "%s: unknown argument %s (see --help)\n", program, argv[1]);
		return -1;
	}
	if (env_load(prefix, table, n, config, &err)) {
		fprintf(stderr, "%s: %s\n", program, err.msg);
		return -1;
	}
	if (log_level_parse(common->log_level, &level)) {
		fprintf(stderr, "%s: PENSTOCK_LOG_LEVEL: not debug, info, warn or error\n",
			program);
		env_done(table, n, config);
		return -1;
	}
	/* It becomes a part of the key of a bucket. */
	if (common->instance[0] &&
	    (!name_valid_channel(common->instance) || strchr(common->instance, ':'))) {
		fprintf(stderr, "%s: PENSTOCK_INSTANCE: letters, digits, _ - and . only\n",
			program);
		env_done(table, n, config);
		return -1;
	}
	name_instance(common);
	log_init(service, common->instance, level);
	return 0;
}
