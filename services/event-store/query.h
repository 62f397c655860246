/* pen.store.replay, .task, .timeline and .deliveries: answered by every event-store (queue group
 * "store").
 *
 * PostgreSQL is asked by a few threads with a connection each; behind it, the tail that PostgreSQL
 * does not have yet is read from the stream on the loop, so that a reader sees all that was
 * acknowledged before it asked. While PostgreSQL is away, replay and task are answered from the
 * stream alone as far as that reaches back.
 *
 * Bound: conf.queue_max requests at a time, the next one is answered `overloaded`; one that waited
 * longer than its sender does is dropped with `unavailable`. Threads: the loop's. */
#ifndef PENSTOCK_EVENT_STORE_QUERY_H
#define PENSTOCK_EVENT_STORE_QUERY_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/metrics.h"

struct store_query;

struct store_query_conf {
	const char *dsn;
	uint64_t epoch;
	unsigned parts;
	int threads;
	size_t queue_max;
};

/* conf is copied. */
struct store_query *store_query_start(struct bus *bus, struct loop *loop,
				      const struct store_query_conf *conf, struct metrics *metrics,
				      struct error *err);
/* Takes no more requests, answers those that wait with `unavailable`, ends the threads (a server
 * that does not answer for timeout_ms is given up). Before bus_free, not from a callback. NULL is
 * fine. */
void store_query_stop(struct store_query *q, int timeout_ms);
/* After bus_free (or once nothing is under way). NULL is fine. */
void store_query_free(struct store_query *q);

#endif
