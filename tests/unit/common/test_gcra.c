/* Exact times of the rate limiter. */
#include <stdlib.h>

#include "common/gcra.h"
#include "tests/unit/common/suite.h"

#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)

START_TEST(burst_then_rate)
{
	struct gcra g = {0};
	int64_t now = 5 * S;
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 1, now), 0);
		gcra_take(&g, 10, 1, now);
	}
	/* 10 a second: the next one in exactly 100 ms. */
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 1, now), 100 * MS);
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 1, now + 30 * MS), 70 * MS);
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 1, now + 100 * MS - 1), 1);
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 1, now + 100 * MS), 0);
	/* Three at once have to wait for three. */
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 3, now), 300 * MS);
}
END_TEST

START_TEST(asking_changes_nothing)
{
	struct gcra g = {.tat_ns = 7 * S};
	gcra_wait_ns(&g, 10, 20, 1, 6 * S);
	ck_assert_int_eq(g.tat_ns, 7 * S);
}
END_TEST

START_TEST(full_again_after_a_pause)
{
	struct gcra g = {0};
	for (int i = 0; i < 20; i++)
		gcra_take(&g, 10, 1, 0);
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 20, 2 * S), 0);
	/* A long pause saves up no more than the burst. */
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 20, 100 * S), 0);
	gcra_take(&g, 10, 20, 100 * S);
	ck_assert_int_eq(gcra_wait_ns(&g, 10, 20, 1, 100 * S), 100 * MS);
}
END_TEST

START_TEST(larger_than_the_burst)
{
	struct gcra g = {0};
	ck_assert_int_eq(gcra_wait_ns(&g, 1000, 1000, 5000, 0), 0);
	gcra_take(&g, 1000, 5000, 0);
	/* 5 s are owed; one more byte fits when all but the burst's second less that byte is paid.
	 */
	ck_assert_int_eq(gcra_wait_ns(&g, 1000, 1000, 1, 0), 4 * S + MS);
	/* Another large one waits for a full bucket. */
	ck_assert_int_eq(gcra_wait_ns(&g, 1000, 1000, 5000, 0), 5 * S);
}
END_TEST

START_TEST(never_faster_than_the_rate)
{
	/* 3 a second does not divide a second: rounding must go against the sender. */
	struct gcra g = {0};
	int64_t now = 0, passed = 0;
	while (now < 100 * S) {
		int64_t wait = gcra_wait_ns(&g, 3, 1, 1, now);
		if (wait == 0) {
			gcra_take(&g, 3, 1, now);
			passed++;
		}
		now += wait;
	}
	ck_assert_int_le(passed, 301);
	ck_assert_int_ge(passed, 299);
}
END_TEST

/* What is left passes, and not one more. */
START_TEST(left)
{
	struct gcra g = {0};
	ck_assert_int_eq(gcra_left(&g, 10, 20, 0), 20);
	ck_assert_int_eq(gcra_left(&g, 0, 0, 0), INT64_MAX);
	for (int64_t rate = 1; rate < 4000; rate += 7)
		for (int64_t burst = 1; burst < 3000; burst += 97) {
			g.tat_ns = 0;
			int64_t now = 10 * S + rate * 12345 + burst;
			for (int k = 0; k < 5; k++, now += 1234567) {
				int64_t n = gcra_left(&g, rate, burst, now);
				ck_assert_int_le(n, burst);
				ck_assert(n == 0 || gcra_wait_ns(&g, rate, burst, n, now) == 0);
				ck_assert(n == burst ||
					  gcra_wait_ns(&g, rate, burst, n + 1, now) > 0);
				gcra_take(&g, rate, n / 2 + 1, now);
			}
		}
}
END_TEST

START_TEST(giving_back)
{
	struct gcra g = {0};
	gcra_take(&g, 10, 15, 10 * S);
	gcra_give(&g, 10, 5);
	ck_assert_int_eq(gcra_left(&g, 10, 20, 10 * S), 10);
	gcra_give(&g, 10, 0);
	gcra_give(&g, 10, -3);
	gcra_give(&g, 0, 100);
	ck_assert_int_eq(gcra_left(&g, 10, 20, 10 * S), 10);
	gcra_give(&g, 10, INT64_MAX);
	ck_assert_int_eq(gcra_left(&g, 10, 20, 10 * S), 20);
	ck_assert_int_eq(g.tat_ns, 0);
}
END_TEST

START_TEST(no_limit)
{
	struct gcra g = {0};
	gcra_take(&g, 0, 1000000, 0);
	ck_assert_int_eq(gcra_wait_ns(&g, 0, 0, 1000000, 0), 0);
	ck_assert_int_eq(g.tat_ns, 0);
}
END_TEST

START_TEST(no_overflow)
{
	struct gcra g = {0};
	for (int i = 0; i < 10; i++)
		gcra_take(&g, 1, INT64_MAX, INT64_MAX / 2);
	ck_assert_int_eq(g.tat_ns, INT64_MAX);
	ck_assert_int_gt(gcra_wait_ns(&g, 1, INT64_MAX, 1, 0), 0);
	ck_assert_int_gt(gcra_wait_ns(&g, INT64_MAX, 1, 1, 0), 0);
}
END_TEST

RUN_TESTS("gcra", burst_then_rate, asking_changes_nothing, full_again_after_a_pause,
	  larger_than_the_burst, never_faster_than_the_rate, left, giving_back, no_limit,
	  no_overflow)
