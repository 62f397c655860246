/* One client session's decisions: what to answer and what to ask for, and nothing else.
 *
 *            connect / token at the upgrade          the plane says who it is
 *   NEW ----------------------------------> CHECKING -----------------------> OPEN
 *    |                                         |                               |
 *    +------------- bad token, too late, suspended, drained, slow ------------> CLOSING
 *
 * Pure: no I/O, no clock, no random numbers of its own (now_us is given, jitter and ids too). Each
 * input fills a struct session_step: at most two frames to send, at most one thing to ask of the
 * plane, perhaps a close. The shell (conn.c) carries it out before it gives the next input.
 *
 * A token that came with the upgrade is used at once: `connected` needs no `connect` frame, and one
 * that comes nevertheless is answered by bad_request. Threads: one owner. Units: microseconds where
 * _us, else milliseconds. */
#ifndef PENSTOCK_EDGE_SESSION_H
#define PENSTOCK_EDGE_SESSION_H

#include <stdint.h>

#include "common/ids.h"
#include "common/permit.h"
#include "services/edge/client_msg.h"
#include "services/edge/frames.h"
#include "services/edge/usage.h"

enum close_code {
	CLOSE_NORMAL = 1000,
	CLOSE_PROTOCOL = 1002,
	CLOSE_DATA = 1003, /* text where binary was agreed on, or the other way round */
	CLOSE_UTF8 = 1007,
	CLOSE_TOO_LARGE = 1009,
	CLOSE_TOKEN = 4001,
	CLOSE_MESSAGE = 4002, /* the protocol of PROTOCOL 2 was not kept */
	CLOSE_TENANT = 4003,
	CLOSE_KICKED = 4004, /* by the operators */
	CLOSE_CAPACITY = 4100,
	CLOSE_RATE = 4101,
	CLOSE_SLOW = 4102,
	CLOSE_NO_PONG = 4103,
	CLOSE_DRAIN = 4200,
	CLOSE_MOVED = 4201, /* by the operators, and it may go on */
	CLOSE_RESUME = 4300,
	CLOSE_EPOCH = 4301, /* the log was made anew: no position is good any more */
};

struct session_conf {
	struct frame_limits limits;
	int64_t connect_ms, ping_ms, pong_ms, resume_ttl_ms;
	int64_t renew_ms; /* how often the client gets a new resume token, at a ping */
	const char *edge; /* this edge's id */
	const char *epoch;
};

/* Who a session belongs to; shared by the sessions of one key or token. The shell owns it
 * (principal.h). */
struct principal {
	uint32_t refs;
	unsigned scopes;            /* enum scope */
	int64_t expires_us;         /* UTC; 0: never */
	int64_t expire_at_us;       /* the same by the clock of now_us; 0: never */
	struct permit *permit;      /* NULL: all that the scopes allow */
	struct usage_tenant *usage; /* of the tenant; NULL: not counted */
	uint64_t hash;
	const char *id;
	char tenant[TENANT_MAX + 1];
};

enum session_state { SESSION_NEW, SESSION_CHECKING, SESSION_OPEN, SESSION_CLOSING };

enum sub_state {
	SUB_FREE,
	SUB_PENDING, /* asked for, not answered yet */
	SUB_TASK,    /* made by a task that is not accepted yet */
	SUB_LIVE,
};

/* The channel's name is interned by the shell, which sets it and link right after ASK_SUBSCRIBE /
 * ASK_TASK. */
struct session_sub {
	const char *channel;
	void *link;
	uint8_t state;
};

struct session {
	const struct session_conf *conf;
	const struct principal *principal; /* set from OPEN on */
	struct session_sub *subs;
	uint8_t n_slots, n_subs;
	uint8_t state;    /* enum session_state */
	uint8_t encoding; /* enum encoding; the shell sets it before the first input */
	bool pong_due;
	uint16_t in_flight;
	int64_t due_us; /* when there is something to do, but for an expiry */
	int64_t renew_us;
	struct id id;
};

enum session_ask {
	ASK_NONE,
	ASK_AUTH,        /* of the token in the message */
	ASK_SUBSCRIBE,   /* slot; msg->channel, msg->has_after … */
	ASK_UNSUBSCRIBE, /* slot: end the link, then session_ended() */
	ASK_PUBLISH,
	ASK_TASK, /* slot of task.<id>, which is new if new_sub */
	ASK_CANCEL,
	ASK_ACK, /* slot; msg->offset; if it was never sent, session_ack_refused() */
};

struct session_step { /* zeroed at first; session_step_reset() between inputs keeps the buffers */
	struct frame_buf text, text2; /* frames to send; empty: none */
	enum session_ask ask;
	unsigned slot;
	bool new_sub;
	bool ping;                     /* send a ping of RFC 6455 */
	bool renew;                    /* send a new resume token */
	char channel[CHANNEL_MAX + 1]; /* ASK_TASK: the task's channel */
	unsigned close;                /* enum close_code; 0: go on */
	const char *reason;
};

/* From now on it is for s: frames are in the encoding that its client speaks. */
void session_step_reset(struct session_step *step, const struct session *s);
void session_step_done(struct session_step *step);

void session_init(struct session *s, const struct session_conf *conf, const struct id *id,
		  bool token_at_upgrade, int64_t now_us);
void session_done(struct session *s); /* the links must be gone */

/* --- from the client */
void session_message(struct session *s, const struct client_msg *msg, struct session_step *step);
void session_refused(struct session *s, const struct client_msg *msg,
		     const struct client_error *why, struct session_step *step);
void session_too_large(struct session *s, const char *id, struct session_step *step);
void session_wrong_frame(struct session *s, struct session_step *step);
void session_pong(struct session *s);

/* --- from the plane */
struct session_auth {
	const struct principal *who; /* NULL: refused */
	/* Refused: CLOSE_TOKEN, CLOSE_TENANT, CLOSE_RESUME (the old session is gone), CLOSE_RATE
	 * (the edge's bound `limit`, which has room after retry_ms), or 0: not ready. */
	unsigned close;
	const char *limit;
	uint32_t retry_ms;
	const struct id *session; /* the one that is resumed; NULL: a fresh one */
	const char *resume;       /* its token */
	int64_t jitter_us;        /* in [0, ping_ms): when the first ping goes */
};
void session_authenticated(struct session *s, const struct session_auth *auth, int64_t now_us,
			   struct session_step *step);

/* Instead of all that, a stream over HTTP: who is known already, and nothing is said. */
void session_stream(struct session *s, const struct principal *who, int64_t jitter_us,
		    int64_t now_us);

/* Known, and yet not let in: the error, and a close. */
void session_turn_away(struct session *s, const struct frame_error *e, unsigned close,
		       struct session_step *step);

struct sub_answer {
	bool failed; /* the plane could not say: error unavailable, the subscription is gone */
	uint64_t offset;
	bool recovered;
	uint64_t gap_from, gap_to; /* not kept any more; gap_to 0: none */
};
/* id: of the subscribe message. */
void session_subscribed(struct session *s, unsigned slot, const char *id,
			const struct sub_answer *a, struct session_step *step);
/* Events in [from, to] of this subscription are missing, or come late if replayable. */
void session_gap(struct session *s, unsigned slot, uint64_t from, uint64_t to, const char *reason,
		 bool replayable, struct session_step *step);
void session_ack_refused(const char *id, struct session_step *step);
/* The answer to a command. slot: of the task's subscription, -1: none. */
void session_accepted(struct session *s, const char *id, int slot, const struct frame_accepted *a,
		      struct session_step *step);
/* new_sub: the subscription in slot was made for this task: the step asks to end it. */
void session_command_failed(struct session *s, const char *id, int slot, bool new_sub,
			    const struct frame_error *e, struct session_step *step);
void session_drain(struct session *s, const char *url, int64_t reconnect_ms, int64_t deadline_ms,
		   const char *reason, struct session_step *step);
void session_close(struct session *s, unsigned code, const char *reason, struct session_step *step);

/* --- time */
/* When session_tick() wants to be called. */
int64_t session_due_us(const struct session *s);
/* wall_us: UTC. */
void session_tick(struct session *s, int64_t now_us, int64_t wall_us, struct session_step *step);

/* The link of this slot is gone: it is free for another channel. */
void session_ended(struct session *s, unsigned slot);
/* Slot of a channel, -1: not subscribed. */
int session_find(const struct session *s, const char *channel);

#endif
