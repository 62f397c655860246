/* One process of the cluster: what its main() would put together, on the simulated loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "services/edge/conn.h"
#include "tests/sim/cluster.h"

#define FLUSH_MS 100  /* after which a worker that has stopped is gone */
#define GRACE_MS 3000 /* at most, for its calls */
#define GOOD_BYE_MS                                                                                \
	3000 /* behind the last command's answer, for the closing handshakes of those who do not   \
		read */

static uint64_t node_seed(const struct node *n)
{
	return n->cluster->seed * 1000003 + (uint64_t)(n->number * 101 + n->lives);
}

static void start_router(struct node *n, const char *name)
{
	struct router_conf conf;
	struct error err = {0};

	router_conf_init(&conf);
	conf.instance = name;
	conf.parts = SIM_PARTS;
	conf.epoch = n->cluster->epoch;
	conf.seed = node_seed(n);
	conf.metrics = n->metrics;
	n->router = router_start(n->cluster->loop, n->bus, n->catalog, &conf, &err);
	if (!n->router)
		cluster_fail(n->cluster, "router: %s", err.msg);
}

static void start_worker(struct node *n, const char *name)
{
	struct worker_conf conf = {
	    .instance = name,
	    .pool = POOL_DEFAULT,
	    .parts = SIM_PARTS,
	    .slots = SIM_SLOTS,
	    .seed = node_seed(n),
	    .output_max = 65536,
	    .document_max = 262144,
	    .deltas_in_flight = 64,
	};
	struct error err = {0};

	fake_exec_init(&n->exec, n->cluster->loop, &n->cluster->rng, &n->cluster->calls);
	worker_stats_init(&n->worker_stats, n->metrics);
	n->members = members_start(
	    n->bus, n->cluster->loop, "worker", name,
	    json_pack("{s:i,s:[s]}", "slots", SIM_SLOTS, "pools", POOL_DEFAULT), NULL, NULL, &err);
	leases_start(n, name);
	n->worker = worker_start(n->cluster->loop, n->bus, n->catalog, &n->exec.base,
				 &n->worker_stats, &conf, &err);
	if (!n->members || !n->worker)
		cluster_fail(n->cluster, "worker: %s", err.msg);
}

static void start_store(struct node *n)
{
	struct ingest_conf conf = {.epoch = n->cluster->epoch};

	n->sink = memdb_connect(&n->cluster->db);
	n->ingest = ingest_start(n->bus, n->cluster->loop, n->sink, n->metrics, &conf, NULL, NULL);
	slow_start(n);
	archive_start(n);
}

/* --- edges ------------------------------------------------------------------------------------ */

static struct bus *open_edge_bus(struct loop *loop, const struct edge_conf *conf,
				 struct metrics *metrics, struct error *err)
{
	struct edge_life *life = (struct edge_life *)conf;
	struct node *n = life->node;
	char name[32];

	(void)loop;
	(void)metrics;
	(void)err;
	snprintf(name, sizeof(name), "bus-%d-%d", n->number, n->lives);
	life->bus = bus_fake_open(n->cluster->broker, name);
	bus_fake_no_echo(life->bus);
	return life->bus;
}

/* Small bounds, so that a slow reader is spilled and dropped within seconds. */
static void set_edge(struct edge_conf *conf, const struct node *n)
{
	char instance[32];

	snprintf(instance, sizeof(instance), "edge-%d", n->number);
	free(conf->common.instance);
	free(conf->resume_secret);
	free(conf->url);
	conf->common.instance = xstrdup(instance);
	conf->resume_secret = xstrdup("the edges' common one");
	conf->url = xstrdup("http://edge");
	conf->common.parts = SIM_PARTS;
	conf->common.dedupe_ms = SIM_DEDUPE_S * 1000;
	conf->reactors = 1;
	conf->io_uring = false; /* the same run on every kernel */
	conf->out_soft_bytes = 2048;
	conf->out_hard_bytes = 8192;
	conf->drain_ms = 500;
	conf->drain_spread_ms = 1000;
	conf->resume_ttl_ms = 20000;
}

static void start_edge(struct node *n)
{
	struct edge_life *life = xcalloc(1, sizeof(*life));
	struct error err = {0};

	life->node = n;
	if (env_load("PENSTOCK_EDGE_", edge_settings, edge_n_settings, &life->conf, &err))
		cluster_fail(n->cluster, "edge: %s", err.msg);
	set_edge(&life->conf, n);
	life->edge = edge_open_on(n->cluster->loop, node_seed(n), &life->conf, open_edge_bus, &err);
	if (!life->edge)
		cluster_fail(n->cluster, "edge: %s", err.msg);
	n->life = life;
	n->edge = life->edge;
	n->bus = life->bus;
	n->started = true;
}

static void end_edge(struct node *n)
{
	struct cluster *c = n->cluster;

	timer_cancel(c->loop, &n->leave);
	for (int i = 0; i < SIM_READERS; i++)
		if (c->readers[i].node == n)
			subscriber_lost(&c->readers[i]);
	n->life->next = c->dead;
	c->dead = n->life;
	n->life = NULL;
	n->edge = NULL;
	n->bus = NULL;
}

void node_bury(struct cluster *c)
{
	while (c->dead) {
		struct edge_life *life = c->dead;

		c->dead = life->next;
		c->spills += (uint64_t)metric_get(life->edge->stats.spills);
		c->repairs += (uint64_t)metric_get(life->edge->stats.repairs);
		c->direct += (uint64_t)metric_get(life->edge->stats.direct);
		edge_free(life->edge);
		env_done(edge_settings, edge_n_settings, &life->conf);
		free(life);
	}
}

/* Who was closed for slowness just before may take longer to go than the drain does. */
static bool empty(const struct edge *edge)
{
	for (unsigned i = 0; i < edge->n_reactors; i++)
		for (const struct conn *c = edge->reactors[i]->conns; c; c = c->next)
			if (c->close_code != CLOSE_SLOW)
				return false;
	return true;
}

static void on_left(struct timer *timer, void *arg)
{
	struct node *n = arg;

	(void)timer;
	if (!empty(n->edge))
		cluster_fail(n->cluster, "node %d still has connections after its drain",
			     n->number);
	node_crash(n);
	timer_set(n->cluster->loop, &n->restart, 1000000);
}

static void on_handed_off(struct timer *timer, void *arg)
{
	struct node *n = arg;

	(void)timer;
	node_crash(n);
	timer_set(n->cluster->loop, &n->restart, 1000000);
}

static void worker_stopped(void *arg)
{
	struct node *n = arg;

	timer_set(n->cluster->loop, &n->leave, FLUSH_MS * 1000);
}

/* What it has is handed off: at once, or after its calls have ended. */
static void drain_worker(struct node *n)
{
	if (n->leaving || !n->worker)
		return;
	n->leaving = true;
	n->cluster->hand_offs++;
	timer_init(&n->leave, on_handed_off, n);
	worker_stop(n->worker, (int64_t)rng_below(&n->cluster->rng, GRACE_MS), worker_stopped, n);
}

void node_drain(struct node *n)
{
	struct edge_life *life = n->life;

	if (n->kind == NODE_WORKER) {
		drain_worker(n);
		return;
	}
	if (timer_armed(&n->leave))
		return;
	timer_init(&n->leave, on_left, n);
	hub_leave(life->edge->hub);
	timer_set(n->cluster->loop, &n->leave,
		  (life->conf.drain_ms + life->conf.drain_spread_ms + life->conf.command_ms +
		   GOOD_BYE_MS) *
		      1000);
}

/* --- life ------------------------------------------------------------------------------------- */

/* The configuration is there: the service proper starts, as in its main(). */
static void configured(void *arg)
{
	struct node *n = arg;
	char name[32];

	if (n->started)
		return;
	n->started = true;
	snprintf(name, sizeof(name), "node-%d-%d", n->number, n->lives);
	if (n->kind == NODE_ROUTER)
		start_router(n, name);
	else if (n->kind == NODE_WORKER)
		start_worker(n, name);
	else if (n->kind == NODE_CONTROL)
		control_start(n, name);
	else
		start_store(n);
}

static void changed(void *arg, const char *key)
{
	struct node *n = arg;

	if (n->worker)
		worker_config_changed(n->worker, key);
}

void node_start(struct node *n)
{
	char name[32];
	struct error err = {0};

	n->up = true;
	n->cut = false;
	n->started = n->leaving = false;
	n->lives++;
	node_disturbed(n);
	snprintf(name, sizeof(name), "bus-%d-%d", n->number, n->lives);
	cluster_note(n->cluster, "node %d starts", n->number);
	if (n->kind == NODE_EDGE) {
		start_edge(n);
		return;
	}
	n->bus = bus_fake_open(n->cluster->broker, name);
	n->metrics = metrics_new();
	n->catalog = catalog_start(n->bus, n->cluster->loop, configured, changed, n, &err);
	if (!n->catalog)
		cluster_fail(n->cluster, "catalog: %s", err.msg);
}

/* SIGKILL: nothing is handed over; what was on its way out may be lost. */
void node_crash(struct node *n)
{
	if (!n->up)
		return;
	n->up = false;
	node_disturbed(n);
	bus_fake_partition(n->bus, true);
	if (n->kind == NODE_EDGE) {
		end_edge(n);
		return;
	}
	timer_cancel(n->cluster->loop, &n->leave);
	slow_end(n);
	archive_end(n);
	memdb_disconnect(n->sink);
	router_close(n->router);
	worker_free(n->worker);
	leases_end(n);
	control_end(n);
	members_stop(n->members);
	ingest_close(n->ingest);
	catalog_stop(n->catalog);
	bus_free(n->bus);
	router_free(n->router);
	ingest_free(n->ingest);
	archive_free(n);
	if (n->kind == NODE_WORKER && n->started)
		fake_exec_done(&n->exec);
	metrics_free(n->metrics);
	n->sink = NULL;
	n->router = NULL;
	n->members = NULL;
	n->worker = NULL;
	n->ingest = NULL;
}
