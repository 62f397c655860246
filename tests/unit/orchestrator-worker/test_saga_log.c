/* The saga and the log: writes that are lost, refused and fenced, and tasks taken over at every
 * point. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define CHAT                                                                                       \
	"{'stages':[{'id':'a','kind':'chat','model':'m','retry':{'max_attempts':3,"                \
	"'initial_ms':100,'factor':2,'max_ms':1000}}]}"
/* a → (b, c) → d, on their needs' outputs */
#define DIAMOND                                                                                    \
	"{'stages':[{'id':'a','kind':'http'},{'id':'b','kind':'http','needs':['a']},"              \
	"{'id':'c','kind':'http','needs':['a']},{'id':'d','kind':'http','needs':['b','c']}]}"

static struct rig r;

/* --- writes -------------------------------------------------------------------------------- */

START_TEST(unknown_and_lost)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	struct id first = r.s.write.id;
	rig_written(&r, WRITE_UNKNOWN);
	ck_assert_int_eq(r.s.write_state, WRITE_PAUSED);
	rig_tick(&r, saga_wake_at(&r.s) - r.now);
	ck_assert_str_eq(r.s.write.id.text, first.text);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started");
	rig_done(&r);
}
END_TEST

/* The write is in the log, its acknowledgement was lost, and the repeat meets a broker that has
 * forgotten its id. */
START_TEST(unknown_and_there)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	rig_append(&r, "task.started", "{'worker':'w1','claim':77,'run':1}");
	strcpy(r.log[1].id, r.s.write.id.text);
	rig_written(&r, WRITE_UNKNOWN);
	rig_tick(&r, 1000);
	rig_written(&r, WRITE_CONFLICT);
	ck_assert_uint_eq(r.load_after, 10);
	rig_load(&r);
	ck_assert_int_eq(r.s.state, SAGA_RUNNING);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started");
	rig_done(&r);
}
END_TEST

/* … and behind it is another's. */
START_TEST(there_but_cancelled_since)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	rig_append(&r, "task.started", "{'worker':'w1','claim':77,'run':1}");
	strcpy(r.log[1].id, r.s.write.id.text);
	rig_append(&r, "task.cancelled", "{}");
	rig_written(&r, WRITE_CONFLICT);
	rig_load(&r);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(fenced_by_the_same_ticket)
{
	rig_start(&r, CHAT, "");
	rig_append(&r, "task.started", "{'worker':'w2','claim':77,'run':2}");
	rig_call(&r, 0, "1");
	rig_write(&r);
	rig_load(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started started");
	rig_ends(&r, VERDICT_LOST, SAGA_DROPPED);
}
END_TEST

START_TEST(fenced_by_another_ticket)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	rig_append(&r, "task.started", "{'worker':'w2','claim':99,'run':1}");
	rig_write(&r);
	rig_load(&r);
	rig_ends(&r, VERDICT_REPEAT, SAGA_DROPPED);
}
END_TEST

START_TEST(refused_for_good)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	for (int i = 0; i < 6; i++) {
		rig_written(&r, WRITE_REFUSED);
		if (!r.finished)
			rig_tick(&r, 5000);
	}
	rig_ends(&r, VERDICT_LATER, SAGA_DROPPED);
}
END_TEST

/* The stream has trimmed the whole channel while the task ran: the next event is its first one
 * again. */
START_TEST(trimmed_under_us)
{
	rig_start(&r, CHAT, "");
	rig_call(&r, 0, "1");
	ck_assert_int_eq(r.s.write.expect, 16);
	struct id id = r.s.write.id;
	rig_written(&r, WRITE_CONFLICT);
	ck_assert_uint_eq(r.load_after, 16);
	r.load = false;
	saga_loaded(&r.s, true, r.now);
	rig_take(&r);
	ck_assert(r.write);
	ck_assert_int_eq(r.s.write.expect, 0);
	ck_assert_str_eq(r.s.write.id.text, id.text);
	rig_done(&r);
}
END_TEST

START_TEST(ids_tell_writes_apart)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	struct id w1 = r.s.write.id;
	struct id expected = id_derive("acme", "transition",
				       "0f0f0f0f-0000-8000-8000-000000000001 10 task.started w1");
	ck_assert_str_eq(w1.text, expected.text);
	rig_again(&r, "w2", 77);
	rig_load(&r);
	ck_assert_str_ne(w1.text, r.s.write.id.text);
	rig_done(&r);
}
END_TEST

/* --- hints --------------------------------------------------------------------------------- */

START_TEST(cancelled_while_calling)
{
	rig_start(&r, CHAT, "");
	rig_append(&r, "task.cancelled", "{'by':'x'}");
	saga_hint(&r.s);
	rig_take(&r);
	rig_load(&r);
	ck_assert_uint_eq(r.aborts[0], 1);
	ck_assert_int_eq(r.s.end, TASK_CANCELLED);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(idle_hint)
{
	rig_start(&r, CHAT, "");
	saga_hint(&r.s);
	rig_take(&r);
	rig_call(&r, 0, "1"); /* waits for the look */
	ck_assert(!r.write);
	rig_load(&r);
	rig_writes(&r);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(hint_behind_a_write)
{
	rig_init(&r, CHAT, "", 77);
	rig_load(&r);
	saga_hint(&r.s); /* the write is on its way: looks behind it */
	rig_write(&r);
	ck_assert(r.load);
	ck_assert(!r.write);
	rig_load(&r);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started");
	rig_done(&r);
}
END_TEST

/* --- taking over --------------------------------------------------------------------------- */

START_TEST(over_already)
{
	static const char *const ends_with[] = {"task.completed", "task.failed", "task.cancelled",
						"task.expired"};
	for (int i = 0; i < 4; i++) {
		rig_init(&r, CHAT, "", 77);
		rig_append(&r, ends_with[i], "{}");
		rig_load(&r);
		ck_assert(!r.write);
		rig_ends(&r, VERDICT_END, SAGA_ENDED);
	}
}
END_TEST

START_TEST(repeat_of_a_running_one)
{
	rig_init(&r, CHAT, "", 88);
	rig_append(&r, "task.started", "{'worker':'w2','claim':77,'run':1}");
	rig_append(&r, "task.stage.started", "{'stage':'a','attempt':1}");
	rig_load(&r);
	rig_ends(&r, VERDICT_REPEAT, SAGA_DROPPED);
}
END_TEST

#define PARKED_AT 19 /* where the rig's log has it */

static void parked(uint64_t claim, uint64_t behind)
{
	rig_init(&r, CHAT, "", claim);
	r.s.behind = behind;
	rig_append(&r, "task.started", "{'worker':'w2','claim':77,'run':1}");
	rig_append(&r, "task.stage.started", "{'stage':'a','attempt':1}");
	rig_append(&r, "task.parked", "{'stage':'a'}");
	ck_assert_uint_eq(rig_last(&r)->seq, PARKED_AT);
	rig_load(&r);
}

/* The ticket of its release; what was broken off is neither failed nor lost. */
START_TEST(parked_and_back)
{
	parked(88, PARKED_AT);
	rig_writes(&r);
	ck_assert_str_eq(rig_types(&r),
			 "accepted started stage.started parked started stage.started");
	rig_last_has(&r, "task.stage.started", "'attempt':2");
	ck_assert_uint_eq(r.s.stages[0].earlier, 1);
	ck_assert_uint_eq(r.s.stages[0].failed, 0);
	rig_done(&r);
}
END_TEST

/* Its first ticket, delivered again because whoever parked it died before acknowledging; that of an
 * earlier release; and one that is ahead of what was read. */
START_TEST(parked_is_left_alone)
{
	parked(77, 0);
	rig_ends(&r, VERDICT_REPEAT, SAGA_DROPPED);
	parked(88, PARKED_AT - 1);
	rig_ends(&r, VERDICT_REPEAT, SAGA_DROPPED);
	parked(88, PARKED_AT + 1);
	rig_ends(&r, VERDICT_LATER, SAGA_DROPPED);
}
END_TEST

static void redriven(void)
{
	rig_init(&r, DIAMOND, ",'deadline_at':1", 88);
	rig_append(&r, "task.started", "{'worker':'w2','claim':77,'run':1}");
	rig_append(&r, "task.stage.started", "{'stage':'a','attempt':1}");
	rig_append(&r, "task.stage.completed", "{'stage':'a','attempt':1,'output':1}");
	rig_append(&r, "task.stage.started", "{'stage':'b','attempt':1}");
	rig_append(&r, "task.stage.started", "{'stage':'c','attempt':1}");
	for (int i = 1; i <= 2 * SAGA_LOST_MAX; i++)
		rig_append(&r, "task.stage.failed", "{'stage':'b','final':false,'retry_at':1}");
	rig_append(&r, "task.stage.started", "{'stage':'b','attempt':40}");
	rig_append(&r, "task.stage.failed", "{'stage':'b','final':true,'reason':'x'}");
	rig_append(&r, "task.failed", "{'stage':'b','reason':'x'}");
	rig_append(&r, "task.redriven", "{'redrive_gen':1,'by':'op'}");
	r.s.behind = rig_last(&r)->seq;
	rig_load(&r);
}

/* What is complete stays so; the others begin anew, with the next attempt; no deadline holds. */
START_TEST(redriven_goes_on)
{
	redriven();
	rig_writes(&r);
	ck_assert_int_eq(r.s.state, SAGA_RUNNING);
	ck_assert_uint_eq(r.s.complete, 1);
	ck_assert_uint_eq(r.attempts[1], 41);
	ck_assert_uint_eq(r.attempts[2], 2);
	ck_assert_uint_eq(r.calls[0], 0);
	rig_call_fails(&r, 1, OUTCOME_RETRY, 0);
	ck_assert_int_eq(r.s.stages[1].final, false);
	rig_done(&r);
}
END_TEST

START_TEST(redriven_needs_its_ticket)
{
	redriven();
	rig_again(&r, "w3", 77);
	rig_load(&r);
	rig_ends(&r, VERDICT_REPEAT, SAGA_DROPPED);
}
END_TEST

/* Crashes behind every single event of the diamond; whoever takes over finishes it, and no stage is
 * completed twice. */
START_TEST(resume_at_every_point)
{
	for (size_t crash = 1;; crash++) {
		rig_init(&r, DIAMOND, "", 77);
		rig_load(&r);
		bool crashed = false;
		for (int i = 0; i < 100 && !r.finished; i++) {
			if (!crashed && r.n_log == crash) {
				crashed = true;
				rig_again(&r, "w2", 77);
				rig_load(&r);
			}
			if (r.write) {
				rig_write(&r);
				continue;
			}
			for (size_t k = 0; k < 4; k++)
				if (r.s.stages[k].state == STAGE_CALLING)
					rig_call(&r, k, "{\"n\":1}");
		}
		ck_assert(r.finished);
		int completed[4] = {0};
		for (size_t i = 0; i < r.n_log; i++) {
			struct slice id =
			    slice_text(slice_member(r.log[i].data, strlen(r.log[i].data), "stage"));
			if (strcmp(r.log[i].type, "task.stage.completed") == 0)
				completed[id.p[0] - 'a']++;
		}
		for (int k = 0; k < 4; k++)
			ck_assert_int_eq(completed[k], 1);
		ck_assert_str_eq(rig_last(&r)->type, "task.completed");
		rig_done(&r);
		if (!crashed)
			break;
		ck_assert_uint_lt(crash, 30);
	}
}
END_TEST

START_TEST(resume_counts_on)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
	rig_writes(&r);
	rig_tick(&r, 1000);
	rig_writes(&r); /* attempt 2 is in the log, and its worker gone */
	ck_assert_uint_eq(r.attempts[0], 2);
	rig_again(&r, "w2", 77);
	rig_load(&r);
	rig_write(&r);
	rig_last_has(&r, "task.started", "'run':2");
	rig_writes(&r);
	rig_last_has(&r, "task.stage.started", "'attempt':3,'worker':'w2'");
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0); /* the second that failed: a third may follow */
	rig_writes(&r);
	rig_tick(&r, 1000);
	rig_writes(&r);
	ck_assert_uint_eq(r.attempts[0], 4);
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
	rig_writes(&r);
	rig_last_has(&r, "task.failed", "upstream_error");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(resume_in_backoff)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_RETRY, 1500);
	rig_writes(&r);
	int64_t at = saga_wake_at(&r.s);
	rig_resume(&r, "w2", 77);
	ck_assert_int_eq(saga_wake_at(&r.s), at);
	rig_tick(&r, at - r.now);
	rig_writes(&r);
	ck_assert_uint_eq(r.attempts[0], 2);
	rig_done(&r);
}
END_TEST

START_TEST(resume_behind_a_throttled_one)
{
	rig_start(&r, CHAT, "");
	for (int k = 0; k < 12; k++) { /* more than may be lost or may fail */
		rig_call_fails(&r, 0, OUTCOME_THROTTLED, 0);
		rig_writes(&r);
		rig_tick(&r, 30000);
		rig_writes(&r);
	}
	rig_resume(&r, "w2", 77);
	ck_assert_uint_eq(r.attempts[0], 14);
	ck_assert_uint_eq(r.s.stages[0].failed, 0);
	ck_assert_uint_eq(r.s.stages[0].throttled, 12);
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(resume_behind_a_final_failure)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_FINAL, 0);
	rig_write(&r); /* stage.failed, but no task.failed */
	rig_resume(&r, "w2", 77);
	rig_last_has(&r, "task.failed",
		     "'stage':'a','reason':'upstream_error','message':'HTTP 500'");
	ck_assert_uint_eq(r.calls[0], 0);
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

START_TEST(resume_keeps_usage)
{
	rig_start(&r, CHAT, "");
	struct saga_outcome outcome = {
	    .text = "{\"text\":\"\\\"}\"}", .len = 14, .has_usage = true, .usage = {1, 2, 3}};
	saga_called(&r.s, 0, 1, &outcome, r.now);
	rig_take(&r);
	rig_write(&r);
	rig_resume(&r, "w2", 77);
	rig_last_has(&r, "task.completed", "'total_tokens':3}");
	ck_assert_ptr_nonnull(strstr(rig_last(&r)->data, "\"output\":{\"text\":\"\\\"}\"}"));
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

/* A stage that takes its workers with it ends after a bounded number of them. */
START_TEST(killer_stage)
{
	rig_start(&r, CHAT, "");
	int runs = 1;
	while (!r.finished && runs < 50) {
		rig_resume(&r, "w", 77);
		runs++;
	}
	ck_assert_int_eq(runs, SAGA_LOST_MAX + 2);
	rig_last_has(&r, "task.failed", "'reason':'worker_lost'");
	rig_ends(&r, VERDICT_END, SAGA_ENDED);
}
END_TEST

RUN_TESTS("saga_log", unknown_and_lost, unknown_and_there, there_but_cancelled_since,
	  fenced_by_the_same_ticket, fenced_by_another_ticket, refused_for_good, trimmed_under_us,
	  ids_tell_writes_apart, cancelled_while_calling, idle_hint, hint_behind_a_write,
	  over_already, repeat_of_a_running_one, parked_and_back, parked_is_left_alone,
	  redriven_goes_on, redriven_needs_its_ticket, resume_at_every_point, resume_counts_on,
	  resume_in_backoff, resume_behind_a_throttled_one, resume_behind_a_final_failure,
	  resume_keeps_usage, killer_stage)
