/* What a worker believes of its grantor. */
#include <stdlib.h>

#include "common/bus_fake.h"
#include "services/orchestrator-worker/lessee.h"
#include "tests/unit/common/suite.h"

static void run(struct loop *loop, int64_t us)
{
	int64_t until = loop_now_us(loop) + us;
	while (loop_sim_step(loop, until))
		;
}

/* Cut off for longer than a lease's term, it is no member any more, and what it held is another's:
 * back again it waits for a word as if it had just begun. */
START_TEST(reconnect_is_no_silence)
{
	struct loop *loop = loop_new_sim(INT64_C(1700000000000000));
	struct fake_broker *broker = fake_broker_new(loop, 1);
	struct bus *bus = bus_fake_open(broker, "w");
	struct metrics *metrics = metrics_new();
	struct worker_stats stats;
	struct error err;
	worker_stats_init(&stats, metrics);
	struct members *members = members_start(bus, loop, "worker", "w", NULL, NULL, NULL, &err);
	struct lessee *lessee = lessee_new(bus, loop, members, "w", &stats, &err);
	ck_assert_ptr_nonnull(lessee);
	run(loop, LEASE_TERM_US + 1000000);
	const struct lease_world *w = lessee_world(lessee);
	ck_assert(w->online);
	ck_assert_int_ge(loop_now_us(loop) - w->heard_us, LEASE_TERM_US); /* nobody grants */
	bus_fake_partition(bus, true);
	run(loop, 20000000);
	ck_assert(!lessee_world(lessee)->online);
	bus_fake_partition(bus, false);
	run(loop, 100000);
	w = lessee_world(lessee);
	ck_assert(w->online);
	ck_assert_int_le(loop_now_us(loop) - w->heard_us, 100000);
	run(loop, LEASE_TERM_US);
	ck_assert_int_ge(loop_now_us(loop) - lessee_world(lessee)->heard_us, LEASE_TERM_US);
	lessee_free(lessee);
	members_stop(members);
	bus_free(bus);
	fake_broker_free(broker);
	metrics_free(metrics);
	loop_free(loop);
}
END_TEST

RUN_TESTS("lessee", reconnect_is_no_silence)
