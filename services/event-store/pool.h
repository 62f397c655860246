/* A few threads with a PostgreSQL connection each, that work off a queue of jobs.
 *
 * The queue has no bound of its own: its user counts. A thread that cannot connect runs its jobs
 * without a connection, so that their answers do not wait, and tries again at most once a second.
 * Threads: all calls on the loop's; work runs on a pool thread, done on the loop. */
#ifndef PENSTOCK_EVENT_STORE_POOL_H
#define PENSTOCK_EVENT_STORE_POOL_H

#include <libpq-fe.h>

#include "common/err.h"
#include "common/loop.h"

struct store_job { /* embedded in what it is about */
	struct loop_post post;
	struct store_job *next;
	struct store_pool *pool;
};

struct store_pool;

/* conn NULL: PostgreSQL is away. -1: the connection is broken, make a new one. */
typedef int store_work_fn(PGconn *conn, struct store_job *job);
typedef void store_done_fn(void *arg, struct store_job *job);

struct store_pool_conf {
	const char *dsn, *name; /* name: of the connections, static */
	int threads;
	int (*prepare)(PGconn *conn, struct error *err); /* a new connection; -1: not yet */
	store_work_fn *work;
	store_done_fn *done;
};

/* conf is copied. */
struct store_pool *store_pool_start(struct loop *loop, const struct store_pool_conf *conf,
				    void *arg);
void store_pool_add(struct store_pool *pool, struct store_job *job);
/* Ends the threads; a call that does not return within timeout_ms is broken off. Jobs that were
 * done are told; those that were not begun are simply left. Not from a callback. NULL is fine. */
void store_pool_stop(struct store_pool *pool, int timeout_ms);

#endif
