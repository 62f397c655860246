/* When a reactor writes (services/edge/gather.h). */
#include "services/edge/gather.h"
#include "tests/unit/common/suite.h"

#define T 1000000

START_TEST(the_first_goes_at_once)
{
	struct gather g = {0};

	ck_assert_int_eq(gather_left_us(&g, 0), 0);
	ck_assert_int_eq(gather_left_us(&g, T), 0);
}
END_TEST

START_TEST(the_next_waits_from_the_beginning_of_the_last)
{
	struct gather g = {0};

	gather_wrote(&g, GATHER_SOCKETS, GATHER_SOCKETS, T, T + 4000);
	ck_assert_int_eq(gather_left_us(&g, T + 4000), GATHER_US - 4000);
	ck_assert_int_eq(gather_left_us(&g, T + GATHER_US - 1), 1);
	ck_assert_int_eq(gather_left_us(&g, T + GATHER_US), 0);
	ck_assert_int_eq(gather_left_us(&g, 9 * T), 0);
}
END_TEST

START_TEST(longer_where_there_is_something_to_gather)
{
	struct gather g = {0};

	gather_wrote(&g, 1000, 2000, T, T + 4000);
	ck_assert_int_eq(gather_left_us(&g, T), GATHER_MORE_US);
	/* Answers that go out with it are not that. */
	gather_wrote(&g, 1000, 1500, T, T + 4000);
	ck_assert_int_eq(gather_left_us(&g, T), GATHER_US);
}
END_TEST

START_TEST(a_long_write_is_followed_by_a_pause_too)
{
	struct gather g = {0};

	gather_wrote(&g, 5000, 5000, T, T + 40000);
	ck_assert_int_eq(gather_left_us(&g, T + 40000), 40000 / GATHER_SHARE);
}
END_TEST

START_TEST(few_sockets_do_not_wait)
{
	struct gather g = {0};

	gather_wrote(&g, GATHER_SOCKETS - 1, 10000, T, T);
	ck_assert_int_eq(gather_left_us(&g, T), 0);
	gather_wrote(&g, GATHER_SOCKETS, 10000, T, T);
	gather_wrote(&g, 1, 1, T + 1, T + 1); /* the end of the pause was few */
	ck_assert_int_eq(gather_left_us(&g, T + 2), 0);
}
END_TEST

START_TEST(much_for_one_socket_does_not_wait)
{
	struct gather g = {0};

	gather_wrote(&g, 1000, 1000, T, T);
	gather_waits(&g, GATHER_BYTES);
	ck_assert_int_eq(gather_left_us(&g, T), GATHER_US);
	gather_waits(&g, GATHER_BYTES + 1);
	ck_assert_int_eq(gather_left_us(&g, T), 0);
}
END_TEST

RUN_TESTS("edge: gather", the_first_goes_at_once, the_next_waits_from_the_beginning_of_the_last,
	  longer_where_there_is_something_to_gather, a_long_write_is_followed_by_a_pause_too,
	  few_sockets_do_not_wait, much_for_one_socket_does_not_wait)
