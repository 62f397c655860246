/* What the target itself saw: the count that limits are held against.
 *
 * Pure: the time is an argument. Units: microseconds of one monotonic clock. Threads: one owner. */
#ifndef MODELSIM_STATS_H
#define MODELSIM_STATS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

/* A sum over the last 60 s, exact to the microsecond, and the most it ever was. */
struct minute {
	struct minute_entry {
		int64_t at_us, n;
	} * ring;
	size_t head, len,
	    cap; /* cap: a power of two, at most MINUTE_MAX; beyond that the oldest go early */
	int64_t sum, peak;
};

#define MINUTE_US  60000000
#define MINUTE_MAX (1 << 20)

void minute_add(struct minute *m, int64_t now_us, int64_t n);
int64_t minute_sum(struct minute *m, int64_t now_us);
/* Until enough entries have left the minute for n more to stay within limit. */
int64_t minute_wait_us(struct minute *m, int64_t now_us, int64_t n, int64_t limit);
void minute_done(struct minute *m);

struct stats {
	int64_t requests; /* all that named this model */
	int64_t admitted; /* … less those that were refused by a limit or a bad request */
	int64_t limited;  /* 429 */
	int64_t rejected; /* 4xx of our own */
	int64_t failed, hung, cut;
	int64_t completed;
	int64_t cancelled; /* the client closed before the answer was whole */
	int64_t streams;
	int64_t prompt_tokens, completion_tokens;
	int64_t bytes_in, bytes_out;
	int64_t concurrent, concurrent_peak;
	struct minute asked, allowed, tokens; /* requests, admitted requests, tokens */
	json_t *keys; /* Idempotency-Key → how often; at most STATS_KEYS_MAX */
	int64_t keys_repeated, keys_dropped;
};

#define STATS_KEYS_MAX 500000

void stats_init(struct stats *s);
void stats_done(struct stats *s);
/* Counts from zero; what runs now stays counted in concurrent. */
void stats_reset(struct stats *s);
void stats_key(struct stats *s, const char *key);
/* One JSON object; all_keys: every Idempotency-Key, else only those that were seen more than once.
 */
void stats_write(struct stats *s, int64_t now_us, bool all_keys, struct strbuf *out);

#endif
