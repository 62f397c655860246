/* Times of a stage: until its first call begins, and until it is complete. */

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define TIMED                                                                                      \
	"{'stages':[{'id':'a','kind':'chat','model':'m','start_within_ms':1000,"                   \
	"'deadline_ms':5000,'retry':{'max_attempts':9,'initial_ms':1}}]}"

static struct rig r;

static void start(void)
{
	rig_start(&r, TIMED, "");
	rig_last_has(&r, "task.stage.started",
		     "'start_by':1700000001000,'deadline_at':1700000005000");
}

static void failed(const char *reason)
{
	char part[60];
	rig_writes(&r);
	ck_assert(r.finished);
	snprintf(part, sizeof(part), "'reason':'%s'", reason);
	rig_last_has(&r, "task.failed", part);
	rig_done(&r);
}

START_TEST(no_permit)
{
	start();
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 1000);
	rig_tick(&r, 999);
	ck_assert_uint_eq(r.aborts[0], 0);
	rig_tick(&r, 1);
	ck_assert_uint_eq(r.aborts[0], 1);
	failed("start_timeout");
}
END_TEST

START_TEST(too_slow)
{
	start();
	saga_begun(&r.s, 0, 1);
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 5000);
	rig_tick(&r, 1000);
	ck_assert_uint_eq(r.aborts[0], 0);
	rig_tick(&r, 4000);
	ck_assert_uint_eq(r.aborts[0], 1);
	failed("stage_timeout");
}
END_TEST

/* An attempt that failed has begun, and all attempts share one deadline. */
START_TEST(over_all_attempts)
{
	start();
	rig_call_fails(&r, 0, OUTCOME_RETRY, 1500);
	rig_writes(&r);
	rig_tick(&r, 1650);
	rig_writes(&r);
	rig_last_has(&r, "task.stage.started",
		     "'start_by':1700000001000,'deadline_at':1700000005000");
	ck_assert_uint_eq(r.calls[0], 2);
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 5000);
	rig_tick(&r, 3350);
	failed("stage_timeout");
}
END_TEST

START_TEST(no_retry_behind_it)
{
	start();
	rig_call_fails(&r, 0, OUTCOME_RETRY, 6000);
	failed("upstream_error"); /* why it failed is told, and at once */
}
END_TEST

/* Held, parked, and released when it is too late for the first call. */
START_TEST(parked_over_it)
{
	rig_init(&r, "{'stages':[{'id':'a','kind':'chat','model':'m','start_within_ms':3000}]}", "",
		 77);
	rig_load(&r);
	rig_writes(&r);
	rig_call_fails(&r, 0, OUTCOME_HELD, 20000);
	rig_writes(&r);
	rig_last_has(&r, "task.parked", "'not_before':1700000003000");
	r.now += 3000;
	r.behind = rig_last(&r)->seq;
	rig_resume(&r, "w2", 99);
	ck_assert_uint_eq(r.calls[0], 0);
	failed("start_timeout");
}
END_TEST

/* The next worker goes by the same times. */
START_TEST(carried_along)
{
	start();
	rig_tick(&r, 500);
	rig_resume(&r, "w2", 77);
	rig_last_has(&r, "task.stage.started",
		     "'start_by':1700000001000,'deadline_at':1700000005000");
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 1000);
	rig_tick(&r, 600);
	failed("start_timeout");
}
END_TEST

START_TEST(in_time)
{
	start();
	saga_begun(&r.s, 0, 1);
	r.now += 4999;
	rig_call(&r, 0, "7");
	r.now += 1000; /* what is complete is complete */
	rig_tick(&r, 0);
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_done(&r);
}
END_TEST

RUN_TESTS("saga_time", no_permit, too_slow, over_all_attempts, no_retry_behind_it, parked_over_it,
	  carried_along, in_time)
