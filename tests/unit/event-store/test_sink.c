/* The sink over PostgreSQL: lead, loss of the connection, refused events. On a real loop and
 * server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/pg.h"
#include "services/event-store/item.h"
#include "services/event-store/sink_pg.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define DEADLINE_S 60

struct side { /* one event-store's */
	struct store_pg *pg;
	enum store_standing standing;
	uint64_t position;
	char event_id[ID_LEN + 1];
	int told, written, failed;
	struct error err;
	bool held;
	struct store_hold hold;
};

struct rig {
	struct database d;
	struct loop *loop;
	struct metrics *metrics;
	struct side a, b;
};

static void on_standing(void *arg, enum store_standing standing, uint64_t position,
			const char *event_id)
{
	struct side *s = arg;

	s->standing = standing;
	s->position = position;
	snprintf(s->event_id, sizeof(s->event_id), "%s", event_id);
	s->told++;
}

static void on_written(void *arg, const struct error *err)
{
	struct side *s = arg;

	if (err) {
		s->err = *err;
		s->failed++;
	} else {
		s->written++;
	}
}

static void on_hold(void *arg, const struct store_hold *hold)
{
	struct side *s = arg;
	s->hold = *hold;
	s->held = true;
}

/* Turns the loop until the condition holds. */
#define UNTIL(rig, condition)                                                                      \
	do {                                                                                       \
		time_t until = time(NULL) + DEADLINE_S;                                            \
		while (!(condition) && time(NULL) < until)                                         \
			loop_turn((rig)->loop, 50000);                                             \
		ck_assert_msg(condition, "not within the deadline: %s", #condition);               \
	} while (0)

static void start(struct rig *r, struct side *s)
{
	struct store_pg_conf conf = {.dsn = r->d.dsn, .retention_days = 36500, .seek_us = 20000};
	struct store_listener to = {.standing = on_standing, .written = on_written, .arg = s};

	s->standing = (enum store_standing) - 1;
	s->pg = store_pg_new(r->loop, &conf, r->metrics);
	store_pg_sink(s->pg)->ops->start(store_pg_sink(s->pg), TEST_EPOCH, &to);
}

static void end(struct side *s)
{
	store_pg_free(s->pg, 5000);
	s->pg = NULL;
}

static void rig_open(struct rig *r)
{
	struct error err;

	*r = (struct rig){0};
	database_open(&r->d, false);
	r->loop = loop_new(&err);
	r->metrics = metrics_new();
}

static void rig_close(struct rig *r)
{
	end(&r->a);
	end(&r->b);
	loop_free(r->loop);
	metrics_free(r->metrics);
	database_close(&r->d);
}

static void put(struct side *s, const struct store_batch *batch)
{
	store_pg_sink(s->pg)->ops->write(store_pg_sink(s->pg), batch);
}

START_TEST(leads_migrates_and_writes)
{
	struct rig r;
	struct store_item items[] = {
	    make_item(3, make_event(1, "task.t1", "task.accepted", "{\"pipeline\":\"p\"}", "k")),
	    make_item(4, make_event(2, "room.1", "chat", NULL, NULL))};
	struct store_batch batch = {.epoch = TEST_EPOCH, .items = items, .n = 2};

	rig_open(&r);
	start(&r, &r.a);
	UNTIL(&r, r.a.standing == STORE_LEADING);
	ck_assert_uint_eq(r.a.position, 0);
	put(&r.a, &batch);
	UNTIL(&r, r.a.written == 1);
	ck_assert_str_eq(database_get(&r.d, "SELECT count(*) FROM events"), "2");
	/* Who comes next learns the position. */
	start(&r, &r.b);
	UNTIL(&r, r.b.standing == STORE_STANDBY);
	end(&r.a);
	UNTIL(&r, r.b.standing == STORE_LEADING);
	ck_assert_uint_eq(r.b.position, 4);
	ck_assert_str_eq(r.b.event_id, nth_id(2).text);
	items_done(items, 2);
	rig_close(&r);
}
END_TEST

START_TEST(only_one_leads)
{
	struct rig r;

	rig_open(&r);
	start(&r, &r.a);
	start(&r, &r.b);
	UNTIL(&r, (r.a.standing == STORE_LEADING && r.b.standing == STORE_STANDBY) ||
		      (r.b.standing == STORE_LEADING && r.a.standing == STORE_STANDBY));
	struct side *leader = r.a.standing == STORE_LEADING ? &r.a : &r.b;
	struct side *other = leader == &r.a ? &r.b : &r.a;
	/* The leader's connection is cut: the other one takes over. */
	database_do(&r.d, "SELECT pg_terminate_backend(pid) FROM " DATABASE_LOCKS
			  " WHERE locktype = 'advisory' AND granted");
	UNTIL(&r, other->standing == STORE_LEADING || leader->told >= 3);
	UNTIL(&r, (r.a.standing == STORE_LEADING) + (r.b.standing == STORE_LEADING) == 1 &&
		      (r.a.standing == STORE_STANDBY) + (r.b.standing == STORE_STANDBY) == 1);
	rig_close(&r);
}
END_TEST

START_TEST(a_batch_on_a_broken_connection_fails_whole)
{
	struct rig r;
	struct store_item item = make_item(1, make_event(1, "room.1", "chat", NULL, NULL));
	struct store_batch batch = {.epoch = TEST_EPOCH, .items = &item, .n = 1};

	rig_open(&r);
	start(&r, &r.a);
	UNTIL(&r, r.a.standing == STORE_LEADING);
	/* The server ends the connection while it waits in the batch. */
	database_do(&r.d, "BEGIN; LOCK TABLE events");
	put(&r.a, &batch);
	while (atoi(database_get(&r.d,
				 "SELECT count(*) FROM " DATABASE_LOCKS " WHERE NOT granted")) == 0)
		loop_turn(r.loop, 5000);
	database_do(&r.d,
		    "SELECT pg_terminate_backend(pid) FROM " DATABASE_LOCKS " WHERE NOT granted");
	UNTIL(&r, r.a.failed == 1);
	ck_assert_int_eq(r.a.err.code, ERR_TRANSIENT);
	UNTIL(&r, r.a.standing == STORE_AWAY || r.a.told > 2);
	database_do(&r.d, "COMMIT");
	UNTIL(&r, r.a.standing == STORE_LEADING);
	put(&r.a, &batch);
	UNTIL(&r, r.a.written == 1);
	ck_assert_str_eq(database_get(&r.d, "SELECT count(*) FROM events"), "1");
	items_done(&item, 1);
	rig_close(&r);
}
END_TEST

START_TEST(what_is_refused_does_not_block_the_rest)
{
	struct rig r;
	struct store_item items[20];
	struct store_batch batch = {.epoch = TEST_EPOCH, .items = items, .n = 20};

	rig_open(&r);
	start(&r, &r.a);
	UNTIL(&r, r.a.standing == STORE_LEADING);
	database_do(&r.d, "ALTER TABLE events ADD CHECK (type <> 'refused')");
	for (size_t i = 0; i < 20; i++)
		items[i] =
		    make_item(i + 1, make_event(i, "room.1", i == 7 || i == 19 ? "refused" : "chat",
						NULL, NULL));
	put(&r.a, &batch);
	UNTIL(&r, r.a.written == 1);
	ck_assert_str_eq(database_get(&r.d, "SELECT count(*) FROM events"), "18");
	ck_assert_str_eq(
	    database_get(
		&r.d, "SELECT string_agg(seq || ' ' || subject, ',' ORDER BY seq) FROM quarantine"),
	    "8 pen.evt.1.acme.room.1,20 pen.evt.1.acme.room.1");
	ck_assert_str_eq(database_get(&r.d, "SELECT seq FROM store_position"), "20");
	ck_assert_ptr_null(items[7].event);
	items_done(items, 20);
	rig_close(&r);
}
END_TEST

START_TEST(what_must_stay)
{
	struct rig r;
	struct store_item items[] = {
	    make_item(3, make_event(1, "room.1", "chat", NULL, NULL)),
	    make_item(4, make_event(2, "task.t1", "task.accepted", "{}", NULL)),
	    make_item(5, make_event(3, "task.t2", "task.accepted", "{}", NULL)),
	    make_item(6, make_event(4, "task.t1", "task.completed", "{}", NULL))};
	struct store_batch batch = {.epoch = TEST_EPOCH, .items = items, .n = 4};

	rig_open(&r);
	start(&r, &r.a);
	UNTIL(&r, r.a.standing == STORE_LEADING);
	put(&r.a, &batch);
	UNTIL(&r, r.a.written == 1);
	store_pg_ask_hold(r.a.pg, 1000LL * 86400 * 365 * 100, on_hold, &r.a);
	UNTIL(&r, r.a.held);
	ck_assert(r.a.hold.known);
	ck_assert_uint_eq(r.a.hold.position, 6);
	ck_assert_uint_eq(r.a.hold.oldest_open, 5);
	/* At rest: whoever goes on with it reads it from here. */
	database_do(&r.d, "UPDATE tasks SET release_at = now() + interval '1 hour'"
			  " WHERE first_seq = 5");
	r.a.held = false;
	store_pg_ask_hold(r.a.pg, 1000LL * 86400 * 365 * 100, on_hold, &r.a);
	UNTIL(&r, r.a.held);
	ck_assert(r.a.hold.known);
	ck_assert_uint_eq(r.a.hold.oldest_open, 0);
	database_do(&r.d, "UPDATE tasks SET release_at = NULL");
	/* Too old to be waited for. */
	r.a.held = false;
	store_pg_ask_hold(r.a.pg, 1, on_hold, &r.a);
	UNTIL(&r, r.a.held);
	ck_assert_uint_eq(r.a.hold.oldest_open, 0);
	r.a.held = false;
	store_pg_ask_hold(r.a.pg, -1, on_hold, &r.a);
	UNTIL(&r, r.a.held);
	ck_assert(!r.a.hold.known);
	/* Who stands by knows nothing. */
	start(&r, &r.b);
	UNTIL(&r, r.b.standing == STORE_STANDBY);
	store_pg_ask_hold(r.b.pg, 1000LL * 86400 * 365 * 100, on_hold, &r.b);
	UNTIL(&r, r.b.held);
	ck_assert(!r.b.hold.known);
	items_done(items, 4);
	rig_close(&r);
}
END_TEST

START_TEST(no_server)
{
	struct rig r;

	rig_open(&r);
	snprintf(r.d.dsn, sizeof(r.d.dsn), "host=/nonexistent user=x dbname=y");
	start(&r, &r.a);
	store_pg_ask_hold(r.a.pg, 1, on_hold, &r.a);
	UNTIL(&r, r.a.held);
	ck_assert(!r.a.hold.known);
	ck_assert_int_eq(r.a.told, 0); /* away is how it begins */
	rig_close(&r);
}
END_TEST

RUN_TESTS("sink", leads_migrates_and_writes, only_one_leads,
	  a_batch_on_a_broken_connection_fails_whole, what_is_refused_does_not_block_the_rest,
	  what_must_stay, no_server)
