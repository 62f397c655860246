#include "services/edge/outq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

static struct frame *make(enum frame_kind kind, const uint8_t *header, size_t n,
			  const void *payload, size_t len)
{
	struct frame *f = xmalloc(sizeof(*f) + n + len);

	atomic_init(&f->refs, 1);
	f->len = (uint32_t)(n + len);
	f->header = (uint8_t)n;
	f->kind = (uint8_t)kind;
	f->offset = f->prev = f->topic = 0;
	for (size_t i = 0; i < FORM_N - 1; i++)
		atomic_init(&f->forms[i], NULL);
	if (n)
		memcpy(f->data, header, n);
	if (len)
		memcpy(f->data + n, payload, len);
	return f;
}

struct frame *frame_new(enum frame_kind kind, enum ws_opcode opcode, const void *payload,
			size_t len)
{
	uint8_t header[WS_HEADER_MAX];

	return make(kind, header, ws_header(header, opcode, len, NULL), payload, len);
}

struct frame *frame_new_raw(enum frame_kind kind, const void *data, size_t len)
{
	return make(kind, NULL, 0, data, len);
}

void frame_ref(struct frame *frame, uint32_t n)
{
	atomic_fetch_add_explicit(&frame->refs, n, memory_order_relaxed);
}

void frame_unref(struct frame *frame)
{
	struct frame *plain[2] = {frame, NULL};

	if (atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_acq_rel) != 1)
		return;
	plain[1] = atomic_load_explicit(&frame->forms[FORM_PROTOBUF - 1], memory_order_relaxed);
	for (unsigned i = 0; i < 2; i++) {
		struct frame *deflated = atomic_load_explicit(
		    &frame->forms[(FORM_DEFLATED | i) - 1], memory_order_relaxed);

		if (deflated != plain[i])
			free(deflated);
	}
	free(plain[1]);
	free(atomic_load_explicit(&frame->forms[FORM_EVENT - 1], memory_order_relaxed));
	free(frame);
}

/* What stands for the frame in this queue. */
static struct frame *formed(const struct outq *q, struct frame *f)
{
	unsigned form = outq_form(q, f);

	return form ? atomic_load_explicit(&f->forms[form - 1], memory_order_acquire) : f;
}

struct out_ref *out_ref_new(struct out_pool *pool, struct frame *frame)
{
	struct out_ref *ref = pool->free;

	if (ref)
		pool->free = ref->next;
	else
		ref = xmalloc(sizeof(*ref));
	*ref = (struct out_ref){.n = 1, .frame = frame};
	return ref;
}

void out_ref_drop(struct out_pool *pool, struct out_ref *ref)
{
	if (--ref->n)
		return;
	frame_unref(ref->frame);
	ref->next = pool->free;
	pool->free = ref;
}

void out_pool_done(struct out_pool *pool)
{
	struct out_ref *next;

	for (; pool->free; pool->free = next) {
		next = pool->free->next;
		free(pool->free);
	}
}

static void grow(struct outq *q)
{
	uint32_t cap = q->cap ? 2 * q->cap : 4;
	struct out_ref **ring = xmalloc(cap * sizeof(*ring));

	for (uint32_t i = 0; i < q->n; i++)
		ring[i] = q->ring[(q->head + i) & (q->cap - 1)];
	free(q->ring);
	q->ring = ring;
	q->cap = cap;
	q->head = 0;
}

enum outq_result outq_push(struct outq *q, const struct outq_bounds *bounds, struct out_ref *ref)
{
	const struct frame *f = formed(q, ref->frame);
	bool control = f->kind == FRAME_CONTROL;
	uint32_t *bytes = control ? &q->control_bytes : &q->data_bytes;
	uint32_t total = q->data_bytes + q->control_bytes;

	if (!control && *bytes && *bytes + f->len > bounds->soft)
		return OUTQ_OVER;
	if (total && total + f->len > bounds->hard)
		return control ? OUTQ_FULL : OUTQ_OVER;
	if (q->n == q->cap)
		grow(q);
	q->ring[(q->head + q->n++) & (q->cap - 1)] = out_ref_add(ref);
	*bytes += f->len;
	return OUTQ_QUEUED;
}

int outq_vectors(const struct outq *q, struct iovec *iov, int max)
{
	int n = q->n < (uint32_t)max ? (int)q->n : max;

	for (int i = 0; i < n; i++) {
		struct frame *f = formed(q, q->ring[(q->head + (uint32_t)i) & (q->cap - 1)]->frame);

		iov[i] = (struct iovec){f->data, f->len};
	}
	if (n) {
		iov[0].iov_base = (char *)iov[0].iov_base + q->written;
		iov[0].iov_len -= q->written;
	}
	return n;
}

static void uncount(struct outq *q, struct frame *frame)
{
	const struct frame *f = formed(q, frame);

	if (f->kind == FRAME_CONTROL)
		q->control_bytes -= f->len;
	else
		q->data_bytes -= f->len;
}

static void release(struct outq *q)
{
	if (q->n)
		return;
	free(q->ring);
	q->ring = NULL;
	q->cap = q->head = 0;
}

uint64_t outq_first(const struct outq *q, uint32_t topic)
{
	for (uint32_t i = 0; i < q->n; i++) {
		const struct frame *f = q->ring[(q->head + i) & (q->cap - 1)]->frame;

		/* They come in the order of their channel. */
		if (f->kind == FRAME_DURABLE && f->topic == topic)
			return f->offset;
	}
	return 0;
}

void outq_written(struct outq *q, struct out_pool *pool, size_t n)
{
	while (n) {
		struct out_ref *ref = q->ring[q->head];
		size_t left = formed(q, ref->frame)->len - q->written;

		if (n < left) {
			q->written += (uint32_t)n;
			return;
		}
		n -= left;
		q->written = 0;
		q->head = (q->head + 1) & (q->cap - 1);
		q->n--;
		uncount(q, ref->frame);
		out_ref_drop(pool, ref);
	}
	release(q);
}

void outq_cut(struct outq *q, struct out_pool *pool)
{
	uint32_t keep = q->written ? 1 : 0;

	while (q->n > keep) {
		struct out_ref *ref = q->ring[(q->head + --q->n) & (q->cap - 1)];

		uncount(q, ref->frame);
		out_ref_drop(pool, ref);
	}
	release(q);
}

void outq_done(struct outq *q, struct out_pool *pool)
{
	q->written = 0;
	outq_cut(q, pool);
}
