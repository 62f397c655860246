#include "tests/sim/fake_exec.h"

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

struct fake_job {
	struct fake_exec *ex;
	struct fake_job *next, **link;
	struct timer timer;
	struct target_job *call; /* by the worker's lease; NULL: it only takes time */
	exec_begun_fn *begun;
	exec_text_fn *text;
	exec_done_fn *done;
	void *arg;
	bool ok;
	int pieces; /* still to be streamed */
	struct strbuf output;
};

static void job_free(struct fake_job *job)
{
	timer_cancel(job->ex->loop, &job->timer);
	if (job->call)
		target_cancel(job->call);
	*job->link = job->next;
	if (job->next)
		job->next->link = job->link;
	strbuf_done(&job->output);
	free(job);
}

/* Half of them count as attempts. Some of the others say a time that a task is parked for. */
static void fail(struct fake_exec *ex, struct saga_outcome *out)
{
	static const enum saga_class classes[] = {OUTCOME_RETRY, OUTCOME_RETRY, OUTCOME_THROTTLED,
						  OUTCOME_HELD};

	out->class = classes[rng_below(ex->rng, sizeof(classes) / sizeof(*classes))];
	out->reason = "upstream_error";
	out->message = "the simulated target failed";
	if (out->class != OUTCOME_RETRY)
		out->retry_after_ms = (int64_t)rng_below(ex->rng, 3 * SAGA_PARK_MS);
}

static void on_time(struct timer *timer, void *arg)
{
	struct fake_job *job = arg;
	struct saga_outcome out = {.latency_ms = -1, .first_token_ms = -1};

	if (job->pieces > 0) {
		job->pieces--;
		timer_set(job->ex->loop, timer, 1000 + (int64_t)rng_below(job->ex->rng, 80000));
		job->text(job->arg, "word ", 5);
		return;
	}
	if (job->ok) {
		out.class = OUTCOME_OK;
		out.text = job->output.data;
		out.len = job->output.len;
	} else {
		fail(job->ex, &out);
	}
	job->done(job->arg, &out);
	job_free(job);
}

static struct fake_job *job_new(struct fake_exec *ex, exec_text_fn *text, exec_done_fn *done,
				void *arg, bool may_fail, int64_t longest_us)
{
	struct fake_job *job = xcalloc(1, sizeof(*job));

	job->ex = ex;
	job->text = text;
	job->done = done;
	job->arg = arg;
	job->ok = !may_fail || rng_unit(ex->rng) >= ex->fail_rate;
	job->pieces = text ? (int)rng_below(ex->rng, 5) : 0;
	job->next = ex->jobs;
	job->link = &ex->jobs;
	if (job->next)
		job->next->link = &job->next;
	ex->jobs = job;
	timer_init(&job->timer, on_time, job);
	timer_set(ex->loop, &job->timer, 1 + (int64_t)rng_below(ex->rng, (uint64_t)longest_us));
	return job;
}

/* Whatever the program: an object that says what came in, so that a stage's output depends on its
 * input. With a condition (common/pipeline.c), which is true for half of what comes in, the input
 * of `publish`. */
static void *transform(struct executor *base, const char *tenant, const char *program,
		       const char *document, size_t len, exec_done_fn *done, void *arg)
{
	(void)tenant;
	struct fake_exec *ex = (struct fake_exec *)base;
	struct fake_job *job = job_new(ex, NULL, done, arg, false, 3000);
	struct digest_part parts[] = {{program, strlen(program)}, {document, len}};

	unsigned long long digest = digest64(parts, 2);

	if (strncmp(program, "if (", 4) != 0)
		strbuf_addf(&job->output, "{\"digest\":\"%016llx\"}", digest);
	else if (digest % 2)
		strbuf_addf(&job->output,
			    "[{\"channel\":\"made\",\"type\":\"note\",\"data\":\"%016llx\"}]",
			    digest);
	else
		strbuf_adds(&job->output, "[]");
	return job;
}

static void answer(struct fake_job *job, const struct exec_call *call)
{
	struct digest_part parts[] = {{call->input, call->len}};

	++*job->ex->calls;
	strbuf_addf(&job->output, "{\"text\":\"%016llx\"}", (unsigned long long)digest64(parts, 1));
}

static void on_called(void *arg, const struct saga_outcome *outcome)
{
	struct fake_job *job = arg;
	exec_done_fn *done = job->done;
	void *to = job->arg;

	job->call = NULL;
	job_free(job);
	done(to, outcome);
}

static void on_begun(void *arg)
{
	struct fake_job *job = arg;

	++*job->ex->calls;
	job->begun(job->arg);
}

static void on_text(void *arg, const char *text, size_t len)
{
	struct fake_job *job = arg;

	job->text(job->arg, text, len);
}

static void *by_lease(struct fake_job *job, const struct exec_call *call)
{
	struct exec_call to = *call;

	timer_cancel(job->ex->loop, &job->timer);
	job->begun = call->begun;
	to.begun = on_begun;
	to.input = "{\"messages\":[{\"role\":\"user\",\"content\":\"how\"}]}";
	to.len = strlen(to.input);
	job->call = target_call(job->ex->targets, &to, on_text, on_called, job);
	return job;
}

static void *chat(struct executor *base, const struct exec_call *call, exec_text_fn *text,
		  exec_done_fn *done, void *arg)
{
	struct fake_exec *ex = (struct fake_exec *)base;
	struct fake_job *job = job_new(ex, text, done, arg, true, 400000);

	if (rng_below(ex->rng, 2))
		return by_lease(job, call);
	answer(job, call);
	return job;
}

static void *http(struct executor *base, const struct exec_call *call, exec_done_fn *done,
		  void *arg)
{
	struct fake_job *job = job_new((struct fake_exec *)base, NULL, done, arg, true, 100000);

	answer(job, call);
	return job;
}

static void cancel(struct executor *base, void *job)
{
	(void)base;
	job_free(job);
}

void fake_exec_init(struct fake_exec *ex, struct loop *loop, struct rng *rng, uint64_t *calls)
{
	*ex = (struct fake_exec){
	    .base = {ex, transform, chat, http, cancel},
	    .loop = loop,
	    .rng = rng,
	    .fail_rate = 0.1,
	    .calls = calls,
	};
}

void fake_exec_done(struct fake_exec *ex)
{
	while (ex->jobs)
		job_free(ex->jobs);
}
