/* One process of the cluster: what its main() would put together, on the simulated loop. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "tests/sim/cluster.h"

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
	n->worker = worker_start(n->cluster->loop, n->bus, n->catalog, &n->exec.base,
				 &n->worker_stats, &conf, &err);
	if (!n->members || !n->worker)
		cluster_fail(n->cluster, "worker: %s", err.msg);
}

static void start_store(struct node *n)
{
	struct ingest_conf conf = {.epoch = n->cluster->epoch};
	struct error err = {0};

	n->sink = memdb_connect(&n->cluster->db);
	n->ingest =
	    ingest_start(n->bus, n->cluster->loop, n->sink, n->metrics, &conf, NULL, NULL, &err);
	if (!n->ingest)
		cluster_fail(n->cluster, "event-store: %s", err.msg);
}

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
	n->started = false;
	n->lives++;
	snprintf(name, sizeof(name), "bus-%d-%d", n->number, n->lives);
	cluster_note(n->cluster, "node %d starts", n->number);
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
	bus_fake_partition(n->bus, true);
	memdb_disconnect(n->sink);
	router_close(n->router);
	members_stop(n->members);
	worker_free(n->worker);
	ingest_close(n->ingest);
	catalog_stop(n->catalog);
	bus_free(n->bus);
	router_free(n->router);
	ingest_free(n->ingest);
	if (n->kind == NODE_WORKER && n->started)
		fake_exec_done(&n->exec);
	metrics_free(n->metrics);
	n->sink = NULL;
	n->router = NULL;
	n->members = NULL;
	n->worker = NULL;
	n->ingest = NULL;
}
