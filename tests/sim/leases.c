/* The model, its leases, and who grants them. */
#include "services/orchestrator-worker/lessee.h"
#include "services/orchestrator-worker/target.h"
#include "tests/sim/cluster.h"

void model_open(struct cluster *c)
{
	/* Whatever comes is worked on: whether it may come is the workers' business. */
	static const struct server_plan plan = {
	    .rpm = SIM_RPM, .places = 100, .work_us = 4000000, .fail_every = 15};

	server_init(&c->model, c->loop, &c->rng, &plan);
}

/* --- a control-plane ------------------------------------------------------------------------ */

static void members_changed(void *arg)
{
	granting_members(((struct node *)arg)->granting);
}

static void bus_changed(void *arg, bool connected)
{
	granting_bus(((struct node *)arg)->granting, connected);
}

void control_start(struct node *n, const char *name)
{
	struct error err = {0};

	n->members = members_start(n->bus, n->cluster->loop, "control", name, NULL, members_changed,
				   n, &err);
	n->granting = granting_start(n->bus, n->cluster->loop, n->members, name, n->metrics, &err);
	if (!n->members || !n->granting)
		cluster_fail(n->cluster, "control-plane: %s", err.msg);
	bus_on_state(n->bus, bus_changed, n);
}

void control_end(struct node *n)
{
	granting_stop(n->granting);
	n->granting = NULL;
}

/* --- a worker ------------------------------------------------------------------------------- */

/* After its members. */
void leases_start(struct node *n, const char *name)
{
	static const struct targets_conf conf = {
	    .output_max = 65536, .waiting_max = 100, .http_concurrent = 16};
	struct cluster *c = n->cluster;
	struct error err = {0};

	n->lessee = lessee_new(n->bus, c->loop, n->members, name, &n->worker_stats, &err);
	if (!n->lessee)
		cluster_fail(c, "lessee: %s", err.msg);
	n->targets = targets_new(c->loop, &c->model, n->catalog, n->members, n->lessee,
				 &n->worker_stats, &conf);
	n->exec.targets = n->targets;
}

void leases_end(struct node *n)
{
	targets_free(n->targets);
	lessee_free(n->lessee);
	n->targets = NULL;
	n->lessee = NULL;
}
