/* Receipts: what is wrong with a message, what PostgreSQL keeps of many, and what becomes of an
 * event by them. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/event-store/deliveries.h"
#include "services/event-store/receipts.h"
#include "services/event-store/receipts_pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define T0 INT64_C(1764000100000000)
#define S  INT64_C(1000000)

/* --- one subscription ---------------------------------------------------------------------- */

START_TEST(judged)
{
	static const struct {
		struct delivery_view v;
		enum delivery_state state;
		const char *why;
	} t[] = {
	    /* The event is 10, at T0. */
	    {{.from = 10, .sent = 20, .acked = 20}, DELIVERY_NONE, NULL}, /* came after it */
	    {{.from = 9, .sent = 9}, DELIVERY_PENDING, NULL},
	    {{.from = 9, .sent = 10}, DELIVERY_SENT, NULL},
	    {{.from = 9, .sent = 10, .acked = 9}, DELIVERY_SENT, NULL},
	    {{.from = 9, .sent = 12, .acked = 10}, DELIVERY_ACKNOWLEDGED, NULL},
	    {{.from = 0, .sent = 9, .spilled = true}, DELIVERY_SPILLED, NULL},
	    {{.from = 0, .sent = 10, .spilled = true}, DELIVERY_SENT, NULL},
	    {{.from = 0, .sent = 20, .missed = true}, DELIVERY_MISSED, "gap"},
	    {{.from = 0, .sent = 9, .closed_us = T0 - S, .close_code = 1006},
	     DELIVERY_MISSED,
	     "absent"},
	    {{.from = 0, .sent = 9, .closed_us = T0 + S, .close_code = 1006},
	     DELIVERY_MISSED,
	     "closed"},
	    {{.from = 0, .sent = 9, .closed_us = T0 + S, .close_code = 4102, .spilled = true},
	     DELIVERY_MISSED,
	     "slow"},
	    {{.from = 0, .sent = 9, .closed_us = T0 - S}, DELIVERY_NONE, NULL}, /* unsubscribed */
	    {{.from = 0, .sent = 10, .closed_us = T0 + S}, DELIVERY_SENT, NULL},
	    {{.from = 0, .sent = 9, .silent = true}, DELIVERY_MISSED, "edge_lost"},
	    {{.from = 0, .sent = 10, .silent = true}, DELIVERY_SENT, NULL},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		const char *why;

		ck_assert_msg(deliveries_judge(&t[i].v, 10, T0, &why) == t[i].state, "%zu", i);
		ck_assert_pstr_eq(why, t[i].why);
	}
}
END_TEST

/* --- messages ------------------------------------------------------------------------------ */

static Penstock__OffsetRange range;
static Penstock__OffsetRange *ranges[1] = {&range};
static Penstock__LinkReceipt link;
static Penstock__LinkReceipt *links[1] = {&link};
static Penstock__PositionReceipt position;
static Penstock__PositionReceipt *positions[1] = {&position};
static Penstock__Receipts message;
static Penstock__Receipts *messages[1] = {&message};

static void fresh(void)
{
	penstock__offset_range__init(&range);
	penstock__link_receipt__init(&link);
	penstock__position_receipt__init(&position);
	penstock__receipts__init(&message);
	link.tenant = position.tenant = "acme";
	link.channel = position.channel = "room.1";
	link.session = TEST_SESSION;
	link.principal = "k1";
	link.opened_us = T0;
	link.from = 3;
	link.sent = 5;
	message.edge = "edge-1";
	message.run_us = T0 - S;
	message.time_us = T0 + S;
	message.epoch = TEST_EPOCH;
	message.period_ms = 5000;
	message.resume_ms = 120000;
	message.links = links;
	message.n_links = 1;
	message.positions = positions;
}

START_TEST(faults)
{
	static char long_text[300];

	fresh();
	message.n_positions = 1;
	ck_assert_ptr_null(store_receipts_fault(&message));
#define BAD(change)                                                                                \
	do {                                                                                       \
		fresh();                                                                           \
		message.n_positions = 1;                                                           \
		change;                                                                            \
		ck_assert_msg(store_receipts_fault(&message) != NULL, #change);                    \
	} while (0)
	memset(long_text, 'x', sizeof(long_text) - 1);
	BAD(message.edge = "");
	BAD(message.edge = "a b");
	BAD(message.run_us = -1);
	BAD(message.time_us = INT64_MAX);
	BAD(message.epoch = UINT64_MAX);
	BAD(message.reactor = UINT32_MAX);
	BAD(message.period_ms = UINT32_MAX);
	BAD(link.tenant = "a.b");
	BAD(link.channel = "");
	BAD(link.session = "me");
	BAD(link.principal = "\xff");
	BAD(link.principal = long_text);
	BAD(link.opened_us = 0);
	BAD(link.closed_us = INT64_MIN);
	BAD(link.sent = UINT64_MAX);
	BAD(link.acked = INT64_MAX);
	BAD(link.close_code = 70000);
	BAD(range.from = 2; range.to = 1; link.spilled = ranges; link.n_spilled = 1);
	BAD(range.to = INT64_MAX; link.missed = ranges; link.n_missed = 1);
	BAD(position.tenant = "");
	BAD(position.offset = UINT64_MAX);
#undef BAD
}
END_TEST

/* --- in PostgreSQL ------------------------------------------------------------------------- */

static struct database db;

static void write_now(void)
{
	struct error err = {0};

	ck_assert_msg(store_receipts_write(db.conn, messages, 1, &err) == 0, "%s", err.msg);
}

static void open_db(void)
{
	struct error err = {0};

	database_open(&db, true);
	ck_assert_msg(store_receipts_prepare(db.conn, &err) == 0, "%s", err.msg);
	fresh();
}

static const char *row(const char *columns)
{
	char sql[256];

	snprintf(sql, sizeof(sql), "SELECT concat_ws(' ', %s) FROM receipts", columns);
	return database_get(&db, sql);
}

START_TEST(states_of_one_subscription)
{
	open_db();
	link.level = true;
	write_now();
	write_now(); /* twice is once */
	ck_assert_str_eq(row("from_offset, sent, level, acked, spilled, missed, closed_at IS NULL"),
			 "3 5 t 0 {} {} t");
	link.level = false;
	link.sent = 9;
	link.acked = 7;
	range.from = 10;
	range.to = 12;
	link.spilled = ranges;
	link.n_spilled = 1;
	message.time_us += S;
	write_now();
	ck_assert_str_eq(row("sent, level, acked, spilled"), "9 f 7 {[10,13)}");
	range.from = 15;
	range.to = 15;
	link.level = true;
	link.sent = 20;
	message.time_us += S;
	write_now();
	ck_assert_str_eq(row("sent, level, acked, spilled"), "20 t 7 {[10,13),[15,16)}");
	/* An older state that was stored late takes nothing back. */
	link.level = false;
	link.sent = 9;
	link.acked = 0;
	link.n_spilled = 0;
	message.time_us -= 2 * S;
	write_now();
	ck_assert_str_eq(row("sent, level, acked, spilled"), "20 t 7 {[10,13),[15,16)}");
	message.time_us += 4 * S;
	link.sent = 21;
	link.closed_us = message.time_us;
	link.close_code = 1006;
	write_now();
	message.time_us -= S; /* not opened again by a late one */
	link.closed_us = 0;
	link.close_code = 0;
	write_now();
	ck_assert_str_eq(row("sent, level, closed_at IS NULL, close_code"), "21 f f 1006");
	ck_assert_str_eq(database_get(&db, "SELECT count(*) FROM receipts"), "1");
	database_close(&db);
}
END_TEST

/* Several states of it in one batch, as after an outage; another event-store's turn in between has
 * mixed them up. */
START_TEST(many_messages_at_once)
{
	Penstock__LinkReceipt l[3], other;
	Penstock__LinkReceipt *lists[3] = {&l[0], &l[1], &l[2]}, *both[] = {&l[1], &other};
	Penstock__Receipts m[3];
	Penstock__Receipts *all[3] = {&m[2], &m[0], &m[1]};
	Penstock__OffsetRange wider, *wide[] = {&wider};
	struct error err = {0};

	open_db();
	message.n_positions = 1;
	position.offset = 30;
	range.from = range.to = 4;
	for (int i = 0; i < 3; i++) {
		l[i] = link;
		l[i].sent = (uint64_t)(5 + i);
		l[i].level = i == 2;
		m[i] = message;
		m[i].time_us += i * S;
		m[i].links = &lists[i];
	}
	l[0].spilled = ranges;
	l[0].n_spilled = 1;
	wider = range;
	wider.from = 3;
	wider.to = 6;
	l[1].spilled = wide;
	l[1].n_spilled = 1;
	l[1].acked = 6;
	other = link;
	other.channel = "room.2";
	other.sent = 8;
	m[1].links = both;
	m[1].n_links = 2;
	ck_assert_msg(store_receipts_write(db.conn, all, 3, &err) == 0, "%s", err.msg);
	ck_assert_str_eq(database_get(&db, "SELECT string_agg(concat_ws(' ', channel, sent, level,"
					   " acked, acked_at IS NULL, spilled), '; ' ORDER BY"
					   " channel) FROM receipts"),
			 "room.1 7 t 6 t {[3,7)}; room.2 8 f 0 t {}");
	ck_assert_str_eq(database_get(&db, "SELECT concat_ws(' ', edge, reactor, pos) FROM"
					   " receipt_positions"),
			 "edge-1 0 30");
	ck_assert_str_eq(
	    database_get(&db, "SELECT concat_ws(' ', edge, period_ms) FROM receipt_edges"),
	    "edge-1 5000");
	database_close(&db);
}
END_TEST

START_TEST(ranges_do_not_grow_for_ever)
{
	open_db();
	link.spilled = ranges;
	link.n_spilled = 1;
	for (int i = 0; i < 70; i++) {
		range.from = range.to = (uint64_t)(10 + 2 * i);
		write_now();
	}
	ck_assert_str_eq(
	    database_get(&db, "SELECT count(*) < 64 FROM (SELECT unnest(spilled) FROM receipts) r"),
	    "t");
	ck_assert_str_eq(database_get(&db,
				      "SELECT spilled @> 10::int8 AND spilled @> 148::int8 AND NOT"
				      " spilled @> 149::int8 FROM receipts"),
			 "t");
	database_close(&db);
}
END_TEST

START_TEST(old_ones_go)
{
	struct error err = {0};

	open_db();
	message.n_positions = 1;
	write_now();
	ck_assert(!store_receipts_maintain(db.conn, 36500, &err));
	ck_assert_str_eq(database_get(&db, "SELECT count(*) FROM receipts"), "1");
	database_do(&db, "UPDATE receipts SET updated_at = now()"); /* old, but still told of */
	ck_assert(!store_receipts_maintain(db.conn, 7, &err));
	ck_assert_str_eq(database_get(&db, "SELECT count(*) FROM receipts"), "1");
	ck_assert_str_eq(database_get(&db, "SELECT count(*) FROM receipt_positions"), "0");
	ck_assert_str_eq(database_get(&db, "SELECT count(*) FROM receipt_edges"), "0");
	database_do(&db, "UPDATE receipts SET updated_at = now() - interval '8 days'");
	ck_assert(!store_receipts_maintain(db.conn, 7, &err));
	ck_assert_str_eq(database_get(&db, "SELECT count(*) FROM receipts"), "0");
	database_close(&db);
}
END_TEST

/* --- the question --------------------------------------------------------------------------- */

static json_t *ask(const char *id, const char *tenant)
{
	struct error err = {0};
	json_t *doc = NULL;

	ck_assert_msg(store_deliveries(db.conn, id, tenant, &doc, &err) == 0, "%s", err.msg);
	return doc;
}

static void expect(const char *id, const char *states)
{
	json_t *doc = ask(id, ""), *d;
	char text[256] = "";
	size_t i;

	ck_assert_ptr_nonnull(doc);
	json_array_foreach(json_object_get(doc, "deliveries"), i, d)
	{
		strcat(text, i ? " " : "");
		strcat(text, json_string_value(json_object_get(d, "state")));
	}
	ck_assert_str_eq(text, states);
	json_decref(doc);
}

/* An event at 10 of room.1; the time of both and of the edge is now. */
START_TEST(deliveries_of_an_event)
{
	struct store_writer w;
	struct store_item item = make_item(10, make_event(1, "room.1", "t", NULL, NULL));
	struct error err = {0};
	int64_t rows;
	const char *now_us;

	open_db();
	link.tenant = position.tenant = item.event->tenant;
	now_us = database_get(&db, "SELECT (extract(epoch FROM now()) * 1000000)::int8");
	item.event->time_us = item.stored_us = strtoll(now_us, NULL, 10);
	ck_assert(!store_writer_open(&w, db.conn, TEST_EPOCH, &err));
	ck_assert(!store_writer_write(&w, &item, 1, &rows, &err));
	store_writer_close(&w);
	ck_assert_ptr_null(ask(nth_id(2).text, ""));
	ck_assert_ptr_null(ask(item.event->id, "globex"));
	expect(item.event->id, "");
	message.time_us = item.event->time_us;
	link.level = true;
	write_now();
	expect(item.event->id, "pending");
	/* Its channel's position takes it along while it is level … */
	message.n_positions = 1;
	position.offset = 9;
	write_now();
	expect(item.event->id, "pending");
	position.offset = 11;
	write_now();
	expect(item.event->id, "sent");
	/* … and not if it is not, or in another reactor or life of the edge. */
	link.level = false;
	message.time_us += S;
	write_now();
	expect(item.event->id, "pending");
	link.level = true;
	link.session = "0193f0f0-0000-7000-8000-000000000002";
	message.reactor = 1;
	message.n_positions = 0;
	write_now();
	expect(item.event->id, "pending pending");
	/* A second socket of a session: the better one counts. */
	link.opened_us += S;
	link.sent = 12;
	link.acked = 10;
	write_now();
	expect(item.event->id, "pending acknowledged");
	database_do(&db, "UPDATE receipt_edges SET seen_at = now() - interval '1 minute'");
	expect(item.event->id, "missed acknowledged");
	/* Long gone before the event: not even missed. */
	database_do(&db, "UPDATE receipts SET closed_at = now() - interval '1 hour', close_code ="
			 " 1006 WHERE acked = 0");
	expect(item.event->id, "acknowledged");
	items_done(&item, 1);
	database_close(&db);
}
END_TEST

RUN_TESTS("receipts", judged, faults, states_of_one_subscription, many_messages_at_once,
	  ranges_do_not_grow_for_ever, old_ones_go, deliveries_of_an_event)
