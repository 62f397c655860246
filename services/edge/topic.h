/* The local side of a channel in one reactor: its subscribers, and the position of its gapless
 * stream of events.
 *
 *           attach            position known                hole, or behind the log
 *   (new) ---------> LOCATING ---------------> LEVEL <--------------------------> CATCHING UP
 *                        \                       | no subscriber for linger_ms
 *                         `-- failed --> DETACHING <--'  --> freed when the hub says that nothing
 * more comes
 *
 * Live items are deduplicated by offset and checked by `prev`; a missed one is read from the log
 * before anything later goes on (struct history). A subscriber that asked for earlier events
 * (struct link with a history) does the same once more for himself on top of that stream. Threads:
 * the reactor's; the hub only reads the names. */
#ifndef PENSTOCK_EDGE_TOPIC_H
#define PENSTOCK_EDGE_TOPIC_H

#include "services/edge/history.h"
#include "services/edge/reactor.h"
#include "services/edge/receipts.h"

struct conn;
struct topic;

enum link_state {
	LINK_WAITING, /* for the topic's position */
	LINK_ASKING,  /* whether `after` is ahead of the log */
	LINK_TASK,    /* holds what comes until the task's command is answered */
	LINK_READING, /* reads the log up to the topic's stream: from `after` on, or what was
			 spilled */
	LINK_LIVE,
};

/* One subscription of one connection. */
struct link {
	struct topic *topic;
	struct conn *conn; /* NULL: the subscription ended while a request is under way */
	uint32_t index;    /* in topic->entries */
	uint8_t slot;      /* in the session */
	uint8_t state;     /* enum link_state */
	bool answered;     /* `subscribed` was sent, or needs not be */
	bool busy;         /* a request is under way */
	bool has_after;
	bool spilled; /* the gap frame in front of what is read again is still to be sent */
	bool retry;   /* a page could not be read: again when the topic's timer says so */
	struct fetch_request *page; /* under way; so much of the socket's room is reserved for it */
	uint64_t after;
	char *id; /* of the subscribe message until it is answered */
	char epoch[EPOCH_LEN + 1];
	struct history *history; /* NULL: LIVE or WAITING */
	struct catchup *catchup; /* NULL: no task's, or not needed any more */
	struct link *next;       /* scratch */
	struct receipt receipt;
};

/* A task's deltas that were missed, read when the link is level with the log (deltas.h). Live ones
 * are not delivered before that, for those are read as well; nor afterwards what was read. */
struct catchup {
	struct delta_request *request; /* NULL: not begun, or done */
	bool busy;                     /* a page is under way; size bytes are reserved for it */
	bool done;
	unsigned tries;
	uint32_t size;
	uint64_t pos;  /* in DELTAS: all up to here is delivered or void */
	uint64_t seen; /* DELTAS is known to reach to here */
};

struct topic_entry {
	struct conn *conn;
	struct link *link;
};

struct topic {
	struct loop_post post; /* attach and detach, to the hub; the answer, back */
	struct reactor *reactor;
	uint64_t hash;
	unsigned part;
	bool attached, locating, located, detaching;
	bool real;     /* pos is an event's offset, not only where the stream began a moment ago */
	bool cut_off;  /* there may have been events that the stream no longer knows of, though it
			  had none */
	bool receipts; /* of some link there is something to tell */
	unsigned busy; /* requests under way */
	uint32_t life; /* answers to what was asked before topic_renew() do not count */
	uint64_t pos;
	uint64_t receipts_pos;   /* as it was told last */
	struct history *history; /* LOCATING, CATCHING UP */
	struct topic_entry *entries;
	uint32_t n, cap, n_reading; /* n_reading: links that have a history */
	struct timer timer;         /* linger, or the next try */
	char *channel;
	char tenant[]; /* the channel's text is behind it */
};

/* Made and attached if it is not there. */
struct topic *topic_get(struct reactor *r, const char *tenant, const char *channel);

/* --- subscriptions (called by conn.c). The session's slot is bound to the link. */
void link_subscribe(struct topic *t, struct conn *conn, unsigned slot,
		    const struct client_msg *msg);
void link_task(struct topic *t, struct conn *conn, unsigned slot);
/* The task's event is at offset: deliver from there on. late: it was accepted before. */
void link_task_accepted(struct link *link, uint64_t offset, bool late);
void link_end(struct link *link);
/* The socket has room again. */
void link_resume(struct link *link);

/* The bus is away, for longer than the stream keeps events perhaps. */
void topic_cut_off(struct topic *t);
/* The log was made anew: no position is known any more. Those who subscribe are being closed. */
void topic_renew(struct topic *t);

/* --- from the hub */
/* A live frame (one reference, taken over); and: the log is known to reach to `last`. */
void topic_live(struct topic *t, struct frame *frame);
void topic_tail(struct topic *t, uint64_t last);
/* Any thread. */
void topic_post_tail(struct topic *t, uint64_t last);
void topic_post_detached(struct topic *t);

void topic_free(struct topic *t);

#endif
