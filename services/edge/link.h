/* One subscription of one connection: from the topic's position on, or first through the log up to
 * the topic's stream. Threads: the reactor's. See topic.h for the picture. */
#ifndef PENSTOCK_EDGE_LINK_H
#define PENSTOCK_EDGE_LINK_H

#include "services/edge/topic.h"

/* The topic's position is known, or could not be found out. */
void link_begin(struct link *link);
/* Holds a live item while the link reads the log; takes its own reference. */
void link_hold(struct link *link, struct out_ref *ref, uint64_t before);
/* The log is known to reach to here: the link reads as far before it goes live. */
void link_reach(struct link *link, uint64_t to);
/* A live delta: is it due, or void, or to be read from DELTAS? */
bool link_delta(struct link *link, const struct frame *delta);
/* A live durable item has no room: it and what follows is read from the log, behind a gap frame,
 * once the socket has taken what waits for it. before: the position that was delivered. */
void link_spill(struct link *link, struct out_ref *ref, uint64_t before);
/* A page could not be read some time ago. */
void link_retry(struct link *link);

/* Events in [from, to] are missing, or come late if replayable. */
void link_gap(struct link *link, uint64_t from, uint64_t to, const char *reason, bool replayable);

/* topic.c, for links */
uint64_t topic_pos(const struct topic *t);
void topic_left(struct topic *t); /* a subscriber is gone */
struct fetch_request *topic_fetch_new(struct topic *t, const struct history *h);
struct locate_request *topic_locate_new(struct topic *t);

#endif
