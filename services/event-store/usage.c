#include "services/event-store/usage.h"

#include <string.h>

#include "common/json.h"
#include "common/pg.h"

#define N_COLUMNS 9

const char store_usage_stage_sql[] =
    "CREATE TEMP TABLE IF NOT EXISTS stage_usage (tenant text, task text, pipeline text, model "
    "text, time timestamptz, failed bool, prompt_tokens int8, completion_tokens int8,"
    " total_tokens int8) ON COMMIT DELETE ROWS";
static const char copy_sql[] =
    "COPY stage_usage (tenant, task, pipeline, model, time, failed, prompt_tokens,"
    " completion_tokens, total_tokens) FROM STDIN (FORMAT binary)";

/* Prices are for a million tokens. One that is no number is none: it must not stop the log. */
#define PRICE(name)                                                                                \
	"coalesce(CASE WHEN json_typeof(m.doc->'price'->'" name "') = 'number'"                    \
	" THEN (m.doc->'price'->>'" name "')::numeric END, 0)"
#define SUMS                                                                                       \
	"count(*), count(*) FILTER (WHERE failed), sum(prompt_tokens), sum(completion_tokens),"    \
	" sum(total_tokens), sum(prompt_tokens * " PRICE("input") " + completion_tokens * " PRICE( \
	    "output") ") / 1000000"
#define NUMBERS      "calls, failed, prompt_tokens, completion_tokens, total_tokens, cost"
#define PLUS(column) column " = u." column " + excluded." column
#define PLUS_ALL                                                                                   \
	PLUS("calls")                                                                              \
	", " PLUS("failed") ", " PLUS("prompt_tokens") ", " PLUS("completion_tokens") ", " PLUS(   \
	    "total_tokens") ", " PLUS("cost")

static const char days_sql[] =
    "INSERT INTO usage_days AS u (day, tenant, pipeline, model, " NUMBERS ")"
    " SELECT (time AT TIME ZONE 'UTC')::date, tenant, pipeline, model, " SUMS
    " FROM stage_usage LEFT JOIN control.models m ON m.name = model GROUP BY 1, 2, 3, 4"
    " ON CONFLICT (tenant, day, pipeline, model) DO UPDATE SET " PLUS_ALL;
static const char tasks_sql[] =
    "INSERT INTO usage_tasks AS u (tenant, task, pipeline, model, " NUMBERS ", updated_at)"
    " SELECT tenant, task, max(pipeline), model, " SUMS
    ", max(time) FROM stage_usage LEFT JOIN control.models m ON m.name = model GROUP BY 1, 2, 4"
    " ON CONFLICT (tenant, task, model) DO UPDATE SET updated_at = excluded.updated_at, " PLUS_ALL;
const char store_usage_expire_sql[] =
    "DELETE FROM usage_tasks WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage_tasks"
    " WHERE updated_at < to_timestamp($1::float8) LIMIT 20000))";

/* --- one event ------------------------------------------------------------------------------- */

static int64_t tokens_of(const json_t *usage, const char *name)
{
	int64_t n = json_integer_value(json_object_get(usage, name));
	return n < 0 ? 0 : n < USAGE_TOKENS_MAX ? n : USAGE_TOKENS_MAX;
}

bool usage_of_event(struct usage_call *call, const char *type, const void *data, size_t len)
{
	static const char member[] = "\"model\"";
	bool failed = strcmp(type, "task.stage.failed") == 0;

	if (!failed && strcmp(type, "task.stage.completed") != 0)
		return false;
	/* Most stages call no model; outputs are long. */
	if (!len || !memmem(data, len, member, sizeof(member) - 1))
		return false;
	json_t *doc = json_parse(data, len, NULL);
	const char *model = json_string_value(json_object_get(doc, "model"));
	const json_t *usage = json_object_get(doc, "usage");
	bool is_call = model && *model && strlen(model) <= USAGE_MODEL_MAX;
	if (is_call) {
		*call =
		    (struct usage_call){.failed = failed,
					.prompt_tokens = tokens_of(usage, "prompt_tokens"),
					.completion_tokens = tokens_of(usage, "completion_tokens"),
					.total_tokens = tokens_of(usage, "total_tokens")};
		strcpy(call->model, model);
		if (call->total_tokens == 0)
			call->total_tokens = call->prompt_tokens + call->completion_tokens;
	}
	json_decref(doc);
	return is_call;
}

/* --- a batch --------------------------------------------------------------------------------- */

void store_usage_reset(struct store_usage *u)
{
	u->n = 0;
}

void store_usage_done(struct store_usage *u)
{
	strbuf_done(&u->rows);
	u->n = 0;
}

void store_usage_add(struct store_usage *u, const struct project_task *t,
		     const struct project_event *e)
{
	struct usage_call call;

	if (!usage_of_event(&call, e->type, e->data, e->len))
		return;
	if (u->n++ == 0)
		pg_copy_begin(&u->rows);
	pg_copy_row(&u->rows, N_COLUMNS);
	pg_copy_text(&u->rows, t->tenant);
	pg_copy_text(&u->rows, t->task);
	pg_copy_text(&u->rows, t->pipeline);
	pg_copy_text(&u->rows, call.model);
	pg_copy_time(&u->rows, e->time_us);
	pg_copy_bool(&u->rows, call.failed);
	pg_copy_int8(&u->rows, call.prompt_tokens);
	pg_copy_int8(&u->rows, call.completion_tokens);
	pg_copy_int8(&u->rows, call.total_tokens);
}

int store_usage_write(struct store_usage *u, PGconn *conn, struct error *err)
{
	if (!u->n)
		return 0;
	return pg_copy_send(conn, copy_sql, &u->rows, err) ||
		       pg_run(conn, days_sql, 0, NULL, NULL, err) ||
		       pg_run(conn, tasks_sql, 0, NULL, NULL, err)
		   ? -1
		   : 0;
}
