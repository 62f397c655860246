/* When a reactor writes: at once, or a moment later because it has just written to very many
 * sockets and more may come. A write costs the same for one frame and for several, so after one
 * to GATHER_SOCKETS the next is not before GATHER_US, and all that comes in that time goes out
 * together. The first event after a pause goes at once, and so does whatever is too much to gain by
 * waiting (docs/decisions/0033). Pure. Threads: one owner. */
#ifndef PENSTOCK_EDGE_GATHER_H
#define PENSTOCK_EDGE_GATHER_H

#include <stdint.h>

#define GATHER_SOCKETS 256  /* to write to so many takes about a millisecond, or more */
#define GATHER_US      5000 /* from the end of that to the next */
#define GATHER_BYTES   4096 /* of one socket: it pays for its write */

struct gather { /* zeroed: writes at once */
	int64_t until_us;
};

/* A turn has written to so many sockets and is through now. */
static inline void gather_wrote(struct gather *g, int64_t sockets, int64_t now_us)
{
	g->until_us = sockets >= GATHER_SOCKETS ? now_us + GATHER_US : 0;
}

/* So much waits for one socket. */
static inline void gather_waits(struct gather *g, uint32_t bytes)
{
	if (bytes > GATHER_BYTES)
		g->until_us = 0;
}

/* Microseconds until what waits is to be written; 0: now. */
static inline int64_t gather_left_us(const struct gather *g, int64_t now_us)
{
	return g->until_us > now_us ? g->until_us - now_us : 0;
}

#endif
