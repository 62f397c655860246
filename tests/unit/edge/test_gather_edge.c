/* The pause of docs/decisions/0033 in an edge with more sockets than GATHER_SOCKETS, and the one of
 * 0044 where many channels come, to the microsecond. */
#include <string.h>

#include "common/names.h"
#include "services/edge/gather.h"
#include "services/edge/surge.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/edge/one_edge.h"

static void publish(const char *data)
{
	publish_to("room.1", data);
}

START_TEST(many_sockets_gather)
{
	int64_t start;

	one_edge_begin(sizeof(fds) / sizeof(*fds));
	start = loop_now_us(loop);
	publish("\"one\"");
	run_until(start + ROAD_US);
	ck_assert_uint_eq(heard("\"one\"", NULL), n_fds); /* the first one at once */
	run_until(start + 1000);
	publish("\"two\"");
	run_until(start + 2000);
	publish("\"three\"");
	run_until(start + ROAD_US + GATHER_US - 1);
	ck_assert_uint_eq(heard(NULL, NULL), n_fds); /* nobody has anything */
	run_until(start + ROAD_US + GATHER_US);
	ck_assert_uint_eq(heard("\"two\"", "\"three\""), n_fds); /* both, in their order */
	/* That was a write to all of them again, and there was something to gather. */
	publish("\"four\"");
	run_until(start + ROAD_US + GATHER_US + GATHER_MORE_US - 1);
	ck_assert_uint_eq(heard(NULL, NULL), n_fds);
	run_until(start + ROAD_US + GATHER_US + GATHER_MORE_US);
	ck_assert_uint_eq(heard("\"four\"", NULL), n_fds);
	/* Behind a pause in which nothing came. */
	run_until(start + 10 * GATHER_US);
	publish("\"five\"");
	run_until(start + 10 * GATHER_US + ROAD_US);
	ck_assert_uint_eq(heard("\"five\"", NULL), n_fds);
	one_edge_end();
}
END_TEST

START_TEST(much_for_one_socket_does_not_wait)
{
	int64_t start;
	char large[400];

	one_edge_begin(GATHER_SOCKETS);
	start = loop_now_us(loop);
	publish("\"one\"");
	run_until(start + ROAD_US);
	memset(large, 'x', sizeof(large));
	large[0] = large[sizeof(large) - 2] = '"';
	large[sizeof(large) - 1] = 0;
	for (int i = 0; i < GATHER_BYTES / 400 + 1; i++)
		publish(large);
	publish("\"last\"");
	run_until(start + 2 * ROAD_US);
	ck_assert_uint_eq(heard("\"one\"", "\"last\""), n_fds);
	one_edge_end();
}
END_TEST

START_TEST(few_sockets_do_not_wait)
{
	int64_t start;

	one_edge_begin(GATHER_SOCKETS - 1);
	start = loop_now_us(loop);
	publish("\"one\"");
	run_until(start + ROAD_US);
	publish("\"two\"");
	run_until(start + 2 * ROAD_US);
	ck_assert_uint_eq(heard("\"one\"", "\"two\""), n_fds);
	one_edge_end();
}
END_TEST

/* In the window behind one that had many. */
static void begin_surge(void)
{
	int64_t start;

	one_edge_begin(1);
	start = loop_now_us(loop);
	for (unsigned i = 0; i < SURGE_MANY; i++)
		come_in("many", i, NULL);
	run_until(start + SURGE_US - 1);
	ck_assert_uint_eq(heard("\"subscribed\"", NULL), SURGE_MANY); /* at once */
	run_until(start + SURGE_US + SURGE_US / 2);
}

START_TEST(channels_of_a_surge_go_together)
{
	int64_t start;

	begin_surge();
	start = loop_now_us(loop);
	come_in("late", 1, NULL);
	run_until(start + SURGE_US / 2);
	come_in("late", 2, NULL);
	run_until(start + SURGE_US - 1);
	ck_assert_uint_eq(heard("\"connected\"", NULL), 2);
	run_until(start + SURGE_US + 10 * ROAD_US);
	ck_assert_uint_eq(heard("\"subscribed\"", NULL), 2);
	/* Two are no surge. */
	run_until(start + 3 * SURGE_US);
	come_in("late", 3, NULL);
	run_until(start + 3 * SURGE_US + SURGE_US / 2);
	ck_assert_uint_eq(heard("\"connected\"", "\"subscribed\""), 1);
	one_edge_end();
}
END_TEST

/* As a router that takes every command, and loses its answer. */
static void on_command(void *arg, const struct bus_msg *msg)
{
	(void)msg;
	publish_to(arg, "\"echo\"");
}

START_TEST(no_command_overtakes_its_clients_subscription)
{
	struct subject cmd = subject_cmd(part_of("acme", PARTS));
	struct bus_sub *router;
	struct error err;

	begin_surge();
	router = bus_subscribe(bus, cmd.text, NULL, on_command, (char *)"echo.1", &err);
	ck_assert_ptr_nonnull(router);
	come_in("echo", 1, NULL);
	say(fds[n_fds - 1], "{\"op\":\"publish\",\"id\":\"p\",\"channel\":\"echo.1\","
			    "\"type\":\"t\",\"data\":1}");
	run_until(loop_now_us(loop) + 10 * SURGE_US);
	ck_assert_uint_eq(heard("\"subscribed\"", "\"echo\""), 1);
	bus_unsubscribe(router);
	one_edge_end();
}
END_TEST

START_TEST(an_edge_ends_in_the_middle_of_a_surge)
{
	begin_surge();
	come_in("late", 1, NULL);
	run_until(loop_now_us(loop) + SURGE_US / 2);
	ck_assert_uint_eq(heard("\"connected\"", NULL), 1);
	one_edge_end();
}
END_TEST

RUN_TESTS("edge: gather, with sockets", many_sockets_gather, much_for_one_socket_does_not_wait,
	  few_sockets_do_not_wait, channels_of_a_surge_go_together,
	  no_command_overtakes_its_clients_subscription, an_edge_ends_in_the_middle_of_a_surge)
