/* The operators want to know who is here: pen.ctl.sessions.<edge> {after, limit, tenant?} is
 * answered by {edge, sessions: […]}, the first `limit` behind `after` (roll.h).
 *
 * Threads: the hub's. */
#ifndef PENSTOCK_EDGE_ROLL_CALL_H
#define PENSTOCK_EDGE_ROLL_CALL_H

#include "services/edge/hub_int.h"

int roll_call_start(struct hub *hub, struct error *err) MUST_CHECK;
void roll_call_stop(struct hub *hub);

#endif
