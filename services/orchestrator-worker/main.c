/* penstock-orchestrator-worker: one loop, one bus, jq helpers; it takes tasks when the streams and
 * the configuration are there. */
#include <signal.h>
#include <string.h>

#include "common/admin.h"
#include "common/bus_nats.h"
#include "common/log.h"
#include "common/members.h"
#include "common/names.h"
#include "common/topology.h"
#include "services/orchestrator-worker/config.h"
#include "services/orchestrator-worker/exec_real.h"
#include "services/orchestrator-worker/post.h"
#include "services/orchestrator-worker/worker.h"

#define LOOK_EVERY_US 100000
#define FLUSH_MS      1500
#define BYE_US        20000

struct app {
	struct worker_settings settings;
	struct jqbox *jqbox;
	struct loop *loop;
	struct metrics *metrics;
	struct worker_stats stats;
	struct admin *admin;
	struct bus *bus;
	struct topology *topology;
	struct catalog *catalog;
	struct members *members;
	struct http_client *http, *guarded;
	struct lessee *lessee;
	struct targets *targets;
	struct executor executor;
	struct worker *worker;
	struct posts *posts;
	struct timer look, bye;
	bool streams, configured, stopping;
	bool drained;     /* as the operators want it … */
	int64_t grace_ms; /* … and for how long what runs may go on */
	int status;
};

static void on_bye(struct timer *timer, void *arg)
{
	(void)timer;
	struct app *app = arg;
	loop_stop(app->loop);
}

/* Tickets that were on their way are in our hands after the flush, and given back in the turns
 * behind it: left alone they would come to nobody for ack_wait. */
static void stopped(void *arg)
{
	struct app *app = arg;
	struct error err;
	if (bus_connected(app->bus) && bus_flush(app->bus, FLUSH_MS, &err))
		log_at(LOG_WARN, "not all was sent", LOG_S("reason", err.msg));
	timer_init(&app->bye, on_bye, app);
	timer_set(app->loop, &app->bye, BYE_US);
}

static bool leaves(const struct app *app)
{
	return app->drained || app->stopping;
}

static const char *state_of(const struct app *app)
{
	if (!leaves(app))
		return "running";
	return app->worker != NULL && worker_held(app->worker) > 0 ? "draining" : "drained";
}

/* What the routers size the windows by: the slots of each pool. One that leaves has none. */
static json_t *member_document(const struct app *app)
{
	const struct worker_settings *s = &app->settings;
	bool batch = strcmp(s->pool, POOL_BATCH) == 0;
	json_t *doc = json_pack("{s:s, s:[s]}", "state", state_of(app), "pools", s->pool);
	if (!leaves(app))
		json_object_set_new(doc, batch ? "batch_slots" : "slots", json_integer(s->slots));
	if (strcmp(s->pool, POOL_DEFAULT) == 0 && s->batch_slots > 0) {
		if (!leaves(app))
			json_object_set_new(doc, "batch_slots", json_integer(s->batch_slots));
		json_array_append_new(json_object_get(doc, "pools"), json_string(POOL_BATCH));
	}
	return doc;
}

/* --- the operators' drain ------------------------------------------------------------------ */

static void emptied(void *arg)
{
	struct app *app = arg;
	log_at(LOG_INFO, "drained");
	members_update(app->members, member_document(app));
}

static void fail(struct app *app, const struct error *err)
{
	log_at(LOG_ERROR, "no tasks can be taken any more", LOG_S("reason", err->msg));
	app->status = 1;
	loop_stop(app->loop);
}

/* The routers learn it first. */
static void follow(struct app *app)
{
	const struct worker_drain *wish =
	    catalog_worker(app->catalog, app->settings.common.instance);
	bool drained = wish != NULL && wish->drained;
	int64_t grace_ms = drained && wish->grace_ms >= 0 ? wish->grace_ms : app->settings.grace_ms;
	struct error err;
	if (app->worker == NULL || app->stopping ||
	    (drained == app->drained && (!drained || grace_ms == app->grace_ms)))
		return;
	log_at(LOG_INFO, drained ? "draining" : "not draining any more",
	       LOG_I("grace_ms", grace_ms));
	bool turned = drained != app->drained;
	app->drained = drained;
	app->grace_ms = grace_ms;
	members_update(app->members, member_document(app));
	if (drained) {
		if (turned)
			posts_drain(app->posts);
		worker_drain(app->worker, grace_ms, emptied, app);
	} else if (posts_undrain(app->posts, &err) || worker_undrain(app->worker, &err)) {
		fail(app, &err);
	}
}

static void start_worker(struct app *app)
{
	const struct worker_settings *s = &app->settings;
	struct error err;
	struct rng seed;
	if (!app->streams || !app->configured || app->worker != NULL || app->stopping)
		return;
	rng_seed_os(&seed);
	struct worker_conf conf = {
	    .instance = s->common.instance,
	    .pool = s->pool,
	    .parts = (unsigned)s->common.parts,
	    .slots = (unsigned)s->slots,
	    .batch_slots = (unsigned)s->batch_slots,
	    .seed = rng_next(&seed),
	    .output_max = (size_t)s->output_max,
	    .document_max = (size_t)s->document_max,
	    .deltas_in_flight = (unsigned)s->deltas_in_flight,
	    .ack_wait_ms = (int)s->ack_wait_ms,
	};
	app->members = members_start(app->bus, app->loop, "worker", s->common.instance,
				     member_document(app), NULL, NULL, &err);
	if (app->members != NULL)
		app->lessee = lessee_new(app->bus, app->loop, app->members, s->common.instance,
					 &app->stats, &err);
	if (app->lessee != NULL) {
		members_count_into(app->members, app->metrics);
		struct targets_conf targets = {.output_max = (size_t)s->output_max,
					       .waiting_max = (size_t)s->waiting_max,
					       .http_concurrent = s->http_concurrent,
					       .origins =
						   s->http_private ? app->http : app->guarded};
		app->targets = targets_new(app->loop, app->http, app->catalog, app->members,
					   app->lessee, &app->stats, &targets);
		exec_real_init(&app->executor, app->jqbox, app->targets, &app->stats);
		app->worker = worker_start(app->loop, app->bus, app->catalog, &app->executor,
					   &app->stats, &conf, &err);
	}
	if (app->worker != NULL)
		app->posts =
		    posts_start(app->bus, app->loop, app->http, app->guarded, app->metrics, &err);
	if (app->posts != NULL) {
		follow(app);
		return;
	}
	log_at(LOG_ERROR, "worker not started", LOG_S("reason", err.msg));
	app->status = CANNOT_START;
	loop_stop(app->loop);
}

static void streams_ready(void *arg, uint64_t epoch)
{
	(void)epoch;
	struct app *app = arg;
	app->streams = true;
	start_worker(app);
}

static void catalog_read(void *arg)
{
	struct app *app = arg;
	app->configured = true;
	start_worker(app);
}

static void catalog_changed(void *arg, const char *key)
{
	struct app *app = arg;
	if (app->worker != NULL)
		worker_config_changed(app->worker, key);
	if (strncmp(key, "worker.", strlen("worker.")) == 0)
		follow(app);
	if (app->targets != NULL && strncmp(key, "model.", strlen("model.")) == 0)
		targets_config_changed(app->targets);
}

static void stop(struct app *app)
{
	app->stopping = true;
	if (!app->drained)
		posts_drain(app->posts);
	if (app->members != NULL)
		members_update(app->members, member_document(app));
	if (app->worker != NULL) /* the second signal ends the grace */
		worker_stop(app->worker, app->settings.grace_ms, stopped, app);
	else
		loop_stop(app->loop);
}

/* Readiness, and the numbers that are not counted where they change. */
static void look(struct timer *timer, void *arg)
{
	struct app *app = arg;
	const char *why = "waiting for NATS, its streams and the configuration";
	bool ready = app->worker != NULL && worker_ready(app->worker, &why);
	struct jqbox_stats jq;
	jqbox_stats(app->jqbox, &jq);
	metric_set(app->stats.jq_queued, (int64_t)jq.queued);
	metric_set(app->stats.jq_killed, (int64_t)jq.killed);
	metric_set(app->stats.jq_refused, (int64_t)jq.refused);
	admin_ready(app->admin, ready, why);
	if (jq.lost && !app->stopping) {
		log_at(LOG_ERROR, "jq helpers cannot be started any more: restart");
		app->status = 1;
		stop(app);
	}
	timer_set(app->loop, timer, LOOK_EVERY_US);
}

static void on_signal(int signo, void *arg)
{
	log_at(LOG_INFO, "stopping", LOG_I("signal", signo));
	stop(arg);
}

static int start(struct app *app, struct error *err)
{
	const struct worker_settings *s = &app->settings;
	struct jqbox_conf jq = {
	    .helpers = (unsigned)s->jq_helpers,
	    .budget_ms = s->jq_budget_ms,
	    .memory_mb = (size_t)s->jq_memory_mb,
	    .output_max = (size_t)s->jq_output_max,
	    .programs = (size_t)s->jq_programs,
	    .queue_max = (size_t)s->jq_queue,
	    .queue_bytes = (size_t)s->jq_queue_bytes,
	};
	struct bus_nats_conf nats = {.url = s->common.nats_url, .name = s->common.instance};
	struct topology_conf streams = {.replicas = (int)s->common.replicas,
					.dedupe_ms = s->common.dedupe_ms};
	app->jqbox = jqbox_new(&jq, err); /* forks: before any thread */
	if (app->jqbox == NULL || (app->loop = loop_new(err)) == NULL ||
	    loop_signal(app->loop, SIGTERM, on_signal, app, err) ||
	    loop_signal(app->loop, SIGINT, on_signal, app, err))
		return -1;
	jqbox_attach(app->jqbox, app->loop);
	nats.metrics = app->metrics = metrics_new();
	worker_stats_init(&app->stats, app->metrics);
	app->admin =
	    admin_start(s->common.admin_addr, (int)s->common.admin_port, app->metrics, err);
	if (app->admin == NULL || (app->http = http_client_new(app->loop, false, err)) == NULL ||
	    (app->guarded = http_client_new(app->loop, true, err)) == NULL ||
	    (app->bus = bus_nats_open(app->loop, &nats, err)) == NULL)
		return -1;
	app->topology = topology_start(app->bus, app->loop, &streams, streams_ready, app);
	app->catalog = catalog_start(app->bus, app->loop, catalog_read, catalog_changed, app, err);
	if (app->catalog == NULL)
		return -1;
	catalog_count_into(app->catalog, app->metrics);
	timer_init(&app->look, look, app);
	timer_set(app->loop, &app->look, 0);
	log_at(LOG_INFO, "started", LOG_I("admin_port", admin_port(app->admin)));
	return 0;
}

static void finish(struct app *app)
{
	struct error err;
	lessee_free(app->lessee);
	members_stop(app->members);
	if (app->bus != NULL && bus_connected(app->bus) && bus_flush(app->bus, FLUSH_MS, &err))
		log_at(LOG_WARN, "not all was sent", LOG_S("reason", err.msg));
	admin_stop(app->admin);
	posts_free(app->posts);
	worker_free(app->worker);
	exec_real_done(&app->executor);
	targets_free(app->targets);
	http_client_free(app->http);
	http_client_free(app->guarded);
	catalog_stop(app->catalog);
	topology_stop(app->topology);
	bus_free(app->bus);
	if (app->loop != NULL && app->look.fn != NULL)
		timer_cancel(app->loop, &app->look);
	if (app->loop != NULL && app->bye.fn != NULL)
		timer_cancel(app->loop, &app->bye);
	jqbox_free(app->jqbox);
	metrics_free(app->metrics);
	loop_free(app->loop);
	bus_nats_shutdown();
	env_done(worker_settings_table, worker_settings_count, &app->settings);
}

int main(int argc, char **argv)
{
	struct app app = {0};
	struct error err;
	int rc = env_main(argc, argv, "orchestrator-worker", "runs the stages of tasks",
			  "PENSTOCK_WORKER_", worker_settings_table, worker_settings_count,
			  &app.settings, &app.settings.common);
	if (rc != 0)
		return rc > 0 ? 0 : CANNOT_START;
	if (start(&app, &err)) {
		log_at(LOG_ERROR, "cannot start", LOG_S("reason", err.msg));
		app.status = CANNOT_START;
	} else {
		loop_run(app.loop);
	}
	finish(&app);
	return app.status;
}
