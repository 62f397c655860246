/* Which attempts of a task's stages are under way, from the transitions in its log: whose deltas a
 * subscriber that came late is still to get. Pure; threads: one owner. */
#ifndef PENSTOCK_EDGE_STAGES_H
#define PENSTOCK_EDGE_STAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"
#include "services/edge/wire.h"

#define STAGES_MAX 64 /* of a pipeline */

struct stage_at {
	char *id;
	uint32_t attempt; /* the newest that was begun */
	bool open;        /* it has not ended */
	int64_t since_us; /* when it began, by the worker's clock */
};

struct stages { /* zeroed: none known */
	struct stage_at *all;
	unsigned n;
};

/* The next transition. To go through some of them again, in their order, changes nothing. */
void stages_event(struct stages *s, const struct event_view *e);
/* When the earliest attempt that is under way began; 0: none is. */
int64_t stages_since(const struct stages *s);
/* Is it of an attempt that is under way? What is newer than all that the log said is. */
bool stages_want(const struct stages *s, const struct delta_view *d);
void stages_done(struct stages *s);

#endif
