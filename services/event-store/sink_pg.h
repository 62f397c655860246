/* The sink over PostgreSQL: a thread with its own connection, which migrates, seeks the lead,
 * writes batches, and keeps the partitions.
 *
 * The lead is an advisory lock on that same connection: who loses the connection loses lock and
 * transaction at once, so two event-stores never write at a time. It is sought every second. While
 * PostgreSQL is away the thread tries again for ever, with jitter. Migrations run on each new
 * connection.
 *
 * A batch that PostgreSQL refuses for its data is halved until the refused message is alone; that
 * one goes to quarantine. Threads: all calls on the loop's; the thread posts its answers. */
#ifndef PENSTOCK_EVENT_STORE_SINK_PG_H
#define PENSTOCK_EVENT_STORE_SINK_PG_H

#include "common/loop.h"
#include "common/metrics.h"
#include "services/event-store/sink.h"

struct store_pg;

struct store_pg_conf {
	const char *dsn;
	int retention_days;
	int64_t seek_us; /* how often the lead is sought; 0: 1 s */
};

/* conf is copied. */
struct store_pg *store_pg_new(struct loop *loop, const struct store_pg_conf *conf,
			      struct metrics *metrics);
struct store_sink *store_pg_sink(struct store_pg *pg);

/* What must stay in the stream: unfinished tasks that were accepted within task_max_ms. Answered
 * between two batches; one question at a time. */
void store_pg_ask_hold(struct store_pg *pg, int64_t task_max_ms,
		       void (*fn)(void *arg, const struct store_hold *hold), void *arg);

/* Ends the thread: a batch under way is finished, or, when the server does not answer for
 * timeout_ms, given up. On the loop's thread, but not from a callback. NULL is fine. */
void store_pg_free(struct store_pg *pg, int timeout_ms);

#endif
