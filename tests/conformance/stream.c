#include <stdio.h>
#include <stdlib.h>
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

START_TEST(stored_messages_count_up)
{
	world_stream(&w, (struct bus_stream_conf){0});
	for (uint64_t i = 1; i <= 5; i++) {
		struct bus_ack ack = world_store(&w, "a", NULL, -1, "x");

		ck_assert_int_eq(ack.result, BUS_OK);
		ck_assert_uint_eq(ack.seq, i);
		ck_assert(!ack.duplicate);
	}
}
END_TEST

START_TEST(no_stream_is_unavailable)
{
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, "x").result, BUS_UNAVAILABLE);
}
END_TEST

START_TEST(a_message_id_is_stored_once)
{
	struct bus_ack first, again;

	world_stream(&w, (struct bus_stream_conf){.dedupe_ms = 60000});
	first = world_store(&w, "a", "id-1", -1, "x");
	world_store(&w, "a", "id-2", -1, "y");
	again = world_store(&w, "b", "id-1", -1, "other subject, other data");
	ck_assert_int_eq(again.result, BUS_OK);
	ck_assert(again.duplicate);
	ck_assert_uint_eq(again.seq, first.seq);
	ck_assert_uint_eq(world_store(&w, "a", "id-3", -1, "z").seq, 3);
}
END_TEST

START_TEST(the_dedupe_window_ends)
{
	struct bus_ack ack = {0};
	int64_t end;

	world_stream(&w, (struct bus_stream_conf){.dedupe_ms = 300});
	world_store(&w, "a", "id-1", -1, "x");
	ck_assert(world_store(&w, "a", "id-1", -1, "x").duplicate);
	for (end = loop_now_us(w.loop) + 5000000; loop_now_us(w.loop) < end;) {
		ack = world_store(&w, "a", "id-1", -1, "x");
		if (!ack.duplicate)
			break;
	}
	ck_assert(!ack.duplicate);
	ck_assert_uint_eq(ack.seq, 2);
}
END_TEST

START_TEST(compare_and_set)
{
	struct bus_ack ack;

	world_stream(&w, (struct bus_stream_conf){0});
	ck_assert_int_eq(world_store(&w, "a", NULL, 0, "first").result, BUS_OK);
	ck_assert_int_eq(world_store(&w, "a", NULL, 0, "second first").result, BUS_CONFLICT);
	world_store(&w, "b", NULL, 0, "another subject");
	ack = world_store(&w, "a", NULL, 1, "next");
	ck_assert_int_eq(ack.result, BUS_OK);
	ck_assert_uint_eq(ack.seq, 3);
	ck_assert_int_eq(world_store(&w, "a", NULL, 1, "fenced").result, BUS_CONFLICT);
	ck_assert_int_eq(world_store(&w, "a", NULL, 7, "ahead").result, BUS_CONFLICT);
	ck_assert_int_eq(world_store(&w, "a", NULL, 3, "next").result, BUS_OK);
	ck_assert_uint_eq(world_store(&w, "a", NULL, -1, "any").seq, 5);
}
END_TEST

START_TEST(a_repeat_is_no_conflict)
{
	struct bus_ack ack;

	world_stream(&w, (struct bus_stream_conf){.dedupe_ms = 60000});
	world_store(&w, "a", "one", 0, "x");
	world_store(&w, "a", "two", 1, "y");
	ack = world_store(&w, "a", "one", 0, "x");
	ck_assert_int_eq(ack.result, BUS_OK);
	ck_assert(ack.duplicate);
	ck_assert_uint_eq(ack.seq, 1);
}
END_TEST

START_TEST(many_in_flight_keep_their_order)
{
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 5000};
	struct note *notes = calloc(300, sizeof(*notes));

	world_stream(&w, (struct bus_stream_conf){0});
	for (int i = 0; i < 300; i++)
		bus_store(w.bus, world_subject(&w, i % 2 ? "a" : "b"), &opts, "x", 1, note_ack,
			  &notes[i]);
	for (int i = 0; i < 300; i++) {
		world_until(&w, &notes[i].n, 1);
		ck_assert_int_eq(notes[i].result, BUS_OK);
		ck_assert_uint_eq(notes[i].ack.seq, (uint64_t)i + 1);
	}
	free(notes);
}
END_TEST

START_TEST(republished_with_its_place)
{
	struct note note = {0};
	struct error err;
	char to[64], filter[64], live[64];

	snprintf(to, sizeof(to), "live_%s.>", w.prefix);
	snprintf(filter, sizeof(filter), "live_%s.room.*", w.prefix);
	snprintf(live, sizeof(live), "live_%s.room.a", w.prefix);
	world_stream(&w, (struct bus_stream_conf){.republish = to, .dedupe_ms = 60000});
	ck_assert(bus_subscribe(w.other, filter, NULL, note_msg, &note, &err) != NULL);
	world_fence(&w);
	world_store(&w, "room.a", "1", -1, "first");
	world_until(&w, &note.n, 1);
	ck_assert_str_eq(note.subject, live);
	ck_assert_str_eq(note.stream, w.prefix);
	ck_assert_str_eq(note.data, "first");
	ck_assert_uint_eq(note.seq, 1);
	ck_assert_uint_eq(note.prev, 0);
	world_store(&w, "elsewhere", "2", -1, "no");
	world_store(&w, "room.a", "3", -1, "second");
	world_until(&w, &note.n, 2);
	ck_assert_uint_eq(note.seq, 3);
	ck_assert_uint_eq(note.prev, 1);
	ck_assert(world_store(&w, "room.a", "3", -1, "second").duplicate);
	world_fence(&w);
	ck_assert_int_eq(note.n, 2); /* a duplicate is not told again */
}
END_TEST

START_TEST(a_core_message_is_stored_too)
{
	struct error err;

	world_stream(&w, (struct bus_stream_conf){0});
	ck_assert_int_eq(bus_publish(w.bus, world_subject(&w, "a"), "x", 1, &err), 0);
	ck_assert_uint_eq(world_store(&w, "a", NULL, 1, "y").seq, 2);
}
END_TEST

static struct note ask_last(const char *rest)
{
	struct note note = {0};

	bus_get_last(w.bus, w.prefix, world_subject(&w, rest), note_answer, &note);
	world_until(&w, &note.n, 1);
	return note;
}

static struct note ask_next(const char *rest, uint64_t seq)
{
	struct note note = {0};

	bus_get_next(w.bus, w.prefix, world_subject(&w, rest), seq, note_answer, &note);
	world_until(&w, &note.n, 1);
	return note;
}

static struct note ask(uint64_t seq)
{
	struct note note = {0};

	bus_get(w.bus, w.prefix, seq, note_answer, &note);
	ck_assert_int_eq(note.n, 0);
	world_until(&w, &note.n, 1);
	return note;
}

START_TEST(reading_by_sequence_and_subject)
{
	struct note note;

	world_stream(&w, (struct bus_stream_conf){0});
	world_store(&w, "a", "id", -1, "one");
	world_store(&w, "b", NULL, -1, "two");
	world_store(&w, "a", NULL, -1, "three");
	note = ask(1);
	ck_assert_int_eq(note.result, BUS_OK);
	ck_assert_str_eq(note.data, "one");
	ck_assert_str_eq(note.subject, world_subject(&w, "a"));
	ck_assert_str_eq(note.stream, w.prefix);
	ck_assert_uint_eq(note.seq, 1);
	ck_assert_int_gt(note.time_us, INT64_C(1600000000000000));
	ck_assert_int_lt(llabs(note.time_us - loop_wall_us(w.loop)), 60000000);
	note = ask_last("a");
	ck_assert_str_eq(note.data, "three");
	ck_assert_uint_eq(note.seq, 3);
	note = ask_next("a", 2);
	ck_assert_str_eq(note.data, "three");
	note = ask_next("a", 0);
	ck_assert_str_eq(note.data, "one");
	note = ask_next("*", 2);
	ck_assert_str_eq(note.data, "two");
	ck_assert_int_eq(ask(4).result, BUS_NOT_FOUND);
	ck_assert_int_eq(ask(0).result, BUS_NOT_FOUND);
	ck_assert_int_eq(ask_last("c").result, BUS_NOT_FOUND);
	ck_assert_int_eq(ask_next("a", 4).result, BUS_NOT_FOUND);
}
END_TEST

START_TEST(empty_and_binary_data)
{
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 5000};
	struct note ack = {0}, note;
	char all[256];

	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	world_stream(&w, (struct bus_stream_conf){0});
	bus_store(w.bus, world_subject(&w, "a"), &opts, all, sizeof(all), note_ack, &ack);
	world_until(&w, &ack.n, 1);
	world_store(&w, "a", NULL, -1, "");
	note = ask(1);
	ck_assert_int_eq(note.result, BUS_OK);
	note = ask(2);
	ck_assert_int_eq(note.result, BUS_OK);
	ck_assert_str_eq(note.data, "");
}
END_TEST

START_TEST(a_stream_that_is_not_there)
{
	struct note note = {0};

	ck_assert_int_eq(ask(1).result, BUS_NOT_FOUND);
	bus_stream_info(w.bus, w.prefix, NULL, note_info, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_NOT_FOUND);
	bus_stream_trim(w.bus, w.prefix, 3, note_done, &note);
	world_until(&w, &note.n, 2);
	ck_assert_int_eq(note.result, BUS_NOT_FOUND);
	bus_stream_info(w.bus, "bad name", NULL, note_info, &note);
	world_until(&w, &note.n, 3);
	ck_assert_int_eq(note.result, BUS_REJECTED);
}
END_TEST

static struct note info(const char *filter)
{
	struct note note = {0};

	bus_stream_info(w.bus, w.prefix, filter ? world_subject(&w, filter) : NULL, note_info,
			&note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_OK);
	return note;
}

START_TEST(info_counts)
{
	struct note note;

	world_stream(&w, (struct bus_stream_conf){0});
	ck_assert_uint_eq(info(NULL).info.msgs, 0);
	ck_assert_uint_eq(info(">").info.n_subjects, 0);
	world_store(&w, "a.1", NULL, -1, "x");
	world_store(&w, "a.2", NULL, -1, "x");
	world_store(&w, "a.1", NULL, -1, "x");
	world_store(&w, "b.1", NULL, -1, "x");
	note = info(NULL);
	ck_assert_uint_eq(note.info.msgs, 4);
	ck_assert_uint_eq(note.info.first_seq, 1);
	ck_assert_uint_eq(note.info.last_seq, 4);
	ck_assert_uint_gt(note.info.bytes, 4);
	ck_assert_uint_eq(note.info.n_subjects, 0);
	ck_assert_int_lt(llabs(note.info.created_us - loop_wall_us(w.loop)), 60000000);
	note = info("a.*");
	ck_assert_uint_eq(note.info.n_subjects, 2);
	ck_assert_uint_eq(note.seqs[0] + note.seqs[1], 3);
	note = info("a.1");
	ck_assert_uint_eq(note.info.n_subjects, 1);
	ck_assert_uint_eq(note.seqs[0], 2);
	ck_assert_str_eq(note.subject, world_subject(&w, "a.1"));
}
END_TEST

START_TEST(trimming_keeps_what_is_above)
{
	struct note note = {0}, now;

	world_stream(&w, (struct bus_stream_conf){0});
	for (int i = 0; i < 10; i++)
		world_store(&w, "a", NULL, -1, "x");
	bus_stream_trim(w.bus, w.prefix, 0, note_done, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_OK);
	ck_assert_uint_eq(info(NULL).info.msgs, 10);
	bus_stream_trim(w.bus, w.prefix, 5, note_done, &note);
	world_until(&w, &note.n, 2);
	ck_assert_int_eq(note.result, BUS_OK);
	now = info(NULL);
	ck_assert_uint_eq(now.info.first_seq, 5);
	ck_assert_uint_eq(now.info.msgs, 6);
	ck_assert_int_eq(ask(4).result, BUS_NOT_FOUND);
	ck_assert_int_eq(ask(5).result, BUS_OK);
	ck_assert_uint_eq(ask_next("a", 1).seq, 5);
	ck_assert_uint_eq(world_store(&w, "a", NULL, 10, "x").seq, 11);
}
END_TEST

START_TEST(full_refuses_or_drops)
{
	struct bus_ack ack = {0};
	char big[1000];
	int n;

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	world_stream(&w, (struct bus_stream_conf){.max_bytes = 20000, .discard_new = true});
	for (n = 0; n < 40; n++) {
		ack = world_store(&w, "a", NULL, -1, big);
		if (ack.result != BUS_OK)
			break;
	}
	ck_assert_int_eq(ack.result, BUS_FULL);
	ck_assert_int_gt(n, 10);
	ck_assert_uint_eq(info(NULL).info.msgs, (uint64_t)n);
	/* Bounds can be changed, and room helps. */
	world_stream(&w, (struct bus_stream_conf){.max_bytes = 40000, .discard_new = true});
	ck_assert_int_eq(world_store(&w, "a", NULL, -1, big).result, BUS_OK);
	ck_assert_uint_eq(info(NULL).info.msgs, (uint64_t)n + 1);
}
END_TEST

START_TEST(old_ones_go_where_new_ones_may_come)
{
	char big[1000];
	struct note now;

	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	world_stream(&w, (struct bus_stream_conf){.max_bytes = 20000});
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(world_store(&w, "a", NULL, -1, big).result, BUS_OK);
	now = info(NULL);
	ck_assert_uint_lt(now.info.msgs, 20);
	ck_assert_uint_le(now.info.bytes, 20000);
	ck_assert_uint_eq(now.info.last_seq, 40);
}
END_TEST

START_TEST(messages_age)
{
	int64_t end;

	world_stream(&w, (struct bus_stream_conf){.max_age_ms = 500});
	world_store(&w, "a", NULL, -1, "x");
	ck_assert_uint_eq(info(NULL).info.msgs, 1);
	for (end = loop_now_us(w.loop) + 5000000;
	     loop_now_us(w.loop) < end && info(NULL).info.msgs > 0;)
		;
	ck_assert_uint_eq(info(NULL).info.msgs, 0);
	ck_assert_uint_eq(world_store(&w, "a", NULL, 0, "x").seq, 2);
}
END_TEST

START_TEST(ensure_twice_keeps_the_messages)
{
	struct note note = {0};
	struct bus_stream_conf conf = {.name = "bad name", .subject = "x"};

	world_stream(&w, (struct bus_stream_conf){.work_queue = true});
	world_store(&w, "a", NULL, -1, "x");
	world_stream(&w, (struct bus_stream_conf){.work_queue = true, .max_bytes = 1000000});
	world_stream(&w, (struct bus_stream_conf){.max_age_ms = 3600000}); /* cannot become that */
	ck_assert_uint_eq(info(NULL).info.msgs, 1);
	bus_stream_ensure(w.bus, &conf, note_done, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_REJECTED);
}
END_TEST

TCase *stream_case(void)
{
	TCase *tc = tcase_create("streams");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, stored_messages_count_up);
	tcase_add_test(tc, no_stream_is_unavailable);
	tcase_add_test(tc, a_message_id_is_stored_once);
	tcase_add_test(tc, the_dedupe_window_ends);
	tcase_add_test(tc, compare_and_set);
	tcase_add_test(tc, a_repeat_is_no_conflict);
	tcase_add_test(tc, many_in_flight_keep_their_order);
	tcase_add_test(tc, republished_with_its_place);
	tcase_add_test(tc, a_core_message_is_stored_too);
	tcase_add_test(tc, reading_by_sequence_and_subject);
	tcase_add_test(tc, empty_and_binary_data);
	tcase_add_test(tc, a_stream_that_is_not_there);
	tcase_add_test(tc, info_counts);
	tcase_add_test(tc, trimming_keeps_what_is_above);
	tcase_add_test(tc, full_refuses_or_drops);
	tcase_add_test(tc, old_ones_go_where_new_ones_may_come);
	tcase_add_test(tc, messages_age);
	tcase_add_test(tc, ensure_twice_keeps_the_messages);
	return tc;
}
