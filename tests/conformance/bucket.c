#include <stdio.h>
#include <string.h>

#include "tests/conformance/entries.h"

static struct world w;

static void setup(void)
{
	world_open(&w);
}

static void teardown(void)
{
	world_close(&w);
}

START_TEST(a_watch_tells_what_is_and_what_becomes)
{
	struct entries e = {0};
	struct bus_watch *watch;

	entries_bucket(&w, 0);
	entries_put(&w, "a", "1");
	entries_put(&w, "b.c", "2");
	entries_put(&w, "a", "3");
	watch = entries_watch(&w, w.other, &e);
	world_until(&w, &e.ready, 1);
	ck_assert_int_eq(e.puts, 2); /* the newest of each */
	ck_assert_str_eq(entries_value(&e, "a"), "3");
	ck_assert_str_eq(entries_value(&e, "b.c"), "2");
	entries_put(&w, "a", "4");
	entries_put(&w, "d", "5");
	world_until(&w, &e.puts, 4);
	ck_assert_str_eq(entries_value(&e, "a"), "4");
	ck_assert_str_eq(entries_value(&e, "d"), "5");
	ck_assert_uint_gt(e.revision, 3);
	ck_assert_int_eq(e.ready, 1);
	bus_watch_free(watch);
	bus_watch_free(NULL);
	entries_put(&w, "a", "6");
	world_fence(&w);
	ck_assert_int_eq(e.puts, 4);
}
END_TEST

START_TEST(an_empty_bucket_is_ready)
{
	struct entries e = {0};
	struct bus_watch *watch;

	entries_bucket(&w, 0);
	watch = entries_watch(&w, w.bus, &e);
	ck_assert_int_eq(e.ready, 0);
	world_until(&w, &e.ready, 1);
	ck_assert_int_eq(e.puts, 0);
	ck_assert_uint_eq(e.newest, 0);
	bus_watch_free(watch);
}
END_TEST

START_TEST(deleting_is_told)
{
	struct entries e = {0}, late = {0};
	struct bus_watch *watch, *second;
	struct note note = {0};

	entries_bucket(&w, 0);
	entries_put(&w, "a", "1");
	entries_put(&w, "b", "2");
	watch = entries_watch(&w, w.other, &e);
	world_until(&w, &e.ready, 1);
	bus_del(w.bus, w.prefix, "a", note_ack, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_OK);
	world_until(&w, &e.dels, 1);
	ck_assert_str_eq(entries_value(&e, "a"), "");
	ck_assert_uint_eq(e.revision, note.ack.seq);
	second = entries_watch(&w, w.bus, &late); /* for whom it never was */
	world_until(&w, &late.ready, 1);
	ck_assert_int_eq(late.puts, 1);
	ck_assert_int_eq(late.dels, 0);
	ck_assert_uint_eq(late.newest, note.ack.seq); /* of what it was not told, too */
	bus_del(w.bus, w.prefix, "a", note_ack, &note);
	world_until(&w, &note.n, 2);
	world_until(&w, &late.dels, 1); /* from then on every change is told */
	ck_assert_uint_eq(late.revision, note.ack.seq);
	entries_put(&w, "a", "3");
	world_until(&w, &e.puts, 3);
	ck_assert_str_eq(entries_value(&e, "a"), "3");
	bus_watch_free(watch);
	bus_watch_free(second);
}
END_TEST

START_TEST(a_watch_waits_for_its_bucket)
{
	struct entries e = {0};
	struct bus_watch *watch = entries_watch(&w, w.bus, &e);

	world_fence(&w);
	ck_assert_int_eq(e.ready, 0);
	entries_bucket(&w, 0);
	world_until(&w, &e.ready, 1);
	entries_put(&w, "a", "1");
	world_until(&w, &e.puts, 1);
	bus_watch_free(watch);
}
END_TEST

START_TEST(many_keys_arrive_before_ready)
{
	struct entries e = {0};
	struct note note = {0};
	struct bus_watch *watch;
	char key[32];

	entries_bucket(&w, 0);
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "tenant.t%d", i);
		bus_put(w.bus, w.prefix, key, key, strlen(key), note_ack, &note);
	}
	world_until(&w, &note.n, 2000);
	watch = entries_watch(&w, w.other, &e);
	world_until(&w, &e.ready, 1);
	ck_assert_int_eq(e.puts, 2000);
	bus_watch_free(watch);
}
END_TEST

START_TEST(values_age_silently)
{
	struct entries e = {0}, late = {0};
	struct bus_watch *watch, *second;
	struct note note = {0};
	int64_t end;

	entries_bucket(&w, 700);
	watch = entries_watch(&w, w.bus, &e);
	entries_put(&w, "a", "1");
	world_until(&w, &e.puts, 1);
	for (end = loop_now_us(w.loop) + 8000000; loop_now_us(w.loop) < end;) {
		char stream[64];

		snprintf(stream, sizeof(stream), "KV_%s", w.prefix);
		note.n = 0;
		bus_stream_info(w.bus, stream, NULL, note_info, &note);
		world_until(&w, &note.n, 1);
		if (note.info.msgs == 0)
			break;
	}
	ck_assert_uint_eq(note.info.msgs, 0);
	second = entries_watch(&w, w.other, &late);
	world_until(&w, &late.ready, 1);
	ck_assert_int_eq(late.puts, 0);
	ck_assert_int_eq(e.dels, 0);
	bus_watch_free(watch);
	bus_watch_free(second);
}
END_TEST

START_TEST(bad_names_are_refused)
{
	struct note note = {0};
	struct error err = {0};
	struct entries e = {0};

	entries_bucket(&w, 0);
	bus_put(w.bus, w.prefix, "a b", "", 0, note_ack, &note);
	bus_put(w.bus, w.prefix, "a.*", "", 0, note_ack, &note);
	bus_put(w.bus, w.prefix, "", "", 0, note_ack, &note);
	bus_del(w.bus, "no such.bucket", "a", note_ack, &note);
	bus_put(w.bus, w.prefix, "a b", "", 0, NULL, NULL); /* nobody wants to know */
	world_until(&w, &note.n, 4);
	ck_assert_int_eq(note.result, BUS_REJECTED);
	ck_assert(!bus_watch(w.bus, "a b", entries_fn, &e, &err));
	ck_assert_int_eq(err.code, ERR_REJECTED);
	bus_put(w.bus, "nowhere", "a", "", 0, note_ack, &note);
	world_until(&w, &note.n, 5);
	ck_assert_int_eq(note.result, BUS_UNAVAILABLE);
}
END_TEST

static struct bus_watch *doomed;

static void free_itself(void *arg, const struct bus_entry *entry)
{
	entries_fn(arg, entry);
	bus_watch_free(doomed);
}

START_TEST(free_from_inside_its_callback)
{
	struct entries e = {0};
	struct error err;

	entries_bucket(&w, 0);
	entries_put(&w, "a", "1");
	entries_put(&w, "b", "1");
	doomed = bus_watch(w.bus, w.prefix, free_itself, &e, &err);
	world_until(&w, &e.puts, 1);
	world_fence(&w);
	ck_assert_int_eq(e.puts, 1);
	ck_assert_int_eq(e.ready, 0);
}
END_TEST

TCase *bucket_case(void)
{
	TCase *tc = tcase_create("buckets");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_watch_tells_what_is_and_what_becomes);
	tcase_add_test(tc, an_empty_bucket_is_ready);
	tcase_add_test(tc, deleting_is_told);
	tcase_add_test(tc, a_watch_waits_for_its_bucket);
	tcase_add_test(tc, many_keys_arrive_before_ready);
	tcase_add_test(tc, values_age_silently);
	tcase_add_test(tc, bad_names_are_refused);
	tcase_add_test(tc, free_from_inside_its_callback);
	return tc;
}
