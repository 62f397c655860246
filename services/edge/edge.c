#include "services/edge/edge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "services/edge/http.h"
#include "services/edge/hub.h"
#include "services/edge/reactor.h"

#define TURN_US    20000
#define HANG_UP_US 3000000 /* for what is under way after the sockets are gone */

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
	    .edge = conf->common.instance,
	    .epoch = edge->epoch,
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

	edge->admin =
	    admin_start(conf->common.admin_addr, (int)conf->common.admin_port, edge->metrics, err);
	if (!edge->admin)
		return -1;
	edge->http = http_open(edge, err);
	if (!edge->http)
		return -1;
	if (*conf->url)
		strbuf_adds(&url, conf->url);
	else
		strbuf_addf(&url, "http://%s:%d", conf->addr, http_port(edge->http));
	edge->url = strbuf_detach(&url, NULL);
	log_at(LOG_INFO, "listening", LOG_S("addr", conf->addr),
	       LOG_I("port", http_port(edge->http)), LOG_S("url", edge->url),
	       LOG_I("admin_port", admin_port(edge->admin)), LOG_I("reactors", edge->n_reactors));
	return 0;
}

struct edge *edge_open(struct edge_conf *conf, edge_bus_fn *open_bus, struct error *err)
{
	struct edge *edge = xcalloc(1, sizeof(*edge));

	edge->conf = conf;
	raise_file_limit();
	prepare(edge);
	if (check_conf(conf, err) || !(edge->hub = hub_open(edge, open_bus, err)) ||
	    start_reactors(edge, err) || start_doors(edge, err) || hub_start(edge->hub, err)) {
		edge_free(edge);
		return NULL;
	}
	return edge;
}

int edge_port(const struct edge *edge)
{
	return http_port(edge->http);
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
	return !atomic_load(&edge->connections) && !http_active(edge->http);
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

/* First the members and /readyz, so that nobody sends new clients here; then the clients. */
static void say_good_bye(struct edge *edge)
{
	char *url = hub_elsewhere(edge->hub);

	atomic_store(&edge->draining, true);
	hub_leave(edge->hub);
	log_at(LOG_INFO, "draining", LOG_I("connections", atomic_load(&edge->connections)));
	for (unsigned i = 0; i < edge->n_reactors; i++)
		reactor_drain(edge->reactors[i], edge->conf->drain_ms, url);
	free(url);
	turn_until(edge, all_gone, edge->conf->drain_ms * 1000);
}

/* Requests are answered before what they came from goes: the bus first, so that everything that
 * waits for it is answered; then libmicrohttpd, which must not have suspended requests; then the
 * sockets, then the threads. */
static void take_down(struct edge *edge)
{
	hub_hang_up(edge->hub);
	if (edge->http) {
		turn_until(edge, nobody_waits, HANG_UP_US);
		turn_until(edge, answered, HANG_UP_US / 10);
		http_close(edge->http);
		edge->http = NULL;
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
	admin_stop(edge->admin);
	metrics_free(edge->metrics);
	free(edge->url);
	free(edge);
}
