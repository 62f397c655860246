/* Orders to redrive, on a real PostgreSQL: rates, what became of each item, the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "proto/command.pb-c.h"
#include "services/event-store/redrive_pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define MAX   16
#define ORDER "00000000-0000-4000-8000-000000000001"

static struct database d;
static struct store_writer w;
static struct release_due due[MAX];
static size_t n_due;
static uint64_t next_seq;

static void setup(void)
{
	struct error err = {0};
	database_open(&d, true);
	ck_assert_msg(!store_writer_open(&w, d.conn, TEST_EPOCH, &err), "%s", err.msg);
	next_seq = 1;
	n_due = 0;
}

static void teardown(void)
{
	release_due_forget(due, &n_due);
	store_writer_close(&w);
	database_close(&d);
}

static void put(const char *task, const char *type, const char *id)
{
	struct error err = {0};
	int64_t rows;
	char channel[CHANNEL_MAX + 1];
	task_channel(task, channel);
	Penstock__Event *e = make_event(next_seq, channel, type, "{\"reason\":\"r\"}", NULL);
	if (id) {
		free(e->id);
		e->id = xstrdup(id);
	}
	struct store_item item = make_item(next_seq++, e);
	ck_assert_msg(!store_writer_write(&w, &item, 1, &rows, &err), "%s", err.msg);
	items_done(&item, 1);
}

/* An order of every dead letter there is, with as much to take as a second allows. */
static void order(int per_s)
{
	char sql[512];
	snprintf(sql, sizeof(sql),
		 "INSERT INTO redrives (id, actor, filter, per_s, total, mark_at)"
		 " VALUES ('" ORDER "', 'op', '{}', %d, 0, now() - interval '1 hour');"
		 "INSERT INTO redrive_items (redrive, n, task, tenant, seq, gen) SELECT '" ORDER
		 "',"
		 " row_number() OVER (ORDER BY task), task, tenant, last_seq, redrive_gen + 1"
		 " FROM tasks WHERE state = 'failed'",
		 per_s);
	database_do(&d, sql);
}

static const char *look(const char *paused)
{
	static char text[256];
	struct error err = {0};
	size_t len = 0;
	release_due_forget(due, &n_due);
	ck_assert_msg(!redrive_pg_read(d.conn, TEST_EPOCH, MAX, paused, due, &n_due, &err), "%s",
		      err.msg);
	text[0] = '\0';
	for (size_t i = 0; i < n_due; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "",
					due[i].task);
	return text;
}

static void note(enum release_end end)
{
	struct error err = {0};
	for (size_t i = 0; i < n_due; i++)
		if (due[i].end == RELEASE_NOT_YET)
			due[i].end = end;
	ck_assert_msg(!redrive_pg_note(d.conn, due, n_due, &err), "%s", err.msg);
}

static void again(void)
{
	database_do(&d, "UPDATE redrives SET mark_at = now() - interval '1 hour'");
}

static const char *items(void)
{
	return database_get(&d,
			    "SELECT string_agg(concat_ws(':', task, state, nullif(reason, '')), ' '"
			    " ORDER BY n) FROM redrive_items");
}

START_TEST(commands)
{
	put("t1", "task.accepted", NULL);
	put("t1", "task.failed", NULL);
	order(10);
	ck_assert_str_eq(look("{}"), "t1");
	Penstock__Command *cmd = penstock__command__unpack(NULL, due[0].len, due[0].command);
	ck_assert_ptr_nonnull(cmd);
	ck_assert_int_eq(cmd->body_case, PENSTOCK__COMMAND__BODY_REDRIVE);
	ck_assert_str_eq(cmd->tenant, "acme");
	ck_assert_str_eq(cmd->principal, "op");
	ck_assert_str_eq(cmd->redrive->task, "t1");
	ck_assert_uint_eq(cmd->redrive->seq, 2);
	ck_assert_uint_eq(cmd->redrive->redrive_gen, 1);
	ck_assert_str_eq(cmd->redrive->by, "op");
	penstock__command__free_unpacked(cmd, NULL);
}
END_TEST

/* An hour of nothing is no burst: a second's worth, then as time goes on. What has no answer yet
 * stays pending; what has is done, and the last one ends the order. */
START_TEST(rate_and_end)
{
	for (int i = 0; i < 5; i++) {
		char task[8];
		snprintf(task, sizeof(task), "t%d", i);
		put(task, "task.failed", NULL);
	}
	order(3);
	ck_assert_str_eq(look("{}"), "t0 t1 t2");
	ck_assert_str_eq(look("{}"), "");
	again();
	ck_assert_str_eq(look("{}"), "t0 t1 t2");
	note(RELEASE_DONE);
	again();
	ck_assert_str_eq(look("{\"acme\"}"), "");
	again();
	ck_assert_str_eq(look("{}"), "t3 t4");
	note(RELEASE_DONE);
	ck_assert_str_eq(database_get(&d, "SELECT state FROM redrives"), "running");
	ck_assert_str_eq(look("{}"), "");
	ck_assert_str_eq(database_get(&d, "SELECT state FROM redrives"), "done");
	ck_assert_str_eq(items(), "t0:done t1:done t2:done t3:done t4:done");
}
END_TEST

/* Redriven by a process that was killed before it noted so; gone on otherwise; gone altogether. */
START_TEST(what_has_moved_on)
{
	put("t1", "task.failed", NULL);
	put("t2", "task.failed", NULL);
	put("t3", "task.failed", NULL);
	order(10);
	put("t1", "task.redriven", id_derive("acme", "transition", "t1 1 task.redriven").text);
	put("t2", "task.redriven", NULL);
	database_do(&d, "DELETE FROM tasks WHERE task = 't3'");
	look("{}");
	note(RELEASE_NOT_YET);
	ck_assert_str_eq(items(), "t1:done t2:refused:conflict t3:refused:conflict");
}
END_TEST

RUN_TESTS_WITH("redrive", setup, teardown, commands, rate_and_end, what_has_moved_on)
