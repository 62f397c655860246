#include "services/edge/link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "services/edge/conn.h"
#include "services/edge/deltas.h"

#define HOLD_ITEMS 256
#define RETRY_US   500000
#define TRIES      10 /* to read what a task has said */

static void pump(struct link *link);
static void catch_up(struct link *link);

/* --- life --------------------------------------------------------------------------------- */

static struct link *link_new(struct topic *t, struct conn *conn, unsigned slot)
{
	struct link *link = xcalloc(1, sizeof(*link));

	link->topic = t;
	link->conn = conn;
	link->slot = (uint8_t)slot;
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 1;
		t->entries = xrealloc(t->entries, t->cap * sizeof(*t->entries));
	}
	link->index = t->n;
	t->entries[t->n++] = (struct topic_entry){conn, link};
	conn->session.subs[slot].channel = t->channel;
	conn->session.subs[slot].link = link;
	metric_add(t->reactor->edge->stats.subscriptions, 1);
	return link;
}

/* Not to be delivered as it came: a durable one will be read from the log. */
static void count_lost(struct link *link, const struct frame *f)
{
	struct stats *stats = &link->topic->reactor->edge->stats;

	if (f->offset)
		metric_add(stats->spilled, 1);
	else if (f->kind == FRAME_DELTA && !link_delta(link, f))
		; /* it will be read from DELTAS, or has been */
	else
		metric_add(stats->dropped[link->history->paused ? DROP_SLOW : DROP_HELD], 1);
}

/* From now on live items are held; nothing is read before fetching is cleared. */
static void start_holding(struct link *link, uint64_t pos, uint64_t target)
{
	link->history = xmalloc(sizeof(*link->history));
	history_init(link->history, pos, target, HOLD_ITEMS, CONN_HELD_BYTES);
	link->history->fetching = true;
	link->topic->n_reading++;
}

/* What was held leaves the history. */
static void let_go(struct link *link, const struct history_item *item)
{
	link->conn->held_bytes -= (uint32_t)item->bytes;
	out_ref_drop(&link->topic->reactor->pool, item->item);
}

static void stop_holding(struct link *link)
{
	struct history_item item;

	if (!link->history)
		return;
	while (history_pop(link->history, &item))
		let_go(link, &item);
	history_done(link->history);
	free(link->history);
	link->history = NULL;
	link->topic->n_reading--;
}

static void end_catchup(struct link *link)
{
	struct catchup *c = link->catchup;

	if (c && c->busy) { /* on_deltas() frees the request */
		conn_unreserve(link->conn, c->size);
		atomic_store_explicit(&c->request->forsaken, true, memory_order_relaxed);
	} else if (c) {
		delta_request_free(c->request);
	}
	free(c);
	link->catchup = NULL;
}

void link_end(struct link *link)
{
	struct topic *t = link->topic;
	struct topic_entry last;

	receipts_ended(link);
	last = t->entries[--t->n];
	t->entries[link->index] = last;
	last.link->index = link->index;
	stop_holding(link);
	if (link->page) {
		conn_unreserve(link->conn, (uint32_t)link->page->max_bytes);
		atomic_store_explicit(&link->page->forsaken, true, memory_order_relaxed);
	}
	end_catchup(link);
	free(link->id);
	link->id = NULL;
	link->conn = NULL;
	metric_add(t->reactor->edge->stats.subscriptions, -1);
	topic_left(t);
	if (!link->busy)
		free(link);
}

/* A request came back; false: nobody waits for it any more. */
static bool back(struct link *link)
{
	link->busy = false;
	link->topic->busy--;
	if (link->conn)
		return true;
	free(link);
	return false;
}

static void ask(struct link *link, struct request *base, void (*done)(struct request *))
{
	base->done = done;
	base->arg = link;
	link->busy = true;
	link->topic->busy++;
}

/* --- the answer --------------------------------------------------------------------------- */

/* What `subscribed` says: `offset` is the position that the frames which follow continue from: the
 * one asked for if it could be continued (recovered true), else the end of the log as it is now, or
 * the first position that is still kept. Without `after` nothing was to be recovered, and recovered
 * is true. May end the link (a->failed). */
static void answer(struct link *link, const struct sub_answer *a)
{
	struct session_step *step = &link->topic->reactor->step;
	struct conn *conn = link->conn;
	char *id = link->id;

	link->id = NULL;
	link->answered = true;
	if (!a->failed) {
		receipts_opened(link, a->gap_to ? a->gap_from - 1 : a->offset);
		receipts_gap(link, a->gap_from, a->gap_to, false);
	}
	session_step_reset(step, &conn->session);
	session_subscribed(&conn->session, link->slot, id, a, step);
	conn_apply(conn, step);
	free(id);
}

/* The position that was asked for is continued. */
static void answer_continued(struct link *link)
{
	answer(link, &(struct sub_answer){.offset = link->after, .recovered = true});
}

/* Unless it has got ahead of this reactor's stream: then what still comes up to its own position is
 * known to the client. */
static void go_live(struct link *link)
{
	if (topic_pos(link->topic) < link->history->pos)
		return;
	stop_holding(link);
	link->state = LINK_LIVE;
}

static void answer_and_go(struct link *link, uint64_t offset, bool recovered)
{
	const struct sub_answer a = {.offset = offset, .recovered = recovered};

	if (!link->catchup) {
		link->state = LINK_LIVE;
		answer(link, &a);
		return;
	}
	link->state = LINK_READING;
	start_holding(link, offset, offset);
	history_failed(link->history);
	answer(link, &a);
	pump(link);
}

/* --- reading the log ---------------------------------------------------------------------- */

/* False: there was no room for all of it. */
static bool deliver_page(struct link *link, struct fetch_request *f)
{
	struct out_pool *pool = &link->topic->reactor->pool;
	bool fits = true;

	for (unsigned i = 0; i < f->n; i++) {
		struct out_ref *ref = out_ref_new(pool, f->frames[i]);
		uint64_t before = link->history->pos;

		if (fits && history_page(link->history, ref->frame->offset)) {
			fits = conn_deliver(link->conn, ref, true);
			if (!fits)
				history_back(link->history, before);
		}
		out_ref_drop(pool, ref);
	}
	f->n = 0;
	return fits;
}

void link_gap(struct link *link, uint64_t from, uint64_t to, const char *reason, bool replayable)
{
	struct session_step *step = &link->topic->reactor->step;

	receipts_gap(link, from, to, link->spilled);
	session_step_reset(step, &link->conn->session);
	session_gap(&link->conn->session, link->slot, from, to, reason, replayable, step);
	conn_apply(link->conn, step);
}

static void page_failed(struct link *link, const struct fetch_request *f)
{
	struct reactor *r = link->topic->reactor;
	uint64_t from = link->history->pos + 1;

	if (!link->answered) {
		answer(link, &(struct sub_answer){.failed = true}); /* frees the link */
		return;
	}
	if (f->cut_off)
		link->history->failing_us = 0; /* nothing comes later that would have to wait */
	if (history_unreadable(link->history, f->unreadable_to, loop_now_us(r->loop),
			       r->edge->conf->gap_ms * 1000)) {
		link_gap(link, from, link->history->pos, "missed", true);
		pump(link);
		return;
	}
	link->retry = true;
	timer_set(r->loop, &link->topic->timer, RETRY_US);
}

/* The first page decides what is answered. */
static void page_answer(struct link *link, const struct fetch_request *f)
{
	struct sub_answer a = {.offset = link->after, .recovered = true};

	if (f->lost_to)
		a = (struct sub_answer){
		    .offset = f->lost_to, .gap_from = link->after + 1, .gap_to = f->lost_to};
	answer(link, &a);
}

static void page_came(struct link *link, struct fetch_request *f)
{
	uint64_t from = link->history->pos + 1;
	bool answered = link->answered;

	if (!answered)
		page_answer(link, f);
	if (history_lost(link->history, f->lost_to) && answered)
		link_gap(link, from, link->history->pos, "expired", false);
	if (!deliver_page(link, f)) {
		history_failed(link->history);
		return;
	}
	from = history_fetched(link->history, f->more);
	if (from)
		link_gap(link, from, link->history->pos, "expired", false);
}

static void on_page(struct request *base)
{
	struct fetch_request *f = (struct fetch_request *)base;
	struct link *link = base->arg;

	if (!back(link))
		goto out;
	link->page = NULL;
	conn_unreserve(link->conn, (uint32_t)f->max_bytes);
	if (f->failed) {
		page_failed(link, f);
		goto out;
	}
	page_came(link, f);
	pump(link);
out:
	for (unsigned i = 0; i < f->n; i++)
		frame_unref(f->frames[i]);
	free(f);
}

static void read_on(struct link *link)
{
	struct history *h = link->history;
	struct fetch_request *f;
	uint32_t room;

	/* At the socket's own pace: a page only where the last one has left. */
	room = conn_reserve(link->conn);
	if (!room) {
		history_failed(h);
		history_pause(h, true);
		return;
	}
	/* What comes now is from the log again, up to the target at least. */
	if (link->spilled)
		link_gap(link, h->pos + 1, h->target, "slow_consumer", true);
	link->spilled = false;
	f = topic_fetch_new(link->topic, h);
	f->max_bytes = room;
	link->page = f;
	ask(link, &f->base, on_page);
	hub_fetch(link->topic->reactor->edge->hub, f);
}

/* A held item's turn. One that has no room is read from the log later on. */
static void deliver_held(struct link *link, const struct history_item *item, uint64_t before)
{
	struct out_ref *ref = item->item;

	if (ref->frame->kind == FRAME_DELTA && !link_delta(link, ref->frame)) {
		let_go(link, item);
		return;
	}
	if (!conn_deliver(link->conn, ref, false)) {
		history_back(link->history, before);
		history_pause(link->history, true);
		conn_stall(link->conn);
		count_lost(link, ref->frame);
	}
	let_go(link, item);
}

static void pump(struct link *link)
{
	struct history_item item;

	link->retry = false;
	receipts_mark(link);
	for (;;) {
		uint64_t before = link->history->pos;

		switch (history_next(link->history, &item)) {
		case HISTORY_DELIVER:
			/* The log began while it was asked how far it goes: no page needed. */
			if (!link->answered)
				answer_continued(link);
			deliver_held(link, &item, before);
			break;
		case HISTORY_SKIP:
			let_go(link, &item);
			break;
		case HISTORY_FETCH:
			read_on(link);
			return;
		case HISTORY_WAIT:
			return;
		case HISTORY_LIVE:
			if (link->catchup && !link->catchup->done)
				catch_up(link);
			else
				go_live(link);
			return;
		}
	}
}

void link_resume(struct link *link)
{
	if (!link->history || !link->history->paused)
		return;
	history_pause(link->history, false);
	pump(link);
}

void link_retry(struct link *link)
{
	if (link->history && link->state == LINK_READING && !link->busy)
		pump(link);
}

void link_reach(struct link *link, uint64_t to)
{
	if (link->history->target < to)
		link->history->target = to;
}

/* prev 0: what was before it is not in the stream any more, but the topic was at `before`. */
static void hold(struct link *link, struct out_ref *ref, uint64_t before)
{
	const uint64_t prev = ref->frame->prev;
	const struct history_item item = {.item = out_ref_add(ref),
					  .offset = ref->frame->offset,
					  .prev = prev ? prev : before,
					  .bytes = ref->frame->len,
					  .guess = !prev};
	struct history_item out;
	bool dropped;

	link->conn->held_bytes += ref->frame->len;
	dropped = history_hold(link->history, &item, &out);
	for (; dropped; dropped = history_hold(link->history, NULL, &out)) {
		count_lost(link, ((struct out_ref *)out.item)->frame);
		let_go(link, &out);
	}
}

void link_hold(struct link *link, struct out_ref *ref, uint64_t before)
{
	/* What all of a connection's subscriptions hold has one bound. */
	if (link->conn->held_bytes + ref->frame->len > CONN_HELD_BYTES) {
		history_forget(link->history, ref->frame->offset);
		count_lost(link, ref->frame);
	} else {
		hold(link, ref, before);
	}
	if (link->state == LINK_READING && !link->busy && !link->retry)
		pump(link);
}

void link_spill(struct link *link, struct out_ref *ref, uint64_t before)
{
	start_holding(link, before, ref->frame->offset);
	history_failed(link->history);
	history_pause(link->history, true);
	link->state = LINK_READING;
	link->spilled = true;
	receipts_mark(link);
	conn_stall(link->conn);
	metric_add(link->topic->reactor->edge->stats.spills, 1);
	count_lost(link, ref->frame);
}

/* --- what a task has said --------------------------------------------------------------------- */

bool link_delta(struct link *link, const struct frame *delta)
{
	struct catchup *c = link->catchup;

	if (!c)
		return true;
	if (!c->done) {
		if (c->seen < delta->prev)
			c->seen = delta->prev;
		return false;
	}
	if (delta->prev <= c->pos)
		return false;
	if (!link->history) { /* they come in order: what follows is new */
		free(c);
		link->catchup = NULL;
	}
	return true;
}

static void caught_up(struct link *link)
{
	struct catchup *c = link->catchup;

	delta_request_free(c->request);
	c->request = NULL;
	c->done = true;
	pump(link); /* what was held meanwhile */
}

/* Not to be had now. Durable events wait, but not for ever. */
static void catch_up_later(struct link *link)
{
	struct topic *t = link->topic;

	if (++link->catchup->tries >= TRIES) {
		metric_add(t->reactor->edge->stats.delta_failed, 1);
		caught_up(link);
		return;
	}
	link->retry = true;
	timer_set(t->reactor->loop, &t->timer, RETRY_US);
}

/* How many there were. */
static unsigned deliver_deltas(struct link *link, struct delta_request *r)
{
	struct out_pool *pool = &link->topic->reactor->pool;
	unsigned n = r->n;

	for (unsigned i = 0; i < n; i++) {
		struct out_ref *ref = out_ref_new(pool, r->frames[i]);

		(void)conn_deliver(link->conn, ref, true);
		out_ref_drop(pool, ref);
	}
	r->n = 0;
	return n;
}

static void on_deltas(struct request *base)
{
	struct delta_request *r = (struct delta_request *)base;
	struct link *link = base->arg;
	struct catchup *c;
	unsigned n;

	if (!back(link)) {
		delta_request_free(r);
		return;
	}
	c = link->catchup;
	c->busy = false;
	conn_unreserve(link->conn, c->size);
	history_failed(link->history); /* nothing is under way */
	n = deliver_deltas(link, r);
	if (!r->failed && c->pos < r->pos)
		c->pos = r->pos;
	if (r->failed || (!r->more && !n && c->seen > c->pos && c->tries++ > 2))
		catch_up_later(link); /* a copy of DELTAS may be a moment behind what is live */
	else if (r->more || c->seen > c->pos)
		catch_up(link);
	else
		caught_up(link);
}

/* Live items are held while a page is under way. */
static void catch_up(struct link *link)
{
	struct topic *t = link->topic;
	struct catchup *c = link->catchup;

	c->size = conn_reserve(link->conn);
	if (!c->size) {
		history_pause(link->history, true);
		return;
	}
	if (!c->request) {
		c->request = delta_request_new(t->part, t->tenant, t->channel);
		c->request->base.home = t->reactor->loop;
	}
	c->request->max_bytes = c->size;
	c->busy = true;
	link->history->fetching = true;
	ask(link, &c->request->base, on_deltas);
	hub_deltas(t->reactor->edge->hub, c->request);
}

/* --- the beginning ------------------------------------------------------------------------ */

static void on_asked(struct request *base)
{
	struct locate_request *l = (struct locate_request *)base;
	struct link *link = base->arg;

	if (!back(link)) {
		free(l);
		return;
	}
	if (l->failed || (l->last > link->after && !link->topic->located)) {
		free(l);
		answer(link, &(struct sub_answer){.failed = true});
		return;
	}
	link->state = LINK_READING;
	history_failed(link->history);
	if (l->last < link->after) {
		answer(link,
		       &(struct sub_answer){.offset = link->history->pos, .recovered = false});
	} else {
		/* Only this reactor was behind: what comes up to `after` is known to the client,
		 * and what is behind it may be on its way, or past already. Or it is not kept any
		 * more: that says the first page. */
		link->history->pos = link->after;
		link_reach(link, l->last);
		if (l->last == link->after)
			answer_continued(link);
	}
	free(l);
	if (link->topic->located)
		pump(link);
}

/* `after` is beyond what this reactor has seen: news that is still on its way, or a position of
 * another log? Or nobody here knows how far the log goes. */
static void ask_ahead(struct link *link, uint64_t pos)
{
	struct locate_request *l = topic_locate_new(link->topic);

	l->fresh = true;
	start_holding(link, pos, 0);
	link->state = LINK_ASKING;
	ask(link, &l->base, on_asked);
	hub_locate(link->topic->reactor->edge->hub, l);
}

static void begin_after(struct link *link, uint64_t pos)
{
	const struct topic *t = link->topic;

	if (link->after > pos || !t->real) {
		ask_ahead(link, pos);
		return;
	}
	link->state = LINK_READING;
	start_holding(link, link->after, pos);
	history_failed(link->history);
	if (link->after == pos)
		answer_continued(link);
	pump(link);
}

static void begin_task(struct link *link, uint64_t pos)
{
	link->state = LINK_READING;
	link->history->pos = link->after;
	if (link->history->target < pos)
		link->history->target = pos;
	history_failed(link->history);
	pump(link);
}

void link_begin(struct link *link)
{
	struct topic *t = link->topic;
	uint64_t pos = topic_pos(t);

	if (!t->located && !link->answered) {
		answer(link, &(struct sub_answer){.failed = true});
		return;
	}
	if (!t->located) { /* a task's: it is accepted, so its events will be had in the end */
		timer_set(t->reactor->loop, &t->timer, RETRY_US);
		return;
	}
	if (link->answered)
		begin_task(link, pos);
	else if (!link->has_after)
		answer_and_go(link, pos, true);
	else if ((link->after || link->epoch[0]) && strcmp(link->epoch, t->reactor->epoch))
		answer_and_go(link, pos, false); /* offset 0 alone means: from the earliest kept */
	else
		begin_after(link, pos);
}

void link_subscribe(struct topic *t, struct conn *conn, unsigned slot, const struct client_msg *msg)
{
	struct link *link = link_new(t, conn, slot);

	link->id = xstrdup(msg->id);
	if (name_task_channel(t->channel))
		link->catchup = xcalloc(1, sizeof(*link->catchup));
	link->has_after = msg->has_after;
	link->after = msg->offset;
	snprintf(link->epoch, sizeof(link->epoch), "%s", msg->after_epoch);
	link->state = LINK_WAITING;
	if (t->located)
		link_begin(link);
}

void link_task(struct topic *t, struct conn *conn, unsigned slot)
{
	struct link *link = link_new(t, conn, slot);

	link->state = LINK_TASK;
	link->answered = true;
	start_holding(link, 0, 0);
}

void link_task_accepted(struct link *link, uint64_t offset, bool late)
{
	if (late)
		link->catchup = xcalloc(1, sizeof(*link->catchup));
	link->has_after = true;
	link->after = offset ? offset - 1 : 0;
	receipts_opened(link, link->after);
	link->state = LINK_WAITING;
	if (link->topic->located)
		link_begin(link);
}
