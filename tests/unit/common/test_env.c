/* Settings from the environment, and the lines of the logger. */
#include <string.h>
#include <unistd.h>

#include "common/env.h"
#include "common/json.h"
#include "common/log.h"
#include "suite.h"

struct config {
	struct env_common common;
	char *url, *key;
	int64_t slots;
	bool fast;
};

static const struct env_setting table[] = {
    COMMON_SETTINGS(struct config, common),
    {"PENSTOCK_T_FAST", ENV_BOOL, offsetof(struct config, fast), "false", 0, 0, "be fast", false},
    {"PENSTOCK_T_KEY", ENV_TEXT, offsetof(struct config, key), "hush", 0, 0, "the key", true},
    {"PENSTOCK_T_SLOTS", ENV_INT, offsetof(struct config, slots), "256", 1, 4096, "slots", false},
    {"PENSTOCK_T_URL", ENV_TEXT, offsetof(struct config, url), NULL, 0, 0, "where", false},
};
#define N (sizeof(table) / sizeof(*table))

static int load(struct config *c, struct error *err)
{
	return env_load("PENSTOCK_T_", table, N, c, err);
}

static void expect_error(const char *name, const char *value, const char *words)
{
	struct config c;
	struct error err = {0};

	setenv(name, value, 1);
	ck_assert_msg(load(&c, &err) == -1, "%s=%s was taken", name, value);
	ck_assert_int_eq(err.code, ERR_FATAL);
	ck_assert_msg(strstr(err.msg, name) && strstr(err.msg, words), "%s", err.msg);
	ck_assert_ptr_null(c.url); /* nothing is kept */
	ck_assert_ptr_null(c.common.nats_url);
	unsetenv(name);
}

START_TEST(defaults_and_values)
{
	struct config c;
	struct error err;

	setenv("PENSTOCK_T_URL", "http://x", 1);
	ck_assert_int_eq(load(&c, &err), 0);
	ck_assert_str_eq(c.url, "http://x");
	ck_assert_str_eq(c.key, "hush");
	ck_assert_int_eq(c.slots, 256);
	ck_assert(!c.fast);
	ck_assert_str_eq(c.common.nats_url, "nats://127.0.0.1:4222");
	ck_assert_int_eq(c.common.parts, 16);
	env_done(table, N, &c);
	ck_assert_ptr_null(c.url);
	env_done(table, N, &c);

	setenv("PENSTOCK_T_SLOTS", "4096", 1);
	setenv("PENSTOCK_T_FAST", "on", 1);
	setenv("PENSTOCK_T_KEY", "", 1);
	setenv("PENSTOCK_PARTS", "1", 1);
	ck_assert_int_eq(load(&c, &err), 0);
	ck_assert_int_eq(c.slots, 4096);
	ck_assert(c.fast);
	ck_assert_str_eq(c.key, "");
	ck_assert_int_eq(c.common.parts, 1);
	env_done(table, N, &c);
}
END_TEST

START_TEST(bad_values_name_their_variable)
{
	setenv("PENSTOCK_T_URL", "http://x", 1);
	expect_error("PENSTOCK_T_SLOTS", "0", "within 1 and 4096");
	expect_error("PENSTOCK_T_SLOTS", "4097", "within");
	expect_error("PENSTOCK_T_SLOTS", "", "integer");
	expect_error("PENSTOCK_T_SLOTS", "12x", "integer");
	expect_error("PENSTOCK_T_SLOTS", " 12", "integer");
	expect_error("PENSTOCK_T_SLOTS", "0x10", "integer");
	expect_error("PENSTOCK_T_SLOTS", "99999999999999999999", "within");
	expect_error("PENSTOCK_T_FAST", "maybe", "true");
	expect_error("PENSTOCK_T_FAST", "", "true");
	expect_error("PENSTOCK_T_SLOT", "5", "not a setting");
	expect_error("PENSTOCK_T_SLOTSS", "5", "not a setting");
	expect_error("PENSTOCK_T_", "5", "not a setting");
	expect_error("PENSTOCK_ADMIN_PORT", "65536", "within 0 and 65535");
}
END_TEST

START_TEST(required_text_must_be_there)
{
	struct config c;
	struct error err = {0};

	ck_assert_int_eq(load(&c, &err), -1);
	ck_assert_str_eq(err.msg, "PENSTOCK_T_URL is not set");
	setenv("PENSTOCK_T_URL", "", 1);
	ck_assert_int_eq(load(&c, &err), -1);
	ck_assert_str_eq(err.msg, "PENSTOCK_T_URL is empty");
}
END_TEST

START_TEST(other_services_variables_are_left_alone)
{
	struct config c;

	setenv("PENSTOCK_T_URL", "http://x", 1);
	setenv("PENSTOCK_OTHER_THING", "x", 1);
	setenv("PENSTOCK_THE", "x", 1);
	ck_assert_int_eq(load(&c, NULL), 0);
	env_done(table, N, &c);
}
END_TEST

START_TEST(help_tells_all_but_secrets)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	env_help(out, "penstock-t", "tests the environment", table, N);
	fclose(out);
	for (size_t i = 0; i < N; i++)
		ck_assert_ptr_nonnull(strstr(text, table[i].name));
	ck_assert_ptr_nonnull(strstr(text, "penstock-t: tests the environment"));
	ck_assert_ptr_nonnull(strstr(text, "within 1 and 4096, default 256"));
	ck_assert_ptr_nonnull(strstr(text, "required"));
	ck_assert_ptr_null(strstr(text, "hush"));
	free(text);
}
END_TEST

static int start(struct config *c, const char *arg)
{
	char program[] = "/usr/bin/penstock-t";
	char option[32];
	char *argv[] = {program, arg ? option : NULL, NULL};

	snprintf(option, sizeof(option), "%s", arg ? arg : "");
	return env_main(arg ? 2 : 1, argv, "t", "tests", "PENSTOCK_T_", table, N, c, &c->common);
}

START_TEST(main_handles_its_arguments)
{
	struct config c;

	ck_assert_int_eq(start(&c, "--help"), 1);
	ck_assert_int_eq(start(&c, "--version"), 1);
	ck_assert_int_eq(start(&c, "--what"), -1);
	ck_assert_int_eq(start(&c, NULL), -1); /* PENSTOCK_T_URL is not set */
	setenv("PENSTOCK_T_URL", "x", 1);
	setenv("PENSTOCK_LOG_LEVEL", "loud", 1);
	ck_assert_int_eq(start(&c, NULL), -1);
	unsetenv("PENSTOCK_LOG_LEVEL");
	ck_assert_int_eq(start(&c, NULL), 0);
	ck_assert_uint_gt(strlen(c.common.instance), 2);
	ck_assert_ptr_null(strchr(c.common.instance, '.'));
	env_done(table, N, &c);
	setenv("PENSTOCK_INSTANCE", "t-7", 1);
	ck_assert_int_eq(start(&c, NULL), 0);
	ck_assert_str_eq(c.common.instance, "t-7");
	env_done(table, N, &c);
}
END_TEST

/* --- the logger ------------------------------------------------------------------------- */

/* What fn writes to stderr, parsed; NULL if it wrote nothing. */
static json_t *logged(void (*fn)(void))
{
	char line[4096];
	FILE *file = tmpfile();
	int keep = dup(STDERR_FILENO);
	ssize_t n;

	ck_assert_ptr_nonnull(file);
	dup2(fileno(file), STDERR_FILENO);
	fn();
	dup2(keep, STDERR_FILENO);
	close(keep);
	n = pread(fileno(file), line, sizeof(line), 0);
	fclose(file);
	if (n <= 0)
		return NULL;
	ck_assert_int_eq(line[n - 1], '\n');
	ck_assert_ptr_eq(memchr(line, '\n', (size_t)n), line + n - 1);
	json_t *value = json_parse(line, (size_t)n, NULL);

	ck_assert_msg(value, "%.*s", (int)n, line);
	return value;
}

static void log_all_kinds(void)
{
	log_at(LOG_WARN, "all \"kinds\"", LOG_S("s", "te\nxt"), LOG_S("none", NULL), LOG_I("i", -7),
	       LOG_F("f", 0.5), LOG_F("inf", 1e308 * 10), LOG_B("b", true));
}

static void log_bytes(void)
{
	log_at(LOG_ERROR,
	       "a\xff"
	       "b",
	       LOG_S("cut", "x\xe2\x82"));
}

static void log_quietly(void)
{
	log_at(LOG_INFO, "nobody reads this");
}

START_TEST(log_lines_are_json)
{
	json_t *line;

	log_init("t", "t-1", LOG_DEBUG);
	line = logged(log_all_kinds);
	ck_assert_str_eq(json_string_value(json_object_get(line, "level")), "warn");
	ck_assert_str_eq(json_string_value(json_object_get(line, "service")), "t");
	ck_assert_str_eq(json_string_value(json_object_get(line, "instance")), "t-1");
	ck_assert_str_eq(json_string_value(json_object_get(line, "msg")), "all \"kinds\"");
	ck_assert_uint_eq(json_string_length(json_object_get(line, "time")), 27);
	ck_assert_str_eq(json_string_value(json_object_get(line, "s")), "te\nxt");
	ck_assert(json_is_null(json_object_get(line, "none")));
	ck_assert_int_eq(json_integer_value(json_object_get(line, "i")), -7);
	ck_assert_double_eq(json_real_value(json_object_get(line, "f")), 0.5);
	ck_assert(json_is_null(json_object_get(line, "inf")));
	ck_assert(json_is_true(json_object_get(line, "b")));
	json_decref(line);
}
END_TEST

START_TEST(log_survives_bytes_that_are_no_text)
{
	json_t *line = logged(log_bytes);

	ck_assert_str_eq(json_string_value(json_object_get(line, "msg")), "a\xef\xbf\xbd"
									  "b");
	ck_assert_str_eq(json_string_value(json_object_get(line, "cut")),
			 "x\xef\xbf\xbd\xef\xbf\xbd");
	json_decref(line);
}
END_TEST

START_TEST(log_levels)
{
	enum log_level level = LOG_INFO;
	json_t *line;

	ck_assert_int_eq(log_level_parse("error", &level), 0);
	ck_assert_int_eq(level, LOG_ERROR);
	ck_assert_int_eq(log_level_parse("debug", &level), 0);
	ck_assert_int_eq(level, LOG_DEBUG);
	ck_assert_int_eq(log_level_parse("loud", &level), -1);
	ck_assert_int_eq(log_level_parse("", &level), -1);
	log_init("t", NULL, LOG_WARN);
	ck_assert_ptr_null(logged(log_quietly));
	line = logged(log_all_kinds);
	ck_assert_ptr_null(json_object_get(line, "instance"));
	json_decref(line);
}
END_TEST

RUN_TESTS("env", defaults_and_values, bad_values_name_their_variable, required_text_must_be_there,
	  other_services_variables_are_left_alone, help_tells_all_but_secrets,
	  main_handles_its_arguments, log_lines_are_json, log_survives_bytes_that_are_no_text,
	  log_levels)
