/* What a client may say, and the code with which each kind of nonsense is refused. */
#include <stdio.h>

#include "common/strbuf.h"
#include "common/ws.h"
#include "services/edge/client_msg.h"
#include "services/edge/resume.h"
#include "tests/unit/common/suite.h"

#define TASK_ID "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"

static struct client_msg msg;
static struct client_error why;

static int parse(const char *text)
{
	memset(&why, 0, sizeof(why));
	return client_msg_parse(text, strlen(text), &msg, &why);
}

static int body(const char *text, enum client_op op, const char *key)
{
	memset(&why, 0, sizeof(why));
	return client_msg_body(text, strlen(text), op, key, &msg, &why);
}

static const struct {
	const char *text;
	enum client_op op;
	const char *id;
} good[] = {
    {"{\"op\":\"connect\"}", OP_CONNECT, ""},
    {"{\"op\":\"connect\",\"id\":\"1\",\"token\":\"pk_a_b\"}", OP_CONNECT, "\"1\""},
    {"{\"op\":\"connect\",\"resume\":\"abc.def\"}", OP_CONNECT, ""},
    {"{\"op\":\"subscribe\",\"id\":7,\"channel\":\"room.7\"}", OP_SUBSCRIBE, "7"},
    {"{\"id\":-7,\"channel\":\"a:b_c-d.e\",\"op\":\"subscribe\"}", OP_SUBSCRIBE, "-7"},
    {"{\"op\":\"subscribe\",\"id\":\"x\",\"channel\":\"r\",\"after\":{\"offset\":0}}", OP_SUBSCRIBE,
     "\"x\""},
    {"{\"op\":\"unsubscribe\",\"id\":\"x\",\"channel\":\"r\"}", OP_UNSUBSCRIBE, "\"x\""},
    {" {\n\"op\" :\t\"ping\" , \"id\":\"\\u00e9\"}\r\n", OP_PING, "\"\\u00e9\""},
    {"{\"op\":\"\\u0070ing\",\"id\":\"x\"}", OP_PING, "\"x\""},
    {"{\"op\":\"publish\",\"id\":1,\"channel\":\"r\",\"type\":\"note\",\"data\":null}", OP_PUBLISH,
     "1"},
    {"{\"op\":\"task\",\"id\":1,\"pipeline\":\"p\",\"key\":\"k k\",\"input\":{}}", OP_TASK, "1"},
    {"{\"op\":\"cancel\",\"id\":1,\"task\":\"" TASK_ID "\"}", OP_CANCEL, "1"},
    {"{\"op\":\"ack\",\"channel\":\"r\",\"offset\":9223372036854775807}", OP_ACK, ""},
};

START_TEST(takes_what_is_good)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ck_assert_msg(parse(good[i].text) == 0, "%s: %s", good[i].text, why.message);
		ck_assert_int_eq(msg.op, good[i].op);
		ck_assert_str_eq(msg.id, good[i].id);
	}
}
END_TEST

START_TEST(reads_every_member)
{
	ck_assert_int_eq(parse("{\"op\":\"publish\",\"id\":1,\"channel\":\"room.7\",\"type\":"
			       "\"chat.said\",\"version\":3,\"key\":\"k1\",\"data\":{\"a\": [1]}}"),
			 0);
	ck_assert_str_eq(msg.channel, "room.7");
	ck_assert_str_eq(msg.type, "chat.said");
	ck_assert_str_eq(msg.key, "k1");
	ck_assert_uint_eq(msg.version, 3);
	ck_assert(slice_is(msg.data, "{\"a\": [1]}"));
	ck_assert_int_eq(parse("{\"op\":\"task\",\"id\":1,\"pipeline\":\"sum\",\"key\":\"k\","
			       "\"input\":\"t\",\"deadline_ms\":604800000,\"priority\":-100,"
			       "\"not_before\":\"2026-11-24T05:00:00.0001+01:00\"}"),
			 0);
	ck_assert_str_eq(msg.pipeline, "sum");
	ck_assert(slice_is(msg.data, "\"t\""));
	ck_assert_uint_eq(msg.deadline_ms, DEADLINE_MAX_MS);
	ck_assert_int_eq(msg.priority, -100);
	ck_assert_int_eq(msg.not_before_ms, 1795492800001); /* never too early */
	/* Nothing of the message before is left. */
	ck_assert_int_eq(parse("{\"op\":\"ping\",\"id\":1}"), 0);
	ck_assert_str_eq(msg.pipeline, "");
	ck_assert_str_eq(msg.key, "");
	ck_assert_uint_eq(msg.deadline_ms, 0);
	ck_assert_int_eq(msg.priority, 0);
	ck_assert_int_eq(msg.not_before_ms, 0);
	ck_assert_uint_eq(msg.data.len, 0);
}
END_TEST

START_TEST(reads_positions)
{
	ck_assert_int_eq(parse("{\"op\":\"subscribe\",\"id\":1,\"channel\":\"r\",\"after\":{"
			       "\"epoch\":\"0005f5e100000000\",\"offset\":42}}"),
			 0);
	ck_assert(msg.has_after);
	ck_assert_str_eq(msg.after_epoch, "0005f5e100000000");
	ck_assert_uint_eq(msg.offset, 42);
	/* A string that cannot be an epoch is an unknown one, not an error. */
	ck_assert_int_eq(parse("{\"op\":\"subscribe\",\"id\":1,\"channel\":\"r\",\"after\":{"
			       "\"epoch\":\"much longer than any epoch is\",\"offset\":42}}"),
			 0);
	ck_assert_str_eq(msg.after_epoch, "?");
	ck_assert_int_eq(parse("{\"op\":\"subscribe\",\"id\":1,\"channel\":\"r\"}"), 0);
	ck_assert(!msg.has_after);
}
END_TEST

#define PUB  "{\"op\":\"publish\",\"id\":1,\"channel\":\"r\",\"type\":\"t\""
#define SUB  "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"r\""
#define TASK "{\"op\":\"task\",\"id\":1,\"pipeline\":\"p\",\"key\":\"k\",\"input\":1"

static const struct {
	const char *text;
	enum client_op op;
	const char *id, *code;
} refused[] = {
    /* no message at all: the connection is closed, by op NONE */
    {"", OP_NONE, "", "bad_request"},
    {"x", OP_NONE, "", "bad_request"},
    {"[]", OP_NONE, "", "bad_request"},
    {"\"ping\"", OP_NONE, "", "bad_request"},
    {"null", OP_NONE, "", "bad_request"},
    {"{", OP_NONE, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":1} x", OP_NONE, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":1,}", OP_NONE, "", "bad_request"},
    {"{'op':'ping'}", OP_NONE, "", "bad_request"},
    {"{\"op\":\"ping\",\"op\":\"ping\",\"id\":1}", OP_NONE, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":01}", OP_NONE, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":\"a\nb\"}", OP_NONE, "", "bad_request"},
    {"{\"id\":1}", OP_NONE, "1", "bad_request"},
    {"{\"op\":7,\"id\":1}", OP_NONE, "1", "bad_request"},
    {"{\"op\":\"ping\",\"id\":1,\"id\":2}", OP_NONE, "", "bad_request"},
    /* JSON, but with what is not taken: answered with the id */
    {PUB ",\"data\":{\"a\":1,\"a\":2}}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":{\"a\":1,\"\\u0061\":2}}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":9223372036854775808}", OP_PUBLISH, "1", "bad_request"}, /* beyond 64 bits */
    {PUB ",\"data\":[-9223372036854775809]}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1e999}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":\"a\\u0000b\"}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":{\"\\u0000\":1}}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":\"\\ud800\"}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":\"\\udc00\\ud800\"}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":\"\\ud800\\u0041\"}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,"
	 "\"l\":1,"
	 "\"m\":1}",
     OP_PUBLISH, "1", "bad_request"},
    {"{\"id\":1,\"data\":\"\\u0000\"}", OP_NONE, "1", "bad_request"},
    {"{\"op\":\"ping\",\"id\":\"\\ud800\"}", OP_PING, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":\"\\u0000\"}", OP_PING, "", "bad_request"},
    {"{\"op\":\"ping\\u0000\",\"id\":1}", OP_UNKNOWN, "1", "bad_request"},
    {"{\"op\":\"ping\",\"id\":9223372036854775808}", OP_PING, "", "bad_request"},
    {PUB ",\"data\":\"\\u0000\" x}", OP_NONE, "", "bad_request"}, /* nor is it JSON */
    /* an operation that does not exist */
    {"{\"op\":\"fly\",\"id\":1}", OP_UNKNOWN, "1", "bad_request"},
    {"{\"op\":\"PING\",\"id\":1}", OP_UNKNOWN, "1", "bad_request"},
    {"{\"op\":\"\",\"id\":1}", OP_UNKNOWN, "1", "bad_request"},
    {"{\"op\":\"a name that is longer than any\",\"id\":1}", OP_UNKNOWN, "1", "bad_request"},
    /* the id */
    {"{\"op\":\"ping\"}", OP_PING, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":null}", OP_PING, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":1.5}", OP_PING, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":1e3}", OP_PING, "", "bad_request"},
    {"{\"op\":\"ping\",\"id\":{}}", OP_PING, "", "bad_request"},
    /* members */
    {"{\"op\":\"ping\",\"id\":1,\"x\":1}", OP_PING, "1", "bad_request"},
    {SUB ",\"data\":1}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":\"\"}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":\"a..b\"}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":\"a.*\"}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":\"a.>\"}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":\"a b\"}", OP_SUBSCRIBE, "1", "bad_request"},
    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":7}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":7}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":{}}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":{\"offset\":-1}}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":{\"offset\":\"1\"}}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":{\"offset\":1e3}}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":{\"offset\":1,\"epoch\":5}}", OP_SUBSCRIBE, "1", "bad_request"},
    {SUB ",\"after\":{\"offset\":1,\"x\":5}}", OP_SUBSCRIBE, "1", "bad_request"},
    {PUB "}", OP_PUBLISH, "1", "bad_request"},
    {"{\"op\":\"publish\",\"id\":1,\"channel\":\"r\",\"data\":1}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1,\"version\":-1}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1,\"version\":2147483648}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1,\"version\":1.0}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1,\"key\":\"\"}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1,\"key\":\"\\t\"}", OP_PUBLISH, "1", "bad_request"},
    {PUB ",\"data\":1,\"key\":\"\\u00e9\"}", OP_PUBLISH, "1", "bad_request"},
    {"{\"op\":\"publish\",\"id\":1,\"channel\":\"task.x\",\"type\":\"t\",\"data\":1}", OP_PUBLISH,
     "1", "forbidden"},
    {"{\"op\":\"publish\",\"id\":1,\"channel\":\"r\",\"type\":\"task.done\",\"data\":1}",
     OP_PUBLISH, "1", "forbidden"},
    {"{\"op\":\"task\",\"id\":1,\"pipeline\":\"p\",\"input\":1}", OP_TASK, "1", "bad_request"},
    {"{\"op\":\"task\",\"id\":1,\"pipeline\":\"p.q\",\"key\":\"k\",\"input\":1}", OP_TASK, "1",
     "bad_request"},
    {TASK ",\"deadline_ms\":0}", OP_TASK, "1", "bad_request"},
    {TASK ",\"deadline_ms\":604800001}", OP_TASK, "1", "bad_request"},
    {TASK ",\"priority\":101}", OP_TASK, "1", "bad_request"},
    {TASK ",\"not_before\":1795492800000}", OP_TASK, "1", "bad_request"},
    {TASK ",\"not_before\":\"tomorrow\"}", OP_TASK, "1", "bad_request"},
    {TASK ",\"priority\":true}", OP_TASK, "1", "bad_request"},
    {"{\"op\":\"cancel\",\"id\":1,\"task\":\"7\"}", OP_CANCEL, "1", "bad_request"},
    {"{\"op\":\"cancel\",\"id\":1}", OP_CANCEL, "1", "bad_request"},
    {"{\"op\":\"ack\",\"channel\":\"r\"}", OP_ACK, "", "bad_request"},
    {"{\"op\":\"connect\",\"token\":7}", OP_CONNECT, "", "bad_request"},
    {"{\"op\":\"connect\",\"token\":\"a\\u0041\"}", OP_CONNECT, "", "bad_request"},
};

START_TEST(refuses_what_is_bad)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		ck_assert_msg(parse(refused[i].text) == -1, "taken: %s", refused[i].text);
		ck_assert_msg(msg.op == refused[i].op, "%s: op %d", refused[i].text, msg.op);
		ck_assert_str_eq(msg.id, refused[i].id);
		ck_assert_str_eq(why.code, refused[i].code);
		ck_assert_uint_gt(strlen(why.message), 0);
	}
}
END_TEST

/* {"op":"<op>", "<name>":"aaaa…" …}: where is the longest that is taken? */
static int with_long(const char *before, size_t n, const char *after)
{
	struct strbuf b = {0};
	int rc;

	strbuf_adds(&b, before);
	for (size_t i = 0; i < n; i++)
		strbuf_addc(&b, 'a');
	strbuf_adds(&b, after);
	rc = parse(strbuf_str(&b));
	strbuf_done(&b);
	return rc;
}

START_TEST(bounds_lengths)
{
	static const struct {
		const char *before, *after;
		size_t max;
	} t[] = {
	    {"{\"op\":\"ping\",\"id\":\"", "\"}", REQUEST_ID_MAX - 2},
	    {"{\"op\":\"subscribe\",\"id\":1,\"channel\":\"", "\"}", CHANNEL_MAX},
	    {"{\"op\":\"publish\",\"id\":1,\"channel\":\"r\",\"data\":1,\"type\":\"", "\"}",
	     TYPE_MAX},
	    {PUB ",\"data\":1,\"key\":\"", "\"}", KEY_MAX},
	    {"{\"op\":\"task\",\"id\":1,\"key\":\"k\",\"input\":1,\"pipeline\":\"", "\"}",
	     TENANT_MAX},
	    {"{\"op\":\"connect\",\"token\":\"", "\"}", TOKEN_MAX},
	    {"{\"op\":\"connect\",\"resume\":\"", "\"}", RESUME_MAX},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		ck_assert_msg(with_long(t[i].before, t[i].max, t[i].after) == 0, "%s", t[i].before);
		ck_assert_msg(with_long(t[i].before, t[i].max + 1, t[i].after) == -1, "%s",
			      t[i].before);
		ck_assert_str_eq(why.code, "bad_request");
	}
	/* An unknown member's name is cut in the message, not in the buffer. */
	ck_assert_int_eq(with_long("{\"op\":\"ping\",\"id\":1,\"", 5000, "\":1}"), -1);
}
END_TEST

/* What is said back must be UTF-8, wherever a name had to be cut. */
START_TEST(a_cut_name_stays_utf8)
{
	for (size_t pad = 0; pad < 4; pad++) {
		struct strbuf b = {0};
		uint32_t state = 0;

		strbuf_adds(&b, "{\"op\":\"ping\",\"id\":1,\"");
		for (size_t i = 0; i < pad; i++)
			strbuf_addc(&b, 'x');
		for (int i = 0; i < 30; i++)
			strbuf_adds(&b, "\xf0\x9f\x90\xa7");
		strbuf_adds(&b, "\":1}");
		ck_assert_int_eq(parse(strbuf_str(&b)), -1);
		ck_assert(ws_utf8(&state, (const uint8_t *)why.message, strlen(why.message)));
		ck_assert_uint_eq(state, 0);
		strbuf_done(&b);
	}
}
END_TEST

/* The bounds are of the text, not of how it was written. */
START_TEST(escapes_count_as_what_they_are)
{
	static const char *const last[] = {"a", "\\\"", "\\u0041", "\\/"};

	for (size_t i = 0; i < sizeof(last) / sizeof(*last); i++) {
		char after[16];

		snprintf(after, sizeof(after), "%s\"}", last[i]);
		ck_assert_msg(with_long(PUB ",\"data\":1,\"key\":\"", KEY_MAX - 1, after) == 0,
			      "%s", last[i]);
		ck_assert_uint_eq(strlen(msg.key), KEY_MAX);
		ck_assert_int_eq(with_long(PUB ",\"data\":1,\"key\":\"", KEY_MAX, after), -1);
	}
	ck_assert_int_eq(parse(PUB ",\"data\":1,\"key\":\"\\u0041\\u0042\\\\\"}"), 0);
	ck_assert_str_eq(msg.key, "AB\\");
}
END_TEST

static int nested(int levels)
{
	struct strbuf b = {0};
	int rc;

	strbuf_adds(&b, PUB ",\"data\":");
	for (int i = 0; i < levels; i++)
		strbuf_addc(&b, '[');
	for (int i = 0; i < levels; i++)
		strbuf_addc(&b, ']');
	strbuf_addc(&b, '}');
	rc = parse(strbuf_str(&b));
	strbuf_done(&b);
	return rc;
}

START_TEST(bounds_nesting)
{
	ck_assert_int_eq(nested(63), 0); /* 64 with the message itself */
	ck_assert_int_eq(nested(64), -1);
	ck_assert_int_eq(nested(30000), -1);
}
END_TEST

START_TEST(reads_http_bodies)
{
	const char *event = "{\"channel\":\"r\",\"type\":\"t\",\"data\":1,\"key\":\"k\"}";
	const char *task = "{\"pipeline\":\"p\",\"input\":1}";

	ck_assert_int_eq(body(event, OP_PUBLISH, NULL), 0);
	ck_assert_int_eq(msg.op, OP_PUBLISH);
	ck_assert_str_eq(msg.key, "k");
	ck_assert_int_eq(body(event, OP_PUBLISH, "k"), 0);
	ck_assert_int_eq(body(event, OP_PUBLISH, "other"), -1);
	ck_assert_int_eq(body(task, OP_TASK, "h"), 0);
	ck_assert_str_eq(msg.key, "h");
	ck_assert_int_eq(body(task, OP_TASK, NULL), -1); /* a task needs a key */
	ck_assert_int_eq(body(task, OP_TASK, ""), -1);
	ck_assert_int_eq(body(task, OP_TASK, "\x7f"), -1);
	ck_assert_int_eq(body(event, OP_PUBLISH, "\"k\""), 0); /* with quotes: the same key */
	ck_assert_str_eq(msg.key, "k");
	ck_assert_int_eq(body(event, OP_PUBLISH, "\"other\""), -1);
	ck_assert_int_eq(body("{\"op\":\"publish\",\"channel\":\"r\",\"type\":\"t\",\"data\":1}",
			      OP_PUBLISH, NULL),
			 -1);
	ck_assert_int_eq(body("[1]", OP_PUBLISH, NULL), -1);
	ck_assert_str_eq(why.code, "bad_request");
	ck_assert_int_eq(
	    body("{\"channel\":\"task.x\",\"type\":\"t\",\"data\":1}", OP_PUBLISH, NULL), -1);
	ck_assert_str_eq(why.code, "forbidden");
}
END_TEST

/* Idempotency-Key: a structured field's string, or bare. */
START_TEST(key_headers)
{
	static const char task[] = "{\"pipeline\":\"p\",\"input\":1}";
	static const struct {
		const char *header, *key; /* NULL: refused */
	} t[] = {
	    {"abc", "abc"},
	    {"\"abc\"", "abc"},
	    {"abc  ", "abc"},
	    {"\"abc\"  ", "abc"},
	    {"\"a b\"", "a b"},
	    {"\"a\\\"b\\\\c\"", "a\"b\\c"},
	    {"\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "8e03978e-40d5-43e8-bc93-6894a57f9324"},
	    {"\"abc\";p=1", "abc"},
	    {"\"\"", NULL},
	    {"", NULL},
	    {"   ", NULL},
	    {"\"", NULL},
	    {"\"abc", NULL},
	    {"\"abc\"d", NULL},
	    {"\"abc\", \"d\"", NULL},
	    {"\"a\\bc\"", NULL},
	    {"\"a\\", NULL},
	    {"\"\xc3\xa4\"", NULL},
	    {"\"a\tb\"", NULL},
	};
	char longest[KEY_MAX + 4];

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		int rc = body(task, OP_TASK, t[i].header);

		ck_assert_msg(rc == (t[i].key ? 0 : -1), "%s", t[i].header);
		if (t[i].key)
			ck_assert_str_eq(msg.key, t[i].key);
		else
			ck_assert_str_eq(why.code, "bad_request");
	}
	memset(longest, 'x', sizeof(longest));
	longest[0] = longest[KEY_MAX + 1] = '"';
	longest[KEY_MAX + 2] = 0;
	ck_assert_int_eq(body(task, OP_TASK, longest), 0);
	ck_assert_uint_eq(strlen(msg.key), KEY_MAX);
	memcpy(longest + KEY_MAX + 1, "x\"", 3);
	ck_assert_int_eq(body(task, OP_TASK, longest), -1);
	longest[0] = 'x';
	longest[KEY_MAX + 1] = 0;
	ck_assert_int_eq(body(task, OP_TASK, longest), -1);
}
END_TEST

RUN_TESTS("edge: what clients say", takes_what_is_good, reads_every_member, reads_positions,
	  refuses_what_is_bad, bounds_lengths, a_cut_name_stays_utf8,
	  escapes_count_as_what_they_are, bounds_nesting, reads_http_bodies, key_headers)
