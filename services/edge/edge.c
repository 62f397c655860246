#include "services/edge/edge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "services/edge/gate.h"
#include "services/edge/http.h"
#include "services/edge/hub.h"
#include "services/edge/reactor.h"
#include "services/edge/stream.h"

#define TURN_US     20000
#define GOOD_BYE_MS 3000
#define REPORT_US   1000000 /* for what is still to be said of deliveries */
#define HANG_UP_US  3000000 /* for what is under way after the sockets are gone */

/* --- parts -------------------------------------------------------------------------------- */

/* A socket is a descriptor: as many as the system lets us have. */
static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return;
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

static int check_conf(const struct edge_conf *conf, struct error *err)
{
	if (conf->pong_ms >= conf->ping_ms)
		return err_set(err, ERR_FATAL,
			       "PENSTOCK_EDGE_PONG_MS must be less than PENSTOCK_EDGE_PING_MS");
	if (conf->out_soft_bytes > conf->out_hard_bytes)
		return err_set(
		    err, ERR_FATAL,
		    "PENSTOCK_EDGE_OUT_SOFT_BYTES must not exceed PENSTOCK_EDGE_OUT_HARD_BYTES");
	return 0;
}

static void prepare(struct edge *edge)
{
	const struct edge_conf *conf = edge->conf;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	edge->n_reactors = (unsigned)(conf->reactors ? conf->reactors : cores < 1 ? 1 : cores);
	edge->metrics = metrics_new();
	stats_init(&edge->stats, edge->metrics);
	if (*conf->resume_secret)
		sha256_hex(conf->resume_secret, strlen(conf->resume_secret), edge->resume_key);
	else
		secret_random(32, edge->resume_key);
	edge->session = (struct session_conf){
	    .limits = {.frame_bytes = conf->frame_bytes,
		       .task_bytes = conf->task_bytes,
		       .subscriptions = conf->subscriptions,
		       .in_flight = conf->in_flight},
	    .connect_ms = conf->connect_ms,
	    .ping_ms = conf->ping_ms,
	    .pong_ms = conf->pong_ms,
	    .resume_ttl_ms = conf->resume_ttl_ms,
	    .renew_ms = conf->resume_ttl_ms / 2,
	    .edge = conf->common.instance,
	};
}

static int start_reactors(struct edge *edge, struct error *err)
{
	edge->reactors = xcalloc(edge->n_reactors, sizeof(struct reactor *));
	for (unsigned i = 0; i < edge->n_reactors; i++) {
		edge->reactors[i] = reactor_new(edge, i, err);
		if (!edge->reactors[i])
			return -1;
	}
	for (unsigned i = 0; i < edge->n_reactors; i++)
		if (reactor_start(edge->reactors[i], err))
			return -1;
	return 0;
}

static int start_doors(struct edge *edge, struct error *err)
{
	const struct edge_conf *conf = edge->conf;
	struct strbuf url = {0};

	if (edge->shared) {
		edge->url = xstrdup(conf->url);
		return 0;
	}
	edge->admin =
	    admin_start(conf->common.admin_addr, (int)conf->common.admin_port, edge->metrics, err);
	if (!edge->admin)
		return -1;
	edge->http = http_open(edge, err);
	if (!edge->http)
		return -1;
	edge->port = gates_listen(edge, err);
	if (edge->port < 0)
		return -1;
	if (*conf->url)
		strbuf_adds(&url, conf->url);
	else
		strbuf_addf(&url, "http://%s:%d", conf->addr, edge->port);
	edge->url = strbuf_detach(&url, NULL);
	log_at(LOG_INFO, "listening", LOG_S("addr", conf->addr), LOG_I("port", edge->port),
	       LOG_S("url", edge->url), LOG_I("admin_port", admin_port(edge->admin)),
	       LOG_I("reactors", edge->n_reactors));
	return 0;
}

static struct edge *open_edge(struct edge *edge, struct edge_conf *conf, edge_bus_fn *open_bus,
			      struct error *err)
{
	edge->conf = conf;
	prepare(edge);
	edge->hub = check_conf(conf, err) ? NULL : hub_open(edge, open_bus, err);
	if (edge->hub)
		edge->started_us = loop_wall_us(hub_loop(edge->hub));
	if (!edge->hub || start_reactors(edge, err) || start_doors(edge, err) ||
	    hub_start(edge->hub, err)) {
		edge_free(edge);
		return NULL;
	}
	return edge;
}

struct edge *edge_open(struct edge_conf *conf, edge_bus_fn *open_bus, struct error *err)
{
	raise_file_limit();
	return open_edge(xcalloc(1, sizeof(struct edge)), conf, open_bus, err);
}

struct edge *edge_open_on(struct loop *loop, uint64_t seed, struct edge_conf *conf,
			  edge_bus_fn *open_bus, struct error *err)
{
	struct edge *edge = xcalloc(1, sizeof(*edge));

	edge->shared = loop;
	edge->seed = seed;
	return open_edge(edge, conf, open_bus, err);
}

int edge_port(const struct edge *edge)
{
	return edge->port;
}

struct loop *edge_loop(struct edge *edge)
{
	return hub_loop(edge->hub);
}

/* --- commands under way ------------------------------------------------------------------- */

bool edge_command_begin(struct edge *edge)
{
	if (atomic_fetch_add_explicit(&edge->commands, 1, memory_order_relaxed) >=
	    edge->conf->commands) {
		atomic_fetch_sub_explicit(&edge->commands, 1, memory_order_relaxed);
		metric_add(edge->stats.refused_commands, 1);
		return false;
	}
	metric_add(edge->stats.commands, 1);
	return true;
}

void edge_command_end(struct edge *edge)
{
	atomic_fetch_sub_explicit(&edge->commands, 1, memory_order_relaxed);
	metric_add(edge->stats.commands, -1);
}

/* --- stop --------------------------------------------------------------------------------- */

void edge_stop(struct edge *edge)
{
	if (!atomic_fetch_add(&edge->stops, 1))
		loop_stop(hub_loop(edge->hub));
}

/* Turns the hub's loop until done() or so long. */
static void turn_until(struct edge *edge, bool (*done)(struct edge *edge), int64_t us)
{
	struct loop *loop = hub_loop(edge->hub);
	int64_t deadline = loop_now_us(loop) + us;

	while (!done(edge) && loop_now_us(loop) < deadline)
		loop_turn(loop, TURN_US);
}

static bool all_gone(struct edge *edge)
{
	return !atomic_load(&edge->connections) && (!edge->http || !http_active(edge->http));
}

static bool all_gone_or_hurried(struct edge *edge)
{
	return all_gone(edge) || atomic_load(&edge->stops) > 1;
}

static bool nobody_waits(struct edge *edge)
{
	return !http_refuse(edge->http);
}

static bool answered(struct edge *edge)
{
	return !http_active(edge->http);
}

static void on_stopped(void *arg)
{
	struct edge *edge = arg;

	edge->stopped++;
}

static bool all_stopped(struct edge *edge)
{
	return edge->stopped == edge->n_reactors;
}

/* The last one is told at the end of the spread, has its notice, may wait for a command's answer,
 * and then has a moment for its half of the closing handshake. */
static void say_good_bye(struct edge *edge)
{
	const struct edge_conf *conf = edge->conf;
	int64_t last_ms = conf->command_ms + GOOD_BYE_MS;

	hub_leave(edge->hub);
	turn_until(edge, all_gone_or_hurried,
		   (conf->drain_spread_ms + conf->drain_ms + last_ms) * 1000);
	if (all_gone(edge))
		return;
	hub_leave(edge->hub);
	turn_until(edge, all_gone, last_ms * 1000);
}

static void on_reported(void *arg)
{
	struct edge *edge = arg;

	edge->reported++;
}

static bool all_reported(struct edge *edge)
{
	return edge->reported == edge->n_reactors && hub_receipts_empty(edge->hub);
}

/* The last receipts, while there is a bus. */
static void report(struct edge *edge)
{
	for (unsigned i = 0; i < edge->n_reactors; i++)
		reactor_receipts(edge->reactors[i], on_reported, edge);
	turn_until(edge, all_reported, REPORT_US);
}

/* Requests are answered before what they came from goes: the bus first, so that everything that
 * waits for it is answered; then libmicrohttpd, which must not have suspended requests; then the
 * sockets, then the threads. */
static void take_down(struct edge *edge)
{
	report(edge);
	hub_hang_up(edge->hub);
	if (edge->http) {
		for (unsigned i = 0; i < edge->n_reactors; i++)
			streams_end(edge->reactors[i]);
		turn_until(edge, nobody_waits, HANG_UP_US);
		turn_until(edge, answered, HANG_UP_US / 10);
		http_stop(edge->http);
	}
	for (unsigned i = 0; i < edge->n_reactors; i++)
		reactor_stop(edge->reactors[i], on_stopped, edge);
	turn_until(edge, all_stopped, INT64_MAX / 4);
	for (unsigned i = 0; i < edge->n_reactors; i++)
		reactor_join(edge->reactors[i]);
}

void edge_run(struct edge *edge)
{
	loop_run(hub_loop(edge->hub));
	say_good_bye(edge);
}

void edge_free(struct edge *edge)
{
	bool running = edge && edge->reactors;

	if (!edge)
		return;
	for (unsigned i = 0; running && i < edge->n_reactors; i++)
		running = edge->reactors[i] && edge->reactors[i]->running;
	if (running)
		take_down(edge);
	http_close(edge->http);
	for (unsigned i = 0; edge->reactors && i < edge->n_reactors; i++) {
		if (edge->reactors[i])
			reactor_join(edge->reactors[i]);
	}
	hub_free(edge->hub);
	for (unsigned i = 0; edge->reactors && i < edge->n_reactors; i++)
		reactor_free(edge->reactors[i]);
	free(edge->reactors);
	usage_done(&edge->usage);
	admin_stop(edge->admin);
	metrics_free(edge->metrics);
	free(edge->url);
	free(edge);
}
