/* Between the files of the publisher. Threads: the publisher's, except where said. */
#ifndef PENSTOCK_CONTROL_PUBLISHER_INT_H
#define PENSTOCK_CONTROL_PUBLISHER_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "services/control-plane/publisher.h"

#define PUBLISHER_BATCH  64 /* keys on their way to the bucket at a time */
#define PUBLISHER_PUT_MS 5000

struct publisher {
	struct publisher_conf conf;
	char *dsn;
	pthread_t thread;
	int wake; /* eventfd */
	atomic_bool stopping, bus_up, told, leader;
	pthread_mutex_t lock; /* conn for interruption, news */
	pthread_cond_t cond;
	uint64_t news; /* counts each time that rows were marked */
	PGconn *conn;
	bool migrated;
	int64_t reconciled_ms, pruned_ms; /* 0: never under this leadership */
	struct metric *m_leader, *m_depth, *m_published, *m_failed, *m_reconciles, *m_repaired;
	struct histogram *m_latency;
};

int64_t publisher_now_ms(void);
/* Wakes those who wait for a row. */
void publisher_tell(struct publisher *p);

/* publisher_outbox.c: all fail with ERR_TRANSIENT when the bucket or PostgreSQL does not answer. */
int outbox_count(struct publisher *p, struct error *err) MUST_CHECK;
int outbox_drain(struct publisher *p, struct error *err) MUST_CHECK;
int outbox_prune(struct publisher *p, struct error *err) MUST_CHECK;

/* publisher_bucket.c: compares the whole bucket with PostgreSQL and repairs it. */
int bucket_ensure(struct publisher *p, struct error *err) MUST_CHECK;
int bucket_reconcile(struct publisher *p, struct error *err) MUST_CHECK;

#endif
