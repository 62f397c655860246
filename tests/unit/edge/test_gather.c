/* When a reactor writes (services/edge/gather.h). */
#include "services/edge/gather.h"
#include "tests/unit/common/suite.h"

START_TEST(the_first_goes_at_once)
{
	struct gather g = {0};

	ck_assert_int_eq(gather_left_us(&g, 0), 0);
	ck_assert_int_eq(gather_left_us(&g, 1000000), 0);
}
END_TEST

START_TEST(the_next_waits_for_a_bounded_time)
{
	struct gather g = {0};

	gather_wrote(&g, GATHER_SOCKETS, 1000000);
	ck_assert_int_eq(gather_left_us(&g, 1000000), GATHER_US);
	ck_assert_int_eq(gather_left_us(&g, 1000000 + GATHER_US - 1), 1);
	ck_assert_int_eq(gather_left_us(&g, 1000000 + GATHER_US), 0);
	ck_assert_int_eq(gather_left_us(&g, 9000000), 0);
}
END_TEST

START_TEST(few_sockets_do_not_wait)
{
	struct gather g = {0};

	gather_wrote(&g, GATHER_SOCKETS - 1, 1000000);
	ck_assert_int_eq(gather_left_us(&g, 1000000), 0);
	gather_wrote(&g, GATHER_SOCKETS, 1000000);
	gather_wrote(&g, 1, 1000001); /* the end of the pause was few */
	ck_assert_int_eq(gather_left_us(&g, 1000002), 0);
}
END_TEST

START_TEST(much_for_one_socket_does_not_wait)
{
	struct gather g = {0};

	gather_wrote(&g, 1000, 1000000);
	gather_waits(&g, GATHER_BYTES);
	ck_assert_int_eq(gather_left_us(&g, 1000000), GATHER_US);
	gather_waits(&g, GATHER_BYTES + 1);
	ck_assert_int_eq(gather_left_us(&g, 1000000), 0);
}
END_TEST

RUN_TESTS("edge: gather", the_first_goes_at_once, the_next_waits_for_a_bounded_time,
	  few_sockets_do_not_wait, much_for_one_socket_does_not_wait)
