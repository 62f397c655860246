#include "services/control-plane/plane.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/admin.h"
#include "common/bus_nats.h"
#include "common/log.h"
#include "common/members.h"
#include "common/names.h"
#include "common/topology.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/db.h"
#include "services/control-plane/granting.h"
#include "services/control-plane/http.h"
#include "services/control-plane/mirror.h"
#include "services/control-plane/publisher.h"

#define SERVICE  "control"
#define FLUSH_MS 2000

struct plane {
	const struct control_config *config;
	struct loop *loop;
	struct bus *bus;
	struct topology *topology;
	struct members *members;
	struct mirror *mirror;
	struct bridge *bridge;
	struct granting *granting;
	struct publisher *publisher;
	struct db_pool *pool;
	struct metrics *metrics;
	struct admin *admin;
	struct http *http;
	struct api api;
	pthread_t loop_thread;
	bool loop_runs;
	bool bus_seen; /* was connected before: the next time is a reconnect. Loop's thread */
	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;
	bool stopping, failed;
	bool topology_there, bus_up, database_up, bucket_known, members_known;
};

/* --- ready or not ------------------------------------------------------------------------ */

static void review(struct plane *p)
{
	const char *reason = !p->bus_up           ? "no connection to NATS"
			     : !p->topology_there ? "streams and buckets are not there yet"
			     : !p->bucket_known   ? "the bucket pen_config was not read yet"
			     : !p->members_known  ? "the list of members is not known yet"
			     : !p->database_up    ? "no connection to PostgreSQL"
						  : NULL;
	if (p->admin)
		admin_ready(p->admin, !reason, reason ? reason : "");
}

static void note(struct plane *p, bool *what, bool value)
{
	pthread_mutex_lock(&p->lock);
	*what = value;
	review(p);
	pthread_mutex_unlock(&p->lock);
}

static void stop_soon(struct plane *p, bool failed)
{
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	p->failed |= failed;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

/* --- what the parts tell ----------------------------------------------------------------- */

static void on_signal(int signo, void *arg)
{
	log_at(LOG_INFO, "stopping", LOG_S("signal", strsignal(signo)));
	stop_soon(arg, false);
}

static void on_topology(void *arg, uint64_t epoch)
{
	struct plane *p = arg;
	(void)epoch;
	note(p, &p->topology_there, true);
}

static void on_bucket(void *arg)
{
	struct plane *p = arg;
	note(p, &p->bucket_known, true);
	if (p->publisher)
		publisher_bucket_told(p->publisher);
}

static void on_members(void *arg)
{
	struct plane *p = arg;
	if (p->members && members_known(p->members))
		note(p, &p->members_known, true);
	granting_members(p->granting);
}

static int start_topology(struct plane *p)
{
	struct topology_conf conf = {.replicas = (int)p->config->common.replicas,
				     .dedupe_ms = p->config->common.dedupe_ms};
	p->topology = topology_start(p->bus, p->loop, &conf, on_topology, p);
	return p->topology ? 0 : -1;
}

/* After a reconnect the broker may be another one, with nothing in it: make what is missing again.
 */
static void on_bus(void *arg, bool connected)
{
	struct plane *p = arg;
	log_at(connected ? LOG_INFO : LOG_WARN, connected ? "bus connected" : "bus lost");
	if (connected && p->bus_seen) {
		topology_stop(p->topology);
		if (start_topology(p))
			stop_soon(p, true);
	}
	p->bus_seen |= connected;
	note(p, &p->bus_up, connected);
	if (p->publisher)
		publisher_bus(p->publisher, connected);
	granting_bus(p->granting, connected);
}

static void on_database(void *arg, bool up)
{
	struct plane *p = arg;
	if (up)
		db_pool_open(p->pool);
	note(p, &p->database_up, up);
}

static void on_fatal(void *arg)
{
	stop_soon(arg, true);
}

/* --- start ------------------------------------------------------------------------------- */

static int start_bus(struct plane *p, struct error *err)
{
	const struct env_common *common = &p->config->common;
	struct bus_nats_conf conf = {
	    .url = common->nats_url, .name = common->instance, .metrics = p->metrics};
	p->bus = bus_nats_open(p->loop, &conf, err);
	if (!p->bus)
		return -1;
	bus_on_state(p->bus, on_bus, p);
	p->bridge = bridge_new(p->loop, p->bus);
	if (start_topology(p))
		return err_set(err, ERR_FATAL, "cannot watch over streams and buckets");
	p->mirror = mirror_start(p->bus, BUCKET_CONFIG, on_bucket, p, err);
	return p->mirror ? 0 : -1;
}

static int start_publisher(struct plane *p, struct error *err)
{
	struct publisher_conf conf = {.dsn = p->config->pg_dsn,
				      .bridge = p->bridge,
				      .mirror = p->mirror,
				      .metrics = p->metrics,
				      .replicas = (int)p->config->common.replicas,
				      .database = on_database,
				      .fatal = on_fatal,
				      .arg = p};
	p->publisher = publisher_start(&conf, err);
	if (!p->publisher)
		return -1;
	publisher_bus(p->publisher, bus_connected(p->bus));
	return 0;
}

static int start_http(struct plane *p, struct error *err)
{
	const struct control_config *c = p->config;
	p->api = (struct api){.admin_key = c->admin_key,
			      .pool = p->pool,
			      .bridge = p->bridge,
			      .publisher = p->publisher,
			      .publish_wait_ms = (int)c->publish_wait_ms,
			      .store_timeout_ms = (int)c->store_timeout_ms,
			      .parts = (unsigned)c->common.parts};
	struct http_conf conf = {.addr = c->addr,
				 .port = (int)c->port,
				 .threads = (unsigned)c->threads,
				 .connections = (unsigned)c->connections,
				 .api = &p->api,
				 .metrics = p->metrics};
	p->http = http_start(&conf, err);
	return p->http ? 0 : -1;
}

static int start_members(struct plane *p, struct error *err)
{
	char url[300];
	const struct control_config *c = p->config;
	snprintf(url, sizeof(url), strchr(c->addr, ':') ? "http://[%s]:%d" : "http://%s:%d",
		 c->addr, http_port(p->http));
	json_t *self = json_pack("{ss}", "url", c->url[0] ? c->url : url);
	p->members =
	    members_start(p->bus, p->loop, SERVICE, c->common.instance, self, on_members, p, err);
	if (!p->members)
		return -1;
	members_count_into(p->members, p->metrics);
	bridge_set_members(p->bridge, p->members);
	p->granting =
	    granting_start(p->bus, p->loop, p->members, c->common.instance, p->metrics, err);
	if (!p->granting)
		return -1;
	log_at(LOG_INFO, "listening", LOG_S("url", c->url[0] ? c->url : url),
	       LOG_I("port", http_port(p->http)), LOG_I("admin_port", admin_port(p->admin)));
	return 0;
}

static int start(struct plane *p, struct error *err)
{
	const struct control_config *c = p->config;
	p->loop = loop_new(err);
	if (!p->loop || loop_signal(p->loop, SIGTERM, on_signal, p, err) ||
	    loop_signal(p->loop, SIGINT, on_signal, p, err))
		return -1;
	p->metrics = metrics_new();
	p->pool = db_pool_new(c->pg_dsn, (unsigned)c->threads);
	p->admin = admin_start(c->common.admin_addr, (int)c->common.admin_port, p->metrics, err);
	if (!p->admin)
		return -1;
	return start_bus(p, err) || start_publisher(p, err) || start_http(p, err) ||
	       start_members(p, err);
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static int start_loop(struct plane *p, struct error *err)
{
	int rc = pthread_create(&p->loop_thread, NULL, run_loop, p->loop);
	if (rc)
		return err_set(err, ERR_FATAL, "cannot start the loop: %s", strerror(rc));
	p->loop_runs = true;
	return 0;
}

/* --- stop -------------------------------------------------------------------------------- */

/* The loop still turns while HTTP and the publisher end: what they wait for comes from it. Then it
 * stands still and this thread takes its place. */
static void stop(struct plane *p)
{
	struct error err;
	if (!p->loop_runs && p->loop && start_loop(p, &err))
		log_at(LOG_ERROR, "unclean stop", LOG_S("error", err.msg));
	http_stop(p->http);
	publisher_stop(p->publisher);
	if (p->loop_runs) {
		loop_stop(p->loop);
		pthread_join(p->loop_thread, NULL);
	}
	granting_stop(p->granting);
	members_stop(p->members);
	mirror_stop(p->mirror);
	topology_stop(p->topology);
	if (p->bus && bus_connected(p->bus) && bus_flush(p->bus, FLUSH_MS, &err))
		log_at(LOG_WARN, "unclean stop", LOG_S("error", err.msg));
	bus_free(p->bus);
	bridge_free(p->bridge);
	admin_stop(p->admin);
	db_pool_free(p->pool);
	loop_free(p->loop);
	bus_nats_shutdown();
	metrics_free(p->metrics);
}

static void wait_for_end(struct plane *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->stopping)
		pthread_cond_wait(&p->cond, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

int control_run(const struct control_config *config)
{
	struct plane p = {
	    .config = config, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	struct error err = {0};
	int rc = 0;
	if (start(&p, &err) || start_loop(&p, &err)) {
		log_at(LOG_ERROR, "cannot start", LOG_S("error", err.msg));
		rc = CANNOT_START;
	} else {
		wait_for_end(&p);
	}
	stop(&p);
	log_at(LOG_INFO, "stopped");
	return rc ? rc : p.failed;
}
