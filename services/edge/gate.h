/* The clients' port: a listening socket for each reactor.
 *
 * What asks for a WebSocket, whole and plain (handshake.h), is served by the reactor that accepted
 * it, or by one that has fewer connections. Every other connection goes to libmicrohttpd, with
 * nothing of it read, which has all the rest: the other doors, what is refused, what is slow.
 * Threads: gates_listen() the assembling thread, gate_close() the reactor's. */
#ifndef PENSTOCK_EDGE_GATE_H
#define PENSTOCK_EDGE_GATE_H

#include "common/loop.h"
#include "services/edge/client_msg.h"

struct edge;
struct reactor;

struct gate { /* zeroed: closed */
	struct reactor *reactor;
	struct loop_io io;
	struct timer again; /* after descriptors were scarce */
	bool open;
	bool scarce; /* there was none when it was last tried */
};

/* Opens the gates of all reactors; from now on connections come. Returns the port, or -1. */
int gates_listen(struct edge *edge, struct error *err);
/* Does this edge take no more WebSockets? *why says it. Any thread. */
bool gate_refuses(struct edge *edge, struct client_error *why);
void gate_close(struct gate *gate); /* closed already is fine */

#endif
