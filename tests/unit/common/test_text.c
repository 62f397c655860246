/* Errors and the string builder. */
#include <stdint.h>
#include <string.h>

#include "common/err.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "suite.h"

START_TEST(error_is_untouched_until_set)
{
	struct error err = {.code = ERR_NONE, .msg = "before"};

	ck_assert_int_eq(err_set(NULL, ERR_FATAL, "nobody listens"), -1);
	ck_assert_str_eq(err.msg, "before");
	ck_assert_int_eq(err_set(&err, ERR_CONFLICT, "%s %d", "number", 7), -1);
	ck_assert_int_eq(err.code, ERR_CONFLICT);
	ck_assert_str_eq(err.msg, "number 7");
}
END_TEST

START_TEST(error_wrap_keeps_code_and_cause)
{
	struct error err;

	err_set(&err, ERR_TRANSIENT, "connection refused");
	ck_assert_int_eq(err_wrap(&err, "reading %s", "x"), -1);
	ck_assert_int_eq(err_wrap(&err, "start"), -1);
	ck_assert_int_eq(err.code, ERR_TRANSIENT);
	ck_assert_str_eq(err.msg, "start: reading x: connection refused");
	ck_assert_int_eq(err_wrap(NULL, "x"), -1);
}
END_TEST

START_TEST(error_wrap_cuts_what_is_too_long)
{
	struct error err;
	char many[1000];

	memset(many, 'c', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	err_set(&err, ERR_FATAL, "%s", many);
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	for (int i = 0; i < 5; i++)
		err_wrap(&err, "context %d", i);
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	ck_assert_int_eq(strncmp(err.msg, "context 4: context 3: ", 22), 0);
	err_set(&err, ERR_FATAL, "the cause");
	err_wrap(&err, "%s", many);
	ck_assert_ptr_nonnull(strstr(err.msg, ": the cause"));
}
END_TEST

START_TEST(error_codes_have_names)
{
	ck_assert_str_eq(err_code_name(ERR_NONE), "none");
	ck_assert_str_eq(err_code_name(ERR_TRANSIENT), "transient");
	ck_assert_str_eq(err_code_name(ERR_CONFLICT), "conflict");
	ck_assert_str_eq(err_code_name(ERR_REJECTED), "rejected");
	ck_assert_str_eq(err_code_name(ERR_FATAL), "fatal");
}
END_TEST

START_TEST(strbuf_zeroed_is_empty)
{
	struct strbuf b = {0};
	size_t len = 9;
	char *text;

	ck_assert_str_eq(strbuf_str(&b), "");
	strbuf_reset(&b);
	strbuf_consume(&b, 5);
	strbuf_add(&b, NULL, 0);
	ck_assert_uint_eq(b.len, 0);
	strbuf_done(&b);
	text = strbuf_detach(&b, &len);
	ck_assert_str_eq(text, "");
	ck_assert_uint_eq(len, 0);
	free(text);
	strbuf_done(&b);
	strbuf_done(NULL);
}
END_TEST

START_TEST(strbuf_grows_and_ends_in_nul)
{
	struct strbuf b = {0};
	size_t len;
	char *text;

	for (int i = 0; i < 10000; i++) {
		strbuf_addc(&b, (char)('a' + i % 26));
		ck_assert_int_eq(b.data[b.len], '\0');
	}
	strbuf_add(&b, "\0x", 2);
	strbuf_adds(&b, "end");
	ck_assert_uint_eq(b.len, 10005);
	ck_assert_mem_eq(b.data + 10000, "\0xend", 6);
	strbuf_consume(&b, 10002);
	ck_assert_str_eq(b.data, "end");
	strbuf_consume(&b, 100);
	ck_assert_str_eq(strbuf_str(&b), "");
	strbuf_adds(&b, "mine");
	text = strbuf_detach(&b, &len);
	ck_assert_ptr_null(b.data);
	ck_assert_uint_eq(len, 4);
	ck_assert_str_eq(text, "mine");
	free(text);
}
END_TEST

START_TEST(strbuf_formats_longer_than_its_storage)
{
	struct strbuf b = {0};
	char many[300];

	memset(many, 'm', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	strbuf_addf(&b, "%d-%s", 12, many);
	strbuf_addf(&b, "%s", "");
	strbuf_addf(&b, "%c", '!');
	ck_assert_uint_eq(b.len, 3 + 299 + 1);
	ck_assert_mem_eq(b.data, "12-mmm", 6);
	ck_assert_str_eq(b.data + b.len - 2, "m!");
	strbuf_done(&b);
}
END_TEST

START_TEST(json_text_is_escaped)
{
	struct strbuf b = {0};

	strbuf_add_json(&b, NULL);
	strbuf_add_json(&b, "");
	strbuf_add_json(&b, "a\"b\\c/\b\t\n\f\r\x01\x1f\x7f");
	ck_assert_str_eq(b.data, "null\"\"\"a\\\"b\\\\c/\\b\\t\\n\\f\\r\\u0001\\u001f\x7f\"");
	strbuf_reset(&b);
	strbuf_add_jsonn(&b, "a\0b", 3);
	ck_assert_str_eq(b.data, "\"a\\u0000b\"");
	strbuf_reset(&b);
	strbuf_add_json(&b, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80");
	ck_assert_str_eq(b.data, "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\"");
	strbuf_done(&b);
}
END_TEST

/* Each byte at each place of a word must be found: a JSON parser that is not ours reads it back. */
START_TEST(json_text_comes_back_from_a_parser)
{
	char text[24];

	for (int c = 1; c < 0x80; c++) {
		for (size_t at = 0; at < sizeof(text) - 1; at++) {
			struct strbuf b = {0};
			json_t *value;

			memset(text, '!', sizeof(text) - 1); /* 0x21: next to the quote */
			text[sizeof(text) - 1] = '\0';
			text[at] = (char)c;
			strbuf_add_json(&b, text);
			value = json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
			ck_assert_ptr_nonnull(value);
			ck_assert_str_eq(json_string_value(value), text);
			json_decref(value);
			strbuf_done(&b);
		}
	}
}
END_TEST

START_TEST(copies_are_equal)
{
	char *a = xstrdup("copy");
	char *b = xstrndup("copy", 2);
	char *c = xstrndup("copy", 20);
	char *d = xmemdup("co\0y", 4);
	int *e = xcalloc(4, sizeof(*e));

	ck_assert_str_eq(a, "copy");
	ck_assert_str_eq(b, "co");
	ck_assert_str_eq(c, "copy");
	ck_assert_mem_eq(d, "co\0y", 4);
	ck_assert_int_eq(e[0] | e[3], 0);
	a = xrealloc(a, 100);
	ck_assert_str_eq(a, "copy");
	free(a);
	free(b);
	free(c);
	free(d);
	free(e);
	free(xmalloc(0));
	free(xmemdup("", 0));
}
END_TEST

RUN_TESTS("text", error_is_untouched_until_set, error_wrap_keeps_code_and_cause,
	  error_wrap_cuts_what_is_too_long, error_codes_have_names, strbuf_zeroed_is_empty,
	  strbuf_grows_and_ends_in_nul, strbuf_formats_longer_than_its_storage,
	  json_text_is_escaped, json_text_comes_back_from_a_parser, copies_are_equal)
