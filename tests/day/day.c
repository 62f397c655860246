#include "tests/day/day.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/strbuf.h"

#define START_US     INT64_C(1700000000000000)
#define OFFERED      3.0 /* times the capacity, in the rush */
#define TASKS_QUEUED 1000000
#define TOKENS       100 /* of a task, by the router's estimate */
#define SLOT_TOKENS  100000

void day_fail(struct day *d, const char *fmt, ...)
{
	va_list ap;
	if (d->failure[0] != '\0')
		return;
	int n = snprintf(d->failure, sizeof(d->failure), "minute %lld: ", (long long)d->minute);
	va_start(ap, fmt);
	vsnprintf(d->failure + n, sizeof(d->failure) - (size_t)n, fmt, ap);
	va_end(ap);
}

/* --- queues ------------------------------------------------------------------------------------
 */

static void push(struct queue *q, struct task *t)
{
	t->next = NULL;
	*(q->last != NULL ? &q->last->next : &q->first) = t;
	q->last = t;
	q->n++;
}

static struct task *pop(struct queue *q)
{
	struct task *t = q->first;
	q->first = t->next;
	q->last = q->first != NULL ? q->last : NULL;
	q->n--;
	return t;
}

/* --- the router --------------------------------------------------------------------------------
 */

static struct window_size size_of(const struct day *d, int tenant)
{
	int64_t weights = 0;
	for (int i = 0; i < DAY_TENANTS; i++)
		weights += i == tenant || window_busy(&d->windows[i]);
	return window_size((int64_t)(d->plan->workers * d->plan->slots), 1, weights, INT64_MAX,
			   SLOT_TOKENS);
}

static void admit(struct task *t)
{
	struct day *d = t->day;
	struct window *w = &d->windows[t->tenant];
	enum window_place place = window_place(w, size_of(d, t->tenant), TASKS_QUEUED);
	t->state = TASK_WAITS;
	window_send(w, place, TOKENS);
	push(place == WINDOW_READY ? &d->ready : &d->backlog[t->tenant], t);
	window_sent(w, place, TOKENS, true);
	day_feed(d);
}

static void refill(struct day *d, int tenant)
{
	struct window *w = &d->windows[tenant];
	for (int64_t n = window_credit(w, size_of(d, tenant)); n > 0; n--) {
		window_move(w, TOKENS);
		push(&d->ready, pop(&d->backlog[tenant]));
		window_moved(w, TOKENS, true, false);
	}
}

static struct day_worker *with_room(struct day *d)
{
	for (size_t i = 0; i < d->plan->workers; i++) {
		struct day_worker *w = &d->workers[d->next_worker++ % d->plan->workers];
		if (worker_room(w))
			return w;
	}
	return NULL;
}

static void on_feed(struct timer *timer, void *arg)
{
	(void)timer;
	struct day *d = arg;
	struct day_worker *w;
	for (int i = 0; i < DAY_TENANTS; i++)
		refill(d, i);
	while (d->ready.n > 0 && (w = with_room(d)) != NULL) {
		struct task *t = pop(&d->ready);
		t->state = TASK_RUNS;
		worker_take(w, t);
	}
	for (size_t i = 0; i < d->plan->workers; i++)
		worker_turns(&d->workers[i]);
}

void day_feed(struct day *d)
{
	if (!timer_armed(&d->feed))
		timer_set(d->loop, &d->feed, 0);
}

/* --- tasks -------------------------------------------------------------------------------------
 */

static void on_release(struct timer *timer, void *arg)
{
	(void)timer;
	admit(arg);
}

static void task_new(struct day *d, int tenant)
{
	struct task *t = xcalloc(1, sizeof(*t));
	*t = (struct task){.day = d,
			   .number = ++d->accepted,
			   .tenant = tenant,
			   .after = d->tasks,
			   .accepted_us = loop_wall_us(d->loop)};
	if (t->after != NULL)
		t->after->pre = t;
	d->tasks = t;
	timer_init(&t->release, on_release, t);
	admit(t);
}

static void task_free(struct task *t)
{
	timer_cancel(t->day->loop, &t->release);
	*(t->pre != NULL ? &t->pre->after : &t->day->tasks) = t->after;
	if (t->after != NULL)
		t->after->pre = t->pre;
	for (size_t i = 0; i < t->n; i++)
		free(t->log[i].data);
	free(t->log);
	free(t);
}

static size_t entries(const struct task *t, enum saga_type type)
{
	size_t n = 0;
	for (size_t i = 0; i < t->n; i++)
		n += t->log[i].type == type;
	return n;
}

void day_left(struct task *t, enum task_state state, int64_t not_before_ms)
{
	struct day *d = t->day;
	window_end(&d->windows[t->tenant], TOKENS);
	t->state = state;
	day_feed(d);
	if (state == TASK_RESTS) {
		int64_t wait_us = not_before_ms * 1000 - loop_wall_us(d->loop);
		d->parked++;
		timer_set(d->loop, &t->release, wait_us > 0 ? wait_us : 0);
		return;
	}
	d->done += state == TASK_DONE;
	d->gave_up += state == TASK_GAVE_UP;
	if (state == TASK_DONE && entries(t, TASK_STAGE_COMPLETED) != 1)
		day_fail(d, "task %llu is complete, its stage %zu times",
			 (unsigned long long)t->number, entries(t, TASK_STAGE_COMPLETED));
	task_free(t);
}

/* --- time --------------------------------------------------------------------------------------
 */

static void on_arrival(struct timer *timer, void *arg)
{
	struct day *d = arg;
	bool rush = loop_now_us(d->loop) - d->start_us < d->plan->rush * MINUTE_US;
	double a_minute = d->plan->per_minute * (rush ? OFFERED : d->plan->normal);
	task_new(d, (int)rng_below(&d->rng, DAY_TENANTS));
	timer_set(d->loop, timer,
		  (int64_t)(-log(1 - rng_unit(&d->rng)) * (double)MINUTE_US / a_minute));
}

static void on_minute(struct timer *timer, void *arg)
{
	struct day *d = arg;
	d->unfinished[d->minute++] = (size_t)(d->accepted - d->done - d->gave_up);
	if (d->minute == d->plan->hours * 60)
		d->ended = true;
	else
		timer_set(d->loop, timer, MINUTE_US);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void configure(struct day *d)
{
	static const char pipeline[] = "{\"stages\":[{\"id\":\"s\",\"kind\":\"chat\",\"model\":"
				       "\"m\",\"retry\":{\"max_attempts\":8}}]}";
	const struct lease_limits *l = &d->plan->limits;
	struct strbuf doc = {0};
	struct error err = {0};
	strbuf_addf(&doc,
		    "{\"name\":\"m\",\"kind\":\"openai\",\"url\":\"http://t/v1\",\"model\":\"m\","
		    "\"limits\":{\"rpm\":%lld,\"tpm\":%lld,"
		    "\"concurrent\":%lld},\"timeout_ms\":%lld}",
		    (long long)l->rpm, (long long)l->tpm, (long long)l->concurrent,
		    (long long)d->plan->timeout_ms);
	d->catalog = catalog_new();
	if (catalog_put(d->catalog, "model.m", doc.data, doc.len, &err))
		day_fail(d, "%s", err.msg);
	const struct model *m = catalog_model(d->catalog, "m");
	if (m == NULL || m->rpm != l->rpm || m->concurrent != l->concurrent)
		day_fail(d, "the model is not as it was meant");
	strbuf_done(&doc);
	json_t *spec = json_parse(pipeline, strlen(pipeline), &err);
	d->spec = pipeline_parse(spec, &err);
	json_decref(spec);
	if (d->spec == NULL)
		day_fail(d, "%s", err.msg);
}

static void open_day(struct day *d, uint64_t seed)
{
	d->loop = loop_new_sim(START_US);
	d->start_us = loop_now_us(d->loop);
	rng_seed(&d->rng, seed);
	configure(d);
	server_init(&d->server, d->loop, &d->rng, &d->plan->server);
	control_init(&d->control, d->loop, "m", &d->plan->limits, d->plan->workers);
	d->members.n = d->plan->workers;
	for (size_t i = 0; i < d->plan->workers; i++) {
		snprintf(d->members.ids[i], sizeof(d->members.ids[i]), "w%zu", i);
		worker_open(&d->workers[i], d, i);
	}
	for (int i = 0; i < DAY_TENANTS; i++)
		window_told(&d->windows[i], 0, 0);
	timer_init(&d->feed, on_feed, d);
	timer_init(&d->arrivals, on_arrival, d);
	timer_init(&d->minutes, on_minute, d);
	timer_set(d->loop, &d->arrivals, 0);
	timer_set(d->loop, &d->minutes, MINUTE_US);
}

void day_run(struct day *d, const struct plan *plan, uint64_t seed)
{
	*d = (struct day){.plan = plan};
	open_day(d, seed);
	while (!d->ended && d->failure[0] == '\0')
		loop_sim_step(d->loop, INT64_MAX);
	for (size_t i = 0; i < plan->workers; i++)
		worker_close(&d->workers[i]);
	while (d->tasks != NULL)
		task_free(d->tasks);
	control_done(&d->control);
	server_done(&d->server);
	timer_cancel(d->loop, &d->arrivals);
	timer_cancel(d->loop, &d->feed);
	timer_cancel(d->loop, &d->minutes);
	catalog_stop(d->catalog);
	pipeline_unref(d->spec);
	loop_free(d->loop);
}
