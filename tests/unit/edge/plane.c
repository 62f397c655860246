#include "tests/unit/edge/plane.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_nats.h"
#include "common/ids.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "common/topology.h"
#include "proto/command.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/lease.pb-c.h"

struct asked { /* a publish on its way into the stream */
	struct plane *plane;
	char *reply, channel[CHANNEL_MAX + 1];
	struct id id;
	Penstock__LeaseReply lease;
	bool leases;
};

static void tell(struct plane *p, const char *subject, const void *data, size_t len)
{
	struct error err = {0};

	if (bus_publish(p->bus, subject, data, len, &err))
		fprintf(stderr, "plane: %s: %s\n", subject, err.msg); /* the edge's time runs out */
}

static void answer(struct plane *p, const char *reply, const Penstock__Reply *r)
{
	size_t len = penstock__reply__get_packed_size(r);
	void *data = xmalloc(len + 1);

	penstock__reply__pack(r, data);
	tell(p, reply, data, len);
	free(data);
}

static void acknowledge(struct plane *p, const struct asked *a, uint64_t offset, bool duplicate)
{
	Penstock__Reply reply = PENSTOCK__REPLY__INIT;
	Penstock__Accepted ok = PENSTOCK__ACCEPTED__INIT;

	ok.event_id = (char *)a->id.text;
	ok.channel = (char *)a->channel;
	ok.offset = offset;
	ok.duplicate = duplicate;
	reply.body_case = PENSTOCK__REPLY__BODY_ACCEPTED;
	reply.accepted = &ok;
	if (a->leases)
		reply.lease = (Penstock__LeaseReply *)&a->lease;
	answer(p, a->reply, &reply);
}

static void refuse(struct plane *p, const char *to)
{
	Penstock__Reply reply = PENSTOCK__REPLY__INIT;
	Penstock__Refused no = PENSTOCK__REFUSED__INIT;

	no.code = (char *)"unavailable";
	no.message = (char *)"not in this test";
	reply.body_case = PENSTOCK__REPLY__BODY_REFUSED;
	reply.refused = &no;
	answer(p, to, &reply);
}

static void on_stored(void *arg, const struct bus_ack *ack)
{
	struct asked *a = arg;
	int room;

	if (ack->result == BUS_OK) {
		if (sscanf(a->channel, "room.%d", &room) == 1 && room < PLANE_CHANNELS)
			atomic_fetch_add(&a->plane->stored[room], 1);
		acknowledge(a->plane, a, ack->seq, ack->duplicate);
	} else {
		refuse(a->plane, a->reply);
	}
	free(a->reply);
	free(a);
}

static void publish(struct plane *p, const Penstock__Command *c, struct asked *a)
{
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	unsigned part = part_of(c->tenant, NAMES_PARTS_DEFAULT);
	struct bus_store_opts opts = {
	    .msg_id = a->id.text, .expect_last_seq = -1, .timeout_ms = 20000};
	size_t len;
	void *data;

	e.id = a->id.text;
	e.tenant = c->tenant;
	e.channel = c->publish->channel;
	e.type = c->publish->type;
	e.version = 1;
	e.data = c->publish->data;
	e.time_us = loop_wall_us(p->loop);
	e.trace = c->trace;
	len = penstock__event__get_packed_size(&e);
	data = xmalloc(len);
	penstock__event__pack(&e, data);
	if (!strncmp(e.channel, "eph", 3)) {
		tell(p, subject_live(part, e.tenant, e.channel).text, data, len);
		acknowledge(p, a, 0, false);
		free(a->reply);
		free(a);
	} else {
		bus_store(p->bus, subject_evt(part, e.tenant, e.channel).text, &opts, data, len,
			  on_stored, a);
	}
	free(data);
}

/* As much as is wanted. */
static Penstock__LeaseReply grant(const Penstock__LeaseRequest *r)
{
	Penstock__LeaseReply g = PENSTOCK__LEASE_REPLY__INIT;

	g.id = r->last + 1;
	g.events = r->events_wanted;
	g.bytes = r->bytes_wanted;
	g.ttl_ms = 1000;
	g.data_max = 1000;
	return g;
}

static void on_command(void *arg, const struct bus_msg *msg)
{
	struct plane *p = arg;
	Penstock__Command *c = penstock__command__unpack(NULL, msg->len, msg->data);

	if (c && c->body_case == PENSTOCK__COMMAND__BODY_PUBLISH) {
		struct asked *a = xcalloc(1, sizeof(*a));

		a->plane = p;
		a->reply = xstrdup(msg->reply);
		a->id = id_new(&p->rng, loop_wall_us(p->loop));
		snprintf(a->channel, sizeof(a->channel), "%s", c->publish->channel);
		a->leases = c->lease != NULL;
		if (a->leases)
			a->lease = grant(c->lease);
		publish(p, c, a);
	} else {
		refuse(p, msg->reply);
	}
	if (c)
		penstock__command__free_unpacked(c, NULL);
}

static void on_lease(void *arg, const struct bus_msg *msg)
{
	struct plane *p = arg;
	Penstock__LeaseRequest *r = penstock__lease_request__unpack(NULL, msg->len, msg->data);
	Penstock__LeaseReply g = grant(r);
	uint8_t packed[64];

	tell(p, msg->reply, packed, penstock__lease_reply__pack(&g, packed));
	penstock__lease_request__free_unpacked(r, NULL);
}

static void on_put(void *arg, const struct bus_ack *ack)
{
	struct plane *p = arg;

	if (ack->result == BUS_OK && ++p->put == 3)
		atomic_store(&p->ready, true);
}

static void on_topology(void *arg, uint64_t epoch)
{
	struct plane *p = arg;
	const char *tenant = "{\"id\":\"acme\"}";
	const char *type = "{\"tenant\":\"acme\",\"type\":\"pulse\",\"class\":\"ephemeral\","
			   "\"versions\":{\"1\":{}}}";
	char hash[65], key[300];

	(void)epoch;
	sha256_hex("s3cret", 6, hash);
	snprintf(key, sizeof(key),
		 "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"%s\",\"scopes\":[\"publish\","
		 "\"subscribe\",\"task\"]}",
		 hash);
	bus_put(p->bus, BUCKET_CONFIG, "tenant.acme", tenant, strlen(tenant), on_put, p);
	bus_put(p->bus, BUCKET_CONFIG, "key.k1", key, strlen(key), on_put, p);
	bus_put(p->bus, BUCKET_CONFIG, "type.acme.pulse", type, strlen(type), on_put, p);
}

static void *plane_thread(void *arg)
{
	struct plane *p = arg;
	const struct topology_conf conf = {.replicas = 1};
	const struct bus_nats_conf nats = {.url = p->url, .name = "plane"};
	struct bus_sub *sub, *leases;
	struct error err;

	p->bus = bus_nats_open(p->loop, &nats, &err);
	sub = bus_subscribe(p->bus, "pen.cmd.>", NULL, on_command, p, &err);
	leases = bus_subscribe(p->bus, "pen.lease.events.>", NULL, on_lease, p, &err);
	p->topology = topology_start(p->bus, p->loop, &conf, on_topology, p);
	loop_run(p->loop);
	topology_stop(p->topology);
	bus_unsubscribe(leases);
	bus_unsubscribe(sub);
	bus_free(p->bus);
	return NULL;
}

void plane_start(struct plane *p, int nats_port)
{
	struct error err;

	memset(p, 0, sizeof(*p));
	snprintf(p->url, sizeof(p->url), "nats://127.0.0.1:%d", nats_port);
	rng_seed(&p->rng, 1);
	p->loop = loop_new(&err);
	ck_assert(p->loop);
	ck_assert_int_eq(pthread_create(&p->thread, NULL, plane_thread, p), 0);
	for (int i = 0; i < 6000 && !atomic_load(&p->ready); i++)
		poll(NULL, 0, 5);
	ck_assert_msg(atomic_load(&p->ready), "nats-server did not make the streams");
}

void plane_stop(struct plane *p)
{
	loop_stop(p->loop);
	pthread_join(p->thread, NULL);
	loop_free(p->loop);
}
