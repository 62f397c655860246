/* Which edge is a tenant's: rendezvous hashing with bounded load over the live edges of its region.
 *
 * Highest XXH3(edge, tenant) wins (common/members.h), so that an edge that comes or goes moves only
 * the tenants that it wins or had. An edge that has its share of the connections is passed over and
 * the next one in the tenant's own order takes what comes (Mirrokni, Thorup, Zadimoghaddam:
 * "Consistent Hashing with Bounded Loads", 2016); below `slack` connections nobody is full, so that
 * small tenants stay together. All edges with the same view give the same answer. No edge in the
 * region: all of them are asked; a full one is preferred to none.
 *
 * Pure: no I/O, the time is given. Threads: one owner. */
#ifndef PENSTOCK_EDGE_RING_H
#define PENSTOCK_EDGE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_conf {
	int64_t percent; /* of the mean that an edge may have, from 100 */
	int64_t slack;   /* connections that it may always have */
};

struct ring_edge {
	char *id, *url, *region;
	int64_t load; /* connections, as it told */
	bool out;     /* takes nobody */
	/* Sent there since it told its load: without them all that come between two beats would
	 * count as none. They are forgotten with the next report, or after RING_SENT_US. */
	int64_t sent, sent_us;
	bool seen;
};

#define RING_SENT_US 2000000

struct ring {
	struct ring_conf conf;
	struct ring_edge *list;
	size_t n, cap;
	const char **ids; /* scratch */
	size_t *places;
};

void ring_init(struct ring *ring, const struct ring_conf *conf);
void ring_done(struct ring *ring);

/* A new view: begin, put each live edge, end: what was not put is gone. The texts are copied. */
void ring_begin(struct ring *ring);
void ring_put(struct ring *ring, const char *id, const char *url, const char *region, int64_t load,
	      bool out);
void ring_end(struct ring *ring);

/* closed: whether this edge is not for this tenant, although it is in the ring; NULL: none is.
 * Counts whoever asked as sent there. NULL: no edge takes anybody. Valid until the next view. */
const struct ring_edge *ring_find(struct ring *ring, const char *tenant, const char *region,
				  bool (*closed)(void *arg, const char *id), void *arg,
				  int64_t now_us);

#endif
