/* Frames of a client, whole, in fragments, in splits of every size, compressed; and what RFC 6455
 * and RFC 7692 forbid. */
#include "common/ws.h"
#include "services/edge/inbox.h"
#include "tests/unit/common/suite.h"

#define MAX 1000

static struct deflater deflater = {.level = 1};
static struct inbox_rules rules = {.max = MAX, .opcode = WS_TEXT};

static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};

static void frame(struct strbuf *b, bool fin, unsigned opcode, const void *payload, size_t len)
{
	uint8_t head[WS_HEADER_MAX];
	size_t n = ws_header(head, (enum ws_opcode)opcode, len, mask), at;

	if (!fin)
		head[0] &= 0x7f;
	strbuf_add(b, head, n);
	at = b->len;
	strbuf_add(b, payload, len);
	ws_mask((uint8_t *)b->data + at, len, mask, 0);
}

static void text(struct strbuf *b, bool fin, unsigned opcode, const char *payload)
{
	frame(b, fin, opcode, payload, strlen(payload));
}

/* Feeds the bytes in pieces of `step`; each event is noted as a line. Ends at the first bad one. */
static void feed(struct inbox *in, const struct strbuf *bytes, size_t step, struct strbuf *log)
{
	static const char *const names[] = {"message", "ping", "pong", "close", "bad"};

	for (size_t at = 0; at < bytes->len; at += step) {
		size_t n = bytes->len - at < step ? bytes->len - at : step;
		uint8_t *piece = xmemdup(bytes->data + at, n);
		struct inbox_cursor cur;
		struct inbox_event e;

		inbox_start(in, &cur, piece, n);
		while (inbox_next(in, &cur, &rules, &e)) {
			strbuf_addf(log, "%s %u [%.*s]\n", names[e.kind], e.code, (int)e.len,
				    e.len ? (const char *)e.data : "");
			if (e.kind == INBOX_BAD) {
				free(piece);
				return;
			}
		}
		inbox_end(in, &cur);
		free(piece);
	}
}

/* The same events in whatever pieces the bytes come, and nothing is kept at the end. */
static void expect(struct strbuf *bytes, const char *events)
{
	for (size_t step = 1; step <= bytes->len; step++) {
		struct inbox in = {0};
		struct strbuf log = {0};

		feed(&in, bytes, step, &log);
		ck_assert_str_eq(strbuf_str(&log), events);
		strbuf_done(&log);
		inbox_done(&in);
	}
	strbuf_done(bytes);
}

START_TEST(whole_messages)
{
	struct strbuf b = {0};

	text(&b, true, WS_TEXT, "hello");
	text(&b, true, WS_TEXT, "");
	text(&b, true, WS_TEXT, "gr\xc3\xbc\xc3\x9f");
	expect(&b, "message 0 [hello]\nmessage 0 []\nmessage 0 [gr\xc3\xbc\xc3\x9f]\n");
}
END_TEST

START_TEST(fragments_with_control_frames_between)
{
	struct strbuf b = {0};

	text(&b, false, WS_TEXT, "a\xc3"); /* a character may be split between fragments */
	text(&b, true, WS_PING, "p");
	text(&b, false, WS_CONTINUATION, "");
	text(&b, true, WS_PONG, "");
	text(&b, true, WS_CONTINUATION, "\xbc");
	text(&b, true, WS_TEXT, "next");
	expect(&b, "ping 0 [p]\npong 0 []\nmessage 0 [a\xc3\xbc]\nmessage 0 [next]\n");
}
END_TEST

START_TEST(closes)
{
	struct strbuf b = {0};

	text(&b, true, WS_CLOSE, "");
	expect(&b, "close 1005 []\n");
	frame(&b, true, WS_CLOSE, "\x03\xe8 bye", 6);
	expect(&b, "close 1000 [\x03\xe8 bye]\n");
	frame(&b, true, WS_CLOSE, "\x03", 1);
	expect(&b, "bad 1002 []\n");
	frame(&b, true, WS_CLOSE, "\x03\xed", 2); /* 1005 must not be sent */
	expect(&b, "bad 1002 []\n");
	frame(&b, true, WS_CLOSE, "\x03\xe8\xff", 3);
	expect(&b, "bad 1007 []\n");
	/* also in the middle of a message */
	text(&b, false, WS_TEXT, "a");
	frame(&b, true, WS_CLOSE, "\x03\xe9", 2);
	expect(&b, "close 1001 [\x03\xe9]\n");
}
END_TEST

START_TEST(wrong_order)
{
	struct strbuf b = {0};

	text(&b, true, WS_CONTINUATION, "a");
	expect(&b, "bad 1002 []\n");
	text(&b, false, WS_TEXT, "a");
	text(&b, true, WS_TEXT, "b");
	expect(&b, "bad 1002 []\n");
	text(&b, true, WS_TEXT, "a");
	text(&b, true, WS_CONTINUATION, "b");
	expect(&b, "message 0 [a]\nbad 1002 []\n");
	text(&b, true, WS_BINARY, "a");
	expect(&b, "bad 1003 []\n");
	text(&b, false, WS_PING, "a"); /* control frames are whole */
	expect(&b, "bad 1002 []\n");
	text(&b, true, 3, "a");
	expect(&b, "bad 1002 []\n");
	text(&b, true, 11, "");
	expect(&b, "bad 1002 []\n");
}
END_TEST

START_TEST(forbidden_headers)
{
	static const struct {
		const char *bytes;
		size_t len;
	} t[] = {
	    {"\x81\x01x", 3},               /* no mask */
	    {"\xc1\x81\0\0\0\0x", 7},       /* rsv1 without an extension */
	    {"\xa1\x81\0\0\0\0x", 7},       /* rsv2 */
	    {"\x91\x81\0\0\0\0x", 7},       /* rsv3 */
	    {"\x81\xfe\0\x01\0\0\0\0x", 9}, /* a length in more bytes than it needs */
	    {"\x81\xff\0\0\0\0\0\0\0\x01\0\0\0\0x", 15},
	    {"\x81\xff\x80\0\0\0\0\0\0\x01\0\0\0\0x", 15}, /* the top bit is set */
	    {"\x89\xfe\0\x7e\0\0\0\0x", 9},                /* a ping of 126 bytes */
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct strbuf b = {0};

		strbuf_add(&b, t[i].bytes, t[i].len);
		expect(&b, "bad 1002 []\n");
	}
}
END_TEST

START_TEST(utf8_of_whole_messages)
{
	static const char *const bad[] = {"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80",
					  "\xf4\x90\x80\x80"};
	struct strbuf b = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		text(&b, true, WS_TEXT, bad[i]);
		expect(&b, "bad 1007 []\n");
		text(&b, false, WS_TEXT, "");
		text(&b, true, WS_CONTINUATION, bad[i]);
		expect(&b, "bad 1007 []\n");
	}
}
END_TEST

START_TEST(oversize)
{
	char big[MAX + 1];
	struct strbuf b = {0}, log = {0};
	struct inbox in = {0};

	memset(big, 'x', sizeof(big));
	frame(&b, true, WS_TEXT, big, MAX);
	feed(&in, &b, 7, &log);
	ck_assert_uint_eq(log.len, MAX + strlen("message 0 []\n"));
	ck_assert_ptr_null(in.rest.data); /* nothing is kept between messages */
	strbuf_done(&b);
	strbuf_done(&log);
	frame(&b, true, WS_TEXT, big, MAX + 1);
	expect(&b, "bad 1009 []\n");
	/* Fragments count together; the header of the one too many is enough. */
	frame(&b, false, WS_TEXT, big, MAX - 1);
	text(&b, false, WS_CONTINUATION, "a");
	text(&b, true, WS_PING, "");
	text(&b, true, WS_CONTINUATION, "b");
	expect(&b, "ping 0 []\nbad 1009 []\n");
	inbox_done(&in);
}
END_TEST

/* Wrong text is not waited for: the fragment that has it is enough. */
START_TEST(utf8_fails_fast)
{
	struct strbuf b = {0};

	text(&b, false, WS_TEXT, "a\xc3");
	text(&b, false, WS_CONTINUATION, "b");
	text(&b, true, WS_PING, "");
	expect(&b, "bad 1007 []\n");
	/* half a character is none at the end only */
	text(&b, false, WS_TEXT, "\xf0\x9f");
	text(&b, false, WS_CONTINUATION, "\x90");
	text(&b, true, WS_PING, "");
	text(&b, true, WS_CONTINUATION, "");
	expect(&b, "ping 0 []\nbad 1007 []\n");
}
END_TEST

/* --- the binary subprotocol --- */

START_TEST(binary)
{
	struct strbuf b = {0};

	rules.opcode = WS_BINARY;
	frame(&b, true, WS_BINARY, "\xff\xfe", 2);
	frame(&b, false, WS_BINARY, "\xc3", 1);
	frame(&b, true, WS_CONTINUATION, "\x28", 1);
	expect(&b, "message 0 [\xff\xfe]\nmessage 0 [\xc3\x28]\n");
	text(&b, true, WS_TEXT, "a");
	expect(&b, "bad 1003 []\n");
	text(&b, false, WS_TEXT, "a");
	expect(&b, "bad 1003 []\n");
	frame(&b, false, WS_BINARY, "a", 1);
	text(&b, true, WS_TEXT, "a"); /* in the middle it is out of order before anything else */
	expect(&b, "bad 1002 []\n");
	rules.opcode = WS_TEXT;
}
END_TEST

/* --- compressed messages --- */

static void compressed(void (*cases)(struct strbuf *b))
{
	struct strbuf b = {0};

	rules.deflater = &deflater;
	cases(&b);
	rules.deflater = NULL;
	deflater_done(&deflater);
}

/* The frame's first byte gets rsv1. */
static void packed(struct strbuf *b, bool fin, unsigned opcode, const void *payload, size_t len)
{
	size_t at = b->len;

	frame(b, fin, opcode, payload, len);
	b->data[at] = (char)(b->data[at] | 0x40);
}

static size_t pack(const char *message, size_t len, uint8_t *out, size_t cap)
{
	size_t n = deflater_pack(&deflater, message, len, out, cap);

	ck_assert_uint_gt(n, 0);
	return n;
}

static void packed_cases(struct strbuf *b)
{
	uint8_t z[200];
	size_t n = pack("hello hello hello", 17, z, sizeof(z));

	packed(b, true, WS_TEXT, z, n);
	text(b, true, WS_TEXT, "plain"); /* may stand among them */
	packed(b, true, WS_TEXT, "\x00", 1);
	packed(b, true, WS_TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7); /* RFC 7692, 7.2.3.1 */
	expect(b, "message 0 [hello hello hello]\nmessage 0 [plain]\nmessage 0 []\n"
		  "message 0 [Hello]\n");
	/* a block without compression, one that says it is the last, two blocks (7.2.3.3 to 5) */
	packed(b, true, WS_TEXT, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11);
	packed(b, true, WS_TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8);
	packed(b, true, WS_TEXT, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13);
	expect(b, "message 0 [Hello]\nmessage 0 [Hello]\nmessage 0 [Hello]\n");
	/* in fragments: only the first one is marked */
	packed(b, false, WS_TEXT, z, 3);
	text(b, true, WS_PING, "p");
	frame(b, false, WS_CONTINUATION, "", 0);
	frame(b, true, WS_CONTINUATION, z + 3, n - 3);
	expect(b, "ping 0 [p]\nmessage 0 [hello hello hello]\n");
	packed(b, false, WS_TEXT, z, 3);
	packed(b, true, WS_CONTINUATION, z + 3, n - 3);
	expect(b, "bad 1002 []\n");
	packed(b, true, WS_PING, "", 0);
	expect(b, "bad 1002 []\n");
	packed(b, true, WS_CLOSE, "", 0);
	expect(b, "bad 1002 []\n");
	/* no context: what the message before had is not to be referred to (7.1.1.2) */
	packed(b, true, WS_TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
	packed(b, true, WS_TEXT, "\xf2\x00\x11\x00\x00", 5);
	expect(b, "message 0 [Hello]\nbad 1007 []\n");
}

START_TEST(compression)
{
	compressed(packed_cases);
}
END_TEST

static void bad_cases(struct strbuf *b)
{
	uint8_t z[200];
	size_t n = pack("hello hello hello", 17, z, sizeof(z));

	packed(b, true, WS_TEXT, "", 0); /* not even an empty message (7.2.3.6) */
	expect(b, "bad 1007 []\n");
	packed(b, true, WS_TEXT, "\xff\xff", 2); /* a block of no type */
	expect(b, "bad 1007 []\n");
	packed(b, true, WS_TEXT, z, n - 3); /* cut */
	expect(b, "bad 1007 []\n");
	n = pack("gr\xc3", 3, z, sizeof(z));
	packed(b, true, WS_TEXT, z, n);
	expect(b, "bad 1007 []\n");
	/* UTF-8 is that of the message, not of the fragments as they come */
	n = pack("\xc3\xbc\xc3\xbc", 4, z, sizeof(z));
	packed(b, false, WS_TEXT, z, 2);
	frame(b, true, WS_CONTINUATION, z + 2, n - 2);
	expect(b, "message 0 [\xc3\xbc\xc3\xbc]\n");
}

START_TEST(bad_compression)
{
	compressed(bad_cases);
}
END_TEST

static void bomb_cases(struct strbuf *b)
{
	static char big[64 * MAX];
	static uint8_t z[MAX];
	size_t n;
	struct strbuf log = {0};
	struct inbox in = {0};

	memset(big, 'x', sizeof(big));
	n = pack(big, MAX, z, sizeof(z));
	packed(b, true, WS_TEXT, z, n);
	feed(&in, b, 3, &log);
	ck_assert_uint_eq(log.len, MAX + strlen("message 0 []\n"));
	inbox_done(&in);
	strbuf_done(b);
	strbuf_done(&log);
	n = pack(big, MAX + 1, z, sizeof(z));
	packed(b, true, WS_TEXT, z, n);
	expect(b, "bad 1009 []\n");
	n = pack(big, sizeof(big), z, sizeof(z));
	packed(b, false, WS_TEXT, z, n / 2);
	frame(b, true, WS_CONTINUATION, z + n / 2, n - n / 2);
	expect(b, "bad 1009 []\n");
	/* not unpacked further than to the bound, however long it would go on */
	ck_assert_uint_le(deflater.message.cap, 4 * MAX);
}

START_TEST(bombs)
{
	compressed(bomb_cases);
}
END_TEST

START_TEST(keeps_only_what_is_incomplete)
{
	struct inbox in = {0};
	struct inbox_cursor cur;
	struct inbox_event e;
	struct strbuf b = {0};

	text(&b, true, WS_TEXT, "one");
	text(&b, true, WS_TEXT, "two");
	inbox_start(&in, &cur, (uint8_t *)b.data, b.len - 1);
	ck_assert(inbox_next(&in, &cur, &rules, &e));
	ck_assert(!inbox_next(&in, &cur, &rules, &e));
	inbox_end(&in, &cur);
	ck_assert_uint_eq(in.rest.len, 8); /* header 6, two of three bytes */
	inbox_start(&in, &cur, (uint8_t *)b.data + b.len - 1, 1);
	ck_assert(inbox_next(&in, &cur, &rules, &e));
	ck_assert_mem_eq(e.data, "two", 3);
	ck_assert(!inbox_next(&in, &cur, &rules, &e));
	inbox_end(&in, &cur);
	ck_assert_ptr_null(in.rest.data);
	strbuf_done(&b);
	inbox_done(&in);
}
END_TEST

RUN_TESTS("edge: inbox", whole_messages, fragments_with_control_frames_between, closes, wrong_order,
	  forbidden_headers, utf8_of_whole_messages, oversize, keeps_only_what_is_incomplete,
	  utf8_fails_fast, binary, compression, bad_compression, bombs)
