#include "tests/sim/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/names.h"

/* SHA-256 of "secret" */
#define SECRET_HASH "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
#define TEXT_OF(n)  #n
#define TEXT(n)     TEXT_OF(n)
#define START_US    INT64_C(1700000000000000)

static const struct {
	const char *key, *doc;
} documents[] = {
    {"tenant.acme",
     "{\"id\":\"acme\",\"name\":\"Acme\",\"region\":\"local\",\"class\":\"standard\",\"status\":"
     "\"active\","
     "\"weight\":1,\"limits\":{\"events_per_s\":" TEXT(SIM_RATE) ",\"burst\":" TEXT(
	 SIM_BURST) ",\"tasks_running\":4}}"},
    {"tenant.globex", "{\"id\":\"globex\",\"name\":\"Globex\",\"region\":\"local\",\"class\":"
		      "\"standard\",\"status\":\"active\","
		      "\"weight\":2,\"limits\":{}}"},
    {"type.acme.note", "{\"tenant\":\"acme\",\"type\":\"note\",\"class\":\"durable\",\"latest\":1,"
		       "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}"},
    {"type.globex.note",
     "{\"tenant\":\"globex\",\"type\":\"note\",\"class\":\"durable\",\"latest\":1,"
     "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}"},
    {"type.acme.pulse", "{\"tenant\":\"acme\",\"type\":\"pulse\",\"class\":\"ephemeral\","
			"\"latest\":1,\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}"},
    {"type.globex.pulse",
     "{\"tenant\":\"globex\",\"type\":\"pulse\",\"class\":\"ephemeral\",\"latest\":1,"
     "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}"},
    {"model.m",
     "{\"name\":\"m\",\"kind\":\"openai\",\"url\":\"http://127.0.0.1:1/v1\",\"model\":\"m\","
     "\"limits\":{\"rpm\":" TEXT(SIM_RPM) ",\"concurrent\":" TEXT(
	 SIM_AT_ONCE) "},\"timeout_ms\":10000}"},
    {"key.acme", "{\"id\":\"acme\",\"tenant\":\"acme\",\"hash\":\"" SECRET_HASH
		 "\",\"scopes\":[\"subscribe\",\"publish\"],\"status\":\"active\"}"},
    {"key.globex", "{\"id\":\"globex\",\"tenant\":\"globex\",\"hash\":\"" SECRET_HASH
		   "\",\"scopes\":[\"subscribe\",\"publish\"],\"status\":\"active\"}"},
    {"pipeline.diamond.1",
     "{\"name\":\"diamond\",\"version\":1,\"stages\":["
     "{\"id\":\"a\",\"kind\":\"transform\",\"input\":\".input\"},"
     "{\"id\":\"b\",\"kind\":\"chat\",\"model\":\"m\",\"needs\":[\"a\"],\"input\":\".stages.a\","
     "\"retry\":{\"max_attempts\":20,\"initial_ms\":50,\"max_ms\":500}},"
     "{\"id\":\"c\",\"kind\":\"http\",\"needs\":[\"a\"],\"input\":\".stages.a\","
     "\"retry\":{\"max_attempts\":20,\"initial_ms\":50,\"max_ms\":500}},"
     "{\"id\":\"d\",\"kind\":\"transform\",\"needs\":[\"b\",\"c\"],\"input\":\".stages\"},"
     "{\"id\":\"e\",\"kind\":\"publish\",\"needs\":[\"d\"],\"when\":\".stages.d\",\"input\":\"."
     "stages.d\","
     "\"retry\":{\"max_attempts\":20,\"initial_ms\":50,\"max_ms\":500}}]}"},
};

void cluster_fail(struct cluster *c, const char *fmt, ...)
{
	va_list ap;

	if (c->failure[0])
		return;
	va_start(ap, fmt);
	vsnprintf(c->failure, sizeof(c->failure), fmt, ap);
	va_end(ap);
}

void cluster_note(struct cluster *c, const char *fmt, ...)
{
	va_list ap;

	if (!c->verbose)
		return;
	printf("%10.6f ", (double)loop_now_us(c->loop) / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void cluster_run(struct cluster *c, int64_t us)
{
	int64_t until = loop_now_us(c->loop) + us;

	while (!c->failure[0] && loop_sim_step(c->loop, until))
		;
	node_bury(c);
}

/* --- looks --------------------------------------------------------------------------------- */

struct look {
	struct cluster *cluster;
	uint64_t *last_seq, *msgs; /* where to put them, or NULL */
};

static void looked(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct look *look = arg;
	if (result == BUS_OK) {
		if (look->last_seq)
			*look->last_seq = info->last_seq;
		if (look->msgs)
			*look->msgs += info->msgs;
	}
	look->cluster->looking--;
}

void cluster_look(struct cluster *c)
{
	struct look events = {c, &c->last_seq, NULL}, queues = {c, NULL, &c->queued};

	c->looking = 3;
	c->queued = 0;
	bus_stream_info(c->bus, STREAM_EVENTS, NULL, looked, &events);
	bus_stream_info(c->bus, STREAM_TASKS, NULL, looked, &queues);
	bus_stream_info(c->bus, STREAM_BACKLOG, NULL, looked, &queues);
	while (c->looking > 0 && loop_sim_step(c->loop, loop_now_us(c->loop) + 10000000))
		;
	if (c->looking > 0)
		cluster_fail(c, "the broker does not answer");
}

/* --- life ---------------------------------------------------------------------------------- */

static void streams_ready(void *arg, uint64_t epoch)
{
	struct cluster *c = arg;

	c->epoch = epoch;
}

static void configure(struct cluster *c)
{
	struct topology_conf conf = {.replicas = 1, .dedupe_ms = SIM_DEDUPE_S * 1000};

	c->topology = topology_start(c->bus, c->loop, &conf, streams_ready, c);
	cluster_run(c, 2000000);
	if (!c->epoch)
		cluster_fail(c, "the streams were not made");
	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++)
		bus_put(c->bus, BUCKET_CONFIG, documents[i].key, documents[i].doc,
			strlen(documents[i].doc), NULL, NULL);
	cluster_run(c, 100000);
}

/* A router is also taken for dead when its heartbeats are lost. */
static void members_changed(void *arg)
{
	struct cluster *c = arg;
	bool changed = false;

	for (unsigned i = 0; c->members && i < SIM_PARTS; i++) {
		const char *owner = members_owner(c->members, "router", i);

		owner = owner ? owner : "";
		changed = changed || strcmp(owner, c->owners[i]) != 0;
		snprintf(c->owners[i], sizeof(c->owners[i]), "%s", owner);
	}
	if (changed)
		routers_change(c);
}

static void watch_members(struct cluster *c)
{
	struct error err = {0};

	c->members = members_start(c->bus, c->loop, NULL, NULL, NULL, members_changed, c, &err);
	if (!c->members)
		cluster_fail(c, "members: %s", err.msg);
}

void cluster_start(struct cluster *c, uint64_t seed, bool verbose)
{
	*c = (struct cluster){.seed = seed, .verbose = verbose};
	c->loop = loop_new_sim(START_US);
	rng_seed(&c->rng, seed);
	c->lossy = rng_below(&c->rng, 2) == 0;
	c->trims = seed % SIM_EVERY == 2;
	c->doubles = rng_below(&c->rng, 2) == 0;
	c->steady = rng_below(&c->rng, 3) == 0;
	c->mover = rng_below(&c->rng, 2) ? "acme" : "globex";
	c->broker = fake_broker_new(c->loop, seed);
	c->bus = bus_fake_open(c->broker, "observer");
	memdb_init(&c->db, c->loop, &c->rng);
	faults_init(c);
	model_open(c);
	configure(c);
	watch_members(c);
	for (int i = 0; i < SIM_NODES; i++) {
		struct node *n = &c->nodes[i];

		n->cluster = c;
		n->kind = i < SIM_ROUTERS                              ? NODE_ROUTER
			  : i < SIM_ROUTERS + SIM_WORKERS              ? NODE_WORKER
			  : i < SIM_ROUTERS + SIM_WORKERS + SIM_STORES ? NODE_STORE
			  : i < SIM_NODES - SIM_EDGES                  ? NODE_CONTROL
								       : NODE_EDGE;
		n->number = i;
		faults_init_node(n);
		node_start(n);
	}
	for (int i = 0; i < SIM_CLIENTS; i++)
		client_start(&c->clients[i], c, i);
	for (int i = 0; i < SIM_READERS; i++)
		subscriber_start(&c->readers[i], c, i);
	timer_set(c->loop, &c->chaos, 2000000);
	if (c->trims)
		timer_set(c->loop, &c->forget, 2000000);
}

void cluster_stop(struct cluster *c)
{
	for (int i = 0; i < SIM_CLIENTS; i++)
		client_stop(&c->clients[i]);
	for (int i = 0; i < SIM_READERS; i++)
		subscriber_stop(&c->readers[i]);
	for (int i = 0; i < SIM_NODES; i++) {
		timer_cancel(c->loop, &c->nodes[i].restart);
		timer_cancel(c->loop, &c->nodes[i].heal);
		timer_cancel(c->loop, &c->nodes[i].undrain);
		node_crash(&c->nodes[i]);
	}
	node_bury(c);
	timer_cancel(c->loop, &c->chaos);
	timer_cancel(c->loop, &c->forget);
	timer_cancel(c->loop, &c->broker_up);
	timer_cancel(c->loop, &c->db_up);
	members_stop(c->members);
	topology_stop(c->topology);
	bus_free(c->bus);
	fake_broker_free(c->broker);
	memdb_done(&c->db);
	server_done(&c->model);
	loop_free(c->loop);
}
