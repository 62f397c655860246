/* The generic cell rate algorithm: one limit in eight bytes.
 *
 * Pure: the caller brings the time. A limit lets `burst` units through at once and `rate` units a
 * second in the long run. A cost above the burst passes when the bucket is full and is then paid
 * off: such a message is late, never stuck for ever. All arithmetic is in integer nanoseconds; a
 * cost is rounded up, so the rate is never exceeded. Source: ITU-T I.371, annex A (virtual
 * scheduling). Threads: one owner a struct. */
#ifndef PENSTOCK_GCRA_H
#define PENSTOCK_GCRA_H

#include <stdint.h>

struct gcra {
	int64_t tat_ns; /* theoretical arrival time: when the bucket is full again; 0: it is */
};

/* How long until `cost` units may pass: 0: now. rate 0 or less: there is no limit. Changes nothing.
 */
int64_t gcra_wait_ns(const struct gcra *g, int64_t rate, int64_t burst, int64_t cost,
		     int64_t now_ns);
/* How many units of cost 1 would pass at once; rate 0 or less: INT64_MAX. */
int64_t gcra_left(const struct gcra *g, int64_t rate, int64_t burst, int64_t now_ns);
/* Charges `cost` units, whether or not they fit. */
void gcra_take(struct gcra *g, int64_t rate, int64_t cost, int64_t now_ns);
/* Gives back `units` that were charged and not used, rounded down; 0 or less: nothing. The bucket
 * is never fuller than full: what is not owed any more counts for nothing. */
void gcra_give(struct gcra *g, int64_t rate, int64_t units);

#endif
