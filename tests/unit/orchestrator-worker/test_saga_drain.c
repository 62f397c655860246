/* A worker that is to stop: what a task still does there, and what the next worker finds. */

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

/* chat, then a transform, then a chat again */
#define THREE                                                                                      \
	"{'stages':[{'id':'a','kind':'chat','model':'m'},"                                         \
	"{'id':'b','kind':'transform','needs':['a'],'input':'.stages.a'},"                         \
	"{'id':'c','kind':'chat','model':'m','needs':['b']}]}"
#define TWO                                                                                        \
	"{'stages':[{'id':'a','kind':'chat','model':'m','retry':{'max_attempts':3,"                \
	"'initial_ms':1000}},{'id':'b','kind':'chat','model':'m'}]}"

static struct rig r;

static void drain(bool at_once)
{
	saga_drain(&r.s, at_once, r.now);
	rig_take(&r);
}

static void left(void)
{
	ck_assert(r.finished);
	ck_assert_int_eq(r.verdict, VERDICT_LATER);
	ck_assert_int_eq(r.s.state, SAGA_DROPPED);
}

START_TEST(not_started)
{
	rig_init(&r, THREE, "", 77);
	drain(false); /* while the channel is read */
	left();
	rig_done(&r);

	rig_init(&r, THREE, "", 77);
	r.n_log = 0;
	rig_load(&r);
	ck_assert_int_eq(r.s.state, SAGA_ACCEPTING);
	drain(false); /* while the ticket's event is written: it is the same for everybody */
	left();
	r.n_log = 1;
	rig_done(&r);
}
END_TEST

/* A call that may not begin yet begins elsewhere. */
START_TEST(held)
{
	rig_start(&r, THREE, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, 1500);
	drain(false);
	rig_writes(&r);
	left();
	rig_last_has(&r, "task.handed_off", "'worker':'w1'");
	rig_resume(&r, "w2", 77);
	ck_assert_uint_eq(r.attempts[0], 2);
	ck_assert_uint_eq(r.s.stages[0].failed, 0);
	rig_done(&r);
}
END_TEST

/* The call that runs may end, what is done within the worker goes on, and then it goes elsewhere.
 */
START_TEST(behind_the_call)
{
	rig_start(&r, THREE, "");
	drain(false);
	ck_assert(!r.finished);
	ck_assert_uint_eq(r.aborts[0], 0);
	rig_call(&r, 0, "1");
	rig_writes(&r);
	rig_input(&r, 1, "2");
	rig_writes(&r);
	rig_call(&r, 1, "2");
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[2], 0);
	ck_assert_str_eq(rig_types(&r),
			 "accepted started stage.started stage.completed stage.started "
			 "stage.completed handed_off");
	rig_last_has(&r, "task.handed_off", "'worker':'w1'}");
	left();
	rig_resume(&r, "w2", 77);
	ck_assert_uint_eq(r.calls[0] + r.calls[1], 0);
	ck_assert_uint_eq(r.attempts[2], 1);
	rig_done(&r);
}
END_TEST

START_TEST(the_last_call_ends_the_task)
{
	rig_start(&r, "{'stages':[{'id':'a','kind':'chat','model':'m'}]}", "");
	drain(false);
	rig_call(&r, 0, "1");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':1");
	ck_assert_int_eq(r.verdict, VERDICT_END);
	rig_done(&r);
}
END_TEST

START_TEST(between_two_attempts)
{
	rig_start(&r, TWO, "");
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
	rig_call(&r, 1, "1");
	rig_writes(&r);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_BACKOFF);
	drain(false);
	rig_writes(&r);
	left();
	rig_resume(&r, "w2", 77);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_BACKOFF);
	rig_tick(&r, 1001);
	rig_writes(&r);
	ck_assert_uint_eq(r.attempts[0], 2);
	ck_assert_uint_eq(r.s.stages[0].failed, 1);
	rig_done(&r);
}
END_TEST

/* Calls are stopped; their attempts are neither failed nor lost, however often it happens. */
START_TEST(at_once_spends_no_attempt)
{
	rig_start(&r, TWO, "");
	for (unsigned i = 1; i <= SAGA_LOST_MAX + 5; i++) {
		ck_assert_uint_eq(r.attempts[0], i);
		ck_assert_uint_eq(r.s.stages[0].failed, 0);
		drain(false);
		drain(true);
		drain(true); /* says nothing new */
		ck_assert_uint_eq(r.aborts[0], 1);
		ck_assert_uint_eq(r.aborts[1], 1);
		rig_writes(&r);
		rig_last_has(&r, "task.handed_off", "'task'");
		left();
		rig_resume(&r, "w2", 77);
	}
	rig_done(&r);
}
END_TEST

/* What came back before the end of the grace gets into the log first. */
START_TEST(at_once_keeps_what_is_done)
{
	rig_start(&r, TWO, "");
	rig_call(&r, 1, "2");
	ck_assert(r.write);
	drain(true);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r),
			 "accepted started stage.started stage.started stage.completed handed_off");
	left();
	rig_done(&r);
}
END_TEST

START_TEST(at_once_behind_a_write)
{
	rig_init(&r, TWO, "", 77);
	rig_load(&r);
	ck_assert_int_eq(r.s.write.type, TASK_STARTED);
	drain(true);
	rig_write(&r);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started handed_off");
	left();
	rig_done(&r);

	rig_start(&r, THREE, "");
	rig_call_fails(&r, 0, OUTCOME_FINAL, 0);
	drain(true); /* a task that is to fail does so here */
	rig_writes(&r);
	rig_last_has(&r, "task.failed", "'stage':'a'");
	rig_done(&r);
}
END_TEST

START_TEST(cancelled_meanwhile)
{
	rig_start(&r, TWO, "");
	rig_append(&r, "task.cancelled", "{'by':'someone'}");
	drain(true);
	rig_write(&r); /* refused */
	rig_load(&r);
	ck_assert(r.finished);
	ck_assert_int_eq(r.verdict, VERDICT_END);
	ck_assert_int_eq(r.s.end, TASK_CANCELLED);
	rig_done(&r);
}
END_TEST

START_TEST(while_the_output_is_made)
{
	rig_start(&r, "{'stages':[{'id':'a','kind':'chat','model':'m'}],'output':'.'}", "");
	rig_call(&r, 0, "1");
	rig_writes(&r);
	ck_assert(r.output);
	drain(false);
	ck_assert(!r.finished);
	drain(true);
	rig_writes(&r);
	rig_last_has(&r, "task.handed_off", "'task'");
	left();
	rig_done(&r);
}
END_TEST

RUN_TESTS("saga_drain", not_started, held, behind_the_call, the_last_call_ends_the_task,
	  between_two_attempts, at_once_spends_no_attempt, at_once_keeps_what_is_done,
	  at_once_behind_a_write, cancelled_meanwhile, while_the_output_is_made)
