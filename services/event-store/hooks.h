/* Outgoing webhooks: from the log to whoever asked for its events, at least once
 * (docs/decisions/0027).
 *
 * One event-store at a time does it, by an advisory lock of its own. It works in rounds, on a
 * thread of its own for PostgreSQL: note what was answered, look at what is new in the log, hand
 * out what is due to the workers (pen.hook.post), which make the requests. All state is in
 * PostgreSQL, so a crash of any process, between any two steps, only repeats some. While there are
 * no hooks a round is one small question a second. Ingest is not touched at all.
 *
 * Bounds: HOOKS_IN_FLIGHT at once, HOOKS_TENANT_IN_FLIGHT of a tenant, `concurrent` of a hook; one
 * while it fails. Threads: the loop's. */
#ifndef PENSTOCK_EVENT_STORE_HOOKS_H
#define PENSTOCK_EVENT_STORE_HOOKS_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/metrics.h"

struct store_hooks;

struct store_hooks_conf {
	const char *dsn;
	unsigned parts;
};

/* conf is copied. */
struct store_hooks *store_hooks_start(struct bus *bus, struct loop *loop,
				      const struct store_hooks_conf *conf, struct metrics *metrics);
/* There is more in the log: do not wait for the next round. */
void store_hooks_poke(struct store_hooks *s);
/* Hands out nothing more, ends the thread. Before bus_free, not from a callback. NULL is fine. */
void store_hooks_stop(struct store_hooks *s, int timeout_ms);
void store_hooks_free(struct store_hooks *s); /* after bus_free; NULL is fine */

#endif
