/* Core messages and requests of the fake. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake_int.h"

/* --- what is pending ---------------------------------------------------------------------------
 */

static void call(const struct fpend *p, enum bus_result result, const struct bus_msg *msg)
{
	struct bus_ack ack = {.result = result};

	switch (p->kind) {
	case PEND_ANSWER:
		p->fn.answer(p->arg, result, msg);
		break;
	case PEND_ACK:
		if (p->fn.ack)
			p->fn.ack(p->arg, &ack);
		break;
	case PEND_DONE:
		p->fn.done(p->arg, result);
		break;
	case PEND_INFO:
		p->fn.info(p->arg, result, NULL);
		break;
	}
}

static void on_pend_timer(struct timer *timer, void *arg)
{
	struct fpend *p = arg, copy;

	(void)timer;
	if (pend_take(p->node, (uint64_t)p->gen << 32 | p->slot, &copy))
		call(&copy, copy.fail, NULL);
}

uint64_t pend_add(struct node *node, enum pend_kind kind, void (*fn)(void), void *arg,
		  int timeout_ms)
{
	struct fpend *p = xcalloc(1, sizeof(*p));
	struct pend_slot *slot;

	if (node->pends_free == UINT32_MAX) {
		uint32_t old = node->pends_cap;

		node->pends_cap = old ? old * 2 : 32;
		node->pends = xrealloc(node->pends, node->pends_cap * sizeof(*node->pends));
		for (uint32_t i = node->pends_cap; i-- > old;) {
			node->pends[i] = (struct pend_slot){NULL, 0, node->pends_free};
			node->pends_free = i;
		}
	}
	p->slot = node->pends_free;
	slot = &node->pends[p->slot];
	node->pends_free = slot->next_free;
	slot->pend = p;
	p->gen = ++slot->gen;
	p->kind = kind;
	p->fn.answer = (bus_answer_fn *)fn;
	p->arg = arg;
	p->node = node;
	p->fail = node_reachable(node) ? BUS_TIMEOUT : BUS_UNAVAILABLE;
	timer_init(&p->timer, on_pend_timer, p);
	timer_set(node->broker->loop, &p->timer,
		  node_reachable(node) ? (int64_t)timeout_ms * 1000 : 0);
	return (uint64_t)p->gen << 32 | p->slot;
}

static struct fpend *pend_find(struct node *node, uint64_t id)
{
	uint32_t slot = (uint32_t)id;
	struct fpend *p = slot < node->pends_cap ? node->pends[slot].pend : NULL;

	return p && p->gen == id >> 32 ? p : NULL;
}

bool pend_take(struct node *node, uint64_t id, struct fpend *out)
{
	struct fpend *p = pend_find(node, id);
	struct pend_slot *slot;

	if (!p)
		return false;
	timer_cancel(node->broker->loop, &p->timer);
	slot = &node->pends[p->slot];
	slot->pend = NULL;
	slot->next_free = node->pends_free;
	node->pends_free = p->slot;
	*out = *p;
	free(p);
	return true;
}

void pend_fail(struct node *node, uint64_t id, enum bus_result result)
{
	struct fpend *p = pend_find(node, id);

	if (!p)
		return;
	p->fail = result;
	timer_set(node->broker->loop, &p->timer, 0);
}

void pend_fail_everything(struct node *node, enum bus_result result)
{
	for (uint32_t i = 0; i < node->pends_cap; i++)
		if (node->pends[i].pend)
			pend_fail(node, (uint64_t)node->pends[i].gen << 32 | i, result);
}

static void forget(struct node *node, const void *arg, bool all)
{
	struct fpend ignored;

	for (uint32_t i = 0; i < node->pends_cap; i++)
		if (node->pends[i].pend && (all || node->pends[i].pend->arg == arg))
			pend_take(node, (uint64_t)node->pends[i].gen << 32 | i, &ignored);
}

void pend_forget_all(struct node *node)
{
	forget(node, NULL, true);
}

void fake_forget(struct bus *bus, const void *arg)
{
	if (arg)
		forget(node_of(bus), arg, false);
}

static void at_answer(struct hop *hop)
{
	struct fpend p;
	struct bus_msg msg;

	if (!pend_take(hop->node, hop->id, &p))
		return;
	if (hop->msg)
		fmsg_view(hop->msg, &msg);
	call(&p, hop->result, hop->result == BUS_OK && hop->msg ? &msg : NULL);
}

void fake_answer(struct node *node, uint64_t id, enum bus_result result, struct fmsg *msg)
{
	struct fake_broker *b = node->broker;
	struct hop *hop;

	if (fake_chance(b, b->faults.lose_core))
		return;
	hop = hop_new(node, at_answer);
	hop->id = id;
	hop->result = result;
	hop->msg = msg ? fmsg_ref(msg) : NULL;
	hop_in(hop, msg ? msg->subject : "");
}

/* --- subscriptions -----------------------------------------------------------------------------
 */

static void sub_unref(struct fsub *sub)
{
	if (--sub->refs > 0)
		return;
	free(sub->subject);
	free(sub->queue);
	free(sub);
}

struct bus_sub *fake_subscribe(struct bus *bus, const char *subject, const char *queue,
			       bus_msg_fn *fn, void *arg, struct error *err)
{
	struct node *node = node_of(bus);
	struct fake_broker *b = node->broker;
	struct fsub *sub;

	if (!fake_subject_ok(subject, true) || (queue && !fake_subject_ok(queue, false))) {
		err_set(err, ERR_REJECTED, "bad subject");
		return NULL;
	}
	sub = xcalloc(1, sizeof(*sub));
	sub->base.ops = &fake_ops;
	sub->node = node;
	sub->refs = 1;
	sub->subject = xstrdup(subject);
	sub->queue = queue ? xstrdup(queue) : NULL;
	sub->fn = fn;
	sub->arg = arg;
	sub->route = fake_is_filter(subject) ? &b->wild : fmap_get(&b->routes, subject);
	if (!sub->route) {
		sub->route = xcalloc(1, sizeof(*sub->route));
		sub->route->subject = xstrdup(subject);
		sub->route->tail = &sub->route->head;
		fmap_add(&b->routes, sub->route->subject, sub->route);
	}
	sub->route_prev = sub->route->tail;
	*sub->route->tail = sub;
	sub->route->tail = &sub->route_next;
	sub->next = node->subs;
	sub->prev = &node->subs;
	if (sub->next)
		sub->next->prev = &sub->next;
	node->subs = sub;
	return (struct bus_sub *)(void *)sub;
}

static void unroute(struct fsub *sub)
{
	struct route *route = sub->route;

	if (!route)
		return;
	sub->route = NULL;
	*sub->route_prev = sub->route_next;
	if (sub->route_next)
		sub->route_next->route_prev = sub->route_prev;
	else
		route->tail = sub->route_prev;
	if (!route->head && route->subject) {
		fmap_del(&sub->node->broker->routes, route->subject);
		free(route->subject);
		free(route);
	}
}

static void drop_deliver(struct hop *hop);

static void at_drain(struct hop *hop)
{
	unroute(hop->ptr);
}

/* The broker hears of it behind what this node has sent before. */
void fake_drain(struct bus_sub *handle)
{
	struct fsub *sub = (struct fsub *)(void *)handle;
	struct hop *hop = hop_new(sub->node, at_drain);

	sub->refs++;
	hop->ptr = sub;
	hop->drop = drop_deliver;
	hop_out(hop);
}

void fake_unsubscribe(struct bus_sub *handle)
{
	struct fsub *sub = (struct fsub *)(void *)handle;

	unroute(sub);
	*sub->prev = sub->next;
	if (sub->next)
		sub->next->prev = sub->prev;
	sub->closed = true;
	sub_unref(sub);
}

void fake_subs_done(struct node *node)
{
	while (node->subs)
		fake_unsubscribe((struct bus_sub *)(void *)node->subs);
}

/* --- routing -----------------------------------------------------------------------------------
 */

static void at_deliver(struct hop *hop)
{
	struct fsub *sub = hop->ptr;
	struct bus_msg msg;

	if (sub->closed)
		return;
	fmsg_view(hop->msg, &msg);
	msg.reply = hop->reply;
	msg.time_us = 0;
	sub->fn(sub->arg, &msg);
}

static void drop_deliver(struct hop *hop)
{
	sub_unref(hop->ptr);
}

static void deliver_once(struct fsub *sub, struct fmsg *msg, const char *reply)
{
	struct hop *hop = hop_new(sub->node, at_deliver);

	hop->ptr = sub;
	hop->drop = drop_deliver;
	sub->refs++;
	hop->msg = fmsg_ref(msg);
	hop->reply = reply ? xstrdup(reply) : NULL;
	hop_in(hop, msg->subject);
}

static void deliver(struct fsub *sub, struct fmsg *msg, const char *reply)
{
	struct fake_broker *b = sub->node->broker;

	if (fake_chance(b, b->faults.lose_core))
		return;
	deliver_once(sub, msg, reply);
	if (fake_chance(b, b->faults.duplicate_core))
		deliver_once(sub, msg, reply);
}

static size_t collect(struct fake_broker *b, const struct node *from, const struct route *route,
		      const char *subject, size_t n)
{
	for (struct fsub *sub = route ? route->head : NULL; sub; sub = sub->route_next) {
		if (!node_reachable(sub->node) || sub->node == from ||
		    (!route->subject && !fake_matches(sub->subject, subject)))
			continue;
		if (n == b->match_cap) {
			b->match_cap = b->match_cap ? b->match_cap * 2 : 16;
			b->match = xrealloc(b->match, b->match_cap * sizeof(*b->match));
		}
		b->match[n++] = sub;
	}
	return n;
}

size_t fake_route(struct fake_broker *b, const struct node *from, struct fmsg *msg,
		  const char *reply)
{
	size_t n = collect(b, from, fmap_get(&b->routes, msg->subject), msg->subject, 0);

	n = collect(b, from, &b->wild, msg->subject, n);
	for (size_t i = 0; i < n; i++) {
		struct fsub *sub = b->match[i];
		size_t members = 1;

		if (!sub)
			continue;
		/* One of the group, each with the same chance. */
		for (size_t j = i + 1; sub->queue && j < n; j++) {
			struct fsub *other = b->match[j];

			if (!other || !other->queue ||
			    strcmp(other->queue, b->match[i]->queue) != 0)
				continue;
			if (rng_below(&b->rng, ++members) == 0)
				sub = other;
			b->match[j] = NULL;
		}
		deliver(sub, msg, reply);
	}
	return n;
}

/* A reply subject names the node and its pending request: "_INBOX.<node>.<id>". */
static bool route_reply(struct fake_broker *b, struct fmsg *msg)
{
	unsigned number;
	unsigned long long id;

	if (sscanf(msg->subject, "_INBOX.%u.%llu", &number, &id) != 2)
		return false;
	for (struct node *node = b->nodes; node; node = node->next)
		if (node->number == number)
			fake_answer(node, id, BUS_OK, msg);
	return true;
}

static void at_publish(struct hop *hop)
{
	struct fake_broker *b = hop->node->broker;

	if (!strncmp(hop->msg->subject, "_INBOX.", 7) && route_reply(b, hop->msg))
		return;
	fake_stream_take(b, hop->msg);
	if (fake_route(b, hop->node->no_echo ? hop->node : NULL, hop->msg, hop->reply) == 0 &&
	    hop->id)
		fake_answer(hop->node, hop->id, BUS_UNAVAILABLE, NULL);
}

int fake_publish(struct bus *bus, const char *subject, const void *data, size_t len, int within_ms,
		 struct error *err)
{
	struct hop *hop;

	(void)within_ms; /* a write costs nothing here */
	if (!fake_subject_ok(subject, false))
		return err_set(err, ERR_REJECTED, "bad subject");
	hop = hop_new(node_of(bus), at_publish);
	hop->msg = fmsg_new(subject, data, len);
	hop_out(hop);
	return 0;
}

void fake_request(struct bus *bus, const char *subject, const void *data, size_t len,
		  int timeout_ms, bus_answer_fn *fn, void *arg)
{
	struct node *node = node_of(bus);
	uint64_t id = pend_add(node, PEND_ANSWER, (void (*)(void))fn, arg, timeout_ms);
	char reply[64];
	struct hop *hop;

	if (!fake_subject_ok(subject, false)) {
		pend_fail(node, id, BUS_REJECTED);
		return;
	}
	snprintf(reply, sizeof(reply), "_INBOX.%u.%llu", node->number, (unsigned long long)id);
	hop = hop_new(node, at_publish);
	hop->msg = fmsg_new(subject, data, len);
	hop->reply = xstrdup(reply);
	hop->id = id;
	hop_out(hop);
}
