/* A histogram of latencies: 1 us to 1 h, three significant digits' worth of buckets (error
 * below 0.4 %).
 *
 * Pure. Threads: one owner. Units: microseconds in, milliseconds in the JSON. */
#ifndef LOAD_HIST_H
#define LOAD_HIST_H

#include <stdint.h>

#include "common/strbuf.h"

#define HIST_SUB     512 /* linear steps within a power of two */
#define HIST_BUCKETS (HIST_SUB * 28)

struct hist {
	uint64_t count[HIST_BUCKETS];
	uint64_t n;
	int64_t max, sum;
};

void hist_add(struct hist *h, int64_t us);
/* Upper edge of the bucket that holds the q-quantile (0 to 1); 0 if empty. */
int64_t hist_quantile(const struct hist *h, double q);
/* {"n":…,"mean":…,"p50":…,"p90":…,"p99":…,"p999":…,"max":…} in ms; null if empty. */
void hist_write(const struct hist *h, struct strbuf *out);

#endif
