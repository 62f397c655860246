/* Leases of a tenant's limits to edges: so much an edge may let pass within a second or so, without
 * asking for each event. Pure.
 *
 * What is leased is charged to the tenant's limits at once, as if it had been sent, so that the
 * edges and the router together never let more pass than the limits do: in any time of length W at
 * most burst + rate * (W + SHARE_KEPT_MS). An edge that comes for its next lease says what it has
 * used of the last one, which is void from then on, and the rest is given back, if that is soon; a
 * lease that is never spoken of again has been used. At most half of what is left goes into one
 * lease: there is always something for the other edges and for the way through the router. Threads:
 * one owner. */
#ifndef PENSTOCK_ROUTER_SHARE_H
#define PENSTOCK_ROUTER_SHARE_H

#include "services/router/admit.h"

#define SHARE_TTL_MS   1000
#define SHARE_KEPT_MS  2000 /* then nothing of it is given back any more */
#define SHARE_RETRY_MS 200  /* where nothing is left */
#define SHARE_LEAST    4    /* events; a lease of fewer is not worth its question */
#define SHARE_EDGES    32   /* leases of one tenant that are known; more edges have none */

struct share_lease {
	uint64_t edge, id; /* edge: a hash of its name */
	int64_t events, bytes;
	int64_t granted_ns;
};

struct share { /* zeroed: nothing is leased */
	unsigned n;
	struct share_lease leases[SHARE_EDGES];
};

struct share_ask {
	uint64_t edge;
	uint64_t last; /* id of its last lease; 0: none */
	int64_t events_used, bytes_used;
	int64_t events_wanted, bytes_wanted; /* from 1 */
};

/* Charges state and fills in *lease; false: nothing can be leased now. id: of the new lease, never
 * used before for this tenant. */
bool share_grant(struct share *s, const struct tenant_limits *limits, struct admit_state *state,
		 const struct share_ask *ask, uint64_t id, int64_t now_ns,
		 struct share_lease *lease);

#endif
