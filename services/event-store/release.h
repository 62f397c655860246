/* The slow path's end: parked and redriven tasks whose time has come are let go on, by asking the
 * router that owns their tenant for a ticket (ReleaseTask, docs/internals.md); and dead letters
 * that operators ordered to live again become redriven tasks (RedriveTask), at the rate of each
 * order; events are replayed; schedules and the events of triggers start their tasks.
 *
 * One event-store at a time does it, by an advisory lock of its own. It works in rounds: read what
 * is due from PostgreSQL, the tenants in turn; ask for all of it; note what was acknowledged. A
 * round is bounded, and rounds are as far apart as the rate wants. Nothing but the acknowledgement
 * of a ticket (or event) ends the asking, and a repeat makes no second one, so a crash between any
 * two steps only repeats some. A tenant that was refused (its limits, a router that is away) is
 * left out for as long as it was told. Threads: the loop's; PostgreSQL has a thread of its own. */
#ifndef PENSTOCK_EVENT_STORE_RELEASE_H
#define PENSTOCK_EVENT_STORE_RELEASE_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/metrics.h"

struct store_release;

struct store_release_conf {
	const char *dsn;
	uint64_t
	    epoch; /* of EVENTS: what was parked in another life of it has no log to go on with */
	unsigned parts;
	int64_t per_s; /* tasks let go a second, over all tenants */
};

/* conf is copied. */
struct store_release *store_release_start(struct bus *bus, struct loop *loop,
					  const struct store_release_conf *conf,
					  struct metrics *metrics);
/* Asks nothing more, ends the thread. Before bus_free, not from a callback. NULL is fine. */
void store_release_stop(struct store_release *s, int timeout_ms);
void store_release_free(struct store_release *s); /* after bus_free; NULL is fine */

#endif
