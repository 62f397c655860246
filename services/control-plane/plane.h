/* The whole control-plane: starts its parts in order, waits for the end, stops them in reverse.
 *
 * Threads: one for the loop (bus, members, mirror), one for the publisher, a few for HTTP, one for
 * the admin port; the caller's waits. */
#ifndef PENSTOCK_CONTROL_PLANE_H
#define PENSTOCK_CONTROL_PLANE_H

#include "services/control-plane/config.h"

/* Until SIGTERM or SIGINT. 0: a clean stop; 1: could not start or go on (logged). */
int control_run(const struct control_config *config);

#endif
