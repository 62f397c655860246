/* The saga's table: a test for each move of a task and a stage. Writes: test_saga_log.c. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define CHAIN                                                                                      \
	"{'stages':[{'id':'a','kind':'transform','input':'.'},"                                    \
	"{'id':'b','kind':'transform','needs':['a'],'input':'.stages.a'}]}"
#define CHAT                                                                                       \
	"{'stages':[{'id':'a','kind':'chat','model':'m','retry':{'max_attempts':3,"                \
	"'initial_ms':100,'factor':2,'max_ms':1000}}]}"
/* a → (b, c) → d, on their needs' outputs */
#define DIAMOND                                                                                    \
	"{'stages':[{'id':'a','kind':'http'},{'id':'b','kind':'http','needs':['a']},"              \
	"{'id':'c','kind':'http','needs':['a']},{'id':'d','kind':'http','needs':['b','c']}]}"

static struct rig r;

static const char *document(size_t stage, bool plain)
{
	static struct strbuf b;
	strbuf_reset(&b);
	if (plain)
		saga_plain(&r.s, stage, &b);
	else
		saga_document(&r.s, stage, &b);
	return b.data;
}

/* --- the straight road ---------------------------------------------------------------------- */

START_TEST(straight)
{
	rig_init(&r, CHAIN, "", 77);
	ck_assert_int_eq(r.s.state, SAGA_LOADING);
	ck_assert_uint_eq(r.load_after, 0);
	rig_load(&r);
	ck_assert_int_eq(r.s.state, SAGA_STARTING);
	ck_assert_int_eq(r.s.write.expect, 10);
	rig_write(&r);
	rig_last_has(&r, "task.started", "'worker':'w1','claim':77,'run':1}");
	ck_assert_int_eq(r.s.state, SAGA_RUNNING);
	/* The input is made while the start is written; the call waits for both. */
	ck_assert_int_eq(r.s.stages[0].state, STAGE_STARTING);
	ck_assert_uint_eq(r.inputs[0], 1);
	ck_assert_str_eq(
	    document(0, false),
	    "{\"input\":{\"q\":1},\"stages\":{},\"task\":{\"id\":\"0f0f0f0f-0000-8000-8000-"
	    "000000000001\",\"tenant\":\"acme\",\"pipeline\":\"p\",\"version\":3}}");
	rig_input(&r, 0, "{\"x\":1}");
	ck_assert_uint_eq(r.calls[0], 0);
	rig_write(&r);
	rig_last_has(&r, "task.stage.started",
		     "'stage':'a','kind':'transform','attempt':1,'worker':'w1'");
	ck_assert_int_eq(r.s.stages[0].state, STAGE_CALLING);
	ck_assert_uint_eq(r.calls[0], 1);
	r.now += 25;
	rig_call(&r, 0, "{\"x\":1}");
	ck_assert_int_eq(r.s.stages[0].state, STAGE_COMPLETING);
	ck_assert_uint_eq(r.inputs[1], 0);
	rig_write(&r);
	rig_last_has(&r, "task.stage.completed", "'output':{'x':1},'duration_ms':25");
	ck_assert_int_eq(r.s.stages[0].state, STAGE_DONE);
	rig_write(&r); /* the start of b is in the log before its input is there */
	ck_assert_int_eq(r.s.stages[1].state, STAGE_PREPARING);
	ck_assert_ptr_nonnull(strstr(document(1, false), "\"stages\":{\"a\":{\"x\":1}}"));
	rig_input(&r, 1, "2");
	ck_assert_uint_eq(r.calls[1], 1);
	rig_call(&r, 1, "2");
	rig_write(&r);
	ck_assert_int_eq(r.s.state, SAGA_ENDING);
	rig_write(&r);
	rig_last_has(&r, "task.completed", "'output':2,'usage':{'prompt_tokens':0");
	rig_last_has(&r, "task.completed", "'duration_ms':25}");
	ck_assert_str_eq(rig_types(&r),
			 "accepted started stage.started stage.completed stage.started "
			 "stage.completed completed");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(ticket_before_its_event)
{
	rig_init(&r, CHAT, "", 77);
	r.n_log = 0; /* the router's write has not arrived */
	rig_load(&r);
	ck_assert_int_eq(r.s.state, SAGA_ACCEPTING);
	ck_assert_int_eq(r.s.write.expect, 0);
	ck_assert_int_eq(r.s.write.type, TASK_ACCEPTED);
	ck_assert_str_eq(r.s.write.id.text, "0f0f0f0f-0000-8000-8000-00000000000a");
	free(r.log[0].data);
	rig_write(&r);
	rig_last_has(&r, "task.accepted", "'input':{'q':1}}");
	rig_write(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started");
	rig_done(&r);
}
END_TEST

/* … but it arrives in between: the write is refused, and what is found is what was to be written.
 */
START_TEST(ticket_beside_its_event)
{
	rig_init(&r, CHAT, "", 77);
	r.n_log = 0;
	rig_load(&r);
	r.n_log = 1;
	rig_written(&r, WRITE_CONFLICT);
	ck_assert(r.load);
	rig_load(&r);
	ck_assert_int_eq(r.s.state, SAGA_STARTING);
	rig_write(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started");
	rig_done(&r);
}
END_TEST

START_TEST(chat_usage)
{
	rig_start(&r, CHAT, "");
	ck_assert_uint_eq(r.inputs[0], 0); /* no program: the task's own input */
	ck_assert_str_eq(r.s.stages[0].input, "{\"q\":1}");
	struct saga_outcome outcome = {.text = "{}",
				       .len = 2,
				       .latency_ms = 90,
				       .first_token_ms = 30,
				       .has_usage = true,
				       .usage = {5, 7, 12}};
	saga_called(&r.s, 0, 1, &outcome, r.now);
	rig_take(&r);
	rig_write(&r);
	rig_last_has(&r, "task.stage.completed",
		     "'latency_ms':90,'first_token_ms':30,'usage':{'prompt_tokens':5,"
		     "'completion_tokens':7,'total_tokens':12},'model':'m'}");
	rig_writes(&r);
	rig_last_has(&r, "task.completed",
		     "'usage':{'prompt_tokens':5,'completion_tokens':7,"
		     "'total_tokens':12}");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(fan_out_fan_in)
{
	rig_start(&r, DIAMOND, "");
	rig_call(&r, 0, "\"A\"");
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[1] + r.calls[2], 2); /* both at once */
	ck_assert_uint_eq(r.calls[3], 0);
	rig_call(&r, 2, "\"C\"");
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[3], 0);
	rig_call(&r, 1, "\"B\"");
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[3], 1);
	ck_assert_str_eq(r.s.stages[3].input, "{\"b\":\"B\",\"c\":\"C\"}");
	rig_call(&r, 3, "\"D\"");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':'D'");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

/* A program sees the stages above its own, however far the others are. */
START_TEST(document_is_the_same_every_time)
{
	rig_start(&r,
		  "{'stages':[{'id':'a','kind':'http'},{'id':'b','kind':'http'},"
		  "{'id':'c','kind':'http','needs':['a'],'input':'.'}],'output':'.'}",
		  "");
	rig_call(&r, 1, "\"B\"");
	rig_writes(&r);
	rig_call(&r, 0, "\"A\"");
	rig_writes(&r);
	ck_assert_ptr_nonnull(strstr(document(2, false), "\"stages\":{\"a\":\"A\"}"));
	rig_input(&r, 2, "1");
	rig_call(&r, 2, "\"C\"");
	rig_writes(&r);
	ck_assert(r.output);
	ck_assert_ptr_nonnull(
	    strstr(document(3, false), "\"stages\":{\"a\":\"A\",\"b\":\"B\",\"c\":\"C\"}"));
	ck_assert_str_eq(document(3, true), "{\"b\":\"B\",\"c\":\"C\"}");
	struct saga_outcome retry = {.class = OUTCOME_RETRY, .reason = "overloaded", .message = ""};
	r.output = false;
	saga_output(&r.s, &retry, r.now);
	ck_assert_int_eq(saga_wake_at(&r.s), r.now + 500);
	rig_tick(&r, 500);
	ck_assert(r.output);
	struct saga_outcome bad = {.class = OUTCOME_FINAL, .reason = "jq_error", .message = "boo"};
	saga_output(&r.s, &bad, r.now);
	rig_take(&r);
	rig_writes(&r);
	rig_last_has(&r, "task.failed", "'stage':'','reason':'jq_error','message':'boo'}");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(output_too_large)
{
	char large[1200];
	memset(large, 'x', sizeof(large));
	large[0] = large[1198] = '"';
	large[1199] = '\0';
	rig_start(&r, CHAT, "");
	rig_call(&r, 0, large);
	rig_writes(&r);
	rig_last_has(&r, "task.failed", "'reason':'output_too_large'");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

/* --- failures ------------------------------------------------------------------------------ */

START_TEST(attempts_are_exact)
{
	rig_start(&r, CHAT, "");
	for (unsigned attempt = 1; attempt <= 3; attempt++) {
		ck_assert_uint_eq(r.calls[0], attempt);
		ck_assert_uint_eq(r.attempts[0], attempt);
		int64_t before = r.now;
		rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
		rig_writes(&r);
		if (attempt == 3)
			break;
		rig_last_has(&r, "task.stage.failed", "'final':false,'retry_at':");
		ck_assert_int_eq(r.s.stages[0].state, STAGE_BACKOFF);
		int64_t at = saga_wake_at(&r.s);
		ck_assert_int_ge(at, before);
		ck_assert_int_le(at, before + 100 * attempt); /* full jitter under 100, 200 */
		if (at > r.now) {
			rig_tick(&r, at - r.now - 1);
			ck_assert(!r.write);
		}
		rig_tick(&r, at - r.now);
		rig_writes(&r);
	}
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started stage.failed stage.started "
					"stage.failed stage.started stage.failed failed");
	rig_last_has(&r, "task.failed",
		     "'stage':'a','reason':'upstream_error','message':'HTTP 500'}");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(retry_after_is_a_floor)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_RETRY, 1500);
	rig_writes(&r);
	ck_assert_int_ge(saga_wake_at(&r.s), r.now + 1500);
	ck_assert_int_le(saga_wake_at(&r.s), r.now + 1650);
	rig_done(&r);
}
END_TEST

/* However often the other side says "later", the attempts are all there. */
START_TEST(throttled_is_no_attempt)
{
	rig_start(&r, CHAT, "");
	for (unsigned k = 1; k <= 20; k++) {
		rig_call_fails(&r, 0, OUTCOME_THROTTLED, 1500);
		rig_writes(&r);
		rig_last_has(&r, "task.stage.failed", "'final':false,'throttled':true,'retry_at':");
		int64_t at = saga_wake_at(&r.s);
		ck_assert_int_ge(at, r.now + 1500);
		ck_assert_int_le(at, r.now + 1650);
		rig_tick(&r, at - r.now);
		rig_writes(&r);
		ck_assert_uint_eq(r.attempts[0], k + 1); /* a number of its own each time */
	}
	for (unsigned k = 0; k < 3; k++) {
		rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
		rig_writes(&r);
		rig_tick(&r, 1000);
		rig_writes(&r);
	}
	rig_last_has(&r, "task.failed", "'reason':'upstream_error'");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

/* A call that may not begin is the same attempt when it does, and nothing is written. */
START_TEST(held_is_the_same_attempt)
{
	rig_start(&r, CHAT, "");
	size_t before = r.n_log;
	rig_call_fails(&r, 0, OUTCOME_HELD, 1500);
	ck_assert_int_eq(r.s.stages[0].state, STAGE_HELD);
	int64_t at = saga_wake_at(&r.s);
	ck_assert_int_ge(at, r.now + 1500);
	ck_assert_int_le(at, r.now + 1650);
	rig_tick(&r, at - r.now - 1);
	ck_assert_uint_eq(r.calls[0], 1);
	rig_tick(&r, 1);
	ck_assert_uint_eq(r.calls[0], 2);
	ck_assert_uint_eq(r.attempts[0], 1);
	ck_assert_uint_eq(r.n_log, before);
	rig_call_fails(&r, 0, OUTCOME_HELD, 0); /* at once: a fallback is there */
	rig_tick(&r, 0);
	ck_assert_uint_eq(r.calls[0], 3);
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(held_until_too_late)
{
	rig_start(&r, CHAT, ",'deadline_at':1700000001000");
	rig_call_fails(&r, 0, OUTCOME_HELD, 1500);
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 1000);
	rig_tick(&r, 1000);
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[0], 1);
	ck_assert_str_eq(rig_last(&r)->type, "task.expired");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(another_one_fails_while_it_is_held)
{
	rig_start(&r, DIAMOND, "");
	rig_call(&r, 0, "1");
	rig_writes(&r);
	rig_call_fails(&r, 2, OUTCOME_HELD, 4000);
	rig_call_fails(&r, 1, OUTCOME_FINAL, 0);
	ck_assert_int_eq(r.s.stages[2].state, STAGE_STOPPED);
	rig_writes(&r);
	rig_tick(&r, 5000);
	ck_assert_uint_eq(r.calls[2], 1);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(who_answered)
{
	rig_start(&r, CHAT, "");
	struct saga_outcome outcome = {.text = "1", .len = 1, .model = "other"};
	saga_called(&r.s, 0, 1, &outcome, r.now);
	rig_take(&r);
	rig_write(&r);
	rig_last_has(&r, "task.stage.completed", "'model':'other'");
	rig_done(&r);
}
END_TEST

START_TEST(final_at_once)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_FINAL, 0);
	rig_write(&r);
	rig_last_has(&r, "task.stage.failed", "'final':true");
	ck_assert_int_eq(r.s.stages[0].state, STAGE_FAILED);
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[0], 1);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(one_failure_stops_the_others)
{
	rig_start(&r, DIAMOND, "");
	rig_call(&r, 0, "1");
	rig_writes(&r);
	rig_call_fails(&r, 1, OUTCOME_FINAL, 0);
	ck_assert_uint_eq(r.aborts[2], 1);
	ck_assert_int_eq(r.s.stages[2].state, STAGE_STOPPED);
	struct saga_outcome late = {.text = "1", .len = 1};
	saga_called(&r.s, 2, 1, &late, r.now); /* does not count any more */
	rig_take(&r);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r),
			 "accepted started stage.started stage.completed stage.started "
			 "stage.started stage.failed failed");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(failure_while_a_start_waits)
{
	rig_start(&r, DIAMOND, "");
	rig_call(&r, 0, "1");
	rig_write(&r); /* a is complete; the start of b is on its way, that of c waits behind it */
	rig_write(&r);
	ck_assert_uint_eq(r.calls[1], 1);
	ck_assert(r.write);
	ck_assert_uint_eq(r.s.write.stage, 2);
	rig_call_fails(&r, 1, OUTCOME_FINAL, 0);
	rig_writes(&r);
	ck_assert_uint_eq(r.calls[2], 0);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(bad_input)
{
	rig_start(&r, CHAIN, "");
	struct saga_outcome bad = {.class = OUTCOME_FINAL, .reason = "jq_error", .message = "no"};
	saga_input(&r.s, 0, &bad, r.now);
	rig_take(&r);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started stage.failed failed");
	rig_last_has(&r, "task.failed", "'stage':'a','reason':'jq_error'");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(bad_input_before_the_start_is_written)
{
	rig_init(&r, CHAIN, "", 77);
	rig_load(&r);
	rig_write(&r);
	struct saga_outcome later = {.class = OUTCOME_RETRY, .reason = "overloaded", .message = ""};
	saga_input(&r.s, 0, &later, r.now);
	rig_take(&r);
	rig_writes(&r);
	rig_last_has(&r, "task.stage.failed", "'final':false");
	rig_tick(&r, 60000);
	ck_assert_uint_eq(r.inputs[0], 2); /* asked anew */
	rig_done(&r);
}
END_TEST

START_TEST(no_pipeline)
{
	rig_start(&r, NULL, "");
	rig_last_has(&r, "task.failed", "'reason':'unknown_pipeline'");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

/* --- time ---------------------------------------------------------------------------------- */

START_TEST(expires_while_calling)
{
	rig_start(&r, CHAT, ",'deadline_at':1700000005000");
	ck_assert_int_eq(saga_wake_at(&r.s), RIG_START + 5000);
	rig_tick(&r, 4999);
	ck_assert(!r.write);
	rig_tick(&r, 1);
	ck_assert_uint_eq(r.aborts[0], 1);
	rig_writes(&r);
	rig_last_has(&r, "task.expired", "'task':");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(expired_already)
{
	rig_init(&r, CHAT, ",'deadline_at':1700000005000", 77);
	r.now += 6000;
	rig_load(&r);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted expired");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(expires_behind_a_write)
{
	rig_start(&r, DIAMOND, ",'deadline_at':1700000005000");
	rig_call(&r, 0, "1"); /* its completion is on its way */
	rig_tick(&r, 5000);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started stage.completed expired");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

RUN_TESTS("saga", straight, ticket_before_its_event, ticket_beside_its_event, chat_usage,
	  fan_out_fan_in, document_is_the_same_every_time, output_too_large, attempts_are_exact,
	  retry_after_is_a_floor, throttled_is_no_attempt, held_is_the_same_attempt,
	  held_until_too_late, another_one_fails_while_it_is_held, who_answered, final_at_once,
	  one_failure_stops_the_others, failure_while_a_start_waits, bad_input,
	  bad_input_before_the_start_is_written, no_pipeline, expires_while_calling,
	  expired_already, expires_behind_a_write)
