/* Taking leave of clients: the whole edge's when it stops or the operators want it, or one
 * tenant's.
 *
 *   NONE --a drain begins--> DUE --its turn--> ASKING --where to--> TOLD --deadline--> LEAVING
 *                             ^ spread over spread_ms       `drain` frame  notice_ms    | commands
 *                                                                                 are answered
 *                                                                                      v
 *                                                                                 close 4200
 *
 * First out of the ring (shard.h) and no more upgrades, then the sockets. A socket that is LEAVING
 * is not read any more: what it sends is repeated elsewhere with the same key. A new socket of a
 * drained tenant is refused at the door if its token is in the handshake (http_ws.c), and told
 * where to go if its token comes later; it is served if there is nowhere else.
 * The hub decides (drain_…), reactors carry it out (conn_drain_…). */
#ifndef PENSTOCK_EDGE_DRAIN_H
#define PENSTOCK_EDGE_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/names.h"

struct hub;
struct conn;
struct reactor;

enum drain_state {
	DRAIN_NONE,
	DRAIN_DUE,
	DRAIN_ASKING,
	DRAIN_MET, /* the same question for one that came to a drained edge */
	DRAIN_TOLD,
	DRAIN_LEAVING,
};

struct drain_plan {
	char tenant[TENANT_MAX + 1]; /* "": everybody */
	bool on;                     /* false: it is over */
	int64_t notice_ms, spread_ms;
	const char *reason; /* of the frames; static */
};

struct drain_node { /* a plan in force, in a reactor */
	struct drain_node *next;
	struct drain_plan plan;
};

/* --- the hub's thread */
/* The configuration's document of this edge has changed. */
void drain_configured(struct hub *hub);
/* Does this tenant's new socket have to go to another edge? No, if there is none that takes it. */
bool drain_refuses(struct hub *hub, const char *tenant);
/* This process ends. Again: it ends now. */
void drain_stop(struct hub *hub);
void drain_done(struct hub *hub);

/* --- any thread */
void reactor_drain(struct reactor *r, const struct drain_plan *plan);

/* --- the reactor's thread */
void conn_drain_step(struct conn *conn, int64_t now_us); /* its time (conn->drain_us) has come */
void conn_drain_met(struct conn *conn);                  /* it is known now whose it is */
void reactor_drains_free(struct reactor *r);

#endif
