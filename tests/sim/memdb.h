/* PostgreSQL for the simulation: one table that all event-stores write through a sink each, one
 * leader at a time, a commit that takes a while and can be cut off by a crash, before or after it
 * took effect.
 *
 * Threads: the loop's. */
#ifndef PENSTOCK_SIM_MEMDB_H
#define PENSTOCK_SIM_MEMDB_H

#include <stdint.h>

#include "common/loop.h"
#include "common/rng.h"
#include "services/event-store/sink.h"

struct memdb_row {
	uint64_t seq;
	char *id, *tenant, *channel, *type, *key, *data;
	uint64_t digest;
};

struct memdb {
	struct loop *loop;
	struct rng *rng;
	bool up;
	uint64_t position;
	char position_id[64];
	struct memdb_row *rows; /* in the order of seq */
	size_t n, cap;
	struct memdb_sink *leader;
	size_t poison;
};

void memdb_init(struct memdb *db, struct loop *loop, struct rng *rng);
void memdb_done(struct memdb *db); /* after all its sinks */
/* Down: the leader loses its lead, batches under way fail (whether or not they were stored). */
void memdb_set_up(struct memdb *db, bool up);

/* One event-store's connection. Closing it is its crash: a batch under way is stored or not. */
struct store_sink *memdb_connect(struct memdb *db);
void memdb_disconnect(struct store_sink *sink);

#endif
