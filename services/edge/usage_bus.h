/* How edges tell each other of their tenants' usage: pen.ctl.usage, core messages. Threads: the
 * hub's. */
#ifndef PENSTOCK_EDGE_USAGE_BUS_H
#define PENSTOCK_EDGE_USAGE_BUS_H

#include "services/edge/hub_int.h"

#define USAGE_CHANGES_MS 500  /* between reports of changes */
#define USAGE_ALL_MS     5000 /* between complete ones */

int usage_start(struct hub *hub, struct error *err) MUST_CHECK;
void usage_stop(struct hub *hub);
/* The connection is back: the others may have missed something, and so may we. */
void usage_greet(struct hub *hub);
/* What has changed, now: tenants are drained, or not any more. */
void usage_tell_changes(struct hub *hub);
/* Who is a member has changed. */
void usage_view(struct hub *hub);

#endif
