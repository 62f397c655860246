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

struct conn;
struct topic;

enum link_state {
	LINK_WAITING, /* for the topic's position */
	LINK_ASKING,  /* whether `after` is ahead of the log */
	LINK_TASK,    /* holds what comes until the task's command is answered */
	LINK_READING, /* reads the log up to the topic's stream; answered or about to be */
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
	bool has_after, paused;
	uint64_t after;
	char *id; /* of the subscribe message until it is answered */
	char epoch[EPOCH_LEN + 1];
	struct history *history; /* NULL: LIVE or WAITING */
	struct link *next;       /* scratch */
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
	bool attached, located, detaching;
	bool real;     /* pos is an event's offset, not only a position behind which nothing is */
	unsigned busy; /* requests under way */
	uint64_t pos;
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
/* The task's event is at offset: deliver from there on. */
void link_task_accepted(struct link *link, uint64_t offset);
void link_end(struct link *link);
/* The socket has room again. */
void link_resume(struct link *link);

/* --- from the hub */
/* A live frame (one reference, taken over); and: the log is known to reach to `last`. */
void topic_live(struct topic *t, struct frame *frame);
void topic_tail(struct topic *t, uint64_t last);
/* Any thread. */
void topic_post_tail(struct topic *t, uint64_t last);
void topic_post_detached(struct topic *t);

void topic_free(struct topic *t);

#endif
