/* Additive increase, multiplicative decrease of a target's concurrency, between a tenth of its
 * limit and the limit: a target that answers 429, too late or ever more slowly gets fewer calls at
 * once.
 *
 * Rounds of a second: what all workers saw in it decides once (a cut takes a round to show).
 * Source: Chiu and Jain, 1989; the signal of delay as in TCP Vegas. Pure; threads: one owner. */
#ifndef PENSTOCK_CONTROL_AIMD_H
#define PENSTOCK_CONTROL_AIMD_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/capacity.pb-c.h"

#define AIMD_ROUND_US ((int64_t)1000000)

struct aimd {
	int64_t limit;
	double now;
	int64_t round_us; /* when the round began */
	int64_t good, troubled;
	double first_ms, base_ms; /* time to first token: of this round, and when it was at ease */
	int64_t cuts;
};

/* A worker's counters, as last told. */
struct aimd_seen {
	uint64_t good, troubled;
};

void aimd_init(struct aimd *a, int64_t limit, int64_t now_us);
void aimd_limit(struct aimd *a, int64_t limit); /* it was changed */
void aimd_report(struct aimd *a, struct aimd_seen *seen, const Penstock__LeaseUse *use,
		 int64_t now_us);
int64_t aimd_now(const struct aimd *a); /* at least 1 */

#endif
