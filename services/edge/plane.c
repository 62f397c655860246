/* What the hub asks of others on the bus: routers, the log, the event-store. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "proto/store.pb-c.h"
#include "services/edge/hub_int.h"

#define STORE_MS    2000
#define TASK_MS     3000
#define REFRESH_US  2000000
#define FETCH_TRIES 4
#define SHORT_WAY   16 /* offsets: so few events are read one by one from the stream */

static struct pending *pending_new(struct hub *hub, struct request *request,
				   void (*fail)(struct request *request))
{
	struct pending *p = xmalloc(sizeof(*p));

	*p = (struct pending){.next = hub->pending, .hub = hub, .request = request, .fail = fail};
	if (p->next)
		p->next->prev = p;
	hub->pending = p;
	return p;
}

static struct request *pending_end(struct pending *p)
{
	struct request *request = p->request;

	if (p->prev)
		p->prev->next = p->next;
	else
		p->hub->pending = p->next;
	if (p->next)
		p->next->prev = p->prev;
	free(p);
	return request;
}

/* --- commands ----------------------------------------------------------------------------- */

static void command_failed(struct request *base)
{
	((struct command_request *)base)->result = BUS_UNAVAILABLE;
}

static void on_reply(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct command_request *r = (struct command_request *)pending_end(arg);
	struct hub *hub = r->base.hub;

	r->result = result;
	if (result == BUS_OK) {
		r->reply = xmemdup(msg->data, msg->len ? msg->len : 1);
		r->reply_len = msg->len;
	}
	histogram_observe_us(hub->edge->stats.command_time[r->kind],
			     loop_now_us(hub->loop) - r->start_us);
	request_answer(&r->base);
}

void hub_command_here(struct hub *hub, struct command_request *r)
{
	struct subject subject = subject_cmd(r->part);

	r->base.hub = hub;
	r->start_us = loop_now_us(hub->loop);
	if (!hub->bus) {
		command_failed(&r->base);
		request_answer(&r->base);
		return;
	}
	bus_request(hub->bus, subject.text, r->data, r->len, (int)hub->edge->conf->command_ms,
		    on_reply, pending_new(hub, &r->base, command_failed));
}

static void task_failed(struct request *base)
{
	((struct task_request *)base)->result = BUS_UNAVAILABLE;
}

static void on_task(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct task_request *r = (struct task_request *)pending_end(arg);

	r->result = result;
	if (result == BUS_OK) {
		r->reply = xmemdup(msg->data, msg->len ? msg->len : 1);
		r->reply_len = msg->len;
	}
	request_answer(&r->base);
}

void hub_task_here(struct hub *hub, struct task_request *r)
{
	Penstock__TaskRequest ask = PENSTOCK__TASK_REQUEST__INIT;
	uint8_t packed[TENANT_MAX + ID_LEN + 16];
	size_t len;

	r->base.hub = hub;
	if (!hub->bus) {
		task_failed(&r->base);
		request_answer(&r->base);
		return;
	}
	ask.tenant = r->tenant;
	ask.task = r->task;
	len = penstock__task_request__pack(&ask, packed);
	bus_request(hub->bus, SUBJECT_STORE_TASK, packed, len, TASK_MS, on_task,
		    pending_new(hub, &r->base, task_failed));
}

/* --- where a log ends --------------------------------------------------------------------- */

struct locating {
	struct locating *prev, *next;
	struct hub *hub;
	located_fn *fn;
	void *arg;
};

static void locating_end(struct locating *l, bool ok, uint64_t last)
{
	if (l->prev)
		l->prev->next = l->next;
	else
		l->hub->locating = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->fn(l->arg, ok, last);
	free(l);
}

static void on_first_seq(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct locating *l = arg;

	if (result == BUS_OK) {
		l->hub->first_seq = info->first_seq;
		l->hub->first_seq_known = true;
	}
	locating_end(l, result == BUS_OK, l->hub->first_seq ? l->hub->first_seq - 1 : 0);
}

/* Nothing of the channel is in the stream: what there was lies below its first message. So the
 * place just before that one is a position behind all of the channel's past, and a moment's delay
 * only makes it a little earlier. */
static void on_last(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct locating *l = arg;
	uint64_t last = 0;

	if (result == BUS_OK)
		last = msg->seq;
	else if (result == BUS_NOT_FOUND && !l->hub->first_seq_known) {
		bus_stream_info(l->hub->bus, STREAM_EVENTS, NULL, on_first_seq, l);
		return;
	} else if (result == BUS_NOT_FOUND && l->hub->first_seq)
		last = l->hub->first_seq - 1;
	locating_end(l, result == BUS_OK || result == BUS_NOT_FOUND, last);
}

void plane_locate(struct hub *hub, unsigned part, const char *tenant, const char *channel,
		  located_fn *fn, void *arg)
{
	struct subject subject = subject_evt(part, tenant, channel);
	struct locating *l = xmalloc(sizeof(*l));

	*l = (struct locating){.next = hub->locating, .hub = hub, .fn = fn, .arg = arg};
	if (l->next)
		l->next->prev = l;
	hub->locating = l;
	bus_get_last(hub->bus, STREAM_EVENTS, subject.text, on_last, l);
}

static void locate_failed(struct request *base)
{
	((struct locate_request *)base)->failed = true;
}

static void on_located(void *arg, bool ok, uint64_t last)
{
	struct locate_request *r = (struct locate_request *)pending_end(arg);

	r->failed = !ok;
	r->last = last;
	request_answer(&r->base);
}

static void locate_here(struct loop_post *post)
{
	struct locate_request *r = (struct locate_request *)post;
	struct hub *hub = r->base.hub;

	if (!hub->bus) {
		locate_failed(&r->base);
		request_answer(&r->base);
		return;
	}
	plane_locate(hub, r->part, r->tenant, r->channel, on_located,
		     pending_new(hub, &r->base, locate_failed));
}

static void on_refreshed(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct hub *hub = arg;

	if (result == BUS_OK) {
		hub->first_seq = info->first_seq;
		hub->first_seq_known = true;
	}
	timer_set(hub->loop, &hub->refresh, REFRESH_US);
}

void plane_refresh(struct hub *hub)
{
	if (hub->bus && hub->n_channels)
		bus_stream_info(hub->bus, STREAM_EVENTS, NULL, on_refreshed, hub);
	else if (hub->bus)
		timer_set(hub->loop, &hub->refresh, REFRESH_US);
}

/* --- reading a log ------------------------------------------------------------------------ */

/* The event-store may lag behind the stream, and the stream may have been trimmed, but only below
 * what the event-store has. So: look where the stream begins; if that is behind what is wanted, or
 * the way is long (a page of the event-store is one question, of the stream one for each event),
 * ask the event-store first; then read the stream; then look once more where it begins, for what
 * was trimmed meanwhile is to be had from the event-store. */
enum stage { FETCH_BEGIN, FETCH_STORE, FETCH_STREAM, FETCH_END };

static void fetch_step(struct hub *hub, struct pending *p);

static void fetch_failed(struct request *base)
{
	((struct fetch_request *)base)->failed = true;
}

static void fetch_done(struct pending *p)
{
	struct fetch_request *f = (struct fetch_request *)pending_end(p);

	metric_add(f->base.hub->edge->stats.fetches, 1);
	if (f->failed)
		metric_add(f->base.hub->edge->stats.fetch_failed, 1);
	request_answer(&f->base);
}

static void add_event(struct fetch_request *f, const struct event_view *e, uint64_t offset,
		      uint64_t prev)
{
	if (offset <= f->pos || f->n == PAGE_MAX)
		return;
	f->frames[f->n++] = channel_frame(f->base.hub, e, offset, prev);
	f->pos = offset;
}

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

static bool take_store_page(struct fetch_request *f, const Penstock__ReplayReply *page,
			    uint64_t epoch)
{
	if (*page->error || page->epoch != epoch)
		return false;
	for (size_t i = 0; i < page->n_events && f->n < f->limit; i++) {
		const Penstock__StoredEvent *s = page->events[i];
		struct event_view e;

		if (!s->event)
			return false;
		e = view(s->event);
		if (f->n == 0 && s->prev > f->after)
			f->missing_to = s->prev;
		/* prev 0 says that nothing was before it; whoever stands at `after` knows better.
		 */
		add_event(f, &e, s->offset, s->prev > f->pos || f->n ? s->prev : f->pos);
	}
	f->more = page->more || f->n == f->limit;
	f->n_store = f->n;
	return true;
}

static void on_page(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct fetch_request *f = (struct fetch_request *)p->request;
	struct hub *hub = p->hub;
	Penstock__ReplayReply *page = NULL;
	bool ok;

	if (result == BUS_OK)
		page = penstock__replay_reply__unpack(NULL, msg->len, msg->data);
	ok = page && take_store_page(f, page, hub->epoch);
	if (page)
		penstock__replay_reply__free_unpacked(page, NULL);
	if (!ok && f->first_seq > f->pos + 1) {
		f->failed = true; /* only the event-store has it, and it does not answer */
		fetch_done(p);
	} else if (ok && f->more) {
		fetch_done(p);
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
	len = penstock__replay_request__pack(&ask, packed);
	bus_request(hub->bus, SUBJECT_STORE_REPLAY, packed, len, STORE_MS, on_page, p);
}

static void on_stream_msg(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct fetch_request *f = (struct fetch_request *)p->request;
	struct event_view e;

	f->more = false;
	if (result == BUS_NOT_FOUND || (result == BUS_OK && f->until && msg->seq > f->until)) {
		f->stage = FETCH_END;
	} else if (result != BUS_OK) {
		f->failed = true;
		fetch_done(p);
		return;
	} else if (wire_event(msg->data, msg->len, &e) &&
		   wire_event_fits(&e, f->tenant, f->channel)) {
		add_event(f, &e, msg->seq, f->pos);
	} else {
		metric_add(p->hub->edge->stats.malformed, 1);
		f->pos = msg->seq;
	}
	if (f->stage == FETCH_STREAM && f->n == f->limit) {
		f->more = true;
		f->stage = FETCH_END;
	}
	if (f->stage == FETCH_STREAM && f->until && f->pos >= f->until)
		f->stage = FETCH_END;
	fetch_step(p->hub, p);
}

static void drop_stream_part(struct fetch_request *f)
{
	while (f->n > f->n_store)
		frame_unref(f->frames[--f->n]);
	f->pos = f->stream_from;
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct pending *p = arg;
	struct fetch_request *f = (struct fetch_request *)p->request;
	uint64_t before = f->first_seq;

	if (result != BUS_OK) {
		f->failed = true;
		fetch_done(p);
		return;
	}
	f->first_seq = p->hub->first_seq = info->first_seq;
	p->hub->first_seq_known = true;
	if (f->stage == FETCH_BEGIN) {
		f->stage = FETCH_STREAM;
		f->stream_from = f->pos;
		if (f->first_seq > f->pos + 1 || !f->until || f->until - f->pos > SHORT_WAY)
			f->stage = FETCH_STORE;
	} else if (f->first_seq > before && f->first_seq > f->stream_from + 1) {
		drop_stream_part(f);
		f->stage = FETCH_STORE;
		f->failed = ++f->tries == FETCH_TRIES;
	} else {
		fetch_done(p);
		return;
	}
	if (f->failed)
		fetch_done(p);
	else
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

void hub_fetch_here(struct hub *hub, struct fetch_request *f)
{
	f->base.hub = hub;
	f->pos = f->after;
	f->stage = FETCH_BEGIN;
	if (!hub->bus) {
		fetch_failed(&f->base);
		request_answer(&f->base);
		return;
	}
	fetch_step(hub, pending_new(hub, &f->base, fetch_failed));
}

void plane_abandon(struct hub *hub)
{
	while (hub->locating)
		locating_end(hub->locating, false, 0);
	while (hub->pending) {
		void (*fail)(struct request *) = hub->pending->fail;
		struct request *r = pending_end(hub->pending);

		fail(r);
		request_answer(r);
	}
}

/* --- from other threads ------------------------------------------------------------------- */

static void command_here(struct loop_post *post)
{
	struct request *r = (struct request *)post;

	hub_command_here(r->hub, (struct command_request *)r);
}

static void fetch_here(struct loop_post *post)
{
	struct request *r = (struct request *)post;

	hub_fetch_here(r->hub, (struct fetch_request *)r);
}

static void task_here(struct loop_post *post)
{
	struct request *r = (struct request *)post;

	hub_task_here(r->hub, (struct task_request *)r);
}

static void send_to_hub(struct hub *hub, struct request *r, void (*fn)(struct loop_post *post))
{
	r->hub = hub;
	r->post.fn = fn;
	loop_post(hub->loop, &r->post);
}

void hub_command(struct hub *hub, struct command_request *r)
{
	send_to_hub(hub, &r->base, command_here);
}

void hub_locate(struct hub *hub, struct locate_request *r)
{
	send_to_hub(hub, &r->base, locate_here);
}

void hub_fetch(struct hub *hub, struct fetch_request *r)
{
	send_to_hub(hub, &r->base, fetch_here);
}

void hub_task(struct hub *hub, struct task_request *r)
{
	send_to_hub(hub, &r->base, task_here);
}
