/* What the router's own files share; nobody else includes it. Threads: the loop's. */
#ifndef PENSTOCK_ROUTER_IMPL_H
#define PENSTOCK_ROUTER_IMPL_H

#include "common/ids.h"
#include "common/members.h"
#include "common/names.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "proto/command.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/lease.pb-c.h"
#include "proto/task.pb-c.h"
#include "services/router/admit.h"
#include "services/router/arena.h"
#include "services/router/recent.h"
#include "services/router/router.h"
#include "services/router/share.h"
#include "services/router/stats.h"
#include "services/router/window.h"

#define ROUTER_REPLY_MAX         160 /* our inboxes are far shorter */
#define ROUTER_ID_MAX            64  /* of a command, as admit.c lets pass */
#define ROUTER_RETRY_MS          500 /* told with unavailable */
#define ROUTER_OVERLOAD_RETRY_MS 1000
#define ROUTER_TICKET_ID_MAX     (ID_LEN + 22)

enum router_pool { ROUTER_INTERACTIVE, ROUTER_BATCH, ROUTER_POOLS };

/* A tenant's tasks in one pool. */
struct router_queue {
	struct router_tenant *tenant;
	enum router_pool pool;
	struct window window;
	int64_t told_tasks, told_backlog; /* counts of the look at the streams that is under way */
	int64_t counted_weight;           /* its share of router.active_weight; 0: not busy */
	struct bus_consumer *backlog;     /* only while it has one */
	unsigned wanted;                  /* credit that the consumer has */
	bool dirty;                       /* in router.dirty */
	struct router_queue *dirty_next;
};

/* A tenant as this router sees it: dropped when idle, or when its part goes elsewhere. */
struct router_tenant {
	struct router_tenant *next; /* same bucket */
	char name[TENANT_MAX + 1];
	unsigned part;
	struct admit_state limits;
	struct share share; /* of limits */
	struct router_queue queues[ROUTER_POOLS];
	struct router_tenant *busy_next, **busy_at; /* router.busy; busy_at NULL: not there */
	int64_t used_us;
	struct router *router;
};

struct router_tenants {
	struct router_tenant **buckets;
	size_t n_buckets, count;
};

struct router_part {
	struct router *router;
	unsigned part;
	struct bus_sub *cmd, *end;
	struct bus_sub *lease, *owner; /* only while it is owned */
	struct bus_sub *leaving;       /* cmd, after it was drained */
	bool owned;
	bool asked;        /* … when the look at the streams that is under way began */
	bool counted;      /* the streams' counts were read since it is owned */
	bool asking;       /* … the new owner whether it listens */
	int64_t ask_us;    /* when it is asked again; 0: not */
	int64_t linger_us; /* subscribed, who stops until then, though owned by another; 0: not */
	int64_t leave_us;  /* when `leaving` has brought all that was under way */
	uint64_t charge;   /* names what is charged to its tenants' tokens_per_min; 0: not served */
};

/* The head of everything that waits for the broker on behalf of a command. */
struct router_call {
	struct router *router;
	struct router_call *next, **at; /* router.calls */
	enum router_kind kind;
	bool answered;
	int64_t start_us;
	struct admit_quota quota;     /* to be told with the answer */
	char reply[ROUTER_REPLY_MAX]; /* empty: nobody asked for an answer */
	char command[ROUTER_ID_MAX + 1];
};

/* A ticket on its way into a queue. */
struct router_ticket {
	char tenant[TENANT_MAX + 1];
	char id[ROUTER_TICKET_ID_MAX]; /* its message id */
	enum router_pool pool;
	enum window_place place;
	int64_t tokens;  /* estimated */
	uint64_t charge; /* router_part.charge, as the ticket says it; 0: nothing is charged */
	bool fresh;      /* charged, and nobody knows yet whether it is stored */
	bool returned;   /* given back: charged again if it is sent again */
};

/* A ticket on its way from one subject to another. */
struct router_move {
	struct router *router;
	struct router_move *next, **at; /* router.moves */
	struct bus_claim *claim;
	char tenant[TENANT_MAX + 1];
	enum router_pool pool;
	int64_t tokens;
};

/* A subject of BACKLOG that is no tenant's, which is being emptied. */
struct router_stray {
	struct bus_consumer *consumer; /* NULL: none */
	uint64_t hash;                 /* of the subject */
	unsigned moving;               /* tickets under way, at most CREDIT */
	bool seen;                     /* by the look that is under way */
};

struct router {
	struct loop *loop;
	struct bus *bus;
	struct catalog *catalog;
	struct router_conf conf;
	char *instance;
	struct members *members;
	struct rng rng;
	struct router_stats stats;
	struct recent *recent;
	struct recent *unsure; /* tickets that are charged, whether or not they are stored */
	struct router_arena arena;
	struct strbuf event, reply, text; /* reused for each message */
	/* Of the command that is being worked on: */
	struct admit_quota quota;
	Penstock__LeaseReply lease; /* goes with an answer that is given at once */
	bool leases;                /* a lease was asked for */
	struct router_part *parts;
	struct router_tenants tenants;
	/* in flight */
	struct router_call *calls;
	struct router_call *spare[ROUTER_KINDS]; /* freed ones, to be used again */
	size_t inflight, inflight_bytes;
	/* windows */
	int64_t slots[ROUTER_POOLS];         /* of the live workers; the last number above 0 */
	int64_t active_weight[ROUTER_POOLS]; /* sum over the busy tenants of this router */
	/* … and over those of the others' parts, as the streams told last */
	int64_t other_weight[ROUTER_POOLS];
	struct router_queue *dirty;
	struct router_tenant *busy; /* all that have tasks, and some that had until a moment ago */
	struct router_move *moves;
	struct router_stray stray;
	unsigned asking; /* answers that the look at the streams still waits for */
	bool ask_failed, ask_again;
	struct timer refresh, tick, linger;
	int64_t next_ask_us, next_sweep_us;
	/* stop */
	bool closed, stopping;
	int64_t stop_by_us;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* calls.c: answers, and what is in flight. */
struct router_call *router_call_new(struct router *r, enum router_kind kind, size_t size,
				    const char *reply, const char *command);
void router_call_end(struct router_call *call);
void router_call_refuse(struct router_call *call, const struct admit_refusal *why);
void router_call_accept(struct router_call *call, const char *event_id, const char *channel,
			uint64_t offset, bool duplicate, const char *task);
/* The broker did not do it: BUS_TIMEOUT and the like in the client's terms. */
void router_call_failed(struct router_call *call, enum bus_result result);
void router_refuse(struct router *r, enum router_kind kind, const char *reply,
		   const struct admit_refusal *why);
void router_accept(struct router *r, enum router_kind kind, const char *reply, const char *event_id,
		   const char *channel, uint64_t offset, bool duplicate, const char *task);
/* Tells everybody in flight "unavailable" and stops their timers; frees all of them. */
void router_calls_close(struct router *r);
void router_calls_free(struct router *r);

/* command.c */
void router_command(struct router *r, unsigned part, const char *reply, const void *data,
		    size_t len);
void router_fill_event(struct router *r, const Penstock__Command *cmd, Penstock__Event *ev);
/* Packed into router.event. */
size_t router_pack_event(struct router *r, const Penstock__Event *ev);
/* Stores a task's transition by compare-and-set; its data is router.text. expect: the channel's
 * last sequence, 0: none. cmd says for whom it is. */
void router_store_transition(struct router *r, const Penstock__Command *cmd, unsigned part,
			     const char *channel, const char *type, struct id id, int64_t expect,
			     bus_ack_fn *done, void *arg);

/* publish.c, tasks.c, cancel.c: cmd is admitted; borrowed for the call. */
void router_publish_durable(struct router *r, const Penstock__Command *cmd, unsigned part,
			    unsigned version, const char *reply);
void router_publish_ephemeral(struct router *r, const Penstock__Command *cmd, unsigned part,
			      unsigned version, const char *reply);
void router_task_submit(struct router *r, const Penstock__Command *cmd, struct router_tenant *t,
			const struct tenant *tenant, const struct pipeline *pipeline,
			const char *reply);
void router_task_cancel(struct router *r, const Penstock__Command *cmd, unsigned part,
			const char *reply);
/* release.c */
void router_task_release(struct router *r, const Penstock__Command *cmd, struct router_tenant *t,
			 const struct tenant *tenant, const char *reply);
/* replay.c */
void router_replay(struct router *r, const Penstock__Command *cmd, unsigned part,
		   const char *reply);
/* redrive.c */
void router_task_redrive(struct router *r, const Penstock__Command *cmd, unsigned part,
			 const char *reply);
/* tickets.c */
/* Id, pool and tokens are filled in. Where it goes, and its tokens are charged; false: nowhere, and
 * who asked was told so. */
bool router_ticket_admit(struct router *r, struct router_ticket *ticket, struct router_tenant *t,
			 const struct tenant *tenant, enum router_kind kind, const char *reply);
/* It may be sent again when it was not stored. fn calls router_ticket_sent() first. */
void router_ticket_send(struct router *r, struct router_ticket *ticket, const void *data,
			size_t len, bus_ack_fn *fn, void *arg);
void router_ticket_sent(struct router *r, struct router_ticket *ticket, const struct bus_ack *ack);
/* A task has ended, or was parked: what it used in place of what it was charged. */
void router_tokens_end(struct router *r, const Penstock__TaskEnd *end);
int64_t router_tokens(uint64_t told); /* of a message: bounded */
/* tasks.c */
/* By its priority and its pipeline (NULL: unknown). */
enum router_pool router_task_pool(int64_t priority, const struct pipeline *pipeline);
int64_t router_task_tokens(size_t input_len, const struct pipeline *pipeline);
/* At the end of everything: the timer of a task in flight; what it holds. */
void router_task_close(struct router_call *call);
void router_task_free(struct router_call *call);

/* lease.c */
/* A question that came by itself, and one that came along with a command of the tenant's. */
void router_lease(struct router *r, unsigned part, const char *reply, const void *data, size_t len);
void router_lease_along(struct router *r, const struct tenant *tenant, struct router_tenant *t,
			const char *edge, const Penstock__LeaseRequest *q);

/* tenants.c */
struct router_tenant *router_tenant_find(struct router *r, const char *name);
struct router_tenant *router_tenant_get(struct router *r, const char *name);
void router_tenants_each(struct router *r, void (*fn)(struct router *r, struct router_tenant *t));
/* Into router.busy, and out of it. */
void router_tenant_busy(struct router *r, struct router_tenant *t);
void router_tenant_calm(struct router_tenant *t);
/* Drops those that are idle; those of parts that are served no more; all of them. */
void router_tenants_sweep(struct router *r);
void router_tenants_drop_part(struct router *r, unsigned part);
void router_tenants_free(struct router *r);

/* backlog.c */
struct window_size router_window_size(const struct router *r, const struct router_queue *q,
				      const struct tenant *tenant);
/* After each change of the queue's window. */
void router_window_changed(struct router *r, struct router_queue *q);
void router_backlog_stop(struct router_queue *q);
const char *router_pool_name(enum router_pool pool);
enum router_pool router_pool_of(const char *name); /* an unknown one: the default */
void router_backlog_tick(struct router *r);
void router_backlog_refresh(struct timer *timer, void *arg);
void router_backlog_close(struct router *r);
void router_backlog_free(struct router *r);
void router_backlog_ask(struct router *r);
/* NULL: it cannot be read. Borrowed from the arena. */
Penstock__Ticket *router_ticket_read(struct router *r, const struct bus_msg *msg);
/* The ticket's message id: the task's first one is the task's; the others' are told apart. */
void router_ticket_id(const Penstock__Ticket *ticket, char out[ROUTER_TICKET_ID_MAX]);
struct router_move *router_move_new(struct router *r, struct bus_claim *claim,
				    const Penstock__Ticket *ticket);
void router_move_end(struct router_move *m);
void router_end_message(struct router *r, const void *data, size_t len);

/* stray.c: a look at the streams found it; the look is complete; the end. */
void router_stray_found(struct router *r, const char *subject);
void router_stray_looked(struct router *r);
void router_stray_stop(struct router *r);

/* parts.c */
void router_parts_start(struct router *r);
void router_parts_update(struct router *r);
void router_parts_linger(struct timer *timer, void *arg);
void router_parts_leave(struct router *r, bool others);
bool router_parts_serving(const struct router *r);
void router_parts_close(struct router *r);

#endif
