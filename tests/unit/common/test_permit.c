/* Patterns, and the permits that are made of them. */
#include <string.h>

#include "common/json.h"
#include "common/names.h"
#include "common/permit.h"
#include "suite.h"

static json_t *doc;

static struct permit *permit(const char *text)
{
	struct error err = {0};
	struct permit *p;

	doc = json_parse(text, strlen(text), NULL);
	ck_assert_msg(doc != NULL, "%s", text);
	p = permit_new(json_object_get(doc, "channels"), json_object_get(doc, "pipelines"), &err);
	ck_assert(p || err.code == ERR_REJECTED);
	json_decref(doc);
	return p;
}

START_TEST(patterns)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} t[] = {
	    {"room.7", "room.7", true},
	    {"room.7", "room.70", false},
	    {"room.7", "room", false},
	    {"*", "anything.at:all", true},
	    {"room.*", "room.7", true},
	    {"room.*", "room.7.x", true},
	    {"room.*", "room", false},
	    {"room.*", "rooms.7", false},
	    {"room*", "room", true},
	    {"room*", "rooms.7", true},
	    {"room*", "roo", false},
	    {"*.chat", "a.chat", true},
	    {"*.chat", "a.b.chat", false},
	    {"*.chat", "chat", false},
	    {"*.chat", "a.chats", false},
	    {"room.*.chat", "room.7.chat", true},
	    {"room.*.chat", "room.chat", false},
	    {"room.*.chat", "room.7.x.chat", false},
	    {"room.*.chat", "room.7.chat.x", false},
	    {"room.*.*", "room.7.chat.x", true},
	    {"room.*.*", "room.7", false},
	    {"a.*.b.*", "a.1.b.2.3", true},
	    {"a.*.b.*", "a.b.b", false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		ck_assert_msg(pattern_valid(t[i].pattern), "%s", t[i].pattern);
		ck_assert_msg(pattern_fits(t[i].pattern, t[i].name) == t[i].fits, "%s %s",
			      t[i].pattern, t[i].name);
	}
}
END_TEST

START_TEST(what_is_no_pattern)
{
	static const char *const bad[] = {"",     ".",  "a.",   ".a",  "a..b",       "**",
					  "a.**", "*a", "a*b",  "a*.", "a*.b",       "*.a*b",
					  "a b",  "a>", "a.*b", "a/b", "gr\xc3\xbcn"};
	char text[CHANNEL_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!pattern_valid(bad[i]), "%s", bad[i]);
	memset(text, 'a', sizeof(text));
	text[CHANNEL_MAX] = 0;
	ck_assert(pattern_valid(text));
	text[CHANNEL_MAX] = 'a';
	text[CHANNEL_MAX + 1] = 0;
	ck_assert(!pattern_valid(text));
}
END_TEST

START_TEST(each_right_by_itself)
{
	struct permit *p =
	    permit("{\"channels\": {\"subscribe\": [\"a.*\", \"b\"],"
		   " \"publish\": [\"c\"], \"else\": 1}, \"pipelines\": [\"sum*\"]}");

	ck_assert(permit_allows(p, PERMIT_SUBSCRIBE, "a.1"));
	ck_assert(permit_allows(p, PERMIT_SUBSCRIBE, "b"));
	ck_assert(!permit_allows(p, PERMIT_SUBSCRIBE, "c"));
	ck_assert(!permit_allows(p, PERMIT_SUBSCRIBE, "summarize"));
	ck_assert(permit_allows(p, PERMIT_PUBLISH, "c"));
	ck_assert(!permit_allows(p, PERMIT_PUBLISH, "b"));
	ck_assert(permit_allows(p, PERMIT_PIPELINE, "summarize"));
	ck_assert(!permit_allows(p, PERMIT_PIPELINE, "c"));
	for (int r = 0; r < PERMIT_N; r++)
		ck_assert(permit_any(p, (enum permit_right)r));
	permit_unref(p);
}
END_TEST

START_TEST(absent_names_nothing)
{
	static const char *const t[] = {"{}", "{\"channels\":{}}", "{\"channels\":null}",
					"{\"channels\":{\"subscribe\":[]},\"pipelines\":[]}"};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct permit *p = permit(t[i]);

		ck_assert(p);
		for (int r = 0; r < PERMIT_N; r++) {
			ck_assert(!permit_any(p, (enum permit_right)r));
			ck_assert(!permit_allows(p, (enum permit_right)r, "a"));
		}
		permit_unref(p);
	}
	ck_assert(permit_allows(NULL, PERMIT_PUBLISH, "a"));
	ck_assert(permit_any(NULL, PERMIT_PUBLISH));
}
END_TEST

START_TEST(refused)
{
	static const char *const bad[] = {
	    "{\"channels\":[]}",
	    "{\"channels\":\"*\"}",
	    "{\"channels\":{\"subscribe\":\"*\"}}",
	    "{\"channels\":{\"subscribe\":[1]}}",
	    "{\"channels\":{\"subscribe\":[\"a\",\"b..c\"]}}",
	    "{\"channels\":{\"publish\":{}}}",
	    "{\"pipelines\":\"a\"}",
	    "{\"pipelines\":[null]}",
	};
	struct strbuf b = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!permit(bad[i]), "%s", bad[i]);
	for (int n = PERMIT_PATTERNS; n <= PERMIT_PATTERNS + 1; n++) {
		struct permit *p;

		strbuf_reset(&b);
		strbuf_adds(&b, "{\"pipelines\":[\"a\"");
		for (int i = 1; i < n; i++)
			strbuf_addf(&b, ",\"a%d\"", i);
		strbuf_adds(&b, "]}");
		p = permit(b.data);
		ck_assert((p != NULL) == (n == PERMIT_PATTERNS));
		permit_unref(p);
	}
	strbuf_reset(&b); /* few of them, but long ones */
	strbuf_adds(&b, "{\"pipelines\":[\"a\"");
	for (int i = 0; i < 40; i++)
		strbuf_addf(&b, ",\"%0110d\"", i);
	strbuf_adds(&b, "]}");
	ck_assert(!permit(b.data));
	strbuf_done(&b);
}
END_TEST

/* A key's document restricts only what it speaks of. */
START_TEST(of_a_key)
{
	json_t *d = json_pack("{s:{s:[s]}}", "channels", "publish", "a");
	struct permit *p;
	struct error err;

	ck_assert_int_eq(permit_of_key(d, &p, &err), 0);
	ck_assert(permit_allows(p, PERMIT_PUBLISH, "a"));
	ck_assert(!permit_allows(p, PERMIT_PUBLISH, "b"));
	ck_assert(!permit_allows(p, PERMIT_SUBSCRIBE, "a"));
	ck_assert(permit_allows(p, PERMIT_PIPELINE, "a"));
	permit_unref(p);
	json_object_del(d, "channels");
	ck_assert_int_eq(permit_of_key(d, &p, &err), 0);
	ck_assert(!p);
	json_object_set_new(d, "pipelines", json_pack("[s]", "x"));
	ck_assert_int_eq(permit_of_key(d, &p, &err), 0);
	ck_assert(permit_allows(p, PERMIT_SUBSCRIBE, "a") && permit_allows(p, PERMIT_PUBLISH, "a"));
	ck_assert(permit_allows(p, PERMIT_PIPELINE, "x") &&
		  !permit_allows(p, PERMIT_PIPELINE, "y"));
	permit_unref(p);
	json_object_set_new(d, "pipelines", json_integer(1));
	ck_assert_int_eq(permit_of_key(d, &p, &err), -1);
	json_decref(d);
}
END_TEST

START_TEST(the_same)
{
	static const char text[] = "{\"channels\":{\"subscribe\":[\"a\"]},\"pipelines\":[\"b\"]}";
	struct permit *a = permit(text), *b = permit(text), *c;

	ck_assert(permit_same(a, b) && permit_hash(a) == permit_hash(b));
	ck_assert(permit_same(NULL, NULL) && !permit_same(a, NULL));
	permit_unref(b);
	/* the same texts, but another right */
	c = permit("{\"channels\":{\"publish\":[\"a\"]},\"pipelines\":[\"b\"]}");
	ck_assert(!permit_same(a, c));
	permit_unref(c);
	b = permit_ref(a);
	permit_unref(a);
	ck_assert(permit_allows(b, PERMIT_SUBSCRIBE, "a"));
	permit_unref(b);
	permit_unref(NULL);
}
END_TEST

RUN_TESTS("common: permits", patterns, what_is_no_pattern, each_right_by_itself,
	  absent_names_nothing, refused, of_a_key, the_same)
