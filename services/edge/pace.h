/* Whose page of the log is read next: weighted fair queueing of the tenants' requests, so that one
 * tenant's reconnect storm waits behind itself.
 *
 * At most max_running are under way; the rest wait, each tenant's in a queue of its own. The tenant
 * with the smallest virtual time goes first and pays SCALE / weight for it; who comes anew begins
 * at the present (start-time fair queueing, Goyal et al. 1996, with pages of one size). Pure;
 * threads: one owner. Items are the caller's. */
#ifndef PENSTOCK_EDGE_PACE_H
#define PENSTOCK_EDGE_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "services/edge/table.h"

struct pace_item {
	struct pace_item *next;
};

struct pace_tenant;

struct pace {
	unsigned max_running, max_queued, max_total; /* max_queued: of one tenant */
	unsigned running;
	size_t queued;
	uint64_t now;         /* virtual time of the one that went last */
	uint64_t turn;        /* breaks ties: first come, first served */
	struct table tenants; /* those who have something in the queue */
	struct pace_tenant **heap;
	size_t n, cap;
};

void pace_init(struct pace *p, unsigned max_running, unsigned max_queued, unsigned max_total);
void pace_done(struct pace *p); /* nothing may wait any more */
/* False: this tenant, or all, have as many waiting as they may. weight from 1. */
bool pace_add(struct pace *p, const char *tenant, int64_t weight, struct pace_item *item);
/* The next one to be begun, which counts as running until pace_end(); NULL: none, or not now. */
struct pace_item *pace_next(struct pace *p);
void pace_end(struct pace *p);
/* Any that waits, to be given up; NULL: none. */
struct pace_item *pace_pop(struct pace *p);

#endif
