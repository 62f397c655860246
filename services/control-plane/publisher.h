/* Carries the configuration from PostgreSQL into the bucket pen_config: a thread with its own
 * connection.
 *
 * Among all control-planes the one that holds an advisory lock (the leader) drains the outbox, in
 * order, and marks each row when the bucket has acknowledged it. When it becomes the leader, each
 * time the bucket was told anew (a reconnect, a bucket that was lost), and every minute, it
 * compares the whole bucket with PostgreSQL and repairs what is missing, different or extra. The
 * others wait for the lock and for news of their own rows.
 *
 * It also runs the migrations, before anything else. Threads: as said at each function. */
#ifndef PENSTOCK_CONTROL_PUBLISHER_H
#define PENSTOCK_CONTROL_PUBLISHER_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/metrics.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/mirror.h"

struct publisher;

struct publisher_conf {
	const char *dsn;
	struct bridge *bridge;
	struct mirror *mirror;
	struct metrics *metrics;
	int replicas; /* of the bucket, where it must be made again */
	/* All on the publisher's thread. database: the connection is there and the schema too, or
	 * not. */
	void (*database)(void *arg, bool up);
	void (*fatal)(void *arg); /* this process cannot go on (a changed migration, a bad DSN) */
	void *arg;
};

/* conf is copied; what it points to must live until publisher_stop(). */
struct publisher *publisher_start(const struct publisher_conf *conf, struct error *err);
void publisher_stop(
    struct publisher *p); /* any thread but its own; the loop must still turn. NULL is fine */

/* Any thread. */
void publisher_wake(struct publisher *p);
void publisher_bus(struct publisher *p, bool connected);
void publisher_bucket_told(struct publisher *p);
bool publisher_leads(struct publisher *p);
/* Waits until the row of the outbox was published, at most timeout_ms; does not wait when the bus
 * is away. conn is the caller's, outside of a transaction. True with the revision of the bucket
 * that the row became; 0: it is not known. */
bool publisher_wait(struct publisher *p, PGconn *conn, int64_t id, int timeout_ms,
		    int64_t *revision);

#endif
