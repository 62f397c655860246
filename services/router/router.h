/* The router: admits commands, gives each event its identity and its place, and lets tasks into the
 * queue.
 *
 * A shell over a loop, a bus, a catalog and the members (which it starts itself, as "router"): it
 * reads no clock but the loop's and draws no random number but from its seed, so it runs in a
 * simulation as it does in a process.
 *
 *   pen.cmd.<part> ─► decode ─► admit.c ─┬─► publish.c ─► EVENTS ─► Reply
 *                                        ├─► tasks.c ───► TASKS or BACKLOG, then EVENTS ─► Reply
 *                                        └─► cancel.c ──► EVENTS (compare-and-set) ─► Reply
 *   pen.ctl.end.<part>, counts ─► window.c ─► backlog.c: BACKLOG ─► TASKS
 *
 * Threads: the loop's. Order at the end: router_stop() and its callback for a clean one; then, in
 * any case, router_close(), bus_free(), router_free(). A crash in a simulation is the same without
 * router_stop(), with the bus cut off first. */
#ifndef PENSTOCK_ROUTER_H
#define PENSTOCK_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bus.h"
#include "common/catalog.h"
#include "common/metrics.h"

struct router;

struct router_conf {
	const char *instance; /* copied */
	unsigned parts;
	uint64_t epoch;        /* of EVENTS, from topology_start() */
	uint64_t seed;         /* of everything random */
	size_t inflight_max;   /* commands that wait for the broker; beyond: overloaded */
	size_t inflight_bytes; /* … and the bytes that tasks among them hold */
	size_t recent_max;     /* entries of recent.h */
	size_t data_max;       /* bytes of an event's data */
	size_t input_max;      /* bytes of a task's input */
	int64_t delay_max_ms;  /* a task may be wanted so long from now at most */
	int store_timeout_ms;  /* for each acknowledgement */
	int linger_ms;         /* who stops waits so long for the next owner of a part to listen */
	int64_t slot_tokens;   /* estimated tokens that a place in a window stands for */
	struct metrics *metrics;
};

/* The defaults of everything but instance, epoch, seed and metrics. */
void router_conf_init(struct router_conf *conf);

/* Borrows all four until router_close() (metrics: router_free()). Takes bus_on_state(). NULL: only
 * for names that the bus refuses. */
struct router *router_start(struct loop *loop, struct bus *bus, struct catalog *catalog,
			    const struct router_conf *conf, struct error *err);
/* Connected, configured, sees the members and serves the parts it owns. *why (may be NULL): what is
 * missing. */
bool router_ready(const struct router *r, const char **why);
/* How many parts it serves now, and commands in flight: for tests and the simulation. */
size_t router_parts_owned(const struct router *r);
size_t router_inflight(const struct router *r);

/* Leaves the members, hands its parts over, finishes what is in flight (at most 5 s), then calls
 * done once. */
void router_stop(struct router *r, void (*done)(void *arg), void *arg);
/* Ends timers, subscriptions, consumers and claims; what is still in flight is told unavailable. */
void router_close(struct router *r); /* NULL is fine */
void router_free(struct router *r);  /* after bus_free(); NULL is fine */

#endif
