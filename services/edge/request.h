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
#include "services/edge/outq.h"
#include "services/edge/stats.h"

struct hub;

struct request {
	struct loop_post post;
	struct loop *home; /* NULL: answered on the hub's thread */
	struct hub *hub;
	void (*done)(struct request *request);
	void *arg;
};

/* Who is the owner of this token? */
struct auth_request {
	struct request base;
	char *token; /* owned, wiped by the hub */
	enum auth_result result;
	struct auth_identity who;
};

/* A Command for the router of the tenant's part. */
struct command_request {
	struct request base;
	enum command_kind kind;
	unsigned part;
	void *data; /* owned: the packed Command */
	size_t len;
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
	bool failed;
	uint64_t last; /* a position: every event up to it was stored before the answer */
};

#define PAGE_MAX 128

/* Events of a channel's log in (after, until], from the event-store and the stream behind it. */
struct fetch_request {
	struct request base;
	unsigned part;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
	uint64_t after, until; /* until 0: to the end */
	unsigned limit;        /* 1 … PAGE_MAX */
	bool failed;           /* neither could say */
	bool more;             /* the log has more up to until */
	uint64_t missing_to;   /* events in (after, missing_to] are not kept any more; 0: none */
	unsigned n;
	struct frame *frames[PAGE_MAX]; /* owned: a reference each; offset and prev are set */
	/* the hub's own */
	int stage;
	unsigned tries;
	uint64_t pos, first_seq, stream_from;
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
