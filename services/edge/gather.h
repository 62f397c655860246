/* When a reactor writes: at once, or a moment later because it has just written to very many
 * sockets and more may come. A write costs the same for one frame and for several, so after one to
 * GATHER_SOCKETS the next begins no sooner than GATHER_US after the beginning of that, and all that
 * comes in that time goes out together. Where each got more than one frame there is something to
 * gather, and it is GATHER_MORE_US. The first event after a pause goes at once, and so does
 * whatever is too much to gain by waiting (docs/decisions/0033, 0034). Pure. Threads: one owner. */
#ifndef PENSTOCK_EDGE_GATHER_H
#define PENSTOCK_EDGE_GATHER_H

#include <stdint.h>

#define GATHER_SOCKETS 256   /* to write to so many takes about a millisecond, or more */
#define GATHER_US      7000  /* less than between 100 events a second: none of them waits */
#define GATHER_MORE_US 14000 /* with the writing itself about 20 ms */
#define GATHER_SHARE   8    /* and if writing takes longer than that: so much of it, from its end */
#define GATHER_BYTES   3072 /* of one socket: it pays for its write */

struct gather { /* zeroed: writes at once */
	int64_t until_us;
};

/* A turn has written so many frames to so many sockets, from when to when. */
static inline void gather_wrote(struct gather *g, int64_t sockets, int64_t frames, int64_t began_us,
				int64_t now_us)
{
	int64_t pause_us = 2 * frames > 3 * sockets ? GATHER_MORE_US : GATHER_US;
	int64_t share_us = (now_us - began_us) + (now_us - began_us) / GATHER_SHARE;

	g->until_us = 0;
	if (sockets >= GATHER_SOCKETS)
		g->until_us = began_us + (pause_us > share_us ? pause_us : share_us);
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
