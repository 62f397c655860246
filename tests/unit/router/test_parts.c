/* Ownership: two routers share the parts, hand them over without a command falling between, and
 * stop cleanly. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/router/world.h"

#define FLOW_MAX 20000

static struct world w;

static void setup(void)
{
	world_init(&w);
}

static void teardown(void)
{
	world_done(&w);
}

START_TEST(two_share)
{
	world_router(&w, 0);
	ck_assert_uint_eq(router_parts_owned(w.router[0]), w.conf.parts);
	world_router(&w, 1);
	world_run(&w, 5000000);
	size_t a = router_parts_owned(w.router[0]), b = router_parts_owned(w.router[1]);
	ck_assert_uint_eq(a + b, w.conf.parts);
	ck_assert_uint_gt(a, 0);
	ck_assert_uint_gt(b, 0);
	const char *why = NULL;
	ck_assert(bus_connected(w.bus[0]));
	(void)router_ready(w.router[0], &why);
}
END_TEST

static void note_stopped(void *arg)
{
	*(bool *)arg = true;
}

static int serving(unsigned part)
{
	int n = 0;
	for (int i = 0; i < WORLD_ROUTERS; i++)
		n += w.router[i] && w.router[i]->parts[part].cmd;
	return n;
}

static void all_served_once(void)
{
	for (unsigned part = 0; part < w.conf.parts; part++)
		ck_assert_int_eq(serving(part), 1);
}

/* While two serve a part, what one client sends without waiting may be stored in another order. */
START_TEST(old_owner_leaves_when_the_new_one_listens)
{
	bool stopped = false;
	world_router(&w, 0);
	world_router(&w, 1);
	ck_assert_uint_lt(router_parts_owned(w.router[0]), w.conf.parts);
	all_served_once();
	router_stop(w.router[0], note_stopped, &stopped);
	world_run(&w, 100000);
	ck_assert_uint_eq(router_parts_owned(w.router[1]), w.conf.parts);
	all_served_once();
	world_until(&w, &stopped);
}
END_TEST

/* The members name another one, but it is dead: until that is noticed, the part is served on. */
START_TEST(served_on_while_the_new_owner_is_silent)
{
	world_router(&w, 0);
	world_faults(&w, (struct fake_faults){.delay_min_us = 1000, .delay_max_us = 1000});
	world_join(&w, 1);
	while (router_parts_owned(w.router[0]) == w.conf.parts)
		world_run(&w, 100);
	world_crash(&w, 1);
	for (int ms = 0; ms < 12000; ms += 100) {
		world_run(&w, 100000);
		all_served_once();
	}
	ck_assert_uint_eq(router_parts_owned(w.router[0]), w.conf.parts);
}
END_TEST

START_TEST(crash_is_noticed)
{
	world_router(&w, 0);
	world_router(&w, 1);
	world_run(&w, 5000000);
	world_crash(&w, 1);
	world_run(&w, 6000000);
	ck_assert_uint_eq(router_parts_owned(w.router[0]), w.conf.parts);
	ck_assert(world_publish(&w, "", "1").accepted);
}
END_TEST

/* --- a steady flow of commands, five a millisecond ------------------------------------------- */

static struct order orders[FLOW_MAX];
static struct answer answers[FLOW_MAX];
static char keys[FLOW_MAX][16];
static int sent;

static void flow(int ms)
{
	for (int i = 0; i < 5 * ms; i++) {
		ck_assert_int_lt(sent, FLOW_MAX);
		snprintf(keys[sent], sizeof(keys[0]), "key-%d", sent);
		order_publish(&w, &orders[sent], keys[sent], "1");
		world_send(&w, &orders[sent], &answers[sent]);
		sent++;
		world_run(&w, 200);
	}
}

static void all_accepted(void)
{
	world_run(&w, 5000000);
	for (int i = 0; i < sent; i++) {
		ck_assert_msg(answers[i].came && answers[i].accepted, "%d: result %d, %s", i,
			      answers[i].result, answers[i].code);
		ck_assert(!answers[i].duplicate);
	}
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), (uint64_t)sent);
}

static void stop_during_flow(int i)
{
	bool stopped = false;
	router_stop(w.router[i], note_stopped, &stopped);
	for (int n = 0; n < 3000 && !stopped; n += 10)
		flow(10);
	ck_assert(stopped);
	ck_assert_uint_eq(router_inflight(w.router[i]), 0);
	world_crash(&w, i);
}

static int owner_of_acme(void)
{
	for (int i = 0; i < WORLD_ROUTERS; i++)
		if (w.router[i] && w.router[i]->parts[w.part].owned)
			return i;
	ck_abort_msg("nobody owns it");
}

/* A router joins while commands flow; then the one that has the part goes, and the other one; each
 * time somebody else is there to take over. */
START_TEST(moves_without_a_loss)
{
	sent = 0;
	world_faults(&w, (struct fake_faults){.delay_min_us = 50, .delay_max_us = 2000});
	world_router(&w, _i);
	flow(100);
	world_join(&w, !_i);
	flow(500);
	ck_assert_uint_gt(router_parts_owned(w.router[0]), 0);
	ck_assert_uint_gt(router_parts_owned(w.router[1]), 0);
	int owner = owner_of_acme();
	stop_during_flow(owner);
	flow(100);
	ck_assert_uint_eq(router_parts_owned(w.router[!owner]), w.conf.parts);
	world_router(&w, owner);
	flow(100);
	stop_during_flow(!owner);
	flow(100);
	ck_assert_uint_eq(router_parts_owned(w.router[owner]), w.conf.parts);
	all_accepted();
}
END_TEST

/* Lost and owned again, faster than it lingers and drains: served all the time. */
START_TEST(flapping)
{
	sent = 0;
	world_faults(&w, (struct fake_faults){.delay_min_us = 50, .delay_max_us = 2000});
	world_router(&w, 0);
	for (int i = 0; i < 10; i++) {
		static const int pause_ms[] = {10, 300, 1100, 1300, 1600};
		world_router(&w, 1);
		flow(pause_ms[i % 5] / 10);
		world_crash(&w, 1);
		/* Until it is missed, what it would have got is lost with it. */
		world_run(&w, 6000000);
		flow(20);
	}
	world_run(&w, 12000000);
	ck_assert_uint_eq(router_parts_owned(w.router[0]), w.conf.parts);
	int lost = 0;
	for (int i = 0; i < sent; i++)
		lost += !answers[i].accepted;
	/* Only what was on its way in or out of the one that died. */
	ck_assert_int_le(lost, 10 * 40);
	for (int i = 0; i < sent; i++)
		if (!answers[i].accepted)
			ck_assert(world_publish(&w, keys[i], "1").accepted);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), (uint64_t)sent);
}
END_TEST

START_TEST(old_owner_forgets)
{
	world_router(&w, 0);
	world_tenant(&w, "\"events_per_s\":1,\"burst\":1");
	ck_assert(world_publish(&w, "", "1").accepted);
	ck_assert_str_eq(world_publish(&w, "", "1").code, "rate_limited");
	ck_assert_ptr_nonnull(router_tenant_find(w.router[0], "acme"));
	router_parts_leave(w.router[0], false);
	world_run(&w, 1000000);
	ck_assert(!router_parts_serving(w.router[0]));
	ck_assert_ptr_null(router_tenant_find(w.router[0], "acme"));
	ck_assert_uint_eq(w.router[0]->tenants.count, 0);
}
END_TEST

START_TEST(idle_tenants_go)
{
	world_router(&w, 0);
	ck_assert(world_publish(&w, "", "1").accepted);
	ck_assert(world_task(&w, "k", "1").accepted);
	world_run(&w, 300000000);
	/* Its task is still in the queue. */
	ck_assert_uint_eq(w.router[0]->tenants.count, 1);
	world_crash(&w, 0);
	world_done(&w);
	world_init(&w);
	world_router(&w, 0);
	ck_assert(world_publish(&w, "", "1").accepted);
	ck_assert_uint_eq(w.router[0]->tenants.count, 1);
	world_run(&w, 120000000);
	ck_assert_uint_eq(w.router[0]->tenants.count, 0);
}
END_TEST

START_TEST(stop_waits_for_the_broker)
{
	struct order o;
	struct answer a;
	bool stopped = false;
	world_router(&w, 0);
	world_faults(&w, (struct fake_faults){.delay_min_us = 200000, .delay_max_us = 200000});
	order_publish(&w, &o, "k", "1");
	world_send_to(&w, 0, &o, &a);
	router_stop(w.router[0], note_stopped, &stopped);
	world_run(&w, 100000);
	ck_assert(!stopped);
	world_until(&w, &stopped);
	world_until(&w, &a.came);
	ck_assert(a.accepted);
	ck_assert_uint_eq(router_parts_owned(w.router[0]), 0);
}
END_TEST

START_TEST(stop_does_not_wait_for_ever)
{
	bool stopped = false;
	world_router(&w, 0);
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1);
	/* In the log, not in the queue: its ticket is tried again and again. */
	ck_assert_str_eq(world_task(&w, "k", "1").code, "overloaded");
	ck_assert_uint_eq(router_inflight(w.router[0]), 1);
	int64_t from = loop_now_us(w.loop);
	router_stop(w.router[0], note_stopped, &stopped);
	world_until(&w, &stopped);
	ck_assert_int_le(loop_now_us(w.loop) - from, 6000000);
}
END_TEST

/* A broker that was away: afterwards everything works again, without a restart. */
START_TEST(broker_restart)
{
	world_router(&w, 0);
	ck_assert(world_publish(&w, "a", "1").accepted);
	fake_broker_set_up(w.broker, false);
	world_run(&w, 10000000);
	const char *why = NULL;
	ck_assert(!router_ready(w.router[0], &why));
	ck_assert_ptr_nonnull(why);
	fake_broker_set_up(w.broker, true);
	world_run(&w, 10000000);
	ck_assert_uint_eq(router_parts_owned(w.router[0]), w.conf.parts);
	ck_assert(world_publish(&w, "b", "1").accepted);
	ck_assert(world_publish(&w, "a", "1").duplicate);
	ck_assert(world_task(&w, "k", "1").accepted);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("router: parts");
	TCase *c = tcase_create("parts");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, two_share);
	tcase_add_test(c, old_owner_leaves_when_the_new_one_listens);
	tcase_add_test(c, served_on_while_the_new_owner_is_silent);
	tcase_add_test(c, crash_is_noticed);
	tcase_add_loop_test(c, moves_without_a_loss, 0, 2);
	tcase_add_test(c, flapping);
	tcase_add_test(c, old_owner_forgets);
	tcase_add_test(c, idle_tenants_go);
	tcase_add_test(c, stop_waits_for_the_broker);
	tcase_add_test(c, stop_does_not_wait_for_ever);
	tcase_add_test(c, broker_restart);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
