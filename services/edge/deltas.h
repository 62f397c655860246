/* What was said already of a task's stages that are under way, for a subscriber that came late:
 * read from the stream DELTAS, a page at a time, in the tenants' turns (pace.h).
 *
 * Which stages and attempts that is follows from the task's transitions, which are read once, at
 * the first page; their deltas follow in the order of the stream. At DELTAS' rates a task's first
 * one may be millions of messages back, and the broker would look through all of them: so where to
 * begin is found by bisection, by the time when the earliest of the attempts began.
 *
 * Threads: the asker's; while it is asked for, the hub's. The same request is used for all pages:
 * it carries what is known. */
#ifndef PENSTOCK_EDGE_DELTAS_H
#define PENSTOCK_EDGE_DELTAS_H

#include "services/edge/request.h"
#include "services/edge/stages.h"

struct delta_request {
	struct request base;
	unsigned part;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
	size_t max_bytes;      /* of a page's frames together; one is always had */
	_Atomic bool forsaken; /* by the asker: not begun if it is not yet */
	bool failed;           /* it could not be read: ask again, later */
	bool more;             /* there are more */
	uint64_t pos;          /* all of DELTAS up to here is dealt with */
	unsigned n;
	struct frame *frames[PAGE_MAX]; /* owned: a reference each; prev is its sequence */
	/* the hub's own */
	struct turn turn;
	struct stages stages;
	bool known;         /* the stages are */
	uint64_t low, high; /* of the bisection: the first delta is not before low */
	int64_t since_us;
	unsigned scanned;
	size_t bytes;
};

struct delta_request *delta_request_new(unsigned part, const char *tenant, const char *channel);
/* Any thread: the next page, answered at base.home. The frames of the last one must be taken. */
void hub_deltas(struct hub *hub, struct delta_request *r);
/* With the frames that were not taken. NULL is fine. */
void delta_request_free(struct delta_request *r);

#endif
