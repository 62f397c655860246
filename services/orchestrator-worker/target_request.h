/* What is asked of a target, made from a stage's input. Pure, but for the environment variable with
 * the target's secret. */
#ifndef WORKER_TARGET_REQUEST_H
#define WORKER_TARGET_REQUEST_H

#include "common/catalog.h"
#include "services/orchestrator-worker/exec.h"
#include "services/orchestrator-worker/provider.h"

#define TARGET_HEADERS_MAX 40

struct target_request {
	char *url, *method;
	char *headers[TARGET_HEADERS_MAX];
	size_t n_headers;
	struct strbuf body;
	bool has_body;
	char origin[280]; /* scheme://host:port of the URL */
};

/* provider NULL: a plain request; model NULL as well: its input says where to. On failure *reason
 * is set as well. */
int target_request_make(struct target_request *r, const struct provider *provider,
			const struct exec_call *call, const struct model *model,
			const char **reason, struct error *err) MUST_CHECK;
void target_request_done(struct target_request *r);

#endif
