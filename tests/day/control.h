/* The control-plane's grantor (services/control-plane/lease.h) and the way to it: a bus that
 * carries leases only, and the members, who are always the same. Threads: one. */
#ifndef PENSTOCK_DAY_CONTROL_H
#define PENSTOCK_DAY_CONTROL_H

#include "common/bus.h"
#include "services/control-plane/lease.h"

#define WORKERS_MAX 4

struct bus {
	struct bus_base base;
	struct control *control;
	bus_msg_fn *beat;
	void *beat_arg;
	struct timer timer; /* a report's way there, an answer's way back */
	bool back;
	bus_answer_fn *answered;
	void *answered_arg;
	uint8_t *data;
	size_t len;
};

struct control {
	struct loop *loop;
	struct grantor *grantor;
	struct timer timer;
	struct bus lines[WORKERS_MAX];
	size_t n;
};

/* Of the workers "w0", "w1", … of members. */
void control_init(struct control *c, struct loop *loop, const char *model,
		  const struct lease_limits *limits, size_t workers);
void control_done(struct control *c);

struct members {
	char ids[WORKERS_MAX][24];
	size_t n;
};

#endif
