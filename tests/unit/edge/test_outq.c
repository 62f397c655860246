/* A connection's queue: its bounds, what is dropped, and that no frame is torn. */
#include "common/strbuf.h"
#include "services/edge/outq.h"
#include "tests/unit/common/suite.h"

#define KIB 1024u

static const struct outq_bounds bounds = {256 * KIB, 1024 * KIB};
static struct out_pool pool;

/* A frame of `len` bytes on the wire. */
static struct out_ref *make(enum frame_kind kind, size_t len)
{
	size_t head = len < 128 ? 2 : len < 65536 + 4 ? 4 : 10;
	char *payload = xcalloc(1, len);
	struct frame *f = frame_new(kind, WS_TEXT, payload, len - head);

	free(payload);
	ck_assert_uint_eq(f->len, len);
	return out_ref_new(&pool, f);
}

static enum outq_result push(struct outq *q, enum frame_kind kind, size_t len)
{
	struct out_ref *ref = make(kind, len);
	enum outq_result r = outq_push(q, &bounds, ref);

	/* Only what was queued is kept. */
	ck_assert_uint_eq(ref->n, r == OUTQ_QUEUED ? 2 : 1);
	out_ref_drop(&pool, ref);
	return r;
}

static void done(struct outq *q)
{
	outq_done(q, &pool);
	ck_assert_uint_eq(q->n + q->data_bytes + q->control_bytes, 0);
	ck_assert_ptr_null(q->ring);
	out_pool_done(&pool);
}

START_TEST(data_has_no_room_beyond_the_soft_bound)
{
	struct outq q = {0};

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(push(&q, FRAME_DURABLE, 60 * KIB), OUTQ_QUEUED);
	ck_assert_int_eq(push(&q, FRAME_EPHEMERAL, 16 * KIB), OUTQ_QUEUED); /* 256 KiB exactly */
	ck_assert_int_eq(push(&q, FRAME_EPHEMERAL, 3), OUTQ_OVER);
	ck_assert_int_eq(push(&q, FRAME_DURABLE, 3), OUTQ_OVER);
	ck_assert_int_eq(push(&q, FRAME_DELTA, 3), OUTQ_OVER);
	/* Answers and the close stand outside of it. */
	ck_assert_int_eq(push(&q, FRAME_CONTROL, 100), OUTQ_QUEUED);
	ck_assert_uint_eq(q.data_bytes, 256 * KIB);
	ck_assert_uint_eq(q.control_bytes, 100);
	done(&q);
}
END_TEST

START_TEST(too_slow_at_the_hard_bound)
{
	struct outq q = {0};

	ck_assert_int_eq(push(&q, FRAME_DURABLE, 256 * KIB), OUTQ_QUEUED);
	for (int i = 0; i < 12; i++)
		ck_assert_int_eq(push(&q, FRAME_CONTROL, 64 * KIB), OUTQ_QUEUED);
	/* It is of everything together. */
	ck_assert_int_eq(push(&q, FRAME_CONTROL, 3), OUTQ_FULL);
	outq_written(&q, &pool, 256 * KIB);
	ck_assert_int_eq(push(&q, FRAME_DURABLE, 256 * KIB), OUTQ_QUEUED);
	done(&q);
}
END_TEST

START_TEST(answers_may_leave_no_room_for_data)
{
	struct outq q = {0};

	for (int i = 0; i < 16; i++)
		ck_assert_int_eq(push(&q, FRAME_CONTROL, 64 * KIB), OUTQ_QUEUED);
	ck_assert_int_eq(push(&q, FRAME_CONTROL, 3), OUTQ_FULL);
	ck_assert_int_eq(push(&q, FRAME_DURABLE, 3), OUTQ_OVER);
	done(&q);
}
END_TEST

START_TEST(one_frame_always_fits)
{
	struct outq q = {0};

	ck_assert_int_eq(push(&q, FRAME_DURABLE, 2048 * KIB), OUTQ_QUEUED);
	ck_assert_int_eq(push(&q, FRAME_DURABLE, 3), OUTQ_OVER);
	ck_assert_int_eq(push(&q, FRAME_CONTROL, 3), OUTQ_FULL);
	done(&q);
}
END_TEST

/* Written in pieces of any size, the bytes come out as they went in. */
START_TEST(written_in_pieces)
{
	for (size_t step = 1; step < 60; step++) {
		struct outq q = {0};
		struct strbuf in = {0}, out = {0};

		for (int i = 0; i < 23; i++) {
			char payload[40];
			struct frame *f;
			struct out_ref *ref;
			size_t n = (size_t)(i * 7 % 40);

			memset(payload, 'a' + i, sizeof(payload));
			f = frame_new(FRAME_DURABLE, WS_TEXT, payload, n);
			strbuf_add(&in, f->data, f->len);
			ref = out_ref_new(&pool, f);
			ck_assert_int_eq(outq_push(&q, &bounds, ref), OUTQ_QUEUED);
			out_ref_drop(&pool, ref);
		}
		while (q.n) {
			struct iovec iov[3];
			int n = outq_vectors(&q, iov, 3);
			size_t left = step;

			for (int i = 0; i < n && left; i++) {
				size_t k = iov[i].iov_len < left ? iov[i].iov_len : left;

				strbuf_add(&out, iov[i].iov_base, k);
				left -= k;
			}
			outq_written(&q, &pool, step - left);
		}
		ck_assert_uint_eq(in.len, out.len);
		ck_assert_mem_eq(in.data, out.data, in.len);
		strbuf_done(&in);
		strbuf_done(&out);
		done(&q);
	}
}
END_TEST

START_TEST(cut_leaves_the_torn_frame)
{
	struct outq q = {0};

	ck_assert_int_eq(push(&q, FRAME_DURABLE, 100), OUTQ_QUEUED);
	ck_assert_int_eq(push(&q, FRAME_DURABLE, 50), OUTQ_QUEUED);
	ck_assert_int_eq(push(&q, FRAME_CONTROL, 20), OUTQ_QUEUED);
	outq_written(&q, &pool, 30);
	outq_cut(&q, &pool);
	ck_assert_uint_eq(q.n, 1);
	ck_assert_uint_eq(q.data_bytes, 100);
	ck_assert_uint_eq(q.control_bytes, 0);
	outq_written(&q, &pool, 70);
	ck_assert_uint_eq(q.n, 0);
	/* Between two frames nothing is kept. */
	ck_assert_int_eq(push(&q, FRAME_DURABLE, 100), OUTQ_QUEUED);
	outq_cut(&q, &pool);
	ck_assert_uint_eq(q.n, 0);
	done(&q);
}
END_TEST

START_TEST(a_frame_is_shared)
{
	struct outq a = {0}, b = {0};
	struct out_ref *ref = make(FRAME_DURABLE, 100);
	struct frame *f = ref->frame;

	frame_ref(f, 1); /* the test's */
	ck_assert_int_eq(outq_push(&a, &bounds, ref), OUTQ_QUEUED);
	ck_assert_int_eq(outq_push(&b, &bounds, ref), OUTQ_QUEUED);
	ck_assert_uint_eq(ref->n, 3);
	ck_assert_uint_eq(atomic_load(&f->refs), 2); /* the fan-out does not touch it */
	out_ref_drop(&pool, ref);
	outq_written(&a, &pool, 100);
	outq_done(&b, &pool);
	ck_assert_uint_eq(atomic_load(&f->refs), 1);
	frame_unref(f);
	done(&a);
}
END_TEST

/* What of a channel the kernel does not have yet. */
START_TEST(the_first_that_waits)
{
	static const struct {
		enum frame_kind kind;
		uint32_t topic;
		uint64_t offset;
	} frames[] = {{FRAME_DURABLE, 7, 20},
		      {FRAME_CONTROL, 7, 0},
		      {FRAME_DURABLE, 8, 3},
		      {FRAME_DURABLE, 7, 21},
		      {FRAME_DURABLE, 8, 4}};
	struct outq q = {0};

	ck_assert_uint_eq(outq_first(&q, 7), 0);
	for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
		struct out_ref *ref = make(frames[i].kind, 100);

		ref->frame->topic = frames[i].topic;
		ref->frame->offset = frames[i].offset;
		ck_assert_int_eq(outq_push(&q, &bounds, ref), OUTQ_QUEUED);
		out_ref_drop(&pool, ref);
	}
	ck_assert_uint_eq(outq_first(&q, 7), 20);
	ck_assert_uint_eq(outq_first(&q, 8), 3);
	ck_assert_uint_eq(outq_first(&q, 9), 0);
	outq_written(&q, &pool, 99); /* not all of it is written */
	ck_assert_uint_eq(outq_first(&q, 7), 20);
	outq_written(&q, &pool, 1);
	ck_assert_uint_eq(outq_first(&q, 7), 21);
	outq_written(&q, &pool, 400);
	ck_assert_uint_eq(outq_first(&q, 7), 0);
	done(&q);
}
END_TEST

RUN_TESTS("edge: outq", data_has_no_room_beyond_the_soft_bound, too_slow_at_the_hard_bound,
	  answers_may_leave_no_room_for_data, one_frame_always_fits, written_in_pieces,
	  cut_leaves_the_torn_frame, a_frame_is_shared, the_first_that_waits)
