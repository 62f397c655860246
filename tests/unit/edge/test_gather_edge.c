/* The pause of docs/decisions/0033 in an edge with more sockets than GATHER_SOCKETS, and the one of
 * 0044 where many channels come, to the microsecond: on simulated time, with a fake broker and
 * socket pairs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bus_fake.h"
#include "common/ids.h"
#include "common/topology.h"
#include "common/ws.h"
#include "proto/event.pb-c.h"
#include "services/edge/reactor.h"
#include "services/edge/surge.h"
#include "tests/unit/common/suite.h"

#define PARTS   4
#define ROAD_US 2 /* of a message through the fake broker */

static struct loop *loop;
static struct fake_broker *broker;
static struct bus *bus;
static struct topology *topology;
static struct edge_conf conf;
static struct edge *edge;
static int fds[GATHER_SOCKETS + 44];
static unsigned n_fds;

static struct bus *open_edge_bus(struct loop *l, const struct edge_conf *c, struct metrics *m,
				 struct error *err)
{
	(void)l;
	(void)c;
	(void)m;
	(void)err;
	return bus_fake_open(broker, "edge");
}

static void on_put(void *arg, const struct bus_ack *ack)
{
	(void)arg;
	ck_assert_int_eq(ack->result, BUS_OK);
}

static void on_topology(void *arg, uint64_t epoch)
{
	char hash[65], key[200];

	(void)arg;
	(void)epoch;
	sha256_hex("s3cret", 6, hash);
	snprintf(key, sizeof(key),
		 "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"%s\",\"scopes\":[\"subscribe\","
		 "\"publish\"]}",
		 hash);
	bus_put(bus, BUCKET_CONFIG, "tenant.acme", "{\"id\":\"acme\"}", 13, on_put, NULL);
	bus_put(bus, BUCKET_CONFIG, "key.k1", key, strlen(key), on_put, NULL);
}

static void run_until(int64_t at_us)
{
	while (loop_sim_step(loop, at_us))
		;
	ck_assert_int_eq(loop_now_us(loop), at_us);
}

/* Masked as a client's must be; with zeros, which change nothing. */
static void say(int fd, const char *text)
{
	size_t len = strlen(text);
	uint8_t frame[128] = {0x80 | WS_TEXT, (uint8_t)(0x80 | len)};

	ck_assert(len < 100);
	memcpy(frame + 6, text, len);
	ck_assert_int_eq(send(fd, frame, 6 + len, MSG_NOSIGNAL), 6 + len);
	loop_sim_touch(loop);
}

/* Subscribes to the channel <room>.<n>. */
static void come_in(const char *room, unsigned n)
{
	char channel[32], text[100];
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	fds[n_fds++] = pair[0];
	atomic_fetch_add(&edge->connections, 1);
	reactor_accept(edge->reactors[0],
		       &(struct newcomer){.fd = pair[1], .token = xstrdup("pk_k1_s3cret")});
	snprintf(channel, sizeof(channel), "%s.%u", room, n);
	snprintf(text, sizeof(text), "{\"op\":\"subscribe\",\"id\":\"s\",\"channel\":\"%s\"}",
		 channel);
	say(pair[0], text);
}

/* How many sockets have got this text since they were read last, all that they got besides being
 * other events that are named as well; nothing: those that have got nothing. */
static unsigned heard(const char *first, const char *second)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_fds; i++) {
		char text[16384];
		ssize_t len = recv(fds[i], text, sizeof(text) - 1, 0);
		const char *one, *two;

		text[len > 0 ? len : 0] = 0;
		for (ssize_t at = 0; at < len; at++) /* frames' heads, and what may be a zero */
			text[at] = text[at] ? text[at] : ' ';
		one = first ? strstr(text, first) : NULL;
		two = second && one ? strstr(one, second) : one;
		n += first ? two != NULL : len < 0;
	}
	return n;
}

static void publish_to(const char *channel, const char *data)
{
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	struct error err;
	uint8_t packed[512];
	struct subject s = subject_live(part_of("acme", PARTS), "acme", channel);

	e.id = (char *)"018f0000-0000-7000-8000-000000000000";
	e.tenant = (char *)"acme";
	e.channel = (char *)channel;
	e.type = (char *)"cursor.move";
	e.version = 1;
	e.data = (ProtobufCBinaryData){strlen(data), (uint8_t *)data};
	e.time_us = loop_wall_us(loop);
	ck_assert_uint_lt(penstock__event__get_packed_size(&e), sizeof(packed));
	ck_assert_int_eq(bus_publish(bus, s.text, packed, penstock__event__pack(&e, packed), &err),
			 0);
}

static void publish(const char *data)
{
	publish_to("room.1", data);
}

static void setup(unsigned sockets)
{
	const struct topology_conf stream_conf = {.replicas = 1};
	struct error err = {0};

	loop = loop_new_sim(1700000000000000);
	broker = fake_broker_new(loop, 1);
	bus = bus_fake_open(broker, "plane");
	topology = topology_start(bus, loop, &stream_conf, on_topology, NULL);
	ck_assert_int_eq(env_load("PENSTOCK_EDGE_", edge_settings, edge_n_settings, &conf, &err),
			 0);
	free(conf.common.instance);
	free(conf.url);
	conf.common.instance = xstrdup("edge-1");
	conf.url = xstrdup("http://edge");
	conf.common.parts = PARTS;
	conf.reactors = 1;
	conf.io_uring = false; /* the same on every kernel */
	edge = edge_open_on(loop, 1, &conf, open_edge_bus, &err);
	ck_assert_msg(edge != NULL, "%s", err.msg);
	run_until(loop_now_us(loop) + 2000000);
	ck_assert(atomic_load(&edge->serving));
	for (unsigned i = 0; i < sockets; i++)
		come_in("room", 1);
	run_until(loop_now_us(loop) + 1000000);
	ck_assert_uint_eq(heard("\"connected\"", "\"subscribed\""), sockets);
}

static void teardown(void)
{
	while (n_fds)
		close(fds[--n_fds]);
	loop_sim_touch(loop);
	edge_free(edge);
	env_done(edge_settings, edge_n_settings, &conf);
	topology_stop(topology);
	bus_free(bus);
	fake_broker_free(broker);
	loop_free(loop);
}

START_TEST(many_sockets_gather)
{
	int64_t start;

	setup(sizeof(fds) / sizeof(*fds));
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
	teardown();
}
END_TEST

START_TEST(much_for_one_socket_does_not_wait)
{
	int64_t start;
	char large[400];

	setup(GATHER_SOCKETS);
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
	teardown();
}
END_TEST

START_TEST(few_sockets_do_not_wait)
{
	int64_t start;

	setup(GATHER_SOCKETS - 1);
	start = loop_now_us(loop);
	publish("\"one\"");
	run_until(start + ROAD_US);
	publish("\"two\"");
	run_until(start + 2 * ROAD_US);
	ck_assert_uint_eq(heard("\"one\"", "\"two\""), n_fds);
	teardown();
}
END_TEST

/* In the window behind one that had many. */
static void begin_surge(void)
{
	int64_t start;

	setup(1);
	start = loop_now_us(loop);
	for (unsigned i = 0; i < SURGE_MANY; i++)
		come_in("many", i);
	run_until(start + SURGE_US - 1);
	ck_assert_uint_eq(heard("\"subscribed\"", NULL), SURGE_MANY); /* at once */
	run_until(start + SURGE_US + SURGE_US / 2);
}

START_TEST(channels_of_a_surge_go_together)
{
	int64_t start;

	begin_surge();
	start = loop_now_us(loop);
	come_in("late", 1);
	run_until(start + SURGE_US / 2);
	come_in("late", 2);
	run_until(start + SURGE_US - 1);
	ck_assert_uint_eq(heard("\"connected\"", NULL), 2);
	run_until(start + SURGE_US + 10 * ROAD_US);
	ck_assert_uint_eq(heard("\"subscribed\"", NULL), 2);
	/* Two are no surge. */
	run_until(start + 3 * SURGE_US);
	come_in("late", 3);
	run_until(start + 3 * SURGE_US + SURGE_US / 2);
	ck_assert_uint_eq(heard("\"connected\"", "\"subscribed\""), 1);
	teardown();
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
	come_in("echo", 1);
	say(fds[n_fds - 1], "{\"op\":\"publish\",\"id\":\"p\",\"channel\":\"echo.1\","
			    "\"type\":\"t\",\"data\":1}");
	run_until(loop_now_us(loop) + 10 * SURGE_US);
	ck_assert_uint_eq(heard("\"subscribed\"", "\"echo\""), 1);
	bus_unsubscribe(router);
	teardown();
}
END_TEST

START_TEST(an_edge_ends_in_the_middle_of_a_surge)
{
	begin_surge();
	come_in("late", 1);
	run_until(loop_now_us(loop) + SURGE_US / 2);
	ck_assert_uint_eq(heard("\"connected\"", NULL), 1);
	teardown();
}
END_TEST

RUN_TESTS("edge: gather, with sockets", many_sockets_gather, much_for_one_socket_does_not_wait,
	  few_sockets_do_not_wait, channels_of_a_surge_go_together,
	  no_command_overtakes_its_clients_subscription, an_edge_ends_in_the_middle_of_a_surge)
