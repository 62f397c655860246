/* A small seedable random generator (xoshiro256**), for jitter, ids in simulations and faults.
 * Not for secrets: those come from getrandom(2), see ids.h. Threads: one owner. */
#ifndef PENSTOCK_RNG_H
#define PENSTOCK_RNG_H

#include <stdint.h>

struct rng {
	uint64_t s[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
void rng_seed_os(struct rng *rng);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t n); /* uniform in [0, n), n > 0 */
double rng_unit(struct rng *rng);                /* uniform in [0, 1) */

/* Full jitter: uniform in [0, min(cap, initial * factor^(attempt-1))]. attempt counts from 1.
 * Source: "Exponential Backoff And Jitter", AWS Architecture Blog. Any unit. */
int64_t backoff_full_jitter(struct rng *rng, int attempt, int64_t initial, double factor,
			    int64_t cap);

#endif
