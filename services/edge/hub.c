#include "services/edge/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/edge/direct.h"
#include "services/edge/disconnect.h"
#include "services/edge/drain.h"
#include "services/edge/hub_int.h"
#include "services/edge/principal.h"
#include "services/edge/resume.h"
#include "services/edge/roll_call.h"
#include "services/edge/shard.h"
#include "services/edge/usage_bus.h"

#define REPLAY_TOTAL 65536 /* pages that wait, of all tenants */

/* --- ready -------------------------------------------------------------------------------- */

void hub_update_ready(struct hub *hub)
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

static void set_epoch(struct hub *hub, uint64_t epoch)
{
	hub->epoch = epoch;
	epoch_format(epoch, hub->edge->epoch);
	for (unsigned i = 0; i < hub->edge->n_reactors; i++)
		reactor_epoch(hub->edge->reactors[i], hub->edge->epoch);
}

void hub_saw_stream(struct hub *hub, const struct bus_stream_info *info)
{
	uint64_t epoch = (uint64_t)info->created_us;

	hub->first_seq = info->first_seq;
	hub->first_seq_known = true;
	if (!hub->topology_ready || !epoch || epoch == hub->epoch)
		return;
	log_at(LOG_WARN, "the stream EVENTS was made anew: old positions are good for nothing");
	set_epoch(hub, epoch);
}

static void on_topology(void *arg, uint64_t epoch)
{
	struct hub *hub = arg;

	set_epoch(hub, epoch);
	hub->topology_ready = true;
	plane_refresh(hub);
	hub_update_ready(hub);
}

static void on_catalog(void *arg)
{
	hub_update_ready(arg);
}

static void on_connection(void *arg, bool connected)
{
	struct hub *hub = arg;

	log_at(connected ? LOG_INFO : LOG_WARN,
	       connected ? "connected to NATS" : "NATS connection lost");
	for (unsigned i = 0; !connected && i < hub->edge->n_reactors; i++)
		reactor_cut_off(hub->edge->reactors[i]);
	if (connected && hub->was_connected)
		channel_sweep(hub);
	if (connected && hub->usage_sub)
		usage_greet(hub);
	hub->was_connected |= connected;
	hub_update_ready(hub);
}

/* --- who may stay ------------------------------------------------------------------------- */

static void revoke(struct hub *hub, const struct revoke *what)
{
	for (unsigned i = 0; i < hub->edge->n_reactors; i++)
		principal_revoke(hub->edge->reactors[i], what);
}

static void tenant_changed(struct hub *hub, const char *id)
{
	const struct tenant *t = catalog_tenant(hub->catalog, id);

	if (t) {
		usage_limits(&hub->edge->usage, t);
		direct_limits(hub, t);
	}
	if (t && t->active)
		return;
	revoke(hub, &(struct revoke){.tenant = id, .code = CLOSE_TENANT});
}

static void key_changed(struct hub *hub, const char *id)
{
	const struct api_key *key = catalog_key(hub->catalog, id);
	bool good =
	    key && auth_recheck(hub->catalog, key->tenant, id, loop_wall_us(hub->loop)) != AUTH_BAD;

	revoke(hub, &(struct revoke){
			.key = id, .code = good ? 0 : CLOSE_TOKEN, .rights = good ? key : NULL});
}

/* tail: "<tenant>.<kid>". A key that is there and in force has changed nothing for those who were
 * let in by it. */
static void signing_changed(struct hub *hub, const char *tail)
{
	char tenant[TENANT_MAX + 1];
	size_t n = strcspn(tail, ".");
	const struct signing_key *key;

	if (n > TENANT_MAX || !tail[n])
		return;
	memcpy(tenant, tail, n);
	tenant[n] = 0;
	key = catalog_signing(hub->catalog, tenant, tail + n + 1);
	if (!key || !key->active)
		revoke(hub, &(struct revoke){
				.tenant = tenant, .signing = tail + n + 1, .code = CLOSE_TOKEN});
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
	else if (!strncmp(key, "signing.", 8))
		signing_changed(hub, key + 8);
	else if (!strncmp(key, "edge.", 5) && !strcmp(key + 5, hub->edge->conf->common.instance))
		drain_configured(hub);
}

static void on_members(void *arg)
{
	shard_view(arg);
	usage_view(arg);
}

/* --- whose edge --------------------------------------------------------------------------- */

const struct ring_edge *hub_shard_here(struct hub *hub, const char *tenant)
{
	return shard_find(hub, tenant);
}

bool hub_drained_here(struct hub *hub, const char *tenant)
{
	return drain_refuses(hub, tenant);
}

static void shard_here(struct loop_post *post)
{
	struct shard_request *r = (struct shard_request *)post;
	struct hub *hub = r->base.hub;
	const struct ring_edge *e = shard_find(hub, r->tenant);

	r->elsewhere = e && strcmp(e->id, hub->edge->conf->common.instance);
	r->url = xstrdup(e ? e->url : hub->edge->url);
	request_answer(&r->base);
}

void hub_shard(struct hub *hub, struct shard_request *r)
{
	r->base.hub = hub;
	r->base.post.fn = shard_here;
	loop_post(hub->loop, &r->base.post);
}

/* --- topics ------------------------------------------------------------------------------- */

void hub_release(struct hub *hub)
{
	struct loop_post *post = hub->held, *next;

	atomic_store(&hub->holds, false);
	hub->held = NULL;
	timer_cancel(hub->loop, &hub->surge_timer);
	for (; post; post = next) {
		next = post->next;
		post->fn(post);
	}
}

bool hub_hold(struct hub *hub, struct loop_post *post, void (*fn)(struct loop_post *post))
{
	if (!atomic_load_explicit(&hub->holds, memory_order_relaxed))
		return false;
	if (!hub->held)
		hub->held_end = &hub->held;
	post->fn = fn;
	post->next = NULL;
	*hub->held_end = post;
	hub->held_end = &post->next;
	return true;
}

static void on_surge(struct timer *timer, void *arg)
{
	struct hub *hub = arg;

	(void)timer;
	surge_went(&hub->surge, loop_now_us(hub->loop));
	hub_release(hub);
}

static void count_channel(struct hub *hub)
{
	int64_t left_us;

	if (hub->held) {
		surge_joined(&hub->surge);
		return;
	}
	left_us = surge_left_us(&hub->surge, loop_now_us(hub->loop));
	if (!left_us)
		return;
	timer_set(hub->loop, &hub->surge_timer, left_us);
	atomic_store(&hub->holds, true);
}

static void attach_now(struct loop_post *post)
{
	struct topic *t = (struct topic *)post;

	channel_attach(t->reactor->edge->hub, t);
}

static void attach_here(struct loop_post *post)
{
	struct topic *t = (struct topic *)post;
	struct hub *hub = t->reactor->edge->hub;

	count_channel(hub);
	if (!hub_hold(hub, post, attach_now))
		attach_now(post);
}

void hub_attach(struct hub *hub, struct topic *topic)
{
	topic->post.fn = attach_here;
	loop_post_for(hub->loop, &topic->post, &hub->holds);
}

static void detach_here(struct loop_post *post)
{
	struct topic *t = (struct topic *)post;

	hub_release(t->reactor->edge->hub);
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
	struct hub *hub = arg;

	(void)hook;
	door_turn_end(hub);
	channel_turn_end(hub);
	hub->borrowed = false;
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
	pthread_mutex_init(&hub->rates_lock, NULL);
	timer_init(&hub->refresh, on_refresh, hub);
	timer_init(&hub->resweep, on_resweep, hub);
	timer_init(&hub->surge_timer, on_surge, hub);
	hub_receipts_init(hub);
	if (edge->shared)
		rng_seed(&hub->rng, edge->seed);
	else
		rng_seed_os(&hub->rng);
	hub->loop = edge->shared ? edge->shared : loop_new(err);
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
	const struct topology_conf conf = {.replicas = (int)edge->conf->common.replicas,
					   .dedupe_ms = edge->conf->common.dedupe_ms};

	hub->outbox = xcalloc(edge->n_reactors, sizeof(*hub->outbox));
	pace_init(&hub->pace, (unsigned)edge->conf->replay_pages,
		  (unsigned)edge->conf->replay_queue, REPLAY_TOTAL);
	hub->hook = (struct loop_hook){.fn = on_turn_end, .arg = hub};
	loop_hook_add(hub->loop, &hub->hook);
	bus_on_state(hub->bus, on_connection, hub);
	hub->was_connected = bus_connected(hub->bus); /* told are changes */
	hub->topology = topology_start(hub->bus, hub->loop, &conf, on_topology, hub);
	hub->catalog = catalog_start(hub->bus, hub->loop, on_catalog, on_changed, hub, err);
	if (!hub->catalog)
		return -1;
	catalog_count_into(hub->catalog, edge->metrics);
	shard_init(hub);
	hub->members = members_start(hub->bus, hub->loop, "edge", edge->conf->common.instance,
				     shard_describe(hub), on_members, hub, err);
	if (!hub->members)
		return -1;
	if (usage_start(hub, err) || disconnect_start(hub, err) || roll_call_start(hub, err))
		return -1;
	members_count_into(hub->members, edge->metrics);
	members_describe(hub->members, shard_describe, hub);
	hub_update_ready(hub);
	return 0;
}

struct loop *hub_loop(struct hub *hub)
{
	return hub->loop;
}

void hub_leave(struct hub *hub)
{
	drain_stop(hub);
}

void hub_hang_up(struct hub *hub)
{
	struct error err = {0};

	if (!hub->bus)
		return;
	usage_stop(hub);
	disconnect_stop(hub);
	roll_call_stop(hub);
	members_stop(hub->members);
	hub->members = NULL;
	hub_update_ready(hub);
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
	hub_release(hub);
	hub_receipts_done(hub);
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
		pace_done(&hub->pace);
		if (hub->hook.fn)
			loop_hook_del(hub->loop, &hub->hook);
		if (!hub->edge->shared)
			loop_free(hub->loop);
	}
	direct_done(hub);
	drain_done(hub);
	shard_done(hub);
	strbuf_done(&hub->text.b);
	pthread_mutex_destroy(&hub->rates_lock);
	free(hub);
}
