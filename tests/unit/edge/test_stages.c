/* Whose deltas a subscriber that came late is to get. */
#include <stdio.h>

#include "services/edge/stages.h"
#include "tests/unit/common/suite.h"

static void event(struct stages *s, const char *type, const char *data, int64_t time_us)
{
	const struct event_view e = {
	    .type = slice_of(type), .data = slice_of(data), .time_us = time_us};

	stages_event(s, &e);
}

static bool want(const struct stages *s, const char *stage, uint32_t attempt)
{
	const struct delta_view d = {.stage = slice_of(stage), .attempt = attempt};

	return stages_want(s, &d);
}

START_TEST(only_the_newest_attempt_of_what_is_open)
{
	struct stages s = {0};

	event(&s, "task.accepted", "{}", 1);
	event(&s, "task.started", "{\"run\":1}", 2);
	ck_assert_int_eq(stages_since(&s), 0);
	event(&s, "task.stage.started", "{\"stage\":\"a\",\"attempt\":1}", 3);
	event(&s, "task.stage.started", "{\"stage\":\"b\",\"attempt\":1}", 4);
	ck_assert_int_eq(stages_since(&s), 3);
	ck_assert(want(&s, "a", 1) && want(&s, "b", 1));
	event(&s, "task.stage.completed",
	      "{\"output\":{\"stage\":\"b\"},\"stage\":\"a\",\"attempt\":1}", 5);
	ck_assert_int_eq(stages_since(&s), 4);
	ck_assert(!want(&s, "a", 1) && want(&s, "b", 1));
	/* Taken over from a lost worker: what it said stands until the next attempt begins. */
	event(&s, "task.started", "{\"run\":2}", 6);
	ck_assert(want(&s, "b", 1));
	event(&s, "task.stage.started", "{\"stage\":\"b\",\"attempt\":2}", 7);
	ck_assert(!want(&s, "b", 1) && want(&s, "b", 2));
	ck_assert_int_eq(stages_since(&s), 7);
	event(&s, "task.stage.failed", "{\"stage\":\"b\",\"attempt\":2,\"retry_at\":9}", 8);
	ck_assert(!want(&s, "b", 2));
	ck_assert_int_eq(stages_since(&s), 0);
	stages_done(&s);
}
END_TEST

/* The log was read before the deltas are. */
START_TEST(what_is_newer_than_the_log_counts)
{
	struct stages s = {0};

	event(&s, "task.stage.started", "{\"stage\":\"a\",\"attempt\":1}", 3);
	event(&s, "task.stage.failed", "{\"stage\":\"a\",\"attempt\":1}", 4);
	ck_assert(!want(&s, "a", 1) && want(&s, "a", 2) && want(&s, "b", 1));
	stages_done(&s);
}
END_TEST

START_TEST(an_end_ends_all)
{
	static const char *const ends[] = {"task.completed", "task.failed",   "task.cancelled",
					   "task.expired",   "task.redriven", "task.parked",
					   "task.handed_off"};
	struct stages s = {0};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		char data[64];

		snprintf(data, sizeof(data), "{\"stage\":\"a\",\"attempt\":%zu}", i + 1);
		event(&s, "task.stage.started", data, 3);
		ck_assert(want(&s, "a", (uint32_t)i + 1));
		event(&s, ends[i], "{}", 4);
		ck_assert(!want(&s, "a", (uint32_t)i + 1));
	}
	stages_done(&s);
}
END_TEST

/* A page of the log may be read twice; and what is not ours is no harm. */
START_TEST(repeats_and_rubbish)
{
	struct stages s = {0};

	for (int i = 0; i < 2; i++) {
		event(&s, "task.stage.started", "{\"stage\":\"a\",\"attempt\":1}", 3);
		event(&s, "task.stage.started", "{\"stage\":\"a\",\"attempt\":2}", 5);
	}
	ck_assert(!want(&s, "a", 1) && want(&s, "a", 2));
	ck_assert_int_eq(stages_since(&s), 5);
	event(&s, "task.stage.completed", "[]", 6);
	event(&s, "task.stage.completed", "{\"stage\":7,\"attempt\":2}", 6);
	event(&s, "task.stage.started", "{\"stage\":\"a\",\"attempt\":-1}", 6);
	event(&s, "task.stage.noted", "{\"stage\":\"a\",\"attempt\":2}", 6);
	ck_assert(want(&s, "a", 2));
	for (int i = 0; i < 2 * STAGES_MAX; i++) {
		char data[64];

		snprintf(data, sizeof(data), "{\"stage\":\"s%d\",\"attempt\":1}", i);
		event(&s, "task.stage.started", data, 7);
	}
	ck_assert_uint_eq(s.n, STAGES_MAX);
	stages_done(&s);
}
END_TEST

RUN_TESTS("edge: stages", only_the_newest_attempt_of_what_is_open,
	  what_is_newer_than_the_log_counts, an_end_ends_all, repeats_and_rubbish)
