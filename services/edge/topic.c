#include "services/edge/topic.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "services/edge/conn.h"
#include "services/edge/link.h"

#define HOLD_ITEMS 1024
#define HOLD_BYTES (4U << 20)
#define RETRY_US   500000

static void on_timer(struct timer *timer, void *arg);

/* --- life --------------------------------------------------------------------------------- */

struct name {
	const char *tenant, *channel;
};

static bool same_name(const void *item, const void *key)
{
	const struct topic *t = item;
	const struct name *name = key;

	return !strcmp(t->channel, name->channel) && !strcmp(t->tenant, name->tenant);
}

static struct topic *topic_new(struct reactor *r, const struct name *name, uint64_t hash)
{
	size_t a = strlen(name->tenant) + 1, b = strlen(name->channel) + 1;
	struct topic *t = xcalloc(1, sizeof(*t) + a + b);

	memcpy(t->tenant, name->tenant, a);
	t->channel = t->tenant + a;
	memcpy(t->channel, name->channel, b);
	t->reactor = r;
	t->hash = hash;
	t->part = part_of(name->tenant, (unsigned)r->edge->conf->common.parts);
	timer_init(&t->timer, on_timer, t);
	table_add(&r->topics, hash, t);
	metric_add(r->edge->stats.topics, 1);
	return t;
}

static void release_held(struct topic *t)
{
	struct history_item item;

	if (!t->history)
		return;
	while (history_pop(t->history, &item))
		out_ref_drop(&t->reactor->pool, item.item);
	history_done(t->history);
	free(t->history);
	t->history = NULL;
}

void topic_free(struct topic *t)
{
	assert(t->n == 0 && t->busy == 0);
	timer_cancel(t->reactor->loop, &t->timer);
	table_remove(&t->reactor->topics, t->hash, t);
	metric_add(t->reactor->edge->stats.topics, -1);
	release_held(t);
	free(t->entries);
	free(t);
}

/* --- catching up with the log ------------------------------------------------------------- */

static void pump(struct topic *t);

static void start_history(struct topic *t, uint64_t target)
{
	t->history = xmalloc(sizeof(*t->history));
	history_init(t->history, t->pos, target, HOLD_ITEMS, HOLD_BYTES);
}

/* To everybody who subscribes; who still reads the log himself holds it, and whose socket has no
 * room reads it from there later on. before: the stream's position until now. The reference stays
 * the caller's. */
static void fan_out(struct topic *t, struct out_ref *ref, uint64_t before)
{
	uint32_t n = t->n; /* nothing below ends a subscription: closing a socket is left to the
			      turn's end */

	t->real |= ref->frame->offset != 0;
	for (uint32_t i = 0; i < n; i++) {
		if (t->n_reading && t->entries[i].link->history)
			link_hold(t->entries[i].link, ref, before);
		else if (ref->frame->kind == FRAME_DELTA &&
			 !link_delta(t->entries[i].link, ref->frame))
			; /* it has that */
		else if (!conn_deliver(t->entries[i].conn, ref, false))
			link_spill(t->entries[i].link, ref, before);
	}
}

static void hold(struct topic *t, struct out_ref *ref, uint64_t prev)
{
	const struct history_item item = {.item = ref,
					  .offset = ref->frame->offset,
					  .prev = prev,
					  .bytes = ref->frame->len,
					  .guess = prev != ref->frame->prev};
	struct history_item out;
	bool dropped = history_hold(t->history, &item, &out);

	for (; dropped; dropped = history_hold(t->history, NULL, &out)) {
		out_ref_drop(&t->reactor->pool, out.item);
		metric_add(t->reactor->edge->stats.dropped[DROP_HELD], 1);
	}
}

/* To those who have all up to there; who reads the log himself finds out himself, if he reads as
 * far. */
static void tell_gap(struct topic *t, uint64_t from, const char *reason, bool replayable)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->entries[i].link->state == LINK_LIVE)
			link_gap(t->entries[i].link, from, t->history->pos, reason, replayable);
		else if (t->entries[i].link->history)
			link_reach(t->entries[i].link, t->history->pos);
	metric_add(t->reactor->edge->stats.gaps, 1);
}

static void page_failed(struct topic *t, const struct fetch_request *f)
{
	struct reactor *r = t->reactor;
	uint64_t from = t->history->pos + 1;

	if (f->cut_off)
		t->history->failing_us = 0; /* nothing comes later that would have to wait */
	if (!history_unreadable(t->history, f->unreadable_to, loop_now_us(r->loop),
				r->edge->conf->gap_ms * 1000)) {
		timer_set(r->loop, &t->timer, RETRY_US);
		return;
	}
	tell_gap(t, from, "missed", true);
	pump(t);
}

static void page_came(struct topic *t, const struct fetch_request *f)
{
	uint64_t from = t->history->pos + 1;

	if (history_lost(t->history, f->lost_to))
		tell_gap(t, from, "expired", false);
	for (unsigned i = 0; i < f->n; i++) {
		struct out_ref *ref = out_ref_new(&t->reactor->pool, f->frames[i]);
		uint64_t before = t->history->pos;

		frame_ref(f->frames[i], 1);
		if (history_page(t->history, ref->frame->offset))
			fan_out(t, ref, before);
		out_ref_drop(&t->reactor->pool, ref);
	}
	from = history_fetched(t->history, f->more);
	if (from)
		tell_gap(t, from, "expired", false);
	pump(t);
}

static void on_fetched(struct request *base)
{
	struct fetch_request *f = (struct fetch_request *)base;
	struct topic *t = base->arg;

	t->busy--;
	if (f->life != t->life)
		; /* of another log */
	else if (t->history && f->failed)
		page_failed(t, f);
	else if (t->history)
		page_came(t, f);
	for (unsigned i = 0; i < f->n; i++)
		frame_unref(f->frames[i]);
	free(f);
}

static void fetch(struct topic *t)
{
	struct fetch_request *f = topic_fetch_new(t, t->history);

	f->base.done = on_fetched;
	f->base.arg = t;
	t->busy++;
	hub_fetch(t->reactor->edge->hub, f);
}

static void pump(struct topic *t)
{
	struct history_item item;

	for (;;) {
		uint64_t before = t->history->pos;

		switch (history_next(t->history, &item)) {
		case HISTORY_DELIVER:
			fan_out(t, item.item, before);
			out_ref_drop(&t->reactor->pool, item.item);
			break;
		case HISTORY_SKIP:
			out_ref_drop(&t->reactor->pool, item.item);
			break;
		case HISTORY_FETCH:
			if (t->n ==
			    0) { /* for nobody: whoever comes next begins at a new position */
				history_failed(t->history);
				return;
			}
			metric_add(t->reactor->edge->stats.repairs, 1);
			fetch(t);
			return;
		case HISTORY_WAIT:
			return;
		case HISTORY_LIVE:
			t->pos = t->history->pos;
			release_held(t);
			return;
		}
	}
}

void topic_live(struct topic *t, struct frame *frame)
{
	struct out_ref *ref = out_ref_new(&t->reactor->pool, frame);
	uint64_t prev = frame->prev;

	/* prev 0 after an event that we know of, or that we may have missed: the stream was trimmed
	 * behind it, and cannot say whether something was in between. Then the log is asked. */
	if (frame->offset && !prev && (t->real || t->cut_off))
		prev = frame->offset - 1;
	if (t->history) {
		hold(t, ref, prev);
		pump(t);
		return;
	}
	if (!frame->offset) {
		fan_out(t, ref, t->pos);
	} else if (frame->offset > t->pos && prev <= t->pos) {
		uint64_t before = t->pos;

		t->pos = frame->offset;
		fan_out(t, ref, before);
	} else if (frame->offset > t->pos) {
		start_history(t, 0);
		hold(t, ref, prev);
		pump(t);
		return;
	}
	out_ref_drop(&t->reactor->pool, ref);
}

void topic_tail(struct topic *t, uint64_t last)
{
	if (!t->located)
		return;
	if (!t->history && last <= t->pos)
		return;
	if (!t->history)
		start_history(t, last);
	else if (t->history->target < last)
		t->history->target = last;
	pump(t);
}

/* --- position ----------------------------------------------------------------------------- */

static void locate(struct topic *t);

static void on_located(struct request *base)
{
	struct locate_request *l = (struct locate_request *)base;
	struct topic *t = base->arg;

	t->busy--;
	t->locating = false;
	if (l->life != t->life) {
		if (t->n)
			locate(t);
		free(l);
		return;
	}
	if (!l->failed) {
		t->located = true;
		t->cut_off = false;
		t->real = l->real;
		t->history->pos = l->last;
		history_failed(t->history); /* it held until now */
	}
	for (uint32_t i = t->n; i-- > 0;)
		if (t->entries[i].link->state == LINK_WAITING)
			link_begin(t->entries[i].link);
	if (!l->failed)
		pump(t);
	free(l);
}

static void locate(struct topic *t)
{
	struct locate_request *l = topic_locate_new(t);

	if (!t->history) {
		start_history(t, 0);
		t->history->fetching = true; /* holds all that comes */
	}
	l->base.done = on_located;
	l->base.arg = t;
	t->locating = true;
	t->busy++;
	hub_locate(t->reactor->edge->hub, l);
}

struct topic *topic_get(struct reactor *r, const char *tenant, const char *channel)
{
	const struct name name = {tenant, channel};
	uint64_t hash = table_hash2(tenant, channel);
	struct topic *t = table_find(&r->topics, hash, same_name, &name);

	if (!t)
		t = topic_new(r, &name, hash);
	if (!t->attached && !t->detaching) {
		t->attached = true;
		hub_attach(r->edge->hub, t);
	}
	/* Nobody was listening while it was behind: what it missed is of no interest to those who
	 * come now. */
	if (t->located && t->n == 0 && t->history && !t->busy) {
		release_held(t);
		t->located = t->real = false;
	}
	if (!t->located && !t->locating && !t->detaching)
		locate(t);
	return t;
}

void topic_cut_off(struct topic *t)
{
	t->cut_off = t->located;
}

void topic_renew(struct topic *t)
{
	t->life++;
	t->pos = 0;
	t->located = t->real = false;
	release_held(t);
	if (t->n && !t->locating && !t->detaching)
		locate(t);
}

uint64_t topic_pos(const struct topic *t)
{
	return t->history ? t->history->pos : t->pos;
}

/* --- linger and detach -------------------------------------------------------------------- */

void topic_left(struct topic *t)
{
	if (t->n == 0)
		timer_set(t->reactor->loop, &t->timer, t->reactor->edge->conf->linger_ms * 1000);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct topic *t = arg;

	if (t->n) { /* something could not be read: again */
		if (!t->located && !t->locating && !t->detaching)
			locate(t);
		else if (t->history)
			pump(t);
		for (uint32_t i = t->n; i-- > 0;)
			link_retry(t->entries[i].link);
		return;
	}
	if (t->reactor->stopped)
		return;
	if (t->busy) {
		timer_set(t->reactor->loop, timer, RETRY_US);
		return;
	}
	if (t->detaching || !t->attached)
		return;
	t->detaching = true;
	hub_detach(t->reactor->edge->hub, t);
}

static void on_detached(struct loop_post *post)
{
	struct topic *t = (struct topic *)post;

	t->attached = t->detaching = t->located = t->real = false;
	release_held(t);
	if (!t->n) {
		topic_free(t);
		return;
	}
	t->attached = true;
	hub_attach(t->reactor->edge->hub, t);
	locate(t);
}

void topic_post_detached(struct topic *t)
{
	t->post.fn = on_detached;
	loop_post(t->reactor->loop, &t->post);
}

struct tail_post {
	struct loop_post post;
	struct topic *topic;
	uint64_t last;
};

static void on_tail(struct loop_post *post)
{
	struct tail_post *tail = (struct tail_post *)post;

	topic_tail(tail->topic, tail->last);
	free(tail);
}

void topic_post_tail(struct topic *t, uint64_t last)
{
	struct tail_post *tail = xmalloc(sizeof(*tail));

	*tail = (struct tail_post){.post.fn = on_tail, .topic = t, .last = last};
	loop_post(t->reactor->loop, &tail->post);
}

/* --- requests ----------------------------------------------------------------------------- */

struct fetch_request *topic_fetch_new(struct topic *t, const struct history *h)
{
	struct fetch_request *f = xcalloc(1, sizeof(*f));

	f->base.home = t->reactor->loop;
	f->part = t->part;
	f->life = t->life;
	memcpy(f->tenant, t->tenant, strlen(t->tenant) + 1);
	memcpy(f->channel, t->channel, strlen(t->channel) + 1);
	f->after = h->pos;
	f->until = h->until;
	f->exact = h->exact;
	f->limit = PAGE_MAX;
	f->max_bytes = PAGE_BYTES;
	return f;
}

struct locate_request *topic_locate_new(struct topic *t)
{
	struct locate_request *l = xcalloc(1, sizeof(*l));

	l->base.home = t->reactor->loop;
	l->part = t->part;
	l->life = t->life;
	memcpy(l->tenant, t->tenant, strlen(t->tenant) + 1);
	memcpy(l->channel, t->channel, strlen(t->channel) + 1);
	return l;
}
