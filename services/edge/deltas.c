#include "services/edge/deltas.h"

#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "services/edge/hub_int.h"

#define SCAN_MAX (2 * PAGE_MAX) /* messages of a page, also those that are not wanted */
#define NEAR     4096           /* messages between two bounds: the broker finds it by itself */
#define SKEW_US  30000000       /* of the workers' clocks and the broker's */

struct delta_request *delta_request_new(unsigned part, const char *tenant, const char *channel)
{
	struct delta_request *r = xcalloc(1, sizeof(*r));

	r->part = part;
	memcpy(r->tenant, tenant, strlen(tenant) + 1);
	memcpy(r->channel, channel, strlen(channel) + 1);
	return r;
}

void delta_request_free(struct delta_request *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->n; i++)
		frame_unref(r->frames[i]);
	stages_done(&r->stages);
	free(r);
}

static struct delta_request *request_of(const struct pending *p)
{
	return (struct delta_request *)p->request;
}

static void mark_failed(struct request *base)
{
	((struct delta_request *)base)->failed = true;
}

/* The turn is over, and with it the page. */
static void end(struct pending *p, bool failed)
{
	struct hub *hub = p->hub;
	struct delta_request *r = (struct delta_request *)pending_end(p);

	r->failed = failed;
	metric_add(hub->edge->stats.delta_pages, 1);
	request_answer(&r->base);
	turn_end(hub);
}

/* --- the page --------------------------------------------------------------------------------- */

static void next_delta(struct pending *p);

/* False: it has no room any more. */
static bool take(struct hub *hub, struct delta_request *r, const struct bus_msg *msg)
{
	struct delta_view d;
	struct frame *f = NULL;

	r->scanned++;
	if (wire_delta(msg->data, msg->len, &d) && stages_want(&r->stages, &d))
		f = channel_delta(hub, &d, r->channel, msg->seq);
	if (f && r->n && r->bytes + f->len > r->max_bytes) {
		frame_unref(f);
		return false;
	}
	r->pos = msg->seq;
	if (f) {
		r->bytes += f->len;
		r->frames[r->n++] = f;
	}
	return r->n < PAGE_MAX && r->scanned < SCAN_MAX;
}

static void on_delta(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct delta_request *r = request_of(p);

	if (result == BUS_NOT_FOUND) {
		end(p, false);
	} else if (result != BUS_OK) {
		r->more = true;
		end(p, r->n == 0); /* what was read goes out first */
	} else if (take(p->hub, r, msg)) {
		next_delta(p);
	} else {
		r->more = true;
		end(p, false);
	}
}

static void next_delta(struct pending *p)
{
	const struct delta_request *r = request_of(p);
	struct subject subject = subject_dlt(r->part, r->tenant, r->channel);

	bus_get_next(p->hub->bus, STREAM_DELTAS, subject.text, r->pos + 1, on_delta, p);
}

/* --- where to begin --------------------------------------------------------------------------- */

static void bisect(struct pending *p);

/* In the middle: what is not there any more, or is older, is no place to begin at. */
static void on_middle(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct delta_request *r = request_of(p);
	uint64_t middle = r->low + (r->high - r->low) / 2;

	if (result != BUS_OK && result != BUS_NOT_FOUND) {
		end(p, true);
		return;
	}
	if (result == BUS_OK && msg->time_us >= r->since_us)
		r->high = middle;
	else
		r->low = middle;
	bisect(p);
}

static void bisect(struct pending *p)
{
	struct delta_request *r = request_of(p);

	if (r->high > r->low + NEAR) {
		bus_get(p->hub->bus, STREAM_DELTAS, r->low + (r->high - r->low) / 2, on_middle, p);
		return;
	}
	if (r->pos < r->low)
		r->pos = r->low ? r->low - 1 : 0;
	r->known = true;
	next_delta(p);
}

static void on_bounds(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct pending *p = arg;
	struct delta_request *r = request_of(p);

	if (result != BUS_OK) {
		end(p, true);
		return;
	}
	if (r->low < info->first_seq)
		r->low = info->first_seq;
	bisect(p);
}

/* --- what is under way ------------------------------------------------------------------------ */

static void ask_log(struct hub *hub, struct delta_request *r, uint64_t after);

static void failed_here(struct delta_request *r)
{
	r->failed = true;
	request_answer(&r->base);
}

static void see(struct fetch_request *f, const struct event_view *e)
{
	stages_event(&((struct delta_request *)f->base.arg)->stages, e);
}

static void on_log(struct request *base)
{
	struct fetch_request *f = (struct fetch_request *)base;
	struct delta_request *r = base->arg;
	struct hub *hub = base->hub;
	bool failed = f->failed, more = f->more;
	uint64_t pos = f->n ? f->frames[f->n - 1]->offset : 0;

	for (unsigned i = 0; i < f->n; i++)
		frame_unref(f->frames[i]);
	free(f);
	if (!failed && more && pos) {
		ask_log(hub, r, pos);
		return;
	}
	r->since_us = stages_since(&r->stages);
	if (!failed && !r->since_us) { /* nothing is under way */
		r->pos = r->high;
		request_answer(&r->base);
		return;
	}
	r->since_us -= SKEW_US;
	if (failed || !turn_take(hub, r->tenant, &r->turn))
		failed_here(r);
}

static void ask_log(struct hub *hub, struct delta_request *r, uint64_t after)
{
	struct fetch_request *f = xcalloc(1, sizeof(*f));

	f->base.done = on_log;
	f->base.arg = r;
	f->part = r->part;
	memcpy(f->tenant, r->tenant, sizeof(f->tenant));
	memcpy(f->channel, r->channel, sizeof(f->channel));
	f->after = after;
	f->limit = PAGE_MAX;
	f->max_bytes = PAGE_BYTES;
	f->see = see;
	hub_fetch_here(hub, f);
}

/* --- turns ------------------------------------------------------------------------------------ */

/* Is there anything at all? Most tasks that are subscribed to have said nothing yet, or nothing any
 * more. */
static void on_last(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct pending *p = arg;
	struct delta_request *r = request_of(p);
	struct hub *hub = p->hub;

	if (result != BUS_OK) {
		end(p, result != BUS_NOT_FOUND);
		return;
	}
	r->high = msg->seq;
	pending_end(p);
	turn_end(hub);
	ask_log(hub, r, 0);
}

static void begin(struct hub *hub, struct delta_request *r)
{
	struct pending *p = pending_new(hub, &r->base, mark_failed);
	struct subject subject = subject_dlt(r->part, r->tenant, r->channel);

	if (r->known)
		next_delta(p);
	else if (r->high)
		bus_stream_info(hub->bus, STREAM_DELTAS, NULL, on_bounds, p);
	else
		bus_get_last(hub->bus, STREAM_DELTAS, subject.text, on_last, p);
}

static void run_page(struct hub *hub, struct turn *turn, bool go)
{
	struct delta_request *r =
	    (struct delta_request *)((char *)turn - offsetof(struct delta_request, turn));

	if (go && !atomic_load_explicit(&r->forsaken, memory_order_relaxed)) {
		begin(hub, r);
		return;
	}
	failed_here(r);
	if (go)
		turn_end(hub);
}

static void deltas_here(struct loop_post *post)
{
	struct delta_request *r = (struct delta_request *)post;
	struct hub *hub = r->base.hub;

	r->turn.run = run_page;
	r->failed = r->more = false;
	r->n = r->scanned = 0;
	r->bytes = 0;
	if (!r->known) { /* from the start: a try failed on the way */
		stages_done(&r->stages);
		r->low = r->high = 0;
	}
	if (!turn_take(hub, r->tenant, &r->turn))
		failed_here(r);
}

void hub_deltas(struct hub *hub, struct delta_request *r)
{
	r->base.hub = hub;
	r->base.post.fn = deltas_here;
	loop_post(hub->loop, &r->base.post);
}
