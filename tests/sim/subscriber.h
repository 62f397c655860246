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

#define SIM_READERS 6

struct pulse { /* an ephemeral event that a subscriber sent */
	int64_t sent_us;
	int64_t passed_ms; /* of the day: when it was let pass; 0: nobody has seen it */
	bool accepted, refused;
	int seen[SIM_READERS]; /* over which of its connections each has got it; 0: none */
};

struct subscriber {
	struct cluster *cluster;
	int number, fd; /* -1: not connected */
	struct node *node;
	const char *tenant;
	char channel[32], epoch[32], session[64];
	char *resume; /* the newest token; NULL: none */
	struct timer timer;
	struct strbuf in;
	int lives;     /* connections so far */
	bool resuming; /* … was sent */
	bool open;     /* `connected` came */
	bool subscribed;
	bool recovered;  /* false: a gap has to follow */
	bool leaving;    /* was told to go elsewhere */
	bool stays;      /* … and does not go by itself */
	int64_t open_us; /* when `connected` came */
	int64_t slow_us; /* when it last began to read nothing for a while */

	uint64_t pos; /* everything up to here was seen, or skipped by what `subscribed` said */
	uint64_t *seen;
	size_t n, cap;
	struct lost {
		uint64_t from, to;
	} * lost; /* what it was told is not kept any more */
	size_t n_lost;

	struct pulse *pulses; /* all that it sent */
	size_t n_pulses, cap_pulses;
	int64_t pulse_us;            /* it sends none before */
	uint64_t heard[SIM_READERS]; /* the last one of each that it got */
};

void subscriber_start(struct subscriber *s, struct cluster *c, int number);
void subscriber_stop(struct subscriber *s);
/* It has been reading for long enough to have read what came before. */
bool subscriber_awake(const struct subscriber *s);
/* The edge has been drained for its tenant for a while: who was there has been told. */
void subscriber_check_moved(struct subscriber *s, const struct node *edge);
/* Sends a frame; steals the message. */
void subscriber_say(struct subscriber *s, json_t *message);

/* pulse.c. It may send something now; an answer to one of its own (refused: the code, or NULL);
 * somebody's came. */
void pulse_beat(struct subscriber *s);
void pulse_answered(struct subscriber *s, const json_t *frame, const char *refused);
void pulse_came(struct subscriber *s, const json_t *frame);
/* The edge is gone. */
void subscriber_lost(struct subscriber *s);

#endif
