/* How the load generator reads what servers say. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/client.pb-c.h"
#include "tests/unit/common/suite.h"
#include "tools/load/client.h"
#include "tools/load/watch.h"

static enum said read_one(const struct dialect *d, const char *text, size_t *used, struct heard *h)
{
	*used = d->read(NULL, text, strlen(text), h);
	return h->what;
}

START_TEST(nats_frame_of_many)
{
	const char *at =
	    "MSG a.b 1 5\r\nhello\r\nMSG a.b 1 reply 2\r\n\r\n\r\nPONG\r\n-ERR 'x'\r\n";
	struct heard h;
	size_t n;

	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_EVENT);
	ck_assert(h.len == 5 && !memcmp(h.text, "hello", 5));
	at += n;
	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_EVENT);
	ck_assert(h.len == 2 && !memcmp(h.text, "\r\n", 2));
	at += n;
	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_READY);
	at += n;
	ck_assert_int_eq(read_one(&dialect_nats, at, &n, &h), SAID_REFUSED);
	ck_assert_uint_eq(n, strlen(at));
}
END_TEST

START_TEST(nats_frame_that_lies)
{
	static const char *const bad[] = {
	    "MSG a 1 6\r\nhello\r\n", "MSG a 1 18446744073709551615\r\nx\r\n", "MSG a 1 1", "\r"};
	struct heard h;
	size_t n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ck_assert_int_eq(read_one(&dialect_nats, bad[i], &n, &h), SAID_BAD);
		ck_assert_uint_eq(n, strlen(bad[i]));
	}
}
END_TEST

START_TEST(penstock_and_nchan)
{
	struct heard h;
	size_t n;

	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"event\",\"x\":1}", &n, &h),
			 SAID_EVENT);
	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"accepted\"}", &n, &h), SAID_ANSWER);
	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"subscribed\"}", &n, &h),
			 SAID_READY);
	ck_assert_int_eq(read_one(&dialect_penstock, "{\"op\":\"gap\"}", &n, &h), SAID_REFUSED);
	ck_assert_str_eq(h.code, "gap");
	ck_assert_int_eq(
	    read_one(&dialect_penstock, "{\"op\":\"error\",\"code\":\"rate_limited\"}", &n, &h),
	    SAID_REFUSED);
	ck_assert_str_eq(h.code, "rate_limited");
	ck_assert_int_eq(read_one(&dialect_nchan, "{\"t\":1}", &n, &h), SAID_EVENT);
	ck_assert_int_eq(read_one(&dialect_nchan, "queued messages: 0", &n, &h), SAID_ANSWER);
	ck_assert_ptr_null(dialect_named("carrier pigeon"));
}
END_TEST

/* What the server would say, read by the dialect; what was read points into the frame. */
static enum said read_frame(const Penstock__V1__ServerFrame *f, struct heard *h)
{
	static uint8_t bytes[512];
	size_t len = penstock__v1__server_frame__get_packed_size(f);

	ck_assert_uint_le(len, sizeof(bytes));
	penstock__v1__server_frame__pack(f, bytes);
	ck_assert_uint_eq(dialect_protobuf.read(NULL, (const char *)bytes, len, h), len);
	ck_assert(dialect_protobuf.greeting((const char *)bytes, len) ==
		  (f->op_case == PENSTOCK__V1__SERVER_FRAME__OP_CONNECTED));
	return h->what;
}

START_TEST(protobuf_that_is_read)
{
	Penstock__V1__ServerFrame f = PENSTOCK__V1__SERVER_FRAME__INIT;
	Penstock__V1__Connected connected = PENSTOCK__V1__CONNECTED__INIT;
	Penstock__V1__Subscribed subscribed = PENSTOCK__V1__SUBSCRIBED__INIT;
	Penstock__V1__Accepted accepted = PENSTOCK__V1__ACCEPTED__INIT;
	Penstock__V1__Event event = PENSTOCK__V1__EVENT__INIT;
	Penstock__V1__Error error = PENSTOCK__V1__ERROR__INIT;
	Penstock__V1__Gap gap = PENSTOCK__V1__GAP__INIT;
	char payload[] = "{\"t\":1,\"n\":2}", id[] = "0", code[] = "rate_limited";
	struct heard h;

	f.op_case = PENSTOCK__V1__SERVER_FRAME__OP_CONNECTED;
	f.connected = &connected;
	ck_assert_int_eq(read_frame(&f, &h), SAID_OTHER);
	f.id = id;
	f.op_case = PENSTOCK__V1__SERVER_FRAME__OP_SUBSCRIBED;
	f.subscribed = &subscribed;
	ck_assert_int_eq(read_frame(&f, &h), SAID_READY);
	f.op_case = PENSTOCK__V1__SERVER_FRAME__OP_ACCEPTED;
	f.accepted = &accepted;
	ck_assert_int_eq(read_frame(&f, &h), SAID_ANSWER);
	error.code = code;
	f.op_case = PENSTOCK__V1__SERVER_FRAME__OP_ERROR;
	f.error = &error;
	ck_assert_int_eq(read_frame(&f, &h), SAID_REFUSED);
	ck_assert_str_eq(h.code, "rate_limited");
	f.id = (char *)(uintptr_t)protobuf_c_empty_string;
	f.op_case = PENSTOCK__V1__SERVER_FRAME__OP_GAP;
	f.gap = &gap;
	ck_assert_int_eq(read_frame(&f, &h), SAID_REFUSED);
	ck_assert_str_eq(h.code, "gap");
	event.data = (ProtobufCBinaryData){strlen(payload), (uint8_t *)payload};
	f.op_case = PENSTOCK__V1__SERVER_FRAME__OP_EVENT;
	f.event = &event;
	ck_assert_int_eq(read_frame(&f, &h), SAID_EVENT);
	ck_assert_ptr_nonnull(memmem(h.text, h.len, payload, strlen(payload)));
	ck_assert_uint_eq(dialect_protobuf.read(NULL, "\x2a\x05x", 3, &h), 3);
	ck_assert_int_eq(h.what, SAID_BAD);
	ck_assert_uint_gt(dialect_protobuf.read(NULL, "", 0, &h), 0);
	ck_assert_int_eq(h.what, SAID_BAD);
}
END_TEST

/* The one frame that the client has said. */
static Penstock__V1__ClientFrame *said_by(struct client *c)
{
	struct ws_frame f;
	char *payload;
	Penstock__V1__ClientFrame *frame;

	ck_assert_int_eq(ws_parse((uint8_t *)c->out.data, c->out.len, true, false, 4096, &f),
			 WS_OK);
	ck_assert_int_eq(f.opcode, WS_BINARY);
	ck_assert_uint_eq(f.header_len + f.len, c->out.len);
	payload = c->out.data + f.header_len;
	ws_mask((uint8_t *)payload, (size_t)f.len, f.mask, 0);
	frame = penstock__v1__client_frame__unpack(NULL, (size_t)f.len, (uint8_t *)payload);
	ck_assert_ptr_nonnull(frame);
	strbuf_reset(&c->out);
	return frame;
}

START_TEST(protobuf_that_is_said)
{
	struct pool pool = {.dialect = dialect_named("penstock-protobuf")};
	struct client c = {.pool = &pool, .state = CLIENT_OPEN};
	struct place place = {.channel = "load.1"};
	Penstock__V1__ClientFrame *f;

	ck_assert_ptr_eq(pool.dialect, &dialect_protobuf);
	ck_assert(dialect_protobuf.subscribe(&c, &place));
	f = said_by(&c);
	ck_assert_int_eq(f->op_case, PENSTOCK__V1__CLIENT_FRAME__OP_SUBSCRIBE);
	ck_assert_str_eq(f->subscribe->channel, "load.1");
	penstock__v1__client_frame__free_unpacked(f, NULL);

	dialect_protobuf.publish(&c, "load.1", "load.ephemeral", "{\"t\":1}", 7);
	f = said_by(&c);
	ck_assert_int_eq(f->op_case, PENSTOCK__V1__CLIENT_FRAME__OP_PUBLISH);
	ck_assert_str_eq(f->publish->channel, "load.1");
	ck_assert_str_eq(f->publish->type, "load.ephemeral");
	ck_assert(f->publish->data.len == 7 && !memcmp(f->publish->data.data, "{\"t\":1}", 7));
	penstock__v1__client_frame__free_unpacked(f, NULL);

	place.publishes = true;
	ck_assert(!dialect_protobuf.subscribe(&c, &place));
	ck_assert_uint_eq(c.out.len, 0);
	strbuf_done(&c.out);
}
END_TEST

START_TEST(watch_of_itself)
{
	struct watch w;
	struct usage from, to;
	struct strbuf out = {0};
	struct error err;
	char spec[64];

	/* Whose memory is read twice must be still: reading takes some itself. */
	pid_t quiet = fork();
	if (!quiet) {
		raise(SIGSTOP);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(quiet, NULL, WUNTRACED), quiet);
	snprintf(spec, sizeof(spec), "quiet=%d,gone=%d+%d", quiet, quiet, 1 << 30);
	ck_assert_int_eq(watch_init(&w, spec, &err), 0);
	watch_read(&w, &from);
	kill(quiet, SIGKILL);
	ck_assert_int_eq(waitpid(quiet, NULL, 0), quiet);
	ck_assert(from.bytes[0] > 0 && from.bytes[1] == from.bytes[0]);
	snprintf(spec, sizeof(spec), "self=%d", getpid());
	ck_assert_int_eq(watch_init(&w, spec, &err), 0);
	watch_read(&w, &from);
	do
		watch_read(&w, &to);
	while (to.cpu_s[0] - from.cpu_s[0] < 0.02);
	watch_write_cpu(&w, &from, &to, &out);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&out), "{\"self\":0.0"));
	ck_assert_int_eq(watch_init(&w, NULL, &err), 0);
	ck_assert_int_ne(watch_init(&w, "edge", &err), 0);
	ck_assert_int_ne(watch_init(&w, "edge=12+", &err), 0);
	ck_assert_int_ne(watch_init(&w, "edge=x", &err), 0);
	strbuf_done(&out);
}
END_TEST

RUN_TESTS("dialect", nats_frame_of_many, nats_frame_that_lies, penstock_and_nchan,
	  protobuf_that_is_read, protobuf_that_is_said, watch_of_itself)
