/* Bytes on pen.cmd.<part>, pen.ctl.end.<part> and pen.lease.events.<part>: through the router's
 * real way of decoding, admitting and acting, on a broker in memory.
 *
 * One router lives for many inputs; after each one everything it started is run to its end, so that
 * one input's state is there for the next as it would be in a process. */
/* links: services/router */
#include <assert.h>
#include <string.h>

#include "common/bus_fake.h"
#include "common/topology.h"
#include "services/router/impl.h"

#define INPUTS_MAX 20000 /* then a new world: the broker keeps all that is stored */

static struct loop *loop;
static struct fake_broker *broker;
static struct bus *bus;
static struct catalog *catalog;
static struct metrics *metrics;
static struct router *router;
static unsigned acme_part, inputs;

static void put(struct catalog *c, const char *key, const char *doc)
{
	struct error err;
	int rc = catalog_put(c, key, doc, strlen(doc), &err);
	assert(rc == 0);
	(void)rc;
}

static void streams(void *arg, uint64_t epoch)
{
	*(uint64_t *)arg = epoch;
}

static void run(int64_t us)
{
	int64_t until = loop_now_us(loop) + us;
	while (loop_sim_step(loop, until))
		;
}

static void setup(void)
{
	struct error err;
	uint64_t epoch = 0;
	struct topology_conf topology = {.replicas = 1};
	struct router_conf conf;
	loop = loop_new_sim(INT64_C(1700000000000000));
	broker = fake_broker_new(loop, 1);
	bus = bus_fake_open(broker, "router");
	catalog = catalog_new();
	put(catalog, "tenant.acme",
	    "{\"id\":\"acme\",\"name\":\"Acme\",\"region\":\"local\",\"class\":\"standard\","
	    "\"status\":\"active\",\"limits\":{\"events_per_s\":1000000,\"burst\":1000000}}");
	put(catalog, "type.acme.note",
	    "{\"tenant\":\"acme\",\"type\":\"note\",\"class\":\"durable\",\"latest\":1,"
	    "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}");
	put(catalog, "type.acme.move",
	    "{\"tenant\":\"acme\",\"type\":\"move\",\"class\":\"ephemeral\",\"latest\":1,"
	    "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}");
	put(catalog, "pipeline.p.1",
	    "{\"name\":\"p\",\"version\":1,\"stages\":[{\"id\":\"a\",\"kind\":\"transform\","
	    "\"input\":\".\"}],\"output\":\".\"}");
	struct topology *t = topology_start(bus, loop, &topology, streams, &epoch);
	run(5000000);
	topology_stop(t);
	assert(epoch != 0);
	router_conf_init(&conf);
	conf.instance = "fuzzed";
	conf.epoch = epoch;
	conf.seed = 7;
	conf.metrics = metrics = metrics_new();
	router = router_start(loop, bus, catalog, &conf, &err);
	assert(router);
	run(5000000);
	acme_part = part_of("acme", conf.parts);
}

static void teardown(void)
{
	router_close(router);
	bus_free(bus);
	router_free(router);
	fake_broker_free(broker);
	catalog_stop(catalog);
	metrics_free(metrics);
	loop_free(loop);
	router = NULL;
	inputs = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (router && ++inputs > INPUTS_MAX)
		teardown();
	if (!router)
		setup();
	router_command(router, acme_part, "_INBOX.fuzz", data, size);
	run(1000);
	router_end_message(router, data, size);
	run(1000);
	router_lease(router, acme_part, "_INBOX.fuzz", data, size);
	run(1000);
	assert(router_inflight(router) == 0);
	return 0;
}
