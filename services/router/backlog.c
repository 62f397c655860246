/* The windows' other half: looks at the streams' counts, and moves tickets from BACKLOG to TASKS as
 * places get free. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

#define ASK_EVERY_US   2000000
#define ASK_AGAIN_US   500000
#define SWEEP_EVERY_US 10000000
#define TICK_US        200000
#define REFRESH_US     500 /* gathers the ends of one moment into one pull */
#define CREDIT_MAX     64  /* of one tenant at a time: bounds what a pull brings in */
#define ACK_WAIT_MS    30000
#define NAK_MS         500 /* TASKS did not take it */

/* --- sizes ----------------------------------------------------------------------------------- */

static int64_t weight_of(const struct router *r, const char *name)
{
	const struct tenant *tenant = catalog_tenant(r->catalog, name);
	return tenant && tenant->weight > 0 ? tenant->weight : 1;
}

const char *router_pool_name(enum router_pool pool)
{
	return pool == ROUTER_BATCH ? POOL_BATCH : POOL_DEFAULT;
}

enum router_pool router_pool_of(const char *name)
{
	return strcmp(name, POOL_BATCH) == 0 ? ROUTER_BATCH : ROUTER_INTERACTIVE;
}

static struct router_queue *other_pool(const struct router_queue *q)
{
	return &q->tenant->queues[q->pool == ROUTER_BATCH ? ROUTER_INTERACTIVE : ROUTER_BATCH];
}

struct window_size router_window_size(const struct router *r, const struct router_queue *q,
				      const struct tenant *tenant)
{
	int64_t weight = tenant ? tenant->weight : 1;
	int64_t running = tenant ? tenant->limits.tasks_running : 1;
	int64_t weights =
	    r->active_weight[q->pool] + r->other_weight[q->pool] + (q->counted_weight ? 0 : weight);
	struct window_size size =
	    window_size(r->slots[q->pool], weight, weights, running, r->conf.slot_tokens);
	/* The limit is on the tenant, in whatever pool its tasks are. */
	const struct router_queue *other = other_pool(q);
	int64_t left = running - window_taken(&other->window) - other->wanted;
	if (size.tasks > left)
		size.tasks = left > 0 ? left : 0;
	return size;
}

static void mark(struct router *r, struct router_queue *q)
{
	if (q->dirty || (q->window.waiting == 0 && !q->backlog))
		return;
	q->dirty = true;
	q->dirty_next = r->dirty;
	r->dirty = q;
	if (!timer_armed(&r->refresh))
		timer_set(r->loop, &r->refresh, REFRESH_US);
}

void router_window_changed(struct router *r, struct router_queue *q)
{
	int64_t weight = window_busy(&q->window) ? weight_of(r, q->tenant->name) : 0;
	r->active_weight[q->pool] += weight - q->counted_weight;
	q->counted_weight = weight;
	if (weight)
		router_tenant_busy(r, q->tenant);
	mark(r, q);
	mark(r, other_pool(q)); /* they share tasks_running */
}

/* --- moving ---------------------------------------------------------------------------------- */

struct router_move *router_move_new(struct router *r, struct bus_claim *claim,
				    const Penstock__Ticket *ticket)
{
	struct router_move *m = xcalloc(1, sizeof(*m));
	m->router = r;
	m->claim = claim;
	strcpy(m->tenant, ticket->tenant);
	m->pool = router_pool_of(ticket->pool);
	m->tokens = router_tokens(ticket->tokens);
	m->next = r->moves;
	m->at = &r->moves;
	if (m->next)
		m->next->at = &m->next;
	r->moves = m;
	return m;
}

void router_move_end(struct router_move *m)
{
	*m->at = m->next;
	if (m->next)
		m->next->at = m->at;
	free(m);
}

static void moved(void *arg, const struct bus_ack *ack)
{
	struct router_move *m = arg;
	struct router *r = m->router;
	struct router_tenant *t = router_tenant_find(r, m->tenant);
	bool ok = ack->result == BUS_OK;
	if (ok) {
		bus_claim_ack(m->claim);
		metric_add(r->stats.moves, 1);
	} else {
		bus_claim_nak(m->claim, NAK_MS);
	}
	if (t) {
		struct router_queue *q = &t->queues[m->pool];
		window_moved(&q->window, m->tokens, ok, ack->duplicate);
		router_window_changed(r, q);
	}
	router_move_end(m);
}

static void bad_ticket(struct router_queue *q, struct bus_claim *claim)
{
	struct router *r = q->tenant->router;
	metric_add(r->stats.bad_tickets, 1);
	log_at(LOG_ERROR, "ticket in the backlog cannot be read: dropped",
	       LOG_S("tenant", q->tenant->name));
	bus_claim_ack(claim);
	window_move(&q->window, 0);
	window_moved(&q->window, 0, true, true);
	router_window_changed(r, q);
}

Penstock__Ticket *router_ticket_read(struct router *r, const struct bus_msg *msg)
{
	router_arena_reset(&r->arena);
	Penstock__Ticket *ticket =
	    penstock__ticket__unpack(&r->arena.allocator, msg->len, msg->data);
	return ticket && name_valid_tenant(ticket->tenant) && id_valid(ticket->task) &&
		       name_valid_tenant(ticket->pool)
		   ? ticket
		   : NULL;
}

void router_ticket_id(const Penstock__Ticket *ticket, char out[ROUTER_TICKET_ID_MAX])
{
	if (ticket->behind)
		snprintf(out, ROUTER_TICKET_ID_MAX, "%.*s:%llu", ID_LEN, ticket->task,
			 (unsigned long long)ticket->behind);
	else
		snprintf(out, ROUTER_TICKET_ID_MAX, "%.*s", ID_LEN, ticket->task);
}

static void delivered(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct router_queue *q = arg;
	struct router *r = q->tenant->router;
	if (q->wanted > 0)
		q->wanted--;
	Penstock__Ticket *ticket = router_ticket_read(r, msg);
	if (!ticket || strcmp(ticket->tenant, q->tenant->name) != 0 ||
	    router_pool_of(ticket->pool) != q->pool) {
		bad_ticket(q, claim);
		return;
	}
	char id[ROUTER_TICKET_ID_MAX];
	router_ticket_id(ticket, id);
	struct router_move *m = router_move_new(r, claim, ticket);
	window_move(&q->window, m->tokens);
	router_window_changed(r, q);
	struct subject subject = subject_task(router_pool_name(q->pool), q->tenant->name);
	struct bus_store_opts opts = {
	    .msg_id = id, .expect_last_seq = -1, .timeout_ms = r->conf.store_timeout_ms};
	bus_store(r->bus, subject.text, &opts, msg->data, msg->len, moved, m);
}

/* --- consumers ------------------------------------------------------------------------------- */

void router_backlog_stop(struct router_queue *q)
{
	bus_consumer_close(q->backlog);
	q->backlog = NULL;
	q->wanted = 0;
}

static void open_consumer(struct router *r, struct router_queue *q)
{
	const char *tenant = q->tenant->name;
	char durable[sizeof("batch_") + TENANT_MAX];
	snprintf(durable, sizeof(durable), "%s_%s", q->pool == ROUTER_BATCH ? "batch" : "wait",
		 tenant);
	struct subject filter = subject_wait(q->tenant->part, tenant, router_pool_name(q->pool));
	struct bus_consumer_conf conf = {.stream = STREAM_BACKLOG,
					 .durable = durable,
					 .filter = filter.text,
					 .ack_wait_ms = ACK_WAIT_MS};
	struct error err;
	q->wanted = 0;
	q->backlog = bus_consumer_open(r->bus, &conf, delivered, q, &err);
	if (!q->backlog)
		log_at(LOG_ERROR, "backlog's consumer not opened", LOG_S("tenant", tenant),
		       LOG_S("reason", err.msg));
}

/* Opens, feeds or closes the backlog's consumer as its window says. */
static void refresh(struct router *r, struct router_queue *q)
{
	struct window *w = &q->window;
	if (r->stopping || !r->parts[q->tenant->part].owned ||
	    (w->waiting == 0 && w->moving == 0)) {
		if (q->backlog)
			router_backlog_stop(q);
		return;
	}
	if (!q->backlog && w->known)
		open_consumer(r, q);
	if (!q->backlog)
		return;
	const struct tenant *tenant = catalog_tenant(r->catalog, q->tenant->name);
	int64_t credit = window_credit(w, router_window_size(r, q, tenant));
	if (credit > CREDIT_MAX)
		credit = CREDIT_MAX;
	if (credit != q->wanted) {
		q->wanted = (unsigned)credit;
		bus_consumer_want(q->backlog, q->wanted);
	}
}

void router_backlog_refresh(struct timer *timer, void *arg)
{
	struct router *r = arg;
	(void)timer;
	while (r->dirty) {
		struct router_queue *q = r->dirty;
		r->dirty = q->dirty_next;
		q->dirty = false;
		refresh(r, q);
	}
}

/* --- the streams' own counts ----------------------------------------------------------------- */

static void ask_one(struct router *r, struct router_tenant *t)
{
	for (int p = 0; p < ROUTER_POOLS; p++) {
		t->queues[p].told_tasks = t->queues[p].told_backlog = 0;
		window_ask(&t->queues[p].window, loop_now_us(r->loop));
	}
}

static void take_counts(struct router *r, struct router_tenant *t)
{
	if (!r->parts[t->part].asked)
		return;
	for (int p = 0; p < ROUTER_POOLS; p++) {
		struct router_queue *q = &t->queues[p];
		window_told(&q->window, q->told_tasks, q->told_backlog);
		router_window_changed(r, q);
	}
}

/* One of the two answers came; with the second the counts hold, if both are there. */
static void asked(struct router *r, enum bus_result result)
{
	if (result != BUS_OK)
		r->ask_failed = true;
	if (--r->asking > 0)
		return;
	if (r->ask_failed) {
		r->next_ask_us = loop_now_us(r->loop) + ASK_AGAIN_US;
		return;
	}
	for (unsigned p = 0; p < r->conf.parts; p++)
		r->parts[p].counted |= r->parts[p].asked;
	router_tenants_each(r, take_counts);
	if (r->ask_again)
		router_backlog_ask(r);
}

static const char *last_name(const char *subject)
{
	const char *dot = strrchr(subject, '.');
	return dot && name_valid_tenant(dot + 1) ? dot + 1 : NULL;
}

/* The pool of pen.task.<pool>.<tenant>; -1: one that is not ours. */
static int task_pool(const char *subject, const char *tenant)
{
	for (int p = 0; p < ROUTER_POOLS; p++) {
		struct subject own = subject_task(router_pool_name((enum router_pool)p), tenant);
		if (strcmp(own.text, subject) == 0)
			return p;
	}
	return -1;
}

static void told_tasks(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct router *r = arg;
	int64_t others[ROUTER_POOLS] = {0};
	for (size_t i = 0; result == BUS_OK && i < info->n_subjects; i++) {
		const char *name = last_name(info->subjects[i].subject);
		int pool = name ? task_pool(info->subjects[i].subject, name) : -1;
		if (pool < 0)
			continue;
		const struct router_part *part = &r->parts[part_of(name, r->conf.parts)];
		if (part->asked)
			router_tenant_get(r, name)->queues[pool].told_tasks +=
			    (int64_t)info->subjects[i].msgs;
		else if (!part->owned)
			others[pool] += weight_of(r, name);
	}
	if (result == BUS_OK)
		memcpy(r->other_weight, others, sizeof(others));
	asked(r, result);
}

/* The tenant and pool of pen.wait.<part>.<tenant>[.batch]; false: nobody's. */
static bool backlog_of(const struct router *r, const char *subject, char tenant[TENANT_MAX + 1],
		       enum router_pool *pool)
{
	char text[SUBJECT_MAX];
	snprintf(text, sizeof(text), "%s", subject);
	for (int p = 0; p < ROUTER_POOLS; p++) {
		const char *name = last_name(text);
		if (!name)
			return false;
		snprintf(tenant, TENANT_MAX + 1, "%s", name);
		*pool = (enum router_pool)p;
		struct subject own =
		    subject_wait(part_of(tenant, r->conf.parts), tenant, router_pool_name(*pool));
		if (strcmp(subject, own.text) == 0)
			return true;
		*strrchr(text, '.') = '\0'; /* perhaps the last word is the pool's */
	}
	return false;
}

static void told_backlog(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct router *r = arg;
	char name[TENANT_MAX + 1];
	enum router_pool pool;
	for (size_t i = 0; result == BUS_OK && i < info->n_subjects; i++) {
		if (!backlog_of(r, info->subjects[i].subject, name, &pool))
			router_stray_found(r, info->subjects[i].subject);
		else if (r->parts[part_of(name, r->conf.parts)].asked)
			router_tenant_get(r, name)->queues[pool].told_backlog +=
			    (int64_t)info->subjects[i].msgs;
	}
	if (result == BUS_OK)
		router_stray_looked(r);
	asked(r, result);
}

void router_backlog_ask(struct router *r)
{
	if (r->asking > 0 || r->stopping)
		return;
	r->asking = 2;
	r->ask_failed = r->ask_again = false;
	for (unsigned p = 0; p < r->conf.parts; p++)
		r->parts[p].asked = r->parts[p].owned;
	r->next_ask_us = loop_now_us(r->loop) + ASK_EVERY_US;
	router_tenants_each(r, ask_one);
	bus_stream_info(r->bus, STREAM_TASKS, "pen.task.>", told_tasks, r);
	bus_stream_info(r->bus, STREAM_BACKLOG, "pen.wait.>", told_backlog, r);
}

/* --- the clock ------------------------------------------------------------------------------- */

static void gauges_one(struct router *r, struct router_tenant *t)
{
	bool calm = true;
	for (int p = 0; p < ROUTER_POOLS; p++) {
		struct router_queue *q = &t->queues[p];
		metric_add(r->stats.window[p], window_taken(&q->window));
		metric_add(r->stats.window_tokens[p],
			   q->window.ready_tokens + q->window.going_tokens);
		metric_add(r->stats.backlog[p], window_queued(&q->window));
		/* Sizes change with the other tenants: the backlogs look again. */
		if (q->backlog || q->window.waiting > 0)
			refresh(r, q);
		calm &= !q->backlog && !window_busy(&q->window);
	}
	if (calm)
		router_tenant_calm(t);
}

void router_backlog_tick(struct router *r)
{
	int64_t now = loop_now_us(r->loop);
	if (now >= r->next_ask_us)
		router_backlog_ask(r);
	if (now >= r->next_sweep_us) {
		r->next_sweep_us = now + SWEEP_EVERY_US;
		router_tenants_sweep(r);
	}
	for (int p = 0; p < ROUTER_POOLS; p++) {
		metric_set(r->stats.window[p], 0);
		metric_set(r->stats.window_tokens[p], 0);
		metric_set(r->stats.backlog[p], 0);
	}
	for (struct router_tenant *t = r->busy, *next; t; t = next) {
		next = t->busy_next;
		gauges_one(r, t);
	}
	timer_set(r->loop, &r->tick, TICK_US);
}

void router_end_message(struct router *r, const void *data, size_t len)
{
	if (len > 4 * (TENANT_MAX + ID_LEN) + 64) {
		metric_add(r->stats.malformed, 1);
		return;
	}
	router_arena_reset(&r->arena);
	Penstock__TaskEnd *end = penstock__task_end__unpack(&r->arena.allocator, len, data);
	if (!end || !name_valid_tenant(end->tenant)) {
		metric_add(r->stats.malformed, 1);
		return;
	}
	struct router_tenant *t = router_tenant_find(r, end->tenant);
	if (t) {
		struct router_queue *q = &t->queues[router_pool_of(end->pool)];
		window_end(&q->window, router_tokens(end->tokens));
		router_window_changed(r, q);
	}
	router_tokens_end(r, end);
}

void router_backlog_close(struct router *r)
{
	router_stray_stop(r);
	for (struct router_move *m = r->moves; m; m = m->next) {
		bus_claim_free(m->claim);
		m->claim = NULL;
	}
}

void router_backlog_free(struct router *r)
{
	while (r->moves)
		router_move_end(r->moves);
}
