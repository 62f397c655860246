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
    .id = 7, .events = 10, .bytes = 1000, .data_max = 500, .ttl_ms = 2000, .retry_ms = 200};

/* One event, as the hub lets it pass. */
static bool send(struct lease *l, int64_t bytes, int64_t now, bool *asked, struct lease_question *q)
{
	bool spent = lease_spend(l, bytes, now);

	*asked = lease_ask(l, spent, bytes, now, q);
	return spent;
}

static struct lease leased(int64_t now)
{
	struct lease l = {0};
	struct lease_question q;
	bool asked;

	ck_assert(!send(&l, 10, now, &asked, &q) && asked);
	ck_assert_uint_eq(q.last, 0);
	ck_assert_int_gt(q.events_wanted, 0);
	ck_assert_int_gt(q.bytes_wanted, 10);
	lease_answered(&l, &ten, now + 300);
	return l;
}

START_TEST(asked_for_again_before_it_is_used_up)
{
	struct lease l = leased(S);
	struct lease_grant g = ten;
	struct lease_question q;
	bool asked;

	for (int i = 1; i <= 8; i++) {
		ck_assert(send(&l, 50, S + 1000, &asked, &q));
		ck_assert_int_eq(asked, i == 8);
	}
	ck_assert_uint_eq(q.last, 7);
	ck_assert_int_eq(q.events_used, 8);
	ck_assert_int_eq(q.bytes_used, 400);
	ck_assert_int_eq(q.events_wanted, 40); /* it was too little, but no more than four times */
	/* It goes on meanwhile, and there is only one question. */
	for (int i = 0; i < 2; i++)
		ck_assert(send(&l, 50, S + 1000, &asked, &q) && !asked);
	/* What passed since the question counts to the new one. */
	g.id = 8;
	g.events = 4;
	lease_answered(&l, &g, S + 1300);
	ck_assert(send(&l, 50, S + 1400, &asked, &q) && asked);
	ck_assert_uint_eq(q.last, 8);
	ck_assert_int_eq(q.events_used, 3);
	ck_assert(send(&l, 50, S + 1400, &asked, &q) && !asked);
	ck_assert(!send(&l, 50, S + 1400, &asked, &q) && !asked);
}
END_TEST

START_TEST(its_time_is_counted_from_the_question)
{
	struct lease l = leased(S);
	struct lease_question q;
	bool asked;

	ck_assert(send(&l, 1, 5 * S / 2 - 1, &asked, &q) && !asked);
	/* Three quarters of it are over. */
	ck_assert(send(&l, 1, 5 * S / 2, &asked, &q) && asked);
	ck_assert_int_eq(q.events_used, 2);
	lease_answered(&l, NULL, 3 * S);
	ck_assert(send(&l, 1, 3 * S - 1, &asked, &q) && !asked);
	ck_assert(!send(&l, 1, 3 * S, &asked, &q) && !asked);
	ck_assert(!send(&l, 1, 4 * S, &asked, &q) && asked);
	ck_assert_uint_eq(q.last, 7);
	ck_assert_int_eq(q.events_used, 3);
}
END_TEST

/* Only along with an event that has to go to the router. */
START_TEST(who_sends_hardly_ever_asks_nothing_extra)
{
	struct lease_grant g = ten;
	struct lease l = {0};
	struct lease_question q;
	int64_t now = S;
	bool asked;

	g.ttl_ms = 240000;
	for (int i = 0; i < 10; i++) {
		bool spent = send(&l, 10, now, &asked, &q);

		ck_assert_int_eq(asked, !spent);
		ck_assert_int_eq(spent, i % 4 != 0); /* 195 s later it still is */
		if (asked)
			lease_answered(&l, &g, now + 100);
		ck_assert(!lease_idle(&l, now + 200));
		now += LEASE_RARE_US + 5 * S;
	}
	ck_assert(!lease_idle(&l, now + 100 * S)); /* the last one lasts */
	ck_assert(lease_idle(&l, now + 120 * S));
}
END_TEST

/* A question is rare beside the events, also if they are rare. */
START_TEST(few_questions)
{
	static const int64_t gaps[] = {500, 5000, 50000, 500000, 2 * S, 5 * S, 10 * S};
	struct lease_question q;
	struct lease_grant g = {.data_max = 500, .ttl_ms = 120000};
	bool asked;

	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		struct lease l = {0};
		int64_t now = S;
		int direct = 0, questions = 0;

		for (int n = 0; n < 20000; n++, now += gaps[i]) {
			direct += send(&l, 100, now, &asked, &q);
			questions += asked;
			if (!asked)
				continue;
			g.id++;
			g.events = q.events_wanted;
			g.bytes = q.bytes_wanted;
			g.ttl_ms = g.events > 32 ? 2000 : 240000;
			lease_answered(&l, &g, now + 300);
		}
		ck_assert_int_ge(direct, 19990);
		ck_assert_int_lt(questions, gaps[i] == 10 * S ? 1200 : 1000);
	}
}
END_TEST

START_TEST(bytes)
{
	struct lease l = leased(S);
	struct lease_question q;
	bool asked;

	/* Longer than any may be: not by this road, and no reason for another lease. */
	ck_assert(!send(&l, 501, S + 1, &asked, &q) && !asked);
	ck_assert(send(&l, 500, S + 1, &asked, &q) && !asked);
	ck_assert(send(&l, 250, S + 1, &asked, &q) && asked);
	ck_assert_int_eq(q.bytes_used, 750);
	ck_assert_int_ge(q.bytes_wanted, 375 * q.events_wanted);
	ck_assert(send(&l, 200, S + 1, &asked, &q));
	ck_assert(!send(&l, 101, S + 1, &asked, &q));
	/* A long one that comes again and again gets a lease that it fits in. */
	lease_answered(&l, &ten, S + 1);
	ck_assert(!send(&l, 100000, S + 1, &asked, &q) && asked);
	ck_assert_int_ge(q.bytes_wanted, 100000);
}
END_TEST

START_TEST(refused_or_nobody_there)
{
	static const struct lease_grant nothing = {.retry_ms = 200};
	struct lease l = {0};
	struct lease_question q;

	ck_assert(lease_ask(&l, false, 1, S, &q));
	lease_answered(&l, &nothing, S);
	ck_assert(!lease_spend(&l, 1, S));
	ck_assert(!lease_ask(&l, false, 1, S + 199999, &q));
	ck_assert(lease_ask(&l, false, 1, S + 200000, &q));
	lease_answered(&l, NULL, 2 * S);
	ck_assert(!lease_ask(&l, false, 1, 3 * S - 1, &q));
	ck_assert(lease_ask(&l, false, 1, 3 * S, &q));
	/* What there was is nobody's any more. */
	l = leased(S);
	ck_assert(lease_ask(&l, true, 1, 5 * S / 2, &q));
	lease_answered(&l, &nothing, 5 * S / 2);
	ck_assert(!lease_spend(&l, 1, 5 * S / 2));
	ck_assert(lease_ask(&l, false, 1, 3 * S, &q));
	ck_assert_uint_eq(q.last, 0);
	ck_assert_int_eq(q.events_used, 0);
}
END_TEST

START_TEST(replies_are_bounded)
{
	Penstock__LeaseReply r = PENSTOCK__LEASE_REPLY__INIT;
	struct lease_grant g;

	r.id = r.events = r.bytes = r.data_max = UINT64_MAX;
	r.ttl_ms = r.retry_ms = UINT32_MAX;
	g = lease_grant(&r);
	ck_assert_int_eq(g.events, 1000000000);
	ck_assert_int_eq(g.bytes, 1000000000);
	ck_assert_int_eq(g.ttl_ms, 300000);
	ck_assert_int_eq(g.retry_ms, 10000);
	penstock__lease_reply__init(&r);
	g = lease_grant(&r);
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

/* What is left is no more than the new limits let pass at once; raised again, it stays so. */
START_TEST(limits_are_lowered)
{
	struct lease l = leased(S);
	struct lease_question q;
	bool asked;

	lease_limits(&l, 100, 200, 100000);
	lease_limits(&l, 0, 0, 0); /* none */
	ck_assert_int_eq(l.events, 10);
	ck_assert_int_eq(l.bytes, 1000);
	ck_assert(send(&l, 10, S + 1000, &asked, &q));
	lease_limits(&l, 3, 100, 50);
	lease_limits(&l, 100, 2, 50);
	lease_limits(&l, 100, 200, 100000);
	ck_assert(!send(&l, 51, S + 1000, &asked, &q));
	ck_assert(send(&l, 20, S + 1000, &asked, &q));
	ck_assert(send(&l, 30, S + 1000, &asked, &q));
	ck_assert(!send(&l, 1, S + 1000, &asked, &q));
	ck_assert_int_eq(l.events_used, 3); /* and so it is told */
}
END_TEST

RUN_TESTS("edge: leases", limits_are_lowered, asked_for_again_before_it_is_used_up,
	  its_time_is_counted_from_the_question, who_sends_hardly_ever_asks_nothing_extra,
	  few_questions, bytes, refused_or_nobody_there, replies_are_bounded,
	  a_command_becomes_an_event)
