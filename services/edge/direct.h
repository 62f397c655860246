/* The direct road of ephemeral events: from a socket to the sockets of this edge without the
 * router, under a lease of the tenant's limits (lease.h), and once over NATS to the other edges.
 * What it cannot take, for whatever reason, goes through the router as everything else does, and
 * nobody sees a difference but in time. Threads: the hub's, or who borrows its loop. */
#ifndef PENSTOCK_EDGE_DIRECT_H
#define PENSTOCK_EDGE_DIRECT_H

#include <stdbool.h>

struct command_request;
struct hub;
struct tenant;

/* True: it is published and answered. ask: a lease may be asked for. */
bool direct_publish(struct hub *hub, struct command_request *r, bool ask);
/* A command with r->asks came back. */
void direct_answered(struct command_request *r);
/* They have changed. */
void direct_limits(struct hub *hub, const struct tenant *tenant);
void direct_done(struct hub *hub); /* the bus is gone */

#endif
