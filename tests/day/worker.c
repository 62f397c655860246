/* A worker's shell over its real parts: what worker_task.c does, with a log in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/orchestrator-worker/budget.h"
#include "services/orchestrator-worker/slice.h"
#include "tests/day/day.h"

#define HOLD   3 /* tickets for each slot, as in worker.c */
#define PROMPT "{\"messages\":[{\"role\":\"user\",\"content\":\"how\"}]}"

static const char accepted[] = "{\"input\":" PROMPT "}";

/* A task at a worker. */
struct run {
	struct turn turn; /* first */
	struct run *next, **link;
	struct day_worker *w;
	struct task *task;
	struct saga saga;
	struct target_job *job;
	unsigned attempt;
	bool again;
	struct timer timer;
	int64_t wake_at;
	bool over;
	int64_t not_before;
};

static const char *const tenants[DAY_TENANTS] = {"acme", "globex"};

static int64_t now_ms(const struct run *r)
{
	return loop_wall_us(r->w->day->loop) / 1000;
}

static void step(struct run *r);

/* --- calls -------------------------------------------------------------------------------------
 */

static void on_called(void *arg, const struct saga_outcome *outcome)
{
	struct run *r = arg;
	r->job = NULL;
	saga_called(&r->saga, 0, r->attempt, outcome, now_ms(r));
	step(r);
}

/* Of a tenant's calls in any 10 s at most a tenth, and this worker's part of one a second, are
 * retries (DESIGN 5). */
static void count_call(struct run *r)
{
	struct day *d = r->w->day;
	int64_t second = loop_now_us(d->loop) / 1000000;
	struct second *seconds = r->w->seconds[r->task->tenant];
	struct second *now = &seconds[second % 16];
	unsigned first = 0, again = 0, own = 10 / (unsigned)d->plan->workers;
	if (now->second != second)
		*now = (struct second){.second = second};
	*(r->again ? &now->again : &now->first) += 1;
	*(r->again ? &d->again : &d->first) += 1;
	for (int i = 0; i < 16; i++)
		if (seconds[i].second > second - BUDGET_WINDOW_S) {
			first += seconds[i].first;
			again += seconds[i].again;
		}
	if (r->again && again > first / 10 + own)
		day_fail(d, "%s: %u retries beside %u first calls of %s within 10 s", r->w->id,
			 again, first, tenants[r->task->tenant]);
}

static void on_begun(void *arg)
{
	struct run *r = arg;
	count_call(r);
	saga_begun(&r->saga, 0, r->attempt);
}

static void start_call(struct run *r, unsigned attempt)
{
	const struct saga_stage *s = &r->saga.stages[0];
	char id[32];
	snprintf(id, sizeof(id), "t%llu", (unsigned long long)r->task->number);
	r->attempt = attempt;
	r->again = s->failed + s->throttled > 0;
	struct exec_call call = {.tenant = tenants[r->task->tenant],
				 .task = id,
				 .stage = "s",
				 .attempt = attempt,
				 .retry = r->again,
				 .kind = KIND_CHAT,
				 .model = "m",
				 .input = s->input,
				 .len = s->input_len,
				 .max_tokens = 10,
				 .trace = "",
				 .begun = on_begun};
	r->job = target_call(r->w->targets, &call, NULL, on_called, r);
}

/* --- the log -----------------------------------------------------------------------------------
 */

static void load(struct run *r, uint64_t after)
{
	const struct task *t = r->task;
	for (size_t i = 0; i < t->n; i++)
		if (t->log[i].seq > after)
			saga_fold(&r->saga, t->log[i].seq, t->log[i].id,
				  saga_type_name(t->log[i].type), t->log[i].data, t->log[i].len);
	saga_loaded(&r->saga, t->n == 0, now_ms(r));
}

static void store(struct run *r)
{
	struct task *t = r->task;
	struct saga_write *w = &r->saga.write;
	uint64_t last = t->n > 0 ? t->log[t->n - 1].seq : 0;
	if (w->expect != (int64_t)last)
		day_fail(r->w->day, "task %llu: a transition behind %lld, the log ends in %llu",
			 (unsigned long long)t->number, (long long)w->expect,
			 (unsigned long long)last);
	if (t->n % 8 == 0)
		t->log = xrealloc(t->log, (t->n + 8) * sizeof(*t->log));
	struct entry *e = &t->log[t->n++];
	*e = (struct entry){.seq = ++r->w->day->seq, .type = w->type};
	memcpy(e->id, w->id.text, sizeof(e->id));
	e->data = xmemdup(strbuf_str(&w->data), w->data.len + 1);
	e->len = w->data.len;
	if (w->type == TASK_PARKED)
		r->not_before = slice_int(slice_member(e->data, e->len, "not_before"), 0);
	saga_written(&r->saga, WRITTEN, e->seq, now_ms(r));
}

/* --- steps -------------------------------------------------------------------------------------
 */

static void run_free(struct run *r)
{
	if (r->job != NULL)
		target_cancel(r->job);
	timer_cancel(r->w->day->loop, &r->timer);
	turns_leave(r->w->turns, &r->turn);
	*r->link = r->next;
	if (r->next != NULL)
		r->next->link = r->link;
	r->w->held--;
	saga_done(&r->saga);
	free(r);
}

static void carry_out(struct run *r, const struct saga_action *a)
{
	switch (a->type) {
	case ACTION_LOAD:
		load(r, a->after);
		break;
	case ACTION_WRITE:
		store(r);
		break;
	case ACTION_CALL:
		start_call(r, a->attempt);
		break;
	case ACTION_ABORT:
		if (r->job != NULL)
			target_cancel(r->job);
		r->job = NULL;
		break;
	case ACTION_FINISH:
		r->over = true;
		break;
	case ACTION_INPUT:
	case ACTION_OUTPUT:
		day_fail(r->w->day, "a stage without programs wants one evaluated");
		break;
	}
}

static void end(struct run *r)
{
	struct task *t = r->task;
	enum saga_type how = r->saga.end;
	int64_t not_before = r->not_before;
	run_free(r);
	day_left(t,
		 how == TASK_COMPLETED ? TASK_DONE
		 : how == TASK_UNKNOWN ? TASK_RESTS
				       : TASK_GAVE_UP,
		 not_before);
}

static void step(struct run *r)
{
	struct saga_action a;
	while (!r->over && saga_next(&r->saga, &a))
		carry_out(r, &a);
	if (r->over) {
		end(r);
		return;
	}
	int64_t at = saga_wake_at(&r->saga);
	if (at == r->wake_at)
		return;
	r->wake_at = at;
	timer_cancel(r->w->day->loop, &r->timer);
	if (at > 0)
		timer_set(r->w->day->loop, &r->timer, at > now_ms(r) ? (at - now_ms(r)) * 1000 : 0);
}

static void on_timer(struct timer *timer, void *arg)
{
	(void)timer;
	struct run *r = arg;
	r->wake_at = 0;
	saga_tick(&r->saga, now_ms(r));
	step(r);
}

bool worker_room(const struct day_worker *w)
{
	return w->held < w->day->plan->slots * HOLD;
}

void worker_take(struct day_worker *w, struct task *t)
{
	struct run *r = xcalloc(1, sizeof(*r));
	struct day *d = w->day;
	*r = (struct run){.w = w, .task = t, .next = w->runs, .link = &w->runs};
	w->runs = r;
	if (r->next != NULL)
		r->next->link = &r->next;
	timer_init(&r->timer, on_timer, r);
	saga_init(&r->saga,
		  &(struct saga_setup){.tenant = tenants[t->tenant],
				       .task = "task",
				       .pipeline = "p",
				       .worker = w->id,
				       .version = 1,
				       .spec = d->spec,
				       .claim = ++d->seq,
				       .behind = t->n > 0 ? t->log[t->n - 1].seq : 0,
				       .output_max = 10000,
				       .rng = &d->rng,
				       .accepted_id = "00000000-0000-0000-0000-000000000000",
				       .accepted_data = accepted,
				       .accepted_len = strlen(accepted),
				       .accepted_at = t->accepted_us / 1000});
	saga_begin(&r->saga);
	w->held++;
	turns_add(w->turns, &r->turn, tenants[t->tenant], 1, false);
}

void worker_turns(struct day_worker *w)
{
	for (struct turn *turn; (turn = turns_next(w->turns)) != NULL;)
		step((struct run *)turn);
}

/* --- life --------------------------------------------------------------------------------------
 */

void worker_open(struct day_worker *w, struct day *d, size_t number)
{
	static const struct targets_conf conf = {
	    .output_max = 10000, .waiting_max = 1000, .http_concurrent = 16};
	struct error err;
	*w = (struct day_worker){.day = d};
	snprintf(w->id, sizeof(w->id), "w%zu", number);
	w->metrics = metrics_new();
	worker_stats_init(&w->stats, w->metrics);
	w->turns = turns_new(d->plan->slots);
	w->lessee =
	    lessee_new(&d->control.lines[number], d->loop, &d->members, w->id, &w->stats, &err);
	w->targets =
	    targets_new(d->loop, &d->server, d->catalog, &d->members, w->lessee, &w->stats, &conf);
}

/* The day is over: what was not done is not asked for any more. */
void worker_close(struct day_worker *w)
{
	while (w->runs != NULL)
		run_free(w->runs);
	targets_free(w->targets);
	lessee_free(w->lessee);
	turns_free(w->turns);
	metrics_free(w->metrics);
}
