/* How fast a connection may send: messages and bytes a second, over a window of 100 ms. Whoever
 * sends more is read later, so that TCP pushes back; nothing is refused. A message that is worth
 * more than a window by itself costs its own time. Pure; threads: one owner. */
#ifndef PENSTOCK_EDGE_INTAKE_H
#define PENSTOCK_EDGE_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

struct intake_rates {
	int64_t messages, bytes; /* a second */
};

struct intake {           /* zeroed: nothing came yet */
	int64_t since_us; /* of the window */
	int64_t until_us; /* nothing is read before; 0: it may be */
	uint32_t messages, bytes;
};

/* So much has come: true if reading has to stop from now until until_us. */
bool intake_count(struct intake *in, const struct intake_rates *rates, uint32_t messages,
		  uint32_t bytes, int64_t now_us);
/* True if the pause is over by now: reading goes on. */
bool intake_resume(struct intake *in, int64_t now_us);

#endif
