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

struct router_move {
	struct router *router;
	struct router_move *next, **at;
	struct bus_claim *claim;
	char tenant[TENANT_MAX + 1];
};

/* --- sizes ----------------------------------------------------------------------------------- */

static int64_t weight_of(const struct router *r, const char *name)
{
	const struct tenant *tenant = catalog_tenant(r->catalog, name);
	return tenant && tenant->weight > 0 ? tenant->weight : 1;
}

int64_t router_window_size(const struct router *r, const struct router_tenant *t,
			   const struct tenant *tenant)
{
	int64_t weight = tenant ? tenant->weight : 1;
	int64_t running = tenant ? tenant->limits.tasks_running : 1;
	int64_t weights = r->active_weight + r->other_weight + (t->counted_weight ? 0 : weight);
	return window_size(r->slots, weight, weights, running);
}

void router_window_changed(struct router *r, struct router_tenant *t)
{
	int64_t weight = window_busy(&t->window) ? weight_of(r, t->name) : 0;
	r->active_weight += weight - t->counted_weight;
	t->counted_weight = weight;
	if (t->dirty || (t->window.waiting == 0 && !t->backlog))
		return;
	t->dirty = true;
	t->dirty_next = r->dirty;
	r->dirty = t;
	if (!timer_armed(&r->refresh))
		timer_set(r->loop, &r->refresh, REFRESH_US);
}

/* --- moving ---------------------------------------------------------------------------------- */

static void move_end(struct router_move *m)
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
		window_moved(&t->window, ok, ack->duplicate);
		router_window_changed(r, t);
	}
	move_end(m);
}

static void bad_ticket(struct router_tenant *t, struct bus_claim *claim)
{
	struct router *r = t->router;
	metric_add(r->stats.bad_tickets, 1);
	log_at(LOG_ERROR, "ticket in the backlog cannot be read: dropped",
	       LOG_S("tenant", t->name));
	bus_claim_ack(claim);
	window_move(&t->window);
	window_moved(&t->window, true, true);
	router_window_changed(r, t);
}

static void delivered(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct router_tenant *t = arg;
	struct router *r = t->router;
	if (t->wanted > 0)
		t->wanted--;
	router_arena_reset(&r->arena);
	Penstock__Ticket *ticket =
	    penstock__ticket__unpack(&r->arena.allocator, msg->len, msg->data);
	if (!ticket || strcmp(ticket->tenant, t->name) != 0 || !id_valid(ticket->task) ||
	    !name_valid_tenant(ticket->pool)) {
		bad_ticket(t, claim);
		return;
	}
	struct router_move *m = xcalloc(1, sizeof(*m));
	m->router = r;
	m->claim = claim;
	strcpy(m->tenant, t->name);
	m->next = r->moves;
	m->at = &r->moves;
	if (m->next)
		m->next->at = &m->next;
	r->moves = m;
	window_move(&t->window);
	router_window_changed(r, t);
	struct subject subject = subject_task(ticket->pool, t->name);
	struct bus_store_opts opts = {
	    .msg_id = ticket->task, .expect_last_seq = -1, .timeout_ms = r->conf.store_timeout_ms};
	bus_store(r->bus, subject.text, &opts, msg->data, msg->len, moved, m);
}

/* --- consumers ------------------------------------------------------------------------------- */

void router_backlog_stop(struct router_tenant *t)
{
	bus_consumer_close(t->backlog);
	t->backlog = NULL;
	t->wanted = 0;
}

static void open_consumer(struct router *r, struct router_tenant *t)
{
	char durable[sizeof("wait_") + TENANT_MAX];
	snprintf(durable, sizeof(durable), "wait_%s", t->name);
	struct subject filter = subject_wait(t->part, t->name);
	struct bus_consumer_conf conf = {.stream = STREAM_BACKLOG,
					 .durable = durable,
					 .filter = filter.text,
					 .ack_wait_ms = ACK_WAIT_MS};
	struct error err;
	t->wanted = 0;
	t->backlog = bus_consumer_open(r->bus, &conf, delivered, t, &err);
	if (!t->backlog)
		log_at(LOG_ERROR, "backlog's consumer not opened", LOG_S("tenant", t->name),
		       LOG_S("reason", err.msg));
}

/* Opens, feeds or closes the tenant's backlog consumer as its window says. */
static void refresh(struct router *r, struct router_tenant *t)
{
	struct window *w = &t->window;
	if (r->stopping || !r->parts[t->part].owned || (w->waiting == 0 && w->moving == 0)) {
		if (t->backlog)
			router_backlog_stop(t);
		return;
	}
	if (!t->backlog && w->known)
		open_consumer(r, t);
	if (!t->backlog)
		return;
	const struct tenant *tenant = catalog_tenant(r->catalog, t->name);
	int64_t credit = window_credit(w, router_window_size(r, t, tenant));
	if (credit > CREDIT_MAX)
		credit = CREDIT_MAX;
	if (credit != t->wanted) {
		t->wanted = (unsigned)credit;
		bus_consumer_want(t->backlog, t->wanted);
	}
}

void router_backlog_refresh(struct timer *timer, void *arg)
{
	struct router *r = arg;
	(void)timer;
	while (r->dirty) {
		struct router_tenant *t = r->dirty;
		r->dirty = t->dirty_next;
		t->dirty = false;
		refresh(r, t);
	}
}

/* --- the streams' own counts ----------------------------------------------------------------- */

static void ask_one(struct router *r, struct router_tenant *t)
{
	(void)r;
	t->told_tasks = t->told_backlog = 0;
	window_ask(&t->window);
}

static void take_counts(struct router *r, struct router_tenant *t)
{
	if (!r->parts[t->part].asked)
		return;
	window_told(&t->window, t->told_tasks, t->told_backlog);
	router_window_changed(r, t);
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

/* The tenant of pen.task.<pool>.<tenant> and pen.wait.<part>.<tenant>; NULL: another subject. */
static const char *subject_tenant(const char *subject)
{
	const char *dot = strrchr(subject, '.');
	return dot && name_valid_tenant(dot + 1) ? dot + 1 : NULL;
}

static void told_tasks(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct router *r = arg;
	int64_t others = 0;
	for (size_t i = 0; result == BUS_OK && i < info->n_subjects; i++) {
		const char *name = subject_tenant(info->subjects[i].subject);
		if (name && r->parts[part_of(name, r->conf.parts)].asked)
			router_tenant_get(r, name)->told_tasks += (int64_t)info->subjects[i].msgs;
		else if (name && !r->parts[part_of(name, r->conf.parts)].owned)
			others += weight_of(r, name);
	}
	if (result == BUS_OK)
		r->other_weight = others;
	asked(r, result);
}

static void told_backlog(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct router *r = arg;
	for (size_t i = 0; result == BUS_OK && i < info->n_subjects; i++) {
		const char *name = subject_tenant(info->subjects[i].subject);
		if (name && r->parts[part_of(name, r->conf.parts)].asked)
			router_tenant_get(r, name)->told_backlog += (int64_t)info->subjects[i].msgs;
	}
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
	metric_add(r->stats.window, t->window.ready + t->window.sending + t->window.moving);
	metric_add(r->stats.backlog, t->window.waiting + t->window.parking);
	/* Sizes change with the other tenants: the backlogs look again. */
	if (t->backlog || t->window.waiting > 0)
		refresh(r, t);
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
	metric_set(r->stats.window, 0);
	metric_set(r->stats.backlog, 0);
	router_tenants_each(r, gauges_one);
	timer_set(r->loop, &r->tick, TICK_US);
}

void router_end_message(struct router *r, const void *data, size_t len)
{
	if (len > 4 * (TENANT_MAX + ID_LEN)) {
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
		window_end(&t->window);
		router_window_changed(r, t);
	}
}

void router_backlog_close(struct router *r)
{
	for (struct router_move *m = r->moves; m; m = m->next) {
		bus_claim_free(m->claim);
		m->claim = NULL;
	}
}

void router_backlog_free(struct router *r)
{
	while (r->moves)
		move_end(r->moves);
}
