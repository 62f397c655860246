/* When the bus is told of new channels (services/edge/surge.h). */
#include "services/edge/surge.h"
#include "tests/unit/common/suite.h"

#define T 1000000

static void come(struct surge *s, unsigned n, int64_t at_us)
{
	while (n--)
		(void)surge_left_us(s, at_us);
}

START_TEST(one_client_waits_for_nothing)
{
	struct surge s = {0};

	for (int i = 0; i < 128; i++)
		ck_assert_int_eq(surge_left_us(&s, T), 0);
	/* And the next one does not because of it, a moment later. */
	ck_assert_int_eq(surge_left_us(&s, T + 2 * SURGE_US), 0);
}
END_TEST

START_TEST(in_a_surge_a_window_goes_together)
{
	struct surge s = {0};

	come(&s, SURGE_MANY, T);
	ck_assert_int_eq(surge_left_us(&s, T + SURGE_US + 10), SURGE_US);
	ck_assert_int_eq(surge_left_us(&s, T + SURGE_US + 1010), SURGE_US - 1000);
	ck_assert_int_eq(surge_left_us(&s, T + 2 * SURGE_US + 9), 1);
}
END_TEST

START_TEST(fewer_are_no_surge)
{
	struct surge s = {0};

	come(&s, SURGE_MANY - 1, T);
	ck_assert_int_eq(surge_left_us(&s, T + SURGE_US), 0);
}
END_TEST

START_TEST(it_ends_with_the_window_that_had_few)
{
	struct surge s = {0};

	come(&s, SURGE_MANY, T);
	come(&s, SURGE_MANY - 1, T + SURGE_US);
	ck_assert_int_eq(surge_left_us(&s, T + 2 * SURGE_US), 0);
}
END_TEST

START_TEST(a_pause_ends_it)
{
	struct surge s = {0};

	come(&s, 1000, T);
	come(&s, 1000, T + SURGE_US);
	ck_assert_int_eq(surge_left_us(&s, T + 3 * SURGE_US), 0);
}
END_TEST

static void join(struct surge *s, unsigned n)
{
	while (n--)
		surge_joined(s);
}

/* However late it goes, it is the window before the one that comes then. */
START_TEST(who_joined_those_that_waited_counts_in_their_window)
{
	struct surge s = {0};
	int64_t late = T + 4 * SURGE_US;

	come(&s, SURGE_MANY, T);
	come(&s, 1, T + SURGE_US);
	join(&s, SURGE_MANY - 1);
	surge_went(&s, late);
	ck_assert_int_eq(surge_left_us(&s, late + 100), SURGE_US - 100);
	join(&s, SURGE_MANY - 2);
	surge_went(&s, late + SURGE_US);
	ck_assert_int_eq(surge_left_us(&s, late + SURGE_US), 0);
}
END_TEST

RUN_TESTS("edge: surge", one_client_waits_for_nothing, in_a_surge_a_window_goes_together,
	  fewer_are_no_surge, it_ends_with_the_window_that_had_few, a_pause_ends_it,
	  who_joined_those_that_waited_counts_in_their_window)
