#include "services/orchestrator-worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/orchestrator-worker/worker_impl.h"

#define ACK_PENDING_MAX        20000
#define UNKNOWN_PIPELINE_TRIES 5 /* the catalog may be behind the router's */
#define UNKNOWN_PIPELINE_MS    1000
#define FRESH_MS               60000
#define RELEASED_MS            500
#define HAND_OFF_MS            2000 /* to write that a task is handed off */
/* Tickets held for each slot. A tenant alone has two for each slot in the queue (DESIGN 5): with
 * three, another one's is seen although they are all here. */
#define HOLD 3

bool worker_leaves(const struct worker *w)
{
	return w->stopping || w->drained;
}

/* --- tickets ------------------------------------------------------------------------------- */

static bool ticket_valid(const Penstock__Ticket *t)
{
	return t != NULL && name_valid_tenant(t->tenant) && id_valid(t->task) &&
	       t->accepted != NULL && id_valid(t->accepted->id) &&
	       strcmp(t->accepted->tenant, t->tenant) == 0;
}

/* Something may have happened to it: it reads its channel again. One that waits for a slot will do
 * so anyway. */
static void hint(struct worker_task *t)
{
	if (!t->turn.running)
		return;
	saga_hint(&t->saga);
	worker_task_step(t);
}

/* A second ticket of a task that is here: if it is the same one, our claim had run out. */
static void take_again(struct worker_task *t, const Penstock__Ticket *ticket, uint64_t seq,
		       struct bus_claim *claim)
{
	if (seq != t->claim_seq &&
	    ticket->behind > t->saga.last_seq) { /* it goes on behind what we are about to learn */
		bus_claim_nak(claim, RELEASED_MS);
		return;
	}
	if (seq != t->claim_seq) {
		metric_add(t->w->stats->tasks[RESULT_REPEAT], 1);
		bus_claim_ack(claim);
		return;
	}
	bus_claim_free(t->claim);
	t->claim = claim;
	hint(t);
}

static int64_t weight_of(const struct worker *w, const char *name)
{
	const struct tenant *tenant = catalog_tenant(w->catalog, name);
	return tenant != NULL ? tenant->weight : 1;
}

static void run_turns(struct worker *w, struct worker_pool *pool)
{
	for (struct turn *turn; !worker_leaves(w) && (turn = turns_next(pool->turns)) != NULL;) {
		worker_show_held(w);
		worker_task_step((struct worker_task *)turn);
	}
}

static void take_ticket(struct worker *w, const Penstock__Ticket *ticket, const struct bus_msg *msg,
			struct bus_claim *claim)
{
	struct worker_task *t = worker_task_find(w, ticket->tenant, ticket->task);
	if (t != NULL) {
		take_again(t, ticket, msg->seq, claim);
		return;
	}
	struct pipeline_spec *spec = worker_spec(w, ticket->pipeline, ticket->version);
	if (spec == NULL && msg->delivered < UNKNOWN_PIPELINE_TRIES) {
		bus_claim_nak(claim, UNKNOWN_PIPELINE_MS);
		return;
	}
	t = worker_task_new(w, ticket, msg, claim, spec);
	struct worker_pool *pool = &w->pools[t->pool];
	turns_add(pool->turns, &t->turn, t->tenant, weight_of(w, t->tenant), false);
	worker_show_held(w);
	run_turns(w, pool);
}

static void on_ticket(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct worker *w = arg;
	w->credit_changed = true;
	if (worker_leaves(w)) {
		bus_claim_nak(claim, 0);
		return;
	}
	Penstock__Ticket *ticket = penstock__ticket__unpack(NULL, msg->len, msg->data);
	if (ticket_valid(ticket)) {
		take_ticket(w, ticket, msg, claim);
	} else { /* it will never be better */
		log_at(LOG_ERROR, "bad ticket dropped", LOG_S("subject", msg->subject),
		       LOG_I("seq", msg->seq));
		bus_claim_ack(claim);
	}
	penstock__ticket__free_unpacked(ticket, NULL);
}

static void on_cancel(void *arg, const struct bus_msg *msg)
{
	struct worker *w = arg;
	Penstock__TaskCancel *cancel = penstock__task_cancel__unpack(NULL, msg->len, msg->data);
	struct worker_task *t =
	    cancel != NULL ? worker_task_find(w, cancel->tenant, cancel->task) : NULL;
	if (t != NULL) /* believed only if the log says so */
		hint(t);
	penstock__task_cancel__free_unpacked(cancel, NULL);
}

/* --- turns --------------------------------------------------------------------------------- */

/* How many more tickets it takes. */
static unsigned room(const struct worker_pool *pool)
{
	size_t most = (size_t)pool->slots * HOLD;
	return (unsigned)(most > pool->held ? most - pool->held : 0);
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	(void)hook;
	struct worker *w = arg;
	if (!w->credit_changed || worker_leaves(w))
		return;
	w->credit_changed = false;
	for (size_t i = 0; i < w->n_pools; i++)
		bus_consumer_want(w->pools[i].consumer, room(&w->pools[i]));
}

/* The word that a task was cancelled goes out once and may be lost. Who writes transitions learns
 * it by the log; who has written none since the last beat looks. */
static void look_for_end(struct worker_task *t)
{
	bool quiet = t->beat_seq == t->saga.last_seq;
	t->beat_seq = t->saga.last_seq;
	if (quiet)
		hint(t);
}

static void on_progress(struct timer *timer, void *arg)
{
	struct worker *w = arg;
	for (struct worker_task *t = w->tasks, *next; t != NULL; t = next) {
		next = t->next;
		if (t->claim == NULL)
			continue;
		bus_claim_progress(t->claim);
		look_for_end(t);
	}
	timer_set(w->loop, timer, w->conf.ack_wait_ms * INT64_C(1000) / 3);
}

/* --- the end ------------------------------------------------------------------------------- */

static void on_tell_stopped(struct timer *timer, void *arg)
{
	(void)timer;
	struct worker *w = arg;
	void (*stopped)(void *) = w->stopped;
	w->stopped = NULL;
	if (stopped != NULL)
		stopped(w->stopped_arg);
}

void worker_task_ended(struct worker *w)
{
	w->credit_changed = true;
	if (worker_leaves(w) && w->held == 0)
		timer_set(w->loop, &w->tell_stopped, 0);
	for (size_t i = 0; i < w->n_pools; i++)
		run_turns(w, &w->pools[i]);
}

/* The log is not to be reached: they are given back without a word in it. */
static void give_back(struct worker *w)
{
	for (struct worker_task *t = w->tasks, *next; t != NULL; t = next) {
		next = t->next;
		if (t->finished)
			continue;
		worker_task_finish(t, VERDICT_LATER, 0);
		if (t->waits == 0)
			worker_task_free(t);
	}
}

static void drain(struct worker *w)
{
	for (struct worker_task *t = w->tasks, *next; t != NULL; t = next) {
		next = t->next;
		if (t->finished)
			continue;
		saga_drain(&t->saga, w->hurried, worker_now_ms(w));
		worker_task_step(t);
	}
}

static void hurry(struct worker *w)
{
	w->hurried = true;
	drain(w);
	timer_set(w->loop, &w->grace, HAND_OFF_MS * INT64_C(1000));
}

static void on_grace(struct timer *timer, void *arg)
{
	(void)timer;
	struct worker *w = arg;
	if (w->hurried)
		give_back(w);
	else
		hurry(w);
}

static void leave(struct worker *w, int64_t grace_ms, void (*done)(void *arg), void *arg)
{
	w->stopped = done;
	w->stopped_arg = arg;
	/* First of all: what is given back must not come to us again. */
	for (size_t i = 0; i < w->n_pools; i++) {
		bus_consumer_close(w->pools[i].consumer);
		w->pools[i].consumer = NULL;
	}
	drain(w);
	if (!w->hurried)
		timer_set(w->loop, &w->grace, grace_ms * 1000);
	if (w->held == 0)
		timer_set(w->loop, &w->tell_stopped, 0);
}

void worker_stop(struct worker *w, int64_t grace_ms, void (*done)(void *arg), void *arg)
{
	bool again = w->stopping;
	w->stopping = true;
	if (!again)
		leave(w, grace_ms, done, arg);
	else if (!w->hurried)
		hurry(w);
}

void worker_drain(struct worker *w, int64_t grace_ms, void (*done)(void *arg), void *arg)
{
	if (w->stopping)
		return;
	w->drained = true;
	leave(w, grace_ms, done, arg);
}

static int open_pool(struct worker *w, struct worker_pool *pool, struct error *err);

/* What was told to go elsewhere does so. */
int worker_undrain(struct worker *w, struct error *err)
{
	if (!w->drained || w->stopping)
		return 0;
	w->drained = w->hurried = false;
	w->stopped = NULL;
	timer_cancel(w->loop, &w->grace);
	timer_cancel(w->loop, &w->tell_stopped);
	for (size_t i = 0; i < w->n_pools; i++)
		if (open_pool(w, &w->pools[i], err))
			return -1;
	return 0;
}

/* --- life ---------------------------------------------------------------------------------- */

void worker_config_changed(struct worker *w, const char *key)
{
	if (strncmp(key, "pipeline.", 9) == 0)
		worker_spec_forget(w);
}

size_t worker_running(const struct worker *w)
{
	size_t n = 0;
	for (size_t i = 0; i < w->n_pools; i++)
		n += turns_running(w->pools[i].turns);
	return n;
}

size_t worker_held(const struct worker *w)
{
	return w->held;
}

void worker_show_held(struct worker *w)
{
	size_t running = worker_running(w);
	metric_set(w->stats->slots_used, (int64_t)running);
	metric_set(w->stats->tickets_waiting, (int64_t)(w->held - running));
}

bool worker_ready(const struct worker *w, const char **why)
{
	*why = w->stopping                  ? "stopping"
	       : w->drained                 ? "drained by an operator"
	       : !bus_connected(w->bus)     ? "NATS is not connected"
	       : !catalog_ready(w->catalog) ? "waiting for the configuration"
					    : NULL;
	return *why == NULL;
}

static int open_pool(struct worker *w, struct worker_pool *pool, struct error *err)
{
	char durable[TENANT_MAX + 16];
	char filter[SUBJECT_MAX];
	snprintf(durable, sizeof(durable), "workers_%s", pool->name);
	snprintf(filter, sizeof(filter), "pen.task.%s.>", pool->name);
	struct bus_consumer_conf conf = {.stream = STREAM_TASKS,
					 .durable = durable,
					 .filter = filter,
					 .ack_wait_ms = w->conf.ack_wait_ms,
					 .max_ack_pending = ACK_PENDING_MAX};
	pool->consumer = bus_consumer_open(w->bus, &conf, on_ticket, w, err);
	if (pool->consumer == NULL)
		return -1;
	bus_consumer_want(pool->consumer, room(pool));
	return 0;
}

static int open_bus(struct worker *w, struct error *err)
{
	w->cancels = bus_subscribe(w->bus, SUBJECT_CANCEL, NULL, on_cancel, w, err);
	if (w->cancels == NULL)
		return -1;
	for (size_t i = 0; i < w->n_pools; i++)
		if (open_pool(w, &w->pools[i], err))
			return -1;
	return 0;
}

static void add_pool(struct worker *w, const char *name, unsigned slots)
{
	w->pools[w->n_pools++] =
	    (struct worker_pool){.name = name, .slots = slots, .turns = turns_new(slots)};
}

/* The pool that it was started for, and, if that is the default one, the batch pool as well. */
static void choose_pools(struct worker *w)
{
	add_pool(w, w->pool, w->conf.slots);
	if (strcmp(w->pool, POOL_DEFAULT) == 0 && w->conf.batch_slots > 0)
		add_pool(w, POOL_BATCH, w->conf.batch_slots);
}

struct worker *worker_start(struct loop *loop, struct bus *bus, const struct catalog *catalog,
			    struct executor *executor, struct worker_stats *stats,
			    const struct worker_conf *conf, struct error *err)
{
	if (!name_valid_tenant(conf->pool)) {
		err_set(err, ERR_FATAL, "the pool is no valid name");
		return NULL;
	}
	struct worker *w = xcalloc(1, sizeof(*w));
	*w = (struct worker){.loop = loop,
			     .bus = bus,
			     .catalog = catalog,
			     .ex = executor,
			     .stats = stats,
			     .conf = *conf,
			     .instance = xstrdup(conf->instance),
			     .pool = xstrdup(conf->pool)};
	if (w->conf.fresh_ms == 0)
		w->conf.fresh_ms = FRESH_MS;
	if (w->conf.ack_wait_ms == 0)
		w->conf.ack_wait_ms = WORKER_ACK_WAIT_MS;
	rng_seed(&w->rng, conf->seed);
	timer_init(&w->progress, on_progress, w);
	timer_init(&w->grace, on_grace, w);
	timer_init(&w->tell_stopped, on_tell_stopped, w);
	w->deltas = deltas_new(bus, loop, stats, conf->deltas_in_flight);
	w->hook = (struct loop_hook){.fn = on_turn_end, .arg = w};
	loop_hook_add(loop, &w->hook);
	choose_pools(w);
	for (size_t i = 0; i < w->n_pools; i++)
		metric_add(stats->slots, w->pools[i].slots);
	timer_set(loop, &w->progress, w->conf.ack_wait_ms * INT64_C(1000) / 3);
	if (open_bus(w, err)) {
		worker_free(w);
		return NULL;
	}
	return w;
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; i < w->n_pools; i++)
		bus_consumer_close(w->pools[i].consumer);
	bus_unsubscribe(w->cancels);
	while (w->tasks != NULL)
		worker_task_free(w->tasks);
	for (size_t i = 0; i < w->n_pools; i++)
		turns_free(w->pools[i].turns);
	worker_spec_forget(w);
	deltas_free(w->deltas);
	loop_hook_del(w->loop, &w->hook);
	timer_cancel(w->loop, &w->progress);
	timer_cancel(w->loop, &w->grace);
	timer_cancel(w->loop, &w->tell_stopped);
	strbuf_done(&w->document);
	strbuf_done(&w->packed);
	free(w->instance);
	free(w->pool);
	free(w);
}
