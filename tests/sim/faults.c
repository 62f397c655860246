/* What goes wrong, and when: all of it by the seed. */
#include "tests/sim/cluster.h"

static int64_t between(struct cluster *c, int64_t least_us, int64_t most_us)
{
	return least_us + (int64_t)rng_below(&c->rng, (uint64_t)(most_us - least_us));
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
	if (n->up)
		bus_fake_partition(n->bus, false);
}

static void on_broker_up(struct timer *timer, void *arg)
{
	struct cluster *c = arg;

	(void)timer;
	cluster_note(c, "broker up");
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
	    .duplicate_core = bad,
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

static void crash(struct cluster *c, struct node *n)
{
	if (!n->up)
		return;
	cluster_note(c, "crash of node %d", n->number);
	c->crashes++;
	node_crash(n);
	timer_set(c->loop, &n->restart, between(c, 100000, 8000000));
}

static void cut_off(struct cluster *c, struct node *n)
{
	if (!n->up || n->cut)
		return;
	cluster_note(c, "node %d is cut off", n->number);
	c->cuts++;
	n->cut = true;
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

static void broker_down(struct cluster *c)
{
	cluster_note(c, "broker down");
	c->outages++;
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

	switch (rng_below(&c->rng, 11)) {
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
	default:
		new_faults(c);
	}
	timer_set(c->loop, timer, between(c, 100000, 3000000));
}

void faults_init(struct cluster *c)
{
	timer_init(&c->chaos, on_chaos, c);
	timer_init(&c->broker_up, on_broker_up, c);
	timer_init(&c->db_up, on_db_up, c);
}

void faults_init_node(struct node *n)
{
	timer_init(&n->restart, on_restart, n);
	timer_init(&n->heal, on_heal, n);
}

void cluster_heal(struct cluster *c)
{
	struct fake_faults none = {.delay_min_us = 50, .delay_max_us = 500};

	c->healed = true;
	timer_cancel(c->loop, &c->chaos);
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
	}
	cluster_note(c, "healed");
}
