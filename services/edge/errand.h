/* What the operators ask of all sockets of this edge: it goes from one reactor to the next, back to
 * the hub, and is answered there, by an edge that has nothing to say as well.
 *
 * Threads: errand_start() the hub's. */
#ifndef PENSTOCK_EDGE_ERRAND_H
#define PENSTOCK_EDGE_ERRAND_H

#include "services/edge/hub_int.h"

#define ERRAND_REPLY_MAX 128 /* an inbox of the bus */
#define ERRAND_BODY_MAX  512

/* The first member of what it carries, which is freed behind it. */
struct errand {
	struct loop_post post;
	struct hub *hub;
	unsigned at;                                             /* the reactor that has it */
	void (*visit)(struct errand *e, struct reactor *r);      /* the reactor's thread */
	void (*finish)(struct errand *e, struct strbuf *answer); /* the hub's: what it says */
	char reply[ERRAND_REPLY_MAX + 1];
};

/* The question as a document, new reference; NULL: it is none that can be answered. */
json_t *errand_read(const struct bus_msg *msg);
/* e: visit and finish are set; owned. */
void errand_start(struct hub *hub, struct errand *e, const struct bus_msg *msg);

#endif
