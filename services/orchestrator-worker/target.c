#include "services/orchestrator-worker/target.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "services/orchestrator-worker/breaker.h"
#include "services/orchestrator-worker/budget.h"
#include "services/orchestrator-worker/target_answer.h"
#include "services/orchestrator-worker/target_request.h"
#include "services/orchestrator-worker/turns.h"

#define CUT_US      100000 /* until a target has seen that a call was ended from here, at least */
#define LINGER_US   50000  /* from the last chunk of a chat to the end of its body */
#define CONNECT_MS  10000
#define TARGETS_MAX 1024 /* beyond that, one that is idle makes room */
#define OVERLOAD_MS 1000 /* until a call asks again whether it may wait */

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_OVER };

struct target_job {
	struct turn turn;               /* first: a turn is its job; among those that wait or run */
	struct target_job *next, *prev; /* among those that run or are over */
	struct targets *targets;
	struct target *target; /* NULL: it was refused before it had one */
	char *tenant, *model;  /* model: the stage's own, or NULL */
	uint64_t route;        /* of the model that the request was made for */
	bool retry, batch;
	bool hurried;        /* its timeout is shorter than the target's: says nothing about that */
	unsigned generation; /* of the breaker, when it began */
	int64_t tokens;      /* it will take, by our estimate */
	size_t asks;         /* bytes of its question */
	int64_t max_tokens;
	struct lease_permit permit;
	enum job_state state;
	bool chat;
	struct target_request request;
	struct target_answer answer;
	struct http_call *http;
	struct timer end;   /* running: the whole time; over: tell it */
	struct timer first; /* running: the time until the first token */
	int64_t asked_us, started_us, first_us;
	int64_t timeout_ms, first_ms;
	exec_begun_fn *begun;
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
	struct turns *turns;
	struct breaker breaker;
	struct budgets budgets;
	struct lease lease;
	/* Places of calls that were cut: those whose time is over next, and those behind them. */
	int64_t cut_first, cut_next;
	struct timer cuts;
	struct targets *targets;
};

struct targets {
	struct loop *loop;
	struct http_client *http;
	const struct catalog *catalog;
	const struct members *members;
	struct lessee *lessee;
	struct lease_world alone; /* without a lessee */
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

static size_t live_workers(const struct targets *t)
{
	size_t n = t->members != NULL ? members_count(t->members, "worker") : 1;
	return n > 0 ? n : 1;
}

static const struct model *model_of(const struct targets *t, const struct target *target)
{
	return target->model ? catalog_model(t->catalog, target->name) : NULL;
}

/* Brings the limits up to date. False: an origin that is no named target, which nobody grants, and
 * no place is free here. */
static bool renew(const struct targets *t, struct target *target)
{
	struct lease_limits limits = {0};
	const struct model *model = model_of(t, target);
	if (model != NULL)
		limits = (struct lease_limits){.rpm = model->rpm,
					       .tpm = model->tpm,
					       .concurrent = model->concurrent,
					       .safe_rpm = model->safe_rpm,
					       .safe_tpm = model->safe_tpm,
					       .safe_concurrent = model->safe_concurrent};
	lease_set(&target->lease, &limits, loop_now_us(t->loop));
	return model != NULL || target->lease.running < t->conf.http_concurrent;
}

static struct target_job *first_waiting(const struct target *target)
{
	return (struct target_job *)turns_first(target->turns);
}

/* Waits no longer, and does not run. */
static void leave_line(struct target_job *job)
{
	turns_leave(job->target->turns, &job->turn);
	metric_add(job->targets->stats->permits_waiting, -1);
}

static const struct lease_world *world(struct targets *t)
{
	if (t->lessee != NULL)
		return lessee_world(t->lessee);
	t->alone =
	    (struct lease_world){.online = true, .heard_us = loop_now_us(t->loop), .workers = 1};
	return &t->alone;
}

static int64_t estimate(const struct target *target, const struct target_job *job)
{
	return lease_estimate(&target->lease, job->asks, job->max_tokens);
}

/* Takes a permit; false: none now, and the target is looked at again when there may be one. */
static bool permit(struct targets *t, struct target *target, struct target_job *job)
{
	if (!renew(t, target))
		return false; /* a call that ends wakes it */
	job->tokens = estimate(target, job);
	if (!lease_take(&target->lease, world(t), job->tokens, loop_now_us(t->loop),
			&job->permit)) {
		if (t->lessee != NULL)
			lessee_want(t->lessee, &target->lease);
		return false;
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

static int64_t now_ms(const struct targets *t)
{
	return loop_now_us(t->loop) / 1000;
}

static void told(struct targets *t, struct target *target, unsigned generation,
		 enum breaker_end end)
{
	bool was_open = target->breaker.state != BREAKER_CLOSED;
	if (!breaker_end(&target->breaker, generation, end, now_ms(t)))
		return;
	bool is_open = target->breaker.state != BREAKER_CLOSED;
	metric_add(t->stats->breakers_open, is_open - was_open);
	metric_add(t->stats->breakers_opened, is_open);
	log_at(is_open ? LOG_WARN : LOG_INFO, is_open ? "breaker opened" : "breaker closed",
	       LOG_S("target", target->name), LOG_I("open_ms", target->breaker.open_ms));
}

/* The target needs a moment to see that we have hung up. */
static void on_cuts(struct timer *timer, void *arg)
{
	struct target *target = arg;
	lease_gone(&target->lease, target->cut_first);
	target->cut_first = target->cut_next;
	target->cut_next = 0;
	if (target->cut_first > 0)
		timer_set(target->targets->loop, timer, CUT_US);
	want_work(target->targets);
}

static void note_cut(struct targets *t, struct target *target)
{
	if (timer_armed(&target->cuts)) {
		target->cut_next++;
		return;
	}
	target->cut_first++;
	timer_set(t->loop, &target->cuts, CUT_US);
}

static enum lease_end lease_verdict(enum call_result result)
{
	switch (result) {
	case CALL_OK:
		return LEASE_GOOD;
	case CALL_RATE_LIMITED:
	case CALL_TIMEOUT:
	case CALL_FIRST_TOKEN:
		return LEASE_TROUBLED;
	default:
		return LEASE_OTHER;
	}
}

/* What the call really took, as far as it is known: a call that never came through or was refused
 * took nothing, of one that was cut everything that was reserved counts. */
static void settle(struct target_job *job, bool cut)
{
	const struct target_answer *a = &job->answer;
	int64_t prompt = -1, completion = -1;
	if (a->decided && a->result == CALL_OK && a->reply.has_usage) {
		prompt = a->reply.usage.prompt_tokens;
		completion = a->reply.usage.completion_tokens;
	} else if (a->decided && (a->result == CALL_CONNECT || a->result == CALL_RATE_LIMITED)) {
		prompt = completion = 0;
	}
	lease_settle(&job->target->lease, &job->permit,
		     a->decided ? lease_verdict(a->result) : LEASE_OTHER, cut, job->asks, prompt,
		     completion, loop_now_us(job->targets->loop));
	if (cut)
		note_cut(job->targets, job->target);
}

static void give_back(struct target_job *job, enum breaker_end end)
{
	struct targets *t = job->targets;
	struct target *target = job->target;
	bool cut = job->http != NULL;
	assert(target->running > 0);
	if (cut)
		http_cancel(job->http);
	job->http = NULL;
	target->running--;
	turns_leave(target->turns, &job->turn);
	metric_add(t->stats->calls_running, -1);
	settle(job, cut);
	told(t, target, job->generation, end);
	want_work(t);
}

/* --- targets ------------------------------------------------------------------------------- */

static void target_free(struct targets *t, struct target *target)
{
	timer_cancel(t->loop, &target->cuts);
	metric_add(t->stats->breakers_open, -(target->breaker.state != BREAKER_CLOSED));
	budgets_done(&target->budgets);
	turns_free(target->turns);
	free(target->name);
	free(target);
	t->count--;
}

static void make_room(struct targets *t)
{
	for (struct target **at = &t->list; *at != NULL; at = &(*at)->next) {
		struct target *target = *at;
		if (target->running > 0 || turns_waiting(target->turns) > 0 ||
		    timer_armed(&target->cuts) ||
		    lease_in_use(&target->lease, loop_now_us(t->loop)) ||
		    breaker_wait_ms(&target->breaker, now_ms(t)) > 0 ||
		    !budgets_idle(&target->budgets, now_ms(t)))
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
	target->targets = t;
	target->turns = turns_new(TURNS_UNBOUNDED);
	lease_init(&target->lease);
	timer_init(&target->cuts, on_cuts, target);
	target->next = t->list;
	t->list = target;
	t->count++;
	return target;
}

/* --- a job's end --------------------------------------------------------------------------- */

static void job_free(struct target_job *job)
{
	struct targets *t = job->targets;
	if (job->state == JOB_WAITING)
		leave_line(job);
	else
		take(&t->busy, job);
	if (job->state == JOB_RUNNING)
		give_back(job, BREAKER_NOTHING);
	timer_cancel(t->loop, &job->end);
	timer_cancel(t->loop, &job->first);
	free(job->tenant);
	free(job->model);
	target_request_done(&job->request);
	target_answer_done(&job->answer);
	free(job);
}

/* What a call's end says about its target. */
static enum breaker_end verdict(const struct target_job *job)
{
	switch (job->answer.result) {
	case CALL_OK:
	case CALL_REJECTED:
		return BREAKER_ANSWERED;
	case CALL_RATE_LIMITED:
		return BREAKER_NOTHING;
	case CALL_TIMEOUT: /* no tenant's impatience takes a target away from the others */
		return job->hurried ? BREAKER_NOTHING : BREAKER_FAILED;
	case CALL_CONNECT:
	case CALL_FIRST_TOKEN:
	case CALL_ERROR:
	case CALL_CUT:
		break;
	}
	return BREAKER_FAILED;
}

/* Its permit is free from now on; it is told on a later turn. */
static void job_over(struct target_job *job)
{
	struct targets *t = job->targets;
	if (job->state == JOB_RUNNING)
		give_back(job, verdict(job));
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
	char model[TENANT_MAX + 1];
	target_answer_outcome(&answer, &outcome);
	if (job->target != NULL && job->target->model) {
		snprintf(model, sizeof(model), "%s", job->target->name);
		outcome.model = model;
	}
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
	return job->answer.events && job->answer.reply.finished;
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
		lease_first_token(&job->target->lease, (job->first_us - job->started_us) / 1000);
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
	struct http_client *http =
	    job->target->model || !t->conf.origins ? t->http : t->conf.origins;
	job->http = http_start(http, &request, on_body, on_done, job);
	target_request_done(&job->request);
}

static void refuse(struct target_job *job, enum saga_class class, const char *reason,
		   const char *message)
{
	target_answer_fail(&job->answer, CALL_REJECTED, class, reason, message);
	push(&job->targets->busy, job);
	job->state = JOB_OVER;
	timer_set(job->targets->loop, &job->end, 0);
}

/* --- what is asked before -------------------------------------------------------------------- */

static int64_t down_ms(const struct targets *t, const char *name, bool model)
{
	for (const struct target *target = t->list; target != NULL; target = target->next)
		if (target->model == model && strcmp(target->name, name) == 0)
			return breaker_wait_ms(&target->breaker, now_ms(t));
	return 0;
}

/* The model, else the first of its fallbacks that may be called; NULL if all are down, and then
 * *wait_ms is when the first of them may be asked again. */
static const struct model *route(const struct targets *t, const struct model *model,
				 int64_t *wait_ms)
{
	size_t i;
	const json_t *item;
	*wait_ms = down_ms(t, model->name, true);
	if (*wait_ms == 0)
		return model;
	json_array_foreach(model->fallbacks, i, item)
	{
		const struct model *other = catalog_model(t->catalog, json_string_value(item));
		if (other == NULL || strcmp(other->kind, model->kind) != 0)
			continue;
		int64_t wait = down_ms(t, other->name, true);
		if (wait == 0)
			return other;
		*wait_ms = wait < *wait_ms ? wait : *wait_ms;
	}
	return NULL;
}

static void hold(struct target_job *job, enum call_held why, int64_t wait_ms)
{
	static const struct {
		const char *reason, *message;
	} words[] = {
	    [HELD_OVERLOADED] = {"overloaded", "too many calls wait for this target"},
	    [HELD_DOWN] = {"target_down", "too many of the target's last calls failed"},
	    [HELD_BUDGET] = {"retry_budget", "too many of the target's last calls were retries"},
	    [HELD_MOVED] = {"model_changed", "the model has got another address"},
	};
	metric_add(job->targets->stats->calls_held[why], 1);
	refuse(job, OUTCOME_HELD, words[why].reason, words[why].message);
	job->answer.retry_after_ms = wait_ms;
}

/* Its model was given another address, or was deleted, while it waited. */
static bool moved(const struct targets *t, const struct target_job *job)
{
	const struct model *model = model_of(t, job->target);
	return job->target->model && (model == NULL || model->route != job->route);
}

/* True: it may begin, as far as breaker and budget are asked. */
static bool allowed(struct targets *t, struct target_job *job)
{
	struct target *target = job->target;
	int64_t wait = breaker_wait_ms(&target->breaker, now_ms(t));
	enum call_held why = HELD_DOWN;
	if (moved(t, job)) { /* is made again, as it is to be now */
		why = HELD_MOVED;
		wait = 0;
	} else if (wait > 0 && job->model != NULL) { /* at once, if there is a fallback */
		const struct model *model = catalog_model(t->catalog, job->model);
		if (model != NULL && route(t, model, &wait) != NULL)
			wait = 0;
	} else if (wait == 0) {
		if (!job->retry)
			return true;
		why = HELD_BUDGET;
		wait = budget_wait_ms(budgets_of(&target->budgets, job->tenant, now_ms(t)),
				      live_workers(t), now_ms(t));
		if (wait == 0)
			return true;
	}
	leave_line(job);
	hold(job, why, wait);
	return false;
}

static void begin(struct targets *t, struct target_job *job)
{
	struct target *target = job->target;
	/* Where tokens are what is scarce, turns are counted in them. */
	turns_start(target->turns, &job->turn, target->lease.limits.tpm > 0 ? job->tokens : 1);
	metric_add(t->stats->permits_waiting, -1);
	job->generation = breaker_begin(&target->breaker, now_ms(t));
	budget_note(budgets_of(&target->budgets, job->tenant, now_ms(t)), job->retry, now_ms(t));
	metric_add(t->stats->calls_again, job->retry);
	start(t, job);
	if (job->begun != NULL)
		job->begun(job->arg);
}

static void on_work(struct timer *timer, void *arg)
{
	(void)timer;
	struct targets *t = arg;
	for (struct target *target = t->list; target != NULL; target = target->next) {
		for (struct target_job *job; (job = first_waiting(target)) != NULL;) {
			if (!allowed(t, job))
				continue;
			if (!permit(t, target, job))
				break;
			begin(t, job);
		}
	}
}

/* --- the calls ----------------------------------------------------------------------------- */

static void enqueue(struct targets *t, struct target_job *job, const char *model)
{
	struct target *target =
	    target_find(t, model != NULL ? model : job->request.origin, model != NULL);
	if (target == NULL || !turns_may_wait(target->turns, job->tenant, t->conf.waiting_max)) {
		hold(job, HELD_OVERLOADED, OVERLOAD_MS);
		return;
	}
	job->target = target;
	job->asks = job->request.body.len;
	const struct tenant *tenant = catalog_tenant(t->catalog, job->tenant);
	turns_add(target->turns, &job->turn, job->tenant, tenant != NULL ? tenant->weight : 1,
		  job->batch);
	metric_add(t->stats->permits_waiting, 1);
	want_work(t);
}

static void set_times(struct target_job *job, const struct exec_call *call,
		      const struct model *model)
{
	int64_t own =
	    model != NULL && model->timeout_ms > 0 ? model->timeout_ms : PIPELINE_TIMEOUT_MS;
	job->timeout_ms = call->timeout_ms > 0 ? call->timeout_ms : own;
	job->hurried = job->timeout_ms < own;
	job->first_ms = model != NULL ? model->first_token_timeout_ms : 0;
}

struct target_job *target_call(struct targets *t, const struct exec_call *call, exec_text_fn *text,
			       exec_done_fn *done, void *arg)
{
	const struct model *model =
	    call->model != NULL ? catalog_model(t->catalog, call->model) : NULL;
	struct target_job *job = xcalloc(1, sizeof(*job));
	job->targets = t;
	job->chat = call->kind == KIND_CHAT;
	job->begun = call->begun;
	job->text = text;
	job->done = done;
	job->arg = arg;
	job->asked_us = loop_now_us(t->loop);
	job->tenant = xstrdup(call->tenant);
	job->model = call->model != NULL ? xstrdup(call->model) : NULL;
	job->retry = call->retry;
	job->batch = call->batch;
	job->max_tokens = job->chat ? call->max_tokens : 1;
	timer_init(&job->end, on_end, job);
	timer_init(&job->first, on_first, job);
	const char *reason;
	struct error err;
	struct exec_call to = *call;
	int64_t wait_ms = 0;
	if (model != NULL) {
		const struct model *own = model;
		model = route(t, own, &wait_ms);
		metric_add(t->stats->fallbacks, model != NULL && model != own);
		to.model = model != NULL ? model->name : NULL;
	}
	job->route = model != NULL ? model->route : 0;
	set_times(job, call, model);
	/* Of the model that is called in the end: a fallback may be of another kind. */
	const struct provider *provider =
	    model != NULL ? provider_of(model->kind, call->kind) : NULL;
	size_t most = t->conf.output_max;
	if (call->output_max > 0 && call->output_max < most)
		most = call->output_max;
	target_answer_init(&job->answer, provider, most, on_text, job);
	if (wait_ms > 0 && model == NULL)
		hold(job, HELD_DOWN, wait_ms);
	else if (target_request_make(&job->request, provider, &to, model, &reason, &err))
		refuse(job, OUTCOME_FINAL, reason, err.msg);
	else
		enqueue(t, job, to.model);
	return job;
}

/* --- leases -------------------------------------------------------------------------------- */

static void collect(void *arg, struct lessee_report *report, bool all)
{
	struct targets *t = arg;
	for (struct target *target = t->list; target != NULL; target = target->next) {
		struct lease *lease = &target->lease;
		const struct target_job *first = first_waiting(target);
		int64_t count = (int64_t)turns_waiting(target->turns);
		bool waits = first != NULL && lease->retry_us <= loop_now_us(t->loop);
		if (lease_unlimited(&lease->limits) ||
		    !(waits || (all && lease_in_use(lease, loop_now_us(t->loop)))))
			continue;
		int64_t tokens = first != NULL ? estimate(target, first) : 0;
		/* The others are taken to be like the first: each is asked for again in its turn.
		 */
		lessee_add(report, target->name, lease, (size_t)count, tokens * count, tokens);
	}
}

struct lease *targets_lease(struct targets *t, const char *name)
{
	for (struct target *target = t->list; target != NULL; target = target->next)
		if (target->model && strcmp(target->name, name) == 0)
			return &target->lease;
	return NULL;
}

static struct lease *find_lease(void *arg, const char *name)
{
	return targets_lease(arg, name);
}

static void changed(void *arg)
{
	want_work(arg);
}

void targets_config_changed(struct targets *t)
{
	want_work(t);
}

void target_cancel(struct target_job *job)
{
	job_free(job);
}

struct targets *targets_new(struct loop *loop, struct http_client *http,
			    const struct catalog *catalog, const struct members *members,
			    struct lessee *lessee, struct worker_stats *stats,
			    const struct targets_conf *conf)
{
	struct targets *t = xcalloc(1, sizeof(*t));
	*t = (struct targets){.loop = loop,
			      .http = http,
			      .catalog = catalog,
			      .members = members,
			      .lessee = lessee,
			      .stats = stats,
			      .conf = *conf};
	timer_init(&t->work, on_work, t);
	if (lessee != NULL)
		lessee_attach(lessee, &(struct lessee_owner){t, collect, find_lease, changed});
	return t;
}

void targets_free(struct targets *t)
{
	if (t == NULL)
		return;
	while (t->busy.first != NULL)
		job_free(t->busy.first);
	for (struct target *target; (target = t->list) != NULL;) {
		for (struct target_job *job; (job = first_waiting(target)) != NULL;)
			job_free(job);
		t->list = target->next;
		target_free(t, target);
	}
	timer_cancel(t->loop, &t->work);
	free(t);
}
