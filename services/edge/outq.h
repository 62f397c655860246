/* What goes out: immutable frames shared by reference, and each connection's queue of them.
 *
 * struct frame: one encoded WebSocket frame, header included, shared between threads by an atomic
 * count: one for each reactor that has it. struct out_ref: a reactor's own plain count on a frame,
 * so that a fan-out to a thousand connections touches the atomic once. struct outq: a connection's
 * pending frames, with the bounds of DESIGN 6. Threads: frames any, the rest one owner. Nothing is
 * allocated while a queue is empty. */
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
	FRAME_DELTA,
};

struct frame {
	_Atomic uint32_t refs;
	uint32_t len;          /* header and payload */
	uint8_t header;        /* bytes of it */
	uint8_t kind;          /* enum frame_kind */
	uint64_t offset, prev; /* FRAME_DURABLE */
	char data[];
};

/* One reference is the caller's. */
struct frame *frame_new(enum frame_kind kind, enum ws_opcode opcode, const void *payload,
			size_t len);
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

struct outq { /* zeroed: empty */
	struct out_ref **ring;
	uint32_t cap, head, n;
	uint32_t written; /* of the first frame */
	uint32_t data_bytes, control_bytes;
};

struct outq_bounds {
	uint32_t soft; /* data beyond: ephemeral frames are dropped */
	uint32_t hard; /* data or control beyond: the socket is too slow */
};

enum outq_result { OUTQ_QUEUED, OUTQ_DROPPED, OUTQ_FULL };

/* QUEUED: takes one more reference. Else nothing has changed. */
enum outq_result outq_push(struct outq *q, const struct outq_bounds *bounds, struct out_ref *ref);
/* The first frames' unwritten bytes; returns the number of vectors. */
int outq_vectors(const struct outq *q, struct iovec *iov, int max);
/* n bytes were written. */
void outq_written(struct outq *q, struct out_pool *pool, size_t n);
/* Drops all that has not begun to be written: the rest of a frame that has must follow, or the
 * stream breaks. */
void outq_cut(struct outq *q, struct out_pool *pool);
void outq_done(struct outq *q, struct out_pool *pool);

#endif
