/* The bus over NATS JetStream (cnats): works with nats-server 2.9 and later.
 *
 * The connection is driven by the loop itself (cnats' event-loop interface): one read per turn, and
 * all that a turn gathered goes out in one write at its end. cnats' delivery thread only hands
 * messages to the loop, and not all of them: answers to stores and reads, and what the first
 * consumers get, the loop takes itself (docs/decisions/0038). Requests of every kind share a table
 * of what is pending, with the deadlines on a timing wheel. Connecting is done by a thread of its
 * own, again and again for ever; a lost connection ends all pending requests with BUS_UNAVAILABLE
 * at once.
 *
 * Bounds: 65,536 requests pending (beyond: BUS_UNAVAILABLE), 64 MiB that the server does not take
 * (beyond: publishes are dropped, requests BUS_UNAVAILABLE), per subscription 262,144 messages or
 * 256 MiB on their way to the loop (beyond: dropped). Each is counted. */
#ifndef PENSTOCK_BUS_NATS_H
#define PENSTOCK_BUS_NATS_H

#include "common/bus.h"
#include "common/metrics.h"

struct bus_nats_conf {
	const char *url;         /* nats://127.0.0.1:4222[,nats://…] */
	const char *name;        /* shown in the server's connection list */
	struct metrics *metrics; /* NULL: not counted */
	bool no_echo;            /* what it publishes does not come to its own subscriptions */
};

/* Never waits for the server: see bus_connected(). NULL on a bad URL or lack of resources. */
struct bus *bus_nats_open(struct loop *loop, const struct bus_nats_conf *conf, struct error *err);

/* The last call of a main() that opened any: ends cnats' own threads, so that leak checkers see
 * nothing. */
void bus_nats_shutdown(void);

#endif
