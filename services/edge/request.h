/* What reactors and HTTP ask of the hub, and how the answer comes back.
 *
 * A request is the asker's object, handed over by hub_…() until done() is called: on the asker's
 * loop (home), or on the hub's thread if it has none (HTTP). Every request is answered exactly
 * once, also at a stop. */
#ifndef PENSTOCK_EDGE_REQUEST_H
#define PENSTOCK_EDGE_REQUEST_H

#include "common/bus.h"
#include "common/ids.h"
#include "common/strbuf.h"
#include "services/edge/auth.h"
#include "services/edge/hook.h"
#include "services/edge/outq.h"
#include "services/edge/pace.h"
#include "services/edge/stats.h"

struct hub;
struct event_view;

struct request {
	struct loop_post post;
	struct loop *home; /* NULL: answered on the hub's thread */
	struct hub *hub;
	void (*done)(struct request *request);
	void *arg;
};

/* Who is the owner of this token, or whose session does this resume token go on with? */
struct auth_request {
	struct request base;
	struct auth_request *next; /* door.c */
	char *token, *resume;      /* owned, wiped by the hub; NULL: none */
	char known[65];            /* the asker's (known.h); "": it is none for that */
	char *origin;              /* owned, freed by the hub; NULL: no browser */
	struct hook_call *hook;    /* instead of a token: the call of a hook; borrowed */
	bool socket;               /* it counts against the edge's rate of connects or resumes */
	enum auth_result result;
	struct auth_identity who; /* of AUTH_OK: auth_identity_done() is the asker's */
	bool resumed;
	struct id session; /* resumed: which one */
	uint32_t retry_ms; /* AUTH_BUSY, AUTH_FULL */
	/* Of AUTH_OK for a socket: one connection of it and one reference, both the asker's. */
	struct usage_tenant *usage;
};

/* A Command for the router of the tenant's part. */
struct command_request {
	struct request base;
	enum command_kind kind;
	unsigned part;
	/* How many commands of its sender are on their way through the router: while there are any,
	 * none may overtake them (direct.h). The sender's, but the hub's to read and write; NULL:
	 * it has to go through the router. */
	uint32_t *routed;
	bool direct; /* the answer: it took the direct road */
	void *data;  /* owned: the packed Command */
	size_t len;
	/* A lease is asked for along with it (direct.h), by so many bytes more; NULL: none. */
	struct tenant_lease *asks;
	size_t asks_len;
	int64_t start_us;
	enum bus_result result;
	void *reply; /* owned: the packed Reply of BUS_OK */
	size_t reply_len;
};

/* Where does the channel's log end? */
struct locate_request {
	struct request base;
	unsigned part;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
	uint32_t life; /* the asker's */
	bool fresh;    /* not a moment ago: now */
	bool failed;
	bool real;     /* `last` is an event's offset (located_fn) */
	uint64_t last; /* a position: every event up to it was stored before the answer */
};

/* Where do this tenant's clients go that must leave here? */
struct shard_request {
	struct request base;
	char tenant[TENANT_MAX + 1];
	char *url;      /* owned by the asker */
	bool elsewhere; /* it is another edge's; else this one's, for want of another */
};

/* One that waits for its turn to read from the bus (pace.h); the hub's own. */
struct turn {
	struct pace_item item;
	/* go false: it is given up, the hub stops. Else turn_end() when it is through. */
	void (*run)(struct hub *hub, struct turn *turn, bool go);
	int64_t asked_us;
};

#define PAGE_MAX   128
#define PAGE_BYTES (256U << 10)

/* Events of a channel's log in (after, until], from the event-store and the stream behind it. */
struct fetch_request {
	struct request base;
	unsigned part;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
	uint64_t after, until; /* until 0: to the end */
	unsigned limit;        /* 1 … PAGE_MAX */
	size_t max_bytes;      /* of the frames together; one is always had */
	uint32_t life;         /* the asker\'s */
	bool exact;            /* until is an event's offset */
	/* Told of each event that is read, on the hub's thread; NULL: nobody. What a page takes
	 * back (see fetch.c) is told again. */
	void (*see)(struct fetch_request *f, const struct event_view *e);
	_Atomic bool forsaken;  /* by the asker: not begun if it is not yet */
	bool failed;            /* neither could say */
	bool cut_off;           /* because there is no connection */
	bool more;              /* the log has more up to until, or there was no room for more */
	uint64_t lost_to;       /* events in (after, lost_to] are not kept any more; 0: none */
	uint64_t unreadable_to; /* failed: behind this it could be read on; 0: not known */
	unsigned n;
	struct frame *frames[PAGE_MAX]; /* owned: a reference each; offset and prev are set */
	/* the hub's own */
	struct turn turn;
	int stage;
	unsigned tries;
	uint64_t pos, first_seq, stream_from, store_position;
	size_t bytes;
	bool full;       /* the next one has no room */
	bool store_said; /* the event-store answered */
	unsigned n_store;
};

/* What a tenant's task looks like (TaskRequest → JsonReply). */
struct task_request {
	struct request base;
	char tenant[TENANT_MAX + 1], task[ID_LEN + 1];
	enum bus_result result;
	void *reply;
	size_t reply_len;
};

static inline void request_run(struct loop_post *post)
{
	struct request *r = (struct request *)post;

	r->done(r);
}

static inline void request_answer(struct request *r)
{
	if (!r->home) {
		r->done(r);
		return;
	}
	r->post.fn = request_run;
	loop_post(r->home, &r->post);
}

#endif
