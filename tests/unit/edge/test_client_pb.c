/* What a client may say in protobuf: the same as in JSON, and refused for the same. */
#include "common/pbwire.h"
#include "proto/client.pb-c.h"
#include "services/edge/client_msg.h"
#include "services/edge/resume.h"
#include "tests/unit/common/suite.h"

#define TASK_ID "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"

static struct client_msg msg;
static struct client_error why;

static int parse(const void *data, size_t len)
{
	memset(&msg, 0xa5, sizeof(msg)); /* nothing may be left of the one before */
	memset(&why, 0, sizeof(why));
	return client_pb_parse(data, len, &msg, &why);
}

static int say(const Penstock__V1__ClientFrame *f)
{
	uint8_t bytes[8192];
	size_t len = penstock__v1__client_frame__get_packed_size(f);

	ck_assert_uint_le(len, sizeof(bytes));
	penstock__v1__client_frame__pack(f, bytes);
	return parse(bytes, len);
}

static ProtobufCBinaryData bytes_of(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* One of each operation, to be changed by the tests. */
static Penstock__V1__ClientFrame frame;
static Penstock__V1__Connect hello;
static Penstock__V1__Subscribe subscribe;
static Penstock__V1__After after;
static Penstock__V1__Unsubscribe unsubscribe;
static Penstock__V1__Publish publish;
static Penstock__V1__Task task;
static Penstock__V1__Cancel cancel;
static Penstock__V1__Ack ack;
static Penstock__V1__Ping ping;

static Penstock__V1__ClientFrame *with(int op)
{
	frame = (Penstock__V1__ClientFrame)PENSTOCK__V1__CLIENT_FRAME__INIT;
	hello = (Penstock__V1__Connect)PENSTOCK__V1__CONNECT__INIT;
	subscribe = (Penstock__V1__Subscribe)PENSTOCK__V1__SUBSCRIBE__INIT;
	after = (Penstock__V1__After)PENSTOCK__V1__AFTER__INIT;
	unsubscribe = (Penstock__V1__Unsubscribe)PENSTOCK__V1__UNSUBSCRIBE__INIT;
	publish = (Penstock__V1__Publish)PENSTOCK__V1__PUBLISH__INIT;
	task = (Penstock__V1__Task)PENSTOCK__V1__TASK__INIT;
	cancel = (Penstock__V1__Cancel)PENSTOCK__V1__CANCEL__INIT;
	ack = (Penstock__V1__Ack)PENSTOCK__V1__ACK__INIT;
	ping = (Penstock__V1__Ping)PENSTOCK__V1__PING__INIT;
	hello.token = "pk_a_b";
	subscribe.channel = unsubscribe.channel = publish.channel = ack.channel = "room.7";
	publish.type = "chat.said";
	publish.data = bytes_of("{\"a\": [1]}");
	task.pipeline = "sum";
	task.key = "k k";
	task.input = bytes_of("\"t\"");
	cancel.task = TASK_ID;
	frame.id = "x7";
	frame.op_case = (Penstock__V1__ClientFrame__OpCase)op;
	frame.ping = op == PENSTOCK__V1__CLIENT_FRAME__OP_CONNECT       ? (void *)&hello
		     : op == PENSTOCK__V1__CLIENT_FRAME__OP_SUBSCRIBE   ? (void *)&subscribe
		     : op == PENSTOCK__V1__CLIENT_FRAME__OP_UNSUBSCRIBE ? (void *)&unsubscribe
		     : op == PENSTOCK__V1__CLIENT_FRAME__OP_PUBLISH     ? (void *)&publish
		     : op == PENSTOCK__V1__CLIENT_FRAME__OP_TASK        ? (void *)&task
		     : op == PENSTOCK__V1__CLIENT_FRAME__OP_CANCEL      ? (void *)&cancel
		     : op == PENSTOCK__V1__CLIENT_FRAME__OP_ACK         ? (void *)&ack
									: (void *)&ping;
	return &frame;
}

#define OP(name) PENSTOCK__V1__CLIENT_FRAME__OP_##name

START_TEST(every_operation)
{
	static const struct {
		int op;
		enum client_op is;
	} t[] = {{OP(CONNECT), OP_CONNECT},
		 {OP(SUBSCRIBE), OP_SUBSCRIBE},
		 {OP(UNSUBSCRIBE), OP_UNSUBSCRIBE},
		 {OP(PUBLISH), OP_PUBLISH},
		 {OP(TASK), OP_TASK},
		 {OP(CANCEL), OP_CANCEL},
		 {OP(ACK), OP_ACK},
		 {OP(PING), OP_PING}};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		ck_assert_msg(say(with(t[i].op)) == 0, "%zu: %s", i, why.message);
		ck_assert_int_eq(msg.op, t[i].is);
		ck_assert_str_eq(msg.id, "x7");
		/* Where JSON can do without the id, so can this. */
		with(t[i].op);
		frame.id = "";
		ck_assert_int_eq(say(&frame), t[i].is == OP_CONNECT || t[i].is == OP_ACK ? 0 : -1);
		ck_assert_str_eq(msg.id, "");
		ck_assert_int_eq(msg.op, t[i].is);
	}
}
END_TEST

START_TEST(every_member)
{
	with(OP(PUBLISH));
	publish.version = 3;
	publish.key = "k1";
	ck_assert_int_eq(say(&frame), 0);
	ck_assert_str_eq(msg.channel, "room.7");
	ck_assert_str_eq(msg.type, "chat.said");
	ck_assert_str_eq(msg.key, "k1");
	ck_assert_uint_eq(msg.version, 3);
	ck_assert(slice_is(msg.data, "{\"a\": [1]}"));
	with(OP(TASK));
	task.deadline_ms = DEADLINE_MAX_MS;
	task.priority = -100;
	task.not_before = (char *)"1969-01-01T00:00:00Z";
	ck_assert_int_eq(say(&frame), 0);
	ck_assert_int_eq(msg.not_before_ms, 1); /* long past, and yet there */
	ck_assert_str_eq(msg.pipeline, "sum");
	ck_assert_str_eq(msg.key, "k k");
	ck_assert(slice_is(msg.data, "\"t\""));
	ck_assert_uint_eq(msg.deadline_ms, DEADLINE_MAX_MS);
	ck_assert_int_eq(msg.priority, -100);
	with(OP(CANCEL));
	ck_assert_int_eq(say(&frame), 0);
	ck_assert_str_eq(msg.task, TASK_ID);
	ck_assert(!msg.has_after && !msg.data.len && !msg.token.len && !msg.version);
	with(OP(CONNECT));
	hello.resume = "abc.def";
	ck_assert_int_eq(say(&frame), 0);
	ck_assert(slice_is(msg.token, "pk_a_b") && slice_is(msg.resume, "abc.def"));
	with(OP(ACK));
	ack.offset = INT64_MAX;
	ck_assert_int_eq(say(&frame), 0);
	ck_assert_uint_eq(msg.offset, INT64_MAX);
}
END_TEST

START_TEST(positions)
{
	with(OP(SUBSCRIBE));
	subscribe.after = &after;
	ck_assert_int_eq(say(&frame), 0);
	ck_assert(msg.has_after && msg.offset == 0 && !*msg.after_epoch);
	after.offset = 42;
	after.epoch = "0005f5e100000000";
	ck_assert_int_eq(say(&frame), 0);
	ck_assert(msg.has_after);
	ck_assert_uint_eq(msg.offset, 42);
	ck_assert_str_eq(msg.after_epoch, "0005f5e100000000");
	after.epoch = "much longer than any epoch is";
	ck_assert_int_eq(say(&frame), 0);
	ck_assert_str_eq(msg.after_epoch, "?");
	after.offset = UINT64_MAX;
	ck_assert_int_eq(say(&frame), -1);
	ck_assert_str_eq(msg.id, "x7");
}
END_TEST

static void refused(const char *code)
{
	ck_assert_msg(say(&frame) == -1, "taken");
	ck_assert_str_eq(msg.id, "x7");
	ck_assert_int_ne(msg.op, OP_NONE);
	ck_assert_str_eq(why.code, code);
	ck_assert_uint_gt(strlen(why.message), 0);
}

START_TEST(what_is_refused_in_json)
{
	static const char *const names[] = {"", "a..b", "a.*", "a b", "gr\xc3\xbc\xc3\x9f", "\xff"};
	static const char *const json[] = {"",
					   "{",
					   "{} {}",
					   "nul",
					   "\xff",
					   "\"\xc3\"",
					   "\"\\u0000\"",
					   "\"\\ud800\"",
					   "{\"a\":1,\"a\":2}",
					   "9223372036854775808",
					   "1e999"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		with(OP(PUBLISH));
		publish.channel = (char *)(uintptr_t)names[i];
		refused("bad_request");
		with(OP(SUBSCRIBE));
		subscribe.channel = (char *)(uintptr_t)names[i];
		refused("bad_request");
		with(OP(PUBLISH));
		publish.type = (char *)(uintptr_t)names[i];
		refused("bad_request");
		with(OP(TASK));
		task.pipeline = (char *)(uintptr_t)names[i];
		refused("bad_request");
	}
	for (size_t i = 0; i < sizeof(json) / sizeof(*json); i++) {
		with(OP(PUBLISH));
		publish.data = bytes_of(json[i]);
		refused("bad_request");
		with(OP(TASK));
		task.input = bytes_of(json[i]);
		refused("bad_request");
	}
	with(OP(TASK));
	task.deadline_ms = DEADLINE_MAX_MS + 1;
	refused("bad_request");
	with(OP(TASK));
	task.priority = 101;
	refused("bad_request");
	with(OP(TASK));
	task.key = "";
	refused("bad_request");
	with(OP(PUBLISH));
	publish.key = "\xc3\xa4";
	refused("bad_request");
	with(OP(PUBLISH));
	publish.version = (uint32_t)INT32_MAX + 1;
	refused("bad_request");
	with(OP(CANCEL));
	cancel.task = "7";
	refused("bad_request");
	static const char *const tokens[] = {"a\\b", "a\"b", "a\x1b", "\xc3\xa4"};

	for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++) {
		with(OP(CONNECT));
		hello.token = (char *)(uintptr_t)tokens[i];
		refused("bad_request");
		with(OP(CONNECT));
		hello.resume = (char *)(uintptr_t)tokens[i];
		refused("bad_request");
	}
	with(OP(PUBLISH));
	publish.channel = "task.x";
	refused("forbidden");
	with(OP(PUBLISH));
	publish.type = "task.done";
	refused("forbidden");
}
END_TEST

static void of_length(size_t n, char *out)
{
	memset(out, 'a', n);
	out[n] = 0;
}

START_TEST(lengths)
{
	static char text[8000];
	static const size_t max[] = {REQUEST_ID_MAX - 2, CHANNEL_MAX, TYPE_MAX, KEY_MAX,
				     TENANT_MAX,         TOKEN_MAX};

	for (size_t i = 0; i < sizeof(max) / sizeof(*max); i++) {
		for (size_t more = 0; more < 2; more++) {
			of_length(max[i] + more, text);
			with(i == 4 ? OP(TASK) : i == 5 ? OP(CONNECT) : OP(PUBLISH));
			if (i == 0)
				frame.id = text;
			else if (i == 1)
				publish.channel = text;
			else if (i == 2)
				publish.type = text;
			else if (i == 3)
				publish.key = text;
			else if (i == 4)
				task.pipeline = text;
			else
				hello.token = text;
			ck_assert_msg(say(&frame) == (more ? -1 : 0), "%zu %zu", i, more);
			ck_assert_str_eq(msg.id, i ? "x7" : more ? "" : text);
		}
	}
}
END_TEST

/* Fields by hand: what no packer would write. */
START_TEST(odd_messages)
{
	static const struct {
		const char *bytes;
		size_t len;
		enum client_op op;
		const char *id;
	} t[] = {
	    {"", 0, OP_NONE, ""},
	    {"\xff", 1, OP_NONE, ""},
	    {"\x4a\x05", 2, OP_NONE, ""},                      /* longer than the frame */
	    {"{\"op\":\"ping\",\"id\":1}", 20, OP_NONE, ""},   /* JSON */
	    {"\x0a\x01x", 3, OP_NONE, "x"},                    /* no op */
	    {"\x0a\x01x\x0b", 4, OP_NONE, ""},                 /* a group */
	    {"\x0a\x01x\xa2\x06\x00", 6, OP_UNKNOWN, "x"},     /* field 100: one of tomorrow's */
	    {"\x0a\x01x\x4a\x00\x4a\x00", 7, OP_UNKNOWN, "x"}, /* two */
	    {"\x0a\x01x\x4a\x00\x3a\x00", 7, OP_UNKNOWN, "x"},
	    {"\x0a\x01x\x48\x01", 5, OP_UNKNOWN, "x"},                        /* ping as a number */
	    {"\x0a\x01x\x4a\x00\xa0\x06\x01", 8, OP_PING, "x"},               /* and a field more */
	    {"\x0a\x01x\x4a\x02\x08\x01", 7, OP_PING, "x"},                   /* inside as well */
	    {"\x0a\x01x\x4a\x01\x08", 6, OP_PING, "x"},                       /* broken inside */
	    {"\x0a\x01x\x22\x06\x0a\x01r\x0a\x01r", 11, OP_UNSUBSCRIBE, "x"}, /* a member twice */
	    {"\x0a\x01x\x22\x02\x08\x01", 7, OP_UNSUBSCRIBE, "x"},            /* of another type */
	    {"\x0a\x01\xff\x4a\x00", 5, OP_PING, ""}, /* the id is no text */
	    {"\x0a\x01\x00\x4a\x00", 5, OP_PING, ""},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		ck_assert_msg(parse(t[i].bytes, t[i].len) == -1, "%zu", i);
		ck_assert_msg(msg.op == t[i].op, "%zu: op %d", i, msg.op);
		ck_assert_str_eq(msg.id, t[i].id);
		ck_assert_str_eq(why.code, "bad_request");
	}
	/* Fields may come in any order, and default values may be written. */
	ck_assert_int_eq(parse("\x4a\x00\x0a\x01x", 5), 0);
	ck_assert_str_eq(msg.id, "x");
	ck_assert_int_eq(parse("\x0a\x01x\x42\x05\x10\x00\x0a\x01r", 10), 0);
	ck_assert_int_eq(msg.op, OP_ACK);
}
END_TEST

/* As deep as in JSON, where the message is one level of its own. */
START_TEST(nesting)
{
	char deep[200];

	for (size_t n = 63; n < 65; n++) {
		memset(deep, '[', n);
		memset(deep + n, ']', n);
		deep[2 * n] = 0;
		with(OP(PUBLISH));
		publish.data = bytes_of(deep);
		ck_assert_int_eq(say(&frame), n == 63 ? 0 : -1);
	}
}
END_TEST

RUN_TESTS("edge: what clients say in protobuf", every_operation, every_member, positions,
	  what_is_refused_in_json, lengths, odd_messages, nesting)
