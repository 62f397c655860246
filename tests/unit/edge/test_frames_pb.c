/* Every frame in protobuf, read back by protobuf-c: the members of the JSON frame, and absent where
 * they have their default value. */
#include "proto/client.pb-c.h"
#include "services/edge/frames.h"
#include "tests/unit/common/suite.h"

static struct frame_buf b = {.encoding = ENCODING_PROTOBUF};
static Penstock__V1__ServerFrame *m;

#define OP(name) PENSTOCK__V1__SERVER_FRAME__OP_##name

static void read_back(int op, const char *id)
{
	if (m)
		penstock__v1__server_frame__free_unpacked(m, NULL);
	m = penstock__v1__server_frame__unpack(NULL, b.b.len, (const uint8_t *)b.b.data);
	ck_assert_ptr_nonnull(m);
	ck_assert_int_eq((int)m->op_case, op);
	ck_assert_str_eq(m->id, id);
	/* The shortest form: what protobuf-c would have written. */
	ck_assert_uint_eq(penstock__v1__server_frame__get_packed_size(m), b.b.len);
	strbuf_reset(&b.b);
}

static void done(void)
{
	penstock__v1__server_frame__free_unpacked(m, NULL);
	m = NULL;
	strbuf_done(&b.b);
}

START_TEST(greetings)
{
	frames_connected(&b, &(struct frame_connected){.session = "s1",
						       .tenant = "acme",
						       .edge = "edge-a",
						       .resume = "r.t",
						       .resume_ttl_ms = 120000,
						       .ping_ms = 25000,
						       .limits = {65536, 262144, 128, 256}});
	read_back(OP(CONNECTED), "");
	ck_assert_str_eq(m->connected->session, "s1");
	ck_assert_str_eq(m->connected->tenant, "acme");
	ck_assert_str_eq(m->connected->edge, "edge-a");
	ck_assert_str_eq(m->connected->resume, "r.t");
	ck_assert_uint_eq(m->connected->resume_ttl_ms, 120000);
	ck_assert_uint_eq(m->connected->ping_ms, 25000);
	ck_assert_uint_eq(m->connected->limits->frame_bytes, 65536);
	ck_assert_uint_eq(m->connected->limits->task_input_bytes, 262144);
	ck_assert_uint_eq(m->connected->limits->subscriptions, 128);
	ck_assert_uint_eq(m->connected->limits->commands_in_flight, 256);
	frames_resume(&b, "t.k", 120000);
	read_back(OP(RESUME), "");
	ck_assert_str_eq(m->resume->resume, "t.k");
	ck_assert_uint_eq(m->resume->resume_ttl_ms, 120000);
	frames_drain(&b, "http://127.0.0.1:1", 500, 10000, "shutdown");
	read_back(OP(DRAIN), "");
	ck_assert_str_eq(m->drain->url, "http://127.0.0.1:1");
	ck_assert_uint_eq(m->drain->reconnect_after_ms, 500);
	ck_assert_uint_eq(m->drain->deadline_ms, 10000);
	ck_assert_str_eq(m->drain->reason, "shutdown");
	done();
}
END_TEST

START_TEST(subscriptions)
{
	frames_subscribed(&b, "7", "room.7", "0005f5e100000000", UINT64_MAX, true);
	read_back(OP(SUBSCRIBED), "7");
	ck_assert_str_eq(m->subscribed->channel, "room.7");
	ck_assert_str_eq(m->subscribed->epoch, "0005f5e100000000");
	ck_assert_uint_eq(m->subscribed->offset, UINT64_MAX);
	ck_assert(m->subscribed->recovered);
	frames_subscribed(&b, "gr\xc3\xbc\xc3\x9f \"", "r", "e", 0, false);
	read_back(OP(SUBSCRIBED), "gr\xc3\xbc\xc3\x9f \"");
	ck_assert(!m->subscribed->recovered && !m->subscribed->offset);
	frames_unsubscribed(&b, "x", "r");
	read_back(OP(UNSUBSCRIBED), "x");
	ck_assert_str_eq(m->unsubscribed->channel, "r");
	frames_gap(&b, "r", 3, 9, "slow_consumer", true);
	read_back(OP(GAP), "");
	ck_assert(m->gap->from == 3 && m->gap->to == 9 && m->gap->replayable);
	ck_assert_str_eq(m->gap->channel, "r");
	ck_assert_str_eq(m->gap->reason, "slow_consumer");
	done();
}
END_TEST

START_TEST(answers)
{
	struct frame_accepted a = {"e1", "task.t1", "t1", 42, true};
	struct frame_error e = {.code = "rate_limited",
				.message = "m",
				.scope = "tenant",
				.temporary = true,
				.retry_after_ms = 250,
				.limit = "tenant.events_per_s"};

	frames_accepted(&b, "1", &a);
	read_back(OP(ACCEPTED), "1");
	ck_assert_str_eq(m->accepted->event_id, "e1");
	ck_assert_str_eq(m->accepted->channel, "task.t1");
	ck_assert_str_eq(m->accepted->task, "t1");
	ck_assert(m->accepted->offset == 42 && m->accepted->duplicate);
	frames_error(&b, "7", &e);
	read_back(OP(ERROR), "7");
	ck_assert_str_eq(m->error->code, "rate_limited");
	ck_assert_str_eq(m->error->message, "m");
	ck_assert_str_eq(m->error->scope, "tenant");
	ck_assert(m->error->temporary && m->error->retry_after_ms == 250);
	ck_assert_uint_eq(m->error->details.len, strlen("{\"limit\":\"tenant.events_per_s\"}"));
	ck_assert_mem_eq(m->error->details.data, "{\"limit\":\"tenant.events_per_s\"}",
			 m->error->details.len);
	frames_error(&b, NULL, &(struct frame_error){.code = "conflict", .message = "m"});
	read_back(OP(ERROR), "");
	ck_assert_str_eq(m->error->scope, "connection");
	ck_assert(!m->error->temporary && !m->error->retry_after_ms && !m->error->details.len);
	frames_pong(&b, "p");
	read_back(OP(PONG), "p");
	frames_pong(&b, "");
	read_back(OP(PONG), "");
	done();
}
END_TEST

/* Lengths of one, two and three bytes, where the head is moved in front. */
START_TEST(events)
{
	static char data[70000];
	static const size_t sizes[] = {1, 50, 100, 127, 128, 5000, 16383, 16384, 69999};

	memset(data, '1', sizeof(data));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct event_view e = {.id = slice_of("e1"),
				       .channel = slice_of("room.7"),
				       .type = slice_of("chat.said"),
				       .data = {data, sizes[i]},
				       .version = 3,
				       .time_us = 1700000000123456};

		e.replay = slice_of(i % 3 ? "p1" : "");
		frames_event(&b, &e, i % 2, 42, 41);
		read_back(OP(EVENT), "");
		ck_assert_str_eq(m->event->replay, i % 3 ? "p1" : "");
		ck_assert_str_eq(m->event->event_id, "e1");
		ck_assert_str_eq(m->event->trace, "");
		ck_assert_str_eq(m->event->time, "2023-11-14T22:13:20.123456Z");
		ck_assert_uint_eq(m->event->offset, i % 2 ? 42 : 0);
		ck_assert_uint_eq(m->event->prev, i % 2 ? 41 : 0);
		ck_assert_uint_eq(m->event->data.len, sizes[i]);
		ck_assert_mem_eq(m->event->data.data, data, sizes[i]);
	}
	done();
}
END_TEST

RUN_TESTS("edge: frames in protobuf", greetings, subscriptions, answers, events)
