/* What comes back from a target: bytes and an end, turned into an outcome. Pure; threads: one
 * owner. */
#ifndef WORKER_TARGET_ANSWER_H
#define WORKER_TARGET_ANSWER_H

#include "services/orchestrator-worker/http.h"
#include "services/orchestrator-worker/provider.h"
#include "services/orchestrator-worker/sse.h"
#include "services/orchestrator-worker/target.h"

struct target_answer {
	const struct provider *provider; /* NULL: a plain request */
	bool events;                     /* the answer is an event stream */
	size_t max;
	exec_text_fn *text;
	void *arg;
	struct sse sse;
	struct reply reply;
	struct strbuf body, output;
	bool json; /* the body says it is */
	int64_t ended_us;
	/* The verdict. */
	bool decided;
	enum call_result result;
	enum saga_class class;
	const char *reason; /* a literal */
	char message[320];
	int64_t retry_after_ms;
};

/* text gets the pieces of a streamed chat. */
void target_answer_init(struct target_answer *a, const struct provider *provider, size_t max,
			exec_text_fn *text, void *arg);
void target_answer_done(struct target_answer *a);
/* -1: stop, the verdict is there. *fresh: text of the answer that came with this piece. */
int target_answer_body(struct target_answer *a, long status, const char *content_type,
		       const char *data, size_t len, const char **fresh, size_t *fresh_len);
void target_answer_end(struct target_answer *a, const struct http_result *result);
void target_answer_fail(struct target_answer *a, enum call_result result, enum saga_class class,
			const char *reason, const char *message);
/* Borrows from a; the times are left to the caller. */
void target_answer_outcome(const struct target_answer *a, struct saga_outcome *outcome);

#endif
