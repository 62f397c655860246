/* Subscribing to a log while it begins: whatever comes when, the answer is there, and each event
 * behind it once. */
#include <stdio.h>

#include "common/loop.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/edge/one_edge.h"

#define MOMENTS 40 /* microseconds: by then the answer is there */

/* The first event is stored so long after the question came. */
static void first_event_comes(unsigned us, const char *after)
{
	int64_t start = loop_now_us(loop);
	char channel[32];

	snprintf(channel, sizeof(channel), "new.%u", us);
	come_in("new", us, after);
	run_until(start + us);
	store_to(channel, "\"one\"");
	run_until(start + 10000);
	ck_assert_msg(heard("\"subscribed\"", "\"one\"") == 1, "%u us", us);
	store_to(channel, "\"two\"");
	run_until(start + 20000);
	ck_assert_msg(heard("\"two\"", NULL) == 1, "%u us", us);
}

START_TEST(a_log_begins_while_somebody_subscribes_from_its_beginning)
{
	one_edge_begin(0);
	for (unsigned us = 0; us < MOMENTS; us++)
		first_event_comes(us, "{\"offset\":0}");
	one_edge_end();
}
END_TEST

RUN_TESTS("edge: subscribe, with a socket",
	  a_log_begins_while_somebody_subscribes_from_its_beginning)
