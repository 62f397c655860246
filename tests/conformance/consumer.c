#include <string.h>

#include "tests/conformance/world.h"

static struct world w;

static void setup(void)
{
	world_open(&w);
}

static void teardown(void)
{
	world_close(&w);
}

static struct bus_consumer *consume(struct bus *bus, const char *filter, int ack_wait_ms,
				    int max_pending, struct note *note)
{
	struct bus_consumer_conf conf = {
	    .stream = w.prefix,
	    .durable = filter ? "filtered" : "all",
	    .filter = filter ? world_subject(&w, filter) : NULL,
	    .ack_wait_ms = ack_wait_ms,
	    .max_ack_pending = max_pending,
	};
	struct error err = {0};
	struct bus_consumer *c = bus_consumer_open(bus, &conf, note_claim, note, &err);

	ck_assert_msg(c, "%s", err.msg);
	return c;
}

static void fill(int n)
{
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(world_store(&w, "a", NULL, -1, "x").result, BUS_OK);
}

static uint64_t left(void)
{
	struct note note = {0};

	bus_stream_info(w.bus, w.prefix, NULL, note_info, &note);
	world_until(&w, &note.n, 1);
	return note.info.msgs;
}

static void until_left(uint64_t n)
{
	int64_t end = loop_now_us(w.loop) + 5000000;

	while (left() != n && loop_now_us(w.loop) < end)
		;
	ck_assert_uint_eq(left(), n);
}

START_TEST(credit_is_honoured)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(10);
	c = consume(w.bus, NULL, 30000, 0, &note);
	world_fence(&w);
	world_fence(&w);
	ck_assert_int_eq(note.n, 0); /* nothing before it is wanted */
	bus_consumer_want(c, 3);
	ck_assert_int_eq(note.n, 0);
	world_until(&w, &note.n, 3);
	world_fence(&w);
	ck_assert_int_eq(note.n, 3);
	bus_consumer_want(c, 2); /* sets, does not add */
	bus_consumer_want(c, 2);
	world_until(&w, &note.n, 5);
	world_fence(&w);
	ck_assert_int_eq(note.n, 5);
	bus_consumer_want(c, 100);
	world_until(&w, &note.n, 10);
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_eq(note.seqs[i], (uint64_t)i + 1);
		bus_claim_ack(note.claims[i]);
	}
	ck_assert_str_eq(note.stream, w.prefix);
	ck_assert_str_eq(note.subject, world_subject(&w, "a"));
	ck_assert_str_eq(note.data, "x");
	ck_assert_uint_eq(note.delivered, 1);
	ck_assert_int_gt(note.time_us, INT64_C(1600000000000000));
	until_left(0);
	fill(2); /* there is still credit: new ones come by themselves */
	world_until(&w, &note.n, 12);
	bus_claim_ack(note.claims[10]);
	bus_claim_ack(note.claims[11]);
	bus_consumer_close(c);
	bus_consumer_close(NULL);
	until_left(0);
}
END_TEST

START_TEST(a_work_queue_keeps_what_is_not_acknowledged)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(3);
	c = consume(w.bus, NULL, 30000, 0, &note);
	bus_consumer_want(c, 10);
	world_until(&w, &note.n, 3);
	bus_claim_ack(note.claims[1]);
	until_left(2);
	bus_claim_free(note.claims[0]);
	bus_claim_free(note.claims[2]);
	bus_claim_free(NULL);
	bus_consumer_close(c);
}
END_TEST

START_TEST(a_nak_brings_it_again)
{
	struct note note = {0};
	struct bus_consumer *c;
	int64_t start;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(1);
	c = consume(w.bus, NULL, 30000, 0, &note);
	bus_consumer_want(c, 10);
	world_until(&w, &note.n, 1);
	bus_claim_nak(note.claims[0], 0);
	world_until(&w, &note.n, 2);
	ck_assert_uint_eq(note.seq, 1);
	ck_assert_uint_eq(note.delivered, 2);
	start = loop_now_us(w.loop);
	bus_claim_nak(note.claims[1], 400);
	world_until(&w, &note.n, 3);
	ck_assert_int_ge(loop_now_us(w.loop) - start, 390000);
	ck_assert_uint_eq(note.delivered, 3);
	bus_claim_ack(note.claims[2]);
	until_left(0);
	bus_consumer_close(c);
}
END_TEST

START_TEST(silence_brings_it_again_progress_does_not)
{
	struct note note = {0};
	struct bus_consumer *c;
	int64_t start = 0, last = 0;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(1);
	c = consume(w.bus, NULL, 800, 0, &note);
	bus_consumer_want(c, 10);
	world_until(&w, &note.n, 1);
	start = loop_now_us(w.loop);
	while (loop_now_us(w.loop) - start < 2000000) {
		last = loop_now_us(w.loop);
		bus_claim_progress(note.claims[0]);
		world_fence(&w);
	}
	ck_assert_int_eq(note.n, 1);
	bus_claim_free(note.claims[0]);
	world_until(&w, &note.n, 2);
	ck_assert_int_ge(loop_now_us(w.loop) - last, 700000);
	ck_assert_uint_eq(note.delivered, 2);
	bus_claim_ack(note.claims[1]);
	until_left(0);
	bus_consumer_close(c);
}
END_TEST

START_TEST(a_late_acknowledgement_counts)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(1);
	c = consume(w.bus, NULL, 300, 0, &note);
	bus_consumer_want(c, 2);
	world_until(&w, &note.n, 2); /* delivered again while the first one works on */
	bus_claim_ack(note.claims[0]);
	until_left(0);
	bus_claim_ack(note.claims[1]);
	bus_consumer_close(c);
}
END_TEST

START_TEST(max_ack_pending_stops_the_flow)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(6);
	c = consume(w.bus, NULL, 30000, 2, &note);
	bus_consumer_want(c, 50);
	world_until(&w, &note.n, 2);
	world_fence(&w);
	world_fence(&w);
	ck_assert_int_eq(note.n, 2);
	bus_claim_ack(note.claims[0]);
	world_until(&w, &note.n, 3);
	bus_claim_ack(note.claims[1]);
	bus_claim_ack(note.claims[2]);
	world_until(&w, &note.n, 5);
	for (int i = 3; i < 5; i++)
		bus_claim_free(note.claims[i]);
	bus_consumer_close(c);
}
END_TEST

START_TEST(a_durable_is_shared)
{
	struct note a = {0}, b = {0};
	struct bus_consumer *ca, *cb;
	int total;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	ca = consume(w.bus, NULL, 30000, 0, &a);
	cb = consume(w.other, NULL, 30000, 0, &b);
	bus_consumer_want(ca, 10);
	bus_consumer_want(cb, 10);
	world_fence(&w);
	fill(20);
	world_until(&w, &a.n, 1);
	world_until(&w, &b.n, 1);
	for (int64_t end = loop_now_us(w.loop) + 5000000;
	     a.n + b.n < 20 && loop_now_us(w.loop) < end;)
		world_fence(&w);
	total = a.n + b.n;
	ck_assert_int_eq(total, 20);
	for (int i = 0; i < a.n; i++)
		bus_claim_ack(a.claims[i]);
	for (int i = 0; i < b.n; i++)
		bus_claim_ack(b.claims[i]);
	until_left(0);
	bus_consumer_close(ca);
	bus_consumer_close(cb);
}
END_TEST

START_TEST(a_filter_selects)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){0});
	world_store(&w, "a.1", NULL, -1, "x");
	world_store(&w, "b.1", NULL, -1, "x");
	world_store(&w, "a.2", NULL, -1, "x");
	c = consume(w.bus, "a.*", 30000, 0, &note);
	bus_consumer_want(c, 10);
	world_until(&w, &note.n, 2);
	world_fence(&w);
	ck_assert_int_eq(note.n, 2);
	ck_assert_uint_eq(note.seqs[1], 3);
	world_store(&w, "b.2", NULL, -1, "x");
	world_store(&w, "a.3", NULL, -1, "x");
	world_until(&w, &note.n, 3);
	ck_assert_uint_eq(note.seq, 5);
	for (int i = 0; i < 3; i++)
		bus_claim_ack(note.claims[i]);
	bus_consumer_close(c);
	world_fence(&w);
	ck_assert_uint_eq(left(), 5); /* no work queue: they stay */
}
END_TEST

START_TEST(a_consumer_waits_for_its_stream)
{
	struct note note = {0};
	struct bus_consumer *c = consume(w.bus, NULL, 30000, 0, &note);

	bus_consumer_want(c, 10);
	world_fence(&w);
	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(1);
	world_until(&w, &note.n, 1);
	bus_claim_ack(note.claims[0]);
	until_left(0);
	bus_consumer_close(c);
}
END_TEST

/* What an open request still brings after the credit is gone, or after the end, is somebody else's.
 */
START_TEST(credit_can_be_taken_back)
{
	struct note mine = {0}, others = {0};
	struct bus_consumer *c, *o;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	c = consume(w.bus, NULL, 30000, 0, &mine);
	o = consume(w.other, NULL, 30000, 0, &others);
	bus_consumer_want(c, 10);
	world_fence(&w);
	bus_consumer_want(c, 0);
	fill(5);
	bus_consumer_want(o, 40);
	world_until(&w, &others.n, 5);
	ck_assert_int_eq(mine.n, 0);
	bus_consumer_want(c, 10);
	world_fence(&w);
	bus_consumer_close(c);
	fill(5);
	world_until(&w, &others.n, 10);
	ck_assert_int_eq(mine.n, 0);
	for (int i = 0; i < 10; i++)
		bus_claim_ack(others.claims[i]);
	until_left(0);
	bus_consumer_close(o);
}
END_TEST

/* The durable consumer acknowledges its first two messages, and is left. */
static void take_two(struct note *note)
{
	struct bus_consumer *c = consume(w.bus, NULL, 30000, 0, note);

	bus_consumer_want(c, 2);
	world_until(&w, &note->n, 2);
	bus_claim_ack(note->claims[0]);
	bus_claim_ack(note->claims[1]);
	bus_consumer_close(c);
	world_fence(&w);
}

START_TEST(a_durable_goes_on_where_it_was)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){0});
	fill(4);
	take_two(&note);
	c = consume(w.bus, NULL, 30000, 0, &note);
	bus_consumer_want(c, 10);
	world_until(&w, &note.n, 4);
	ck_assert_uint_eq(note.seqs[2], 3);
	bus_claim_ack(note.claims[2]);
	bus_claim_ack(note.claims[3]);
	bus_consumer_close(c);
}
END_TEST

START_TEST(a_dead_consumers_claims_come_to_another)
{
	struct note dead = {0}, heir = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	fill(3);
	c = consume(w.bus, NULL, 500, 0, &dead);
	bus_consumer_want(c, 10);
	world_until(&w, &dead.n, 3);
	bus_free(w.bus);
	w.bus = factory->open(&w, "three");
	for (int i = 0; i < 3; i++) /* claims outlive the bus */
		bus_claim_ack(dead.claims[i]);
	c = consume(w.other, NULL, 500, 0, &heir);
	bus_consumer_want(c, 10);
	world_until(&w, &heir.n, 3);
	ck_assert_uint_eq(heir.delivered, 2);
	for (int i = 0; i < 3; i++)
		bus_claim_ack(heir.claims[i]);
	bus_consumer_close(c);
}
END_TEST

static struct bus_consumer *read_from(struct bus *bus, uint64_t from, struct note *note)
{
	struct bus_consumer_conf conf = {.stream = w.prefix, .from = from};
	struct error err = {0};
	struct bus_consumer *c = bus_consumer_open(bus, &conf, note_claim, note, &err);

	ck_assert_msg(c, "%s", err.msg);
	return c;
}

static void check_run(const struct note *note, int n, uint64_t from)
{
	ck_assert_int_eq(note->n, n);
	for (int i = 0; i < n; i++) {
		ck_assert_uint_eq(note->seqs[i], from + (uint64_t)i);
		ck_assert_ptr_null(note->claims[i]);
	}
}

START_TEST(a_private_consumer_tells_each_once_from_there)
{
	struct note a = {0}, b = {0};
	struct bus_consumer *ca, *cb;

	world_stream(&w, (struct bus_stream_conf){0});
	fill(5);
	ca = read_from(w.bus, 3, &a);
	cb = read_from(w.other, 0, &b);
	bus_consumer_want(ca, 10);
	bus_consumer_want(cb, 10);
	world_until(&w, &a.n, 3);
	world_until(&w, &b.n, 5);
	fill(2); /* there is still credit: new ones come by themselves */
	world_until(&w, &a.n, 5);
	world_until(&w, &b.n, 7);
	world_fence(&w);
	check_run(&a, 5, 3);
	check_run(&b, 7, 1);
	ck_assert_str_eq(a.stream, w.prefix);
	ck_assert_str_eq(a.subject, world_subject(&w, "a"));
	ck_assert_str_eq(a.data, "x");
	ck_assert_int_gt(a.time_us, INT64_C(1600000000000000));
	bus_consumer_close(ca);
	fill(1); /* nobody tells whoever closed his */
	world_until(&w, &b.n, 8);
	world_fence(&w);
	check_run(&a, 5, 3);
	bus_consumer_close(cb);
}
END_TEST

START_TEST(a_private_consumer_reads_again_what_was_beyond_its_credit)
{
	struct note note = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){0});
	c = read_from(w.bus, 1, &note);
	bus_consumer_want(c, 40);
	world_fence(&w);
	fill(2);
	world_until(&w, &note.n, 2);
	bus_consumer_want(c, 1); /* the broker may still send what was asked for */
	fill(8);
	world_until(&w, &note.n, 3);
	world_fence(&w);
	check_run(&note, 3, 1);
	bus_consumer_want(c, 3);
	world_until(&w, &note.n, 6);
	world_fence(&w);
	check_run(&note, 6, 1);
	bus_consumer_want(c, 20);
	world_until(&w, &note.n, 10);
	fill(1);
	world_until(&w, &note.n, 11);
	check_run(&note, 11, 1);
	bus_consumer_close(c);
}
END_TEST

/* What was removed is passed over; where the stream ends before the place, what fills up to it is
 * not told. */
START_TEST(a_private_consumer_begins_where_it_is_told)
{
	struct note note = {0}, early = {0}, trimmed = {0};
	struct bus_consumer *c, *e;

	world_stream(&w, (struct bus_stream_conf){0});
	fill(6);
	e = read_from(w.other, 9, &early);
	bus_consumer_want(e, 10);
	bus_stream_trim(w.bus, w.prefix, 4, note_done, &trimmed);
	world_until(&w, &trimmed.n, 1);
	c = read_from(w.bus, 2, &note);
	bus_consumer_want(c, 10);
	world_until(&w, &note.n, 3);
	check_run(&note, 3, 4);
	fill(4);
	world_until(&w, &early.n, 2);
	world_until(&w, &note.n, 7);
	check_run(&early, 2, 9);
	check_run(&note, 7, 4);
	bus_consumer_close(c);
	bus_consumer_close(e);
}
END_TEST

START_TEST(a_durable_consumer_can_be_removed)
{
	struct note note = {0}, removed = {0};
	struct bus_consumer *c;

	world_stream(&w, (struct bus_stream_conf){0});
	fill(2);
	take_two(&note);
	bus_consumer_remove(w.other, w.prefix, "all", note_done, &removed);
	world_until(&w, &removed.n, 1);
	ck_assert_int_eq(removed.result, BUS_OK);
	bus_consumer_remove(w.other, w.prefix, "all", note_done, &removed);
	world_until(&w, &removed.n, 2);
	ck_assert_int_eq(removed.result, BUS_NOT_FOUND);
	bus_consumer_remove(w.other, "nowhere", "all", note_done, &removed);
	world_until(&w, &removed.n, 3);
	ck_assert_int_eq(removed.result, BUS_NOT_FOUND);
	bus_consumer_remove(w.other, w.prefix, "a.b", note_done, &removed);
	world_until(&w, &removed.n, 4);
	ck_assert_int_eq(removed.result, BUS_REJECTED);
	/* Its name begins anew. */
	c = consume(w.bus, NULL, 30000, 0, &note);
	bus_consumer_want(c, 2);
	world_until(&w, &note.n, 4);
	ck_assert_uint_eq(note.seqs[2], 1);
	bus_claim_ack(note.claims[2]);
	bus_claim_ack(note.claims[3]);
	bus_consumer_close(c);
}
END_TEST

START_TEST(bad_conf_is_refused)
{
	struct bus_consumer_conf conf = {.stream = "a b", .durable = "d"};
	struct error err = {0};

	ck_assert(!bus_consumer_open(w.bus, &conf, note_claim, NULL, &err));
	ck_assert_int_eq(err.code, ERR_REJECTED);
	conf = (struct bus_consumer_conf){.stream = "s", .durable = "a.b"};
	ck_assert(!bus_consumer_open(w.bus, &conf, note_claim, NULL, &err));
	conf = (struct bus_consumer_conf){.stream = "s", .durable = "d", .filter = "a b"};
	ck_assert(!bus_consumer_open(w.bus, &conf, note_claim, NULL, &err));
}
END_TEST

TCase *consumer_case(void)
{
	TCase *tc = tcase_create("consumers");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, credit_is_honoured);
	tcase_add_test(tc, a_work_queue_keeps_what_is_not_acknowledged);
	tcase_add_test(tc, a_nak_brings_it_again);
	tcase_add_test(tc, silence_brings_it_again_progress_does_not);
	tcase_add_test(tc, a_late_acknowledgement_counts);
	tcase_add_test(tc, max_ack_pending_stops_the_flow);
	tcase_add_test(tc, a_durable_is_shared);
	tcase_add_test(tc, a_filter_selects);
	tcase_add_test(tc, a_consumer_waits_for_its_stream);
	tcase_add_test(tc, credit_can_be_taken_back);
	tcase_add_test(tc, a_durable_goes_on_where_it_was);
	tcase_add_test(tc, a_dead_consumers_claims_come_to_another);
	tcase_add_test(tc, a_private_consumer_tells_each_once_from_there);
	tcase_add_test(tc, a_private_consumer_reads_again_what_was_beyond_its_credit);
	tcase_add_test(tc, a_private_consumer_begins_where_it_is_told);
	tcase_add_test(tc, a_durable_consumer_can_be_removed);
	tcase_add_test(tc, bad_conf_is_refused);
	return tc;
}
