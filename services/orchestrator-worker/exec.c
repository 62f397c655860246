#include "services/orchestrator-worker/exec_real.h"

#include <stdlib.h>

struct real {
	struct jqbox *box;
	struct targets *targets;
	struct worker_stats *stats;
};

enum job_kind { JOB_JQ, JOB_TARGET };

/* What the worker holds: which of the two it is, and whom to tell. */
struct job {
	struct real *real;
	enum job_kind kind;
	union {
		struct jqbox_run *run;
		struct target_job *call;
	} u;
	exec_done_fn *done;
	exec_text_fn *text;
	exec_begun_fn *begun;
	void *arg;
};

static struct job *job_new(struct executor *ex, enum job_kind kind, exec_done_fn *done, void *arg)
{
	struct job *job = xcalloc(1, sizeof(*job));
	*job = (struct job){.real = ex->impl, .kind = kind, .done = done, .arg = arg};
	return job;
}

static void on_done(void *arg, const struct saga_outcome *outcome)
{
	struct job *job = arg;
	exec_done_fn *done = job->done;
	void *done_arg = job->arg;
	free(job);
	done(done_arg, outcome);
}

static const char *const reasons[] = {
    [JQBOX_SYNTAX] = "jq_syntax",   [JQBOX_ERROR] = "jq_error",
    [JQBOX_TIME] = "jq_timeout",    [JQBOX_MEMORY] = "jq_memory",
    [JQBOX_CRASHED] = "jq_crashed", [JQBOX_TOO_LARGE] = "output_too_large",
    [JQBOX_BUSY] = "overloaded",    [JQBOX_LOST] = "jq_unavailable",
};

static void on_jq(void *arg, const struct jqbox_result *r)
{
	struct job *job = arg;
	struct worker_stats *stats = job->real->stats;
	struct saga_outcome outcome = {.latency_ms = -1, .first_token_ms = -1};
	if (r->run_us > 0)
		histogram_observe_us(stats->jq_time, r->run_us);
	if (r->code == JQBOX_OK) {
		outcome.text = r->text;
		outcome.len = r->len;
	} else {
		bool later = r->code == JQBOX_BUSY || r->code == JQBOX_LOST;
		outcome.class = later ? OUTCOME_RETRY : OUTCOME_FINAL;
		outcome.reason = reasons[r->code];
		outcome.message = r->text;
		metric_add(stats->jq_failed, 1);
	}
	on_done(job, &outcome);
}

static void *transform(struct executor *ex, const char *tenant, const char *program,
		       const char *document, size_t len, exec_done_fn *done, void *arg)
{
	struct job *job = job_new(ex, JOB_JQ, done, arg);
	job->u.run = jqbox_eval(job->real->box, tenant, program, document, len, on_jq, job);
	return job;
}

static void on_text(void *arg, const char *text, size_t len)
{
	struct job *job = arg;
	job->text(job->arg, text, len);
}

static void on_begun(void *arg)
{
	struct job *job = arg;
	if (job->begun != NULL)
		job->begun(job->arg);
}

static void start(struct job *job, const struct exec_call *call, exec_text_fn *text)
{
	struct exec_call inner = *call;
	job->begun = call->begun;
	inner.begun = on_begun;
	job->u.call = target_call(job->real->targets, &inner, text, on_done, job);
}

static void *chat(struct executor *ex, const struct exec_call *call, exec_text_fn *text,
		  exec_done_fn *done, void *arg)
{
	struct job *job = job_new(ex, JOB_TARGET, done, arg);
	job->text = text;
	start(job, call, on_text);
	return job;
}

static void *http(struct executor *ex, const struct exec_call *call, exec_done_fn *done, void *arg)
{
	struct job *job = job_new(ex, JOB_TARGET, done, arg);
	start(job, call, NULL);
	return job;
}

static void cancel(struct executor *ex, void *handle)
{
	(void)ex;
	struct job *job = handle;
	if (job->kind == JOB_JQ)
		jqbox_cancel(job->u.run);
	else
		target_cancel(job->u.call);
	free(job);
}

void exec_real_init(struct executor *ex, struct jqbox *box, struct targets *targets,
		    struct worker_stats *stats)
{
	struct real *real = xcalloc(1, sizeof(*real));
	*real = (struct real){.box = box, .targets = targets, .stats = stats};
	*ex = (struct executor){
	    .impl = real, .transform = transform, .chat = chat, .http = http, .cancel = cancel};
}

void exec_real_done(struct executor *ex)
{
	free(ex->impl);
	ex->impl = NULL;
}
