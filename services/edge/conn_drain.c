/* The reactor's part of a drain: whose turn it is, what he is told, and when he is closed. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "services/edge/conn.h"

#define RECHECK_US   50000 /* whether commands under way are answered */
#define RECONNECT_MS 1000  /* clients that were told at once do not come at once */

/* --- plans in force ----------------------------------------------------------------------- */

static bool concerns(const struct drain_plan *plan, const struct conn *c)
{
	return !*plan->tenant || (c->principal && !strcmp(c->principal->tenant, plan->tenant));
}

/* NULL: this connection may stay. Everybody's plan goes before a tenant's: it is the more pressing
 * one. */
static const struct drain_plan *plan_for(const struct conn *c)
{
	const struct drain_plan *found = NULL;

	for (const struct drain_node *n = c->reactor->drains; n; n = n->next)
		if (concerns(&n->plan, c) && (!found || !*n->plan.tenant))
			found = &n->plan;
	return found;
}

static void remove_plan(struct reactor *r, const char *tenant)
{
	for (struct drain_node **p = &r->drains; *p; p = &(*p)->next) {
		struct drain_node *n = *p;

		if (strcmp(n->plan.tenant, tenant) != 0)
			continue;
		*p = n->next;
		free(n);
		return;
	}
}

static void add_plan(struct reactor *r, const struct drain_plan *plan)
{
	struct drain_node *n = xmalloc(sizeof(*n));

	remove_plan(r, plan->tenant);
	*n = (struct drain_node){.next = r->drains, .plan = *plan};
	r->drains = n;
}

void reactor_drains_free(struct reactor *r)
{
	while (r->drains) {
		struct drain_node *n = r->drains;

		r->drains = n->next;
		free(n);
	}
}

/* --- all connections ---------------------------------------------------------------------- */

static bool may_be_told(const struct conn *c)
{
	return c->drain == DRAIN_NONE || c->drain == DRAIN_DUE;
}

/* One after the other, evenly: what they do next comes evenly as well. */
static void begin(struct reactor *r, const struct drain_plan *plan)
{
	int64_t now = loop_now_us(r->loop), n = 0, i = 0;

	for (struct conn *c = r->conns; c; c = c->next)
		n += concerns(plan, c) && may_be_told(c);
	for (struct conn *c = r->conns; c; c = c->next) {
		int64_t last = now + plan->notice_ms * 1000 + 1;

		if (!concerns(plan, c))
			continue;
		if (may_be_told(c)) {
			assert(n > 0); /* it was counted */
			c->drain = DRAIN_DUE;
			conn_drain_at(c, now + 1 + plan->spread_ms * 1000 * i++ / n);
		} else if (c->drain == DRAIN_TOLD && c->drain_us > last) {
			conn_drain_at(c, last);
		}
	}
}

/* Whoever was told may go or stay; whoever is LEAVING was not read for a while, and goes. */
static void end(struct reactor *r, const struct drain_plan *plan)
{
	for (struct conn *c = r->conns; c; c = c->next) {
		if (!concerns(plan, c) || plan_for(c) || c->drain == DRAIN_LEAVING)
			continue;
		c->drain = DRAIN_NONE;
		c->drain_us = 0;
	}
}

struct drain_mail {
	struct loop_post post;
	struct reactor *reactor;
	struct drain_plan plan;
};

static void on_drain(struct loop_post *post)
{
	struct drain_mail *m = (struct drain_mail *)post;
	struct reactor *r = m->reactor;

	if (!*m->plan.tenant)
		r->draining = m->plan.on;
	if (m->plan.on) {
		add_plan(r, &m->plan);
		begin(r, &m->plan);
	} else {
		remove_plan(r, m->plan.tenant);
		end(r, &m->plan);
	}
	free(m);
}

void reactor_drain(struct reactor *r, const struct drain_plan *plan)
{
	struct drain_mail *m = xmalloc(sizeof(*m));

	*m = (struct drain_mail){.post.fn = on_drain, .reactor = r, .plan = *plan};
	loop_post(r->loop, &m->post);
}

/* --- one connection ----------------------------------------------------------------------- */

static void tell(struct conn *c, const struct shard_request *s)
{
	struct reactor *r = c->reactor;
	const struct drain_plan *plan = plan_for(c);
	bool came = c->drain == DRAIN_MET;
	int64_t jitter;

	c->drain = DRAIN_NONE;
	if (!plan || (came && *plan->tenant && !s->elsewhere))
		return;
	c->drain = DRAIN_TOLD;
	c->drain_us = loop_now_us(r->loop) + plan->notice_ms * 1000 + 1;
	jitter = plan->notice_ms / 2 < RECONNECT_MS ? plan->notice_ms / 2 : RECONNECT_MS;
	session_step_reset(&r->step, &c->session);
	session_drain(&c->session, s->url, (int64_t)rng_below(&r->rng, (uint64_t)jitter + 1),
		      plan->notice_ms, plan->reason, &r->step);
	metric_add(r->edge->stats.drain_frames, 1);
	conn_apply(c, &r->step);
	if (c->stream &&
	    !c->closed) /* it cannot leave by itself; it reconnects when it is closed */
		conn_close(c, CLOSE_DRAIN, "drain");
}

static void on_place(struct request *base)
{
	struct shard_request *s = (struct shard_request *)base;
	struct conn *c = base->arg;

	if (!c->closed && (c->drain == DRAIN_ASKING || c->drain == DRAIN_MET))
		tell(c, s);
	conn_release(c);
	free(s->url);
	free(s);
}

static void ask(struct conn *c, enum drain_state state)
{
	struct shard_request *s = xcalloc(1, sizeof(*s));

	assert(c->principal); /* only who is somebody's is told where to go */
	c->drain = (uint8_t)state;
	c->drain_us = 0;
	s->base.home = c->reactor->loop;
	s->base.done = on_place;
	s->base.arg = c;
	memcpy(s->tenant, c->principal->tenant, sizeof(s->tenant));
	c->refs++;
	hub_shard(c->reactor->edge->hub, s);
}

static void leave(struct conn *c, int64_t now_us)
{
	c->drain = DRAIN_LEAVING;
	if (c->session.in_flight && !c->close_sent) {
		c->drain_us = now_us + RECHECK_US;
		return;
	}
	c->drain_us = 0;
	conn_close(c, CLOSE_DRAIN, "drain");
}

void conn_drain_step(struct conn *c, int64_t now_us)
{
	if (c->drain != DRAIN_DUE || !c->principal)
		leave(c, now_us); /* or it is not even known whose it is: nothing is lost */
	else if (c->session.state == SESSION_OPEN)
		ask(c, DRAIN_ASKING);
	else
		c->drain_us = 0; /* it is closing already */
}

void conn_drain_met(struct conn *c)
{
	if (c->drain == DRAIN_NONE && c->session.state == SESSION_OPEN && plan_for(c))
		ask(c, DRAIN_MET);
}
