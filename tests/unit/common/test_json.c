/* JSON: strict reading, compact writing. */
#include <string.h>

#include "common/json.h"
#include "suite.h"

static json_t *parse(const char *text, struct error *err)
{
	return json_parse(text, strlen(text), err);
}

START_TEST(good_values_are_read)
{
	static const char *const good[] = {
	    "{}",
	    "[]",
	    "null",
	    "true",
	    "1",
	    "-0.5e3",
	    "\"x\"",
	    " {\"a\" : [1, {\"a\": 2}]} \n",
	    "\"\\ud83d\\ude00\"",
	    "{\"a\":{\"b\":1},\"c\":{\"b\":1}}",
	    "\"]]]\\\"[[[\"",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		json_t *value = parse(good[i], NULL);

		ck_assert_msg(value, "refused: %s", good[i]);
		json_decref(value);
	}
}
END_TEST

START_TEST(bad_values_are_refused)
{
	static const char *const bad[] = {
	    "",
	    " ",
	    "{",
	    "}",
	    "nul",
	    "{\"a\":1,\"a\":2}",
	    "{} {}",
	    "{}x",
	    "[1,]",
	    "{'a':1}",
	    "\"\\u0000\"",
	    "{\"\\u0000\":1}",
	    "\"\\ud800\"",
	    "\"\xff\"",
	    "\"\xc0\x80\"",
	    "\"\xed\xa0\x80\"",
	    "01",
	    "+1",
	    "NaN",
	    "1e999",
	    "99999999999999999999",
	    "\"a\nb\"",
	    "\"",
	    "\"\\",
	    "[\"\\x\"]",
	    "// c\n1",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct error err = {0};
		json_t *value = parse(bad[i], &err);

		ck_assert_msg(!value, "accepted: %s", bad[i]);
		ck_assert_int_eq(err.code, ERR_REJECTED);
		ck_assert_uint_gt(strlen(err.msg), 0);
	}
	ck_assert_ptr_null(json_parse("1\0", 2, NULL));
	ck_assert_ptr_null(json_parse("\"a\0b\"", 5, NULL));
	ck_assert_ptr_null(json_parse("{\"a\":1}\0{}", 10, NULL));
}
END_TEST

/* Read, written: what comes out. */
START_TEST(values_are_written_shortest)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"0.1", "0.1"},
	    {"0.30000000000000004", "0.30000000000000004"},
	    {"3.0", "3.0"},
	    {"1e3", "1000.0"},
	    {"-2.50", "-2.5"},
	    {"1E400", NULL},
	    {"1e-400", "0.0"},
	    {"1e+22", "1e+22"},
	    {"-0", "0"},
	    {"-0.0", "-0.0"},
	    {"9223372036854775807", "9223372036854775807"},
	    {"-9223372036854775808", "-9223372036854775808"},
	    {"9223372036854775808", NULL},
	    {"-9223372036854775809", NULL},
	    {"18446744073709551616", NULL},
	    {"\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"",
	     "\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
	    {"\"\\/\\b\\f\\n\\r\\t\\\\\\\"\"", "\"/\\b\\f\\n\\r\\t\\\\\\\"\""},
	    {"\"a\\u001fb\"", "\"a\\u001fb\""},
	    {"{\"a\\u0062\":1,\"\":{}}", "{\"ab\":1,\"\":{}}"},
	    {"{\"ab\":1,\"a\\u0062\":1}", NULL},
	    {"[ 1 ,\t[ ] , { } ]", "[1,[],{}]"},
	    {"\"\\udc00\\ud800\"", NULL},
	    {"\"\\ud800\\u0041\"", NULL},
	    {"\"\\ud83d", NULL},
	    {"\"\\u12\"", NULL},
	    {"1.", NULL},
	    {".5", NULL},
	    {"1e", NULL},
	    {"1e+", NULL},
	    {"-", NULL},
	    {"{\"a\"}", NULL},
	    {"{a:1}", NULL},
	    {"{,}", NULL},
	    {"[1 2]", NULL},
	    {"\xef\xbb\xbf{}", NULL}, /* a byte order mark: RFC 8259, 8.1 */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *value = parse(cases[i].in, NULL);
		char *out = value ? json_text(value, NULL) : NULL;

		ck_assert_msg(cases[i].out ? out && !strcmp(out, cases[i].out) : !out, "%s: %s",
			      cases[i].in, out ? out : "refused");
		free(out);
		json_decref(value);
	}
}
END_TEST

START_TEST(long_names_and_numbers)
{
	struct strbuf b = {0};
	json_t *value;

	strbuf_adds(&b, "{\"\\n");
	for (int i = 0; i < 500; i++)
		strbuf_addc(&b, 'k');
	strbuf_adds(&b, "\":0.");
	for (int i = 0; i < 500; i++)
		strbuf_addc(&b, '5');
	strbuf_addc(&b, '}');
	value = json_parse(b.data, b.len, NULL);
	ck_assert_uint_eq(json_object_size(value), 1);
	ck_assert_double_eq_tol(json_real_value(json_object_iter_value(json_object_iter(value))),
				5.0 / 9, 1e-15);
	ck_assert_uint_eq(json_object_iter_key_len(json_object_iter(value)), 501);
	json_decref(value);
	strbuf_done(&b);
}
END_TEST

/* A value that holds itself is written as deep as a bound says, not for ever. */
START_TEST(a_ring_is_cut)
{
	json_t *outer = json_array(), *inner = json_array();
	struct strbuf b = {0};

	json_array_append(outer, inner);
	json_array_append(inner, outer);
	json_add(&b, outer);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&b), "[[[null]]]"));
	strbuf_done(&b);
	json_array_clear(inner);
	json_decref(inner);
	json_decref(outer);
}
END_TEST

START_TEST(errors_say_where)
{
	struct error err = {0};

	ck_assert_ptr_null(parse("{\"a\": tru}", &err));
	ck_assert_str_eq(err.msg, "JSON at byte 6: not a JSON value");
	ck_assert_ptr_null(json_parse(NULL, 0, &err));
	ck_assert_str_eq(err.msg, "JSON at byte 0: the end where a value should be");
}
END_TEST

START_TEST(only_len_bytes_are_read)
{
	json_t *value = json_parse("123456", 3, NULL);

	ck_assert_int_eq(json_integer_value(value), 123);
	json_decref(value);
}
END_TEST

START_TEST(depth_is_bounded)
{
	struct strbuf b = {0};
	struct error err = {0};
	json_t *value;

	for (int i = 0; i < 64; i++)
		strbuf_adds(&b, i % 2 ? "[" : "{\"a\":");
	strbuf_addc(&b, '1');
	for (int i = 63; i >= 0; i--)
		strbuf_addc(&b, i % 2 ? ']' : '}');
	value = json_parse(b.data, b.len, &err);
	ck_assert_msg(value, "%s", err.msg);
	json_decref(value);

	struct strbuf deeper = {0};

	strbuf_addf(&deeper, "[%s]", b.data);
	ck_assert_ptr_null(json_parse(deeper.data, deeper.len, &err));
	ck_assert_int_eq(err.code, ERR_REJECTED);
	ck_assert_ptr_nonnull(strstr(err.msg, "64"));
	strbuf_reset(&deeper);
	for (int i = 0; i < 1000000; i++)
		strbuf_addc(&deeper, '[');
	ck_assert_ptr_null(json_parse(deeper.data, deeper.len, &err));
	strbuf_done(&deeper);
	strbuf_done(&b);
}
END_TEST

START_TEST(brackets_in_strings_are_not_depth)
{
	struct strbuf b = {0};
	json_t *value;

	strbuf_addc(&b, '"');
	for (int i = 0; i < 200; i++)
		strbuf_adds(&b, "[{\\\"\\\\");
	strbuf_addc(&b, '"');
	value = json_parse(b.data, b.len, NULL);
	ck_assert_ptr_nonnull(value);
	json_decref(value);
	strbuf_done(&b);
}
END_TEST

START_TEST(text_is_compact_and_keeps_order)
{
	static const char text[] =
	    "{\"z\":1,\"a\":[true,null,-2.5,\"gr\xc3\xbcn \\\"x\\\"\"],\"m\":{},\"n\":[]}";
	struct strbuf b = {0};
	json_t *value = parse(text, NULL);
	size_t len;
	char *out = json_text(value, &len);

	ck_assert_str_eq(out, text);
	ck_assert_uint_eq(len, strlen(text));
	strbuf_adds(&b, "x=");
	json_add(&b, value);
	json_add(&b, NULL);
	ck_assert_int_eq(strncmp(b.data, "x={\"z\":1,", 9), 0);
	ck_assert_str_eq(b.data + b.len - 5, "}null");
	free(out);
	strbuf_done(&b);
	json_decref(value);
	value = json_integer(7);
	out = json_text(value, NULL);
	ck_assert_str_eq(out, "7");
	free(out);
	json_decref(value);
}
END_TEST

START_TEST(text_members)
{
	json_t *obj = parse("{\"s\":\"v\",\"n\":1,\"z\":null}", NULL);
	struct error err = {0};
	const char *out = "untouched";

	ck_assert_int_eq(json_get_text(obj, "s", true, &out, &err), 0);
	ck_assert_str_eq(out, "v");
	ck_assert_int_eq(json_get_text(obj, "q", false, &out, &err), 0);
	ck_assert_ptr_null(out);
	ck_assert_int_eq(err.code, ERR_NONE);
	ck_assert_int_eq(json_get_text(obj, "q", true, &out, &err), -1);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	ck_assert_str_eq(err.msg, "q is missing");
	ck_assert_int_eq(json_get_text(obj, "n", false, &out, &err), -1);
	ck_assert_str_eq(err.msg, "n must be a string");
	ck_assert_int_eq(json_get_text(obj, "z", false, &out, &err), -1);
	json_decref(obj);
}
END_TEST

START_TEST(integer_and_boolean_members)
{
	json_t *obj = parse("{\"i\":5,\"r\":5.0,\"b\":true,\"f\":false}", NULL);
	struct error err = {0};
	int64_t i = 77;
	bool b = true;

	ck_assert_int_eq(json_get_int(obj, "i", true, 5, 5, &i, &err), 0);
	ck_assert_int_eq(i, 5);
	i = 77;
	ck_assert_int_eq(json_get_int(obj, "q", false, 0, 9, &i, &err), 0);
	ck_assert_int_eq(i, 77);
	ck_assert_int_eq(json_get_int(obj, "q", true, 0, 9, &i, &err), -1);
	ck_assert_int_eq(json_get_int(obj, "i", true, 6, 9, &i, &err), -1);
	ck_assert_str_eq(err.msg, "i must be within 6 and 9");
	ck_assert_int_eq(json_get_int(obj, "i", true, 0, 4, &i, &err), -1);
	ck_assert_int_eq(json_get_int(obj, "r", true, 0, 9, &i, &err), -1);
	ck_assert_int_eq(i, 77);
	ck_assert_int_eq(json_get_bool(obj, "q", &b, &err), 0);
	ck_assert(b);
	ck_assert_int_eq(json_get_bool(obj, "f", &b, &err), 0);
	ck_assert(!b);
	ck_assert_int_eq(json_get_bool(obj, "b", &b, &err), 0);
	ck_assert(b);
	ck_assert_int_eq(json_get_bool(obj, "i", &b, &err), -1);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	json_decref(obj);
}
END_TEST

START_TEST(unknown_members)
{
	static const char *const names[] = {"a", "b", NULL};
	json_t *obj = parse("{\"b\":1,\"a\":2}", NULL);
	struct error err = {0};

	ck_assert_int_eq(json_only(obj, names, &err), 0);
	json_object_set_new(obj, "limts", json_null());
	ck_assert_int_eq(json_only(obj, names, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.msg, "limts"));
	json_decref(obj);
}
END_TEST

START_TEST(getters_take_what_is_no_object)
{
	json_t *array = json_array();
	const char *out;
	int64_t i = 3;

	ck_assert_int_eq(json_get_text(array, "a", false, &out, NULL), 0);
	ck_assert_int_eq(json_get_text(NULL, "a", true, &out, NULL), -1);
	ck_assert_int_eq(json_get_int(NULL, "a", false, 0, 1, &i, NULL), 0);
	json_decref(array);
}
END_TEST

RUN_TESTS("json", good_values_are_read, bad_values_are_refused, values_are_written_shortest,
	  long_names_and_numbers, a_ring_is_cut, errors_say_where, only_len_bytes_are_read,
	  depth_is_bounded, brackets_in_strings_are_not_depth, text_is_compact_and_keeps_order,
	  text_members, integer_and_boolean_members, unknown_members,
	  getters_take_what_is_no_object)
