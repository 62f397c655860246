/* Durable pull consumers of the fake, and their claims. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake_int.h"

#define MAX_ACK_PENDING 1000 /* nats-server's default */
#define OVER_CREDIT_MS  100
#define RETRY_US        500000

struct unacked {
	struct fdurable *of;
	uint64_t seq;
	unsigned delivered;
	bool due; /* in the list of what is to be delivered again */
	struct unacked *next_due;
	struct timer timer;
	char key[24]; /* seq as text: its name in the map */
};

struct fdurable {
	struct fdurable *next;
	struct fstream *stream;
	char *name, *filter; /* name "": private, or removed */
	bool private;
	int64_t ack_wait_us;
	size_t max_ack_pending;
	uint64_t cursor; /* next sequence to be looked at */
	struct fmap unacked;
	struct unacked *due, **due_tail;
	struct fconsumer *waiting, **waiting_tail; /* everybody attached, in turn */
};

struct fconsumer {
	struct bus_base base;
	struct node *node;
	struct fconsumer *next, **prev; /* of the node */
	unsigned refs;                  /* the owner's, one a hop */
	bool closed;
	char *stream, *durable, *filter; /* durable NULL: private */
	int ack_wait_ms, max_ack_pending;
	bus_deliver_fn *fn;
	void *arg;
	int64_t life;    /* private: each ends with a connection or a delivery that is missed */
	uint64_t expect; /* private: what may be told next is not below it */
	unsigned credit;
	uint64_t got; /* deliveries that arrived */
	/* the broker's side */
	struct fdurable *at;   /* while attached */
	struct fdurable *from; /* where it was attached last */
	struct fconsumer *next_waiting;
	uint64_t sent, limit; /* may be sent while sent < limit */
	struct timer retry;   /* the stream is not there yet */
};

struct fclaim {
	struct bus_base base;
	struct node *node;
	struct fdurable *of;
	uint64_t seq;
};

static void consumer_unref(struct fconsumer *c)
{
	if (--c->refs > 0)
		return;
	free(c->stream);
	free(c->durable);
	free(c->filter);
	free(c);
}

static void drop_consumer(struct hop *hop)
{
	consumer_unref(hop->ptr);
}

/* --- the broker's side -------------------------------------------------------------------------
 */

static void due_add(struct unacked *u)
{
	if (u->due)
		return;
	u->due = true;
	u->next_due = NULL;
	*u->of->due_tail = u;
	u->of->due_tail = &u->next_due;
}

static void due_remove(struct unacked *u)
{
	struct fdurable *d = u->of;

	if (!u->due)
		return;
	for (struct unacked **p = &d->due; *p; p = &(*p)->next_due) {
		if (*p != u)
			continue;
		*p = u->next_due;
		if (!*p)
			d->due_tail = p;
		break;
	}
	u->due = false;
}

static void unacked_free(struct unacked *u)
{
	timer_cancel(u->of->stream->broker->loop, &u->timer);
	due_remove(u);
	fmap_del(&u->of->unacked, u->key);
	free(u);
}

static void pump(struct fdurable *d);

static void on_ack_wait(struct timer *timer, void *arg)
{
	struct unacked *u = arg;

	(void)timer;
	due_add(u);
	pump(u->of);
}

static struct unacked *unacked_new(struct fdurable *d, uint64_t seq)
{
	struct unacked *u = xcalloc(1, sizeof(*u));

	u->of = d;
	u->seq = seq;
	snprintf(u->key, sizeof(u->key), "%llu", (unsigned long long)seq);
	timer_init(&u->timer, on_ack_wait, u);
	fmap_add(&d->unacked, u->key, u);
	return u;
}

static struct stored *next_new(struct fdurable *d)
{
	struct stored *m = fake_stream_next(d->stream, d->filter, d->cursor);

	d->cursor = (m ? m->msg->seq : d->stream->last_seq) + 1;
	return m;
}

/* The next one to be delivered: first what is due again, then what is new. NULL: nothing may be
 * now. */
static struct unacked *next_message(struct fdurable *d, struct stored **m)
{
	while (d->due) {
		struct unacked *u = d->due;

		*m = fake_stream_at(d->stream, u->seq);
		if (*m) {
			due_remove(u);
			return u;
		}
		unacked_free(u); /* trimmed meanwhile */
	}
	if (d->unacked.n >= d->max_ack_pending)
		return NULL;
	*m = next_new(d);
	return *m ? unacked_new(d, (*m)->msg->seq) : NULL;
}

/* Who asked and waits longest; goes to the end of the queue. */
static struct fconsumer *next_waiting(struct fdurable *d)
{
	for (struct fconsumer **p = &d->waiting; *p; p = &(*p)->next_waiting) {
		struct fconsumer *c = *p;

		if (c->sent >= c->limit || !node_reachable(c->node))
			continue;
		if (c->next_waiting) {
			*p = c->next_waiting;
			c->next_waiting = NULL;
			*d->waiting_tail = c;
			d->waiting_tail = &c->next_waiting;
		}
		return c;
	}
	return NULL;
}

static void at_delivery(struct hop *hop);

static void deliver(struct fconsumer *c, const struct stored *m, int64_t number)
{
	struct hop *hop = hop_new(c->node, at_delivery);

	c->sent++;
	c->refs++;
	hop->ptr = c;
	hop->drop = drop_consumer;
	hop->msg = fmsg_ref(m->msg);
	hop->number = number;
	hop->ack.seq = c->sent;
	/* A private one's come in their order. */
	hop_in(hop, c->durable ? m->msg->subject : c->stream);
}

/* To a private consumer, which counts what it gets. */
static bool pump_private(struct fdurable *d, struct fconsumer *c)
{
	struct fake_broker *b = d->stream->broker;
	const struct stored *m = next_new(d);

	if (m && fake_chance(b, b->faults.redeliver))
		c->sent++;
	else if (m)
		deliver(c, m, c->life);
	return m;
}

static void pump(struct fdurable *d)
{
	struct fake_broker *b = d->stream->broker;
	struct fconsumer *c;

	if (!b->up)
		return;
	fake_stream_age(d->stream);
	while ((c = next_waiting(d))) {
		struct stored *m;
		struct unacked *u;

		if (d->private && pump_private(d, c))
			continue;
		u = d->private ? NULL : next_message(d, &m);
		if (!u)
			return;
		u->delivered++;
		timer_set(b->loop, &u->timer, d->ack_wait_us);
		deliver(c, m, u->delivered);
		if (fake_chance(b, b->faults.redeliver))
			due_add(u);
	}
}

void fake_durables_stored(struct fstream *s, const struct stored *m)
{
	const char *subject = m->of->subject;

	for (struct fdurable *d = s->durables; d; d = d->next)
		if (!d->filter || fake_matches(d->filter, subject))
			pump(d);
}

static struct fdurable *durable_find(const struct fstream *s, const char *name)
{
	struct fdurable *d = s->durables;

	while (d && strcmp(d->name, name) != 0)
		d = d->next;
	return d;
}

static struct fdurable *durable_make(struct fstream *s, const struct fconsumer *c)
{
	struct fdurable *d = c->durable ? durable_find(s, c->durable) : NULL;

	if (!d) {
		d = xcalloc(1, sizeof(*d));
		d->stream = s;
		d->private = !c->durable;
		d->name = xstrdup(d->private ? "" : c->durable);
		d->filter = c->filter ? xstrdup(c->filter) : NULL;
		d->cursor = c->expect;
		/* As nats-server does. */
		if (d->cursor > s->last_seq + 1)
			d->cursor = s->last_seq + 1;
		d->due_tail = &d->due;
		d->waiting_tail = &d->waiting;
		*s->durables_tail = d;
		s->durables_tail = &d->next;
	}
	d->ack_wait_us = (int64_t)c->ack_wait_ms * 1000;
	d->max_ack_pending = c->max_ack_pending > 0 ? (size_t)c->max_ack_pending : MAX_ACK_PENDING;
	return d;
}

static void detach(struct fconsumer *c)
{
	struct fdurable *d = c->at;

	if (!d)
		return;
	for (struct fconsumer **p = &d->waiting; *p; p = &(*p)->next_waiting) {
		if (*p != c)
			continue;
		*p = c->next_waiting;
		if (!*p)
			d->waiting_tail = p;
		break;
	}
	c->next_waiting = NULL;
	c->at = NULL;
}

/* Forgets what was delivered and is not acknowledged. */
static void unacked_done(struct fdurable *d)
{
	for (size_t i = 0; i < d->unacked.cap; i++) {
		struct unacked *u = d->unacked.slots[i].value;

		if (u)
			timer_cancel(d->stream->broker->loop, &u->timer);
		free(u);
	}
	fmap_done(&d->unacked);
	d->due = NULL;
	d->due_tail = &d->due;
}

static void durable_free(struct fdurable *d)
{
	struct fstream *s = d->stream;

	for (struct fdurable **p = &s->durables; *p; p = &(*p)->next) {
		if (*p != d)
			continue;
		*p = d->next;
		if (!*p)
			s->durables_tail = p;
		break;
	}
	unacked_done(d);
	free(d->name);
	free(d->filter);
	free(d);
}

void fake_durables_free(struct fstream *s)
{
	while (s->durables) {
		while (s->durables->waiting)
			detach(s->durables->waiting);
		durable_free(s->durables);
	}
}

/* The broker forgets it, and a private consumer's side of it altogether. */
static void leave(struct fconsumer *c)
{
	struct fdurable *d = c->at;

	detach(c);
	if (d && d->private)
		durable_free(d);
	c->life++;
}

static void on_retry(struct timer *timer, void *arg);

/* The node's credit as of `got` deliveries: what is on its way since then counts against it. */
static void at_want(struct hop *hop)
{
	struct fconsumer *c = hop->ptr;
	struct fake_broker *b = hop->node->broker;
	struct fstream *s;

	if (c->closed || !node_reachable(c->node))
		return;
	if (!c->at) {
		s = fake_stream_find(b, c->stream);
		if (!s) {
			if (!timer_armed(&c->retry))
				timer_set(b->loop, &c->retry, RETRY_US);
			return;
		}
		c->at = c->from = durable_make(s, c);
		*c->at->waiting_tail = c;
		c->at->waiting_tail = &c->next_waiting;
	}
	c->limit = hop->id + (uint64_t)hop->number;
	pump(c->at);
}

static void send_want(struct fconsumer *c)
{
	struct hop *hop = hop_new(c->node, at_want);

	hop->ptr = c;
	hop->drop = drop_consumer;
	c->refs++;
	hop->number = c->credit;
	hop->id = c->got;
	hop_out(hop);
}

static void on_retry(struct timer *timer, void *arg)
{
	(void)timer;
	send_want(arg);
}

/* --- claims ------------------------------------------------------------------------------------
 */

static struct fclaim *claim_of(struct bus_claim *claim)
{
	return (struct fclaim *)(void *)claim;
}

static struct unacked *claimed(const struct hop *hop)
{
	char key[24];

	snprintf(key, sizeof(key), "%llu", (unsigned long long)hop->id);
	return fmap_get(&((struct fdurable *)hop->ptr)->unacked, key);
}

static void at_claim_ack(struct hop *hop)
{
	struct fdurable *d = hop->ptr;
	struct unacked *u = claimed(hop);

	if (!u)
		return;
	unacked_free(u);
	if (d->stream->work_queue)
		fake_stream_remove(d->stream, hop->id);
	pump(d);
}

static void at_claim_nak(struct hop *hop)
{
	struct unacked *u = claimed(hop);
	struct fdurable *d = hop->ptr;

	if (!u)
		return;
	if (hop->number > 0) {
		timer_set(d->stream->broker->loop, &u->timer, hop->number);
	} else {
		timer_cancel(d->stream->broker->loop, &u->timer);
		due_add(u);
		pump(d);
	}
}

static void at_claim_progress(struct hop *hop)
{
	struct unacked *u = claimed(hop);
	struct fdurable *d = hop->ptr;

	if (u && timer_armed(&u->timer))
		timer_set(d->stream->broker->loop, &u->timer, d->ack_wait_us);
}

static void say(struct node *node, struct fdurable *of, uint64_t seq, void (*fn)(struct hop *hop),
		int64_t number)
{
	struct fake_broker *b = node->broker;
	struct hop *hop;

	if (!b || node->dead || fake_chance(b, b->faults.lose_core))
		return;
	hop = hop_new(node, fn);
	hop->ptr = of;
	hop->id = seq;
	hop->number = number;
	hop_out(hop);
}

void fake_claim_free(struct bus_claim *claim)
{
	node_unref(claim_of(claim)->node);
	free(claim);
}

void fake_claim_ack(struct bus_claim *claim)
{
	struct fclaim *c = claim_of(claim);

	say(c->node, c->of, c->seq, at_claim_ack, 0);
	fake_claim_free(claim);
}

void fake_claim_nak(struct bus_claim *claim, int delay_ms)
{
	struct fclaim *c = claim_of(claim);

	say(c->node, c->of, c->seq, at_claim_nak, (int64_t)delay_ms * 1000);
	fake_claim_free(claim);
}

void fake_claim_progress(struct bus_claim *claim)
{
	struct fclaim *c = claim_of(claim);

	say(c->node, c->of, c->seq, at_claim_progress, 0);
}

/* --- the node's side ---------------------------------------------------------------------------
 */

static void take_private(struct fconsumer *c, const struct hop *hop)
{
	struct bus_msg msg;

	if (c->closed || hop->number != c->life)
		return;
	if (!c->credit || hop->ack.seq != c->got + 1) {
		leave(c);
		c->sent = c->got;
		send_want(c);
		return;
	}
	c->got++;
	if (hop->msg->seq < c->expect) { /* the stream ended before where it was to begin */
		send_want(c);
		return;
	}
	c->credit--;
	c->expect = hop->msg->seq + 1;
	fmsg_view(hop->msg, &msg);
	msg.prev = 0;
	msg.delivered = 1;
	c->fn(c->arg, &msg, NULL);
}

static void at_delivery(struct hop *hop)
{
	struct fconsumer *c = hop->ptr;
	struct fclaim *claim;
	struct bus_msg msg;

	if (!c->durable) {
		take_private(c, hop);
		return;
	}
	c->got++;
	if (c->closed || c->credit == 0) {
		say(c->node, c->from, hop->msg->seq, at_claim_nak, (int64_t)OVER_CREDIT_MS * 1000);
		return;
	}
	c->credit--;
	claim = xcalloc(1, sizeof(*claim));
	claim->base.ops = &fake_ops;
	claim->node = node_ref(c->node);
	claim->of = c->from;
	claim->seq = hop->msg->seq;
	fmsg_view(hop->msg, &msg);
	msg.prev = 0;
	msg.delivered = (unsigned)hop->number;
	c->fn(c->arg, &msg, (struct bus_claim *)(void *)claim);
}

static bool name_ok(const char *name)
{
	return name && *name && strlen(name) < 64 && !strpbrk(name, " .*>/\\\t\r\n");
}

struct bus_consumer *fake_consumer_open(struct bus *bus, const struct bus_consumer_conf *conf,
					bus_deliver_fn *fn, void *arg, struct error *err)
{
	struct node *node = node_of(bus);
	struct fconsumer *c;

	if (!name_ok(conf->stream) || (conf->durable && !name_ok(conf->durable)) ||
	    (conf->filter && !fake_subject_ok(conf->filter, true))) {
		err_set(err, ERR_REJECTED, "bad consumer");
		return NULL;
	}
	c = xcalloc(1, sizeof(*c));
	c->base.ops = &fake_ops;
	c->node = node;
	c->refs = 1;
	c->stream = xstrdup(conf->stream);
	c->durable = conf->durable ? xstrdup(conf->durable) : NULL;
	c->expect = !conf->durable && conf->from ? conf->from : 1;
	c->filter = conf->filter ? xstrdup(conf->filter) : NULL;
	c->ack_wait_ms = conf->ack_wait_ms > 0 ? conf->ack_wait_ms : 30000;
	c->max_ack_pending = conf->max_ack_pending;
	c->fn = fn;
	c->arg = arg;
	timer_init(&c->retry, on_retry, c);
	c->next = node->consumers;
	c->prev = &node->consumers;
	if (c->next)
		c->next->prev = &c->next;
	node->consumers = c;
	send_want(c);
	return (struct bus_consumer *)(void *)c;
}

void fake_consumer_want(struct bus_consumer *consumer, unsigned credit)
{
	struct fconsumer *c = (struct fconsumer *)(void *)consumer;

	c->credit = credit;
	send_want(c);
}

void fake_consumer_close(struct bus_consumer *consumer)
{
	struct fconsumer *c = (struct fconsumer *)(void *)consumer;

	c->closed = true;
	c->credit = 0;
	leave(c); /* what is on its way is given back by at_delivery */
	timer_cancel(c->node->broker->loop, &c->retry);
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	consumer_unref(c);
}

static void at_remove(struct hop *hop)
{
	struct fake_broker *b = hop->node->broker;
	struct fstream *s = fake_stream_find(b, hop->reply);
	struct fdurable *d = s ? durable_find(s, hop->msg->subject) : NULL;

	/* What is said of its claims may still be on its way, so it only loses its name. */
	if (d) {
		d->name[0] = '\0';
		unacked_done(d);
	}
	while (d && d->waiting) {
		struct fconsumer *c = d->waiting;

		detach(c);
		timer_set(b->loop, &c->retry, RETRY_US);
	}
	fake_answer(hop->node, hop->id, d ? BUS_OK : BUS_NOT_FOUND, NULL);
}

void fake_consumer_remove(struct bus *bus, const char *stream, const char *durable, bus_done_fn *fn,
			  void *arg)
{
	struct node *node = node_of(bus);
	uint64_t id = pend_add(node, PEND_DONE, (void (*)(void))fn, arg, API_TIMEOUT_MS);
	struct hop *hop;

	if (!name_ok(stream) || !name_ok(durable)) {
		pend_fail(node, id, BUS_REJECTED);
		return;
	}
	hop = hop_new(node, at_remove);
	hop->id = id;
	hop->reply = xstrdup(stream);
	hop->msg = fmsg_new(durable, NULL, 0);
	hop_out(hop);
}

void fake_consumers_connected(struct node *node)
{
	for (struct fconsumer *c = node->consumers; c; c = c->next)
		send_want(c);
}

void fake_consumers_lost(struct node *node)
{
	for (struct fconsumer *c = node->consumers; c; c = c->next) {
		leave(c);
		timer_cancel(node->broker->loop, &c->retry);
		c->sent = c->got; /* the rest is lost with the connection, and comes again after
				     ack_wait */
		c->limit = 0;
	}
}

void fake_consumers_done(struct node *node)
{
	while (node->consumers)
		fake_consumer_close((struct bus_consumer *)(void *)node->consumers);
}
