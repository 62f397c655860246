/* Schedules as the slow path fires them, on a real PostgreSQL. */
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "proto/command.pb-c.h"
#include "services/event-store/schedule_pg.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/due.h"

static struct database d;
static struct due_list due;

static void setup(void)
{
	database_open(&d, true);
	/* How far a minute is gone decides what is due. */
	database_clock(&d, "2026-03-10 12:00:30");
	database_do(&d, "INSERT INTO control.tenants (id, doc) VALUES ('acme', '{}'), ('b', '{}')");
}

static void teardown(void)
{
	due_forget(&due);
	database_close(&d);
}

/* Due every minute; late by so much. */
static void put(const char *tenant, const char *name, const char *missed, const char *late)
{
	char sql[512];
	snprintf(sql, sizeof(sql),
		 "INSERT INTO control.schedules (tenant, name, doc, next_at) VALUES ('%s', '%s',"
		 " '{\"cron\":\"* * * * *\",\"zone\":\"Europe/Berlin\",\"pipeline\":\"p\","
		 "\"input\":{\"a\": 1},\"priority\":-1,\"missed\":\"%s\"}',"
		 " date_trunc('second', now()) - interval '%s')",
		 tenant, name, missed, late);
	database_do(&d, sql);
}

static const char *look(size_t max, const char *paused)
{
	struct error err = {0};
	due_forget(&due);
	ck_assert_msg(!schedule_pg_read(d.conn, max, paused, due.due, &due.n, &err), "%s", err.msg);
	return due_text(&due, false);
}

static const char *state(void)
{
	return database_get(&d, "SELECT string_agg(concat_ws(':', name, last->>'result', "
				"last->>'code', runs, missed, next_at > now(), last ? 'task'), ' ' "
				"ORDER BY name) FROM (SELECT name, last::jsonb, runs, missed, "
				"next_at FROM control.schedules) s");
}

START_TEST(one_due_time_is_one_task)
{
	put("acme", "nightly", "skip", "2 s");
	put("acme", "later", "skip", "-1 hour");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/nightly");
	Penstock__Command *cmd = due_command(&due, 0);
	ck_assert_int_eq(cmd->body_case, PENSTOCK__COMMAND__BODY_TASK);
	ck_assert_str_eq(cmd->principal, "schedule:nightly");
	ck_assert(trace_valid(cmd->trace));
	ck_assert_str_eq(cmd->task->pipeline, "p");
	ck_assert_int_eq(cmd->task->priority, -1);
	ck_assert_uint_eq(cmd->task->input.len, 8);
	ck_assert(!memcmp(cmd->task->input.data, "{\"a\": 1}", 8));
	ck_assert_ptr_eq(strstr(cmd->task->key, "schedule.nightly.20"), cmd->task->key);
	/* The answer is lost: the same is asked for again. */
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/nightly");
	Penstock__Command *again = due_command(&due, 0);
	ck_assert_str_eq(again->task->key, cmd->task->key);
	ck_assert_str_eq(again->id, cmd->id);
	ck_assert_str_eq(again->trace, cmd->trace);
	ck_assert_str_eq(id_derive("acme", "task", cmd->task->key).text, due.due[0].task);
	penstock__command__free_unpacked(cmd, NULL);
	penstock__command__free_unpacked(again, NULL);
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE, "");
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE,
		 ""); /* a late word changes nothing */
	ck_assert_str_eq(state(), "later:0:0:t nightly:started:1:0:t:t");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "");
}
END_TEST

START_TEST(what_was_missed)
{
	put("acme", "once", "run_once", "1 day");
	put("acme", "skip", "skip", "1 day");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/once acme/skipmissed");
	ck_assert_ptr_null(due.due[1].command);
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE, "");
	/* The one that was due within the last minute is not missed. */
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/once acme/skip");
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE, "");
	ck_assert_str_eq(state(), "once:started:2:0:t:t skip:started:1:1:t:t");
}
END_TEST

START_TEST(a_minute_begins_meanwhile)
{
	database_clock(&d, "2026-03-10 12:00:59");
	put("acme", "nightly", "skip", "1 s");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/nightly");
	database_clock(&d, "2026-03-10 12:01:00");
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE, "");
	ck_assert_str_eq(state(), "nightly:started:1:0:f:t");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/nightly");
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE, "");
	ck_assert_str_eq(state(), "nightly:started:2:0:t:t");
}
END_TEST

START_TEST(refused_and_changed)
{
	put("acme", "gone", "skip", "1 s");
	look(DUE_MAX, "{}");
	due_note(&due, schedule_pg_note, d.conn, RELEASE_BAD, "not_found");
	ck_assert_str_eq(state(), "gone:refused:not_found:0:0:t:f");
	database_do(&d,
		    "UPDATE control.schedules SET next_at = now() - interval '1 s', last = NULL");
	look(DUE_MAX, "{}");
	database_do(&d, "UPDATE control.schedules SET next_at = '2099-01-01'");
	due_note(&due, schedule_pg_note, d.conn, RELEASE_DONE, "");
	ck_assert_str_eq(state(), "gone:0:0:t");
}
END_TEST

START_TEST(tenants_take_turns)
{
	put("acme", "a1", "skip", "5 s");
	put("acme", "a2", "skip", "4 s");
	put("b", "b1", "skip", "1 s");
	ck_assert_str_eq(look(DUE_MAX, "{}"), "acme/a1 b/b1 acme/a2");
	ck_assert_str_eq(look(2, "{}"), "acme/a1 b/b1");
	ck_assert_str_eq(look(DUE_MAX, "{\"acme\"}"), "b/b1");
}
END_TEST

RUN_TESTS_WITH("schedule", setup, teardown, one_due_time_is_one_task, what_was_missed,
	       a_minute_begins_meanwhile, refused_and_changed, tenants_take_turns)
