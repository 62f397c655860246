/* A client at an edge: a WebSocket over a socket pair that subscribes to one channel from its
 * beginning and wants every durable event once and in order, whatever happens to its edge, to its
 * connection and to its own pace.
 *
 * It does what a client library does: after a lost connection it goes to an edge that is up,
 * resumes its session (or begins a new one when it may not) and subscribes after the last offset
 * that it saw; it follows `drain`. Any frame that breaks the protocol fails the run at once.
 * Threads: one.
 */
#ifndef PENSTOCK_SIM_SUBSCRIBER_H
#define PENSTOCK_SIM_SUBSCRIBER_H

#include <jansson.h>

#include "common/loop.h"
#include "common/strbuf.h"

struct cluster;
struct node;

struct subscriber {
	struct cluster *cluster;
	int number, fd; /* -1: not connected */
	struct node *node;
	const char *tenant;
	char channel[32], epoch[32], session[64];
	char *resume; /* the newest token; NULL: none */
	struct timer timer;
	struct strbuf in;
	bool resuming;   /* … was sent */
	bool open;       /* `connected` came */
	bool leaving;    /* was told to go elsewhere */
	bool stays;      /* … and does not go by itself */
	int64_t slow_us; /* when it last began to read nothing for a while */

	uint64_t pos; /* everything up to here was seen, or skipped by what `subscribed` said */
	uint64_t *seen;
	size_t n, cap;
};

void subscriber_start(struct subscriber *s, struct cluster *c, int number);
void subscriber_stop(struct subscriber *s);
/* The edge is gone. */
void subscriber_lost(struct subscriber *s);

#endif
