/* When the bus is told of a channel's first subscriber: at once, or a moment later because very
 * many come and what one question costs is mostly what the broker and the hub do to wake up for it.
 * Time is cut into windows; where the last one had SURGE_MANY, this one's go together at its end.
 * So a single client, with as many subscriptions as it may have, waits for nothing, and in a surge
 * nobody for longer than a window (docs/decisions/0044). While some wait, whoever comes joins them,
 * and the window ends when they go: late, where there is much to do. Pure. Threads: one owner. */
#ifndef PENSTOCK_EDGE_SURGE_H
#define PENSTOCK_EDGE_SURGE_H

#include <stdint.h>

#define SURGE_US   4000
#define SURGE_MANY 16 /* 4,000 a second */

struct surge { /* zeroed: nothing has come yet */
	int64_t began_us;
	unsigned n, before; /* in this window, and in the one just before it */
};

/* One more comes, and nobody waits. Microseconds until it is to go; 0: now. */
static inline int64_t surge_left_us(struct surge *s, int64_t now_us)
{
	if (now_us - s->began_us >= SURGE_US) {
		s->before = now_us - s->began_us < 2 * SURGE_US ? s->n : 0;
		s->n = 0;
		s->began_us = now_us;
	}
	s->n++;
	return s->before >= SURGE_MANY ? s->began_us + SURGE_US - now_us : 0;
}

/* One more comes, and waits with the others. */
static inline void surge_joined(struct surge *s)
{
	s->n++;
}

/* The time of those that waited has come. */
static inline void surge_went(struct surge *s, int64_t now_us)
{
	s->before = s->n;
	s->n = 0;
	s->began_us = now_us;
}

#endif
