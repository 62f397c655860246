#include "services/edge/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/edge/hub_int.h"

/* --- ready -------------------------------------------------------------------------------- */

static void update_ready(struct hub *hub)
{
	struct edge *edge = hub->edge;
	const char *why = NULL;

	if (atomic_load(&edge->draining))
		why = "draining";
	else if (!hub->bus || !bus_connected(hub->bus))
		why = "no connection to NATS";
	else if (!hub->topology_ready)
		why = "streams are not there yet";
	else if (!catalog_ready(hub->catalog))
		why = "configuration is not read yet";
	if (!why)
		atomic_store(&edge->serving, true);
	if (atomic_exchange(&edge->ready, !why) != !why)
		log_at(LOG_INFO, why ? "not ready" : "ready", LOG_S("reason", why));
	if (edge->admin)
		admin_ready(edge->admin, !why, why);
}

static void on_topology(void *arg, uint64_t epoch)
{
	struct hub *hub = arg;

	hub->epoch = epoch;
	epoch_format(epoch, hub->edge->epoch);
	hub->topology_ready = true;
	plane_refresh(hub);
	update_ready(hub);
}

static void on_catalog(void *arg)
{
	update_ready(arg);
}

static void on_connection(void *arg, bool connected)
{
	struct hub *hub = arg;

	log_at(connected ? LOG_INFO : LOG_WARN,
	       connected ? "connected to NATS" : "NATS connection lost");
	if (connected && hub->was_connected)
		channel_sweep(hub);
	hub->was_connected |= connected;
	update_ready(hub);
}

/* --- who may stay ------------------------------------------------------------------------- */

static void tenant_changed(struct hub *hub, const char *id)
{
	const struct tenant *t = catalog_tenant(hub->catalog, id);

	if (t && t->active)
		return;
	for (unsigned i = 0; i < hub->edge->n_reactors; i++)
		reactor_revoke(hub->edge->reactors[i], id, NULL, CLOSE_TENANT, 0, 0);
}

static void key_changed(struct hub *hub, const char *id)
{
	const struct api_key *key = catalog_key(hub->catalog, id);
	bool good =
	    key && auth_recheck(hub->catalog, key->tenant, id, loop_wall_us(hub->loop)) != AUTH_BAD;

	for (unsigned i = 0; i < hub->edge->n_reactors; i++)
		reactor_revoke(hub->edge->reactors[i], NULL, id, good ? 0 : CLOSE_TOKEN,
			       good ? key->scopes : 0, good ? key->expires_us : 0);
}

static void on_changed(void *arg, const char *key)
{
	struct hub *hub = arg;

	if (!hub->edge->reactors)
		return;
	if (!strncmp(key, "tenant.", 7))
		tenant_changed(hub, key + 7);
	else if (!strncmp(key, "key.", 4))
		key_changed(hub, key + 4);
}

static void auth_here(struct loop_post *post)
{
	struct auth_request *r = (struct auth_request *)post;
	struct hub *hub = r->base.hub;

	r->result = hub->bus && hub->topology_ready
			? auth_check(hub->catalog, r->token, loop_wall_us(hub->loop), &r->who)
			: AUTH_NOT_READY;
	if (r->token) {
		explicit_bzero(r->token, strlen(r->token));
		free(r->token);
		r->token = NULL;
	}
	request_answer(&r->base);
}

void hub_auth(struct hub *hub, struct auth_request *r)
{
	r->base.hub = hub;
	r->base.post.fn = auth_here;
	loop_post(hub->loop, &r->base.post);
}

/* --- topics ------------------------------------------------------------------------------- */

static void attach_here(struct loop_post *post)
{
	struct topic *t = (struct topic *)post;

	channel_attach(t->reactor->edge->hub, t);
}

void hub_attach(struct hub *hub, struct topic *topic)
{
	topic->post.fn = attach_here;
	loop_post(hub->loop, &topic->post);
}

static void detach_here(struct loop_post *post)
{
	struct topic *t = (struct topic *)post;

	channel_detach(t->reactor->edge->hub, t);
}

void hub_detach(struct hub *hub, struct topic *topic)
{
	topic->post.fn = detach_here;
	loop_post(hub->loop, &topic->post);
}

/* --- life --------------------------------------------------------------------------------- */

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	(void)hook;
	channel_turn_end(arg);
}

static void on_refresh(struct timer *timer, void *arg)
{
	(void)timer;
	plane_refresh(arg);
}

static void on_resweep(struct timer *timer, void *arg)
{
	(void)timer;
	channel_sweep(arg);
}

struct hub *hub_open(struct edge *edge, edge_bus_fn *open_bus, struct error *err)
{
	struct hub *hub = xcalloc(1, sizeof(*hub));

	hub->edge = edge;
	timer_init(&hub->refresh, on_refresh, hub);
	timer_init(&hub->resweep, on_resweep, hub);
	hub->loop = loop_new(err);
	if (hub->loop)
		hub->bus = open_bus(hub->loop, edge->conf, edge->metrics, err);
	if (!hub->bus) {
		hub_free(hub);
		return NULL;
	}
	return hub;
}

int hub_start(struct hub *hub, struct error *err)
{
	struct edge *edge = hub->edge;
	const struct topology_conf conf = {.replicas = (int)edge->conf->common.replicas};
	json_t *self = json_pack("{s:s, s:s}", "url", edge->url, "region", edge->conf->region);

	hub->outbox = xcalloc(edge->n_reactors, sizeof(*hub->outbox));
	hub->hook = (struct loop_hook){.fn = on_turn_end, .arg = hub};
	loop_hook_add(hub->loop, &hub->hook);
	bus_on_state(hub->bus, on_connection, hub);
	hub->topology = topology_start(hub->bus, hub->loop, &conf, on_topology, hub);
	hub->catalog = catalog_start(hub->bus, hub->loop, on_catalog, on_changed, hub, err);
	if (!hub->catalog) {
		json_decref(self);
		return -1;
	}
	hub->members = members_start(hub->bus, hub->loop, "edge", edge->conf->common.instance, self,
				     NULL, NULL, err);
	update_ready(hub);
	return hub->members ? 0 : -1;
}

struct loop *hub_loop(struct hub *hub)
{
	return hub->loop;
}

struct elsewhere {
	const struct edge *edge;
	char *url;
};

static void other_edge(void *arg, const struct member *m)
{
	struct elsewhere *e = arg;
	const char *url = json_string_value(json_object_get(m->doc, "url"));

	if (!e->url && url && strcmp(m->id, e->edge->conf->common.instance))
		e->url = xstrdup(url);
}

char *hub_elsewhere(struct hub *hub)
{
	struct elsewhere e = {.edge = hub->edge};

	if (hub->members)
		members_each(hub->members, "edge", other_edge, &e);
	return e.url ? e.url : xstrdup(hub->edge->url);
}

void hub_leave(struct hub *hub)
{
	members_stop(hub->members);
	hub->members = NULL;
	update_ready(hub);
}

void hub_hang_up(struct hub *hub)
{
	struct error err = {0};

	if (!hub->bus)
		return;
	hub_leave(hub);
	catalog_stop(hub->catalog);
	topology_stop(hub->topology);
	hub->catalog = NULL;
	hub->topology = NULL;
	for (size_t i = 0; i < hub->n_channels; i++) {
		bus_unsubscribe(hub->channels[i]->sub);
		hub->channels[i]->sub = NULL;
	}
	if (bus_connected(hub->bus) && bus_flush(hub->bus, 1000, &err))
		log_at(LOG_WARN, "not everything was sent to NATS", LOG_S("error", err.msg));
	bus_free(hub->bus);
	hub->bus = NULL;
	timer_cancel(hub->loop, &hub->refresh);
	timer_cancel(hub->loop, &hub->resweep);
	plane_abandon(hub);
}

void hub_free(struct hub *hub)
{
	if (!hub)
		return;
	if (hub->loop) {
		hub_hang_up(hub);
		channels_free(hub);
		if (hub->hook.fn)
			loop_hook_del(hub->loop, &hub->hook);
		loop_free(hub->loop);
	}
	strbuf_done(&hub->text);
	free(hub);
}
