/* Tasks that have to wait and give their place back, and how they go on. */
#include <string.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/saga_rig.h"

#define CHAT                                                                                       \
	"{'stages':[{'id':'a','kind':'chat','model':'m','retry':{'max_attempts':3,"                \
	"'initial_ms':100}}]}"
#define TWO "{'stages':[{'id':'a','kind':'chat','model':'m'},{'id':'b','kind':'chat','model':'m'}]}"

static struct rig r;

static void parked(const char *stage, int64_t from, int64_t to)
{
	char part[100];
	ck_assert(r.finished);
	ck_assert_int_eq(r.verdict, VERDICT_END);
	ck_assert_int_eq(r.s.state, SAGA_DROPPED);
	ck_assert_int_eq(r.s.end, TASK_UNKNOWN);
	snprintf(part, sizeof(part), "'stage':'%s','reason':'upstream_error','not_before':17000000",
		 stage);
	rig_last_has(&r, "task.parked", part);
	int64_t at = slice_int(
	    slice_member(rig_last(&r)->data, strlen(rig_last(&r)->data), "not_before"), 0);
	ck_assert_int_ge(at, RIG_START + from);
	ck_assert_int_le(at, RIG_START + to);
}

/* The ticket of its release. */
static void released(int64_t ms)
{
	r.now += ms;
	r.behind = rig_last(&r)->seq;
	rig_resume(&r, "w2", 99);
}

START_TEST(held)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
	rig_writes(&r);
	parked("a", 5000, 5500);
	released(5500);
	ck_assert_str_eq(rig_types(&r),
			 "accepted started stage.started parked started stage.started");
	ck_assert_uint_eq(r.attempts[0], 2);
	ck_assert_uint_eq(r.s.stages[0].failed, 0);
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_done(&r);
}
END_TEST

/* As often as it likes: it is neither an attempt that failed nor one that was lost. */
START_TEST(again_and_again)
{
	rig_start(&r, CHAT, "");
	for (unsigned k = 0; k < 20; k++) {
		rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
		rig_writes(&r);
		ck_assert(r.finished);
		ck_assert_str_eq(rig_last(&r)->type, "task.parked");
		released(5500);
	}
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_done(&r);
}
END_TEST

START_TEST(in_backoff)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_RETRY, 20000);
	rig_write(&r); /* the failure; then the parking */
	ck_assert_str_eq(rig_last(&r)->type, "task.stage.failed");
	rig_writes(&r);
	parked("a", 20000, 22000);
	released(22000);
	ck_assert_uint_eq(r.attempts[0], 2);
	ck_assert_uint_eq(r.s.stages[0].failed, 1); /* its attempts are counted on */
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
	rig_writes(&r);
	rig_tick(&r, 1000);
	rig_writes(&r);
	rig_call_fails(&r, 0, OUTCOME_RETRY, 0);
	rig_writes(&r);
	ck_assert_str_eq(rig_last(&r)->type, "task.failed");
	rig_done(&r);
}
END_TEST

START_TEST(a_short_wait_is_held)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, SAGA_PARK_MS - SAGA_PARK_MS / 10 - 1);
	rig_writes(&r);
	ck_assert(!r.finished);
	ck_assert_int_gt(saga_wake_at(&r.s), r.now);
	rig_done(&r);
}
END_TEST

/* Not while something of it runs; and the earliest step counts. */
START_TEST(others_go_on)
{
	rig_start(&r, TWO, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, 9000);
	rig_writes(&r);
	ck_assert(!r.finished);
	rig_call_fails(&r, 1, OUTCOME_RETRY, 5000);
	rig_writes(&r);
	parked("b", 5000, 5500);
	released(5500);
	ck_assert_uint_eq(r.attempts[0], 2);
	ck_assert_uint_eq(r.attempts[1], 2);
	rig_call(&r, 1, "2");
	rig_writes(&r);
	rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
	rig_writes(&r);
	ck_assert_str_eq(rig_last(&r)->type, "task.parked");
	released(5500);
	ck_assert_uint_eq(r.calls[1], 0); /* what is complete stays so */
	rig_call(&r, 0, "1");
	rig_writes(&r);
	ck_assert_str_eq(rig_last(&r)->type, "task.completed");
	rig_done(&r);
}
END_TEST

START_TEST(cancelled_meanwhile)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
	ck_assert(r.write);
	rig_append(&r, "task.cancelled", "{}");
	rig_write(&r); /* refused */
	rig_load(&r);
	ck_assert(r.finished);
	ck_assert_int_eq(r.s.end, TASK_CANCELLED);
	ck_assert_str_eq(rig_last(&r)->type, "task.cancelled");
	rig_done(&r);
}
END_TEST

/* It is parked, and the writer does not know: the log is read, and it was our own event. */
START_TEST(written_but_not_known)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
	struct rig_event *e = &r.log[r.n_log++];
	e->seq = r.next_seq++;
	snprintf(e->id, sizeof(e->id), "%s", r.s.write.id.text);
	snprintf(e->type, sizeof(e->type), "task.parked");
	e->data = xstrdup(r.s.write.data.data);
	rig_written(&r, WRITE_CONFLICT);
	rig_load(&r);
	parked("a", 5000, 5500);
	rig_done(&r);
}
END_TEST

/* Whoever takes it up then lets it expire. */
START_TEST(deadline_behind_it)
{
	rig_start(&r, CHAT, ",'deadline_at':1700000003000");
	rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
	rig_writes(&r);
	ck_assert_str_eq(rig_last(&r)->type, "task.parked");
	released(3000);
	ck_assert_str_eq(rig_last(&r)->type, "task.expired");
	rig_done(&r);
}
END_TEST

START_TEST(stopped_while_it_is_parked)
{
	rig_start(&r, CHAT, "");
	rig_call_fails(&r, 0, OUTCOME_HELD, 5000);
	ck_assert(r.write);
	saga_drain(&r.s, true, r.now);
	rig_take(&r);
	rig_writes(&r);
	parked("a", 5000, 5500);
	rig_done(&r);
}
END_TEST

/* Says "later" once more; then the time has come, whoever takes it up. */
static void throttle(int64_t retry_after_ms, int64_t then_ms)
{
	rig_call_fails(&r, 0, OUTCOME_THROTTLED, retry_after_ms);
	rig_writes(&r);
	if (!r.finished) {
		rig_tick(&r, then_ms);
		rig_writes(&r);
	} else if (!strcmp(rig_last(&r)->type, "task.parked")) {
		released(then_ms);
	}
}

static void gave_up(const char *why)
{
	char part[100];
	const struct rig_event *e = &r.log[r.n_log - 2];
	ck_assert_str_eq(e->type, "task.stage.failed");
	ck_assert_ptr_nonnull(strstr(e->data, "\"reason\":\"throttled\""));
	ck_assert_ptr_nonnull(strstr(e->data, "\"final\":true,\"throttled\":true"));
	snprintf(part, sizeof(part), "'stage':'a','reason':'throttled','message':'%s: ", why);
	rig_last_has(&r, "task.failed", part);
}

START_TEST(throttled_too_often)
{
	rig_start(&r, CHAT, "");
	for (unsigned k = 1; k < SAGA_THROTTLED_MAX; k++) {
		throttle(0, 30000);
		ck_assert_uint_eq(r.attempts[0], k + 1);
	}
	throttle(0, 30000);
	ck_assert(r.finished);
	gave_up("put off 200 times");
	rig_done(&r);
}
END_TEST

START_TEST(throttled_for_too_long)
{
	static const int64_t hour = 3600 * INT64_C(1000);
	rig_start(&r, CHAT, "");
	throttle(0, 30000);
	for (unsigned k = 1; k < 4; k++)
		throttle(7 * hour, 8 * hour - 10000);
	rig_call_fails(&r, 0, OUTCOME_RETRY, hour); /* does not begin it anew */
	rig_writes(&r);
	released(2 * hour);
	ck_assert_uint_eq(r.attempts[0], 6);
	throttle(hour, 0);
	gave_up("put off for a day");
	/* Redriven it has a day of its own. */
	rig_append(&r, "task.redriven", "{'redrive_gen':1,'by':'op'}");
	released(0);
	ck_assert_uint_eq(r.attempts[0], 7);
	throttle(hour, 2 * hour);
	ck_assert_uint_eq(r.attempts[0], 8);
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_done(&r);
}
END_TEST

static void held_once(int64_t then_ms)
{
	rig_call_fails(&r, 0, OUTCOME_HELD, 60000);
	rig_writes(&r);
	ck_assert_str_eq(rig_last(&r)->type, "task.parked");
	released(then_ms);
}

/* A target that nothing reaches: a day, however often the task was parked, and then it has failed
 * for the reason that it was held for. */
START_TEST(held_for_too_long)
{
	static const int64_t hour = 3600 * INT64_C(1000);
	rig_start(&r, CHAT, "");
	for (int k = 0; k < 3; k++)
		held_once(7 * hour);
	rig_last_has(&r, "task.stage.started", "'attempt':4");
	saga_begun(&r.s, 0, r.attempts[0]); /* one could be made: from here on anew */
	rig_call_fails(&r, 0, OUTCOME_RETRY, 5000);
	rig_writes(&r);
	released(6000);
	for (int k = 0; k < 3; k++)
		held_once(7 * hour);
	saga_drain(&r.s, true, r.now); /* … and is not forgotten when it goes elsewhere */
	rig_take(&r);
	rig_writes(&r);
	rig_last_has(&r, "task.handed_off", "'held_since':{'a':");
	r.now += 4 * hour;
	rig_resume(&r, "w3", 99);
	rig_call_fails(&r, 0, OUTCOME_HELD, 60000);
	rig_writes(&r);
	rig_last_has(
	    &r, "task.failed",
	    "'reason':'upstream_error','message':'no call could be made for a day: HTTP 500'");
	/* Redriven it has a day of its own. */
	rig_append(&r, "task.redriven", "{'redrive_gen':1,'by':'op'}");
	released(0);
	held_once(60000);
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	rig_done(&r);
}
END_TEST

/* The task's own deadline is sooner. */
START_TEST(held_until_the_deadline)
{
	rig_start(&r, CHAT, ",'deadline_at':1700000100000");
	held_once(60000);
	rig_call_fails(&r, 0, OUTCOME_HELD, 60000);
	rig_writes(&r);
	ck_assert_str_eq(rig_last(&r)->type, "task.parked");
	released(40000);
	ck_assert_str_eq(rig_last(&r)->type, "task.expired");
	rig_done(&r);
}
END_TEST

/* A delayed task is at rest from its task.accepted on: only the ticket of its release lets it go
 * on, and none that a repeat of the command has sent. */
START_TEST(delayed)
{
	rig_init(&r, CHAT, ",'not_before':1700000005000", 77);
	rig_load(&r);
	ck_assert(r.finished && !r.write);
	ck_assert_int_eq(r.verdict, VERDICT_REPEAT);
	released(5000);
	ck_assert_str_eq(rig_types(&r), "accepted started stage.started");
	rig_call(&r, 0, "7");
	rig_writes(&r);
	rig_last_has(&r, "task.completed", "'output':7");
	/* The same ticket again, or a late one of a repeat. */
	rig_again(&r, "w2", 120);
	rig_load(&r);
	ck_assert_int_eq(r.verdict, VERDICT_END);
	rig_done(&r);
}
END_TEST

RUN_TESTS("saga_park", held, again_and_again, in_backoff, a_short_wait_is_held, others_go_on,
	  cancelled_meanwhile, written_but_not_known, deadline_behind_it,
	  stopped_while_it_is_parked, throttled_too_often, throttled_for_too_long,
	  held_for_too_long, held_until_the_deadline, delayed)
