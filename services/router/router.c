#include "services/router/router.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

#define STOP_MAX_US   5000000
#define STOP_POLL_US  5000
#define UNSURE_MAX    1024 /* tickets; more are charged again */
#define SLOTS_UNKNOWN 256  /* of one worker by default, until the first one is seen */

void router_conf_init(struct router_conf *conf)
{
	*conf = (struct router_conf){
	    .parts = NAMES_PARTS_DEFAULT,
	    .inflight_max = 20000,
	    .inflight_bytes = (size_t)64 << 20,
	    .recent_max = 65536,
	    .data_max = (size_t)64 << 10,
	    .input_max = (size_t)256 << 10,
	    .delay_max_ms = INT64_C(30) * 24 * 3600 * 1000,
	    .store_timeout_ms = 2000,
	    .linger_ms = 1000,
	    .slot_tokens = 8192,
	};
}

static void members_changed(void *arg)
{
	router_parts_update(arg);
}

/* What is remembered of offsets holds for one life of the stream only. */
static void epoch_read(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct router *r = arg;
	if (result != BUS_OK || info->created_us <= 0 ||
	    (uint64_t)info->created_us == r->conf.epoch)
		return;
	log_at(LOG_WARN, "the event stream is another one", LOG_I("epoch", info->created_us));
	r->conf.epoch = (uint64_t)info->created_us;
	recent_clear(r->recent);
}

static void bus_changed(void *arg, bool connected)
{
	struct router *r = arg;
	if (!connected)
		return;
	bus_stream_info(r->bus, STREAM_EVENTS, NULL, epoch_read, r);
	router_backlog_ask(r);
}

static void tick(struct timer *timer, void *arg)
{
	struct router *r = arg;
	(void)timer;
	router_backlog_tick(r);
	metric_set(r->stats.inflight, (int64_t)r->inflight);
	metric_set(r->stats.inflight_bytes, (int64_t)r->inflight_bytes);
	metric_set(r->stats.tenants, (int64_t)r->tenants.count);
	metric_set(r->stats.recents, (int64_t)recent_count(r->recent));
}

struct router *router_start(struct loop *loop, struct bus *bus, struct catalog *catalog,
			    const struct router_conf *conf, struct error *err)
{
	struct router *r = xcalloc(1, sizeof(*r));
	r->loop = loop;
	r->bus = bus;
	r->catalog = catalog;
	r->conf = *conf;
	r->instance = xstrdup(conf->instance);
	r->conf.instance = r->instance;
	for (int p = 0; p < ROUTER_POOLS; p++)
		r->slots[p] = SLOTS_UNKNOWN;
	rng_seed(&r->rng, conf->seed);
	router_stats_init(&r->stats, conf->metrics);
	r->recent = recent_new(conf->recent_max);
	r->unsure = recent_new(UNSURE_MAX);
	router_arena_init(&r->arena);
	timer_init(&r->refresh, router_backlog_refresh, r);
	timer_init(&r->tick, tick, r);
	timer_init(&r->linger, router_parts_linger, r);
	router_parts_start(r);
	r->members = members_start(bus, loop, "router", r->instance, NULL, members_changed, r, err);
	if (!r->members) {
		router_close(r);
		router_free(r);
		return NULL;
	}
	members_count_into(r->members, conf->metrics);
	bus_on_state(bus, bus_changed, r);
	timer_set(loop, &r->tick, 1);
	return r;
}

bool router_ready(const struct router *r, const char **why)
{
	const char *missing = !bus_connected(r->bus)       ? "no connection to NATS"
			      : !catalog_ready(r->catalog) ? "configuration is not read yet"
			      : r->stopping                ? "stopping"
			      : !members_known(r->members) ? "members are not known yet"
			      : members_count(r->members, "router") == 0 ? "not a member yet"
									 : NULL;
	if (why)
		*why = missing;
	return !missing;
}

size_t router_parts_owned(const struct router *r)
{
	size_t n = 0;
	for (unsigned i = 0; i < r->conf.parts; i++)
		n += r->parts[i].owned;
	return n;
}

size_t router_inflight(const struct router *r)
{
	return r->inflight;
}

static void stop_poll(struct timer *timer, void *arg)
{
	struct router *r = arg;
	bool busy = router_parts_serving(r) || r->inflight > 0 || r->moves;
	if (busy && loop_now_us(r->loop) < r->stop_by_us) {
		timer_set(r->loop, timer, STOP_POLL_US);
		return;
	}
	if (r->inflight > 0)
		log_at(LOG_WARN, "stopped with commands in flight", LOG_I("n", r->inflight));
	r->stopped(r->stopped_arg);
}

void router_stop(struct router *r, void (*done)(void *arg), void *arg)
{
	if (r->stopping)
		return;
	r->stopping = true;
	r->stopped = done;
	r->stopped_arg = arg;
	r->stop_by_us = loop_now_us(r->loop) + STOP_MAX_US;
	bool others = members_count(r->members, "router") > 1;
	/* Good-bye first: the next owner must hear of it while we still serve. */
	members_stop(r->members);
	r->members = NULL;
	router_parts_leave(r, others);
	timer_cancel(r->loop, &r->tick);
	timer_init(&r->tick, stop_poll, r);
	timer_set(r->loop, &r->tick, STOP_POLL_US);
}

void router_close(struct router *r)
{
	if (!r || r->closed)
		return;
	r->closed = true;
	bus_on_state(r->bus, NULL, NULL);
	timer_cancel(r->loop, &r->refresh);
	timer_cancel(r->loop, &r->tick);
	timer_cancel(r->loop, &r->linger);
	members_stop(r->members);
	r->members = NULL;
	router_calls_close(r);
	router_backlog_close(r);
	router_parts_close(r);
	router_tenants_free(r);
	timer_cancel(r->loop, &r->refresh);
}

void router_free(struct router *r)
{
	if (!r)
		return;
	router_backlog_free(r);
	router_calls_free(r);
	router_arena_done(&r->arena);
	recent_free(r->recent);
	recent_free(r->unsure);
	strbuf_done(&r->event);
	strbuf_done(&r->reply);
	strbuf_done(&r->text);
	free(r->parts);
	free(r->instance);
	free(r);
}
