/* The bus over NATS JetStream (cnats): works with nats-server 2.9 and later.
 *
 * cnats' own threads only hand messages to the loop. Requests of every kind (core, publish
 * acknowledgements, JetStream API) share one inbox subscription and a table of what is pending,
 * with the deadlines on the loop's timers. Connects in the background and reconnects for ever. */
#ifndef PENSTOCK_BUS_NATS_H
#define PENSTOCK_BUS_NATS_H

#include "common/bus.h"

struct bus_nats_conf {
	const char *url;  /* nats://127.0.0.1:4222[,nats://…] */
	const char *name; /* shown in the server's connection list */
};

/* Never waits for the server: see bus_connected(). NULL on a bad URL or lack of resources. */
struct bus *bus_nats_open(struct loop *loop, const struct bus_nats_conf *conf, struct error *err);

#endif
