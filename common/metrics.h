/* Counters, gauges and histograms, and their Prometheus text (format 0.0.4).
 *
 * Made at start by one thread; then counted by any (relaxed atomics) and read by the admin port's.
 * Names begin with penstock_, base units, _total on counters. */
#ifndef PENSTOCK_METRICS_H
#define PENSTOCK_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/strbuf.h"

struct metrics;
struct metric {
	_Atomic int64_t value;
};
struct histogram;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* The same name may be made several times with different labels ("class=\"durable\"", NULL for
 * none); help of the first one counts. Texts are copied. The result lives as long as m. */
struct metric *metrics_counter(struct metrics *m, const char *name, const char *labels,
			       const char *help);
struct metric *metrics_gauge(struct metrics *m, const char *name, const char *labels,
			     const char *help);
/* Seconds, buckets from 100 us to 60 s in steps of 1, 2.5, 5. */
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels,
				    const char *help);

static inline void metric_add(struct metric *c, int64_t n)
{
	atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}
static inline void metric_set(struct metric *g, int64_t n)
{
	atomic_store_explicit(&g->value, n, memory_order_relaxed);
}
static inline int64_t metric_get(struct metric *g)
{
	return atomic_load_explicit(&g->value, memory_order_relaxed);
}
void histogram_observe_us(struct histogram *h, int64_t us);

void metrics_text(struct metrics *m, struct strbuf *out);
/* penstock_process_*: resident and heap bytes, descriptors, CPU seconds, read now. Any thread. */
void metrics_process_text(struct strbuf *out);

#endif
