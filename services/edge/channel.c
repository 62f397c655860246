#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "services/edge/frames.h"
#include "services/edge/hub_int.h"

#define SWEEP_WIDTH    64 /* checks under way at one time after a reconnect */
#define SWEEP_RETRY_US 1000000
/* An event for so many sockets of reactors that sleep is written by who brought it: in about as
 * much time as two threads need to be woken. */
#define BORROWED_SOCKETS 16

/* --- table -------------------------------------------------------------------------------- */

struct name {
	const char *tenant, *channel;
};

static bool same_name(const void *item, const void *key)
{
	const struct channel *c = item;
	const struct name *name = key;

	return !strcmp(c->channel, name->channel) && !strcmp(c->tenant, name->tenant);
}

static struct channel *find(struct hub *hub, const char *tenant, const char *channel)
{
	const struct name name = {tenant, channel};

	return table_find(&hub->table, table_hash2(tenant, channel), same_name, &name);
}

/* --- live --------------------------------------------------------------------------------- */

static struct frame *new_frame(struct hub *hub, enum frame_kind kind, uint64_t offset,
			       uint64_t prev)
{
	struct frame *f = frame_new(kind, WS_TEXT, hub->text.b.data, hub->text.b.len);

	f->offset = offset;
	f->prev = prev;
	return f;
}

struct frame *channel_frame(struct hub *hub, const struct event_view *e, uint64_t hash,
			    uint64_t offset, uint64_t prev)
{
	struct frame *f;

	strbuf_reset(&hub->text.b);
	frames_event(&hub->text, e, offset != 0, offset, prev);
	f = new_frame(hub, offset ? FRAME_DURABLE : FRAME_EPHEMERAL, offset, prev);
	f->topic = (uint32_t)hash;
	return f;
}

struct frame *channel_delta(struct hub *hub, const struct delta_view *d, const char *channel,
			    uint64_t seq)
{
	if (!wire_delta_fits(d, channel))
		return NULL;
	strbuf_reset(&hub->text.b);
	frames_delta(&hub->text, d);
	return new_frame(hub, FRAME_DELTA, 0, seq);
}

/* NULL: not a message of this channel. A hole that it leaves is repaired from the log. */
static struct frame *encode(const struct channel *c, const struct bus_msg *msg)
{
	struct hub *hub = c->hub;
	struct event_view event;
	struct delta_view delta;

	if (!strcmp(msg->stream, STREAM_DELTAS)) {
		if (!wire_delta(msg->data, msg->len, &delta))
			return NULL;
		return channel_delta(hub, &delta, c->channel, msg->seq);
	}
	if (!wire_event(msg->data, msg->len, &event) ||
	    !wire_event_fits(&event, c->tenant, c->channel))
		return NULL;
	return channel_frame(hub, &event, c->hash, *msg->stream ? msg->seq : 0, msg->prev);
}

static struct delivery *outbox_add(struct hub *hub, unsigned index)
{
	struct batch *b = hub->outbox[index];

	if (!b) {
		b = xmalloc(sizeof(*b) + 16 * sizeof(b->items[0]));
		*b = (struct batch){.reactor = hub->edge->reactors[index], .cap = 16};
	} else if (b->n == b->cap) {
		b = xrealloc(b, sizeof(*b) + 2 * b->cap * sizeof(b->items[0]));
		b->cap *= 2;
	}
	hub->outbox[index] = b;
	return &b->items[b->n++];
}

/* The reactor is behind by as much as it may be. An event of the log is read from there later on.
 */
static void drop(struct channel *c, struct slot *slot, const struct frame *f)
{
	metric_add(c->hub->edge->stats.dropped[DROP_MAILBOX], 1);
	if (!f->offset)
		return;
	slot->lost = f->offset;
	if (c->behind)
		return;
	c->behind = true;
	c->next_behind = c->hub->behind;
	c->hub->behind = c;
}

static int64_t mailbox_depth(struct hub *hub, unsigned i)
{
	const struct batch *b = hub->outbox[i];

	return atomic_load_explicit(&hub->edge->reactors[i]->mailbox, memory_order_relaxed) +
	       (b ? (int64_t)b->n : 0);
}

/* Takes the reference over. */
static void deliver(struct channel *c, struct frame *frame)
{
	struct hub *hub = c->hub;

	for (unsigned i = 0; i < hub->edge->n_reactors; i++) {
		if (!c->slots[i].topic)
			continue;
		if (mailbox_depth(hub, i) >= hub->edge->conf->mailbox) {
			drop(c, &c->slots[i], frame);
			continue;
		}
		frame_ref(frame, 1);
		*outbox_add(hub, i) = (struct delivery){c->slots[i].topic, frame};
	}
	frame_unref(frame);
}

static void on_live(void *arg, const struct bus_msg *msg)
{
	struct channel *c = arg;
	struct frame *frame = encode(c, msg);

	metric_add(c->hub->edge->stats.events_in, 1);
	if (frame)
		deliver(c, frame);
	else
		metric_add(c->hub->edge->stats.malformed, 1);
}

void channel_direct(struct hub *hub, const char *tenant, const char *channel,
		    const struct event_view *e)
{
	struct channel *c = find(hub, tenant, channel);

	if (c)
		deliver(c, channel_frame(hub, e, c->hash, 0, 0));
}

static void post_outbox(struct hub *hub, unsigned i, size_t *sockets)
{
	struct batch *b = hub->outbox[i];

	if (!b)
		return;
	hub->outbox[i] = NULL;
	atomic_fetch_add_explicit(&b->reactor->mailbox, (int64_t)b->n, memory_order_relaxed);
	reactor_deliver(b, sockets);
}

/* Whoever was dropped from a full mailbox hears where the log ends once there is room. */
static void tell_behind(struct hub *hub)
{
	struct channel **link = &hub->behind;

	while (*link) {
		struct channel *c = *link;
		bool left = false;

		for (unsigned i = 0; i < hub->edge->n_reactors; i++) {
			if (!c->slots[i].lost)
				continue;
			if (c->slots[i].topic &&
			    mailbox_depth(hub, i) * 2 > hub->edge->conf->mailbox) {
				left = true;
				continue;
			}
			if (c->slots[i].topic)
				topic_post_tail(c->slots[i].topic, c->slots[i].lost);
			c->slots[i].lost = 0;
		}
		if (left) {
			link = &c->next_behind;
			continue;
		}
		*link = c->next_behind;
		c->behind = false;
	}
}

void channel_turn_end(struct hub *hub)
{
	size_t sockets = hub->borrowed ? BORROWED_SOCKETS : 0;

	for (unsigned i = 0; i < hub->edge->n_reactors; i++)
		post_outbox(hub, i, &sockets);
	if (hub->behind)
		tell_behind(hub);
}

/* --- attach and detach -------------------------------------------------------------------- */

static struct channel *channel_new(struct hub *hub, const struct topic *t)
{
	unsigned n = hub->edge->n_reactors;
	struct channel *c = xcalloc(1, sizeof(*c) + n * sizeof(c->slots[0]));

	c->hub = hub;
	c->hash = table_hash2(t->tenant, t->channel);
	c->part = t->part;
	c->tenant = xstrdup(t->tenant);
	c->channel = xstrdup(t->channel);
	table_add(&hub->table, c->hash, c);
	if (hub->n_channels == hub->cap_channels) {
		hub->cap_channels = hub->cap_channels ? 2 * hub->cap_channels : 64;
		hub->channels = xrealloc(hub->channels, hub->cap_channels * sizeof(*hub->channels));
	}
	c->index = hub->n_channels;
	hub->channels[hub->n_channels++] = c;
	metric_set(hub->edge->stats.channels, (int64_t)hub->n_channels);
	return c;
}

static void channel_free(struct channel *c)
{
	struct hub *hub = c->hub;

	if (c->behind) {
		struct channel **link = &hub->behind;

		while (*link != c)
			link = &(*link)->next_behind;
		*link = c->next_behind;
	}
	bus_unsubscribe(c->sub);
	table_remove(&hub->table, c->hash, c);
	/* The last one takes the place: one that a sweep has checked already, for it goes
	 * downwards. */
	hub->channels[c->index] = hub->channels[--hub->n_channels];
	hub->channels[c->index]->index = c->index;
	metric_set(hub->edge->stats.channels, (int64_t)hub->n_channels);
	free(c->tenant);
	free(c->channel);
	free(c);
}

void channel_attach(struct hub *hub, struct topic *t)
{
	struct channel *c = find(hub, t->tenant, t->channel);
	struct error err = {0};

	if (!c)
		c = channel_new(hub, t);
	if (!c->sub && hub->bus) {
		struct subject subject = subject_live(c->part, c->tenant, c->channel);

		c->sub = bus_subscribe(hub->bus, subject.text, NULL, on_live, c, &err);
		if (!c->sub) /* names are checked before: the bus is closing */
			log_at(LOG_WARN, "cannot subscribe", LOG_S("error", err.msg));
	}
	assert(!c->slots[t->reactor->index].topic);
	c->slots[t->reactor->index] = (struct slot){.topic = t};
	c->n_topics++;
}

void channel_detach(struct hub *hub, struct topic *t)
{
	struct channel *c = find(hub, t->tenant, t->channel);
	unsigned i = t->reactor->index;
	size_t none = 0;

	assert(c && c->slots[i].topic == t);
	c->slots[i] = (struct slot){.topic = NULL};
	if (--c->n_topics == 0)
		channel_free(c);
	post_outbox(hub, i,
		    &none); /* what is for this topic arrives before the answer that ends it */
	topic_post_detached(t);
}

/* --- after a reconnect -------------------------------------------------------------------- */

struct check {
	struct hub *hub;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
};

static void sweep_on(struct hub *hub);

static void on_checked(void *arg, bool ok, uint64_t last, bool real)
{
	struct check *check = arg;
	struct hub *hub = check->hub;
	struct channel *c = find(hub, check->tenant, check->channel);

	(void)real;
	hub->sweeping--;
	if (!ok)
		hub->sweep_failed = true;
	for (unsigned i = 0; ok && c && i < hub->edge->n_reactors; i++)
		if (c->slots[i].topic)
			topic_post_tail(c->slots[i].topic, last);
	free(check);
	sweep_on(hub);
}

static void sweep_on(struct hub *hub)
{
	if (hub->sweep_at > hub->n_channels)
		hub->sweep_at = hub->n_channels;
	while (hub->bus && hub->sweep_at && hub->sweeping < SWEEP_WIDTH) {
		const struct channel *c = hub->channels[--hub->sweep_at];
		struct check *check = xcalloc(1, sizeof(*check));

		check->hub = hub;
		memcpy(check->tenant, c->tenant, strlen(c->tenant));
		memcpy(check->channel, c->channel, strlen(c->channel));
		hub->sweeping++;
		plane_locate(hub, c->part, c->tenant, c->channel, true, on_checked, check);
	}
	if (hub->bus && !hub->sweep_at && !hub->sweeping && hub->sweep_failed)
		timer_set(hub->loop, &hub->resweep, SWEEP_RETRY_US);
}

void channel_sweep(struct hub *hub)
{
	hub->sweep_at = hub->n_channels;
	hub->sweep_failed = false;
	sweep_on(hub);
}

void channels_free(struct hub *hub)
{
	while (hub->n_channels)
		channel_free(hub->channels[0]);
	for (unsigned i = 0; hub->outbox && i < hub->edge->n_reactors; i++)
		assert(!hub->outbox[i]);
	free(hub->outbox);
	free(hub->channels);
	table_done(&hub->table);
}
