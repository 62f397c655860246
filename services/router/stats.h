/* The router's metrics; docs/queues.md says which belongs to which bound. Threads: counted on the
 * loop's. */
#ifndef PENSTOCK_ROUTER_STATS_H
#define PENSTOCK_ROUTER_STATS_H

#include "common/metrics.h"
#include "services/router/admit.h"

enum router_kind {
	ROUTER_PUBLISH,
	ROUTER_TASK,
	ROUTER_CANCEL,
	ROUTER_RELEASE,
	ROUTER_REDRIVE,
	ROUTER_REPLAY,
	ROUTER_UNKNOWN,
	ROUTER_KINDS
};
#define ROUTER_RESULTS 12

struct router_stats {
	struct metric *commands[ROUTER_KINDS][ROUTER_RESULTS];
	struct metric *limited[4][2]; /* enum admit_limit (0: tasks_queued), enum limit_mode */
	struct metric *leases[2], *leased_events; /* refused, granted */
	struct metric *malformed, *recent_hits, *moves, *bad_tickets, *strays, *ticket_retries;
	struct metric *inflight, *inflight_bytes, *parts, *tenants, *recents;
	struct metric *window[2], *window_tokens[2], *backlog[2], *slots[2]; /* enum router_pool */
	struct histogram *publish, *task;
};

void router_stats_init(struct router_stats *s, struct metrics *m);
/* result: "accepted", "duplicate", "ephemeral" or an error code. */
void router_stats_command(struct router_stats *s, enum router_kind kind, const char *result);

#endif
