/* Triggers as the slow path fires them, on a real PostgreSQL. */
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "proto/command.pb-c.h"
#include "services/event-store/trigger_pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/due.h"

static struct database d;
static struct store_writer w;
static struct due_list due;
static size_t next_event;
static uint64_t next_seq;

static void setup(void)
{
	struct error err = {0};
	database_open(&d, true);
	ck_assert_msg(!store_writer_open(&w, d.conn, TEST_EPOCH, &err), "%s", err.msg);
	database_do(&d, "INSERT INTO control.tenants (id, doc) VALUES ('acme', '{}'), ('b', '{}')");
	next_seq = 1;
	next_event = 0;
}

static void teardown(void)
{
	due_forget(&due);
	store_writer_close(&w);
	database_close(&d);
}

/* An event of depth 2. */
static uint64_t publish(const char *tenant, const char *channel, const char *type)
{
	struct error err = {0};
	int64_t rows;
	Penstock__Event *e = make_event(next_event++, channel, type, "{\"a\": [1]}", NULL);
	free(e->tenant);
	e->tenant = xstrdup(tenant);
	struct store_item item = make_item(next_seq, e);
	ck_assert_msg(!store_writer_write(&w, &item, 1, &rows, &err), "%s", err.msg);
	items_done(&item, 1);
	return next_seq++;
}

/* As the control-plane puts it: from the log's end on. */
static void put(const char *tenant, const char *name, const char *type, const char *channels)
{
	char sql[700];
	snprintf(sql, sizeof(sql),
		 "INSERT INTO control.triggers (tenant, name, doc, type, channels, paused,"
		 " from_epoch, from_seq) SELECT '%s', '%s', '{\"pipeline\":\"p\",\"priority\":-1}',"
		 " '%s', '%s', false, coalesce(max(epoch), 0), coalesce(max(seq), 0)"
		 " FROM store_position",
		 tenant, name, type, channels);
	database_do(&d, sql);
}

static const char *look(size_t max, const char *paused)
{
	struct error err = {0};
	bool found;
	due_forget(&due);
	ck_assert_msg(!trigger_pg_look(d.conn, &found, &err), "%s", err.msg);
	ck_assert_msg(!trigger_pg_read(d.conn, max, paused, due.due, &due.n, &err), "%s", err.msg);
	return due_text(&due, true);
}

static const char *state(void)
{
	return database_get(
	    &d, "SELECT string_agg(concat_ws(':', name, started, refused, last->>'result',"
		" last->>'code', last ? 'task', last->>'event'), ' ' ORDER BY name)"
		" FROM (SELECT name, started, refused, last::jsonb FROM control.triggers) t");
}

static const char *waiting(void)
{
	return database_get(&d, "SELECT count(*) FROM trigger_events");
}

START_TEST(one_event_is_one_task)
{
	char wanted[400], key[KEY_MAX + 1];
	struct error err = {0};
	publish("acme", "room.1", "chat"); /* before the trigger */
	put("acme", "t", "chat", "^(?:room[.].*)$");
	uint64_t seq = publish("acme", "room.1", "chat");
	publish("acme", "hall.1", "chat");
	publish("acme", "room.1", "note");
	publish("b", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:2");
	Penstock__Command *cmd = due_command(&due, 0);
	ck_assert_int_eq(cmd->body_case, PENSTOCK__COMMAND__BODY_TASK);
	ck_assert_str_eq(cmd->principal, "trigger:t");
	ck_assert_str_eq(cmd->trace, TEST_TRACE);
	ck_assert_uint_eq(cmd->depth, 3);
	ck_assert_str_eq(cmd->task->pipeline, "p");
	ck_assert_int_eq(cmd->task->priority, -1);
	snprintf(key, sizeof(key), "trigger.t.%s", nth_id(1).text);
	ck_assert_str_eq(cmd->task->key, key);
	ck_assert_str_eq(id_derive("acme", "task", key).text, due.due[0].task);
	snprintf(wanted, sizeof(wanted),
		 "{\"event\":{\"id\":\"%s\",\"channel\":\"room.1\",\"type\":\"chat\",\"version\":2,"
		 "\"epoch\":\"1764000000000000\",\"offset\":%d,"
		 "\"time\":\"2025-11-24T16:01:40.001001Z\",\"data\":{\"a\": [1]}}}",
		 nth_id(1).text, (int)seq);
	ck_assert_uint_eq(cmd->task->input.len, strlen(wanted));
	ck_assert(!memcmp(cmd->task->input.data, wanted, strlen(wanted)));
	/* The answer is lost: the same is asked for again. */
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:2");
	Penstock__Command *again = due_command(&due, 0);
	ck_assert_str_eq(again->id, cmd->id);
	ck_assert_str_eq(again->task->key, cmd->task->key);
	penstock__command__free_unpacked(cmd, NULL);
	penstock__command__free_unpacked(again, NULL);
	due_note(&due, trigger_pg_note, d.conn, RELEASE_DONE, "");
	ck_assert(!trigger_pg_note(d.conn, due.due, due.n, &err)); /* a late word changes nothing */
	snprintf(wanted, sizeof(wanted), "t:1:0:started:t:%s", nth_id(1).text);
	ck_assert_str_eq(state(), wanted);
	ck_assert_str_eq(look(DUE_MAX, "{}"), "");
	ck_assert_str_eq(waiting(), "0");
}
END_TEST

START_TEST(several_triggers_of_an_event)
{
	put("acme", "a", "chat", "^(?:.*)$");
	put("acme", "b", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/a:1 acme/b:1 acme/a:2 acme/b:2");
	due.due[1].end = RELEASE_BAD; /* of b; a's go on */
	strcpy(due.due[1].reason, "not_found");
	due.due[0].end = due.due[2].end = RELEASE_DONE;
	struct error err = {0};
	ck_assert(!trigger_pg_note(d.conn, due.due, due.n, &err));
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/b:2");
	char wanted[200];
	snprintf(wanted, sizeof(wanted), "a:2:0:started:t:%s b:0:1:refused:not_found:f:%s",
		 nth_id(1).text, nth_id(0).text);
	ck_assert_str_eq(state(), wanted);
}
END_TEST

/* The place moves over what fits nothing, by so many offsets at most, and over holes. */
START_TEST(the_look_is_bounded)
{
	struct error err = {0};
	put("acme", "t", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	next_seq = TRIGGER_LOOK + 1;
	publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1");
	ck_assert_str_eq(database_get(&d, "SELECT position FROM trigger_places"), "5000");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1 acme/t:5001");
	bool found = true;
	ck_assert(!trigger_pg_look(d.conn, &found, &err) && !found); /* at the end */
	ck_assert_str_eq(waiting(), "2");
	due_note(&due, trigger_pg_note, d.conn, RELEASE_DONE, "");
	/* The stream begins anew. */
	store_writer_close(&w);
	ck_assert(!store_writer_open(&w, d.conn, TEST_EPOCH + 1, &err));
	next_seq = 1;
	publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1");
	ck_assert_uint_eq(due.due[0].epoch, TEST_EPOCH + 1);
}
END_TEST

/* While there was no trigger nobody looked; that time is not made up for. */
START_TEST(from_the_first_trigger_on)
{
	put("acme", "old", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	look(DUE_MAX, "{}");
	database_do(&d, "DELETE FROM control.triggers");
	ck_assert_str_eq(waiting(), "0");
	for (int i = 0; i < 3; i++)
		publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "");
	put("acme", "new", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/new:5");
	ck_assert_str_eq(database_get(&d, "SELECT position FROM trigger_places"), "5");
}
END_TEST

START_TEST(a_paused_one)
{
	put("acme", "t", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1");
	database_do(&d, "UPDATE control.triggers SET paused = true");
	publish("acme", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "");
	ck_assert_str_eq(waiting(), "1");
}
END_TEST

START_TEST(a_loop_ends)
{
	put("acme", "t", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	publish("acme", "room.1", "chat");
	database_do(&d, "UPDATE events SET depth = 7 + (seq = 2)::int");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1 acme/t:2loop");
	ck_assert_ptr_null(due.due[1].command);
	due_note(&due, trigger_pg_note, d.conn, RELEASE_DONE, "");
	char wanted[100];
	snprintf(wanted, sizeof(wanted), "t:1:1:refused:loop:f:%s", nth_id(1).text);
	ck_assert_str_eq(state(), wanted);
	ck_assert_str_eq(waiting(), "0");
}
END_TEST

START_TEST(no_longer_in_the_log)
{
	put("acme", "t", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	look(DUE_MAX, "{}");
	database_do(&d, "DELETE FROM events");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1expired");
	due_note(&due, trigger_pg_note, d.conn, RELEASE_DONE, "");
	ck_assert_str_eq(state(), "t:0:1:refused:expired:f");
}
END_TEST

START_TEST(too_large_for_a_task)
{
	put("acme", "t", "chat", "^(?:.*)$");
	publish("acme", "room.1", "chat");
	database_do(&d, "UPDATE events SET data = repeat('1', 900 * 1024 + 1)");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1too_large");
}
END_TEST

START_TEST(tenants_take_turns)
{
	put("acme", "t", "chat", "^(?:.*)$");
	put("b", "t", "chat", "^(?:.*)$");
	for (int i = 0; i < 3; i++)
		publish("acme", "room.1", "chat");
	publish("b", "room.1", "chat");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/t:1 b/t:4 acme/t:2 acme/t:3");
	ck_assert_str_eq(look(2, "{}"), "acme/t:1 b/t:4");
	ck_assert_str_eq(look(DUE_MAX, "{\"acme\"}"), "b/t:4");
}
END_TEST

RUN_TESTS_WITH("trigger", setup, teardown, one_event_is_one_task, several_triggers_of_an_event,
	       the_look_is_bounded, from_the_first_trigger_on, a_paused_one, a_loop_ends,
	       no_longer_in_the_log, too_large_for_a_task, tenants_take_turns)
