#include "services/orchestrator-worker/target.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "services/orchestrator-worker/target_answer.h"
#include "services/orchestrator-worker/target_request.h"

#define MINUTE_US   60000000
#define LINGER_US   50000 /* from the last chunk of a chat to the end of its body */
#define CONNECT_MS  10000
#define TARGETS_MAX 1024  /* beyond that, one that is idle makes room */
#define RATE_MAX    65536 /* calls a minute that one worker keeps count of */

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_OVER };

struct target_job {
	struct target_job *next,
	    *prev; /* in its target's queue, or among those that run or are over */
	struct targets *targets;
	struct target *target; /* NULL: it was refused before it had one */
	enum job_state state;
	bool chat;
	struct target_request request;
	struct target_answer answer;
	struct http_call *http;
	struct timer end;   /* running: the whole time; over: tell it */
	struct timer first; /* running: the time until the first token */
	int64_t asked_us, started_us, first_us;
	int64_t timeout_ms, first_ms;
	exec_text_fn *text;
	exec_done_fn *done;
	void *arg;
};

struct jobs {
	struct target_job *first, *last;
	size_t count;
};

struct target {
	struct target *next;
	char *name; /* of the model, or "origin " and the URL's */
	bool model;
	size_t running;
	struct jobs waiting;
	/* When calls started in the last minute: a ring. */
	int64_t *starts;
	size_t starts_cap, starts_at, starts_count;
	struct timer wake;
};

struct targets {
	struct loop *loop;
	struct http_client *http;
	const struct catalog *catalog;
	const struct members *members;
	struct worker_stats *stats;
	struct targets_conf conf;
	struct target *list;
	size_t count;
	struct jobs busy; /* running and over */
	struct timer work;
};

static void push(struct jobs *list, struct target_job *job)
{
	job->next = NULL;
	job->prev = list->last;
	*(list->last != NULL ? &list->last->next : &list->first) = job;
	list->last = job;
	list->count++;
}

static void take(struct jobs *list, struct target_job *job)
{
	*(job->prev != NULL ? &job->prev->next : &list->first) = job->next;
	*(job->next != NULL ? &job->next->prev : &list->last) = job->prev;
	list->count--;
}

/* --- permits ------------------------------------------------------------------------------- */

int64_t permit_share(int64_t limit, size_t workers)
{
	if (limit <= 0)
		return 0;
	int64_t share = limit / (int64_t)(workers > 0 ? workers : 1);
	return share > 0 ? share : 1;
}

static size_t live_workers(const struct targets *t)
{
	size_t n = t->members != NULL ? members_count(t->members, "worker") : 1;
	return n > 0 ? n : 1;
}

static void forget_starts(struct target *target, int64_t now)
{
	while (target->starts_count > 0 && target->starts[target->starts_at] <= now - MINUTE_US) {
		target->starts_at = (target->starts_at + 1) % target->starts_cap;
		target->starts_count--;
	}
}

static void note_start(struct target *target, int64_t now)
{
	if (target->starts_count == target->starts_cap) {
		size_t cap = target->starts_cap > 0 ? 2 * target->starts_cap : 16;
		int64_t *starts = xmalloc(cap * sizeof(*starts));
		for (size_t i = 0; i < target->starts_count; i++)
			starts[i] = target->starts[(target->starts_at + i) % target->starts_cap];
		free(target->starts);
		target->starts = starts;
		target->starts_cap = cap;
		target->starts_at = 0;
	}
	target->starts[(target->starts_at + target->starts_count++) % target->starts_cap] = now;
}

/* Takes a permit; false: none now, and the target wakes up when there may be one. */
static bool permit(struct targets *t, struct target *target)
{
	int64_t concurrent = t->conf.http_concurrent, rate = 0, now = loop_now_us(t->loop);
	if (target->model) {
		const struct model *model = catalog_model(t->catalog, target->name);
		if (model != NULL) { /* deleted meanwhile: its calls were accepted, one at a time */
			size_t workers = live_workers(t);
			concurrent = permit_share(model->concurrent, workers);
			rate = permit_share(model->rpm, workers);
		} else {
			concurrent = 1;
		}
	}
	if (concurrent > 0 && target->running >= (size_t)concurrent)
		return false; /* a call that ends wakes it */
	if (rate > 0) {
		if (rate > RATE_MAX)
			rate = RATE_MAX;
		forget_starts(target, now);
		if (target->starts_count >= (size_t)rate) {
			size_t over = target->starts_count - (size_t)rate;
			int64_t oldest =
			    target->starts[(target->starts_at + over) % target->starts_cap];
			timer_set(t->loop, &target->wake, oldest + MINUTE_US - now + 1000);
			return false;
		}
		note_start(target, now);
	}
	target->running++;
	metric_add(t->stats->calls_running, 1);
	return true;
}

static void want_work(struct targets *t)
{
	if (!timer_armed(&t->work))
		timer_set(t->loop, &t->work, 0);
}

static void give_back(struct targets *t, struct target *target)
{
	assert(target->running > 0);
	target->running--;
	metric_add(t->stats->calls_running, -1);
	want_work(t);
}

/* --- targets ------------------------------------------------------------------------------- */

static void on_wake(struct timer *timer, void *arg)
{
	(void)timer;
	want_work(arg);
}

static void target_free(struct targets *t, struct target *target)
{
	timer_cancel(t->loop, &target->wake);
	free(target->starts);
	free(target->name);
	free(target);
	t->count--;
}

static void make_room(struct targets *t)
{
	for (struct target **at = &t->list; *at != NULL; at = &(*at)->next) {
		struct target *target = *at;
		forget_starts(target, loop_now_us(t->loop));
		if (target->running > 0 || target->waiting.count > 0 || target->starts_count > 0)
			continue;
		*at = target->next;
		target_free(t, target);
		return;
	}
}

/* NULL if there are too many. */
static struct target *target_find(struct targets *t, const char *name, bool model)
{
	for (struct target *target = t->list; target != NULL; target = target->next)
		if (target->model == model && strcmp(target->name, name) == 0)
			return target;
	if (t->count >= TARGETS_MAX)
		make_room(t);
	if (t->count >= TARGETS_MAX)
		return NULL;
	struct target *target = xcalloc(1, sizeof(*target));
	target->name = xstrdup(name);
	target->model = model;
	timer_init(&target->wake, on_wake, t);
	target->next = t->list;
	t->list = target;
	t->count++;
	return target;
}

/* --- a job's end --------------------------------------------------------------------------- */

static void job_free(struct target_job *job)
{
	struct targets *t = job->targets;
	if (job->state == JOB_WAITING) {
		take(&job->target->waiting, job);
		metric_add(t->stats->permits_waiting, -1);
	} else {
		take(&t->busy, job);
	}
	if (job->state == JOB_RUNNING) {
		if (job->http != NULL)
			http_cancel(job->http);
		give_back(t, job->target);
	}
	timer_cancel(t->loop, &job->end);
	timer_cancel(t->loop, &job->first);
	target_request_done(&job->request);
	target_answer_done(&job->answer);
	free(job);
}

/* Its permit is free from now on; it is told on a later turn. */
static void job_over(struct target_job *job)
{
	struct targets *t = job->targets;
	if (job->state == JOB_RUNNING) {
		if (job->http != NULL)
			http_cancel(job->http);
		job->http = NULL;
		give_back(t, job->target);
	}
	job->state = JOB_OVER;
	timer_cancel(t->loop, &job->first);
	timer_set(t->loop, &job->end, 0);
}

static void note_outcome(struct worker_stats *stats, enum call_result result,
			 const struct saga_outcome *outcome)
{
	metric_add(stats->calls[result], 1);
	if (outcome->class != OUTCOME_OK)
		return;
	histogram_observe_us(stats->latency, outcome->latency_ms * 1000);
	if (outcome->first_token_ms >= 0)
		histogram_observe_us(stats->first_token, outcome->first_token_ms * 1000);
	metric_add(stats->tokens_prompt, outcome->usage.prompt_tokens);
	metric_add(stats->tokens_completion, outcome->usage.completion_tokens);
}

static void tell(struct target_job *job)
{
	/* The job goes first: done may start and cancel whatever it likes. Its answer lives until
	 * then. */
	struct target_answer answer = job->answer;
	job->answer = (struct target_answer){0};
	struct saga_outcome outcome;
	target_answer_outcome(&answer, &outcome);
	if (job->started_us > 0) {
		outcome.latency_ms = (answer.ended_us - job->started_us) / 1000;
		if (job->chat && job->first_us > 0)
			outcome.first_token_ms = (job->first_us - job->started_us) / 1000;
		note_outcome(job->targets->stats, answer.result, &outcome);
	}
	exec_done_fn *done = job->done;
	void *arg = job->arg;
	job_free(job);
	done(arg, &outcome);
	target_answer_done(&answer);
}

static void fail(struct target_job *job, enum call_result result, const char *reason,
		 const char *message)
{
	target_answer_fail(&job->answer, result, OUTCOME_RETRY, reason, message);
	job->answer.ended_us = loop_now_us(job->targets->loop);
	job_over(job);
}

static bool chat_is_whole(const struct target_job *job)
{
	return job->answer.events && job->answer.openai.finished;
}

static void succeed(struct target_job *job)
{
	struct http_result result = {.failure = HTTP_DONE, .status = 200};
	job->answer.ended_us = loop_now_us(job->targets->loop);
	target_answer_end(&job->answer, &result);
	job_over(job);
}

static void on_end(struct timer *timer, void *arg)
{
	(void)timer;
	struct target_job *job = arg;
	if (job->state == JOB_OVER)
		tell(job);
	else if (chat_is_whole(job))
		succeed(job);
	else
		fail(job, CALL_TIMEOUT, "timeout", "the target did not finish in time");
}

static void on_first(struct timer *timer, void *arg)
{
	(void)timer;
	fail(arg, CALL_FIRST_TOKEN, "first_token_timeout",
	     "the target did not begin its answer in time");
}

/* --- running ------------------------------------------------------------------------------- */

static int on_body(void *arg, long status, const char *type, const char *data, size_t len)
{
	struct target_job *job = arg;
	const char *fresh;
	size_t fresh_len;
	if (target_answer_body(&job->answer, status, type, data, len, &fresh, &fresh_len) != 0)
		return -1;
	if (job->first_us == 0 && (fresh_len > 0 || (!job->answer.events && status < 300))) {
		job->first_us = loop_now_us(job->targets->loop);
		timer_cancel(job->targets->loop, &job->first);
	}
	/* Normally the body ends with it and the connection can be used again; if not, it is not
	 * waited for. */
	if (chat_is_whole(job))
		timer_set(job->targets->loop, &job->end, LINGER_US);
	return 0;
}

static void on_text(void *arg, const char *text, size_t len)
{
	struct target_job *job = arg;
	if (job->text != NULL)
		job->text(job->arg, text, len);
}

static void on_done(void *arg, const struct http_result *result)
{
	struct target_job *job = arg;
	job->http = NULL;
	job->answer.ended_us = loop_now_us(job->targets->loop);
	target_answer_end(&job->answer, result);
	job_over(job);
}

static void start(struct targets *t, struct target_job *job)
{
	struct http_request request = {
	    .method = job->request.method,
	    .url = job->request.url,
	    .headers = (const char *const *)job->request.headers,
	    .n_headers = job->request.n_headers,
	    .body = job->request.has_body ? strbuf_str(&job->request.body) : NULL,
	    .len = job->request.body.len,
	    .connect_ms = job->timeout_ms < CONNECT_MS ? job->timeout_ms : CONNECT_MS,
	};
	job->state = JOB_RUNNING;
	push(&t->busy, job);
	job->started_us = loop_now_us(t->loop);
	histogram_observe_us(t->stats->permit_wait, job->started_us - job->asked_us);
	timer_set(t->loop, &job->end, job->timeout_ms * 1000);
	if (job->first_ms > 0)
		timer_set(t->loop, &job->first, job->first_ms * 1000);
	job->http = http_start(t->http, &request, on_body, on_done, job);
	target_request_done(&job->request);
}

static void on_work(struct timer *timer, void *arg)
{
	(void)timer;
	struct targets *t = arg;
	for (struct target *target = t->list; target != NULL; target = target->next) {
		while (target->waiting.first != NULL && permit(t, target)) {
			struct target_job *job = target->waiting.first;
			take(&target->waiting, job);
			metric_add(t->stats->permits_waiting, -1);
			start(t, job);
		}
	}
}

/* --- the calls ----------------------------------------------------------------------------- */

static void refuse(struct target_job *job, enum saga_class class, const char *reason,
		   const char *message)
{
	target_answer_fail(&job->answer, CALL_REJECTED, class, reason, message);
	push(&job->targets->busy, job);
	job->state = JOB_OVER;
	timer_set(job->targets->loop, &job->end, 0);
}

static void enqueue(struct targets *t, struct target_job *job, const char *model)
{
	struct target *target =
	    target_find(t, model != NULL ? model : job->request.origin, model != NULL);
	if (target == NULL || target->waiting.count >= t->conf.waiting_max) {
		metric_add(t->stats->permits_refused, 1);
		refuse(job, OUTCOME_RETRY, "overloaded", "too many calls wait for this target");
		return;
	}
	job->target = target;
	push(&target->waiting, job);
	metric_add(t->stats->permits_waiting, 1);
	want_work(t);
}

struct target_job *target_call(struct targets *t, bool chat, const struct exec_call *call,
			       exec_text_fn *text, exec_done_fn *done, void *arg)
{
	const struct model *model =
	    call->model != NULL ? catalog_model(t->catalog, call->model) : NULL;
	struct target_job *job = xcalloc(1, sizeof(*job));
	job->targets = t;
	job->chat = chat;
	job->text = text;
	job->done = done;
	job->arg = arg;
	job->asked_us = loop_now_us(t->loop);
	job->timeout_ms = call->timeout_ms;
	if (job->timeout_ms <= 0)
		job->timeout_ms = model != NULL && model->timeout_ms > 0 ? model->timeout_ms
									 : PIPELINE_TIMEOUT_MS;
	job->first_ms = model != NULL ? model->first_token_timeout_ms : 0;
	timer_init(&job->end, on_end, job);
	timer_init(&job->first, on_first, job);
	target_answer_init(&job->answer, chat, t->conf.output_max, on_text, job);
	const char *reason;
	struct error err;
	if (target_request_make(&job->request, chat, call, model, &reason, &err))
		refuse(job, OUTCOME_FINAL, reason, err.msg);
	else
		enqueue(t, job, call->model);
	return job;
}

void target_cancel(struct target_job *job)
{
	job_free(job);
}

struct targets *targets_new(struct loop *loop, struct http_client *http,
			    const struct catalog *catalog, const struct members *members,
			    struct worker_stats *stats, const struct targets_conf *conf)
{
	struct targets *t = xcalloc(1, sizeof(*t));
	*t = (struct targets){.loop = loop,
			      .http = http,
			      .catalog = catalog,
			      .members = members,
			      .stats = stats,
			      .conf = *conf};
	timer_init(&t->work, on_work, t);
	return t;
}

void targets_free(struct targets *t)
{
	if (t == NULL)
		return;
	while (t->busy.first != NULL)
		job_free(t->busy.first);
	for (struct target *target; (target = t->list) != NULL;) {
		while (target->waiting.first != NULL)
			job_free(target->waiting.first);
		t->list = target->next;
		target_free(t, target);
	}
	timer_cancel(t->loop, &t->work);
	free(t);
}
