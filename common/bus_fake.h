/* A broker in memory, for tests: the same promises as NATS JetStream's, and faults on demand.
 *
 * Everything happens on one loop (normally a simulated one) and from one seed: the same seed gives
 * the same run. A node is one process's connection; freeing its bus is that process's crash: its
 * subscriptions end, its claims run out after ack_wait, what it had sent but the broker had not
 * taken may be lost. */
#ifndef PENSTOCK_BUS_FAKE_H
#define PENSTOCK_BUS_FAKE_H

#include "common/bus.h"

struct fake_faults {           /* probabilities in [0, 1]; zeroed: a perfect broker */
	double lose_core;      /* a core message (also a republished one, also a reply) is lost */
	double duplicate_core; /* … or arrives twice */
	double lose_ack;       /* a store happened, its acknowledgement is lost: BUS_TIMEOUT */
	double lose_store;     /* the store itself never reached the broker: BUS_TIMEOUT */
	double redeliver;      /* a durable consumer's message is delivered once more than needed,
				  a private one's is lost */
	int64_t delay_min_us,
	    delay_max_us; /* of each hop, uniform: reordering between nodes and subjects */
};

struct fake_broker;

struct fake_broker *fake_broker_new(struct loop *loop, uint64_t seed);
void fake_broker_free(struct fake_broker *broker); /* after all its buses */
void fake_broker_faults(struct fake_broker *broker, const struct fake_faults *faults);
/* Down: nobody is connected, nothing is taken; what was stored stays. */
void fake_broker_set_up(struct fake_broker *broker, bool up);

struct bus *bus_fake_open(struct fake_broker *broker, const char *name);
/* What it publishes does not come to its own subscriptions, as with bus_nats.h's no_echo. */
void bus_fake_no_echo(struct bus *bus);
/* Cuts this node off (true) or reconnects it: a partition. */
void bus_fake_partition(struct bus *bus, bool cut);

#endif
