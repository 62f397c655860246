/* A sum over the last minute, in slots: what a target may have seen.
 *
 * It errs upwards: a slot counts until all of it is older than TRAIL_US, which is a minute plus the
 * time in which a credit may still be used and the way to the target. Pure; threads: one owner. */
#ifndef PENSTOCK_CONTROL_TRAIL_H
#define PENSTOCK_CONTROL_TRAIL_H

#include <stdint.h>

#define TRAIL_US      ((int64_t)62000000)
#define TRAIL_SLOT_US ((int64_t)500000)
#define TRAIL_SLOTS   126

struct trail {
	int64_t slots[TRAIL_SLOTS];
	int64_t last; /* number of the newest slot */
	int64_t sum;
};

void trail_init(struct trail *w, int64_t now_us);
int64_t trail_sum(struct trail *w, int64_t now_us);
/* n may be negative: what was counted at at_us and did not happen. at_us: not in the future. */
void trail_add(struct trail *w, int64_t at_us, int64_t now_us, int64_t n);
/* As if `limit` had been used evenly in the time before. */
void trail_assume(struct trail *w, int64_t now_us, int64_t limit);

#endif
