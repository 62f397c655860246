/* What only the fake can do: faults by a seed. What it has in common with the real one is in
 * tests/conformance. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake.h"
#include "common/strbuf.h"
#include "tests/unit/common/suite.h"

#define SECOND INT64_C(1000000)

static struct loop *loop;
static struct fake_broker *broker;
static struct bus *a, *b;
static struct error err;
static struct strbuf trace; /* everything that happened, with its time */

static void nothing(void *arg, enum bus_result result)
{
	(void)arg;
	(void)result;
}

static void start(uint64_t seed, struct fake_faults faults)
{
	struct bus_stream_conf conf = {
	    .name = "S", .subject = "s.>", .republish = "live.>", .dedupe_ms = 600000};

	loop = loop_new_sim(INT64_C(1700000000000000));
	broker = fake_broker_new(loop, seed);
	a = bus_fake_open(broker, "a");
	b = bus_fake_open(broker, "b");
	bus_stream_ensure(a, &conf, nothing, NULL);
	while (loop_sim_step(loop, loop_now_us(loop) + SECOND))
		;
	fake_broker_faults(broker, &faults);
	strbuf_reset(&trace);
}

static void end(void)
{
	bus_free(a);
	bus_free(b);
	fake_broker_free(broker);
	loop_free(loop);
	strbuf_done(&trace);
}

static void run(int64_t us)
{
	int64_t until = loop_now_us(loop) + us;

	while (loop_sim_step(loop, until))
		;
}

static void heard(void *arg, const struct bus_msg *msg)
{
	++*(int *)arg;
	strbuf_addf(&trace, "%lld %s %.*s\n", (long long)loop_now_us(loop), msg->subject,
		    (int)msg->len, (const char *)msg->data);
}

struct acks {
	int n, ok, duplicates, timeouts, unavailable;
};

static void acked(void *arg, const struct bus_ack *ack)
{
	struct acks *acks = arg;

	acks->n++;
	acks->ok += ack->result == BUS_OK;
	acks->duplicates += ack->duplicate;
	acks->timeouts += ack->result == BUS_TIMEOUT;
	acks->unavailable += ack->result == BUS_UNAVAILABLE;
	strbuf_addf(&trace, "%lld ack %d %llu\n", (long long)loop_now_us(loop), (int)ack->result,
		    (unsigned long long)ack->seq);
}

static void store(struct bus *bus, int id, struct acks *acks)
{
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 1000};
	char text[16], subject[16];

	snprintf(text, sizeof(text), "%d", id);
	snprintf(subject, sizeof(subject), "s.%d", id % 4);
	opts.msg_id = text;
	bus_store(bus, subject, &opts, text, strlen(text), acked, acks);
}

static void counted(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	ck_assert_int_eq(result, BUS_OK);
	*(uint64_t *)arg = info->msgs;
}

static uint64_t stored(void)
{
	struct fake_faults none = {0};
	uint64_t n = UINT64_MAX;

	fake_broker_faults(broker, &none);
	bus_stream_info(b, "S", NULL, counted, &n);
	run(SECOND);
	ck_assert_uint_ne(n, UINT64_MAX);
	return n;
}

START_TEST(lost_core_messages)
{
	int n = 0;

	start(1, (struct fake_faults){.lose_core = 0.3});
	bus_subscribe(b, "x", NULL, heard, &n, &err);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(bus_publish(a, "x", "", 0, &err), 0);
	run(SECOND);
	ck_assert_int_gt(n, 600);
	ck_assert_int_lt(n, 800);
	end();
}
END_TEST

START_TEST(doubled_core_messages)
{
	int n = 0;

	start(1, (struct fake_faults){.duplicate_core = 0.3});
	bus_subscribe(b, "x", NULL, heard, &n, &err);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(bus_publish(a, "x", "", 0, &err), 0);
	run(SECOND);
	ck_assert_int_gt(n, 1200);
	ck_assert_int_lt(n, 1400);
	end();
}
END_TEST

START_TEST(lost_acknowledgements_did_store)
{
	struct acks acks = {0}, again = {0};

	start(1, (struct fake_faults){.lose_ack = 0.5});
	for (int i = 0; i < 200; i++)
		store(a, i, &acks);
	run(2 * SECOND);
	ck_assert_int_eq(acks.n, 200);
	ck_assert_int_eq(acks.ok + acks.timeouts, 200);
	ck_assert_int_gt(acks.timeouts, 60);
	ck_assert_uint_eq(stored(), 200);
	for (int i = 0; i < 200; i++)
		store(a, i, &again);
	run(2 * SECOND);
	ck_assert_int_eq(again.duplicates, 200);
	ck_assert_uint_eq(stored(), 200);
	end();
}
END_TEST

START_TEST(lost_stores_did_not)
{
	struct acks acks = {0};

	start(1, (struct fake_faults){.lose_store = 0.5});
	for (int i = 0; i < 200; i++)
		store(a, i, &acks);
	run(2 * SECOND);
	ck_assert_int_eq(acks.n, 200);
	ck_assert_int_gt(acks.timeouts, 60);
	ck_assert_uint_eq(stored(), (uint64_t)acks.ok);
	end();
}
END_TEST

static int deliveries, repeats;

static void take(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	(void)arg;
	deliveries++;
	repeats += msg->delivered > 1;
	bus_claim_ack(claim);
}

START_TEST(needless_redeliveries)
{
	struct bus_consumer_conf conf = {.stream = "S", .durable = "d", .ack_wait_ms = 1000};
	struct bus_consumer *c;
	struct acks acks = {0};

	start(1, (struct fake_faults){.redeliver = 0.2, .delay_min_us = 10, .delay_max_us = 20});
	c = bus_consumer_open(b, &conf, take, NULL, &err);
	bus_consumer_want(c, 100000);
	for (int i = 0; i < 500; i++)
		store(a, i, &acks);
	run(10 * SECOND);
	ck_assert_int_gt(repeats, 50);
	ck_assert_int_eq(deliveries - repeats, 500);
	bus_consumer_close(c);
	end();
}
END_TEST

START_TEST(subjects_overtake_each_other_but_keep_their_order)
{
	int n = 0, last[4] = {-1, -1, -1, -1}, previous = -1, overtaken = 0;
	struct acks acks = {0};
	char *save = NULL;

	start(1, (struct fake_faults){.delay_min_us = 100, .delay_max_us = 5000});
	bus_subscribe(b, "live.>", NULL, heard, &n, &err);
	for (int i = 0; i < 100; i++)
		store(a, i, &acks);
	run(5 * SECOND);
	ck_assert_int_eq(n, 100);
	for (char *line = strtok_r(trace.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		int subject, id;

		if (sscanf(line, "%*d live.%d %d", &subject, &id) != 2)
			continue;
		ck_assert_int_gt(id, last[subject]);
		last[subject] = id;
		overtaken += id < previous;
		previous = id;
	}
	ck_assert_int_gt(overtaken, 0);
	end();
}
END_TEST

static char *a_run(uint64_t seed)
{
	struct fake_faults faults = {.lose_core = 0.1,
				     .duplicate_core = 0.1,
				     .lose_ack = 0.1,
				     .lose_store = 0.1,
				     .redeliver = 0.1,
				     .delay_min_us = 50,
				     .delay_max_us = 3000};
	struct bus_consumer_conf conf = {.stream = "S", .durable = "d", .ack_wait_ms = 500};
	struct bus_consumer *c;
	struct acks acks = {0};
	int n = 0;
	char *text;

	start(seed, faults);
	bus_subscribe(b, "live.>", NULL, heard, &n, &err);
	bus_subscribe(a, "live.*", "q", heard, &n, &err);
	bus_subscribe(b, "live.*", "q", heard, &n, &err);
	c = bus_consumer_open(b, &conf, take, NULL, &err);
	bus_consumer_want(c, 1000);
	for (int i = 0; i < 100; i++) {
		store(i % 2 ? a : b, i, &acks);
		run(2000);
		if (i == 50)
			bus_fake_partition(a, true);
		if (i == 60)
			bus_fake_partition(a, false);
	}
	run(5 * SECOND);
	ck_assert_int_eq(acks.n, 100);
	bus_consumer_close(c);
	text = strbuf_detach(&trace, NULL);
	end();
	return text;
}

START_TEST(the_same_seed_gives_the_same_run)
{
	char *one = a_run(5), *again = a_run(5), *other = a_run(6);

	ck_assert_uint_gt(strlen(one), 3000);
	ck_assert_str_eq(one, again);
	ck_assert_str_ne(one, other);
	free(one);
	free(again);
	free(other);
}
END_TEST

struct states {
	int up, down;
};

static void on_state(void *arg, bool connected)
{
	struct states *s = arg;

	*(connected ? &s->up : &s->down) += 1;
}

START_TEST(a_partition_cuts_one_node_only)
{
	struct states s = {0};
	struct acks mine = {0}, others = {0};
	int n = 0;

	start(1, (struct fake_faults){0});
	bus_on_state(a, on_state, &s);
	bus_subscribe(a, "x", NULL, heard, &n, &err);
	bus_fake_partition(a, true);
	ck_assert(!bus_connected(a));
	ck_assert(bus_connected(b));
	store(a, 1, &mine);
	store(b, 2, &others);
	ck_assert_int_eq(bus_publish(b, "x", "", 0, &err), 0);
	run(SECOND);
	ck_assert_int_eq(s.down, 1);
	ck_assert_int_eq(mine.unavailable, 1);
	ck_assert_int_eq(others.ok, 1);
	ck_assert_int_eq(n, 0);
	bus_fake_partition(a, false);
	run(SECOND);
	ck_assert_int_eq(s.up, 1);
	ck_assert_int_eq(bus_publish(b, "x", "", 0, &err), 0);
	store(a, 1, &mine);
	run(SECOND);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(mine.ok, 1);
	end();
}
END_TEST

/* What a dead process had sent arrives in part, and always the first part. */
START_TEST(a_crash_loses_the_last_words)
{
	int some = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		struct acks acks = {0};
		uint64_t n;

		start(seed, (struct fake_faults){.delay_min_us = 100, .delay_max_us = 200});
		for (int i = 0; i < 20; i++)
			store(a, i, &acks);
		bus_free(a);
		a = bus_fake_open(broker, "a again");
		run(SECOND);
		ck_assert_int_eq(acks.n, 0);
		n = stored();
		ck_assert_uint_le(n, 20);
		some += n > 0 && n < 20;
		end();
	}
	ck_assert_int_gt(some, 20);
}
END_TEST

static void take_and_keep(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct bus_claim **kept = arg;

	(void)msg;
	deliveries++;
	*kept = claim;
}

START_TEST(a_crashed_nodes_claim_comes_to_another_after_ack_wait)
{
	struct bus_consumer_conf conf = {.stream = "S", .durable = "d", .ack_wait_ms = 3000};
	struct bus_claim *of_a = NULL, *of_b = NULL;
	struct bus_consumer *ca, *cb;
	struct acks acks = {0};
	int64_t then;

	start(1, (struct fake_faults){0});
	deliveries = 0;
	ca = bus_consumer_open(a, &conf, take_and_keep, &of_a, &err);
	bus_consumer_want(ca, 1);
	run(SECOND);
	store(b, 1, &acks);
	run(SECOND);
	ck_assert_int_eq(deliveries, 1);
	then = loop_now_us(loop);
	bus_free(a);
	a = bus_fake_open(broker, "a again");
	cb = bus_consumer_open(b, &conf, take_and_keep, &of_b, &err);
	bus_consumer_want(cb, 1);
	while (deliveries == 1 && loop_sim_step(loop, then + 60 * SECOND))
		;
	ck_assert_int_eq(deliveries, 2);
	ck_assert_int_ge(loop_now_us(loop) - then, 2 * SECOND);
	ck_assert_int_lt(loop_now_us(loop) - then, 2 * SECOND + 1000);
	bus_claim_ack(of_a); /* of a process that is no more */
	bus_claim_ack(of_b);
	bus_consumer_close(cb);
	end();
}
END_TEST

/* The simulation makes thousands of runs a second of small clusters, so nothing here may cost the
 * square. */
START_TEST(a_hundred_thousand_messages_are_no_matter)
{
	struct bus_consumer_conf conf = {
	    .stream = "S", .durable = "d", .ack_wait_ms = 30000, .max_ack_pending = 1000000};
	struct bus_consumer *c;
	struct acks acks = {0};

	start(1, (struct fake_faults){.delay_min_us = 10, .delay_max_us = 50});
	deliveries = repeats = 0;
	for (int i = 0; i < 100000; i++)
		store(a, i, &acks);
	run(2 * SECOND);
	ck_assert_int_eq(acks.ok, 100000);
	c = bus_consumer_open(b, &conf, take, NULL, &err);
	bus_consumer_want(c, 1000000);
	run(2 * SECOND);
	ck_assert_int_eq(deliveries, 100000);
	bus_consumer_close(c);
	end();
}
END_TEST

RUN_TESTS("bus: fake", lost_core_messages, doubled_core_messages, lost_acknowledgements_did_store,
	  lost_stores_did_not, needless_redeliveries,
	  subjects_overtake_each_other_but_keep_their_order, the_same_seed_gives_the_same_run,
	  a_partition_cuts_one_node_only, a_crash_loses_the_last_words,
	  a_crashed_nodes_claim_comes_to_another_after_ack_wait,
	  a_hundred_thousand_messages_are_no_matter)
