#include "common/rng.h"

#include <stdlib.h>
#include <sys/random.h>

/* splitmix64 and xoshiro256**: Blackman and Vigna, "Scrambled Linear Pseudorandom Number
 * Generators" (2018); splitmix64 is their recommended way to fill the state from one number. */
static uint64_t splitmix64(uint64_t *x)
{
	uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void rng_seed(struct rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		rng->s[i] = splitmix64(&seed);
}

void rng_seed_os(struct rng *rng)
{
	uint64_t seed;

	/* Up to 256 bytes are never cut short (getrandom(2)); a kernel without it cannot run this.
	 */
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		abort();
	rng_seed(rng, seed);
}

uint64_t rng_next(struct rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

/* Lemire, "Fast Random Integer Generation in an Interval" (2019): multiply, and draw again for the
 * few values that would make the first numbers likelier. */
uint64_t rng_below(struct rng *rng, uint64_t n)
{
	unsigned __int128 m = (unsigned __int128)rng_next(rng) * n;

	if ((uint64_t)m < n) {
		uint64_t unfair = -n % n;

		while ((uint64_t)m < unfair)
			m = (unsigned __int128)rng_next(rng) * n;
	}
	return (uint64_t)(m >> 64);
}

double rng_unit(struct rng *rng)
{
	return (double)(rng_next(rng) >> 11) * 0x1.0p-53;
}

int64_t backoff_full_jitter(struct rng *rng, int attempt, int64_t initial, double factor,
			    int64_t cap)
{
	double limit = (double)initial;

	for (int i = 1; i < attempt && limit < (double)cap && factor > 1; i++)
		limit *= factor;
	/* Compared as doubles first: the product may be beyond int64_t. */
	int64_t top = limit >= (double)cap ? cap : (int64_t)limit;

	return top > 0 ? (int64_t)rng_below(rng, (uint64_t)top + 1) : 0;
}
