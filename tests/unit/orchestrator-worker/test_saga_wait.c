/* The stage kind wait: held here while it is short, parked when it is long, and never longer than
 * it was to be. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define WAIT                                                                                       \
	"{'stages':[{'id':'w','kind':'wait','input':'.'},{'id':'z','kind':'http','needs':['w']}]}"

static struct rig r;

static void start(const char *input)
{
	rig_start(&r, WAIT, "");
	rig_input(&r, 0, input);
	rig_writes(&r);
}

START_TEST(short_one)
{
	start("1500");
	ck_assert_uint_eq(r.calls[0], 0);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_HELD);
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 1500);
	rig_tick(&r, 1499);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_HELD);
	rig_tick(&r, 1);
	rig_write(&r);
	rig_last_has(&r, "task.stage.completed",
		     "'output':{'since':1700000000000,'until':1700000001500}");
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[1], 1);
	rig_done(&r);
}
END_TEST

START_TEST(over_already)
{
	start("{\"until\":5}");
	rig_last_has(&r, "task.stage.started", "'stage':'z'");
	rig_done(&r);
	start("0");
	rig_last_has(&r, "task.stage.started", "'stage':'z'");
	rig_done(&r);
}
END_TEST

START_TEST(long_one_is_parked)
{
	start("{\"ms\":86400000}");
	rig_last_has(&r, "task.parked", "'stage':'w','reason':'wait','not_before':1700086400000}");
	ck_assert(r.finished);
	ck_assert_int_eq(r.verdict, VERDICT_END);
	r.now += 86400000;
	rig_append(&r, "task.started", "{'worker':'w2','claim':78,'run':2}");
	rig_again(&r, "w2", 78); /* under the ticket of its release */
	rig_load(&r);
	rig_writes(&r);
	rig_input(&r, 0, "{\"ms\":86400000}");
	rig_writes(&r);
	rig_last_has(&r, "task.stage.started", "'stage':'z'");
	rig_done(&r);
}
END_TEST

/* Its worker is lost, or told to stop, in the middle: the rest is waited for, not all of it. */
START_TEST(goes_on_elsewhere)
{
	for (int drained = 0; drained < 2; drained++) {
		start("1900");
		rig_tick(&r, 1000);
		if (drained)
			saga_drain(&r.s, false, r.now);
		rig_take(&r);
		rig_writes(&r);
		rig_resume(&r, "w2", 77);
		rig_input(&r, 0, "1900");
		rig_writes(&r);
		ck_assert_uint_eq(r.s.stages[0].attempt, 2);
		ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 1900);
		rig_tick(&r, 900);
		rig_writes(&r);
		ck_assert_uint_eq(r.calls[1], 1);
		rig_done(&r);
	}
}
END_TEST

START_TEST(beside_a_call)
{
	rig_init(&r, "{'stages':[{'id':'w','kind':'wait','input':'.'},{'id':'z','kind':'http'}]}",
		 "", 77);
	rig_load(&r);
	rig_writes(&r);
	rig_input(&r, 0, "90000");
	rig_writes(&r);
	ck_assert(!r.finished); /* not while something runs */
	rig_call(&r, 1, "1");
	rig_writes(&r);
	rig_last_has(&r, "task.parked", "'stage':'w'");
	rig_done(&r);
}
END_TEST

START_TEST(expires_while_it_waits)
{
	rig_start(&r, WAIT, ",'deadline_at':1700000001000");
	rig_input(&r, 0, "1500");
	rig_writes(&r);
	rig_tick(&r, 1000);
	rig_writes(&r);
	rig_last_has(&r, "task.expired", "'task'");
	rig_done(&r);
}
END_TEST

START_TEST(bad_inputs)
{
	static const char *const bad[] = {
	    "\"5\"", "-1",    "null",        "{}",           "{\"ms\":1,\"until\":2}",
	    "[]",    "1e300", "{\"ms\":-5}", "{\"ms\":1.5}", "{\"for\":5}",
	    "true"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		start(bad[i]);
		ck_assert_msg(strcmp(rig_last(&r)->type, "task.failed") == 0, "%s: %s", bad[i],
			      rig_types(&r));
		rig_last_has(&r, "task.failed", "'stage':'w','reason':'bad_input'");
		rig_done(&r);
	}
}
END_TEST

RUN_TESTS("saga_wait", short_one, over_already, long_one_is_parked, goes_on_elsewhere,
	  beside_a_call, expires_while_it_waits, bad_inputs)
