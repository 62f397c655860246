/* The writer, on a real PostgreSQL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "common/strbuf.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

START_TEST(errors_say_what_to_do)
{
	static const struct {
		const char *sql;
		enum err_code code;
	} table[] = {
	    {"INSERT INTO t VALUES (1)", ERR_CONFLICT},
	    {"INSERT INTO t VALUES (NULL)", ERR_REJECTED},
	    {"SELECT 'x'::int", ERR_REJECTED},
	    {"SELECT * FROM nowhere", ERR_FATAL},
	    {"SELECT nonsense(", ERR_FATAL},
	    {"SET statement_timeout = 1; SELECT pg_sleep(60)", ERR_TRANSIENT},
	    {"DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", ERR_TRANSIENT},
	    {"SELECT pg_terminate_backend(pg_backend_pid())", ERR_TRANSIENT},
	};
	struct database d;
	struct error err;

	database_open(&d, false);
	database_do(&d, "CREATE TABLE t (x int PRIMARY KEY); INSERT INTO t VALUES (1)");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		err = (struct error){0};
		ck_assert_int_eq(pg_exec(d.conn, table[i].sql, &err), -1);
		ck_assert_msg(err.code == table[i].code, "%s: %s %s", table[i].sql,
			      err_code_name(err.code), err.msg);
	}
	ck_assert(!pg_alive(d.conn));
	ck_assert_ptr_null(pg_connect("host=127.0.0.1 port=1", "test", &err));
	ck_assert_int_eq(err.code, ERR_TRANSIENT);
	ck_assert_ptr_null(pg_connect("no such=", "test", &err));
	ck_assert_int_eq(err.code, ERR_FATAL);
	database_close(&d);
}
END_TEST

/* --- the writer ---------------------------------------------------------------------------------
 */

struct rig {
	struct database d;
	struct store_writer w;
};

static void rig_open(struct rig *r)
{
	struct error err = {0};

	database_open(&r->d, true);
	ck_assert_msg(!store_writer_open(&r->w, r->d.conn, TEST_EPOCH, &err), "%s", err.msg);
}

static void rig_close(struct rig *r)
{
	store_writer_close(&r->w);
	database_close(&r->d);
}

static int64_t put(struct rig *r, struct store_item *items, size_t n)
{
	struct error err = {0};
	int64_t rows = -1;

	ck_assert_msg(!store_writer_write(&r->w, items, n, &rows, &err), "%s", err.msg);
	return rows;
}

START_TEST(rows_are_what_was_published)
{
	struct rig r;
	const char *data = "{ \"b\": 1.50, \"a\": \"\\u00e9 \xc3\xa9\", \"b2\" :[1 ,2]}";
	struct store_item item = make_item(5, make_event(1, "room.1", "chat", data, "key-1"));
	char day[32], wanted[400];

	snprintf(wanted, sizeof(wanted),
		 "1764000000000000 5 %s acme room.1 chat 2 key-1 -81985529216486896 " TEST_SESSION
		 " r1 c1 k1 2 " TEST_TRACE,
		 nth_id(1).text);
	rig_open(&r);
	ck_assert_int_eq(put(&r, &item, 1), 1);
	ck_assert_str_eq(database_get(&r.d, "SELECT data FROM events"), data);
	ck_assert_str_eq(
	    database_get(
		&r.d,
		"SELECT concat_ws(' ', epoch, seq, event_id, tenant, channel, type, version,"
		" key, digest, session, router, command, principal, depth, trace) FROM events"),
	    wanted);
	store_day_name(store_day(TEST_TIME_US), day);
	ck_assert_str_eq(database_get(&r.d, "SELECT tableoid::regclass FROM events"), day);
	ck_assert_str_eq(
	    database_get(&r.d, "SELECT (extract(epoch FROM time) * 1000000)::int8 FROM events"),
	    "1764000100001001");
	items_done(&item, 1);
	rig_close(&r);
}
END_TEST

START_TEST(the_same_message_twice_is_one_row)
{
	struct rig r;
	struct store_item items[] = {make_item(1, make_event(1, "room.1", "chat", NULL, "k")),
				     make_item(2, make_event(2, "room.1", "chat", NULL, NULL)),
				     make_item(3, make_event(3, "room.1", "chat", NULL, NULL))};

	rig_open(&r);
	ck_assert_int_eq(put(&r, items, 2), 2);
	ck_assert_int_eq(put(&r, items, 2), 0);
	ck_assert_int_eq(put(&r, items, 3), 1);
	ck_assert_int_eq(put(&r, items + 1, 2), 0); /* and without a key that would tell */
	ck_assert_str_eq(database_get(&r.d, "SELECT count(*) FROM events"), "3");
	items_done(items, 3);
	rig_close(&r);
}
END_TEST

START_TEST(a_key_has_one_row_for_ever)
{
	struct rig r;
	/* Twice in a batch; again later, days apart; and in another life of the stream. */
	struct store_item items[] = {make_item(1, make_event(1, "room.1", "chat", NULL, "k")),
				     make_item(2, make_event(1, "room.1", "chat", NULL, "k")),
				     make_item(3, make_event(1, "room.1", "chat", NULL, "k"))};
	struct error err;

	rig_open(&r);
	ck_assert_int_eq(put(&r, items, 2), 1);
	items[2].event->time_us += 3 * 86400000000LL;
	items[2].stored_us += 3 * 86400000000LL;
	ck_assert_int_eq(put(&r, items + 2, 1), 0);
	store_writer_close(&r.w);
	ck_assert(!store_writer_open(&r.w, r.d.conn, TEST_EPOCH + 1, &err));
	ck_assert_int_eq(put(&r, items + 1, 1), 0);
	ck_assert_str_eq(database_get(&r.d, "SELECT string_agg(seq::text, ',') FROM events"), "1");
	/* The position went on all the same. */
	ck_assert_str_eq(
	    database_get(&r.d,
			 "SELECT string_agg(seq || '', ',' ORDER BY epoch) FROM store_position"),
	    "3,2");
	items_done(items, 3);
	rig_close(&r);
}
END_TEST

START_TEST(position_is_written_along)
{
	struct rig r;
	struct store_item items[] = {make_item(7, make_event(1, "room.1", "chat", NULL, NULL)),
				     make_item(8, make_event(2, "room.1", "chat", NULL, NULL))};
	uint64_t seq = 99;
	char id[37];
	struct error err = {0};

	rig_open(&r);
	ck_assert(!store_writer_position(&r.w, &seq, id, &err));
	ck_assert_uint_eq(seq, 0);
	put(&r, items, 2);
	put(&r, items, 1); /* an older one does not turn it back */
	ck_assert(!store_writer_position(&r.w, &seq, id, &err));
	ck_assert_uint_eq(seq, 8);
	ck_assert_str_eq(id, nth_id(2).text);
	items_done(items, 2);
	rig_close(&r);
}
END_TEST

START_TEST(a_failure_leaves_nothing_of_the_batch)
{
	struct rig r;
	struct store_item items[] = {
	    make_item(1, make_event(1, "task.t1", "task.accepted", "{\"pipeline\":\"p\"}", "k")),
	    make_item(2, make_event(2, "room.1", "refused", NULL, NULL))};
	struct error err = {0};
	int64_t rows;

	rig_open(&r);
	database_do(&r.d, "ALTER TABLE events ADD CHECK (type <> 'refused')");
	ck_assert_int_eq(store_writer_write(&r.w, items, 2, &rows, &err), -1);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	ck_assert_str_eq(
	    database_get(
		&r.d, "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM event_keys) +"
		      " (SELECT count(*) FROM tasks) + (SELECT count(*) FROM store_position)"),
	    "0");
	ck_assert_int_eq(put(&r, items, 1), 1);
	ck_assert_str_eq(database_get(&r.d, "SELECT state FROM tasks"), "accepted");
	items_done(items, 2);
	rig_close(&r);
}
END_TEST

START_TEST(clocks_that_are_wrong)
{
	struct rig r;
	struct store_item items[] = {make_item(1, make_event(1, "room.1", "chat", NULL, NULL)),
				     make_item(2, make_event(2, "room.1", "chat", NULL, NULL)),
				     make_item(3, make_event(3, "room.1", "chat", NULL, NULL))};

	rig_open(&r);
	items[0].event->time_us = 0;
	items[1].event->time_us = INT64_MAX;
	items[2].event->time_us -= 86000000000; /* late, but believable: its own day */
	put(&r, items, 3);
	ck_assert_str_eq(
	    database_get(
		&r.d, "SELECT string_agg((time AT TIME ZONE 'UTC')::date::text, ' ' ORDER BY seq)"
		      " FROM events"),
	    "2025-11-24 2025-11-24 2025-11-23");
	items_done(items, 3);
	rig_close(&r);
}
END_TEST

START_TEST(poison_is_kept)
{
	struct rig r;
	struct store_item items[] = {
	    {.seq = 1,
	     .subject = xstrdup("pen.evt.x"),
	     .reason = "why",
	     .bytes = xmemdup("a\0b", 3),
	     .len = 3},
	    {.seq = 2, .subject = xstrdup("pen.evt.y"), .reason = "why not"},
	    make_item(3, make_event(3, "room.1", "chat", NULL, NULL))};

	rig_open(&r);
	put(&r, items, 3);
	put(&r, items, 3);
	ck_assert_str_eq(
	    database_get(&r.d,
			 "SELECT string_agg(seq || subject || reason || encode(bytes, 'hex'), ' '"
			 " ORDER BY seq) FROM quarantine"),
	    "1pen.evt.xwhy610062 2pen.evt.ywhy not");
	ck_assert_str_eq(database_get(&r.d, "SELECT seq FROM store_position"), "3");
	put(&r, items, 1);
	items_done(items, 3);
	rig_close(&r);
}
END_TEST

static const char *const story[][2] = {
    {"task.accepted", "{\"task\":\"t1\",\"pipeline\":\"p\",\"version\":3,\"input\":{\"q\":1}}"},
    {"task.started", "{\"worker\":\"w1\",\"run\":1}"},
    {"task.stage.started", "{\"stage\":\"a\",\"kind\":\"chat\",\"attempt\":1,\"worker\":\"w1\"}"},
    {"task.stage.completed", "{\"stage\":\"a\",\"attempt\":1,\"duration_ms\":3,"
			     "\"usage\":{\"total_tokens\":4},\"output\":1}"},
    {"task.completed", "{\"output\":{\"text\":\"x\"},\"usage\":{\"total_tokens\":4}}"},
};
#define STORY 5

#define SHOW_TASK                                                                                  \
	"SELECT concat_ws('|', task, tenant, pipeline, version, state, input, output, usage,"      \
	" json_array_length(stages), stages->0->>'state', worker, run, attempts, first_seq, "      \
	"last_seq,"                                                                                \
	" finished_at IS NULL) FROM tasks"

/* However the story is cut into batches, and whether the writer remembers or reads: the row is the
 * same. */
START_TEST(tasks_are_projected)
{
	for (size_t cut = 0; cut < STORY; cut++) {
		for (int reopen = 0; reopen < 2; reopen++) {
			struct rig r;
			struct store_item items[STORY];
			struct error err;

			rig_open(&r);
			for (size_t i = 0; i < STORY; i++)
				items[i] =
				    make_item(i + 10, make_event(i, "task.t1", story[i][0],
								 story[i][1], i ? NULL : "k"));
			if (cut)
				put(&r, items, cut);
			if (reopen) {
				store_writer_close(&r.w);
				ck_assert(!store_writer_open(&r.w, r.d.conn, TEST_EPOCH, &err));
			}
			put(&r, items + cut, STORY - cut);
			/* And once more from the beginning. */
			put(&r, items, STORY);
			ck_assert_str_eq(database_get(&r.d, SHOW_TASK),
					 "t1|acme|p|3|completed|{\"q\":1}|{\"text\":\"x\"}|{"
					 "\"total_tokens\":4}|1|"
					 "completed|w1|1|1|10|14|f");
			items_done(items, STORY);
			rig_close(&r);
		}
	}
}
END_TEST

START_TEST(many_tasks_in_one_batch)
{
	struct rig r;
	static struct store_item items[3000];

	rig_open(&r);
	for (size_t i = 0; i < 3000; i++) {
		char channel[32];
		snprintf(channel, sizeof(channel), "task.t%zu", i % 600);
		items[i] = make_item(
		    i + 1, make_event(i, channel, story[i / 600][0], story[i / 600][1], NULL));
	}
	put(&r, items, 3000);
	ck_assert_str_eq(
	    database_get(
		&r.d,
		"SELECT count(*) || ' ' || sum(attempts) FROM tasks WHERE state = 'completed'"),
	    "600 600");
	items_done(items, 3000);
	rig_close(&r);
}
END_TEST

START_TEST(retention_drops_days)
{
	struct rig r;
	struct error err = {0};
	struct store_item items[40];
	int dropped;
	int64_t now = TEST_TIME_US + 39 * 86400000000LL;

	rig_open(&r);
	for (size_t i = 0; i < 40; i++) {
		items[i] = make_item(i + 1, make_event(i, "room.1", "chat", NULL, "k"));
		items[i].event->time_us += (int64_t)i * 86400000000LL;
		items[i].stored_us += (int64_t)i * 86400000000LL;
	}
	put(&r, items, 40);
	ck_assert(!store_writer_maintain(&r.w, now, 30, &dropped, &err));
	ck_assert_int_eq(dropped, 9);
	ck_assert_str_eq(database_get(&r.d, "SELECT count(*) || ' ' || min(seq) FROM events"),
			 "31 10");
	ck_assert_str_eq(database_get(&r.d, "SELECT count(*) FROM event_keys"), "31");
	/* Two days ahead are there. */
	ck_assert_str_eq(
	    database_get(&r.d,
			 "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass"),
	    "33");
	ck_assert(!store_writer_maintain(&r.w, now, 30, &dropped, &err));
	ck_assert_int_eq(dropped, 0);
	items_done(items, 40);
	rig_close(&r);
}
END_TEST

START_TEST(names_of_days)
{
	char name[32];
	int32_t day;

	store_day_name(store_day(TEST_TIME_US), name);
	ck_assert_str_eq(name, "events_p20251124");
	ck_assert(store_day_parse(name, &day));
	ck_assert_int_eq(day, store_day(TEST_TIME_US));
	ck_assert(!store_day_parse("events_p2025112", &day));
	ck_assert(!store_day_parse("events_p20251124x", &day));
	ck_assert(!store_day_parse("events", &day));
	ck_assert_int_eq(store_day(-1), -1);
	ck_assert_int_eq(store_day(0), 0);
}
END_TEST

RUN_TESTS("writer", errors_say_what_to_do, rows_are_what_was_published,
	  the_same_message_twice_is_one_row, a_key_has_one_row_for_ever, position_is_written_along,
	  a_failure_leaves_nothing_of_the_batch, clocks_that_are_wrong, poison_is_kept,
	  tasks_are_projected, many_tasks_in_one_batch, retention_drops_days, names_of_days)
