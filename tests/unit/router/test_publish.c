/* Events through a whole router: answers, idempotency, failures of the broker. */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/router/world.h"

static struct world w;

static void setup(void)
{
	world_init(&w);
	world_router(&w, 0);
}

static void teardown(void)
{
	world_done(&w);
}

START_TEST(durable)
{
	struct order o;
	order_publish(&w, &o, "order-1", "{\"text\":\"hi\"}");
	struct answer a = world_ask(&w, &o);
	ck_assert(a.accepted);
	ck_assert(!a.duplicate);
	ck_assert_uint_gt(a.offset, 0);
	ck_assert_uint_eq(a.epoch, w.epoch);
	ck_assert_str_eq(a.channel, "room.1");
	ck_assert_str_eq(a.task, "");
	ck_assert_str_eq(a.event_id, id_derive("acme", "event", "order-1").text);
	uint64_t seq;
	Penstock__Event *e = world_last(&w, "room.1", &seq);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(seq, a.offset);
	ck_assert_str_eq(e->id, a.event_id);
	ck_assert_str_eq(e->tenant, "acme");
	ck_assert_str_eq(e->channel, "room.1");
	ck_assert_str_eq(e->type, "note");
	ck_assert_uint_eq(e->version, 1);
	ck_assert_mem_eq(e->data.data, "{\"text\":\"hi\"}", e->data.len);
	ck_assert_int_le(e->time_us, loop_wall_us(w.loop));
	ck_assert_int_gt(e->time_us, loop_wall_us(w.loop) - 1000000);
	ck_assert_str_eq(e->trace, o.cmd.trace);
	ck_assert_str_eq(e->key, "order-1");
	ck_assert_uint_ne(e->digest, 0);
	ck_assert_str_eq(e->session, "session-1");
	ck_assert_str_eq(e->router, "router-a");
	ck_assert_str_eq(e->command, o.id);
	ck_assert_str_eq(e->principal, "key-1");
	ck_assert_uint_eq(e->depth, 2);
	penstock__event__free_unpacked(e, NULL);
}
END_TEST

START_TEST(without_a_key_each_is_new)
{
	struct answer a = world_publish(&w, "", "1"), b = world_publish(&w, "", "1");
	ck_assert(a.accepted && b.accepted && !b.duplicate);
	ck_assert_str_ne(a.event_id, b.event_id);
	ck_assert_uint_gt(b.offset, a.offset);
}
END_TEST

struct heard {
	int n;
	char id[64];
	char stream[32];
};

static void hear(void *arg, const struct bus_msg *msg)
{
	struct heard *h = arg;
	Penstock__Event *e = penstock__event__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(e);
	strcpy(h->id, e->id);
	strcpy(h->stream, msg->stream);
	h->n++;
	penstock__event__free_unpacked(e, NULL);
}

START_TEST(ephemeral)
{
	struct heard h = {0};
	struct error err;
	struct subject s = subject_live(w.part, "acme", "room.1");
	struct bus_sub *sub = bus_subscribe(w.client, s.text, NULL, hear, &h, &err);
	ck_assert_ptr_nonnull(sub);
	struct order o;
	order_publish(&w, &o, "", "{\"x\":1}");
	o.publish.type = (char *)"cursor";
	struct answer a = world_ask(&w, &o);
	ck_assert(a.accepted);
	ck_assert_uint_eq(a.offset, 0);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 1);
	ck_assert_str_eq(h.id, a.event_id);
	ck_assert_str_eq(h.stream, "");
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 0);
	bus_unsubscribe(sub);
}
END_TEST

START_TEST(repeat_from_memory)
{
	struct answer a = world_publish(&w, "k", "{\"a\":1}");
	struct answer b = world_publish(&w, "k", "{\"a\":1}");
	struct answer c = world_publish(&w, "k", "{\"a\":2}");
	ck_assert(a.accepted && !a.duplicate && b.accepted && b.duplicate);
	ck_assert_str_eq(b.event_id, a.event_id);
	ck_assert_str_eq(b.channel, a.channel);
	ck_assert_uint_eq(b.offset, a.offset);
	ck_assert(!c.accepted && !c.temporary);
	ck_assert_str_eq(c.code, "conflict");
	ck_assert_int_eq(metric_get(w.router[0]->stats.recent_hits), 2);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
}
END_TEST

START_TEST(repeat_from_the_stream)
{
	struct answer a = world_publish(&w, "k", "{\"a\":1}");
	recent_clear(w.router[0]->recent);
	struct answer b = world_publish(&w, "k", "{\"a\":1}");
	ck_assert(b.accepted && b.duplicate);
	ck_assert_uint_eq(b.offset, a.offset);
	ck_assert_str_eq(b.event_id, a.event_id);
	recent_clear(w.router[0]->recent);
	struct answer c = world_publish(&w, "k", "{\"a\":2}");
	ck_assert_str_eq(c.code, "conflict");
	ck_assert_int_eq(metric_get(w.router[0]->stats.recent_hits), 0);
	/* What was read is remembered. */
	ck_assert_uint_eq(world_publish(&w, "k", "{\"a\":1}").offset, a.offset);
	ck_assert_int_eq(metric_get(w.router[0]->stats.recent_hits), 1);
}
END_TEST

/* What the key stands for is more than the data. */
START_TEST(conflict_in_each_member)
{
	struct order o;
	world_publish(&w, "k", "1");
	order_publish(&w, &o, "k", "1");
	o.publish.channel = (char *)"room.2";
	ck_assert_str_eq(world_ask(&w, &o).code, "conflict");
	order_publish(&w, &o, "k", "1");
	o.publish.version = 1;
	ck_assert_str_eq(world_ask(&w, &o).code, "conflict");
	world_put(&w, "type.acme.other",
		  "{\"tenant\":\"acme\",\"type\":\"other\",\"class\":\"durable\",\"latest\":1,"
		  "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}");
	order_publish(&w, &o, "k", "1");
	o.publish.type = (char *)"other";
	ck_assert_str_eq(world_ask(&w, &o).code, "conflict");
}
END_TEST

/* Two at once, through one router and through two: one event; one is new, the other a repeat. */
static void race(int first, int second, const char *data)
{
	world_faults(&w, (struct fake_faults){.delay_min_us = 100, .delay_max_us = 5000});
	for (int i = 0; i < 20; i++) {
		char key[16];
		struct order x, y;
		struct answer a, b;
		snprintf(key, sizeof(key), "race-%d", i);
		order_publish(&w, &x, key, "1");
		order_publish(&w, &y, key, data);
		world_send_to(&w, first, &x, &a);
		world_send_to(&w, second, &y, &b);
		world_until(&w, &a.came);
		world_until(&w, &b.came);
		if (strcmp(data, "1") == 0) {
			ck_assert(a.accepted && b.accepted);
			ck_assert_int_eq(a.duplicate + b.duplicate, 1);
			ck_assert_uint_eq(a.offset, b.offset);
			ck_assert_str_eq(a.event_id, b.event_id);
		} else {
			ck_assert_int_eq(a.accepted + b.accepted, 1);
			ck_assert_str_eq(a.accepted ? b.code : a.code, "conflict");
		}
		ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), (uint64_t)i + 1);
	}
}

START_TEST(two_at_once)
{
	race(0, 0, "1");
}
END_TEST

START_TEST(two_at_once_two_routers)
{
	world_router(&w, 1);
	race(0, 1, "1");
}
END_TEST

START_TEST(two_at_once_conflict)
{
	race(0, 0, "2");
}
END_TEST

START_TEST(two_at_once_conflict_two_routers)
{
	world_router(&w, 1);
	race(1, 0, "2");
}
END_TEST

START_TEST(lost_acknowledgement)
{
	struct order o;
	order_publish(&w, &o, "k", "1");
	world_faults(&w, (struct fake_faults){.lose_ack = 1});
	struct answer a = world_ask(&w, &o);
	ck_assert_int_eq(a.result, BUS_OK);
	ck_assert_str_eq(a.code, "unavailable");
	ck_assert(a.temporary);
	ck_assert_uint_gt(a.retry_after_ms, 0);
	world_faults(&w, (struct fake_faults){0});
	/* Another command with the key: a repeat. The very same one: it made the event. */
	struct answer b = world_publish(&w, "k", "1");
	ck_assert(b.accepted && b.duplicate);
	struct answer c = world_ask(&w, &o);
	ck_assert(c.accepted && !c.duplicate);
	ck_assert_uint_eq(b.offset, c.offset);
	recent_clear(w.router[0]->recent);
	ck_assert(!world_ask(&w, &o).duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
	ck_assert_uint_eq(router_inflight(w.router[0]), 0);
}
END_TEST

START_TEST(lost_store)
{
	world_faults(&w, (struct fake_faults){.lose_store = 1});
	ck_assert_str_eq(world_publish(&w, "k", "1").code, "unavailable");
	world_faults(&w, (struct fake_faults){0});
	struct answer a = world_publish(&w, "k", "1");
	ck_assert(a.accepted && !a.duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
}
END_TEST

/* The dedupe window knows the id, but the event itself is archived: never acknowledged unread. */
static void trimmed(void *arg, enum bus_result result)
{
	ck_assert_int_eq(result, BUS_OK);
	*(bool *)arg = true;
}

START_TEST(trimmed_before_the_repeat)
{
	bool done = false;
	struct answer a = world_publish(&w, "k", "1");
	bus_stream_trim(w.client, STREAM_EVENTS, a.offset + 1, trimmed, &done);
	world_until(&w, &done);
	recent_clear(w.router[0]->recent);
	ck_assert_str_eq(world_publish(&w, "k", "1").code, "conflict");
}
END_TEST

START_TEST(log_full)
{
	world_bound(&w, STREAM_EVENTS, "pen.evt.>", false, 1);
	struct answer a = world_publish(&w, "k", "1");
	ck_assert_str_eq(a.code, "overloaded");
	ck_assert(a.temporary);
	ck_assert_uint_gt(a.retry_after_ms, 0);
	world_bound(&w, STREAM_EVENTS, "pen.evt.>", false, 1 << 20);
	ck_assert(world_publish(&w, "k", "1").accepted);
}
END_TEST

START_TEST(too_many_in_flight)
{
	world_crash(&w, 0);
	w.conf.inflight_max = 2;
	world_router(&w, 0);
	world_faults(&w, (struct fake_faults){.delay_min_us = 1000, .delay_max_us = 1000});
	struct order o[3];
	struct answer a[3];
	for (int i = 0; i < 3; i++) {
		order_publish(&w, &o[i], "", "1");
		world_send_to(&w, 0, &o[i], &a[i]);
	}
	for (int i = 0; i < 3; i++)
		world_until(&w, &a[i].came);
	ck_assert(a[0].accepted && a[1].accepted);
	ck_assert_str_eq(a[2].code, "overloaded");
	ck_assert_uint_gt(a[2].retry_after_ms, 0);
	ck_assert(world_publish(&w, "", "1").accepted);
}
END_TEST

START_TEST(limits)
{
	world_tenant(&w, "\"events_per_s\":10,\"burst\":2");
	ck_assert(world_publish(&w, "", "1").accepted);
	ck_assert(world_publish(&w, "", "1").accepted);
	struct answer a = world_publish(&w, "", "1");
	ck_assert_str_eq(a.code, "rate_limited");
	ck_assert_str_eq(a.limit, "tenant.events_per_s");
	ck_assert_uint_gt(a.retry_after_ms, 50);
	ck_assert_uint_le(a.retry_after_ms, 100);
	world_run(&w, (int64_t)a.retry_after_ms * 1000);
	ck_assert(world_publish(&w, "", "1").accepted);
	ck_assert_int_eq(metric_get(w.router[0]->stats.limited[ADMIT_LIMIT_EVENTS][0]), 1);
	world_tenant(&w, "\"events_per_s\":10,\"burst\":2,\"mode\":\"shadow\"");
	for (int i = 0; i < 5; i++)
		ck_assert(world_publish(&w, "", "1").accepted);
	ck_assert_int_gt(metric_get(w.router[0]->stats.limited[ADMIT_LIMIT_EVENTS][1]), 0);
}
END_TEST

/* --- what cannot be read --------------------------------------------------------------------- */

static void raw_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct answer *a = arg;
	a->came = true;
	ck_assert_int_eq(result, BUS_OK);
	Penstock__Reply *r = penstock__reply__unpack(NULL, msg->len, msg->data);
	ck_assert_int_eq(r->body_case, PENSTOCK__REPLY__BODY_REFUSED);
	strcpy(a->code, r->refused->code);
	penstock__reply__free_unpacked(r, NULL);
}

static void raw(const void *data, size_t len, const char *code)
{
	struct answer a = {0};
	struct subject s = subject_cmd(w.part);
	bus_request(w.client, s.text, data, len, 1000, raw_answer, &a);
	world_until(&w, &a.came);
	ck_assert_str_eq(a.code, code);
}

START_TEST(malformed)
{
	raw("\xff\xff\xff\xff", 4, "bad_request");
	raw("", 0, "bad_request");
	raw("\x52\x05\x0a", 3, "bad_request"); /* a publish that ends too early */
	ck_assert_int_eq(metric_get(w.router[0]->stats.malformed), 2);
	char *large = calloc(1, 1 << 20);
	raw(large, (size_t)1 << 20, "too_large");
	free(large);
}
END_TEST

START_TEST(wrong_part)
{
	struct order o;
	struct answer a = {0};
	uint8_t buf[1024];
	order_publish(&w, &o, "", "1");
	size_t len = penstock__command__pack(&o.cmd, buf);
	struct subject s = subject_cmd((w.part + 1) % w.conf.parts);
	bus_request(w.client, s.text, buf, len, 1000, raw_answer, &a);
	world_until(&w, &a.came);
	ck_assert_str_eq(a.code, "bad_request");
}
END_TEST

START_TEST(refusals)
{
	struct order o;
	order_publish(&w, &o, "", "1");
	o.cmd.tenant = (char *)"nobody";
	struct subject s = subject_cmd(part_of("nobody", w.conf.parts));
	uint8_t buf[1024];
	struct answer a = {0};
	bus_request(w.client, s.text, buf, penstock__command__pack(&o.cmd, buf), 1000, raw_answer,
		    &a);
	world_until(&w, &a.came);
	ck_assert_str_eq(a.code, "forbidden");
	order_publish(&w, &o, "", "1");
	o.publish.type = (char *)"unheard";
	ck_assert_str_eq(world_ask(&w, &o).code, "unknown_type");
	order_publish(&w, &o, "", "1");
	o.publish.channel = (char *)"task.1";
	ck_assert_str_eq(world_ask(&w, &o).code, "forbidden");
	ck_assert_str_eq(world_publish(&w, "", "{").code, "bad_request");
}
END_TEST

/* A new life of the stream: nothing that is remembered of the old one is told any more. */
START_TEST(new_epoch)
{
	struct answer a = world_publish(&w, "k", "1");
	w.router[0]->conf.epoch = 1;
	bus_fake_partition(w.bus[0], true);
	world_run(&w, 100000);
	bus_fake_partition(w.bus[0], false);
	world_run(&w, 100000);
	ck_assert_uint_eq(w.router[0]->conf.epoch, w.epoch);
	ck_assert_uint_eq(recent_count(w.router[0]->recent), 0);
	struct answer b = world_publish(&w, "k", "1");
	ck_assert(b.duplicate);
	ck_assert_uint_eq(b.offset, a.offset);
}
END_TEST

/* Losses of every kind, and a client that repeats until it is told: each key is one event, in the
 * end. */
START_TEST(faults)
{
	enum { KEYS = 60 };
	uint64_t offsets[KEYS] = {0};
	world_router(&w, 1);
	world_faults(&w, (struct fake_faults){.lose_core = 0.05,
					      .duplicate_core = 0.05,
					      .lose_ack = 0.1,
					      .lose_store = 0.1,
					      .delay_min_us = 50,
					      .delay_max_us = 3000});
	for (int k = 0; k < KEYS; k++) {
		char key[16];
		snprintf(key, sizeof(key), "key-%d", k);
		for (int tries = 0; !offsets[k]; tries++) {
			ck_assert_int_lt(tries, 50);
			struct order o;
			struct answer a;
			order_publish(&w, &o, key, "1");
			world_send(&w, &o, &a);
			world_until(&w, &a.came);
			if (a.accepted)
				offsets[k] = a.offset;
			else if (a.result == BUS_OK)
				ck_assert_str_eq(a.code, "unavailable");
		}
	}
	world_faults(&w, (struct fake_faults){0});
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), KEYS);
	for (int k = 0; k < KEYS; k++) {
		char key[16];
		snprintf(key, sizeof(key), "key-%d", k);
		Penstock__Event *e = world_at(&w, offsets[k]);
		ck_assert_ptr_nonnull(e);
		ck_assert_str_eq(e->key, key);
		penstock__event__free_unpacked(e, NULL);
	}
}
END_TEST

RUN_TESTS_WITH("router: publish", setup, teardown, durable, without_a_key_each_is_new, ephemeral,
	       repeat_from_memory, repeat_from_the_stream, conflict_in_each_member, two_at_once,
	       two_at_once_two_routers, two_at_once_conflict, two_at_once_conflict_two_routers,
	       lost_acknowledgement, lost_store, trimmed_before_the_repeat, log_full,
	       too_many_in_flight, limits, malformed, wrong_part, refusals, new_epoch, faults)
