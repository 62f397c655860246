#include <string.h>

#include "services/edge/frames.h"
#include "services/edge/sse.h"
#include "tests/unit/common/suite.h"

#define EPOCH "000660fe019967d3"

static struct strbuf b;

static void is(const char *text)
{
	ck_assert_str_eq(strbuf_str(&b), text);
	strbuf_reset(&b);
}

static void event(const char *json, uint64_t offset)
{
	sse_event(&b, json, strlen(json), EPOCH, offset);
}

START_TEST(events)
{
	event("{\"op\":\"event\",\"data\":1}", 17);
	is("event: event\nid: " EPOCH ":17\ndata: {\"op\":\"event\",\"data\":1}\n\n");
	event("{\"op\":\"event\",\"data\":1}", 0); /* ephemeral: what was seen last stays */
	is("event: event\ndata: {\"op\":\"event\",\"data\":1}\n\n");
	event("{\"op\":\"error\",\"code\":\"x\"}", 0);
	is("event: problem\ndata: {\"op\":\"error\",\"code\":\"x\"}\n\n");
	event("{\"op\":\"reset\",\"offset\":5}", 0); /* only `subscribed` is a position */
	is("event: reset\ndata: {\"op\":\"reset\",\"offset\":5}\n\n");
	/* White space of JSON, and nothing that a line must not have. */
	event("{\"op\":\"event\",\"data\":[1,\n2,\r\n3]}", 0);
	is("event: event\ndata: {\"op\":\"event\",\"data\":[1, 2,  3]}\n\n");
	event("[]", 0);
	is("event: message\ndata: []\n\n");
	sse_beat(&b);
	is(":\n\n");
	strbuf_done(&b);
}
END_TEST

/* A stream that is cut off before its first event goes on from there. */
START_TEST(a_subscription_is_a_position)
{
	struct frame_buf f = {.encoding = ENCODING_JSON};

	frames_subscribed(&f, "", "room.1", EPOCH, 1234567890123, false);
	event(strbuf_str(&f.b), 0);
	is("event: subscribed\nid: " EPOCH
	   ":1234567890123\ndata: {\"op\":\"subscribed\",\"channel\":\"room.1\",\"epoch\":\"" EPOCH
	   "\",\"offset\":1234567890123,\"recovered\":false}\n\n");
	strbuf_reset(&f.b);
	frames_subscribed(&f, "", "offset", EPOCH, 0, true);
	event(strbuf_str(&f.b), 0);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&b), "\nid: " EPOCH ":0\n"));
	strbuf_done(&f.b);
	strbuf_done(&b);
}
END_TEST

START_TEST(heads)
{
	sse_head(&b, "00-aa-bb-01", 1500);
	ck_assert_int_eq(strncmp(strbuf_str(&b), "HTTP/1.1 200 OK\r\n", 17), 0);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&b), "\r\ntraceparent: 00-aa-bb-01\r\n\r\n"));
	ck_assert_str_eq(strstr(strbuf_str(&b), "\r\n\r\n") + 4, "retry: 1500\n\n");
	strbuf_done(&b);
}
END_TEST

START_TEST(positions)
{
	static const struct {
		const char *text, *epoch; /* "?": not ours, NULL: refused as ?after= */
		uint64_t offset;
	} t[] = {
	    {EPOCH ":0", EPOCH, 0},
	    {EPOCH ":17", EPOCH, 17},
	    {EPOCH ":999999999999999999", EPOCH, UINT64_C(999999999999999999)},
	    {EPOCH ":9999999999999999999", "?", 0},
	    {EPOCH ":", "?", 0},
	    {EPOCH ":x", "?", 0},
	    {EPOCH ":1x", "?", 0},
	    {EPOCH ":-1", "?", 0},
	    {EPOCH "0:1", "?", 0},
	    {"000660FE019967D3:1", "?", 0},
	    {":1", "?", 0},
	    {"", "?", 0},
	    {"rubbish and more of it", "?", 0},
	};
	struct client_msg msg;

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		bool good = strcmp(t[i].epoch, "?") != 0;

		msg = (struct client_msg){.op = OP_SUBSCRIBE};
		sse_read_id(t[i].text, &msg);
		ck_assert(msg.has_after);
		ck_assert_str_eq(msg.after_epoch, t[i].epoch);
		ck_assert_uint_eq(msg.offset, t[i].offset);
		msg = (struct client_msg){.op = OP_SUBSCRIBE};
		ck_assert_int_eq(sse_read_after(t[i].text, &msg), good ? 0 : -1);
		ck_assert_int_eq(msg.has_after, good);
	}
	msg = (struct client_msg){.op = OP_SUBSCRIBE};
	ck_assert_int_eq(sse_read_after("42", &msg), 0);
	ck_assert(msg.has_after && msg.offset == 42 && !msg.after_epoch[0]);
	ck_assert_int_eq(sse_read_after(" 42", &msg), -1);
}
END_TEST

RUN_TESTS("edge: server-sent events", events, a_subscription_is_a_position, heads, positions)
