/* What the hub asks of others on the bus: routers, where a log ends, the event-store about a task.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "proto/store.pb-c.h"
#include "services/edge/direct.h"
#include "services/edge/hub_int.h"

#define TASK_MS    3000
#define REFRESH_US 2000000

struct pending *pending_new(struct hub *hub, struct request *request,
			    void (*fail)(struct request *request))
{
	struct pending *p = xmalloc(sizeof(*p));

	*p = (struct pending){.next = hub->pending, .hub = hub, .request = request, .fail = fail};
	if (p->next)
		p->next->prev = p;
	hub->pending = p;
	return p;
}

struct request *pending_end(struct pending *p)
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

	if (r->routed)
		--*r->routed;
	r->result = result;
	if (result == BUS_OK) {
		r->reply = xmemdup(msg->data, msg->len ? msg->len : 1);
		r->reply_len = msg->len;
	}
	if (r->asks)
		direct_answered(r);
	histogram_observe_us(hub->edge->stats.command_time[r->kind],
			     loop_now_us(hub->loop) - r->start_us);
	request_answer(&r->base);
}

void hub_command_here(struct hub *hub, struct command_request *r)
{
	struct subject subject = subject_cmd(r->part);

	r->base.hub = hub;
	r->start_us = loop_now_us(hub->loop);
	hub_release(hub); /* whom it may concern was there before it */
	if (!hub->bus) {
		command_failed(&r->base);
		request_answer(&r->base);
		return;
	}
	if (direct_publish(hub, r, true))
		return;
	if (r->routed)
		++*r->routed;
	bus_request(hub->bus, subject.text, r->data, r->len + r->asks_len,
		    (int)hub->edge->conf->command_ms, on_reply,
		    pending_new(hub, &r->base, command_failed));
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
	bool fresh, real;
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
	l->fn(l->arg, ok, last, l->real);
	free(l);
}

static void on_first_seq(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct locating *l = arg;

	if (result == BUS_OK)
		hub_saw_stream(l->hub, info);
	locating_end(l, result == BUS_OK, l->hub->first_seq ? l->hub->first_seq - 1 : 0);
}

/* Nothing of the channel is in the stream: what there was lies below its first message. So the
 * place just before that one is a position behind all of the channel's past, and a moment's delay
 * only makes it a little earlier; unless it matters just how far the log goes (fresh). */
static void on_last(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct locating *l = arg;
	uint64_t last = 0;

	l->real = result == BUS_OK;
	if (result == BUS_OK)
		last = msg->seq;
	else if (result == BUS_NOT_FOUND && (l->fresh || !l->hub->first_seq_known)) {
		bus_stream_info(l->hub->bus, STREAM_EVENTS, NULL, on_first_seq, l);
		return;
	} else if (result == BUS_NOT_FOUND && l->hub->first_seq)
		last = l->hub->first_seq - 1;
	locating_end(l, result == BUS_OK || result == BUS_NOT_FOUND, last);
}

void plane_locate(struct hub *hub, unsigned part, const char *tenant, const char *channel,
		  bool fresh, located_fn *fn, void *arg)
{
	struct subject subject = subject_evt(part, tenant, channel);
	struct locating *l = xmalloc(sizeof(*l));

	*l = (struct locating){
	    .next = hub->locating, .hub = hub, .fresh = fresh, .fn = fn, .arg = arg};
	if (l->next)
		l->next->prev = l;
	hub->locating = l;
	bus_get_last(hub->bus, STREAM_EVENTS, subject.text, on_last, l);
}

static void locate_failed(struct request *base)
{
	((struct locate_request *)base)->failed = true;
}

static void on_located(void *arg, bool ok, uint64_t last, bool real)
{
	struct locate_request *r = (struct locate_request *)pending_end(arg);

	r->failed = !ok;
	r->last = last;
	r->real = real;
	request_answer(&r->base);
}

static void locate_now(struct loop_post *post)
{
	struct locate_request *r = (struct locate_request *)post;
	struct hub *hub = r->base.hub;

	if (!hub->bus) {
		locate_failed(&r->base);
		request_answer(&r->base);
		return;
	}
	plane_locate(hub, r->part, r->tenant, r->channel, r->fresh, on_located,
		     pending_new(hub, &r->base, locate_failed));
}

/* Behind its channel's subscription, which may be waiting. */
static void locate_here(struct loop_post *post)
{
	struct request *r = (struct request *)post;

	if (!hub_hold(r->hub, post, locate_now))
		locate_now(post);
}

static void on_refreshed(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct hub *hub = arg;

	if (result == BUS_OK)
		hub_saw_stream(hub, info);
	timer_set(hub->loop, &hub->refresh, REFRESH_US);
}

void plane_refresh(struct hub *hub)
{
	if (hub->bus)
		bus_stream_info(hub->bus, STREAM_EVENTS, NULL, on_refreshed, hub);
}

void plane_abandon(struct hub *hub)
{
	while (hub->locating)
		locating_end(hub->locating, false, 0);
	turns_abandon(hub);
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

bool hub_command_at_once(struct hub *hub, struct command_request *r)
{
	bool done;

	if (!loop_borrow(hub->loop))
		return false;
	r->base.hub = hub;
	r->start_us = loop_now_us(hub->loop);
	hub->borrowed = true;
	done = hub->bus && !atomic_load(&hub->holds) && direct_publish(hub, r, false);
	loop_return(hub->loop);
	return done;
}

void hub_command(struct hub *hub, struct command_request *r)
{
	send_to_hub(hub, &r->base, command_here);
}

void hub_locate(struct hub *hub, struct locate_request *r)
{
	r->base.hub = hub;
	r->base.post.fn = locate_here;
	loop_post_for(hub->loop, &r->base.post, &hub->holds);
}

void hub_task(struct hub *hub, struct task_request *r)
{
	send_to_hub(hub, &r->base, task_here);
}
