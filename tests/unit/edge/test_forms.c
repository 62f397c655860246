/* The forms of one event's frame: the same event in each, made once, and what a queue with a form
 * of its own sends and counts. */
#include <pthread.h>
#include <zlib.h>

#include "common/json.h"
#include "proto/client.pb-c.h"
#include "services/edge/forms.h"
#include "services/edge/frames.h"
#include "tests/unit/common/suite.h"

static struct deflater deflater = {.level = 1, .threshold = 64};
static struct out_pool pool;
static const struct outq_bounds bounds = {1 << 20, 1 << 20};

static struct frame *event_frame(const char *data)
{
	const struct event_view e = {.id = slice_of("0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
				     .channel = slice_of("room.7"),
				     .type = slice_of("gr\xc3\xbc\xc3\x9f"),
				     .data = slice_of(data),
				     .trace = slice_of("00-t"),
				     .version = 3,
				     .time_us = 1700000000123456};
	struct frame_buf b = {0};
	struct frame *f;

	frames_event(&b, &e, true, 42, 41);
	f = frame_new(FRAME_DURABLE, WS_TEXT, b.b.data, b.b.len);
	f->offset = 42;
	f->prev = 41;
	strbuf_done(&b.b);
	return f;
}

static struct frame *form(struct frame *f, unsigned n)
{
	if (n == FORM_EVENT)
		frame_event(f, "000660fe019967d3");
	else
		frame_form(f, n, &deflater);
	return n ? atomic_load(&f->forms[n - 1]) : f;
}

/* As a client unpacks it. */
static struct slice payload(const struct frame *f)
{
	static struct deflater client;
	struct slice out = {f->data + f->header, f->len - f->header};

	if (f->data[0] & 0x40)
		ck_assert_int_eq(deflater_unpack(&client, out.p, out.len, 1 << 20, &out), UNPACKED);
	return out;
}

static void is_the_event(struct slice s, const char *data)
{
	Penstock__V1__ServerFrame *m =
	    penstock__v1__server_frame__unpack(NULL, s.len, (const uint8_t *)s.p);

	ck_assert_ptr_nonnull(m);
	ck_assert_int_eq(m->op_case, PENSTOCK__V1__SERVER_FRAME__OP_EVENT);
	ck_assert_str_eq(m->event->channel, "room.7");
	ck_assert_str_eq(m->event->type, "gr\xc3\xbc\xc3\x9f");
	ck_assert_str_eq(m->event->event_id, "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b");
	ck_assert_str_eq(m->event->time, "2023-11-14T22:13:20.123456Z");
	ck_assert_str_eq(m->event->trace, "00-t");
	ck_assert_uint_eq(m->event->version, 3);
	ck_assert_uint_eq(m->event->offset, 42);
	ck_assert_uint_eq(m->event->prev, 41);
	ck_assert_uint_eq(m->event->data.len, strlen(data));
	ck_assert_mem_eq(m->event->data.data, data, strlen(data));
	penstock__v1__server_frame__free_unpacked(m, NULL);
}

START_TEST(one_event_in_every_form)
{
	/* A member of the data that looks as if the frame's own began there. */
	const char *data =
	    "{\"a\":1,\"data\":{\"op\":\"event\"},\"text\":\"aaaaaaaaaaaaaaaaaaaaaaaa\"}";
	struct frame *f = event_frame(data);
	struct slice json = {f->data + f->header, f->len - f->header};

	for (unsigned n = 1; n < FORM_EVENT; n++) {
		struct frame *g = form(f, n);

		ck_assert_ptr_ne(g, f);
		ck_assert_ptr_eq(form(f, n), g); /* once */
		ck_assert_int_eq(g->data[0] & 0x0f, n & FORM_PROTOBUF ? WS_BINARY : WS_TEXT);
		ck_assert_int_eq(!!(g->data[0] & 0x40), !!(n & FORM_DEFLATED));
		ck_assert(g->kind == FRAME_DURABLE && g->offset == 42 && g->prev == 41);
		ck_assert_uint_lt(g->len, f->len);
		if (n & FORM_PROTOBUF) {
			is_the_event(payload(g), data);
		} else {
			ck_assert_uint_eq(payload(g).len, json.len);
			ck_assert_mem_eq(payload(g).p, json.p, json.len);
		}
	}
	frame_unref(f);
}
END_TEST

START_TEST(what_would_not_shrink_stays_as_it_is)
{
	struct frame *f = event_frame("1");

	deflater.threshold = f->len - f->header + 1;
	ck_assert_ptr_eq(form(f, FORM_DEFLATED), f);
	ck_assert_ptr_eq(form(f, FORM_DEFLATED | FORM_PROTOBUF), form(f, FORM_PROTOBUF));
	deflater.threshold = 1;
	frame_unref(f);
	f = frame_new(FRAME_EPHEMERAL, WS_TEXT, "a1b", 3);
	ck_assert_ptr_eq(form(f, FORM_DEFLATED), f);
	frame_unref(f);
	deflater.threshold = 64;
}
END_TEST

static void delta(const char *text, size_t len, bool reset)
{
	struct delta_view d = {.channel = slice_of("task.t1"),
			       .task = slice_of("t1"),
			       .stage = slice_of("draft"),
			       .data = {text, len},
			       .attempt = 2,
			       .index = 5,
			       .reset = reset};
	struct frame_buf json = {0}, pb = {0}, direct = {.encoding = ENCODING_PROTOBUF};
	Penstock__V1__ServerFrame *m;

	frames_delta(&json, &d);
	frames_protobuf(&pb, (struct slice){json.b.data, json.b.len});
	frames_delta(&direct, &d);
	ck_assert_uint_eq(pb.b.len, direct.b.len);
	ck_assert_mem_eq(pb.b.data, direct.b.data, pb.b.len);
	m = penstock__v1__server_frame__unpack(NULL, pb.b.len, (uint8_t *)pb.b.data);
	ck_assert_ptr_nonnull(m);
	if (reset) {
		ck_assert_int_eq(m->op_case, PENSTOCK__V1__SERVER_FRAME__OP_RESET);
		ck_assert_uint_eq(m->reset->attempt, 2);
		ck_assert_str_eq(m->reset->stage, "draft");
	} else {
		ck_assert_int_eq(m->op_case, PENSTOCK__V1__SERVER_FRAME__OP_DELTA);
		ck_assert_str_eq(m->delta->task, "t1");
		ck_assert_uint_eq(m->delta->index, 5);
		if (!memchr(text, 0, len))
			ck_assert_str_eq(m->delta->data, text);
	}
	penstock__v1__server_frame__free_unpacked(m, NULL);
	strbuf_done(&json.b);
	strbuf_done(&pb.b);
	strbuf_done(&direct.b);
}

START_TEST(deltas)
{
	delta("", 0, false);
	delta("gr\xc3\xbc\xc3\x9f \"x\"\n\\n\t\x01/",
	      strlen("gr\xc3\xbc\xc3\x9f \"x\"\n\\n\t\x01/"), false);
	delta("a\0b\"", 4, false);
	delta("", 0, true);
}
END_TEST

/* The bytes in the queue are those of its form, and they come out. */
START_TEST(a_queue_sends_its_form)
{
	char data[3000];
	struct frame *f;

	memset(data, 'x', sizeof(data));
	memcpy(data, "{\"t\":\"", 6);
	memcpy(data + sizeof(data) - 3, "\"}", 3);
	f = event_frame(data);
	for (unsigned n = 0; n < FORM_N; n++) {
		for (unsigned bits = 8; bits <= 15; bits++) {
			struct outq q = {.form = (uint8_t)n, .window_bits = (uint8_t)bits};
			struct out_ref *ref;
			struct iovec iov[2];
			/* A window that is less than the message: not compressed. */
			unsigned want = bits < 12 && n != FORM_EVENT ? n & FORM_PROTOBUF : n;
			const struct frame *g;

			frame_ref(f, 1);
			ref = out_ref_new(&pool, f);
			ck_assert_uint_eq(outq_form(&q, f), want);
			g = form(f, outq_form(&q, f));
			ck_assert_int_eq(outq_push(&q, &bounds, ref), OUTQ_QUEUED);
			out_ref_drop(&pool, ref);
			ck_assert_uint_eq(q.data_bytes, g->len);
			ck_assert_int_eq(outq_vectors(&q, iov, 2), 1);
			ck_assert_uint_eq(iov[0].iov_len, g->len);
			ck_assert_ptr_eq(iov[0].iov_base, g->data);
			outq_written(&q, &pool, 5);
			outq_written(&q, &pool, g->len - 5);
			ck_assert_uint_eq(q.n, 0);
			ck_assert_uint_eq(q.data_bytes, 0);
			outq_done(&q, &pool);
		}
	}
	frame_unref(f);
	out_pool_done(&pool);
}
END_TEST

/* Control frames are in the connection's encoding already. */
START_TEST(control_frames_have_no_forms)
{
	struct outq q = {.form = FORM_PROTOBUF | FORM_DEFLATED, .window_bits = 15};
	struct out_ref *ref = out_ref_new(&pool, frame_new(FRAME_CONTROL, WS_BINARY, "x", 1));

	ck_assert_uint_eq(outq_form(&q, ref->frame), FORM_JSON);
	ck_assert_int_eq(outq_push(&q, &bounds, ref), OUTQ_QUEUED);
	ck_assert_uint_eq(q.control_bytes, 3);
	out_ref_drop(&pool, ref);
	outq_done(&q, &pool);
	out_pool_done(&pool);
}
END_TEST

static void *make_forms(void *arg)
{
	struct deflater own = {.level = 1, .threshold = 1};
	struct frame **frames = arg;

	for (int i = 0; i < 200; i++)
		frame_event(frames[i], "0");
	for (int i = 0; i < 200; i++)
		for (unsigned n = FORM_EVENT - 1; n > 0; n--)
			frame_form(frames[i], n, &own);
	for (int i = 0; i < 200; i++)
		frame_unref(frames[i]);
	deflater_done(&own);
	return NULL;
}

/* Under SAN=thread it shows races, under SAN=address what the loser of one leaves behind. */
START_TEST(made_by_several_at_once)
{
	static struct frame *frames[200];
	pthread_t threads[3];

	for (int i = 0; i < 200; i++) {
		frames[i] = event_frame("{\"text\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}");
		frame_ref(frames[i], 2);
	}
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, make_forms, frames), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(a_server_sent_event)
{
	static const char begin[] = "event: event\nid: 000660fe019967d3:42\ndata: {\"op\":";
	struct frame *f = event_frame("{\"a\":1}");
	const struct frame *event = form(f, FORM_EVENT);

	ck_assert_ptr_eq(event, form(f, FORM_EVENT)); /* made once */
	ck_assert_int_eq(event->kind, FRAME_DURABLE);
	ck_assert_uint_eq(event->offset, 42);
	ck_assert_int_eq(strncmp(event->data, begin, sizeof(begin) - 1), 0);
	ck_assert_int_eq(memcmp(event->data + event->len - 2, "\n\n", 2), 0);
	frame_unref(f);
}
END_TEST

RUN_TESTS("edge: forms of a frame", one_event_in_every_form, what_would_not_shrink_stays_as_it_is,
	  deltas, a_queue_sends_its_form, control_frames_have_no_forms, made_by_several_at_once,
	  a_server_sent_event)
