/* The operators end a session: pen.ctl.disconnect.<edge> {session, resume}. An edge closes the
 * sockets that it has of it and answers {tenant, edge, sockets}, with no sockets if it has none.
 *
 * Close 4004, on which clients stop; with `resume` 4201: they come back at once and go on. Threads:
 * the hub's. */
#ifndef PENSTOCK_EDGE_DISCONNECT_H
#define PENSTOCK_EDGE_DISCONNECT_H

#include "services/edge/hub_int.h"

int disconnect_start(struct hub *hub, struct error *err) MUST_CHECK;
void disconnect_stop(struct hub *hub);

#endif
