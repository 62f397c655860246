/* Subscribing to a log that has no events, or seems to have none: whatever comes when, the answer
 * is there, each event behind it once, and no hole in silence. */
#include <stdio.h>

#include "common/bus.h"
#include "common/loop.h"
#include "common/names.h"
#include "proto/store.pb-c.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/edge/one_edge.h"

#define MOMENTS 40 /* microseconds: by then the answer is there */

/* The first event is stored so long after the question came. */
static void first_event_comes(unsigned us, const char *after)
{
	int64_t start = loop_now_us(loop);
	char channel[32];

	snprintf(channel, sizeof(channel), "new.%u", us);
	come_in("new", us, after);
	run_until(start + us);
	store_to(channel, "\"one\"");
	run_until(start + 10000);
	ck_assert_msg(heard("\"subscribed\"", "\"one\"") == 1, "%u us", us);
	store_to(channel, "\"two\"");
	run_until(start + 20000);
	ck_assert_msg(heard("\"two\"", NULL) == 1, "%u us", us);
}

START_TEST(a_log_begins_while_somebody_subscribes_from_its_beginning)
{
	one_edge_begin(0);
	for (unsigned us = 0; us < MOMENTS; us++)
		first_event_comes(us, "{\"offset\":0}");
	one_edge_end();
}
END_TEST

static void on_trimmed(void *arg, enum bus_result result)
{
	*(enum bus_result *)arg = result;
}

/* As an event-store that has the first event, and nothing else. */
static void on_replay(void *arg, const struct bus_msg *msg)
{
	Penstock__ReplayReply page = PENSTOCK__REPLAY_REPLY__INIT;
	Penstock__StoredEvent stored = PENSTOCK__STORED_EVENT__INIT;
	Penstock__StoredEvent *one = &stored;
	Penstock__Event event;
	struct error err;
	uint8_t packed[1024];

	(void)arg;
	event_of(&event, "room.1", "\"missed\"");
	stored.event = &event;
	stored.offset = 1;
	page.n_events = 1;
	page.events = &one;
	page.epoch = log_epoch;
	page.stored = true;
	page.position = 2;
	page.kept_from = 1;
	ck_assert_uint_le(penstock__replay_reply__get_packed_size(&page), sizeof(packed));
	ck_assert_int_eq(
	    bus_publish(bus, msg->reply, packed, penstock__replay_reply__pack(&page, packed), &err),
	    0);
}

/* What comes next seems to be the channel's first event. */
START_TEST(events_come_and_go_while_the_edge_is_cut_off)
{
	enum bus_result result = BUS_TIMEOUT;
	struct bus_sub *store;
	struct error err;
	int64_t start;

	one_edge_begin(1);
	store = bus_subscribe(bus, SUBJECT_STORE_REPLAY, NULL, on_replay, NULL, &err);
	start = loop_now_us(loop);
	cut_off(true);
	store_to("room.1", "\"missed\"");
	store_to("other", "0");
	run_until(start + 1000000);
	bus_stream_trim(bus, STREAM_EVENTS, 3, on_trimmed, &result);
	run_until(start + 1100000);
	ck_assert_int_eq(result, BUS_OK);
	cut_off(false);
	store_to("room.1", "\"next\"");
	run_until(start + 2000000);
	ck_assert_uint_eq(heard("\"missed\"", "\"next\""), 1);
	bus_unsubscribe(store);
	one_edge_end();
}
END_TEST

RUN_TESTS("edge: subscribe, with a socket",
	  a_log_begins_while_somebody_subscribes_from_its_beginning,
	  events_come_and_go_while_the_edge_is_cut_off)
