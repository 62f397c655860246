/* What a worker believes of its grantor. */
#include <stdlib.h>

#include "common/bus_fake.h"
#include "common/names.h"
#include "services/orchestrator-worker/lessee.h"
#include "tests/unit/common/suite.h"

static void run(struct loop *loop, int64_t us)
{
	int64_t until = loop_now_us(loop) + us;
	while (loop_sim_step(loop, until))
		;
}

struct rig {
	struct loop *loop;
	struct fake_broker *broker;
	struct bus *bus;
	struct metrics *metrics;
	struct worker_stats stats;
	struct members *members;
	struct lessee *lessee;
};

static void is_made(void *arg, enum bus_result result)
{
	(void)arg;
	ck_assert_int_eq(result, BUS_OK);
}

static void begin(struct rig *r)
{
	static const struct bus_bucket_conf bucket = {.name = BUCKET_MEMBERS, .replicas = 1};
	struct error err;
	r->loop = loop_new_sim(INT64_C(1700000000000000));
	r->broker = fake_broker_new(r->loop, 1);
	r->bus = bus_fake_open(r->broker, "w");
	bus_bucket_ensure(r->bus, &bucket, is_made, NULL);
	r->metrics = metrics_new();
	worker_stats_init(&r->stats, r->metrics);
	r->members = members_start(r->bus, r->loop, "worker", "w", NULL, NULL, NULL, &err);
	r->lessee = lessee_new(r->bus, r->loop, r->members, "w", &r->stats, &err);
	ck_assert_ptr_nonnull(r->lessee);
}

static void end(struct rig *r)
{
	lessee_free(r->lessee);
	members_stop(r->members);
	bus_free(r->bus);
	fake_broker_free(r->broker);
	metrics_free(r->metrics);
	loop_free(r->loop);
}

static json_t *state(const char *name)
{
	return json_pack("{s:s}", "state", name);
}

/* Cut off for longer than a lease's term, it is no member any more, and what it held is another's:
 * back again it waits for a word as if it had just begun. */
START_TEST(reconnect_is_no_silence)
{
	struct rig r;
	begin(&r);
	run(r.loop, LEASE_TERM_US + 1000000);
	const struct lease_world *w = lessee_world(r.lessee);
	ck_assert(w->online);
	ck_assert_int_ge(loop_now_us(r.loop) - w->heard_us, LEASE_TERM_US); /* nobody grants */
	bus_fake_partition(r.bus, true);
	run(r.loop, 20000000);
	ck_assert(!lessee_world(r.lessee)->online);
	bus_fake_partition(r.bus, false);
	run(r.loop, 100000);
	w = lessee_world(r.lessee);
	ck_assert(w->online);
	ck_assert_int_le(loop_now_us(r.loop) - w->heard_us, 100000);
	run(r.loop, LEASE_TERM_US);
	ck_assert_int_ge(loop_now_us(r.loop) - lessee_world(r.lessee)->heard_us, LEASE_TERM_US);
	end(&r);
}
END_TEST

/* Whoever leaves begins no calls: its part of the safe capacity is the others' at once. */
START_TEST(who_leaves_has_no_part)
{
	struct rig r;
	struct error err;
	begin(&r);
	struct bus *bus = bus_fake_open(r.broker, "v");
	struct members *other =
	    members_start(bus, r.loop, "worker", "v", state("running"), NULL, NULL, &err);
	run(r.loop, 2000000);
	ck_assert_uint_eq(lessee_world(r.lessee)->workers, 2);
	ck_assert_uint_eq(lessee_world(r.lessee)->rank, 1);
	members_update(other, state("draining"));
	run(r.loop, 1000000);
	ck_assert_uint_eq(lessee_world(r.lessee)->workers, 1);
	ck_assert_uint_eq(lessee_world(r.lessee)->rank, 0);
	members_update(other, state("running"));
	members_update(r.members, state("drained"));
	run(r.loop, 1000000);
	ck_assert_uint_eq(lessee_world(r.lessee)->workers, 0);
	members_stop(other);
	bus_free(bus);
	end(&r);
}
END_TEST

/* A level that was lowered is another's when the grantor knows that it was heard of. */
START_TEST(a_lower_level_is_told_of)
{
	struct lease l;
	struct lease_limits limits = {.concurrent = 8};
	Penstock__LeaseGrant grant = PENSTOCK__LEASE_GRANT__INIT;
	Penstock__LeaseUse use = PENSTOCK__LEASE_USE__INIT;
	lease_init(&l);
	lease_set(&l, &limits, 1000);
	grant.level = 4;
	lease_granted(&l, &grant, 1, 1000, 1000);
	lease_report(&l, &use, 2000);
	grant.level = 0;
	lease_granted(&l, &grant, 2, 2000, 2000);
	ck_assert(lease_in_use(&l, 3000));
	lease_report(&l, &use, 3000);
	ck_assert_uint_eq(use.heard, 2);
	lease_granted(&l, &grant, 3, 3000, 3000);
	ck_assert(!lease_in_use(&l, 4000));
}
END_TEST

RUN_TESTS("lessee", reconnect_is_no_silence, who_leaves_has_no_part, a_lower_level_is_told_of)
