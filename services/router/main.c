/* penstock-router: one loop, one bus; the router starts when the streams and the configuration are
 * there. */
#include <signal.h>
#include <stdlib.h>

#include "common/admin.h"
#include "common/bus_nats.h"
#include "common/log.h"
#include "common/rng.h"
#include "common/topology.h"
#include "services/router/config.h"

#define READY_EVERY_US 100000
#define FLUSH_MS       2000

struct app {
	struct router_config config;
	struct loop *loop;
	struct metrics *metrics;
	struct admin *admin;
	struct bus *bus;
	struct topology *topology;
	struct catalog *catalog;
	struct router *router;
	struct timer ready;
	uint64_t epoch; /* 0: the streams are not there yet */
	bool configured, stopping;
	int status;
};

static void stopped(void *arg)
{
	struct app *app = arg;
	loop_stop(app->loop);
}

static void start_router(struct app *app)
{
	struct router_conf conf;
	struct rng seed;
	struct error err;
	if (!app->epoch || !app->configured || app->router || app->stopping)
		return;
	router_config_apply(&app->config, &conf);
	rng_seed_os(&seed);
	conf.seed = rng_next(&seed);
	conf.epoch = app->epoch;
	conf.metrics = app->metrics;
	app->router = router_start(app->loop, app->bus, app->catalog, &conf, &err);
	if (app->router)
		return;
	log_at(LOG_ERROR, "router not started", LOG_S("reason", err.msg));
	app->status = CANNOT_START;
	loop_stop(app->loop);
}

static void streams_ready(void *arg, uint64_t epoch)
{
	struct app *app = arg;
	app->epoch = epoch;
	start_router(app);
}

static void catalog_read(void *arg)
{
	struct app *app = arg;
	app->configured = true;
	start_router(app);
}

static void check_ready(struct timer *timer, void *arg)
{
	struct app *app = arg;
	const char *why = "waiting for NATS, its streams and the configuration";
	bool ready = app->router && router_ready(app->router, &why);
	admin_ready(app->admin, ready, why);
	timer_set(app->loop, timer, READY_EVERY_US);
}

static void on_signal(int signo, void *arg)
{
	struct app *app = arg;
	if (app->stopping)
		return;
	app->stopping = true;
	log_at(LOG_INFO, "stopping", LOG_I("signal", signo));
	if (app->router)
		router_stop(app->router, stopped, app);
	else
		loop_stop(app->loop);
}

static int start(struct app *app, struct error *err)
{
	struct env_common *common = &app->config.common;
	struct bus_nats_conf nats = {.url = common->nats_url, .name = common->instance};
	struct topology_conf streams = {.replicas = (int)common->replicas,
					.dedupe_ms = common->dedupe_ms};
	if (!(app->loop = loop_new(err)) ||
	    loop_signal(app->loop, SIGTERM, on_signal, app, err) != 0 ||
	    loop_signal(app->loop, SIGINT, on_signal, app, err) != 0)
		return -1;
	nats.metrics = app->metrics = metrics_new();
	app->admin = admin_start(common->admin_addr, (int)common->admin_port, app->metrics, err);
	if (!app->admin || !(app->bus = bus_nats_open(app->loop, &nats, err)))
		return -1;
	app->topology = topology_start(app->bus, app->loop, &streams, streams_ready, app);
	app->catalog = catalog_start(app->bus, app->loop, catalog_read, NULL, app, err);
	if (!app->catalog)
		return -1;
	catalog_count_into(app->catalog, app->metrics);
	timer_init(&app->ready, check_ready, app);
	timer_set(app->loop, &app->ready, 0);
	log_at(LOG_INFO, "started", LOG_I("admin_port", admin_port(app->admin)));
	return 0;
}

static void finish(struct app *app)
{
	struct error err;
	router_close(app->router);
	if (app->loop)
		timer_cancel(app->loop, &app->ready);
	if (app->bus && bus_connected(app->bus) && bus_flush(app->bus, FLUSH_MS, &err) != 0)
		log_at(LOG_WARN, "not all was sent", LOG_S("reason", err.msg));
	admin_stop(app->admin);
	catalog_stop(app->catalog);
	topology_stop(app->topology);
	bus_free(app->bus);
	router_free(app->router);
	metrics_free(app->metrics);
	loop_free(app->loop);
	bus_nats_shutdown();
	env_done(router_settings, router_settings_count, &app->config);
}

int main(int argc, char **argv)
{
	struct app app = {0};
	struct error err;
	int rc = env_main(argc, argv, "router", "admits commands and gives each event its place",
			  ROUTER_PREFIX, router_settings, router_settings_count, &app.config,
			  &app.config.common);
	if (rc != 0)
		return rc > 0 ? 0 : CANNOT_START;
	if (start(&app, &err) != 0) {
		log_at(LOG_ERROR, "cannot start", LOG_S("reason", err.msg));
		app.status = CANNOT_START;
	} else {
		loop_run(app.loop);
	}
	finish(&app);
	return app.status;
}
