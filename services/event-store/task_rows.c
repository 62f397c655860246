#include "services/event-store/task_rows.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"

static json_t *json_of(const PGresult *res, int row, int col)
{
	const char *text = pg_text(res, row, col);
	return text ? json_parse(text, strlen(text), NULL) : NULL;
}

void store_task_from_row(struct project_task *t, const PGresult *res, int row)
{
	store_task_from_row_at(t, res, row, 0);
}

void store_task_from_row_at(struct project_task *t, const PGresult *res, int row, int col)
{
	int c = col;

	t->task = xstrdup(pg_text(res, row, c++));
	t->tenant = xstrdup(pg_text(res, row, c++));
	t->pipeline = xstrdup(pg_text(res, row, c++));
	t->version = (int)pg_int(res, row, c++);
	t->state = project_state_parse(pg_text(res, row, c++));
	t->created_us = pg_int(res, row, c++);
	t->updated_us = pg_int(res, row, c++);
	t->started_us = pg_int(res, row, c++);
	t->finished_us = pg_int(res, row, c++);
	t->deadline_ms = pg_int(res, row, c++);
	t->input = json_of(res, row, c++);
	t->output = json_of(res, row, c++);
	t->error = json_of(res, row, c++);
	t->usage = json_of(res, row, c++);
	t->stages = json_of(res, row, c++);
	if (!json_is_array(t->stages)) {
		json_decref(t->stages);
		t->stages = json_array();
	}
	const char *worker = pg_text(res, row, c++);
	t->worker = worker && *worker ? xstrdup(worker) : NULL;
	t->run = (int)pg_int(res, row, c++);
	t->attempts = (int)pg_int(res, row, c++);
	t->redrive_gen = (int)pg_int(res, row, c++);
	t->release_us = pg_int(res, row, c++);
	t->epoch = (uint64_t)pg_int(res, row, c++);
	t->first_seq = (uint64_t)pg_int(res, row, c++);
	t->last_seq = (uint64_t)pg_int(res, row, c++);
}

#define COLUMNS                                                                                    \
	"task, tenant, pipeline, version, state, created_at, updated_at, started_at, finished_at," \
	" deadline_at, input, output, error, usage, stages, worker, run, attempts, redrive_gen,"   \
	" release_at, epoch, first_seq, last_seq"
#define N_COLUMNS 23

/* input, output and so on are text here: the type json is checked once, on the way into `tasks`. */
const char store_task_stage_sql[] =
    "CREATE TEMP TABLE IF NOT EXISTS stage_tasks (task text, tenant text, pipeline text, version "
    "int,"
    " state text, created_at timestamptz, updated_at timestamptz, started_at timestamptz,"
    " finished_at timestamptz, deadline_at timestamptz, input text, output text, error text, usage "
    "text,"
    " stages text, worker text, run int, attempts int, redrive_gen int, release_at timestamptz,"
    " epoch bigint, first_seq bigint, last_seq bigint)"
    " ON COMMIT DELETE ROWS";
const char store_task_copy_sql[] = "COPY tasks (" COLUMNS ") FROM STDIN (FORMAT binary)";
const char store_task_stage_copy_sql[] =
    "COPY stage_tasks (" COLUMNS ") FROM STDIN (FORMAT binary)";
/* input: assigning the old value back keeps a long one where it is instead of writing it anew. */
const char store_task_merge_sql[] =
    "INSERT INTO tasks (" COLUMNS ") SELECT task, tenant, pipeline, version, state, created_at,"
    " updated_at, started_at, finished_at, deadline_at, input::json, output::json, error::json,"
    " usage::json, stages::json, worker, run, attempts, redrive_gen, release_at, epoch, first_seq,"
    " last_seq FROM stage_tasks"
    " ON CONFLICT (task) DO UPDATE SET pipeline = excluded.pipeline, version = excluded.version,"
    " state = excluded.state, updated_at = excluded.updated_at, started_at = excluded.started_at,"
    " finished_at = excluded.finished_at, deadline_at = excluded.deadline_at,"
    " input = CASE WHEN tasks.input IS NULL THEN excluded.input ELSE tasks.input END,"
    " output = excluded.output, error = excluded.error, usage = excluded.usage,"
    " stages = excluded.stages, worker = excluded.worker, run = excluded.run,"
    " attempts = excluded.attempts, redrive_gen = excluded.redrive_gen,"
    " release_at = excluded.release_at, epoch = excluded.epoch, first_seq = excluded.first_seq,"
    " last_seq = excluded.last_seq"
    " WHERE (tasks.epoch, tasks.last_seq) < (excluded.epoch, excluded.last_seq)";

static void add_json(struct strbuf *b, const json_t *value)
{
	size_t len;

	if (!value) {
		pg_copy_null(b);
		return;
	}
	char *text = json_text(value, &len);
	pg_copy_bytes(b, text, len);
	free(text);
}

static void add_time(struct strbuf *b, int64_t time_us)
{
	if (time_us)
		pg_copy_time(b, time_us);
	else
		pg_copy_null(b);
}

void store_task_to_copy(struct strbuf *b, const struct project_task *t, bool with_input)
{
	pg_copy_row(b, N_COLUMNS);
	pg_copy_text(b, t->task);
	pg_copy_text(b, t->tenant);
	pg_copy_text(b, t->pipeline);
	pg_copy_int4(b, t->version);
	pg_copy_text(b, project_state_name(t->state));
	pg_copy_time(b, t->created_us);
	pg_copy_time(b, t->updated_us);
	add_time(b, t->started_us);
	add_time(b, t->finished_us);
	add_time(b, t->deadline_ms * 1000);
	add_json(b, with_input ? t->input : NULL);
	add_json(b, t->output);
	add_json(b, t->error);
	add_json(b, t->usage);
	add_json(b, t->stages);
	pg_copy_text(b, t->worker ? t->worker : "");
	pg_copy_int4(b, t->run);
	pg_copy_int4(b, t->attempts);
	pg_copy_int4(b, t->redrive_gen);
	add_time(b, t->release_us);
	pg_copy_int8(b, (int64_t)t->epoch);
	pg_copy_int8(b, (int64_t)t->first_seq);
	pg_copy_int8(b, (int64_t)t->last_seq);
}
