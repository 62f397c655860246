/* Trimming: the rule, and the shell around it on a simulated broker. */
#include <string.h>

#include "common/bus_fake.h"
#include "common/names.h"
#include "common/rng.h"
#include "services/event-store/trim.h"
#include "tests/unit/common/suite.h"

#define S 1000000LL

static const struct store_trim_conf conf = {
    .keep_ms = 1000, .keep_bytes = 1000, .task_max_ms = 1000, .task_max_bytes = 2000};

START_TEST(rule)
{
	static const struct {
		struct store_trim_view view;
		uint64_t point;
	} table[] = {
	    /* Nothing known, or nothing there. */
	    {{.first_seq = 1, .msgs = 10, .bytes = 10, .young = 8}, 0},
	    {{.first_seq = 11, .committed = 10}, 0},
	    /* By age, as far as PostgreSQL has it. */
	    {{.first_seq = 1, .msgs = 10, .bytes = 10, .young = 8, .committed = 10}, 8},
	    {{.first_seq = 1, .msgs = 10, .bytes = 10, .young = 8, .committed = 4}, 5},
	    {{.first_seq = 6, .msgs = 10, .bytes = 10, .young = 8, .committed = 4}, 0},
	    {{.first_seq = 8, .msgs = 10, .bytes = 10, .young = 8, .committed = 10}, 0},
	    /* By size: half of 100 messages is too much. */
	    {{.first_seq = 1, .msgs = 100, .bytes = 2000, .young = 1, .committed = 90}, 51},
	    {{.first_seq = 1, .msgs = 100, .bytes = 2000, .young = 1, .committed = 9}, 10},
	    /* An unfinished task holds, until the stream is larger than task_max_bytes. */
	    {{.first_seq = 1,
	      .msgs = 10,
	      .bytes = 10,
	      .young = 8,
	      .committed = 10,
	      .oldest_open = 3},
	     3},
	    {{.first_seq = 1,
	      .msgs = 10,
	      .bytes = 10,
	      .young = 8,
	      .committed = 10,
	      .oldest_open = 1},
	     0},
	    {{.first_seq = 1,
	      .msgs = 100,
	      .bytes = 2001,
	      .young = 8,
	      .committed = 90,
	      .oldest_open = 3},
	     51},
	    {{.first_seq = 1,
	      .msgs = 10,
	      .bytes = 10,
	      .young = 8,
	      .committed = 10,
	      .oldest_open = 9},
	     8},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_msg(store_trim_point(&conf, &table[i].view) == table[i].point,
			      "row %zu: %llu", i,
			      (unsigned long long)store_trim_point(&conf, &table[i].view));
}
END_TEST

/* Whatever the numbers are: never above what is committed, never above an unfinished task that
 * still holds. */
START_TEST(never_above_the_committed_position)
{
	struct rng rng;

	rng_seed(&rng, 1);
	for (int i = 0; i < 200000; i++) {
		struct store_trim_view v = {.first_seq = 1 + rng_below(&rng, 100),
					    .msgs = rng_below(&rng, 200),
					    .bytes = rng_below(&rng, 4000),
					    .committed = rng_below(&rng, 300),
					    .oldest_open = rng_below(&rng, 300),
					    .young = rng_below(&rng, 400)};
		uint64_t point = store_trim_point(&conf, &v);
		ck_assert_uint_le(point, v.committed + 1);
		ck_assert(!point || point > v.first_seq);
		ck_assert(!point || v.committed);
		if (v.oldest_open && v.bytes <= conf.task_max_bytes)
			ck_assert_uint_le(point, v.oldest_open);
	}
}
END_TEST

/* --- the shell ---------------------------------------------------------------------------------
 */

struct world {
	struct loop *loop;
	struct fake_broker *broker;
	struct bus *bus;
	struct metrics *metrics;
	struct store_trim *trim;
	struct store_hold hold;
	int64_t created_us;
	uint64_t first;
	bool done;
	int anew;
	struct timer answer;
	void (*fn)(void *arg, const struct store_hold *hold);
	void *arg;
};

static void answer(struct timer *timer, void *arg)
{
	struct world *w = arg;
	(void)timer;
	w->fn(w->arg, &w->hold);
}

static void ask(void *source, int64_t max_ms, void (*fn)(void *arg, const struct store_hold *hold),
		void *arg)
{
	struct world *w = source;
	(void)max_ms;
	w->fn = fn;
	w->arg = arg;
	timer_set(w->loop, &w->answer, 1000);
}

static void on_done(void *arg, enum bus_result result)
{
	struct world *w = arg;
	ck_assert_int_eq(result, BUS_OK);
	w->done = true;
}

static void on_ack(void *arg, const struct bus_ack *ack)
{
	struct world *w = arg;
	ck_assert_int_eq(ack->result, BUS_OK);
	w->done = true;
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct world *w = arg;
	ck_assert_int_eq(result, BUS_OK);
	w->first = info->first_seq;
	w->created_us = info->created_us;
	w->done = true;
}

static void settle(struct world *w)
{
	for (int i = 0; i < 100000 && !w->done; i++)
		ck_assert(loop_sim_step(w->loop, loop_now_us(w->loop) + 60 * S));
	ck_assert(w->done);
	w->done = false;
}

static void pass(struct world *w, int64_t us)
{
	int64_t until = loop_now_us(w->loop) + us;
	while (loop_sim_step(w->loop, until))
		;
}

static uint64_t first_seq(struct world *w)
{
	bus_stream_info(w->bus, STREAM_EVENTS, NULL, on_info, w);
	settle(w);
	return w->first;
}

static void on_anew(void *arg)
{
	((struct world *)arg)->anew++;
}

static void open_world(struct world *w, uint64_t epoch_shift)
{
	struct bus_stream_conf stream = {
	    .name = STREAM_EVENTS, .subject = "pen.evt.>", .replicas = 1};
	struct store_trim_conf c = {.keep_ms = 60000,
				    .keep_bytes = 1 << 30,
				    .task_max_ms = 1 << 30,
				    .task_max_bytes = 1 << 30};

	*w = (struct world){.loop = loop_new_sim(1000 * S)};
	w->broker = fake_broker_new(w->loop, 1);
	w->bus = bus_fake_open(w->broker, "store");
	w->metrics = metrics_new();
	timer_init(&w->answer, answer, w);
	pass(w, S);
	bus_stream_ensure(w->bus, &stream, on_done, w);
	settle(w);
	first_seq(w);
	w->trim = store_trim_start(w->bus, w->loop, &c, (uint64_t)w->created_us + epoch_shift, ask,
				   w, on_anew, w, w->metrics);
	/* A message a second for 100 seconds. */
	for (int i = 0; i < 100; i++) {
		struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 1000};
		bus_store(w->bus, "pen.evt.1.t.c", &opts, "x", 1, on_ack, w);
		settle(w);
		pass(w, S);
	}
}

static void close_world(struct world *w)
{
	store_trim_stop(w->trim);
	timer_cancel(w->loop, &w->answer);
	bus_free(w->bus);
	store_trim_free(w->trim);
	fake_broker_free(w->broker);
	loop_free(w->loop);
	metrics_free(w->metrics);
}

START_TEST(old_ones_go_once_they_are_stored)
{
	struct world w;

	open_world(&w, 0);
	/* Nothing is committed, as far as is known: nothing goes, however old. */
	pass(&w, 120 * S);
	ck_assert_uint_eq(first_seq(&w), 1);
	/* A position counts from the second look on only. */
	w.hold = (struct store_hold){.known = true, .position = 50};
	pass(&w, 10 * S);
	ck_assert_uint_eq(first_seq(&w), 1);
	pass(&w, 20 * S);
	ck_assert_uint_eq(first_seq(&w), 51);
	w.hold.position = 100;
	w.hold.oldest_open = 70;
	pass(&w, 40 * S);
	ck_assert_uint_eq(first_seq(&w), 70);
	w.hold.oldest_open = 0;
	pass(&w, 40 * S);
	ck_assert_uint_eq(first_seq(&w), 101);
	close_world(&w);
}
END_TEST

START_TEST(young_ones_stay)
{
	struct world w;

	open_world(&w, 0);
	w.hold = (struct store_hold){.known = true, .position = 100};
	pass(&w, 31 * S);
	/* The last one is some 31 seconds old, so what is older than 60 is about the first 70. */
	uint64_t first = first_seq(&w);
	ck_assert_uint_ge(first, 55);
	ck_assert_uint_le(first, 75);
	close_world(&w);
}
END_TEST

START_TEST(another_stream_is_left_alone)
{
	struct world w;

	open_world(&w, 1);
	w.hold = (struct store_hold){.known = true, .position = 100};
	pass(&w, 200 * S);
	ck_assert_uint_eq(first_seq(&w), 1);
	ck_assert_int_gt(w.anew, 0);
	close_world(&w);
}
END_TEST

RUN_TESTS("trim", rule, never_above_the_committed_position, old_ones_go_once_they_are_stored,
	  young_ones_stay, another_stream_is_left_alone)
