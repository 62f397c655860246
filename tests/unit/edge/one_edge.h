/* One edge on simulated time, with a fake broker and socket pairs instead of connections; it knows
 * the tenant "acme" and a key. Threads: the test's, which has one such edge at a time. */
#ifndef PENSTOCK_TEST_ONE_EDGE_H
#define PENSTOCK_TEST_ONE_EDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/event.pb-c.h"
#include "services/edge/edge.h"

#define PARTS   4
#define ROAD_US 2 /* of a message through the fake broker */

extern struct loop *loop;
extern struct bus *bus; /* of everybody but the edge */
extern uint64_t log_epoch;
extern unsigned n_fds;
extern int fds[300]; /* the clients' ends */

void one_edge_begin(unsigned sockets); /* who subscribe to "room.1" */
void one_edge_end(void);
void run_until(int64_t at_us);
/* The text as one frame. */
void say(int fd, const char *text);
/* A client more; after: NULL, or the position to subscribe from, as JSON. To <room>.<n>. */
void come_in(const char *room, unsigned n, const char *after);
/* How many sockets have got this text since they were read last, and the second behind it (NULL:
 * none); NULL for both: those that have got nothing. */
unsigned heard(const char *first, const char *second);
/* What the next two send; e points to what it is given. */
void event_of(Penstock__Event *e, const char *channel, const char *data);
/* Ephemeral, or into the log. */
void publish_to(const char *channel, const char *data);
void store_to(const char *channel, const char *data);
/* The edge has no broker; from then on it has one again. */
void cut_off(bool cut);

#endif
