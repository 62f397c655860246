/* What comes from the bus: read as protobuf-c writes it, and told apart from what is none of the
 * channel's. */
#include <stdlib.h>
#include <string.h>

#include "proto/event.pb-c.h"
#include "services/edge/wire.h"
#include "tests/unit/common/suite.h"

static const struct event_view good = {.id = {"i", 1},
				       .tenant = {"t", 1},
				       .channel = {"room.1", 6},
				       .type = {"note", 4},
				       .data = {"{}", 2}};

START_TEST(an_event_as_protobuf_writes_it)
{
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	uint8_t bytes[256];
	struct event_view e;

	ev.id = "i";
	ev.tenant = "t";
	ev.channel = "room.1";
	ev.type = "note";
	ev.version = 7;
	ev.time_us = 1234567890123;
	ev.digest = 99;
	ev.key = "skipped";
	ev.data = (ProtobufCBinaryData){.len = 5, .data = (uint8_t *)"\"\xc3\xa4\xc3\""};
	size_t len = penstock__event__pack(&ev, bytes);
	ck_assert(wire_event(bytes, len, &e));
	ck_assert(slice_is(e.id, "i") && slice_is(e.type, "note") && e.version == 7);
	ck_assert_int_eq(e.time_us, 1234567890123);
	ck_assert(!wire_event_fits(&e, "t", "room.1")); /* the second letter is cut */
	ev.data.len = 4;
	ev.data.data = (uint8_t *)"\"\xc3\xa4\"";
	len = penstock__event__pack(&ev, bytes);
	ck_assert(wire_event(bytes, len, &e) && wire_event_fits(&e, "t", "room.1"));
	ev.replay = "r\"";
	uint8_t marked[128];
	size_t n_marked = penstock__event__pack(&ev, marked);
	ck_assert(wire_event(marked, n_marked, &e) && slice_is(e.replay, "r\""));
	ck_assert(!wire_event_fits(&e, "t", "room.1"));
	/* Cut short, it is no message, or at least not a whole one. */
	for (size_t n = 0; n < len; n++)
		if (wire_event(bytes, n, &e))
			ck_assert(!slice_is(e.id, "i") || n >= 3);
}
END_TEST

START_TEST(another_channels_event_does_not_fit)
{
	struct event_view e = good;

	ck_assert(wire_event_fits(&e, "t", "room.1"));
	ck_assert(!wire_event_fits(&e, "t", "room.11"));
	ck_assert(!wire_event_fits(&e, "t", "room."));
	ck_assert(!wire_event_fits(&e, "u", "room.1"));
	e = (struct event_view){.version = 0};
	ck_assert(!wire_event_fits(&e, "t", "room.1"));
}
END_TEST

START_TEST(what_is_no_text_does_not_fit)
{
	static const struct slice bad[] = {
	    {"\xff", 1}, {"\xc3", 1}, {"\xed\xa0\x80", 3}, {"a\xc0\x80", 3}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct event_view e = good;
		e.type = bad[i];
		ck_assert(!wire_event_fits(&e, "t", "room.1"));
		e = good;
		e.trace = bad[i];
		ck_assert(!wire_event_fits(&e, "t", "room.1"));
		e = good;
		e.id = bad[i];
		ck_assert(!wire_event_fits(&e, "t", "room.1"));
		struct delta_view d = {.channel = {"task.x", 6}, .data = bad[i]};
		ck_assert(!wire_delta_fits(&d, "task.x"));
		d.data = (struct slice){"\xc3\xa4", 2};
		ck_assert(wire_delta_fits(&d, "task.x") && !wire_delta_fits(&d, "task.y"));
		d.stage = bad[i];
		ck_assert(!wire_delta_fits(&d, "task.x"));
	}
}
END_TEST

/* It is spliced into a frame as it is. */
START_TEST(what_is_no_json_does_not_fit)
{
	static const char *const bad[] = {
	    "{",     "}",       "{}}",           "{} {}",  "{\"a\":}", "{\"a\" 1}",
	    "{a:1}", "[1,]",    "[1 2]",         "01",     "1.",       "nul",
	    "\"",    "\"\\x\"", "\"\\u12\"",     "\"\n\"", "'a'",      "1,\"op\":\"event\"",
	    " ",     "NaN",     "\xef\xbb\xbf{}"};
	static const char *const fine[] = {"{}",
					   " [ 1 , -0.5e+3 ] ",
					   "\"\\u0000\\ud800\"",
					   "{\"a\":1,\"a\":2}",
					   "null",
					   "123456789012345678901234567890",
					   "\"\xc3\xa4\"",
					   "{\"\xc3\xa4\":[true,false]}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct event_view e = good;
		e.data = slice_of(bad[i]);
		ck_assert_msg(!wire_event_fits(&e, "t", "room.1"), "%s", bad[i]);
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		struct event_view e = good;
		e.data = slice_of(fine[i]);
		ck_assert_msg(wire_event_fits(&e, "t", "room.1"), "%s", fine[i]);
	}
}
END_TEST

/* Whatever nests, the stack is not the sender's. */
START_TEST(nesting_is_bounded)
{
	struct event_view e = good;
	char deep[100000];

	memset(deep, '[', sizeof(deep) / 2);
	memset(deep + sizeof(deep) / 2, ']', sizeof(deep) / 2);
	e.data = (struct slice){deep, sizeof(deep)};
	ck_assert(!wire_event_fits(&e, "t", "room.1"));
	e.data = (struct slice){deep + sizeof(deep) / 2 - 256, 512};
	ck_assert(wire_event_fits(&e, "t", "room.1"));
	e.data = (struct slice){deep + sizeof(deep) / 2 - 257, 514};
	ck_assert(!wire_event_fits(&e, "t", "room.1"));
}
END_TEST

RUN_TESTS("edge: wire", an_event_as_protobuf_writes_it, another_channels_event_does_not_fit,
	  what_is_no_text_does_not_fit, what_is_no_json_does_not_fit, nesting_is_bounded)
