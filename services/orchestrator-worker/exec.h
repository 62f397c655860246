/* What a stage does: the worker decides, an executor acts. The real one (exec.c) has jq helpers and
 * HTTP; the simulation and the tests bring their own, so that everything above runs on a simulated
 * loop.
 *
 * Every call starts a job that ends in exactly one `done`, on a later turn of the loop, unless it
 * is cancelled; then no callback of it runs any more. What is passed in is copied, what a callback
 * is given is borrowed for the call. Threads: the loop's. */
#ifndef WORKER_EXEC_H
#define WORKER_EXEC_H

#include "common/pipeline.h"
#include "services/orchestrator-worker/saga.h"

typedef void exec_done_fn(void *arg, const struct saga_outcome *outcome);
typedef void exec_begun_fn(void *arg);
typedef void exec_text_fn(void *arg, const char *text, size_t len);

struct exec_call {
	const char *tenant, *task, *stage;
	unsigned attempt;
	bool retry;           /* an earlier attempt ended badly: takes from the retry budget */
	bool batch;           /* nobody waits for it: behind its tenant's other calls */
	enum stage_kind kind; /* of those that call: chat, embed, http; publish */
	const char *model;    /* name of a target, or NULL */
	const char *input;    /* JSON */
	size_t len;
	int64_t max_tokens, timeout_ms; /* 0: the target's */
	size_t output_max;              /* a longer answer need not be read to its end; 0: none */
	const char *trace;              /* traceparent, or "" */
	unsigned depth;                 /* triggers that led to the task */
	exec_begun_fn *begun; /* with done's arg, when the call no longer waits for a permit; may
			       * be NULL */
};

struct executor {
	void *impl;
	/* A jq program over a document. */
	void *(*transform)(struct executor *ex, const char *tenant, const char *program,
			   const char *document, size_t len, exec_done_fn *done, void *arg);
	/* text: pieces of the answer as they come, never after done. */
	void *(*chat)(struct executor *ex, const struct exec_call *call, exec_text_fn *text,
		      exec_done_fn *done, void *arg);
	/* http and embed: what comes back comes whole. */
	void *(*http)(struct executor *ex, const struct exec_call *call, exec_done_fn *done,
		      void *arg);
	void (*cancel)(struct executor *ex, void *job);
};

#endif
