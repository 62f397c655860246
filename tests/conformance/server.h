/* A private nats-server with JetStream: for tests that kill it. Loopback, a free port, data in a
 * temporary folder. */
#ifndef PENSTOCK_CONFORMANCE_SERVER_H
#define PENSTOCK_CONFORMANCE_SERVER_H

#include "tests/conformance/world.h"

void server_start(struct server *s);   /* waits until it takes connections */
void server_kill(struct server *s);    /* SIGKILL */
void server_restart(struct server *s); /* same port, same data */
void server_pause(struct server *s, bool stop);
void server_remove(struct server *s);

#endif
