/* What goes wrong, and when: all of it by the seed. */
#include <stdio.h>

#include "common/names.h"
#include "tests/sim/cluster.h"

#define DRAINED_US INT64_C(4000000) /* at least: longer than it takes to tell everybody */

static int64_t between(struct cluster *c, int64_t least_us, int64_t most_us)
{
	return least_us + (int64_t)rng_below(&c->rng, (uint64_t)(most_us - least_us));
}

void routers_change(struct cluster *c)
{
	if (c->n_changes == SIM_CHANGES)
		cluster_fail(c, "more happened to the routers than can be written down");
	else
		c->changes[c->n_changes++] = loop_wall_us(c->loop);
}

void node_disturbed(struct node *n)
{
	n->disturbed_us = loop_now_us(n->cluster->loop);
	if (n->kind == NODE_ROUTER)
		routers_change(n->cluster);
}

static void outage(struct cluster *c)
{
	c->outage_us = loop_now_us(c->loop);
	routers_change(c);
}

bool node_calm(const struct node *n, int64_t since_us)
{
	return n->up && !n->cut && n->disturbed_us < since_us && n->cluster->outage_us < since_us;
}

static void on_restart(struct timer *timer, void *arg)
{
	(void)timer;
	node_start(arg);
}

static void on_heal(struct timer *timer, void *arg)
{
	struct node *n = arg;

	(void)timer;
	cluster_note(n->cluster, "node %d is not cut off any more", n->number);
	n->cut = false;
	node_disturbed(n);
	if (n->up)
		bus_fake_partition(n->bus, false);
}

static void on_broker_up(struct timer *timer, void *arg)
{
	struct cluster *c = arg;

	(void)timer;
	cluster_note(c, "broker up");
	outage(c);
	fake_broker_set_up(c->broker, true);
}

static void on_db_up(struct timer *timer, void *arg)
{
	struct cluster *c = arg;

	(void)timer;
	cluster_note(c, "database up");
	memdb_set_up(&c->db, true);
}

static void new_faults(struct cluster *c)
{
	double bad = rng_unit(&c->rng) * 0.1;
	struct fake_faults faults = {
	    .lose_core = c->lossy ? bad : 0,
	    .duplicate_core = c->doubles ? bad : 0,
	    .lose_ack = bad,
	    .lose_store = bad,
	    .redeliver = bad,
	    .delay_min_us = 50,
	    .delay_max_us = between(c, 100, 20000),
	};

	fake_broker_faults(c->broker, &faults);
}

static struct node *some_node(struct cluster *c)
{
	return &c->nodes[rng_below(&c->rng, SIM_NODES)];
}

static struct node *some_edge(struct cluster *c)
{
	return &c->nodes[SIM_NODES - 1 - rng_below(&c->rng, SIM_EDGES)];
}

static struct node *some_worker(struct cluster *c)
{
	return &c->nodes[SIM_ROUTERS + rng_below(&c->rng, SIM_WORKERS)];
}

static bool spared(const struct node *n)
{
	return n->kind == NODE_ROUTER && n->cluster->steady;
}

static void crash(struct cluster *c, struct node *n)
{
	if (!n->up || spared(n))
		return;
	cluster_note(c, "crash of node %d", n->number);
	c->crashes++;
	node_crash(n);
	timer_set(c->loop, &n->restart, between(c, 100000, 8000000));
}

static void cut_off(struct cluster *c, struct node *n)
{
	if (!n->up || n->cut || spared(n))
		return;
	cluster_note(c, "node %d is cut off", n->number);
	c->cuts++;
	n->cut = true;
	node_disturbed(n);
	bus_fake_partition(n->bus, true);
	timer_set(c->loop, &n->heal, between(c, 100000, 40000000));
}

static void drain(struct cluster *c, struct node *n)
{
	if (!n->up)
		return;
	cluster_note(c, "node %d is drained", n->number);
	c->drains += n->kind == NODE_EDGE;
	node_drain(n);
}

/* --- drains of one tenant --------------------------------------------------------------------- */

static void on_written(void *arg, const struct bus_ack *ack)
{
	((struct node *)arg)->told = ack->result == BUS_OK;
}

static void write_drain(struct node *n)
{
	char key[32], doc[128];
	int len;

	snprintf(key, sizeof(key), "edge.edge-%d", n->number);
	len = n->draining ? snprintf(doc, sizeof(doc),
				     "{\"id\":\"edge-%d\",\"tenants\":{\"%s\":{\"deadline_ms\":500,"
				     "\"spread_ms\":1000}}}",
				     n->number, n->cluster->mover)
			  : snprintf(doc, sizeof(doc), "{\"id\":\"edge-%d\"}", n->number);
	n->told = false;
	bus_put(n->cluster->bus, BUCKET_CONFIG, key, doc, (size_t)len, on_written, n);
}

static void drain_tenant(struct cluster *c, struct node *n)
{
	if (n->draining)
		return;
	cluster_note(c, "node %d is drained for %s", n->number, c->mover);
	c->tenant_drains++;
	n->draining = true;
	n->certain = n->told; /* else the edge may not have heard that the last one is over */
	n->drain_us = loop_now_us(c->loop);
	write_drain(n);
	timer_set(c->loop, &n->undrain, between(c, DRAINED_US, 4 * DRAINED_US));
}

/* By now everybody whom it concerned has been told. */
static void on_undrain(struct timer *timer, void *arg)
{
	struct node *n = arg;

	(void)timer;
	if (n->certain && n->told && node_calm(n, n->drain_us))
		for (int i = 0; i < SIM_READERS; i++)
			subscriber_check_moved(&n->cluster->readers[i], n);
	cluster_note(n->cluster, "node %d is not drained any more", n->number);
	n->draining = false;
	write_drain(n);
}

static void broker_down(struct cluster *c)
{
	if (c->steady)
		return;
	cluster_note(c, "broker down");
	c->outages++;
	outage(c);
	fake_broker_set_up(c->broker, false);
	timer_set(c->loop, &c->broker_up, between(c, 50000, 3000000));
}

static void db_down(struct cluster *c)
{
	cluster_note(c, "database down");
	c->outages++;
	memdb_set_up(&c->db, false);
	timer_set(c->loop, &c->db_up, between(c, 50000, 5000000));
}

static void on_chaos(struct timer *timer, void *arg)
{
	struct cluster *c = arg;

	switch (rng_below(&c->rng, 12)) {
	case 0:
	case 1:
	case 2:
		crash(c, some_node(c));
		break;
	case 3:
		cut_off(c, some_node(c));
		break;
	case 4:
		broker_down(c);
		break;
	case 5:
		db_down(c);
		break;
	case 6:
		drain(c, some_edge(c));
		break;
	case 7:
		cut_off(c, some_edge(c));
		break;
	case 8:
		drain(c, some_worker(c));
		break;
	case 9:
		drain_tenant(c, some_edge(c));
		break;
	default:
		new_faults(c);
	}
	timer_set(c->loop, timer, between(c, 100000, 3000000));
}

/* What is stored by now may be too old at once. */
static void on_forget(struct timer *timer, void *arg)
{
	struct cluster *c = arg;
	uint64_t kept = c->db.position + 1 - c->db.kept_from;

	if (c->db.up && kept > 0)
		c->db.kept_from += rng_below(&c->rng, kept + 1);
	cluster_note(c, "kept from %llu", (unsigned long long)c->db.kept_from);
	timer_set(c->loop, timer, between(c, 1000000, 8000000));
}

void faults_init(struct cluster *c)
{
	timer_init(&c->forget, on_forget, c);
	timer_init(&c->chaos, on_chaos, c);
	timer_init(&c->broker_up, on_broker_up, c);
	timer_init(&c->db_up, on_db_up, c);
}

void faults_init_node(struct node *n)
{
	timer_init(&n->restart, on_restart, n);
	timer_init(&n->heal, on_heal, n);
	timer_init(&n->undrain, on_undrain, n);
	n->told = true;
}

void cluster_heal(struct cluster *c)
{
	struct fake_faults none = {.delay_min_us = 50, .delay_max_us = 500};

	c->healed = true;
	timer_cancel(c->loop, &c->chaos);
	timer_cancel(c->loop, &c->forget);
	timer_cancel(c->loop, &c->broker_up);
	timer_cancel(c->loop, &c->db_up);
	fake_broker_faults(c->broker, &none);
	fake_broker_set_up(c->broker, true);
	memdb_set_up(&c->db, true);
	for (int i = 0; i < SIM_NODES; i++) {
		struct node *n = &c->nodes[i];

		timer_cancel(c->loop, &n->heal);
		timer_cancel(c->loop, &n->restart);
		if (n->cut)
			on_heal(&n->heal, n);
		if (!n->up)
			node_start(n);
		if (n->kind == NODE_EDGE) {
			timer_cancel(c->loop, &n->undrain);
			n->draining = false;
			write_drain(n); /* the last one may have been lost */
		}
	}
	cluster_note(c, "healed");
}
