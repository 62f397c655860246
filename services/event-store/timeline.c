#include "services/event-store/timeline.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "common/pg.h"
#include "services/event-store/task_rows.h"

#define DATA_MAX    1024 /* a longer one is only summed up */
#define ENTRY_BYTES 600  /* of an entry without its data, roughly */
/* Together with tasks and attempts it must fit into one message of NATS (1 MiB). */
#define EVENTS_BYTES (600 * 1024)
#define OUTPUT_MAX   (4 * 1024)
#define COLUMNS                                                                                    \
	"epoch, seq, event_id, tenant, channel, type, version, (extract(epoch FROM time) *"        \
	" 1000000)::int8, trace, key, session, router, command, principal, octet_length(data),"    \
	" CASE WHEN octet_length(data) <= 16384 THEN data END"

enum {
	EPOCH,
	SEQ,
	ID,
	TENANT,
	CHANNEL,
	TYPE,
	VERSION,
	TIME,
	TRACE,
	KEY,
	SESSION,
	ROUTER,
	COMMAND,
	PRINCIPAL,
	SIZE,
	DATA
};

struct found {
	const char *kind;
	char *channel; /* of a task */
	char *event, *session, *trace;
};

/* --- what the id is ----------------------------------------------------------------------------
 */

static char *copy(const PGresult *res, int col)
{
	const char *text = pg_text(res, 0, col);
	return text && *text ? xstrdup(text) : NULL;
}

/* The first event that a condition finds; 1: found, 0: none. */
static int first_event(PGconn *conn, const char *where, const char *id, const char *tenant,
		       struct found *f, struct error *err)
{
	struct strbuf sql = {0};
	strbuf_addf(&sql,
		    "SELECT channel, event_id, session, substr(trace, 4, 32) FROM events WHERE %s"
		    " AND ($2 = '' OR tenant = $2) ORDER BY time LIMIT 1",
		    where);
	PGresult *res = pg_query(conn, sql.data, 2, (const char *[]){id, tenant}, err);
	strbuf_done(&sql);
	if (!res)
		return -1;
	int n = PQntuples(res);
	if (n) {
		f->channel = copy(res, 0);
		f->event = copy(res, 1);
		f->session = copy(res, 2);
		f->trace = copy(res, 3);
	}
	PQclear(res);
	return n;
}

static bool is_trace(const char *id, char out[33])
{
	const char *hex = trace_valid(id) ? id + 3 : id;

	if (hex == id && strlen(id) != 32)
		return false;
	for (int i = 0; i < 32; i++)
		if (!isxdigit((unsigned char)hex[i]))
			return false;
	memcpy(out, hex, 32);
	out[32] = '\0';
	return true;
}

/* 1: found. A task and its accepted event, a session and a trace cannot be mixed up: all are UUIDs
 * or random. */
static int identify(PGconn *conn, const char *id, const char *tenant, struct found *f,
		    struct error *err)
{
	char channel[CHANNEL_MAX + 1], hex[33];
	int n = 0;

	if (strlen(id) + 5 <= CHANNEL_MAX && name_valid_channel(id)) {
		task_channel(id, channel);
		/* The tenant is part of the index; without it the projection knows. */
		n = first_event(conn,
				"channel = $1 AND tenant = (SELECT tenant FROM tasks WHERE task = "
				"substr($1, 6))",
				channel, tenant, f, err);
		f->kind = "task";
	}
	if (!n && id_valid(id)) {
		n = first_event(conn, "event_id = $1::uuid", id, tenant, f, err);
		f->kind = "event";
	}
	if (!n) {
		n = first_event(conn, "session = $1 AND session <> ''", id, tenant, f, err);
		f->kind = "session";
	}
	if (!n && is_trace(id, hex)) {
		n = first_event(conn, "substr(trace, 4, 32) = $1 AND trace <> ''", hex, tenant, f,
				err);
		f->kind = "trace";
	}
	return n;
}

/* --- its events --------------------------------------------------------------------------------
 */

/* What belongs to it. $1: channel, $2: tenant, $3: session, $4: trace. */
static const char task_sql[] =
    "SELECT " COLUMNS " FROM events WHERE tenant = $2 AND channel = $1"
    " AND $3::text IS NOT NULL AND $4::text IS NOT NULL ORDER BY time, epoch, seq LIMIT 1001";
static const char trace_sql[] =
    "SELECT " COLUMNS " FROM events WHERE trace <> '' AND substr(trace, 4, 32) = $4 AND tenant = $2"
    " AND $1::text IS NOT NULL AND $3::text IS NOT NULL ORDER BY time, epoch, seq LIMIT 1001";
/* All that it published, and the whole channel of each task that it started. */
static const char session_sql[] =
    "WITH mine AS (SELECT DISTINCT channel FROM events WHERE session = $3 AND session <> ''"
    "  AND tenant = $2 AND channel LIKE 'task.%' LIMIT 50)"
    " SELECT * FROM (SELECT " COLUMNS " FROM events WHERE session = $3 AND session <> ''"
    "  AND tenant = $2 AND $1::text IS NOT NULL AND $4::text IS NOT NULL"
    " UNION SELECT " COLUMNS
    " FROM events WHERE tenant = $2 AND channel IN (SELECT channel FROM mine)"
    ") AS all_of_it ORDER BY 8, 1, 2 LIMIT 1001";

static void set(json_t *obj, const char *name, const char *text)
{
	if (text && *text)
		json_object_set_new(obj, name, json_string(text));
}

/* Short data as it is; of long data its size, and of an object the members that are short
 * themselves. */
static json_t *summary(const json_t *data)
{
	json_t *out = json_object(), *value;
	const char *name;

	json_object_foreach((json_t *)data, name, value)
	{
		bool shortish = !json_is_object(value) && !json_is_array(value) &&
				(!json_is_string(value) || json_string_length(value) <= 200);
		if (shortish && json_object_size(out) < 20)
			json_object_set(out, name, value);
	}
	return out;
}

static json_t *entry(const PGresult *res, int row, int64_t base_us, const json_t *data)
{
	json_t *e = json_object();
	int64_t time_us = pg_int(res, row, TIME), size = pg_int(res, row, SIZE);

	json_object_set_new(e, "offset", json_integer(pg_int(res, row, SEQ)));
	json_object_set_new(e, "epoch", json_integer(pg_int(res, row, EPOCH)));
	set(e, "event_id", pg_text(res, row, ID));
	set(e, "channel", pg_text(res, row, CHANNEL));
	set(e, "type", pg_text(res, row, TYPE));
	json_object_set_new(e, "version", json_integer(pg_int(res, row, VERSION)));
	json_object_set_new(e, "time", json_integer(time_us / 1000));
	json_object_set_new(e, "ms", json_real((double)(time_us - base_us) / 1000));
	set(e, "trace", pg_text(res, row, TRACE));
	set(e, "key", pg_text(res, row, KEY));
	set(e, "session", pg_text(res, row, SESSION));
	set(e, "router", pg_text(res, row, ROUTER));
	set(e, "command", pg_text(res, row, COMMAND));
	set(e, "principal", pg_text(res, row, PRINCIPAL));
	json_object_set_new(e, "bytes", json_integer(size));
	if (data && size <= DATA_MAX)
		json_object_set(e, "data", (json_t *)data);
	else if (json_is_object(data))
		json_object_set_new(e, "summary", summary(data));
	return e;
}

/* --- attempts: each stage.started with what ended it ------------------------------------------ */

static bool same(const json_t *a, const json_t *b, const char *name)
{
	return json_equal(json_object_get(a, name), json_object_get(b, name));
}

static void end_attempt(json_t *attempts, const json_t *data, const char *state, double ms)
{
	static const char *const names[] = {"model",   "latency_ms",  "first_token_ms",
					    "usage",   "duration_ms", "reason",
					    "message", "retry_at",    "final"};
	size_t i = json_array_size(attempts);

	while (i-- > 0) {
		json_t *a = json_array_get(attempts, i);
		if (!same(a, data, "task") || !same(a, data, "stage") || !same(a, data, "attempt"))
			continue;
		json_object_set_new(a, "state", json_string(state));
		json_object_set_new(a, "end_ms", json_real(ms));
		for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
			if (json_object_get(data, names[n]))
				json_object_set(a, names[n], json_object_get(data, names[n]));
		return;
	}
}

static void note_attempt(json_t *attempts, const char *type, const json_t *data, double ms)
{
	static const char *const names[] = {"task", "stage", "kind", "attempt", "worker", "model"};

	if (!strcmp(type, "task.stage.completed")) {
		end_attempt(attempts, data, "completed", ms);
	} else if (!strcmp(type, "task.stage.failed")) {
		end_attempt(attempts, data, "failed", ms);
	} else if (!strcmp(type, "task.stage.started")) {
		json_t *a = json_object();
		for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
			if (json_object_get(data, names[n]))
				json_object_set(a, names[n], json_object_get(data, names[n]));
		json_object_set_new(a, "state", json_string("running"));
		json_object_set_new(a, "start_ms", json_real(ms));
		json_array_append_new(attempts, a);
	}
}

static void add_events(json_t *doc, const PGresult *res)
{
	json_t *events = json_array(), *attempts = json_array();
	int n = PQntuples(res), row;
	int64_t base = n ? pg_int(res, 0, TIME) : 0, bytes = 0;

	for (row = 0; row < n && row < STORE_TIMELINE_MAX && bytes < EVENTS_BYTES; row++) {
		const char *text = pg_text(res, row, DATA);
		json_t *data = text ? json_parse(text, strlen(text), NULL) : NULL;
		double ms = (double)(pg_int(res, row, TIME) - base) / 1000;
		int64_t size = pg_int(res, row, SIZE);

		json_array_append_new(events, entry(res, row, base, data));
		bytes += ENTRY_BYTES + (size < DATA_MAX ? size : DATA_MAX);
		if (data)
			note_attempt(attempts, pg_text(res, row, TYPE), data, ms);
		json_decref(data);
	}
	json_object_set_new(doc, "truncated", json_boolean(row < n));
	json_object_set_new(doc, "started_at", json_integer(base / 1000));
	json_object_set_new(doc, "events", events);
	json_object_set_new(doc, "attempts", attempts);
}

/* --- its tasks ---------------------------------------------------------------------------------
 */

static void add_task(json_t *tasks, json_t *spans, const struct project_task *t, int64_t base_ms)
{
	json_t *of_it = project_spans(t), *span, *task = project_json(t);
	int64_t shift = t->created_us / 1000 - base_ms;
	size_t i;

	/* Inputs and outputs may be long; GET /v1/tasks/{id} has them. */
	json_object_del(task, "input");
	size_t len = 0;
	free(json_text(json_object_get(task, "output"), &len));
	if (len > OUTPUT_MAX)
		json_object_del(task, "output");
	json_array_append_new(tasks, task);
	json_array_foreach(of_it, i, span)
	{
		json_int_t start = json_integer_value(json_object_get(span, "start_ms"));
		json_object_set_new(span, "start_ms", json_integer(start + shift));
		json_object_set_new(span, "task", json_string(t->task));
		json_array_append(spans, span);
	}
	json_decref(of_it);
}

/* The tasks whose channels are among the events. */
static int add_tasks(PGconn *conn, json_t *doc, const PGresult *res, struct error *err)
{
	json_t *tasks = json_array(), *spans = json_array();
	int64_t base_ms = json_integer_value(json_object_get(doc, "started_at"));
	struct strbuf ids = {0};
	const char *last = "";
	int rc = 0;

	for (int row = 0; row < PQntuples(res); row++) {
		const char *id = project_task_of(pg_text(res, row, CHANNEL));
		if (!id || !strcmp(id, last))
			continue;
		strbuf_addf(&ids, "%s\"%s\"", ids.len ? "," : "{", id);
		last = id;
	}
	if (ids.len) {
		strbuf_addc(&ids, '}');
		PGresult *rows =
		    pg_query(conn,
			     "SELECT " STORE_TASK_COLUMNS " FROM tasks WHERE task = ANY($1::text[])"
			     " ORDER BY created_at LIMIT 50",
			     1, (const char *[]){ids.data}, err);
		for (int row = 0; rows && row < PQntuples(rows); row++) {
			struct project_task t = {0};
			store_task_from_row(&t, rows, row);
			add_task(tasks, spans, &t, base_ms);
			project_done(&t);
		}
		rc = rows ? 0 : -1;
		PQclear(rows);
	}
	strbuf_done(&ids);
	json_object_set_new(doc, "spans", spans);
	if (json_array_size(tasks) == 1)
		json_object_set(doc, "task", json_array_get(tasks, 0));
	json_object_set_new(doc, "tasks", tasks);
	return rc;
}

static void free_found(struct found *f)
{
	free(f->channel);
	free(f->event);
	free(f->session);
	free(f->trace);
}

static const char *sql_of(const struct found *f)
{
	if (!strcmp(f->kind, "session"))
		return session_sql;
	if (!strcmp(f->kind, "trace"))
		return trace_sql;
	/* An event of a task's channel belongs to the task. */
	return project_task_of(f->channel) ? task_sql : trace_sql;
}

static int fill(PGconn *conn, const char *id, const char *tenant, const struct found *f,
		json_t *doc, struct error *err)
{
	bool lone = !strcmp(f->kind, "event") && !f->trace && !project_task_of(f->channel);
	const char *values[] = {f->channel, tenant, f->session ? f->session : "",
				f->trace ? f->trace : ""};
	const char *own[] = {id, tenant};
	PGresult *res = lone ? pg_query(conn,
					"SELECT " COLUMNS
					" FROM events WHERE event_id = $1::uuid AND tenant = $2",
					2, own, err)
			     : pg_query(conn, sql_of(f), 4, values, err);

	if (!res)
		return -1;
	json_object_set_new(doc, "id", json_string(id));
	set(doc, "kind", f->kind);
	set(doc, "tenant", tenant);
	set(doc, "session", f->session);
	set(doc, "trace", f->trace);
	add_events(doc, res);
	int rc = add_tasks(conn, doc, res, err);
	PQclear(res);
	return rc;
}

/* The tenant that the id belongs to, when the question left it open. */
static int owner(PGconn *conn, const struct found *f, const char *tenant, char out[TENANT_MAX + 1],
		 struct error *err)
{
	if (*tenant) {
		snprintf(out, TENANT_MAX + 1, "%s", tenant);
		return 0;
	}
	PGresult *res =
	    pg_query(conn, "SELECT tenant FROM events WHERE event_id = $1::uuid LIMIT 1", 1,
		     (const char *[]){f->event}, err);
	if (!res)
		return -1;
	snprintf(out, TENANT_MAX + 1, "%s", PQntuples(res) ? pg_text(res, 0, 0) : "");
	PQclear(res);
	return 0;
}

int store_timeline(PGconn *conn, const char *id, const char *tenant, json_t **out,
		   struct error *err)
{
	struct found f = {0};
	char whose[TENANT_MAX + 1];
	int n = identify(conn, id, tenant, &f, err);

	*out = NULL;
	if (n > 0) {
		json_t *doc = json_object();
		n = owner(conn, &f, tenant, whose, err) || fill(conn, id, whose, &f, doc, err) ? -1
											       : 1;
		if (n > 0)
			*out = json_incref(doc);
		json_decref(doc);
	}
	free_found(&f);
	return n < 0 ? -1 : 0;
}
