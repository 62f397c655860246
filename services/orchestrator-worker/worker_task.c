/* One task: carries out what its saga wants, and brings it the answers. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/orchestrator-worker/worker_impl.h"

#define LATER_MS 5000

int64_t worker_now_ms(const struct worker *w)
{
	return loop_wall_us(w->loop) / 1000;
}

/* --- the table ----------------------------------------------------------------------------- */

static struct worker_task **bucket(const struct worker *w, const char *task)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a; task ids are hashes already */
	for (const char *p = task; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
	return (struct worker_task **)&w->buckets[h % TASK_BUCKETS];
}

struct worker_task *worker_task_find(const struct worker *w, const char *tenant, const char *task)
{
	for (struct worker_task *t = *bucket(w, task); t != NULL; t = t->same)
		if (strcmp(t->task, task) == 0 && strcmp(t->tenant, tenant) == 0)
			return t;
	return NULL;
}

/* --- jobs ---------------------------------------------------------------------------------- */

static void job_stop(struct worker_job *job)
{
	if (job->job != NULL)
		job->task->w->ex->cancel(job->task->w->ex, job->job);
	job->job = NULL;
	worker_publish_cancel(job->publish);
	job->publish = NULL;
	delta_close(job->deltas, true);
	job->deltas = NULL;
}

static void on_input(void *arg, const struct saga_outcome *outcome)
{
	struct worker_job *job = arg;
	struct worker_task *t = job->task;
	job->job = NULL;
	if (job->stage == t->n)
		saga_output(&t->saga, outcome, worker_now_ms(t->w));
	else
		saga_input(&t->saga, job->stage, outcome, worker_now_ms(t->w));
	worker_task_step(t);
}

/* A stage's input, or with stage == n the task's output. */
static void start_input(struct worker_task *t, size_t stage)
{
	struct worker *w = t->w;
	const struct pipeline_spec *spec = t->saga.spec;
	const char *program = stage == t->n ? spec->output : spec->stages[stage].program;
	struct worker_job *job = &t->inputs[stage];
	strbuf_reset(&w->document);
	saga_document(&t->saga, stage, &w->document);
	if (w->document.len <= w->conf.document_max) {
		job->job = w->ex->transform(w->ex, t->tenant, program, w->document.data,
					    w->document.len, on_input, job);
		return;
	}
	struct saga_outcome outcome = {.class = OUTCOME_FINAL,
				       .reason = "input_too_large",
				       .message = "what the stage works on is too large"};
	if (stage == t->n)
		saga_output(&t->saga, &outcome, worker_now_ms(w));
	else
		saga_input(&t->saga, stage, &outcome, worker_now_ms(w));
}

/* What a stage's output may have at most, in bytes. */
static size_t output_max(const struct worker_task *t, size_t stage)
{
	size_t own = (size_t)t->saga.spec->stages[stage].output_max, all = t->w->conf.output_max;
	return own > 0 && own < all ? own : all;
}

static void called(struct worker_task *t, size_t stage, unsigned attempt,
		   const struct saga_outcome *outcome)
{
	struct metric **counters = t->w->stats->stages[t->saga.spec->stages[stage].kind];
	struct saga_outcome bad;
	char words[100];
	if (outcome->class == OUTCOME_OK && outcome->len > output_max(t, stage)) {
		snprintf(words, sizeof(words), "the stage's output has %zu bytes, %zu are allowed",
			 outcome->len, output_max(t, stage));
		bad = *outcome; /* what it cost stays */
		bad.class = OUTCOME_FINAL;
		bad.reason = "output_too_large";
		bad.message = words;
		outcome = &bad;
	}
	metric_add(counters[outcome->class], 1);
	saga_called(&t->saga, stage, attempt, outcome, worker_now_ms(t->w));
}

static void on_called(void *arg, const struct saga_outcome *outcome)
{
	struct worker_job *job = arg;
	struct worker_task *t = job->task;
	job->job = NULL;
	job->publish = NULL;
	delta_close(job->deltas,
		    outcome->class != OUTCOME_OK); /* all of it, before the completion */
	job->deltas = NULL;
	called(t, job->stage, job->attempt, outcome);
	worker_task_step(t);
}

static void on_begun(void *arg)
{
	struct worker_job *job = arg;
	saga_begun(&job->task->saga, job->stage, job->attempt);
	worker_task_step(job->task); /* its timer may be another */
}

static void on_text(void *arg, const char *text, size_t len)
{
	struct worker_job *job = arg;
	delta_text(job->deltas, text, len);
}

/* Its input is its output. */
static void transform(struct worker_task *t, size_t stage, unsigned attempt)
{
	const struct saga_stage *s = &t->saga.stages[stage];
	struct saga_outcome outcome = {.class = OUTCOME_OK,
				       .text = s->input,
				       .len = s->input_len,
				       .latency_ms = -1,
				       .first_token_ms = -1};
	called(t, stage, attempt, &outcome);
}

static void start_call(struct worker_task *t, size_t stage, unsigned attempt)
{
	struct worker *w = t->w;
	const struct stage_spec *spec = &t->saga.spec->stages[stage];
	const struct saga_stage *s = &t->saga.stages[stage];
	struct worker_job *job = &t->calls[stage];
	char trace[TRACE_LEN + 1];
	bool retry = s->failed + s->throttled > 0;
	if (retry && job->attempt != attempt) /* not when it was held */
		metric_add(w->stats->retries, 1);
	job->attempt = attempt;
	if (spec->kind == KIND_TRANSFORM) {
		transform(t, stage, attempt);
		return;
	}
	trace_child(&w->rng, t->trace, trace);
	struct exec_call call = {
	    .tenant = t->tenant,
	    .task = t->task,
	    .stage = spec->id,
	    .attempt = attempt,
	    .retry = retry,
	    .batch = strcmp(w->pools[t->pool].name, POOL_BATCH) == 0,
	    .kind = spec->kind,
	    .model = spec->model,
	    .input = s->input,
	    .len = s->input_len,
	    .max_tokens = spec->max_tokens,
	    .timeout_ms = spec->timeout_ms,
	    .output_max = output_max(t, stage),
	    .trace = trace,
	    .depth = t->depth,
	    .begun = on_begun,
	};
	if (spec->kind == KIND_PUBLISH) {
		job->publish = worker_publish(w, t->part, &call, on_called, job);
		return;
	}
	if (spec->kind == KIND_HTTP || spec->kind == KIND_EMBED) {
		job->job = w->ex->http(w->ex, &call, on_called, job);
		return;
	}
	struct delta_of of = {.part = t->part,
			      .tenant = t->tenant,
			      .task = t->task,
			      .stage = spec->id,
			      .trace = trace,
			      .attempt = attempt};
	job->deltas = delta_open(w->deltas, &of);
	job->job = w->ex->chat(w->ex, &call, on_text, on_called, job);
}

/* --- the end ------------------------------------------------------------------------------- */

static enum worker_task_result result_of(const struct worker_task *t, enum saga_verdict verdict)
{
	switch (verdict) {
	case VERDICT_REPEAT:
		return RESULT_REPEAT;
	case VERDICT_LATER:
		return RESULT_HANDED_BACK;
	case VERDICT_LOST:
		return RESULT_ENDED_ELSEWHERE;
	case VERDICT_END:
		break;
	}
	if (t->saga.end == TASK_UNKNOWN)
		return RESULT_PARKED;
	if (t->saga.write.type != t->saga.end)
		return RESULT_ENDED_ELSEWHERE;
	return t->saga.end == TASK_COMPLETED ? RESULT_COMPLETED
	       : t->saga.end == TASK_EXPIRED ? RESULT_EXPIRED
					     : RESULT_FAILED;
}

static void let_go(struct worker_task *t, enum saga_verdict verdict, int delay_ms)
{
	struct bus_claim *claim = t->claim;
	t->claim = NULL;
	switch (verdict) {
	case VERDICT_END:
	case VERDICT_REPEAT:
		bus_claim_ack(claim);
		break;
	case VERDICT_LATER:
		bus_claim_nak(claim, delay_ms);
		break;
	case VERDICT_LOST: /* an answer of ours could hit the one who holds it now */
		bus_claim_free(claim);
		break;
	}
	if (verdict == VERDICT_END)
		worker_say_end(t);
}

static void detach(struct worker_task *t)
{
	struct worker *w = t->w;
	for (size_t i = 0; i <= t->n; i++) {
		job_stop(&t->inputs[i]);
		job_stop(&t->calls[i]);
	}
	timer_cancel(w->loop, &t->timer);
	timer_cancel(w->loop, &t->load_timer);
	struct worker_task **at = bucket(w, t->task);
	while (*at != t)
		at = &(*at)->same;
	*at = t->same;
	turns_leave(w->pools[t->pool].turns, &t->turn);
	w->held--;
	w->pools[t->pool].held--;
	worker_show_held(w);
}

void worker_task_finish(struct worker_task *t, enum saga_verdict verdict, int delay_ms)
{
	if (t->finished)
		return;
	struct worker *w = t->w;
	enum worker_task_result result = result_of(t, verdict);
	t->finished = true;
	metric_add(w->stats->tasks[result], 1);
	if (result == RESULT_COMPLETED)
		histogram_observe_us(w->stats->task_time,
				     loop_wall_us(w->loop) - t->saga.accepted_at * 1000);
	log_at(LOG_DEBUG, "task left", LOG_S("task", t->task), LOG_S("tenant", t->tenant),
	       LOG_I("verdict", verdict));
	let_go(t, verdict, delay_ms);
	detach(t);
	worker_task_ended(w);
}

void worker_task_free(struct worker_task *t)
{
	struct worker *w = t->w;
	if (!t->finished)
		detach(t);
	*(t->prev != NULL ? &t->prev->next : &w->tasks) = t->next;
	if (t->next != NULL)
		t->next->prev = t->prev;
	bus_claim_free(t->claim);
	saga_done(&t->saga);
	free(t->inputs);
	free(t->calls);
	free(t->tenant);
	free(t->task);
	free(t->ticket);
	free(t);
}

void worker_task_release(struct worker_task *t)
{
	assert(t->waits > 0);
	t->waits--;
	worker_task_step(t);
}

/* --- steps --------------------------------------------------------------------------------- */

static void carry_out(struct worker_task *t, const struct saga_action *a)
{
	switch (a->type) {
	case ACTION_LOAD:
		worker_load_start(t, a->after);
		break;
	case ACTION_WRITE:
		worker_write(t);
		break;
	case ACTION_INPUT:
		start_input(t, a->stage);
		break;
	case ACTION_CALL:
		start_call(t, a->stage, a->attempt);
		break;
	case ACTION_ABORT:
		job_stop(&t->inputs[a->stage]);
		job_stop(&t->calls[a->stage]);
		break;
	case ACTION_OUTPUT:
		start_input(t, t->n);
		break;
	case ACTION_FINISH:
		worker_task_finish(t, a->verdict, worker_leaves(t->w) ? 0 : LATER_MS);
		break;
	}
}

static void set_timer(struct worker_task *t)
{
	int64_t at = saga_wake_at(&t->saga);
	if (at == t->wake_at)
		return;
	t->wake_at = at;
	if (at == 0) {
		timer_cancel(t->w->loop, &t->timer);
		return;
	}
	int64_t wait = at - worker_now_ms(t->w);
	timer_set(t->w->loop, &t->timer, wait > 0 ? wait * 1000 : 0);
}

void worker_task_step(struct worker_task *t)
{
	struct saga_action a;
	while (!t->finished && saga_next(&t->saga, &a))
		carry_out(t, &a);
	if (!t->finished)
		set_timer(t);
	else if (t->waits == 0)
		worker_task_free(t);
}

static void on_timer(struct timer *timer, void *arg)
{
	(void)timer;
	struct worker_task *t = arg;
	t->wake_at = 0;
	saga_tick(&t->saga, worker_now_ms(t->w));
	worker_task_step(t);
}

static void on_load_timer(struct timer *timer, void *arg)
{
	(void)timer;
	struct worker_task *t = arg;
	worker_load_start(t, t->load.after);
}

static void link_task(struct worker *w, struct worker_task *t)
{
	t->next = w->tasks;
	if (w->tasks != NULL)
		w->tasks->prev = t;
	w->tasks = t;
	struct worker_task **at = bucket(w, t->task);
	t->same = *at;
	*at = t;
	w->held++;
	w->pools[t->pool].held++;
}

struct worker_task *worker_task_new(struct worker *w, const Penstock__Ticket *ticket,
				    const struct bus_msg *msg, struct bus_claim *claim,
				    struct pipeline_spec *spec)
{
	struct worker_task *t = xcalloc(1, sizeof(*t));
	const Penstock__Event *accepted = ticket->accepted;
	t->w = w;
	t->tenant = xstrdup(ticket->tenant);
	t->task = xstrdup(ticket->task);
	t->pool = w->n_pools > 1 && strcmp(ticket->pool, w->pools[1].name) == 0 ? 1 : 0;
	t->tokens = ticket->tokens;
	t->charge = ticket->charge;
	t->repeated = msg->delivered > 1;
	task_channel(t->task, t->channel);
	t->part = part_of(t->tenant, w->conf.parts);
	t->subject = subject_evt(t->part, t->tenant, t->channel);
	t->ticket = xmemdup(msg->data, msg->len);
	t->ticket_len = msg->len;
	trace_child(&w->rng, accepted->trace, t->trace);
	t->depth = accepted->depth;
	t->claim = claim;
	t->claim_seq = msg->seq;
	t->stored_us = msg->time_us > 0 ? msg->time_us : accepted->time_us;
	t->n = spec != NULL ? spec->n : 0;
	t->inputs = xcalloc(t->n + 1, sizeof(*t->inputs));
	t->calls = xcalloc(t->n + 1, sizeof(*t->calls));
	for (size_t i = 0; i <= t->n; i++)
		t->inputs[i] = t->calls[i] = (struct worker_job){.task = t, .stage = i};
	timer_init(&t->timer, on_timer, t);
	timer_init(&t->load_timer, on_load_timer, t);
	saga_init(&t->saga, &(struct saga_setup){
				.tenant = t->tenant,
				.task = t->task,
				.pipeline = ticket->pipeline,
				.worker = w->instance,
				.version = ticket->version,
				.spec = spec,
				.claim = t->claim_seq,
				.behind = ticket->behind,
				.output_max = w->conf.output_max,
				.rng = &w->rng,
				.accepted_id = accepted->id,
				.accepted_data = (const char *)accepted->data.data,
				.accepted_len = accepted->data.len,
				.accepted_at = accepted->time_us / 1000,
			    });
	link_task(w, t);
	saga_begin(&t->saga);
	return t;
}
