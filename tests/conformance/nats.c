/* What only a real server does to us: streams deleted by others, a process that stops, a socket
 * that nobody reads. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "common/bus_nats_int.h"
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

static void delete_stream(const char *name)
{
	struct note note = {0};
	char subject[96];

	snprintf(subject, sizeof(subject), "$JS.API.STREAM.DELETE.%s", name);
	bus_request(w.other, subject, "", 0, 5000, note_answer, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_OK);
}

static void until_long(const int *n, int least)
{
	for (int64_t end = loop_now_us(w.loop) + 30000000; *n < least && loop_now_us(w.loop) < end;)
		loop_turn(w.loop, 10000);
	ck_assert_int_ge(*n, least);
}

/* That cnats asks ours, and has something of that name to ask. */
START_TEST(messages_are_not_left_to_another_thread)
{
	bool (*ours)(void *) = natsGC_collect;
	void *asked = dlsym(RTLD_DEFAULT, "natsGC_collect");

	ck_assert_mem_eq(&asked, &ours, sizeof(asked));
	ck_assert_ptr_nonnull(dlsym(RTLD_NEXT, "natsGC_collect"));
}
END_TEST

START_TEST(a_consumer_outlives_its_stream)
{
	struct bus_consumer_conf conf = {.stream = w.prefix, .durable = "d", .ack_wait_ms = 5000};
	struct note note = {0};
	struct bus_consumer *c;
	struct error err;

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	c = bus_consumer_open(w.bus, &conf, note_claim, &note, &err);
	bus_consumer_want(c, 10);
	world_store(&w, "a", NULL, -1, "1");
	world_until(&w, &note.n, 1);
	bus_claim_ack(note.claims[0]);
	world_fence(&w);
	delete_stream(w.prefix);
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, "no").result, BUS_UNAVAILABLE);
	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, "2").result, BUS_OK);
	until_long(&note.n, 2);
	ck_assert_str_eq(note.data, "2");
	bus_claim_ack(note.claims[1]);
	bus_consumer_close(c);
}
END_TEST

/* A stream that is missing: what is on its way to another one comes through. */
START_TEST(one_stream_missing)
{
	struct note good = {0}, bad = {0}, read = {0};
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 5000};
	char subject[64];

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	world_store(&w, "a", NULL, -1, "1");
	snprintf(subject, sizeof(subject), "gone%s.a", w.prefix);
	for (int i = 0; i < 50; i++) {
		bus_store(w.bus, world_subject(&w, "a"), &opts, "x", 1, note_ack, &good);
		bus_get(w.bus, w.prefix, 1, note_answer, &read);
		bus_store(w.bus, subject, &opts, "x", 1, note_ack, &bad);
		world_until(&w, &good.n, i + 1);
		world_until(&w, &read.n, i + 1);
		world_until(&w, &bad.n, i + 1);
		ck_assert_int_eq(good.ack.result, BUS_OK);
		ck_assert_int_eq(read.result, BUS_OK);
		ck_assert_int_eq(bad.ack.result, BUS_UNAVAILABLE);
	}
}
END_TEST

START_TEST(a_watch_outlives_its_bucket)
{
	struct entries e = {0};
	struct bus_watch *watch;
	char stream[64];

	entries_bucket(&w, 0);
	entries_put(&w, "a", "1");
	watch = entries_watch(&w, w.bus, &e);
	world_until(&w, &e.ready, 1);
	snprintf(stream, sizeof(stream), "KV_%s", w.prefix);
	delete_stream(stream);
	entries_bucket(&w, 0);
	entries_put(&w, "b", "2");
	until_long(&e.ready, 2);
	ck_assert_int_eq(e.dels, 1);
	ck_assert_str_eq(entries_value(&e, "a"), "");
	ck_assert_str_eq(entries_value(&e, "b"), "2");
	bus_watch_free(watch);
}
END_TEST

static void on_state(void *arg, bool connected)
{
	++((int *)arg)[connected];
}

/* As a host without power: the connection stands, and nothing comes any more. */
START_TEST(a_silent_server_is_noticed)
{
	int states[2] = {0};
	struct note note = {0};

	bus_on_state(w.bus, on_state, states);
	world_fence(&w);
	nats_server_pause(&w.server, true);
	bus_request(w.bus, world_subject(&w, "x"), "", 0, 60000, note_answer, &note);
	until_long(&states[0], 1);
	until_long(&note.n, 1);
	ck_assert_int_eq(note.result, BUS_UNAVAILABLE);
	nats_server_pause(&w.server, false);
	until_long(&states[1], 1);
	for (int64_t end = loop_now_us(w.loop) + 10000000;
	     !bus_connected(w.other) && loop_now_us(w.loop) < end;)
		loop_turn(w.loop, 10000);
	world_fence(&w);
}
END_TEST

/* A loop that stands still: the server's buffers fill, then the publisher's; nothing is kept
 * without bound, and it goes on. */
START_TEST(a_flood_is_taken_or_dropped)
{
	static char big[16384];
	struct note note = {0}, last = {0};
	struct error err;

	bus_subscribe(w.other, world_subject(&w, "flood"), NULL, note_msg, &note, &err);
	bus_subscribe(w.other, world_subject(&w, "last"), NULL, note_msg, &last, &err);
	world_fence(&w);
	for (int i = 0; i < 10000; i++) /* 160 MB without a turn of the loop */
		ck_assert_int_eq(
		    bus_publish(w.bus, world_subject(&w, "flood"), big, sizeof(big), &err), 0);
	for (int64_t end = loop_now_us(w.loop) + 30000000; loop_now_us(w.loop) < end && !last.n;) {
		loop_turn(w.loop, 10000);
		if (bus_connected(w.bus))
			ck_assert_int_eq(bus_publish(w.bus, world_subject(&w, "last"), "", 0, &err),
					 0);
	}
	ck_assert_int_gt(last.n, 0);
	ck_assert_int_gt(note.n, 0);
}
END_TEST

TCase *nats_case(void)
{
	TCase *tc = tcase_create("nats-server");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, messages_are_not_left_to_another_thread);
	tcase_add_test(tc, a_consumer_outlives_its_stream);
	tcase_add_test(tc, one_stream_missing);
	tcase_add_test(tc, a_watch_outlives_its_bucket);
	tcase_add_test(tc, a_silent_server_is_noticed);
	tcase_add_test(tc, a_flood_is_taken_or_dropped);
	return tc;
}
