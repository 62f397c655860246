/* Models and other HTTP targets. target_call() is the only way to reach one, and it takes a permit
 * first.
 *
 * A permit is a share of the target's own limits: limit / live workers, of concurrency and of calls
 * a minute (exactly: never more starts in any 60 s). Leases of the control-plane will take the
 * place of permit_share() in target.c; nothing else has to change. Calls without a permit wait,
 * first come first served, in a bounded queue per target. Threads: the loop's. */
#ifndef WORKER_TARGET_H
#define WORKER_TARGET_H

#include "common/catalog.h"
#include "common/members.h"
#include "services/orchestrator-worker/exec.h"
#include "services/orchestrator-worker/http.h"
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

struct targets_conf {
	size_t output_max;       /* bytes of an answer */
	size_t waiting_max;      /* calls that wait for one target */
	int64_t http_concurrent; /* of one origin that is no named target */
};

/* members may be NULL: one worker. All are borrowed. */
struct targets *targets_new(struct loop *loop, struct http_client *http,
			    const struct catalog *catalog, const struct members *members,
			    struct worker_stats *stats, const struct targets_conf *conf);
void targets_free(struct targets *t); /* cancels what is left; NULL is fine */

/* chat: an OpenAI-compatible chat, text as it comes; else a plain HTTP request, and text is NULL.
 * done is called once, on a later turn, unless the job is cancelled. */
struct target_job *target_call(struct targets *t, bool chat, const struct exec_call *call,
			       exec_text_fn *text, exec_done_fn *done, void *arg);
void target_cancel(struct target_job *job);

/* Pure: a worker's share of a limit (0: none), at least one. */
int64_t permit_share(int64_t limit, size_t workers);

#endif
