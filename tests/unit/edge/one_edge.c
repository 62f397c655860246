#include "tests/unit/edge/one_edge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/bus_fake.h"
#include "common/ids.h"
#include "common/topology.h"
#include "common/ws.h"
#include "services/edge/reactor.h"
#include "tests/unit/common/suite.h"

struct loop *loop;
static struct fake_broker *broker;
struct bus *bus;
uint64_t log_epoch;
static struct bus *edge_bus; /* the edge's */
static struct topology *topology;
static struct edge_conf conf;
static struct edge *edge;
int fds[300];
unsigned n_fds;

static struct bus *open_edge_bus(struct loop *l, const struct edge_conf *c, struct metrics *m,
				 struct error *err)
{
	(void)l;
	(void)c;
	(void)m;
	(void)err;
	edge_bus = bus_fake_open(broker, "edge");
	return edge_bus;
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
	log_epoch = epoch;
	sha256_hex("s3cret", 6, hash);
	snprintf(key, sizeof(key),
		 "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"%s\",\"scopes\":[\"subscribe\","
		 "\"publish\"]}",
		 hash);
	bus_put(bus, BUCKET_CONFIG, "tenant.acme", "{\"id\":\"acme\"}", 13, on_put, NULL);
	bus_put(bus, BUCKET_CONFIG, "key.k1", key, strlen(key), on_put, NULL);
}

void run_until(int64_t at_us)
{
	while (loop_sim_step(loop, at_us))
		;
	ck_assert_int_eq(loop_now_us(loop), at_us);
}

/* Masked as a client's must be; with zeros, which change nothing. */
void say(int fd, const char *text)
{
	size_t len = strlen(text);
	uint8_t frame[128] = {0x80 | WS_TEXT, (uint8_t)(0x80 | len)};

	ck_assert(len < 100);
	memcpy(frame + 6, text, len);
	ck_assert_int_eq(send(fd, frame, 6 + len, MSG_NOSIGNAL), 6 + len);
	loop_sim_touch(loop);
}

void come_in(const char *room, unsigned n, const char *after)
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
	snprintf(text, sizeof(text), "{\"op\":\"subscribe\",\"id\":\"s\",\"channel\":\"%s\"%s%s}",
		 channel, after ? ",\"after\":" : "", after ? after : "");
	say(pair[0], text);
}

/* How many sockets have got this text since they were read last, all that they got besides being
 * other events that are named as well; nothing: those that have got nothing. */
unsigned heard(const char *first, const char *second)
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

void event_of(Penstock__Event *e, const char *channel, const char *data)
{
	penstock__event__init(e);
	e->id = (char *)"018f0000-0000-7000-8000-000000000000";
	e->tenant = (char *)"acme";
	e->channel = (char *)channel;
	e->type = (char *)"cursor.move";
	e->version = 1;
	e->data = (ProtobufCBinaryData){strlen(data), (uint8_t *)data};
	e->time_us = loop_wall_us(loop);
}

static size_t pack(const char *channel, const char *data, uint8_t packed[static 512])
{
	Penstock__Event e;

	event_of(&e, channel, data);
	ck_assert_uint_lt(penstock__event__get_packed_size(&e), 512);
	return penstock__event__pack(&e, packed);
}

void publish_to(const char *channel, const char *data)
{
	struct subject s = subject_live(part_of("acme", PARTS), "acme", channel);
	struct error err;
	uint8_t packed[512];

	ck_assert_int_eq(bus_publish(bus, s.text, packed, pack(channel, data, packed), &err), 0);
}

void store_to(const char *channel, const char *data)
{
	struct subject s = subject_evt(part_of("acme", PARTS), "acme", channel);
	uint8_t packed[512];

	bus_store(bus, s.text, &(struct bus_store_opts){.expect_last_seq = -1}, packed,
		  pack(channel, data, packed), on_put, NULL);
}

void cut_off(bool cut)
{
	bus_fake_partition(edge_bus, cut);
}

void one_edge_begin(unsigned sockets)
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
		come_in("room", 1, NULL);
	run_until(loop_now_us(loop) + 1000000);
	ck_assert_uint_eq(heard("\"connected\"", "\"subscribed\""), sockets);
}

void one_edge_end(void)
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
