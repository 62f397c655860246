/* Leases of a tenant's limits to edges: so much an edge may let pass without asking for each event.
 * Pure.
 *
 * What is leased is held back: the tenant's buckets are smaller by it, and so no event that an edge
 * lets pass and none that passes here are paid for by the same token. In any time of length W at
 * most burst + rate * W pass, however long a lease lasts. An edge that comes for its next lease
 * says what it has used of the last one: that is charged, and what is left goes into the new one,
 * for the edge goes on meanwhile. A lease that is not spoken of again has been used, when its time
 * is over.
 *
 * At most half of what is left goes into one lease: there is always something for the other edges
 * and for the way through the router. Who needs few has them for long, so that an edge need not ask
 * again for each event of a tenant that sends rarely: a quarter of the burst, of all edges
 * together, may be away like that. Threads: one owner. */
#ifndef PENSTOCK_ROUTER_SHARE_H
#define PENSTOCK_ROUTER_SHARE_H

#include "services/router/admit.h"

#define SHARE_TTL_MS   2000
#define SHARE_LONG_MS  240000
#define SHARE_GRACE_MS 1000 /* so much later it is over here, whatever the clocks say */
#define SHARE_RETRY_MS 200  /* where nothing is left */
#define SHARE_LEAST    4    /* events; a lease of fewer is not worth its question */
#define SHARE_FEW      32   /* events; so many may last for long */
#define SHARE_EDGES    32   /* leases of one tenant; more edges have none */

struct share_lease {
	uint64_t edge, id;     /* edge: a hash of its name */
	int64_t events, bytes; /* not known to be used */
	int64_t added;         /* of these events, when it was granted last */
	int64_t until_ns;
	uint32_t ttl_ms;
	bool lasting; /* of the quarter that may be away for long */
};

struct share { /* zeroed: nothing is leased */
	unsigned n, cap;
	struct share_lease *leases;
	int64_t next_ns; /* none ends before that */
};

struct share_ask {
	uint64_t edge;
	uint64_t last; /* id of its last lease; 0: none */
	int64_t events_used, bytes_used;
	int64_t events_wanted, bytes_wanted; /* from 1; with what is left of the last one */
};

void share_done(struct share *s);
/* Holds back from the state and fills in *lease; false: nothing can be leased now. id: of the new
 * lease, never used before for this tenant. */
bool share_grant(struct share *s, const struct tenant_limits *limits, struct admit_state *state,
		 const struct share_ask *ask, uint64_t id, int64_t now_ns,
		 struct share_lease *lease);
/* Charges the leases whose time is over. Before the state is used for anything else. */
void share_expire(struct share *s, const struct tenant_limits *limits, struct admit_state *state,
		  int64_t now_ns);

#endif
