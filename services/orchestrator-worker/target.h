/* Models and other HTTP targets. target_call() is the only way to reach one, and before a call
 * begins it asks, in this order: the target's breaker (breaker.h), for a retry the tenant's budget
 * (budget.h), and for a permit.
 *
 * While the breaker of a model is open its calls go to the first of its fallbacks that is not down.
 * If there is none, or the budget is used up, the call ends with OUTCOME_HELD and was not made. So
 * does one whose model was given another address while it waited: under the new one's limits it
 * would be made to the old one.
 *
 * A permit is taken out of this worker's lease (lease.h): the capacity of a model that the
 * control-plane grants, in calls at once, calls and tokens a minute. Tokens are reserved by an
 * estimate and settled by the usage that came back. An origin that is no named target has a number
 * of calls at once. Calls without a permit wait in a bounded queue per target, in which the tenants
 * take turns by their weights (turns.h); within a tenant first come first served, retries too, and
 * what is of the pool batch behind the rest. Threads: the loop's. */
#ifndef WORKER_TARGET_H
#define WORKER_TARGET_H

#include "common/catalog.h"
#include "common/members.h"
#include "services/orchestrator-worker/exec.h"
#include "services/orchestrator-worker/http.h"
#include "services/orchestrator-worker/lessee.h"
#include "services/orchestrator-worker/stats.h"

struct targets;
struct target_job;

enum call_result {
	CALL_OK,
	CALL_CONNECT,
	CALL_TIMEOUT,
	CALL_FIRST_TOKEN,
	CALL_REJECTED,     /* the target says that the request is bad */
	CALL_RATE_LIMITED, /* 429 */
	CALL_ERROR,        /* 408, 409, 5xx, an answer that is none */
	CALL_CUT,          /* the answer ended in the middle */
};

/* Why a call was not made. */
enum call_held {
	HELD_OVERLOADED, /* too many wait for the target */
	HELD_DOWN,       /* the breaker is open, and those of the fallbacks */
	HELD_BUDGET,     /* a retry, and the budget is used up */
	HELD_MOVED,      /* the model has another address since the call was made ready */
};

struct targets_conf {
	size_t output_max;           /* bytes of an answer */
	size_t waiting_max;          /* calls that wait for one target */
	int64_t http_concurrent;     /* of one origin that is no named target */
	struct http_client *origins; /* for calls of those; borrowed. NULL: as all others */
};

/* members may be NULL: one worker. lessee may be NULL: nobody is asked, leases come by
 * targets_lease(). All are borrowed. */
struct targets *targets_new(struct loop *loop, struct http_client *http,
			    const struct catalog *catalog, const struct members *members,
			    struct lessee *lessee, struct worker_stats *stats,
			    const struct targets_conf *conf);
void targets_free(struct targets *t); /* cancels what is left; NULL is fine */

/* What call->kind says: chat (text as it comes), embed, or http, a plain request. text may be NULL.
 * done is called once, on a later turn, unless the job is cancelled. */
struct target_job *target_call(struct targets *t, const struct exec_call *call, exec_text_fn *text,
			       exec_done_fn *done, void *arg);
void target_cancel(struct target_job *job);

/* A model's document has changed: what waits for it is looked at again. */
void targets_config_changed(struct targets *t);

/* This worker's lease of a model that was called before; NULL: there is none. */
struct lease *targets_lease(struct targets *t, const char *model);

#endif
