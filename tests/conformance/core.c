#include <stdio.h>
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

static void say(struct bus *bus, const char *rest, const char *text)
{
	struct error err = {0};

	ck_assert_msg(bus_publish(bus, world_subject(&w, rest), text, strlen(text), &err) == 0,
		      "%s", err.msg);
}

static struct bus_sub *hear(struct bus *bus, const char *rest, const char *queue, struct note *note)
{
	struct error err = {0};
	struct bus_sub *sub =
	    bus_subscribe(bus, world_subject(&w, rest), queue, note_msg, note, &err);

	ck_assert_msg(sub, "%s", err.msg);
	return sub;
}

START_TEST(everybody_hears_a_message)
{
	struct note here = {0}, there = {0};

	hear(w.bus, "news", NULL, &here);
	hear(w.other, "news", NULL, &there);
	world_fence(&w);
	say(w.bus, "news", "hello");
	ck_assert_int_eq(here.n, 0); /* never from inside the call */
	world_until(&w, &here.n, 1);
	world_until(&w, &there.n, 1);
	world_fence(&w);
	ck_assert_int_eq(here.n, 1);
	ck_assert_int_eq(there.n, 1);
	ck_assert_str_eq(there.data, "hello");
	ck_assert_str_eq(there.subject, world_subject(&w, "news"));
	ck_assert_str_eq(there.stream, "");
	ck_assert_uint_eq(there.seq, 0);
	ck_assert_int_eq(there.time_us, 0);
}
END_TEST

START_TEST(own_interest_is_there_at_once)
{
	struct note note = {0};

	hear(w.bus, "now", NULL, &note);
	say(w.bus, "now", "1");
	world_until(&w, &note.n, 1);
}
END_TEST

START_TEST(one_publisher_keeps_its_order)
{
	struct note note = {0};
	char text[16];

	hear(w.other, "order", NULL, &note);
	world_fence(&w);
	for (int i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "%d", i);
		say(w.bus, "order", text);
	}
	for (int i = 0; i < 200; i++)
		world_until(&w, &note.n, i + 1);
	ck_assert_str_eq(note.data, "199");
}
END_TEST

static void say_later(const char *rest, const char *text)
{
	struct error err = {0};

	ck_assert_int_eq(
	    bus_publish_later(w.bus, world_subject(&w, rest), text, strlen(text), 50, &err), 0);
}

START_TEST(what_may_wait_comes_without_being_pushed)
{
	struct note note = {0};

	hear(w.other, "later", NULL, &note);
	world_fence(&w);
	for (int i = 1; i <= 3; i++) {
		say_later("later", "x");
		world_until(&w, &note.n, i);
	}
}
END_TEST

struct heard {
	int n;
	char text[64];
};

static void hear_letter(void *arg, const struct bus_msg *msg)
{
	struct heard *heard = arg;

	heard->text[heard->n++] = *(const char *)msg->data;
}

START_TEST(what_may_wait_keeps_its_place)
{
	static const char all[] = "abcDefGHijklMNopqrStuvwXyz"; /* capitals: now */
	struct heard heard = {0};
	struct error err = {0};

	ck_assert(
	    bus_subscribe(w.other, world_subject(&w, "place"), NULL, hear_letter, &heard, &err));
	world_fence(&w);
	for (int i = 0; all[i]; i++) {
		const char text[] = {all[i], 0};

		if (text[0] < 'a')
			say(w.bus, "place", text);
		else
			say_later("place", text);
		if (i % 9 == 8) /* turns of the loop in between */
			world_until(&w, &heard.n, i / 2);
	}
	world_until(&w, &heard.n, (int)strlen(all));
	ck_assert_str_eq(heard.text, all);
}
END_TEST

START_TEST(wildcards_match_tokens)
{
	struct note one = {0}, many = {0};

	hear(w.other, "a.*.c", NULL, &one);
	hear(w.other, "a.>", NULL, &many);
	world_fence(&w);
	say(w.bus, "a.b.c", "");
	say(w.bus, "a.b.d", "");
	say(w.bus, "a.b.c.d", "");
	say(w.bus, "a", "");
	world_until(&w, &many.n, 3);
	world_fence(&w);
	ck_assert_int_eq(one.n, 1);
	ck_assert_int_eq(many.n, 3);
}
END_TEST

START_TEST(one_of_a_queue_group_gets_it)
{
	struct note a = {0}, b = {0}, alone = {0};
	int total;

	hear(w.bus, "work", "group", &a);
	hear(w.other, "work", "group", &b);
	hear(w.other, "work", NULL, &alone);
	world_fence(&w);
	for (int i = 0; i < 50; i++)
		say(w.bus, "work", "x");
	world_until(&w, &alone.n, 50);
	world_fence(&w);
	total = a.n + b.n;
	ck_assert_int_eq(total, 50);
	ck_assert_int_gt(a.n, 0);
	ck_assert_int_gt(b.n, 0);
}
END_TEST

START_TEST(nothing_after_unsubscribe)
{
	struct note gone = {0}, stays = {0};
	struct bus_sub *sub = hear(w.bus, "x", NULL, &gone);

	hear(w.bus, "x", NULL, &stays);
	say(w.bus, "x", "1");
	bus_unsubscribe(sub);
	bus_unsubscribe(NULL);
	world_until(&w, &stays.n, 1);
	world_fence(&w);
	ck_assert_int_eq(gone.n, 0);
}
END_TEST

START_TEST(what_was_sent_before_a_drain_comes)
{
	struct note leaving = {0}, stays = {0};
	struct bus_sub *sub = hear(w.bus, "x", "group", &leaving);

	say(w.bus, "x", "1");
	world_until(&w, &leaving.n, 1);
	say(w.bus, "x", "2");
	bus_drain(sub);
	bus_drain(sub);
	bus_drain(NULL);
	hear(w.bus, "x", NULL, &stays);
	say(w.bus, "x", "3");
	world_until(&w, &stays.n, 1);
	world_fence(&w);
	ck_assert_int_eq(leaving.n, 2);
	bus_unsubscribe(sub);
	say(w.bus, "x", "4");
	world_until(&w, &stays.n, 2);
	world_fence(&w);
	ck_assert_int_eq(leaving.n, 2);
}
END_TEST

START_TEST(bad_subjects_are_refused)
{
	static const char *const bad[] = {
	    "", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB x 0\r\n", "a.>.b", "a.\x7f"};
	struct error err;
	struct note note = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert(!bus_subscribe(w.bus, bad[i], NULL, note_msg, &note, &err));
		ck_assert_int_eq(bus_publish(w.bus, bad[i], "", 0, &err), -1);
		ck_assert_int_eq(err.code, ERR_REJECTED);
	}
	ck_assert_int_eq(bus_publish(w.bus, "a.*", "", 0, &err), -1);
	ck_assert_int_eq(bus_publish(w.bus, "a.>", "", 0, &err), -1);
	ck_assert(!bus_subscribe(w.bus, "a", "b c", note_msg, &note, &err));
	bus_request(w.bus, "a b", "", 0, 1000, note_answer, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_REJECTED);
	world_fence(&w); /* the connection is as good as before */
}
END_TEST

/* --- requests ----------------------------------------------------------------------------------
 */

static void answer(void *arg, const struct bus_msg *msg)
{
	struct note *note = arg;
	struct error err;

	note_msg(note, msg);
	ck_assert_int_eq(bus_publish(note->w->other, msg->reply, msg->data, msg->len, &err), 0);
}

static void silent(void *arg, const struct bus_msg *msg)
{
	note_msg(arg, msg);
}

START_TEST(a_request_gets_its_own_answer)
{
	struct note asked = {.w = &w}, got[100] = {{0}};
	struct error err;
	char text[16];

	bus_subscribe(w.other, world_subject(&w, "ask"), "q", answer, &asked, &err);
	world_fence(&w);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "%d", i);
		bus_request(w.bus, world_subject(&w, "ask"), text, strlen(text), 5000, note_answer,
			    &got[i]);
		ck_assert_int_eq(got[i].n, 0);
	}
	for (int i = 0; i < 100; i++) {
		world_until(&w, &got[i].n, 1);
		snprintf(text, sizeof(text), "%d", i);
		ck_assert_int_eq(got[i].result, BUS_OK);
		ck_assert_str_eq(got[i].data, text);
	}
	world_fence(&w);
	ck_assert_int_eq(asked.n, 100);
	ck_assert_int_eq(got[50].n, 1);
}
END_TEST

START_TEST(nobody_there_is_unavailable)
{
	struct note note = {0};
	int64_t start = loop_now_us(w.loop);

	bus_request(w.bus, world_subject(&w, "void"), "", 0, 9000, note_answer, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_UNAVAILABLE);
	ck_assert_int_lt(loop_now_us(w.loop) - start, 5000000); /* at once, not at the deadline */
}
END_TEST

START_TEST(no_answer_is_a_timeout)
{
	struct note asked = {0}, note = {0};
	struct error err;
	int64_t start;

	bus_subscribe(w.bus, world_subject(&w, "mute"), NULL, silent, &asked, &err);
	start = loop_now_us(w.loop);
	bus_request(w.bus, world_subject(&w, "mute"), "", 0, 300, note_answer, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_TIMEOUT);
	ck_assert_int_eq(asked.n, 1);
	ck_assert_int_ge(loop_now_us(w.loop) - start, 300000);
	ck_assert_int_lt(loop_now_us(w.loop) - start, 1000000);
}
END_TEST

START_TEST(a_late_answer_is_nobodys)
{
	struct note asked = {0}, note = {0}, next = {0};
	struct error err;

	bus_subscribe(w.bus, world_subject(&w, "late"), NULL, silent, &asked, &err);
	bus_request(w.bus, world_subject(&w, "late"), "", 0, 100, note_answer, &note);
	world_until(&w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_TIMEOUT);
	/* This one may have the same place in the table. */
	bus_request(w.bus, world_subject(&w, "late"), "", 0, 400, note_answer, &next);
	ck_assert_int_eq(bus_publish(w.bus, asked.reply, "late", 4, &err), 0);
	world_until(&w, &next.n, 1);
	ck_assert_int_eq(next.result, BUS_TIMEOUT);
	ck_assert_int_eq(note.n, 1);
}
END_TEST

START_TEST(forgotten_answers_do_not_come)
{
	struct note mine = {0}, others = {0};

	bus_request(w.bus, world_subject(&w, "void"), "", 0, 1000, note_answer, &mine);
	bus_get_last(w.bus, w.prefix, world_subject(&w, "x"), note_answer, &mine);
	bus_request(w.bus, world_subject(&w, "void"), "", 0, 1000, note_answer, &others);
	bus_forget(w.bus, &mine);
	world_until(&w, &others.n, 1);
	world_fence(&w);
	ck_assert_int_eq(mine.n, 0);
}
END_TEST

static void free_it(void *arg, const struct bus_msg *msg)
{
	struct note *note = arg;

	note_msg(note, msg);
	bus_free(note->w->other);
	note->w->other = NULL;
}

START_TEST(free_from_inside_a_callback)
{
	static struct note ignored;
	struct note note = {.w = &w};
	struct error err;

	bus_subscribe(w.other, world_subject(&w, "die"), NULL, free_it, &note, &err);
	for (int i = 0; i < 20; i++)
		bus_request(w.other, world_subject(&w, "void"), "", 0, 1000, note_answer, &ignored);
	world_fence(&w);
	for (int i = 0; i < 20; i++)
		say(w.bus, "die", "x");
	world_until(&w, &note.n, 1);
	say(w.bus, "die", "x");
	for (int i = 0; i < 20; i++)
		loop_turn(w.loop, 1000);
	ck_assert_int_eq(note.n, 1);
}
END_TEST

START_TEST(free_with_everything_open)
{
	static struct note note;
	struct bus_consumer_conf conf = {.stream = w.prefix, .durable = "d", .ack_wait_ms = 1000};
	struct error err;

	world_stream(&w, (struct bus_stream_conf){0});
	hear(w.bus, "a", NULL, &note);
	ck_assert(bus_watch(w.bus, "nowhere", (bus_entry_fn *)NULL, NULL, &err) != NULL);
	ck_assert(bus_consumer_open(w.bus, &conf, note_claim, &note, &err) != NULL);
	bus_get(w.bus, w.prefix, 1, note_answer, &note);
	bus_stream_info(w.bus, w.prefix, NULL, note_info, &note);
	bus_free(w.bus);
	w.bus = NULL;
	for (int i = 0; i < 20; i++)
		loop_turn(w.loop, 1000);
	ck_assert_int_eq(note.n, 0);
}
END_TEST

START_TEST(flush_waits_for_the_broker)
{
	struct note note = {0};
	struct error err = {0};

	hear(w.other, "bye", NULL, &note);
	world_fence(&w);
	for (int i = 0; i < 1000; i++)
		say(w.bus, "bye", "0123456789012345678901234567890123456789");
	ck_assert_msg(bus_flush(w.bus, 5000, &err) == 0, "%s", err.msg);
	bus_free(w.bus);
	w.bus = NULL;
	world_until(&w, &note.n, 1000);
}
END_TEST

TCase *core_case(void)
{
	TCase *tc = tcase_create("core");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, everybody_hears_a_message);
	tcase_add_test(tc, own_interest_is_there_at_once);
	tcase_add_test(tc, one_publisher_keeps_its_order);
	tcase_add_test(tc, what_may_wait_comes_without_being_pushed);
	tcase_add_test(tc, what_may_wait_keeps_its_place);
	tcase_add_test(tc, wildcards_match_tokens);
	tcase_add_test(tc, one_of_a_queue_group_gets_it);
	tcase_add_test(tc, nothing_after_unsubscribe);
	tcase_add_test(tc, what_was_sent_before_a_drain_comes);
	tcase_add_test(tc, bad_subjects_are_refused);
	tcase_add_test(tc, a_request_gets_its_own_answer);
	tcase_add_test(tc, nobody_there_is_unavailable);
	tcase_add_test(tc, no_answer_is_a_timeout);
	tcase_add_test(tc, a_late_answer_is_nobodys);
	tcase_add_test(tc, forgotten_answers_do_not_come);
	tcase_add_test(tc, free_from_inside_a_callback);
	tcase_add_test(tc, free_with_everything_open);
	tcase_add_test(tc, flush_waits_for_the_broker);
	return tc;
}
