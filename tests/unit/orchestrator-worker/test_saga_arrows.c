/* Transitions that the other tests of the saga do not happen to take: somebody else's word, or the
 * task's deadline, at a moment at which it seldom comes. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define ONE     "{'stages':[{'id':'a','kind':'http'}]}"
#define OUTPUT  "{'stages':[{'id':'a','kind':'http'}],'output':'.stages.a'}"
#define IN_TIME "{'stages':[{'id':'a','kind':'chat','model':'m','deadline_ms':300}]}"
#define ONLY_IF                                                                                    \
	"{'stages':[{'id':'a','kind':'http','when':'.input.q == 2'},"                              \
	"{'id':'b','kind':'http','needs':['a']}]}"
#define CANCELLED "task.cancelled", "{'by':'x'}"
#define TAKEN     "task.started", "{'worker':'w2','claim':99,'run':2}"

static struct rig r;

static void begin(const char *doc)
{
	char accepted[60];

	snprintf(accepted, sizeof(accepted), ",'deadline_at':%lld", (long long)RIG_START + 5000);
	rig_init(&r, doc, accepted, 77);
}

static void start(const char *doc)
{
	begin(doc);
	rig_load(&r);
	rig_writes(&r);
}

/* What is on its way is refused, for this was first. */
static void overtaken(const char *type, const char *data)
{
	ck_assert(r.write);
	rig_append(&r, type, data);
	rig_write(&r);
	rig_load(&r);
	ck_assert(r.finished);
}

static void ended(enum saga_type type)
{
	ck_assert(r.finished);
	ck_assert_int_eq(r.s.state, SAGA_ENDED);
	ck_assert_int_eq(r.s.end, type);
	ck_assert_int_eq(r.verdict, VERDICT_END);
	rig_done(&r);
}

static void dropped(void)
{
	ck_assert(r.finished);
	ck_assert_int_eq(r.s.state, SAGA_DROPPED);
	ck_assert_int_eq(r.verdict, VERDICT_REPEAT);
	rig_done(&r);
}

/* --- the task ------------------------------------------------------------------------------ */

/* The log is empty: the ticket's own task.accepted is on its way. */
static void accepting(void)
{
	begin(ONE);
	r.load = false;
	saga_loaded(&r.s, true, r.now);
	rig_take(&r);
	ck_assert_int_eq(r.s.state, SAGA_ACCEPTING);
	ck_assert(r.write);
}

START_TEST(accepting_ending)
{
	accepting();
	rig_tick(&r, 5000);
	ck_assert_int_eq(r.s.state, SAGA_ENDING);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted expired");
	ended(TASK_EXPIRED);
}
END_TEST

START_TEST(accepting_ended)
{
	accepting();
	rig_append(&r, CANCELLED);
	rig_written(&r, WRITE_CONFLICT);
	rig_load(&r);
	ended(TASK_CANCELLED);
}
END_TEST

START_TEST(starting_ending)
{
	begin(ONE);
	rig_load(&r);
	ck_assert_int_eq(r.s.state, SAGA_STARTING);
	rig_tick(&r, 5000);
	ck_assert_int_eq(r.s.state, SAGA_ENDING);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started expired");
	ck_assert_uint_eq(r.calls[0], 0);
	ended(TASK_EXPIRED);
}
END_TEST

/* All is complete, and a program makes the task's output. */
static void output(void)
{
	start(OUTPUT);
	rig_call(&r, 0, "1");
	rig_writes(&r);
	ck_assert_int_eq(r.s.state, SAGA_OUTPUT);
	ck_assert(r.output);
}

static void hint(const char *type, const char *data)
{
	rig_append(&r, type, data);
	saga_hint(&r.s);
	rig_take(&r);
	rig_load(&r);
}

START_TEST(output_ended)
{
	output();
	hint(CANCELLED);
	ended(TASK_CANCELLED);
}
END_TEST

START_TEST(output_dropped)
{
	output();
	hint(TAKEN);
	dropped();
}
END_TEST

START_TEST(ending_dropped)
{
	start(ONE);
	rig_call(&r, 0, "1");
	rig_write(&r);
	ck_assert_int_eq(r.s.state, SAGA_ENDING);
	overtaken(TAKEN);
	dropped();
}
END_TEST

/* --- a stage ------------------------------------------------------------------------------- */

static void stopped(enum saga_stage_state at)
{
	ck_assert_int_eq(r.s.stages[0].state, at);
	overtaken(CANCELLED);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_STOPPED);
	ended(TASK_CANCELLED);
}

START_TEST(skipping_stopped)
{
	start(ONLY_IF);
	rig_input(&r, 0, "[]");
	stopped(STAGE_SKIPPING);
}
END_TEST

START_TEST(starting_stopped)
{
	begin(ONE);
	rig_load(&r);
	rig_write(&r);
	stopped(STAGE_STARTING);
}
END_TEST

START_TEST(failing_stopped)
{
	start(ONE);
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
	stopped(STAGE_FAILING);
}
END_TEST

/* "Later" was said, and by then it is too late for the stage. */
START_TEST(held_failing)
{
	start(IN_TIME);
	rig_call_fails(&r, 0, OUTCOME_HELD, 1000);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_HELD);
	rig_tick(&r, 299);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_HELD);
	rig_tick(&r, 1);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_FAILING);
	rig_write(&r);
	rig_last_has(&r, "task.stage.failed", "'reason':'stage_timeout'");
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[0], 1);
	ended(TASK_FAILED);
}
END_TEST

/* --- a write ------------------------------------------------------------------------------- */

/* Refused, though there is nothing new: not at once again. */
START_TEST(checking_paused)
{
	start(ONE);
	rig_call(&r, 0, "1");
	struct id id = r.s.write.id;
	rig_written(&r, WRITE_CONFLICT);
	rig_load(&r);
	ck_assert_int_eq(r.s.write_state, WRITE_PAUSED);
	ck_assert(!r.write);
	rig_tick(&r, saga_wake_at(&r.s) - r.now);
	ck_assert(r.write);
	ck_assert_str_eq(r.s.write.id.text, id.text);
	rig_writes(&r);
	ended(TASK_COMPLETED);
}
END_TEST

RUN_TESTS("saga_arrows", accepting_ending, accepting_ended, starting_ending, output_ended,
	  output_dropped, ending_dropped, skipping_stopped, starting_stopped, failing_stopped,
	  held_failing, checking_paused)
