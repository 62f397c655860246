/* Operators' replays as the slow path works them off, on a real PostgreSQL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "proto/command.pb-c.h"
#include "services/event-store/replay_pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define MAX   16
#define ORDER "00000000-0000-4000-8000-000000000001"

static struct database d;
static struct store_writer w;
static struct release_due due[MAX];
static size_t n_due;

static void setup(void)
{
	struct error err = {0};
	database_open(&d, true);
	ck_assert_msg(!store_writer_open(&w, d.conn, TEST_EPOCH, &err), "%s", err.msg);
	for (uint64_t seq = 1; seq <= 6; seq++) {
		char data[16];
		int64_t rows;
		snprintf(data, sizeof(data), "{\"n\": %d}", (int)seq);
		struct store_item item =
		    make_item(seq, make_event(seq, seq == 3 ? "room.2" : "room.1", "chat.message",
					      data, NULL));
		ck_assert_msg(!store_writer_write(&w, &item, 1, &rows, &err), "%s", err.msg);
		items_done(&item, 1);
	}
	n_due = 0;
}

static void teardown(void)
{
	release_due_forget(due, &n_due);
	store_writer_close(&w);
	database_close(&d);
}

/* Of room.1, behind 1 up to 5: that is 2, 4 and 5. */
static void order(const char *pipeline, int per_s)
{
	char sql[512];
	snprintf(sql, sizeof(sql),
		 "INSERT INTO replays (id, actor, tenant, channel, target, epoch, after_seq,"
		 " until_seq, position, per_s, mark_at, pipeline) VALUES ('" ORDER
		 "', 'op', 'acme', 'room.1', 'again', %llu, 1, 5, 1, %d, now() - interval '1 hour',"
		 " nullif('%s', ''))",
		 TEST_EPOCH, per_s, pipeline);
	database_do(&d, sql);
}

/* The places of what is due, as much as a second allows. */
static const char *look(const char *paused)
{
	static char text[128];
	struct error err = {0};
	size_t len = 0;
	database_do(&d, "UPDATE replays SET mark_at = now() - interval '1 hour'");
	release_due_forget(due, &n_due);
	ck_assert_msg(!replay_pg_read(d.conn, MAX, paused, due, &n_due, &err), "%s", err.msg);
	text[0] = '\0';
	for (size_t i = 0; i < n_due; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%llu", i ? " " : "",
					(unsigned long long)due[i].seq);
	return text;
}

static void note(void)
{
	struct error err = {0};
	ck_assert_msg(!replay_pg_note(d.conn, due, n_due, &err), "%s", err.msg);
}

static const char *state(void)
{
	return database_get(&d, "SELECT concat_ws(' ', state, position, sent, refused, reason)"
				" FROM replays");
}

static Penstock__Command *command(size_t i)
{
	Penstock__Command *cmd = penstock__command__unpack(NULL, due[i].len, due[i].command);
	ck_assert_ptr_nonnull(cmd);
	return cmd;
}

START_TEST(an_event_goes_to_a_channel)
{
	order("", 100);
	ck_assert_str_eq(look("{}"), "2 4 5");
	Penstock__Command *cmd = command(1);
	ck_assert_int_eq(cmd->body_case, PENSTOCK__COMMAND__BODY_REPLAY);
	ck_assert_str_eq(cmd->principal, "op");
	ck_assert_str_eq(cmd->replay->channel, "again");
	ck_assert_str_eq(cmd->replay->event->id, nth_id(4).text);
	ck_assert_str_eq(cmd->replay->event->replay, ORDER);
	penstock__command__free_unpacked(cmd, NULL);
	ck_assert_str_eq(due[1].task, "");
}
END_TEST

START_TEST(an_event_starts_a_task)
{
	order("p", 100);
	database_do(&d, "UPDATE events SET depth = 3 WHERE seq = 4");
	ck_assert_str_eq(look("{}"), "2 4 5");
	Penstock__Command *cmd = command(1);
	ck_assert_uint_eq(cmd->depth, 3); /* triggers that led to it: no way out of their bound */
	char key[128], want[512];
	snprintf(key, sizeof(key), "replay." ORDER ".%s", nth_id(4).text);
	ck_assert_int_eq(cmd->body_case, PENSTOCK__COMMAND__BODY_TASK);
	ck_assert_str_eq(cmd->tenant, "acme");
	ck_assert_str_eq(cmd->principal, "replay:" ORDER);
	ck_assert_str_eq(cmd->trace, TEST_TRACE);
	ck_assert_str_eq(cmd->task->pipeline, "p");
	ck_assert_str_eq(cmd->task->key, key);
	ck_assert_str_eq(id_derive("acme", "task", key).text, due[1].task);
	const char *input = (const char *)cmd->task->input.data;
	size_t len = cmd->task->input.len;
	snprintf(want, sizeof(want),
		 "{\"event\":{\"id\":\"%s\",\"channel\":\"room.1\",\"type\":\"chat.message\","
		 "\"version\":2,\"epoch\":\"%llu\",\"offset\":4,\"time\":"
		 "\"2025-11-24T16:01:40.004004Z\",\"data\":{\"n\": 4}},\"replay\":\"" ORDER "\"}",
		 nth_id(4).text, TEST_EPOCH);
	ck_assert_uint_eq(len, strlen(want));
	ck_assert(!memcmp(input, want, len));
	/* The answer is lost: the same is asked for again, byte by byte. */
	ck_assert_str_eq(look("{}"), "2 4 5");
	Penstock__Command *again = command(1);
	ck_assert_str_eq(again->id, cmd->id);
	ck_assert_str_eq(again->task->key, cmd->task->key);
	ck_assert_uint_eq(again->task->input.len, len);
	ck_assert(!memcmp(again->task->input.data, input, len));
	penstock__command__free_unpacked(cmd, NULL);
	penstock__command__free_unpacked(again, NULL);
}
END_TEST

START_TEST(what_is_refused_for_good_is_counted_and_told)
{
	order("p", 100);
	look("{}");
	due[0].end = RELEASE_DONE;
	due[1].end = RELEASE_BAD;
	strcpy(due[1].reason, "not_found");
	note();
	ck_assert_str_eq(state(), "running 4 1 1 not_found");
	ck_assert_str_eq(look("{}"), "5");
	due[0].end = RELEASE_DONE;
	note();
	ck_assert_str_eq(state(), "running 5 2 1 not_found");
	ck_assert_str_eq(look("{}"), "");
	ck_assert_str_eq(state(), "done 5 2 1 not_found");
}
END_TEST

/* What is behind one that had no answer comes again, and counts when it does. */
START_TEST(it_goes_on_from_the_first_that_had_no_answer)
{
	order("p", 100);
	look("{}");
	due[0].end = due[2].end = RELEASE_DONE;
	note();
	ck_assert_str_eq(state(), "running 2 1 0");
	ck_assert_str_eq(look("{\"acme\"}"), "");
	ck_assert_str_eq(look("{}"), "4 5");
}
END_TEST

START_TEST(noted_twice_counts_once)
{
	order("", 100);
	look("{}");
	due[0].end = due[1].end = due[2].end = RELEASE_DONE;
	note();
	note();
	ck_assert_str_eq(state(), "running 5 3 0");
}
END_TEST

START_TEST(no_faster_than_its_rate)
{
	database_clock(&d, "2100-01-01 00:00:00");
	order("p", 2);
	ck_assert_str_eq(look("{}"), "2 4");
	struct error err = {0};
	release_due_forget(due, &n_due);
	ck_assert(!replay_pg_read(d.conn, MAX, "{}", due, &n_due, &err));
	ck_assert_uint_eq(n_due, 0);
	database_clock(&d, "2100-01-01 00:00:00.5");
	ck_assert(!replay_pg_read(d.conn, MAX, "{}", due, &n_due, &err));
	ck_assert_uint_eq(n_due, 1);
}
END_TEST

RUN_TESTS_WITH("replay", setup, teardown, an_event_goes_to_a_channel, an_event_starts_a_task,
	       what_is_refused_for_good_is_counted_and_told,
	       it_goes_on_from_the_first_that_had_no_answer, noted_twice_counts_once,
	       no_faster_than_its_rate)
