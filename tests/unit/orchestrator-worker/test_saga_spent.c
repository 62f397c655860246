/* What a ticket's calls took of their models. */
#include <string.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define CHAT                                                                                       \
	"{'stages':[{'id':'a','kind':'chat','model':'m','retry':{'max_attempts':3,"                \
	"'initial_ms':100,'max_ms':100}},{'id':'b','kind':'embed','model':'m','needs':['a']},"     \
	"{'id':'c','kind':'transform','input':'.','needs':['b']}]}"
#define ESTIMATE 1000

static struct rig r;

static void setup(void)
{
	rig_start(&r, CHAT, "");
}

static void teardown(void)
{
	rig_done(&r);
}

static void ends(size_t stage, struct saga_outcome outcome)
{
	outcome.latency_ms = outcome.first_token_ms = -1;
	saga_called(&r.s, stage, r.attempts[stage], &outcome, r.now);
	rig_take(&r);
	rig_writes(&r);
}

static void takes(size_t stage, int64_t tokens)
{
	ends(stage,
	     (struct saga_outcome){
		 .text = "1", .len = 1, .has_usage = true, .usage = {.total_tokens = tokens}});
}

static void fails(size_t stage, enum saga_class class, const char *reason)
{
	ends(stage, (struct saga_outcome){.class = class, .reason = reason, .message = ""});
}

static void used(int64_t tokens)
{
	ck_assert_int_eq(saga_used(&r.s, ESTIMATE), tokens);
}

START_TEST(told)
{
	used(0);
	takes(0, 30);
	takes(1, 12);
	rig_input(&r, 2, "1");
	rig_writes(&r);
	used(42);
}
END_TEST

/* Nothing was told: as much as was thought, or what is known, if that is more. */
START_TEST(untold)
{
	takes(0, 30);
	ends(1, (struct saga_outcome){.text = "1", .len = 1});
	used(ESTIMATE);
	ck_assert_int_eq(saga_used(&r.s, 20), 30);
}
END_TEST

START_TEST(failures)
{
	fails(0, OUTCOME_THROTTLED, "rate_limited");
	rig_tick(&r, 200);
	rig_writes(&r);
	fails(0, OUTCOME_HELD, "target_down");
	rig_tick(&r, 1);
	rig_writes(&r);
	fails(0, OUTCOME_RETRY, "connect_failed");
	rig_tick(&r, 200);
	rig_writes(&r);
	used(0);
	rig_resume(&r, "w2",
		   77); /* the log says the same, but for the attempt that is open in it */
	used(ESTIMATE);
}
END_TEST

START_TEST(cut)
{
	fails(0, OUTCOME_RETRY, "cut_stream");
	used(ESTIMATE);
	rig_resume(&r, "w2", 77);
	used(ESTIMATE);
}
END_TEST

START_TEST(too_large_an_answer)
{
	ends(0, (struct saga_outcome){.class = OUTCOME_FINAL,
				      .reason = "output_too_large",
				      .message = "",
				      .has_usage = true,
				      .usage = {.total_tokens = 5000}});
	used(5000);
}
END_TEST

static void cancelled(void)
{
	rig_append(&r, "task.cancelled", "{'by':'x'}");
	saga_hint(&r.s);
	rig_take(&r);
	rig_load(&r);
	ck_assert(r.finished);
}

/* A call that never began has taken nothing … */
START_TEST(stopped_before_it_began)
{
	cancelled();
	used(0);
}
END_TEST

/* … and nobody knows what one took that was stopped. */
START_TEST(stopped)
{
	saga_begun(&r.s, 0, r.attempts[0]);
	cancelled();
	used(ESTIMATE);
}
END_TEST

/* Whoever goes on under the same ticket counts what was taken before him … */
START_TEST(taken_over)
{
	takes(0, 30);
	saga_drain(&r.s, true, r.now);
	rig_take(&r);
	rig_writes(&r);
	rig_last_has(&r, "task.handed_off", "");
	rig_resume(&r, "w2", 77);
	ck_assert_int_eq(r.s.spent, 30);
}
END_TEST

/* … and under another one, only what comes behind. */
START_TEST(parked)
{
	takes(0, 30);
	fails(1, OUTCOME_RETRY, "cut_stream");
	rig_append(&r, "task.parked", "{'stage':'b','reason':'x','not_before':1}");
	r.behind = rig_last(&r)->seq;
	rig_resume(&r, "w2", 99);
	rig_tick(&r, 3000);
	rig_writes(&r);
	used(0);
	takes(1, 12);
	used(12);
}
END_TEST

START_TEST(nonsense)
{
	takes(0, -5);
	used(ESTIMATE);
	takes(1, INT64_MAX);
	ck_assert_int_eq(r.s.spent, INT64_MAX);
}
END_TEST

RUN_TESTS_WITH("saga_spent", setup, teardown, told, untold, failures, cut, too_large_an_answer,
	       stopped_before_it_began, stopped, taken_over, parked, nonsense)
