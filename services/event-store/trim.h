/* Trims EVENTS: only what PostgreSQL has, only what is old or too much, never what an unfinished
 * task needs.
 *
 *   point = min( max(older than keep_ms, beyond keep_bytes),          what we would like to drop
 *                committed + 1, as of the look before this one,        what may be dropped at all
 *                first event of the oldest unfinished task )           what a worker still reads
 *
 * A task that rests (parked, delayed, redriven and not yet released) is none of these: whoever goes
 * on with it reads it from PostgreSQL.
 * The last line is waived for tasks accepted longer than task_max_ms ago, and when the stream
 * exceeds task_max_bytes (below its own bound: a task that hangs must not bring the log to a stop).
 * The committed position of the look before is used so that a query that has asked PostgreSQL
 * already still finds the rest in the stream.
 *
 * Threads: the loop's. */
#ifndef PENSTOCK_EVENT_STORE_TRIM_H
#define PENSTOCK_EVENT_STORE_TRIM_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "services/event-store/sink.h"

struct store_trim_conf {
	int64_t period_us; /* more than a query may take; 0: 10 s */
	int64_t keep_ms;
	uint64_t keep_bytes;
	int64_t task_max_ms;
	uint64_t task_max_bytes;
};

struct store_trim_view {
	uint64_t first_seq, msgs, bytes; /* of the stream */
	uint64_t committed; /* everything up to it was in PostgreSQL at the look before; 0: nothing
			       known */
	uint64_t oldest_open; /* first event of the oldest unfinished task; 0: none */
	uint64_t young;       /* the first one that is younger than keep_ms; 0: not known */
};

/* Pure: everything below the result may go; 0: nothing. Never above committed + 1. */
uint64_t store_trim_point(const struct store_trim_conf *conf, const struct store_trim_view *view);

/* Asks what must stay; answers in a later turn. */
typedef void store_trim_hold_fn(void *source, int64_t task_max_ms,
				void (*fn)(void *arg, const struct store_hold *hold), void *arg);

struct store_trim;

/* conf is copied. anew (may be NULL) is called when the stream's life is not `epoch` any more. */
struct store_trim *store_trim_start(struct bus *bus, struct loop *loop,
				    const struct store_trim_conf *conf, uint64_t epoch,
				    store_trim_hold_fn *hold, void *source, void (*anew)(void *arg),
				    void *arg, struct metrics *metrics);
/* No more looks. Free after bus_free, when no callback can come any more. NULL is fine. */
void store_trim_stop(struct store_trim *trim);
void store_trim_free(struct store_trim *trim);

#endif
