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
	int64_t time_us;
};

struct memdb_parked {
	size_t row; /* its task.parked, or the task.accepted of a delayed one */
	int64_t not_before;
	bool released;
};

struct memdb {
	struct loop *loop;
	struct rng *rng;
	bool up;
	uint64_t position;
	char position_id[64];
	struct memdb_row *rows; /* in the order of seq; all that there ever were */
	size_t n, cap;
	uint64_t kept_from;          /* those below are not kept any more */
	struct memdb_parked *parked; /* tasks that rest */
	size_t n_parked, cap_parked;
	struct memdb_sink *leader;
	size_t poison;
};

void memdb_init(struct memdb *db, struct loop *loop, struct rng *rng);
void memdb_done(struct memdb *db); /* after all its sinks */
/* Down: the leader loses its lead, batches under way fail (whether or not they were stored). */
void memdb_set_up(struct memdb *db, bool up);

bool memdb_ends_task(const char *type);
/* Milliseconds since 1970 before which the task of this row is not to go on; 0: at once. */
int64_t memdb_not_before(const struct memdb_row *row);
/* The last event of a task that rests, has no ticket yet and whose time has come; NULL: none. */
const struct memdb_row *memdb_due(const struct memdb *db, int64_t now_ms);
/* Notes that the one at seq has its ticket. */
void memdb_released(struct memdb *db, uint64_t seq);

/* One event-store's connection. Closing it is its crash: a batch under way is stored or not. */
struct store_sink *memdb_connect(struct memdb *db);
void memdb_disconnect(struct store_sink *sink);
bool memdb_leads(const struct store_sink *sink);

#endif
