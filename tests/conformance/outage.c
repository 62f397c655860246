/* The broker dies without a word and comes back with what it had stored. */
#include <string.h>

#include "tests/conformance/entries.h"

static struct world w;

static void setup(void)
{
	world_open_own(&w);
}

static void teardown(void)
{
	world_close(&w);
}

struct states {
	int n, ups, downs;
};

static void on_state(void *arg, bool connected)
{
	struct states *s = arg;

	s->n++;
	if (connected)
		s->ups++;
	else
		s->downs++;
}

static void down(struct states *s)
{
	bus_on_state(w.bus, on_state, s);
	factory->down(&w);
	world_until(&w, &s->downs, 1);
	ck_assert(!bus_connected(w.bus));
}

static void up(struct states *s)
{
	int64_t end = loop_now_us(w.loop) + 10000000;

	factory->up(&w);
	world_until(&w, &s->ups, 1);
	while (!bus_connected(w.other) && loop_now_us(w.loop) < end)
		loop_turn(w.loop, 10000);
	ck_assert(bus_connected(w.bus));
	ck_assert(bus_connected(w.other));
}

START_TEST(requests_end_and_come_back)
{
	struct states s = {0};
	struct note note = {0}, before = {0};
	struct error err;
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 3000};

	bus_subscribe(w.bus, world_subject(&w, "mute"), NULL, note_msg, &(struct note){0}, &err);
	bus_request(w.bus, world_subject(&w, "mute"), "", 0, 60000, note_answer, &before);
	world_fence(&w);
	down(&s);
	world_until(&w, &before.n, 1); /* at once, not after its minute */
	ck_assert_int_eq(before.result, BUS_UNAVAILABLE);
	bus_request(w.bus, world_subject(&w, "x"), "", 0, 1000, note_answer, &note);
	bus_store(w.bus, world_subject(&w, "x"), &opts, "", 0, note_ack, &note);
	bus_get(w.bus, w.prefix, 1, note_answer, &note);
	bus_stream_info(w.bus, w.prefix, NULL, note_info, &note);
	ck_assert_int_eq(note.n, 0);
	world_until(&w, &note.n, 4);
	ck_assert_int_eq(note.result, BUS_UNAVAILABLE);
	ck_assert_int_eq(bus_publish(w.bus, world_subject(&w, "x"), "", 0, &err), 0);
	ck_assert_int_eq(bus_flush(w.bus, 200, &err), -1);
	up(&s);
	world_fence(&w);
	ck_assert_int_eq(s.n, 2);
}
END_TEST

START_TEST(subscriptions_come_back)
{
	struct states s = {0};
	struct note kept = {0}, meanwhile = {0}, gone = {0};
	struct bus_sub *sub;
	struct error err;

	bus_subscribe(w.bus, world_subject(&w, "a"), NULL, note_msg, &kept, &err);
	sub = bus_subscribe(w.bus, world_subject(&w, "c"), NULL, note_msg, &gone, &err);
	world_fence(&w);
	down(&s);
	bus_unsubscribe(sub);
	bus_subscribe(w.bus, world_subject(&w, "b"), NULL, note_msg, &meanwhile, &err);
	up(&s);
	world_fence(&w);
	ck_assert_int_eq(bus_publish(w.other, world_subject(&w, "a"), "1", 1, &err), 0);
	ck_assert_int_eq(bus_publish(w.other, world_subject(&w, "b"), "1", 1, &err), 0);
	ck_assert_int_eq(bus_publish(w.other, world_subject(&w, "c"), "1", 1, &err), 0);
	world_until(&w, &kept.n, 1);
	world_until(&w, &meanwhile.n, 1);
	world_fence(&w);
	ck_assert_int_eq(gone.n, 0);
}
END_TEST

START_TEST(what_was_acknowledged_is_there)
{
	struct states s = {0};
	struct note note = {0};

	world_stream(&w, (struct bus_stream_conf){.dedupe_ms = 60000});
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(world_store(&w, "a", NULL, -1, "x").result, BUS_OK);
	world_store(&w, "a", "the last", -1, "y");
	down(&s);
	up(&s);
	for (int64_t end = loop_now_us(w.loop) + 5000000; loop_now_us(w.loop) < end;) {
		note.n = 0;
		bus_get_last(w.bus, w.prefix, world_subject(&w, "a"), note_answer, &note);
		world_until(&w, &note.n, 1);
		if (note.result == BUS_OK)
			break;
	}
	ck_assert_int_eq(note.result, BUS_OK);
	ck_assert_uint_eq(note.seq, 51);
	ck_assert(world_store(&w, "a", "the last", 50, "y").duplicate);
	ck_assert_uint_eq(world_store(&w, "a", NULL, 51, "z").seq, 52);
}
END_TEST

/* Acknowledges from claim `from` on until seq came; the number of those that are acknowledged. */
static int ack_until(struct note *note, int from, uint64_t seq)
{
	for (;; from++) {
		world_until(&w, &note->n, from + 1);
		bus_claim_ack(note->claims[from]);
		if (note->seqs[from] == seq)
			return from + 1;
	}
}

START_TEST(consumers_come_back)
{
	struct bus_consumer_conf conf = {.stream = w.prefix, .durable = "d", .ack_wait_ms = 1500};
	struct states s = {0};
	struct note note = {0};
	struct bus_consumer *c;
	struct error err;
	int done;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	world_store(&w, "a", NULL, -1, "1");
	world_store(&w, "a", NULL, -1, "2");
	c = bus_consumer_open(w.bus, &conf, note_claim, &note, &err);
	bus_consumer_want(c, 20);
	world_until(&w, &note.n, 2);
	bus_claim_ack(note.claims[0]);
	world_fence(&w);
	down(&s);
	bus_claim_progress(note.claims[1]);
	bus_claim_free(note.claims[1]);
	up(&s);
	/* At least once: a broker that was killed may also bring again what was acknowledged just
	 * before. */
	done = ack_until(&note, 2, 2);
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, "3").result, BUS_OK);
	done = ack_until(&note, done, 3);
	for (; done < note.n; done++)
		bus_claim_ack(note.claims[done]);
	bus_consumer_close(c);
}
END_TEST

START_TEST(a_private_consumer_goes_on_where_it_was)
{
	struct bus_consumer_conf conf = {.stream = w.prefix, .from = 1};
	struct states s = {0};
	struct note note = {0};
	struct bus_consumer *c;
	struct error err;

	world_stream(&w, (struct bus_stream_conf){0});
	world_store(&w, "a", NULL, -1, "1");
	world_store(&w, "a", NULL, -1, "2");
	c = bus_consumer_open(w.bus, &conf, note_claim, &note, &err);
	bus_consumer_want(c, 20);
	world_until(&w, &note.n, 2);
	down(&s);
	up(&s);
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, "3").result, BUS_OK);
	world_until(&w, &note.n, 3);
	world_fence(&w);
	ck_assert_int_eq(note.n, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(note.seqs[i], (uint64_t)i + 1);
	bus_consumer_close(c);
}
END_TEST

START_TEST(a_consumer_closed_meanwhile_stays_closed)
{
	struct bus_consumer_conf conf = {.stream = w.prefix, .durable = "d", .ack_wait_ms = 1000};
	struct states s = {0};
	struct note note = {0};
	struct bus_consumer *c;
	struct error err;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	c = bus_consumer_open(w.bus, &conf, note_claim, &note, &err);
	bus_consumer_want(c, 20);
	world_fence(&w);
	down(&s);
	bus_consumer_close(c);
	up(&s);
	world_fence(&w);
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, "1").result, BUS_OK);
	world_fence(&w);
	ck_assert_int_eq(note.n, 0);
}
END_TEST

START_TEST(a_watch_tells_everything_again)
{
	struct entries e = {0};
	struct states s = {0};
	struct bus_watch *watch;

	entries_bucket(&w, 0);
	entries_put(&w, "a", "1");
	entries_put(&w, "b", "2");
	watch = entries_watch(&w, w.bus, &e);
	world_until(&w, &e.ready, 1);
	down(&s);
	up(&s);
	world_until(&w, &e.ready, 2);
	ck_assert_int_eq(e.puts, 4);
	ck_assert_int_eq(e.dels, 0);
	entries_put(&w, "b", "3");
	world_until(&w, &e.puts, 5);
	ck_assert_str_eq(entries_value(&e, "b"), "3");
	bus_watch_free(watch);
}
END_TEST

START_TEST(what_aged_meanwhile_is_told_as_deleted)
{
	struct entries e = {0};
	struct states s = {0};
	struct bus_watch *watch;
	int64_t end;

	entries_bucket(&w, 1000);
	watch = entries_watch(&w, w.bus, &e);
	entries_put(&w, "a", "1");
	world_until(&w, &e.puts, 1);
	down(&s);
	for (end = loop_now_us(w.loop) + 1500000; loop_now_us(w.loop) < end;)
		loop_turn(w.loop, 10000);
	up(&s);
	world_until(&w, &e.dels, 1);
	world_until(&w, &e.ready, 2);
	ck_assert_uint_eq(e.revision, 0);
	bus_watch_free(watch);
}
END_TEST

TCase *outage_case(void)
{
	TCase *tc = tcase_create("outages");

	tcase_set_timeout(tc, 90);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, requests_end_and_come_back);
	tcase_add_test(tc, subscriptions_come_back);
	tcase_add_test(tc, what_was_acknowledged_is_there);
	tcase_add_test(tc, consumers_come_back);
	tcase_add_test(tc, a_private_consumer_goes_on_where_it_was);
	tcase_add_test(tc, a_consumer_closed_meanwhile_stays_closed);
	tcase_add_test(tc, a_watch_tells_everything_again);
	tcase_add_test(tc, what_aged_meanwhile_is_told_as_deleted);
	return tc;
}
