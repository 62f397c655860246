/* How this worker gets its leases: reports to the grantor over the bus, and what comes back.
 *
 * One report is under way at a time. Each second it tells of everything that is in use, in between
 * it asks for what waits. Threads: the loop's. */
#ifndef WORKER_LESSEE_H
#define WORKER_LESSEE_H

#include "common/bus.h"
#include "common/members.h"
#include "services/orchestrator-worker/lease.h"
#include "services/orchestrator-worker/stats.h"

struct lessee;
struct lessee_report; /* being made */

/* Who has the leases. */
struct lessee_owner {
	void *arg;
	/* lessee_add() for each lease that is to be told of: all in use, or those that wait. */
	void (*collect)(void *arg, struct lessee_report *report, bool all);
	struct lease *(*find)(void *arg, const char *target); /* NULL: there is none any more */
	void (*changed)(void *arg);                           /* calls may be able to start */
};

/* All is borrowed; id: of this worker among the members. */
struct lessee *lessee_new(struct bus *bus, struct loop *loop, const struct members *members,
			  const char *id, struct worker_stats *stats, struct error *err);
void lessee_attach(struct lessee *l, const struct lessee_owner *owner);
/* Says good-bye; after the last call has ended, before the bus is freed. NULL is fine. */
void lessee_free(struct lessee *l);

const struct lease_world *lessee_world(struct lessee *l);
/* A call waits and could not start: asks when that makes sense. */
void lessee_want(struct lessee *l, const struct lease *lease);
/* target is borrowed until the report is sent. waiting: calls; want: their tokens, first: those of
 * the first one. */
void lessee_add(struct lessee_report *report, const char *target, struct lease *lease,
		size_t waiting, int64_t want, int64_t first);

#endif
