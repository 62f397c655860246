/* Usage: what a transition tells of a call, and that the sums have each call once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

START_TEST(what_an_event_tells)
{
	static const struct {
		const char *type, *data;
		const char *model; /* NULL: no call */
		bool failed;
		int64_t prompt, completion, total;
	} table[] = {
	    {"task.stage.completed",
	     "{\"stage\":\"a\",\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,"
	     "\"completion_tokens\":4,\"total_tokens\":9}}",
	     "m", false, 3, 4, 9},
	    {"task.stage.completed",
	     "{\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}", "m",
	     false, 3, 4, 7},
	    {"task.stage.completed", "{\"model\":\"m\",\"output\":1}", "m", false, 0, 0, 0},
	    {"task.stage.failed", "{\"model\":\"m\",\"reason\":\"timeout\"}", "m", true, 0, 0, 0},
	    {"task.stage.completed", "{\"stage\":\"a\",\"kind\":\"transform\",\"output\":1}", NULL,
	     false, 0, 0, 0},
	    {"task.stage.completed", "{\"output\":{\"model\":\"m\"}}", NULL, false, 0, 0, 0},
	    {"task.stage.started", "{\"model\":\"m\"}", NULL, false, 0, 0, 0},
	    {"task.completed", "{\"model\":\"m\",\"usage\":{\"total_tokens\":9}}", NULL, false, 0,
	     0, 0},
	    {"task.stage.completed", "{\"model\":\"\"}", NULL, false, 0, 0, 0},
	    {"task.stage.completed", "{\"model\":7}", NULL, false, 0, 0, 0},
	    {"task.stage.completed", "{\"model\":\"m\"", NULL, false, 0, 0, 0},
	    {"task.stage.completed", "", NULL, false, 0, 0, 0},
	    {"task.stage.completed", "{\"model\":\"m\",\"usage\":[1]}", "m", false, 0, 0, 0},
	    {"task.stage.completed",
	     "{\"model\":\"m\",\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":\"x\","
	     "\"total_tokens\":9000000000000000}}",
	     "m", false, 0, 0, USAGE_TOKENS_MAX},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct usage_call call;
		bool is =
		    usage_of_event(&call, table[i].type, table[i].data, strlen(table[i].data));
		ck_assert_msg(is == (table[i].model != NULL), "%zu", i);
		if (!is)
			continue;
		ck_assert_str_eq(call.model, table[i].model);
		ck_assert_int_eq(call.failed, table[i].failed);
		ck_assert_int_eq(call.prompt_tokens, table[i].prompt);
		ck_assert_int_eq(call.completion_tokens, table[i].completion);
		ck_assert_int_eq(call.total_tokens, table[i].total);
	}
	char data[USAGE_MODEL_MAX + 32];
	struct usage_call call;
	snprintf(data, sizeof(data), "{\"model\":\"%0*d\"}", USAGE_MODEL_MAX + 1, 0);
	ck_assert(!usage_of_event(&call, "task.stage.completed", data, strlen(data)));
}
END_TEST

#define USED "\"model\":\"m\",\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":10}}"
static const char *const story[][3] = {
    {"task.t1", "task.accepted", "{\"task\":\"t1\",\"pipeline\":\"p\",\"version\":1}"},
    {"task.t1", "task.stage.failed", "{\"stage\":\"a\",\"model\":\"m\",\"reason\":\"timeout\"}"},
    {"task.t1", "task.stage.completed", "{\"stage\":\"a\"," USED},
    {"task.t1", "task.stage.completed", "{\"stage\":\"b\",\"kind\":\"transform\"}"},
    {"task.t2", "task.accepted", "{\"task\":\"t2\",\"pipeline\":\"q\",\"version\":1}"},
    {"task.t2", "task.stage.completed", "{\"stage\":\"a\"," USED},
    {"task.t1", "task.stage.completed", "{\"stage\":\"c\"," USED},
    {"task.t2", "task.stage.completed", "{\"stage\":\"b\",\"model\":\"free\"}"},
};
#define STORY 8

#define SHOW(table, columns)                                                                       \
	"SELECT string_agg(concat_ws(' ', " columns                                                \
	", calls, failed, prompt_tokens, completion_tokens, total_tokens, trim_scale(cost)), "     \
	"'; ' ORDER BY " columns ") FROM " table

static void write_to(struct store_writer *w, struct store_item *items, size_t n)
{
	struct error err = {0};
	int64_t rows;
	ck_assert_msg(!store_writer_write(w, items, n, &rows, &err), "%s", err.msg);
}

/* However the story is cut into batches, and although a batch comes again whose commit was not
 * heard of: each call is in the sums once. */
START_TEST(each_call_once)
{
	for (size_t cut = 0; cut < STORY; cut++) {
		struct database d;
		struct store_writer w;
		struct store_item items[STORY];
		struct error err = {0};

		database_open(&d, true);
		database_do(&d, "INSERT INTO control.models (name, doc) VALUES ('m',"
				" '{\"price\":{\"input\":0.25,\"output\":2}}')");
		ck_assert(!store_writer_open(&w, d.conn, TEST_EPOCH, &err));
		for (size_t i = 0; i < STORY; i++)
			items[i] = make_item(
			    i + 1, make_event(i, story[i][0], story[i][1], story[i][2], NULL));
		if (cut)
			write_to(&w, items, cut);
		store_writer_close(&w); /* it died, and the next one begins before its position */
		ck_assert(!store_writer_open(&w, d.conn, TEST_EPOCH, &err));
		write_to(&w, items, STORY);
		write_to(&w, items + cut, STORY - cut);
		ck_assert_str_eq(
		    database_get(&d, SHOW("usage_days", "day, tenant, pipeline, model")),
		    "2025-11-24 acme p m 3 1 2000 20 2020 0.00054; "
		    "2025-11-24 acme q free 1 0 0 0 0 0; "
		    "2025-11-24 acme q m 1 0 1000 10 1010 0.00027");
		ck_assert_str_eq(database_get(&d, SHOW("usage_tasks", "task, pipeline, model")),
				 "t1 p m 3 1 2000 20 2020 0.00054; t2 q free 1 0 0 0 0 0; "
				 "t2 q m 1 0 1000 10 1010 0.00027");
		store_writer_close(&w);
		items_done(items, STORY);
		database_close(&d);
	}
}
END_TEST

/* A batch that fails leaves nothing in the sums, and a price that is no number is none. */
START_TEST(nothing_of_what_failed)
{
	struct database d;
	struct store_writer w;
	struct store_item items[STORY + 1];
	struct error err = {0};
	int64_t rows;

	database_open(&d, true);
	database_do(
	    &d, "ALTER TABLE store_position ADD CHECK (seq <> 9);"
		" INSERT INTO control.models (name, doc) VALUES ('m',"
		" '{\"price\":{\"input\":\"dear\",\"output\":[]}}'), ('free', '{\"price\":7}')");
	ck_assert(!store_writer_open(&w, d.conn, TEST_EPOCH, &err));
	for (size_t i = 0; i < STORY; i++)
		items[i] =
		    make_item(i + 1, make_event(i, story[i][0], story[i][1], story[i][2], NULL));
	items[STORY] = make_item(9, make_event(STORY, "room.1", "chat", NULL, NULL));
	ck_assert_int_eq(store_writer_write(&w, items, STORY + 1, &rows, &err), -1);
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM usage_days"), "0");
	write_to(&w, items, STORY);
	ck_assert_str_eq(
	    database_get(&d, "SELECT sum(calls) || ' ' || trim_scale(sum(cost)) FROM usage_days"),
	    "5 0");
	store_writer_close(&w);
	items_done(items, STORY + 1);
	database_close(&d);
}
END_TEST

/* The tasks' own sums go with the tasks; the days' stay. */
START_TEST(retention)
{
	struct database d;
	struct store_writer w;
	struct store_item items[STORY];
	struct error err = {0};
	int dropped;

	database_open(&d, true);
	ck_assert(!store_writer_open(&w, d.conn, TEST_EPOCH, &err));
	for (size_t i = 0; i < STORY; i++)
		items[i] =
		    make_item(i + 1, make_event(i, story[i][0], story[i][1], story[i][2], NULL));
	write_to(&w, items, STORY);
	ck_assert(
	    !store_writer_maintain(&w, TEST_TIME_US + 40 * 86400000000LL, 30, &dropped, &err));
	ck_assert_str_eq(database_get(&d, "SELECT (SELECT count(*) FROM usage_tasks) || ' ' ||"
					  " (SELECT count(*) FROM usage_days)"),
			 "0 3");
	store_writer_close(&w);
	items_done(items, STORY);
	database_close(&d);
}
END_TEST

RUN_TESTS("usage", what_an_event_tells, each_call_once, nothing_of_what_failed, retention)
