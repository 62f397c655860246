/* What the slow path reads and notes, on a real PostgreSQL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "proto/command.pb-c.h"
#include "services/event-store/release_pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define MAX 16

static struct database d;
static struct store_writer w;
static struct release_due due[MAX];
static size_t n_due;
static uint64_t next_seq;
static size_t next_event;

static void setup(void)
{
	struct error err = {0};
	database_open(&d, true);
	ck_assert_msg(!store_writer_open(&w, d.conn, TEST_EPOCH, &err), "%s", err.msg);
	next_seq = 1;
	next_event = 0;
	n_due = 0;
}

static void teardown(void)
{
	release_due_forget(due, &n_due);
	store_writer_close(&w);
	database_close(&d);
}

static uint64_t put(const char *tenant, const char *task, const char *type, const char *data)
{
	struct error err = {0};
	int64_t rows;
	char channel[CHANNEL_MAX + 1];
	task_channel(task, channel);
	Penstock__Event *e = make_event(next_event++, channel, type, data, NULL);
	free(e->tenant);
	e->tenant = xstrdup(tenant);
	struct store_item item = make_item(next_seq, e);
	ck_assert_msg(!store_writer_write(&w, &item, 1, &rows, &err), "%s", err.msg);
	items_done(&item, 1);
	return next_seq++;
}

static uint64_t park(const char *tenant, const char *task, const char *not_before)
{
	char data[64];
	put(tenant, task, "task.accepted", "{\"pipeline\":\"p\",\"version\":3,\"input\":7}");
	snprintf(data, sizeof(data), "{\"not_before\":%s}", not_before);
	return put(tenant, task, "task.parked", data);
}

static const char *look(size_t max, const char *paused)
{
	static char text[512];
	struct error err = {0};
	size_t len = 0;
	release_due_forget(due, &n_due);
	ck_assert_msg(!release_pg_read(d.conn, TEST_EPOCH, max, paused, due, &n_due, &err), "%s",
		      err.msg);
	text[0] = '\0';
	for (size_t i = 0; i < n_due; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s/%s", i ? " " : "",
					due[i].tenant, due[i].task);
	return text;
}

static void note(void)
{
	struct error err = {0};
	ck_assert_msg(!release_pg_note(d.conn, TEST_EPOCH, due, n_due, &err), "%s", err.msg);
}

START_TEST(what_is_due_has_its_ticket)
{
	uint64_t seq = park("acme", "t1", "1000");
	park("acme", "t2", "3999999999999");
	put("acme", "t3", "task.accepted", "{}");
	ck_assert_str_eq(look(MAX, "{}"), "acme/t1");
	ck_assert_uint_eq(due[0].seq, seq);
	Penstock__Command *cmd = penstock__command__unpack(NULL, due[0].len, due[0].command);
	ck_assert_ptr_nonnull(cmd);
	ck_assert_str_eq(cmd->tenant, "acme");
	ck_assert(id_valid(cmd->id));
	ck_assert_int_eq(cmd->body_case, PENSTOCK__COMMAND__BODY_RELEASE);
	ck_assert_str_eq(cmd->release->task, "t1");
	ck_assert_uint_eq(cmd->release->seq, seq);
	ck_assert_str_eq(cmd->release->pipeline, "p");
	ck_assert_uint_eq(cmd->release->version, 3);
	ck_assert_str_eq(cmd->release->accepted->id, nth_id(0).text);
	ck_assert_str_eq(cmd->release->accepted->channel, "task.t1");
	ck_assert_uint_eq(cmd->release->accepted->depth, 2);
	ck_assert_ptr_nonnull(strstr((char *)cmd->release->accepted->data.data, "\"input\":7"));
	penstock__command__free_unpacked(cmd, NULL);
	int64_t waiting;
	struct error err = {0};
	ck_assert(!release_pg_count(d.conn, TEST_EPOCH, &waiting, &err));
	ck_assert_int_eq(waiting, 2);
}
END_TEST

START_TEST(a_delayed_task_has_its_first_ticket)
{
	uint64_t seq = put("acme", "t1", "task.accepted",
			   "{\"pipeline\":\"p\",\"version\":3,\"input\":7,\"not_before\":1000}");
	put("acme", "t2", "task.accepted", "{\"pipeline\":\"p\",\"not_before\":3999999999999}");
	ck_assert_str_eq(look(MAX, "{}"), "acme/t1");
	Penstock__Command *cmd = penstock__command__unpack(NULL, due[0].len, due[0].command);
	ck_assert_uint_eq(cmd->release->seq, seq);
	ck_assert_str_eq(cmd->release->accepted->id, nth_id(0).text);
	penstock__command__free_unpacked(cmd, NULL);
	due[0].end = RELEASE_DONE;
	note();
	ck_assert_str_eq(look(MAX, "{}"), "");
}
END_TEST

/* The firsts of all tenants before the seconds of any, each tenant's in the order of their time. */
START_TEST(tenants_take_turns)
{
	park("a", "a3", "1003");
	park("a", "a1", "1001");
	park("a", "a2", "1002");
	park("b", "b1", "9001");
	park("c", "c1", "9000");
	park("c", "c2", "9002");
	ck_assert_str_eq(look(MAX, "{}"), "a/a1 c/c1 b/b1 a/a2 c/c2 a/a3");
	ck_assert_str_eq(look(3, "{}"), "a/a1 c/c1 b/b1");
	ck_assert_str_eq(look(MAX, "{\"a\",\"c\"}"), "b/b1");
}
END_TEST

START_TEST(what_was_let_go_is_not_asked_for_again)
{
	park("a", "a1", "1001");
	park("a", "a2", "1002");
	park("a", "a3", "1003");
	look(MAX, "{}");
	due[0].end = RELEASE_DONE;
	due[1].end = RELEASE_BAD;
	note();
	note();
	ck_assert_str_eq(look(MAX, "{}"), "a/a3");
	ck_assert_str_eq(database_get(&d, "SELECT string_agg(task || (CASE WHEN release_at IS NULL"
					  " THEN '' WHEN release_at > now() THEN '+' ELSE '-' END),"
					  " ' ' ORDER BY task) FROM tasks"),
			 "a1 a2+ a3-");
}
END_TEST

/* An answer that comes when the task has been parked anew already says nothing of that. */
START_TEST(a_late_note_changes_nothing)
{
	park("a", "a1", "1001");
	look(MAX, "{}");
	put("a", "a1", "task.started", "{}");
	put("a", "a1", "task.parked", "{\"not_before\":1002}");
	due[0].end = RELEASE_DONE;
	note();
	ck_assert_str_eq(look(MAX, "{}"), "a/a1");
	put("a", "a1", "task.cancelled", "{}");
	ck_assert_str_eq(look(MAX, "{}"), "");
}
END_TEST

START_TEST(a_log_that_is_gone)
{
	park("a", "a1", "1001");
	database_do(&d, "DELETE FROM events");
	look(MAX, "{}");
	ck_assert_uint_eq(n_due, 1);
	ck_assert_int_eq(due[0].end, RELEASE_BAD);
	ck_assert_ptr_null(due[0].command);
	/* Another life of the stream. */
	struct error err = {0};
	release_due_forget(due, &n_due);
	ck_assert(!release_pg_read(d.conn, TEST_EPOCH + 1, MAX, "{}", due, &n_due, &err));
	ck_assert_uint_eq(n_due, 0);
}
END_TEST

RUN_TESTS_WITH("release", setup, teardown, what_is_due_has_its_ticket,
	       a_delayed_task_has_its_first_ticket, tenants_take_turns,
	       what_was_let_go_is_not_asked_for_again, a_late_note_changes_nothing,
	       a_log_that_is_gone)
