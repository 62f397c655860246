/* Streamed output of stages: pieces of text rolled up and written to the stream DELTAS, in order,
 * without waiting for each acknowledgement.
 *
 * The first piece of an attempt goes out at once, what follows is gathered for DELTA_ROLL_MS. A
 * write whose outcome is unknown is repeated with the same index (at least once; the reader drops
 * what it has). While too much is in flight text is held back and grows into one larger piece; the
 * end of a stage is sent in any case. Threads: the loop's. */
#ifndef WORKER_DELTA_H
#define WORKER_DELTA_H

#include "common/bus.h"
#include "services/orchestrator-worker/stats.h"

#define DELTA_ROLL_MS   40
#define DELTA_PIECE_MAX (256 * 1024) /* bytes of text; a message of the broker's holds 1 MiB */

struct deltas;       /* a worker's */
struct delta_stream; /* an attempt's */

struct deltas *deltas_new(struct bus *bus, struct loop *loop, struct worker_stats *stats,
			  unsigned in_flight_max);
void deltas_free(struct deltas *d); /* after its streams; NULL is fine */

struct delta_of {
	unsigned part;
	const char *tenant, *task, *stage, *trace;
	unsigned attempt;
};
/* Sends the reset at once if attempt > 1. Everything is copied. */
struct delta_stream *delta_open(struct deltas *d, const struct delta_of *of);
void delta_text(struct delta_stream *s, const char *text, size_t len);
/* Sends what is left, unless drop, and frees. NULL is fine. */
void delta_close(struct delta_stream *s, bool drop);

#endif
