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
#include "proto/task.pb-c.h"
#include "services/router/admit.h"
#include "services/router/arena.h"
#include "services/router/recent.h"
#include "services/router/router.h"
#include "services/router/stats.h"
#include "services/router/window.h"

#define ROUTER_REPLY_MAX         160 /* our inboxes are far shorter */
#define ROUTER_ID_MAX            64  /* of a command, as admit.c lets pass */
#define ROUTER_RETRY_MS          500 /* told with unavailable */
#define ROUTER_OVERLOAD_RETRY_MS 1000

/* A tenant as this router sees it: dropped when idle, or when its part goes elsewhere. */
struct router_tenant {
	struct router_tenant *next; /* same bucket */
	char name[TENANT_MAX + 1];
	unsigned part;
	struct admit_state limits;
	struct window window;
	int64_t told_tasks, told_backlog; /* counts of the look at the streams that is under way */
	int64_t counted_weight;           /* its share of router.active_weight; 0: not busy */
	int64_t used_us;
	struct bus_consumer *backlog; /* only while it has one */
	struct router *router;
	unsigned wanted; /* credit that the consumer has */
	bool dirty;      /* in router.dirty */
	struct router_tenant *dirty_next;
};

struct router_tenants {
	struct router_tenant **buckets;
	size_t n_buckets, count;
};

struct router_part {
	struct router *router;
	unsigned part;
	struct bus_sub *cmd, *end;
	struct bus_sub *leaving; /* cmd, after it was drained */
	bool owned;
	bool asked;        /* … when the look at the streams that is under way began */
	bool counted;      /* the streams' counts were read since it is owned */
	int64_t linger_us; /* subscribed until then, though owned by another; 0: not lingering */
	int64_t leave_us;  /* when `leaving` has brought all that was under way */
};

/* The head of everything that waits for the broker on behalf of a command. */
struct router_call {
	struct router *router;
	struct router_call *next, **at; /* router.calls */
	enum router_kind kind;
	bool answered;
	int64_t start_us;
	char reply[ROUTER_REPLY_MAX]; /* empty: nobody asked for an answer */
	char command[ROUTER_ID_MAX + 1];
};

struct router_move; /* backlog.c */

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
	struct router_arena arena;
	struct strbuf event, reply, text; /* reused for each message */
	struct router_part *parts;
	struct router_tenants tenants;
	/* in flight */
	struct router_call *calls;
	struct router_call *spare[ROUTER_KINDS]; /* freed ones, to be used again */
	size_t inflight, inflight_bytes;
	/* windows */
	int64_t slots;         /* of the live workers; the last number above 0 */
	int64_t active_weight; /* sum over the busy tenants of this router */
	int64_t other_weight; /* … and over those of the others' parts, as the streams told last */
	struct router_tenant *dirty;
	struct router_move *moves;
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

/* publish.c, tasks.c, cancel.c: cmd is admitted; borrowed for the call. */
void router_publish_durable(struct router *r, const Penstock__Command *cmd, unsigned part,
			    unsigned version, const char *reply);
void router_publish_ephemeral(struct router *r, const Penstock__Command *cmd, unsigned part,
			      unsigned version, const char *reply);
void router_task_submit(struct router *r, const Penstock__Command *cmd, struct router_tenant *t,
			const struct tenant *tenant, unsigned version, const char *reply);
void router_task_cancel(struct router *r, const Penstock__Command *cmd, unsigned part,
			const char *reply);
/* At the end of everything: the timer of a task in flight; what it holds. */
void router_task_close(struct router_call *call);
void router_task_free(struct router_call *call);

/* tenants.c */
struct router_tenant *router_tenant_find(struct router *r, const char *name);
struct router_tenant *router_tenant_get(struct router *r, const char *name);
void router_tenants_each(struct router *r, void (*fn)(struct router *r, struct router_tenant *t));
/* Drops those that are idle; those of parts that are served no more; all of them. */
void router_tenants_sweep(struct router *r);
void router_tenants_drop_part(struct router *r, unsigned part);
void router_tenants_free(struct router *r);

/* backlog.c */
int64_t router_window_size(const struct router *r, const struct router_tenant *t,
			   const struct tenant *tenant);
/* After each change of the tenant's window. */
void router_window_changed(struct router *r, struct router_tenant *t);
void router_backlog_stop(struct router_tenant *t);
void router_backlog_tick(struct router *r);
void router_backlog_refresh(struct timer *timer, void *arg);
void router_backlog_close(struct router *r);
void router_backlog_free(struct router *r);
void router_backlog_ask(struct router *r);
void router_end_message(struct router *r, const void *data, size_t len);

/* parts.c */
void router_parts_start(struct router *r);
void router_parts_update(struct router *r);
void router_parts_linger(struct timer *timer, void *arg);
void router_parts_leave(struct router *r, bool others);
bool router_parts_serving(const struct router *r);
void router_parts_close(struct router *r);

#endif
