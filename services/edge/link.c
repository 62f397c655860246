#include "services/edge/link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/edge/conn.h"

#define HOLD_ITEMS 256
#define HOLD_BYTES (256U << 10)
#define RETRY_US   500000

static void pump(struct link *link);

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

/* From now on live items are held; nothing is read before fetching is cleared. */
static void start_holding(struct link *link, uint64_t pos, uint64_t target)
{
	link->history = xmalloc(sizeof(*link->history));
	history_init(link->history, pos, target, HOLD_ITEMS, HOLD_BYTES);
	link->history->fetching = true;
	link->topic->n_reading++;
}

static void stop_holding(struct link *link)
{
	struct history_item item;

	if (!link->history)
		return;
	while (history_pop(link->history, &item))
		out_ref_drop(&link->topic->reactor->pool, item.item);
	history_done(link->history);
	free(link->history);
	link->history = NULL;
	link->topic->n_reading--;
}

void link_end(struct link *link)
{
	struct topic *t = link->topic;
	struct topic_entry last = t->entries[--t->n];

	t->entries[link->index] = last;
	last.link->index = link->index;
	stop_holding(link);
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
	session_step_reset(step);
	session_subscribed(&conn->session, link->slot, id, a, step);
	conn_apply(conn, step);
	free(id);
}

static void go_live(struct link *link)
{
	stop_holding(link);
	link->state = LINK_LIVE;
}

static void answer_and_go(struct link *link, uint64_t offset, bool recovered)
{
	link->state = LINK_LIVE;
	answer(link, &(struct sub_answer){.offset = offset, .recovered = recovered});
}

/* --- reading the log ---------------------------------------------------------------------- */

static void deliver_page(struct link *link, struct fetch_request *f)
{
	struct out_pool *pool = &link->topic->reactor->pool;

	for (unsigned i = 0; i < f->n; i++) {
		struct out_ref *ref = out_ref_new(pool, f->frames[i]);

		if (history_page(link->history, ref->frame->offset))
			conn_deliver(link->conn, ref);
		out_ref_drop(pool, ref);
	}
	f->n = 0;
}

static void on_page(struct request *base)
{
	struct fetch_request *f = (struct fetch_request *)base;
	struct link *link = base->arg;

	if (!back(link))
		goto out;
	if (f->failed) {
		history_failed(link->history);
		if (link->answered)
			timer_set(link->topic->reactor->loop, &link->topic->timer, RETRY_US);
		else
			answer(link, &(struct sub_answer){.failed = true}); /* frees the link */
		goto out;
	}
	if (!link->answered) {
		struct sub_answer a = {.offset = link->after, .recovered = true};

		if (f->missing_to > link->after && link->after) {
			a = (struct sub_answer){.offset = f->missing_to,
						.gap_from = link->after + 1,
						.gap_to = f->missing_to};
		}
		answer(link, &a);
	}
	deliver_page(link, f);
	history_fetched(link->history, f->more);
	pump(link);
out:
	for (unsigned i = 0; i < f->n; i++)
		frame_unref(f->frames[i]);
	free(f);
}

static void read_on(struct link *link)
{
	struct fetch_request *f;

	/* At the socket's own pace: a page only where the last one has left. */
	if (!conn_has_room(link->conn)) {
		history_failed(link->history);
		link->paused = true;
		return;
	}
	f = topic_fetch_new(link->topic, link->history->pos, link->history->until);
	ask(link, &f->base, on_page);
	hub_fetch(link->topic->reactor->edge->hub, f);
}

static void pump(struct link *link)
{
	struct out_pool *pool = &link->topic->reactor->pool;
	struct history_item item;

	while (!link->paused) {
		switch (history_next(link->history, &item)) {
		case HISTORY_DELIVER:
			conn_deliver(link->conn, item.item);
			out_ref_drop(pool, item.item);
			break;
		case HISTORY_SKIP:
			out_ref_drop(pool, item.item);
			break;
		case HISTORY_FETCH:
			read_on(link);
			return;
		case HISTORY_WAIT:
			return;
		case HISTORY_LIVE:
			go_live(link);
			return;
		}
	}
}

void link_resume(struct link *link)
{
	if (!link->paused)
		return;
	link->paused = false;
	pump(link);
}

void link_retry(struct link *link)
{
	if (link->history && link->state == LINK_READING && !link->busy)
		pump(link);
}

void link_hold(struct link *link, struct out_ref *ref)
{
	struct out_pool *pool = &link->topic->reactor->pool;
	const struct history_item item = {out_ref_add(ref), ref->frame->offset, ref->frame->prev,
					  ref->frame->len};
	struct history_item out;
	bool dropped = history_hold(link->history, &item, &out);

	for (; dropped; dropped = history_hold(link->history, NULL, &out)) {
		out_ref_drop(pool, out.item);
		metric_add(link->topic->reactor->edge->stats.dropped[DROP_HELD], 1);
	}
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
	if (l->failed) {
		free(l);
		answer(link, &(struct sub_answer){.failed = true});
		return;
	}
	link->state = LINK_READING;
	history_failed(link->history);
	if (l->last >= link->after) {
		/* Only this reactor was behind: what comes up to `after` is known to the client. */
		link->history->pos = link->after;
		answer(link, &(struct sub_answer){.offset = link->after, .recovered = true});
	} else {
		answer(link,
		       &(struct sub_answer){.offset = link->history->pos, .recovered = false});
	}
	free(l);
	if (link->topic->located)
		pump(link);
}

/* `after` is beyond what this reactor has seen: news that is still on its way, or a position of
 * another log? */
static void ask_ahead(struct link *link, uint64_t pos)
{
	struct locate_request *l = topic_locate_new(link->topic);

	start_holding(link, pos, 0);
	link->state = LINK_ASKING;
	ask(link, &l->base, on_asked);
	hub_locate(link->topic->reactor->edge->hub, l);
}

static void begin_after(struct link *link, uint64_t pos)
{
	if (link->after > pos) {
		ask_ahead(link, pos);
		return;
	}
	link->state = LINK_READING;
	start_holding(link, link->after, pos);
	history_failed(link->history);
	if (link->after == pos)
		answer(link, &(struct sub_answer){.offset = pos, .recovered = true});
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
	else if ((link->after || link->epoch[0]) && strcmp(link->epoch, t->reactor->edge->epoch))
		answer_and_go(link, pos, false); /* offset 0 alone means: from the earliest kept */
	else
		begin_after(link, pos);
}

void link_subscribe(struct topic *t, struct conn *conn, unsigned slot, const struct client_msg *msg)
{
	struct link *link = link_new(t, conn, slot);

	link->id = xstrdup(msg->id);
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

void link_task_accepted(struct link *link, uint64_t offset)
{
	link->has_after = true;
	link->after = offset ? offset - 1 : 0;
	link->state = LINK_WAITING;
	if (link->topic->located)
		link_begin(link);
}
