#include "services/edge/usage_bus.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct looking {
	const char *id;
	bool found;
};

static void compare(void *arg, const struct member *m)
{
	struct looking *l = arg;
	const char *state = json_string_value(json_object_get(m->doc, "state"));

	l->found |= !strcmp(m->id, l->id) && (!state || !strcmp(state, "serving"));
}

/* What a draining edge still has is about to come to the others, and shall not stand in its own
 * way. While nobody is known, everybody is believed. */
static bool lives(void *arg, const char *edge)
{
	const struct hub *hub = arg;
	struct looking l = {.id = edge};

	if (!hub->members || !members_known(hub->members))
		return true;
	members_each(hub->members, "edge", compare, &l);
	return l.found;
}

static void tell(void *arg, const Penstock__Usage *message)
{
	struct hub *hub = arg;
	size_t len = penstock__usage__get_packed_size(message);
	void *data = xmalloc(len + 1);
	struct error err;

	penstock__usage__pack(message, data);
	if (bus_publish(hub->bus, SUBJECT_USAGE, data, len, &err))
		log_at(LOG_ERROR, "usage cannot be told", LOG_S("error", err.msg));
	free(data);
}

static void report(struct hub *hub, bool everything, bool hello)
{
	if (everything)
		hub->usage_all_us = loop_now_us(hub->loop);
	usage_report(&hub->edge->usage, everything, hello, tell, hub);
}

static void on_message(void *arg, const struct bus_msg *msg)
{
	struct hub *hub = arg;
	Penstock__Usage *in = penstock__usage__unpack(NULL, msg->len, msg->data);

	if (!in) {
		metric_add(hub->edge->stats.malformed, 1);
		return;
	}
	if (in->boot != hub->edge->usage.boot) {
		hub->usage_asked |= in->hello;
		if (lives(hub, in->edge))
			usage_heard(&hub->edge->usage, in);
	}
	penstock__usage__free_unpacked(in, NULL);
}

static bool drained(void *arg, const char *tenant)
{
	const struct hub *hub = arg;

	return json_object_get(hub->drained_tenants, tenant) != NULL;
}

void usage_tell_changes(struct hub *hub)
{
	if (bus_connected(hub->bus))
		report(hub, false, false);
}

static void on_interval(struct timer *timer, void *arg)
{
	struct hub *hub = arg;
	bool all =
	    hub->usage_asked || loop_now_us(hub->loop) >= hub->usage_all_us + USAGE_ALL_MS * 1000;

	(void)timer;
	/* Without a connection nobody hears it: what has changed is told when it is back. */
	if (bus_connected(hub->bus)) {
		report(hub, all, false);
		hub->usage_asked = false;
	}
	timer_set(hub->loop, &hub->usage_timer, USAGE_CHANGES_MS * 1000);
}

void usage_greet(struct hub *hub)
{
	report(hub, true, true);
}

void usage_view(struct hub *hub)
{
	usage_keep(&hub->edge->usage, lives, hub);
}

int usage_start(struct hub *hub, struct error *err)
{
	usage_init(&hub->edge->usage, hub->edge->conf->common.instance, rng_next(&hub->rng),
		   &hub->edge->stats.usage);
	hub->edge->usage.drained = drained;
	hub->edge->usage.arg = hub;
	timer_init(&hub->usage_timer, on_interval, hub);
	timer_set(hub->loop, &hub->usage_timer, USAGE_CHANGES_MS * 1000);
	hub->usage_sub = bus_subscribe(hub->bus, SUBJECT_USAGE, NULL, on_message, hub, err);
	return hub->usage_sub ? 0 : -1;
}

void usage_stop(struct hub *hub)
{
	if (hub->usage_sub)
		timer_cancel(hub->loop, &hub->usage_timer);
	bus_unsubscribe(hub->usage_sub);
	hub->usage_sub = NULL;
}
