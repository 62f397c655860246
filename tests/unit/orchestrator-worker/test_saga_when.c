/* Stages with a condition: when they are asked, what is skipped with them, and what is left. */
#include <string.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

/* a, then b or c or none, then d of what ran, and e of b alone */
#define FORK                                                                                       \
	"{'stages':[{'id':'a','kind':'http'},"                                                     \
	"{'id':'b','kind':'http','needs':['a'],'when':'.stages.a == 1','input':'.stages.a'},"      \
	"{'id':'c','kind':'http','needs':['a'],'when':'.stages.a == 2'},"                          \
	"{'id':'d','kind':'http','needs':['b','c']},"                                              \
	"{'id':'e','kind':'http','needs':['b']}]}"

static struct rig r;

static void start(void)
{
	rig_start(&r, FORK, "");
	rig_call(&r, 0, "1");
	rig_writes(&r);
	/* Asked before anything of them is in the log. */
	ck_assert_uint_eq(r.inputs[1], 1);
	ck_assert_uint_eq(r.inputs[2], 1);
	ck_assert_int_eq(r.s.stages[1].state, STAGE_ASKING);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started stage.completed");
}

static void input_fails(size_t stage, enum saga_class class)
{
	struct saga_outcome outcome = {
	    .class = class, .reason = "jq_error", .message = "no such thing"};
	saga_input(&r.s, stage, &outcome, r.now);
	rig_take(&r);
}

START_TEST(one_of_two)
{
	start();
	rig_input(&r, 1, "[{\"x\":[]}]");
	rig_input(&r, 2, "[]");
	rig_writes(&r);
	ck_assert_str_eq(r.s.stages[1].input, "{\"x\":[]}");
	ck_assert_uint_eq(r.calls[1], 1);
	ck_assert_uint_eq(r.calls[2], 0);
	ck_assert_int_eq(r.s.stages[2].state, STAGE_SKIPPED);
	rig_last_has(&r, "task.stage.skipped", "'stage':'c','kind':'http','worker':'w1'}");
	rig_call(&r, 1, "5");
	rig_writes(&r);
	ck_assert_str_eq(r.s.stages[3].input, "{\"b\":5}");
	ck_assert_str_eq(r.s.stages[4].input, "5");
	rig_call(&r, 3, "6");
	rig_call(&r, 4, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':{'d':6,'e':7}");
	ck_assert(r.finished);
	rig_done(&r);
}
END_TEST

/* Without a program, the condition alone is asked, and the input is the plain one. */
START_TEST(plain_input)
{
	start();
	rig_input(&r, 1, "[]");
	rig_input(&r, 2, "[null]");
	rig_writes(&r);
	ck_assert_str_eq(r.s.stages[2].input, "1");
	ck_assert_uint_eq(r.calls[2], 1);
	/* e needs b alone, which was skipped. */
	ck_assert_int_eq(r.s.stages[4].state, STAGE_SKIPPED);
	rig_call(&r, 2, "2");
	rig_writes(&r);
	rig_call(&r, 3, "3");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':{'d':3}");
	rig_done(&r);
}
END_TEST

START_TEST(none)
{
	start();
	rig_input(&r, 1, "[]");
	rig_input(&r, 2, "[]");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':{},");
	ck_assert_uint_eq(r.calls[3] + r.calls[4], 0);
	rig_done(&r);

	rig_init(&r, "{'stages':[{'id':'a','kind':'http','when':'false'}]}", "", 77);
	rig_load(&r);
	rig_writes(&r);
	rig_input(&r, 0, "[]");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':null,");
	rig_done(&r);
}
END_TEST

/* Whoever takes over finds what was skipped, and does not ask again. */
START_TEST(resumed)
{
	start();
	rig_input(&r, 1, "[]");
	rig_input(&r, 2, "[null]");
	rig_writes(&r);
	rig_resume(&r, "w2", 77);
	ck_assert_uint_eq(r.inputs[1], 0);
	ck_assert_int_eq(r.s.stages[1].state, STAGE_SKIPPED);
	ck_assert_int_eq(r.s.stages[4].state, STAGE_SKIPPED);
	rig_input(&r, 2, "[null]");
	ck_assert_uint_eq(r.attempts[2], 2);
	rig_done(&r);
}
END_TEST

/* A condition that cannot be asked is a failure of the stage; what it says at the next attempt
 * counts. */
START_TEST(fails_and_is_asked_again)
{
	start();
	rig_input(&r, 2, "[]");
	input_fails(1, OUTCOME_RETRY);
	rig_writes(&r);
	rig_last_has(&r, "task.stage.failed", "'stage':'b','attempt':1");
	rig_tick(&r, 60000);
	ck_assert_uint_eq(r.inputs[1], 2);
	rig_input(&r, 1, "[]");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':{}");
	ck_assert_uint_eq(r.calls[1], 0);
	rig_done(&r);
}
END_TEST

START_TEST(fails_for_good)
{
	start();
	input_fails(1, OUTCOME_FINAL);
	rig_writes(&r);
	rig_last_has(&r, "task.failed", "'stage':'b','reason':'jq_error'");
	ck_assert_int_eq(r.s.stages[2].state, STAGE_STOPPED);
	ck_assert_uint_eq(r.aborts[2], 1);
	rig_done(&r);
}
END_TEST

START_TEST(cancelled_while_asked)
{
	start();
	rig_append(&r, "task.cancelled", "{'by':'someone'}");
	saga_hint(&r.s);
	rig_take(&r);
	rig_load(&r);
	ck_assert(r.finished);
	ck_assert_uint_eq(r.aborts[1], 1);
	rig_done(&r);
}
END_TEST

START_TEST(drained_while_asked)
{
	start();
	saga_drain(&r.s, true, r.now);
	rig_take(&r);
	rig_writes(&r);
	rig_last_has(&r, "task.handed_off", "'task'");
	rig_done(&r);
}
END_TEST

RUN_TESTS("saga_when", one_of_two, plain_input, none, resumed, fails_and_is_asked_again,
	  fails_for_good, cancelled_while_asked, drained_while_asked)
