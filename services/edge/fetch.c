/* Reading a channel's log: from the event-store and the stream behind it, a page at a time, in the
 * tenants' turns (pace.h).
 *
 * The event-store may lag behind the stream, and the stream may have been trimmed, but only below
 * what the event-store has. So: look where the stream begins; if that is behind what is wanted, or
 * the way is long (a page of the event-store is one question, of the stream one for each event),
 * ask the event-store first; then read the stream; then look once more where it begins, for what
 * was trimmed meanwhile is to be had from the event-store. Without the event-store, the stream is
 * read for as long as it reaches back. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "proto/store.pb-c.h"
#include "services/edge/hub_int.h"

#define STORE_MS      2000
#define STORE_AWAY_US 5000000 /* it did not answer: not asked for what the stream has as well */
#define FETCH_TRIES   4
#define SHORT_WAY     16 /* offsets: so few events are read one by one from the stream */

enum stage { FETCH_BEGIN, FETCH_STORE, FETCH_STREAM, FETCH_END };

static void fetch_step(struct hub *hub, struct pending *p);
static void begin_next(struct hub *hub);

/* --- life of a request ---------------------------------------------------------------------- */

static void fetch_failed(struct request *base)
{
	((struct fetch_request *)base)->failed = true;
}

static void fetch_done(struct pending *p)
{
	struct hub *hub = p->hub;
	struct fetch_request *f = (struct fetch_request *)pending_end(p);

	metric_add(hub->edge->stats.fetches, 1);
	if (f->failed)
		metric_add(hub->edge->stats.fetch_failed, 1);
	f->cut_off = !bus_connected(hub->bus);
	request_answer(&f->base);
	turn_end(hub);
}

static void failed(struct pending *p)
{
	fetch_failed(p->request);
	fetch_done(p);
}

/* --- turns ------------------------------------------------------------------------------------ */

static void show(struct hub *hub)
{
	metric_set(hub->edge->stats.replay_waiting, (int64_t)hub->pace.queued);
	metric_set(hub->edge->stats.replay_under_way, hub->pace.running);
}

static void begin_next(struct hub *hub)
{
	struct pace_item *item;

	while ((item = pace_next(&hub->pace))) {
		struct turn *turn = (struct turn *)item;

		histogram_observe_us(hub->edge->stats.replay_wait,
				     loop_now_us(hub->loop) - turn->asked_us);
		turn->run(hub, turn, true);
	}
	show(hub);
}

bool turn_take(struct hub *hub, const char *tenant, struct turn *turn)
{
	const struct tenant *t = hub->catalog ? catalog_tenant(hub->catalog, tenant) : NULL;

	turn->asked_us = loop_now_us(hub->loop);
	if (hub->bus && pace_add(&hub->pace, tenant, t ? t->weight : 1, &turn->item)) {
		begin_next(hub);
		return true;
	}
	if (hub->bus)
		metric_add(hub->edge->stats.replay_refused, 1);
	return false;
}

void turn_end(struct hub *hub)
{
	pace_end(&hub->pace);
	begin_next(hub);
}

void turns_abandon(struct hub *hub)
{
	struct pace_item *item;

	while ((item = pace_pop(&hub->pace))) {
		struct turn *turn = (struct turn *)item;

		turn->run(hub, turn, false);
	}
	show(hub);
}

static void run_turn(struct hub *hub, struct turn *turn, bool go)
{
	struct fetch_request *f =
	    (struct fetch_request *)((char *)turn - offsetof(struct fetch_request, turn));
	bool forsaken = atomic_load_explicit(&f->forsaken, memory_order_relaxed);

	if (go && !forsaken) {
		f->pos = f->after;
		f->stage = FETCH_BEGIN;
		fetch_step(hub, pending_new(hub, &f->base, fetch_failed));
		return;
	}
	fetch_failed(&f->base);
	request_answer(&f->base);
	if (go)
		turn_end(hub);
}

void hub_fetch_here(struct hub *hub, struct fetch_request *f)
{
	f->base.hub = hub;
	f->turn.run = run_turn;
	if (turn_take(hub, f->tenant, &f->turn))
		return;
	f->cut_off = !hub->bus;
	fetch_failed(&f->base);
	request_answer(&f->base);
}

static void fetch_here(struct loop_post *post)
{
	struct request *r = (struct request *)post;

	hub_fetch_here(r->hub, (struct fetch_request *)r);
}

void hub_fetch(struct hub *hub, struct fetch_request *r)
{
	r->base.hub = hub;
	r->base.post.fn = fetch_here;
	loop_post(hub->loop, &r->base.post);
}

/* --- a page ----------------------------------------------------------------------------------- */

static void add_event(struct fetch_request *f, const struct event_view *e, uint64_t offset,
		      uint64_t prev)
{
	struct frame *frame;

	if (offset <= f->pos || f->n == f->limit)
		return;
	frame = channel_frame(f->base.hub, e, table_hash2(f->tenant, f->channel), offset, prev);
	if (f->n && f->max_bytes && f->bytes + frame->len > f->max_bytes) {
		f->full = true;
		frame_unref(frame);
		return;
	}
	if (f->see)
		f->see(f, e);
	f->frames[f->n++] = frame;
	f->bytes += frame->len;
	f->pos = offset;
}

/* Nothing in (pos, to] is kept. That is told at the beginning of a page: false if this one must end
 * here. Who asked for all that there is misses nothing by it. */
static bool step_over(struct fetch_request *f, uint64_t to)
{
	if (f->until && to > f->until)
		to = f->until;
	if (to <= f->pos)
		return true;
	if (f->n)
		return false;
	if (f->after)
		f->lost_to = to;
	f->pos = to;
	return true;
}

/* --- the event-store -------------------------------------------------------------------------- */

static struct event_view view(const Penstock__Event *e)
{
	return (struct event_view){.id = slice_of(e->id),
				   .tenant = slice_of(e->tenant),
				   .channel = slice_of(e->channel),
				   .type = slice_of(e->type),
				   .trace = slice_of(e->trace),
				   .data = {(const char *)e->data.data, e->data.len},
				   .version = e->version,
				   .time_us = e->time_us};
}

static bool add_stored(struct fetch_request *f, const Penstock__StoredEvent *s)
{
	struct event_view e;

	if (!s->event)
		return false;
	e = view(s->event);
	if (!wire_event_fits(&e, f->tenant, f->channel)) {
		metric_add(f->base.hub->edge->stats.malformed, 1);
		f->pos = s->offset;
		return true;
	}
	/* prev 0 says that nothing was before it; whoever stands at `after` knows better. */
	add_event(f, &e, s->offset, s->prev > f->pos || f->n ? s->prev : f->pos);
	return true;
}

/* What PostgreSQL and the stream together do not have: before the first row of all, unless the
 * stream reaches further back, and between the last row and the stream. */
static bool take_store_page(struct fetch_request *f, const Penstock__ReplayReply *page,
			    uint64_t epoch)
{
	uint64_t hole = page->stored && page->position + 1 < f->first_seq ? f->first_seq - 1 : 0;
	bool ends = false;

	if (*page->error || page->epoch != epoch)
		return false;
	f->more = false;
	f->n_store = f->n;
	f->store_position = page->stored ? page->position : 0;
	if (page->stored && page->kept_from > f->pos + 1) {
		if (f->first_seq <= f->pos + 1)
			return true; /* so it is the stream that has it */
		ends = !step_over(
		    f, (page->kept_from < f->first_seq ? page->kept_from : f->first_seq) - 1);
		f->more = ends;
		if (page->kept_from > f->first_seq)
			return true; /* what comes before its first row is in the stream */
	}
	for (size_t i = 0; i < page->n_events && f->n < f->limit && !f->full && !ends; i++) {
		const Penstock__StoredEvent *s = page->events[i];

		ends = hole && s->offset > hole && !step_over(f, hole);
		if (!ends && !add_stored(f, s))
			return false;
	}
	if (!page->more && f->n < f->limit && !f->full && !ends)
		ends = !step_over(f, hole);
	f->more = page->more || f->n == f->limit || f->full || ends;
	f->n_store = f->n;
	return true;
}

bool fetch_take_page(struct fetch_request *f, const void *data, size_t len, uint64_t epoch)
{
	Penstock__ReplayReply *page = penstock__replay_reply__unpack(NULL, len, data);
	bool good = page && take_store_page(f, page, epoch);

	if (page)
		penstock__replay_reply__free_unpacked(page, NULL);
	return good;
}

static void on_page(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct fetch_request *f = (struct fetch_request *)p->request;
	struct hub *hub = p->hub;

	if (result == BUS_TIMEOUT)
		hub->store_away_us = loop_now_us(hub->loop) + STORE_AWAY_US;
	f->store_said = result == BUS_OK && fetch_take_page(f, msg->data, msg->len, hub->epoch);
	if (!f->store_said && f->first_seq > f->pos + 1) {
		/* Only the event-store has it, and it does not answer. */
		f->unreadable_to = f->first_seq - 1;
		failed(p);
	} else if (f->store_said && f->more && f->n) {
		fetch_done(p);
	} else if (f->store_said && f->more) {
		fetch_step(hub, p); /* a page of what could not be read: on to the next one */
	} else {
		f->stage = FETCH_STREAM;
		f->stream_from = f->pos;
		fetch_step(hub, p);
	}
}

static void ask_store(struct hub *hub, struct pending *p)
{
	struct fetch_request *f = (struct fetch_request *)p->request;
	Penstock__ReplayRequest ask = PENSTOCK__REPLAY_REQUEST__INIT;
	uint8_t packed[TENANT_MAX + CHANNEL_MAX + 64];
	size_t len;

	ask.tenant = f->tenant;
	ask.channel = f->channel;
	ask.after = f->pos;
	ask.until = f->until;
	ask.limit = f->limit - f->n;
	ask.max_bytes = (uint32_t)f->max_bytes;
	len = penstock__replay_request__pack(&ask, packed);
	bus_request(hub->bus, SUBJECT_STORE_REPLAY, packed, len, STORE_MS, on_page, p);
}

/* --- the stream ------------------------------------------------------------------------------- */

static void on_stream_msg(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct fetch_request *f = (struct fetch_request *)p->request;
	struct event_view e;

	f->more = false;
	if (result == BUS_NOT_FOUND || (result == BUS_OK && f->until && msg->seq > f->until)) {
		f->stage = FETCH_END;
	} else if (result != BUS_OK) {
		failed(p);
		return;
	} else if (wire_event(msg->data, msg->len, &e) &&
		   wire_event_fits(&e, f->tenant, f->channel)) {
		add_event(f, &e, msg->seq, f->pos);
	} else {
		metric_add(p->hub->edge->stats.malformed, 1);
		f->pos = msg->seq;
	}
	if (f->stage == FETCH_STREAM && (f->n == f->limit || f->full)) {
		f->more = true;
		f->stage = FETCH_END;
	}
	if (f->stage == FETCH_STREAM && f->until && f->pos >= f->until)
		f->stage = FETCH_END;
	fetch_step(p->hub, p);
}

static void back_to_store(struct fetch_request *f)
{
	while (f->n > f->n_store) {
		f->bytes -= f->frames[--f->n]->len;
		frame_unref(f->frames[f->n]);
	}
	f->full = f->more = false;
	f->pos = f->stream_from;
	f->stage = FETCH_STORE;
}

static void begin(struct hub *hub, struct fetch_request *f)
{
	bool trimmed = f->first_seq > f->pos + 1;
	bool far = !f->until || f->until - f->pos > SHORT_WAY;

	f->stream_from = f->pos;
	f->stage = trimmed || (far && loop_now_us(hub->loop) >= hub->store_away_us) ? FETCH_STORE
										    : FETCH_STREAM;
}

/* The page is read: unless something was trimmed away meanwhile, or an event that must be there is
 * not in the stream and the event-store was not asked. That it is gone is believed only where
 * PostgreSQL has that place of the log; a stream's copy may be a moment behind the stream. */
static bool check_end(struct fetch_request *f, uint64_t before)
{
	bool absent = f->exact && !f->more && f->pos < f->until;

	if ((f->first_seq > before && f->first_seq > f->stream_from + 1) ||
	    (absent && !f->store_said)) {
		f->failed = ++f->tries == FETCH_TRIES;
		back_to_store(f);
		return f->failed;
	}
	f->failed = absent && f->store_position < f->until;
	return true;
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct pending *p = arg;
	struct fetch_request *f = (struct fetch_request *)p->request;
	uint64_t before = f->first_seq;

	if (result != BUS_OK) {
		failed(p);
		return;
	}
	f->first_seq = info->first_seq;
	hub_saw_stream(p->hub, info);
	if (f->stage == FETCH_BEGIN)
		begin(p->hub, f);
	else if (check_end(f, before)) {
		fetch_done(p);
		return;
	}
	fetch_step(p->hub, p);
}

static void fetch_step(struct hub *hub, struct pending *p)
{
	struct fetch_request *f = (struct fetch_request *)p->request;
	struct subject subject;

	switch ((enum stage)f->stage) {
	case FETCH_BEGIN:
	case FETCH_END:
		bus_stream_info(hub->bus, STREAM_EVENTS, NULL, on_info, p);
		break;
	case FETCH_STORE:
		ask_store(hub, p);
		break;
	case FETCH_STREAM:
		subject = subject_evt(f->part, f->tenant, f->channel);
		bus_get_next(hub->bus, STREAM_EVENTS, subject.text, f->pos + 1, on_stream_msg, p);
		break;
	}
}
