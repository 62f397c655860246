/* Streams and buckets are there as soon as the broker is. */
#include <check.h>

#include "common/bus_fake.h"
#include "common/topology.h"
#include "tests/unit/common/suite.h"

#define MS INT64_C(1000)

static struct loop *loop;
static bool there;

static void ready(void *arg, uint64_t epoch)
{
	(void)arg;
	there = epoch != 0;
}

static void run(int64_t us)
{
	int64_t until = loop_now_us(loop) + us;

	while (loop_sim_step(loop, until))
		;
}

/* A service starts, and the broker is up, or connected, so long after that: is it ready, that long
 * after the broker? */
static bool ready_within(int64_t up_us, int64_t within_us)
{
	struct topology_conf conf = {.replicas = 1};
	struct fake_broker *broker;
	struct topology *t;
	struct bus *bus;

	there = false;
	loop = loop_new_sim(INT64_C(1700000000000000));
	broker = fake_broker_new(loop, 3);
	fake_broker_set_up(broker, false);
	bus = bus_fake_open(broker, "a");
	t = topology_start(bus, loop, &conf, ready, NULL);
	run(up_us);
	ck_assert(!there);
	fake_broker_set_up(broker, true);
	run(within_us);
	topology_stop(t);
	bus_free(bus);
	fake_broker_free(broker);
	loop_free(loop);
	return there;
}

START_TEST(ready_soon_after_the_connection)
{
	ck_assert(ready_within(3 * MS, 25 * MS)); /* a connection takes that long */
	ck_assert(ready_within(100 * MS, 150 * MS));
}
END_TEST

START_TEST(ready_after_a_long_outage)
{
	ck_assert(ready_within(60000 * MS, 600 * MS));
}
END_TEST

RUN_TESTS("topology", ready_soon_after_the_connection, ready_after_a_long_outage)
