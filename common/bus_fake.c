#include "common/bus_fake.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/bus_fake_int.h"

bool fake_chance(struct fake_broker *b, double p)
{
	return p > 0 && rng_unit(&b->rng) < p;
}

/* --- messages ----------------------------------------------------------------------------------
 */

struct fmsg *fmsg_new(const char *subject, const void *data, size_t len)
{
	size_t n = strlen(subject) + 1;
	struct fmsg *m = xmalloc(sizeof(*m) + n + len + 1);

	*m = (struct fmsg){
	    .refs = 1, .stream = "", .len = len, .subject = m->buf, .data = m->buf + n};
	memcpy(m->buf, subject, n);
	if (len)
		memcpy(m->buf + n, data, len);
	m->buf[n + len] = '\0';
	return m;
}

struct fmsg *fmsg_ref(struct fmsg *m)
{
	m->refs++;
	return m;
}

void fmsg_unref(struct fmsg *m)
{
	if (m && --m->refs == 0)
		free(m);
}

void fmsg_view(const struct fmsg *m, struct bus_msg *out)
{
	*out = (struct bus_msg){
	    .subject = m->subject,
	    .data = m->data,
	    .len = m->len,
	    .stream = m->stream,
	    .seq = m->seq,
	    .prev = m->prev,
	    .time_us = m->time_us,
	};
}

/* --- lanes -------------------------------------------------------------------------------------
 */

struct node *node_ref(struct node *node)
{
	node->refs++;
	return node;
}

void node_unref(struct node *node)
{
	if (--node->refs > 0)
		return;
	free(node->name);
	free(node->pends);
	free(node);
}

struct hop *hop_new(struct node *node, void (*fn)(struct hop *hop))
{
	struct hop *hop = xcalloc(1, sizeof(*hop));

	hop->fn = fn;
	hop->node = node_ref(node);
	return hop;
}

static void hop_free(struct hop *hop)
{
	if (hop->drop)
		hop->drop(hop);
	fmsg_unref(hop->msg);
	free(hop->reply);
	node_unref(hop->node);
	free(hop);
}

static void lane_run(struct timer *timer, void *arg)
{
	struct lane *lane = arg;
	struct node *keep = NULL;

	while (lane->head && lane->head->at_us <= loop_now_us(lane->loop)) {
		struct hop *hop = lane->head;

		lane->head = hop->next;
		if (!lane->head)
			lane->tail = &lane->head;
		if (!keep) /* the lane is in the node */
			keep = node_ref(hop->node);
		hop->fn(hop);
		hop_free(hop);
	}
	if (lane->head)
		timer_set(lane->loop, timer, lane->head->at_us - loop_now_us(lane->loop));
	if (keep)
		node_unref(keep);
}

static void lane_init(struct lane *lane, struct loop *loop)
{
	lane->loop = loop;
	lane->tail = &lane->head;
	timer_init(&lane->timer, lane_run, lane);
}

static void lane_push(struct lane *lane, struct hop *hop)
{
	struct fake_broker *b = hop->node->broker;
	int64_t low = b->faults.delay_min_us, high = b->faults.delay_max_us;
	int64_t delay =
	    low + (high > low ? (int64_t)rng_below(&b->rng, (uint64_t)(high - low + 1)) : 0);

	hop->at_us = loop_now_us(b->loop) + delay;
	if (hop->at_us < lane->last_us)
		hop->at_us = lane->last_us;
	lane->last_us = hop->at_us;
	*lane->tail = hop;
	lane->tail = &hop->next;
	if (!timer_armed(&lane->timer))
		timer_set(lane->loop, &lane->timer, hop->at_us - loop_now_us(b->loop));
}

/* Drops all but the first `keep` hops. */
static void lane_cut(struct lane *lane, size_t keep)
{
	struct hop **p = &lane->head, *hop;

	while (*p && keep-- > 0)
		p = &(*p)->next;
	hop = *p;
	*p = NULL;
	lane->tail = p;
	while (hop) {
		struct hop *next = hop->next;

		hop_free(hop);
		hop = next;
	}
	if (!lane->head)
		timer_cancel(lane->loop, &lane->timer);
}

void hop_out(struct hop *hop)
{
	if (node_reachable(hop->node))
		lane_push(&hop->node->out, hop);
	else
		hop_free(hop);
}

void hop_in(struct hop *hop, const char *lane_key)
{
	if (node_reachable(hop->node))
		lane_push(&hop->node->in[XXH3_64bits(lane_key, strlen(lane_key)) % IN_LANES], hop);
	else
		hop_free(hop);
}

/* A connection breaks: of what was on its way out, the broker still takes some of the first. */
static void node_break(struct node *node)
{
	struct fake_broker *b = node->broker;
	size_t n = 0;

	for (const struct hop *hop = node->out.head; hop; hop = hop->next)
		n++;
	lane_cut(&node->out, b->up && n ? rng_below(&b->rng, n + 1) : 0);
	for (int i = 0; i < IN_LANES; i++)
		lane_cut(&node->in[i], 0);
	fake_consumers_lost(node);
}

static void on_state_timer(struct timer *timer, void *arg)
{
	struct node *node = arg;
	bool now = node_reachable(node);

	(void)timer;
	if (now == node->connected)
		return;
	node->connected = now;
	if (now) {
		fake_consumers_connected(node);
		fake_watches_connected(node);
	} else {
		pend_fail_everything(node, BUS_UNAVAILABLE);
	}
	if (node->on_state)
		node->on_state(node->on_state_arg, now);
}

/* --- the broker --------------------------------------------------------------------------------
 */

struct fake_broker *fake_broker_new(struct loop *loop, uint64_t seed)
{
	struct fake_broker *b = xcalloc(1, sizeof(*b));

	b->loop = loop;
	b->up = true;
	b->wild.tail = &b->wild.head;
	b->streams_tail = &b->streams;
	rng_seed(&b->rng, seed);
	return b;
}

void fake_broker_free(struct fake_broker *b)
{
	if (!b)
		return;
	while (b->nodes) { /* crashed ones whose last words are still on their way */
		struct node *node = b->nodes;

		lane_cut(&node->out, 0);
		*node->prev = node->next;
		if (node->next)
			node->next->prev = node->prev;
		node->broker = NULL;
		node_unref(node);
	}
	fake_streams_free(b);
	for (size_t i = 0; i < b->routes.cap; i++) {
		struct route *route = b->routes.slots[i].value;

		if (route)
			free(route->subject);
		free(route);
	}
	fmap_done(&b->routes);
	free(b->match);
	free(b);
}

void fake_broker_faults(struct fake_broker *b, const struct fake_faults *faults)
{
	b->faults = *faults;
}

void fake_broker_set_up(struct fake_broker *b, bool up)
{
	if (b->up == up)
		return;
	b->up = up;
	for (struct node *node = b->nodes; node; node = node->next) {
		if (!up)
			node_break(node);
		if (!node->dead && !timer_armed(&node->state_timer))
			timer_set(b->loop, &node->state_timer, 0);
	}
}

void bus_fake_partition(struct bus *bus, bool cut)
{
	struct node *node = node_of(bus);

	if (node->cut == cut)
		return;
	if (cut)
		node_break(node);
	node->cut = cut;
	if (!timer_armed(&node->state_timer))
		timer_set(node->broker->loop, &node->state_timer, 0);
}

void bus_fake_no_echo(struct bus *bus)
{
	node_of(bus)->no_echo = true;
}

/* --- a node's life -----------------------------------------------------------------------------
 */

struct bus *bus_fake_open(struct fake_broker *b, const char *name)
{
	struct node *node = xcalloc(1, sizeof(*node));

	node->base.ops = &fake_ops;
	node->broker = b;
	node->name = xstrdup(name);
	node->number = ++b->node_count;
	node->refs = 2; /* the owner's and the broker's list's */
	node->connected = b->up;
	node->pends_free = UINT32_MAX;
	lane_init(&node->out, b->loop);
	for (int i = 0; i < IN_LANES; i++)
		lane_init(&node->in[i], b->loop);
	timer_init(&node->state_timer, on_state_timer, node);
	node->next = b->nodes;
	node->prev = &b->nodes;
	if (node->next)
		node->next->prev = &node->next;
	b->nodes = node;
	return (struct bus *)(void *)node;
}

static void node_gone(struct hop *hop)
{
	struct node *node = hop->node;

	*node->prev = node->next;
	if (node->next)
		node->next->prev = node->prev;
	node_unref(node);
}

static void fake_free(struct bus *bus)
{
	struct node *node = node_of(bus);
	struct fake_broker *b = node->broker;
	struct hop *last;

	node_break(node);
	fake_subs_done(node);
	fake_consumers_done(node);
	fake_watches_done(node);
	pend_forget_all(node);
	timer_cancel(b->loop, &node->state_timer);
	node->dead = true;
	node->connected = false;
	last = hop_new(node, node_gone); /* behind what the broker still takes */
	lane_push(&node->out, last);
	node_unref(node);
}

static bool fake_connected(const struct bus *bus)
{
	const struct node *node = (const struct node *)(const void *)bus;

	return node->connected && node_reachable(node);
}

static void fake_on_state(struct bus *bus, void (*fn)(void *arg, bool connected), void *arg)
{
	struct node *node = node_of(bus);

	node->on_state = fn;
	node->on_state_arg = arg;
}

/* Nobody can wait on a simulated loop: what is on its way out arrives now. */
static int fake_flush(struct bus *bus, int timeout_ms, struct error *err)
{
	struct node *node = node_of(bus);

	(void)timeout_ms;
	if (!fake_connected(bus))
		return err_set(err, ERR_TRANSIENT, "not connected");
	while (node->out.head) {
		struct hop *hop = node->out.head;

		node->out.head = hop->next;
		if (!node->out.head)
			node->out.tail = &node->out.head;
		hop->fn(hop);
		hop_free(hop);
	}
	timer_cancel(node->broker->loop, &node->out.timer);
	return 0;
}

static const char *fake_error_text(const struct bus *bus)
{
	return ((const struct node *)(const void *)bus)->error_text;
}

const struct bus_ops fake_ops = {
    .free = fake_free,
    .connected = fake_connected,
    .on_state = fake_on_state,
    .flush = fake_flush,
    .forget = fake_forget,
    .error_text = fake_error_text,
    .publish = fake_publish,
    .request = fake_request,
    .subscribe = fake_subscribe,
    .unsubscribe = fake_unsubscribe,
    .drain = fake_drain,
    .stream_ensure = fake_stream_ensure,
    .store = fake_store,
    .get = fake_get,
    .get_last = fake_get_last,
    .get_next = fake_get_next,
    .stream_info = fake_stream_info,
    .stream_trim = fake_stream_trim,
    .consumer_open = fake_consumer_open,
    .consumer_want = fake_consumer_want,
    .consumer_close = fake_consumer_close,
    .consumer_remove = fake_consumer_remove,
    .claim_ack = fake_claim_ack,
    .claim_nak = fake_claim_nak,
    .claim_progress = fake_claim_progress,
    .claim_free = fake_claim_free,
    .bucket_ensure = fake_bucket_ensure,
    .put = fake_put,
    .del = fake_del,
    .watch = fake_watch,
    .watch_free = fake_watch_free,
};
