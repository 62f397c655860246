/* The hub's part: what the operators want, what the signal wants, and who is told of it. */
#include "services/edge/drain.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "services/edge/shard.h"
#include "services/edge/usage_bus.h"

static void tell_reactors(struct hub *hub, const struct drain_plan *plan)
{
	log_at(LOG_INFO, plan->on ? "draining" : "not draining any more",
	       LOG_S("tenant", *plan->tenant ? plan->tenant : "*"), LOG_S("reason", plan->reason),
	       LOG_I("connections", atomic_load(&hub->edge->connections)),
	       LOG_I("deadline_ms", plan->notice_ms), LOG_I("spread_ms", plan->spread_ms));
	for (unsigned i = 0; i < hub->edge->n_reactors; i++)
		reactor_drain(hub->edge->reactors[i], plan);
}

static struct drain_plan plan_of(const struct hub *hub, const char *tenant, bool on,
				 const struct drain_times *times, const char *reason)
{
	const struct edge_conf *conf = hub->edge->conf;
	struct drain_plan plan = {.on = on, .reason = reason};

	snprintf(plan.tenant, sizeof(plan.tenant), "%s", tenant);
	plan.notice_ms = times && times->notice_ms >= 0 ? times->notice_ms : conf->drain_ms;
	plan.spread_ms = times && times->spread_ms >= 0 ? times->spread_ms : conf->drain_spread_ms;
	return plan;
}

/* The others learn it first, then the door is closed, then the sockets are told. */
static void drain_all(struct hub *hub, bool on, const struct drain_times *times, const char *reason)
{
	const struct drain_plan plan = plan_of(hub, "", on, times, reason);

	atomic_store(&hub->edge->draining, on);
	metric_set(hub->edge->stats.draining, on);
	if (hub->members)
		members_update(hub->members, shard_describe(hub));
	hub_update_ready(hub);
	tell_reactors(hub, &plan);
}

static bool same_times(const struct drain_times *a, const struct drain_times *b)
{
	return a->notice_ms == b->notice_ms && a->spread_ms == b->spread_ms;
}

static void configure_all(struct hub *hub, const struct edge_drains *e)
{
	bool on = e && e->drained;

	/* A stop is for good, and its own times hold. */
	if (hub->stops || (on == hub->drained && (!on || same_times(&e->times, &hub->drain_times))))
		return;
	hub->drained = on;
	if (on)
		hub->drain_times = e->times;
	drain_all(hub, on, on ? &e->times : NULL, "operator");
}

/* Here too the others learn it first: they do not count any more who is about to come to them. */
static void configure_tenants(struct hub *hub, const struct edge_drains *e)
{
	json_t *old = hub->drained_tenants, *new = e ? json_incref((json_t *)e->tenants) : NULL;
	struct drain_times times;
	const char *tenant;
	json_t *item;

	hub->drained_tenants = new;
	atomic_store(&hub->edge->drains_tenants, json_object_size(new) > 0);
	if (old != new && !json_equal(old, new))
		usage_tell_changes(hub);
	json_object_foreach(old, tenant, item)
	{
		const struct drain_plan plan = plan_of(hub, tenant, false, NULL, "operator");

		if (!json_object_get(new, tenant))
			tell_reactors(hub, &plan);
	}
	json_object_foreach(new, tenant, item)
	{
		struct drain_plan plan;

		if (json_equal(json_object_get(old, tenant), item) ||
		    !edge_drains_tenant(e, tenant, &times))
			continue;
		plan = plan_of(hub, tenant, true, &times, "operator");
		tell_reactors(hub, &plan);
	}
	json_decref(old);
}

void drain_configured(struct hub *hub)
{
	const struct edge_drains *e = catalog_edge(hub->catalog, hub->edge->conf->common.instance);

	configure_all(hub, e);
	configure_tenants(hub, e);
}

bool drain_refuses(struct hub *hub, const char *tenant)
{
	const char *here = hub->edge->conf->common.instance;
	const struct ring_edge *e;

	if (!json_object_get(hub->drained_tenants, tenant))
		return false;
	e = shard_find(hub, tenant);
	return e && strcmp(e->id, here) != 0;
}

void drain_stop(struct hub *hub)
{
	static const struct drain_times at_once = {0, 0};

	drain_all(hub, true, hub->stops++ ? &at_once : NULL, "shutdown");
}

void drain_done(struct hub *hub)
{
	json_decref(hub->drained_tenants);
	hub->drained_tenants = NULL;
}
