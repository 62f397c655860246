/* Leases as the edge spends them, and the wire of the direct road. */
#include <string.h>

#include "proto/command.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/lease.pb-c.h"
#include "services/edge/lease.h"
#include "services/edge/wire.h"
#include "tests/unit/common/suite.h"

#define S INT64_C(1000000)

static const struct lease_grant ten = {
    .id = 7, .events = 10, .bytes = 1000, .data_max = 500, .ttl_ms = 1000, .retry_ms = 200};

static struct lease leased(int64_t now)
{
	struct lease l = {0};
	struct lease_question q;

	ck_assert(!lease_spend(&l, 10, now));
	ck_assert(!lease_ask(&l, 10, now - S / 2, &q));
	ck_assert(lease_ask(&l, 10, now, &q));
	ck_assert_uint_eq(q.last, 0);
	ck_assert_int_gt(q.events_wanted, 0);
	ck_assert_int_gt(q.bytes_wanted, 10);
	lease_answered(&l, &ten, now + 300);
	return l;
}

START_TEST(spent_and_asked_for_again)
{
	struct lease l = leased(S);
	struct lease_question q;

	for (int i = 0; i < 10; i++) {
		ck_assert(lease_spend(&l, 50, S + 1000));
		ck_assert_int_eq(lease_ask(&l, 50, S + 1000, &q), i == 9);
	}
	ck_assert_uint_eq(q.last, 7);
	ck_assert_int_eq(q.events_used, 10);
	ck_assert_int_eq(q.bytes_used, 500);
	ck_assert_int_eq(q.events_wanted, 20); /* it was too little */
	/* Void from the question on, and there is only one. */
	ck_assert(!lease_spend(&l, 1, S + 1000));
	ck_assert(!lease_ask(&l, 1, S + 1000, &q));
}
END_TEST

START_TEST(its_time_is_counted_from_the_question)
{
	struct lease l = leased(S);
	struct lease_question q;

	ck_assert(lease_spend(&l, 1, 2 * S - 1));
	ck_assert(!lease_spend(&l, 1, 2 * S));
	ck_assert(lease_ask(&l, 1, 2 * S, &q));
	ck_assert_int_eq(q.events_used, 1);
	ck_assert_int_lt(q.events_wanted, 10); /* few are needed */
}
END_TEST

/* A lease would be over before the next one comes. */
START_TEST(who_sends_rarely_does_not_ask)
{
	struct lease l = {0};
	struct lease_question q;

	for (int i = 1; i < 10; i++) {
		ck_assert(!lease_spend(&l, 10, i * (S + 1)));
		ck_assert(!lease_ask(&l, 10, i * (S + 1), &q));
	}
	ck_assert(lease_ask(&l, 10, 10 * S, &q));
	lease_answered(&l, &ten, 10 * S + 100);
	ck_assert(lease_spend(&l, 10, 10 * S + 200));
	ck_assert(!lease_ask(&l, 10, 12 * S, &q));
}
END_TEST

START_TEST(bytes)
{
	struct lease l = leased(S);
	struct lease_question q;

	/* Longer than any may be: not by this road, and no reason for another lease. */
	ck_assert(!lease_spend(&l, 501, S + 1));
	ck_assert(!lease_ask(&l, 501, S + 1, &q));
	ck_assert(lease_spend(&l, 500, S + 1));
	ck_assert(lease_spend(&l, 400, S + 1));
	ck_assert(!lease_spend(&l, 101, S + 1));
	ck_assert(lease_ask(&l, 101, S + 1, &q));
	ck_assert_int_eq(q.bytes_used, 900);
	ck_assert_int_ge(q.bytes_wanted, 2002);
	/* A long one that comes again and again gets a lease that it fits in. */
	lease_answered(&l, &ten, S + 1);
	ck_assert(!lease_spend(&l, 100000, S + 1));
	ck_assert(lease_ask(&l, 100000, S + 1, &q));
	ck_assert_int_ge(q.bytes_wanted, 100000);
}
END_TEST

START_TEST(refused_or_nobody_there)
{
	static const struct lease_grant nothing = {.retry_ms = 200};
	struct lease l = {0};
	struct lease_question q;

	ck_assert(!lease_ask(&l, 1, S, &q));
	ck_assert(lease_ask(&l, 1, S, &q));
	lease_answered(&l, &nothing, S);
	ck_assert(!lease_spend(&l, 1, S));
	ck_assert(!lease_ask(&l, 1, S + 199999, &q));
	ck_assert(lease_ask(&l, 1, S + 200000, &q));
	lease_answered(&l, NULL, 2 * S);
	ck_assert(!lease_ask(&l, 1, 3 * S - 1, &q));
	ck_assert(lease_ask(&l, 1, 3 * S, &q));
}
END_TEST

START_TEST(replies_are_bounded)
{
	Penstock__LeaseReply r = PENSTOCK__LEASE_REPLY__INIT;
	struct lease_grant g;
	uint8_t data[128];
	size_t len;

	r.id = r.events = r.bytes = r.data_max = UINT64_MAX;
	r.ttl_ms = r.retry_ms = UINT32_MAX;
	len = penstock__lease_reply__pack(&r, data);
	ck_assert(lease_read(data, len, &g));
	ck_assert_int_eq(g.events, 1000000000);
	ck_assert_int_eq(g.bytes, 1000000000);
	ck_assert_int_eq(g.ttl_ms, 10000);
	ck_assert_int_eq(g.retry_ms, 10000);
	ck_assert(!lease_read("\xff\xff", 2, &g));
	ck_assert(lease_read("", 0, &g));
	ck_assert_int_eq(g.events, 0);
}
END_TEST

/* --- the wire ----------------------------------------------------------------------------- */

START_TEST(a_command_becomes_an_event)
{
	Penstock__Command c = PENSTOCK__COMMAND__INIT;
	Penstock__Publish p = PENSTOCK__PUBLISH__INIT;
	Penstock__Event *event;
	struct command_view view;
	struct event_view e;
	struct strbuf b = {0};
	uint8_t data[512];
	size_t len;

	c.id = (char *)"command-1";
	c.tenant = (char *)"acme";
	c.session = (char *)"session-1";
	c.principal = (char *)"key-1";
	c.trace = (char *)"00-t";
	c.edge = (char *)"edge-1";
	c.body_case = PENSTOCK__COMMAND__BODY_PUBLISH;
	c.publish = &p;
	p.channel = (char *)"room.1";
	p.type = (char *)"cursor.move";
	p.version = 3;
	p.key = (char *)"k";
	p.data = (ProtobufCBinaryData){7, (uint8_t *)"{\"x\":1}"};
	len = penstock__command__pack(&c, data);
	ck_assert(wire_command(data, len, &view));
	ck_assert(slice_is(view.tenant, "acme") && slice_is(view.channel, "room.1") &&
		  slice_is(view.type, "cursor.move") && slice_is(view.data, "{\"x\":1}") &&
		  slice_is(view.key, "k"));
	ck_assert_uint_eq(view.version, 3);
	e = (struct event_view){.id = slice_of("id-1"),
				.tenant = view.tenant,
				.channel = view.channel,
				.type = view.type,
				.data = view.data,
				.trace = view.trace,
				.version = 3,
				.time_us = 1700000000123456};
	wire_add_event(&b, &e, &view);
	event = penstock__event__unpack(NULL, b.len, (uint8_t *)b.data);
	ck_assert_ptr_nonnull(event);
	ck_assert_str_eq(event->id, "id-1");
	ck_assert_str_eq(event->tenant, "acme");
	ck_assert_str_eq(event->channel, "room.1");
	ck_assert_str_eq(event->type, "cursor.move");
	ck_assert_uint_eq(event->version, 3);
	ck_assert_int_eq(event->time_us, 1700000000123456);
	ck_assert_str_eq(event->trace, "00-t");
	ck_assert_str_eq(event->key, "k");
	ck_assert_str_eq(event->session, "session-1");
	ck_assert_str_eq(event->command, "command-1");
	ck_assert_str_eq(event->principal, "key-1");
	ck_assert_uint_eq(event->data.len, 7);
	penstock__event__free_unpacked(event, NULL);
	/* As every edge reads it. */
	ck_assert(wire_event(b.data, b.len, &e) && wire_event_fits(&e, "acme", "room.1"));
	strbuf_done(&b);
	/* Not a publish, or not whole. */
	for (size_t cut = 1; cut < len; cut++)
		(void)wire_command(data, cut, &view);
	c.body_case = PENSTOCK__COMMAND__BODY__NOT_SET;
	len = penstock__command__pack(&c, data);
	ck_assert(!wire_command(data, len, &view));
}
END_TEST

RUN_TESTS("edge: leases", spent_and_asked_for_again, its_time_is_counted_from_the_question,
	  who_sends_rarely_does_not_ask, bytes, refused_or_nobody_there, replies_are_bounded,
	  a_command_becomes_an_event)
