/* What goes out: immutable frames shared by reference, and each connection's queue of them.
 *
 * struct frame: one encoded WebSocket frame, header included, shared between threads by an atomic
 * count: one for each reactor that has it. An event's frame is JSON, and owns the other forms that
 * its subscribers asked for. struct out_ref: a reactor's own plain count on a frame, so that a
 * fan-out to a thousand connections touches the atomic once. struct outq: a connection's pending
 * frames, with the bounds of DESIGN 6, and the form in which it wants them. Threads: frames any,
 * the rest one owner. Nothing is allocated while a queue is empty. */
#ifndef PENSTOCK_EDGE_OUTQ_H
#define PENSTOCK_EDGE_OUTQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/ws.h"

enum frame_kind {
	FRAME_CONTROL, /* answers, pings, closes: outside the data budget */
	FRAME_DURABLE,
	FRAME_EPHEMERAL, /* dropped first */
	FRAME_DELTA,     /* as those: the next one's index, or the stage's end, shows the hole */
};

/* The form of an event's or delta's frame: a sum of the first three, or a server-sent event. */
enum frame_form {
	FORM_JSON = 0,
	FORM_PROTOBUF = 1,
	FORM_DEFLATED = 2,
	FORM_EVENT = 4,
	FORM_N = 5,
};

struct frame {
	_Atomic uint32_t refs;
	uint32_t len;          /* header and payload */
	uint8_t header;        /* bytes of it */
	uint8_t kind;          /* enum frame_kind */
	uint32_t topic;        /* FRAME_DURABLE: of the channel's hash, the lower half */
	uint64_t offset, prev; /* FRAME_DURABLE; FRAME_DELTA: prev is its sequence in DELTAS */
	/* Other forms of it, owned; NULL: nobody asked for it yet. A deflated form that would not
	 * be smaller is the plain one once more. */
	_Atomic(struct frame *) forms[FORM_N - 1];
	char data[];
};

/* One reference is the caller's. */
struct frame *frame_new(enum frame_kind kind, enum ws_opcode opcode, const void *payload,
			size_t len);
/* Without a header. */
struct frame *frame_new_raw(enum frame_kind kind, const void *data, size_t len);
void frame_ref(struct frame *frame, uint32_t n);
void frame_unref(struct frame *frame);

struct out_ref {
	uint32_t n;
	struct frame *frame;
	struct out_ref *next; /* in the pool */
};

struct out_pool { /* zeroed: empty */
	struct out_ref *free;
};

/* Takes over the caller's reference on frame; n = 1 is the caller's. */
struct out_ref *out_ref_new(struct out_pool *pool, struct frame *frame);
static inline struct out_ref *out_ref_add(struct out_ref *ref)
{
	ref->n++;
	return ref;
}
void out_ref_drop(struct out_pool *pool, struct out_ref *ref);
void out_pool_done(struct out_pool *pool);

struct outq { /* zeroed: empty, JSON */
	struct out_ref **ring;
	uint32_t cap, head, n;
	uint32_t written; /* of the first frame */
	uint32_t data_bytes, control_bytes;
	uint8_t form;        /* as long as anything is queued, the same */
	uint8_t window_bits; /* FORM_DEFLATED: of the client's window; a longer frame goes plain */
};

struct outq_bounds {
	uint32_t soft; /* of the data */
	uint32_t hard; /* of everything */
};

enum outq_result {
	OUTQ_QUEUED,
	OUTQ_OVER, /* data that has no room: to be dropped, or read from the log later on */
	OUTQ_FULL, /* not even an answer has room: the socket is too slow */
};

/* The form of the frame that goes out here. forms.h has made it before outq_push(). */
static inline unsigned outq_form(const struct outq *q, const struct frame *f)
{
	if (!q->form || f->kind == FRAME_CONTROL)
		return FORM_JSON;
	/* It was compressed with zlib's whole window; no distance in it is longer than it is
	 * itself. */
	if (q->form & FORM_DEFLATED && q->window_bits < 15 && f->len > 1U << q->window_bits)
		return q->form & ~(unsigned)FORM_DEFLATED;
	return q->form;
}

/* QUEUED: takes one more reference. Else nothing has changed. Whatever its size, a frame has room
 * where no other one waits. */
enum outq_result outq_push(struct outq *q, const struct outq_bounds *bounds, struct out_ref *ref);
/* The first frames' unwritten bytes; returns the number of vectors. */
int outq_vectors(const struct outq *q, struct iovec *iov, int max);
/* The first offset of this topic that is not written; 0: none. Walks the queue. */
uint64_t outq_first(const struct outq *q, uint32_t topic);
/* n bytes were written. */
void outq_written(struct outq *q, struct out_pool *pool, size_t n);
/* Drops all that has not begun to be written: the rest of a frame that has must follow, or the
 * stream breaks. */
void outq_cut(struct outq *q, struct out_pool *pool);
void outq_done(struct outq *q, struct out_pool *pool);

#endif
