#include "services/edge/shard.h"

#include <string.h>

void shard_init(struct hub *hub)
{
	const struct edge_conf *conf = hub->edge->conf;

	ring_init(&hub->ring,
		  &(struct ring_conf){.percent = conf->load_percent, .slack = conf->load_slack});
}

void shard_done(struct hub *hub)
{
	ring_done(&hub->ring);
}

static void put_self(struct hub *hub)
{
	struct edge *edge = hub->edge;

	ring_put(&hub->ring, edge->conf->common.instance, edge->url, edge->conf->region,
		 atomic_load(&edge->connections), atomic_load(&edge->draining));
}

static void put_member(void *arg, const struct member *m)
{
	struct hub *hub = arg;
	const char *url = json_string_value(json_object_get(m->doc, "url"));
	const char *region = json_string_value(json_object_get(m->doc, "region"));
	const char *state = json_string_value(json_object_get(m->doc, "state"));
	json_int_t load = json_integer_value(json_object_get(m->doc, "connections"));

	if (!url || !strcmp(m->id, hub->edge->conf->common.instance))
		return;
	/* Somebody else's document: a number that is none must not upset the sum. */
	load = load < 0 ? 0 : load > INT32_MAX ? INT32_MAX : load;
	ring_put(&hub->ring, m->id, url, region ? region : "", load,
		 state && strcmp(state, "serving"));
}

void shard_view(struct hub *hub)
{
	ring_begin(&hub->ring);
	put_self(hub);
	if (hub->members)
		members_each(hub->members, "edge", put_member, hub);
	ring_end(&hub->ring);
}

struct question {
	const struct hub *hub;
	const char *tenant;
};

static bool is_drained(void *arg, const char *id)
{
	const struct question *q = arg;
	const struct edge_drains *e = catalog_edge(q->hub->catalog, id);

	return e && (e->drained || edge_drains_tenant(e, q->tenant, NULL));
}

const struct ring_edge *shard_find(struct hub *hub, const char *tenant)
{
	struct question q = {hub, tenant};
	const struct tenant *t;

	if (!hub->catalog)
		return NULL;
	put_self(hub);
	t = catalog_tenant(hub->catalog, tenant);
	return ring_find(&hub->ring, tenant, t ? t->region : "", is_drained, &q,
			 loop_now_us(hub->loop));
}

json_t *shard_describe(void *arg)
{
	struct hub *hub = arg;
	struct edge *edge = hub->edge;

	return json_pack("{s:s, s:s, s:s, s:I}", "url", edge->url, "region", edge->conf->region,
			 "state", atomic_load(&edge->draining) ? "draining" : "serving",
			 "connections", (json_int_t)atomic_load(&edge->connections));
}
