/* The hub's view of all edges: which one is a tenant's, and what this one tells of itself.
 *
 * Who is alive, where and how busy comes from the members' documents, who is drained and for whom
 * from the configuration, so every edge gives the same answer. This edge's own entry is its own
 * knowledge, not what it hears of itself. Threads: the hub's. */
#ifndef PENSTOCK_EDGE_SHARD_H
#define PENSTOCK_EDGE_SHARD_H

#include "services/edge/hub_int.h"

void shard_init(struct hub *hub);
void shard_done(struct hub *hub);
/* The members have changed. */
void shard_view(struct hub *hub);
/* Where new sockets of this tenant go; NULL: nobody takes them. Valid until the next turn. */
const struct ring_edge *shard_find(struct hub *hub, const char *tenant);
/* This edge's document for the members (members_describe()). */
json_t *shard_describe(void *hub);

#endif
