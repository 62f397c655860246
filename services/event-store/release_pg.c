#include "services/event-store/release_pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pg.h"
#include "common/strbuf.h"
#include "proto/command.pb-c.h"

#define ANY "any" /* the name of any_sql */

/* Each of them is answered by the first entry of a partial index. */
static const char any_sql[] =
    "SELECT EXISTS (SELECT 1 FROM tasks WHERE epoch = $1 AND release_at IS NOT NULL),"
    " EXISTS (SELECT 1 FROM redrives WHERE state = 'running'),"
    " EXISTS (SELECT 1 FROM replays WHERE state = 'running'),"
    " EXISTS (SELECT 1 FROM control.schedules WHERE next_at <= now()),"
    " EXISTS (SELECT 1 FROM control.triggers), EXISTS (SELECT 1 FROM trigger_events)";
/* Tenants are stepped through by the index, each gives its own first ones, and of these the firsts
 * of all tenants come before the seconds of any. The task.accepted is found in its day's partition:
 * its time is the task's. */
static const char read_sql[] =
    "WITH RECURSIVE owner AS ("
    "  (SELECT tenant FROM tasks WHERE epoch = $1 AND release_at IS NOT NULL ORDER BY tenant LIMIT "
    "1)"
    "  UNION ALL SELECT (SELECT t.tenant FROM tasks t WHERE t.epoch = $1 AND t.release_at IS NOT "
    "NULL"
    "   AND t.tenant > owner.tenant ORDER BY t.tenant LIMIT 1) FROM owner"
    "   WHERE owner.tenant IS NOT NULL),"
    " due AS (SELECT d.* FROM owner CROSS JOIN LATERAL (SELECT t.task, t.tenant, t.pipeline,"
    "   t.version, t.last_seq, t.created_at, t.release_at,"
    "   row_number() OVER (ORDER BY t.release_at) AS turn FROM tasks t"
    "   WHERE t.epoch = $1 AND t.tenant = owner.tenant AND t.release_at <= now()"
    "   ORDER BY t.release_at LIMIT $2::int8) d"
    "  WHERE owner.tenant IS NOT NULL AND owner.tenant <> ALL($3::text[])"
    "  ORDER BY d.turn, d.release_at LIMIT $2::int8)"
    " SELECT due.task, due.tenant, due.last_seq, due.pipeline, due.version, e.event_id, e.version,"
    "  e.data, (extract(epoch FROM e.time) * 1000000)::int8, e.trace, e.key, e.digest, e.session,"
    "  e.router, e.command, e.principal, e.depth"
    " FROM due LEFT JOIN LATERAL (SELECT * FROM events WHERE tenant = due.tenant"
    "  AND channel = 'task.' || due.task AND time = due.created_at AND type = 'task.accepted'"
    "  ORDER BY epoch, seq LIMIT 1) e ON true ORDER BY due.turn, due.release_at";
/* A row that the writer has in hand is left alone: it is about to change, and waiting for each
 * other over several rows would be a deadlock. */
static const char note_sql[] =
    "UPDATE tasks SET release_at = CASE WHEN v.bad THEN now() + interval '1 hour' END"
    " FROM (SELECT t.ctid AS at, x.bad FROM unnest($2::text[], $3::int8[], $4::bool[])"
    "   AS x(task, seq, bad) JOIN tasks t ON t.task = x.task AND t.epoch = $1 AND t.last_seq = "
    "x.seq"
    "   AND t.state = 'parked' FOR UPDATE OF t SKIP LOCKED) v WHERE tasks.ctid = v.at";

static char *field(const PGresult *res, int row, int col)
{
	return (char *)pg_text(res, row, col); /* protobuf-c has no const; nothing writes there */
}

static void pack(struct release_due *d, Penstock__ReleaseTask *release)
{
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	char name[ID_LEN + 24];
	snprintf(name, sizeof(name), "%s:%llu", d->task, (unsigned long long)d->seq);
	struct id id = id_derive(d->tenant, "release", name);
	cmd.id = id.text;
	cmd.tenant = d->tenant;
	cmd.body_case = PENSTOCK__COMMAND__BODY_RELEASE;
	cmd.release = release;
	d->command = xmalloc(penstock__command__get_packed_size(&cmd));
	d->len = penstock__command__pack(&cmd, d->command);
}

static void take_row(struct release_due *d, const PGresult *res, int row)
{
	*d = (struct release_due){.end = RELEASE_NOT_YET, .seq = (uint64_t)pg_int(res, row, 2)};
	snprintf(d->task, sizeof(d->task), "%s", pg_text(res, row, 0));
	snprintf(d->tenant, sizeof(d->tenant), "%s", pg_text(res, row, 1));
	if (!pg_text(res, row, 5)) {
		log_at(LOG_ERROR, "a task cannot be released: its task.accepted is not kept",
		       LOG_S("tenant", d->tenant), LOG_S("task", d->task));
		d->end = RELEASE_BAD;
		return;
	}
	char channel[CHANNEL_MAX + 1];
	task_channel(d->task, channel);
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	e.tenant = d->tenant;
	e.channel = channel;
	e.type = (char *)"task.accepted";
	e.id = field(res, row, 5);
	e.version = (uint32_t)pg_int(res, row, 6);
	e.data.data = (uint8_t *)field(res, row, 7);
	e.data.len = strlen(field(res, row, 7));
	e.time_us = pg_int(res, row, 8);
	e.trace = field(res, row, 9);
	e.key = field(res, row, 10);
	e.digest = (uint64_t)pg_int(res, row, 11);
	e.session = field(res, row, 12);
	e.router = field(res, row, 13);
	e.command = field(res, row, 14);
	e.principal = field(res, row, 15);
	e.depth = (uint32_t)pg_int(res, row, 16);
	Penstock__ReleaseTask release = PENSTOCK__RELEASE_TASK__INIT;
	release.task = d->task;
	release.seq = d->seq;
	release.pipeline = field(res, row, 3);
	release.version = (uint32_t)pg_int(res, row, 4);
	release.accepted = &e;
	pack(d, &release);
}

int release_pg_count(PGconn *conn, uint64_t epoch, int64_t *waiting, struct error *err)
{
	struct pg_int8 life = pg_int8((int64_t)epoch);
	PGresult *res =
	    pg_query(conn, "SELECT count(*) FROM tasks WHERE epoch = $1 AND release_at IS NOT NULL",
		     1, (const char *[]){life.text}, err);
	if (!res)
		return -1;
	*waiting = pg_int(res, 0, 0);
	PQclear(res);
	return 0;
}

void release_submit(struct release_due *d, const char *what, const struct release_task *t)
{
	Penstock__SubmitTask task = PENSTOCK__SUBMIT_TASK__INIT;
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	char trace[TRACE_LEN + 1];
	struct id id = id_derive(d->tenant, what, t->key);
	struct id made = id_derive(d->tenant, "task", t->key); /* as router/tasks.c */
	strcpy(d->task, made.text);
	struct rng rng;
	rng_seed(&rng, (uint64_t)d->seq ^ digest64(&(struct digest_part){id.text, ID_LEN}, 1));
	trace_new(&rng, trace);
	task.pipeline = (char *)t->pipeline; /* protobuf-c has no const; nothing writes there */
	task.key = (char *)t->key;
	task.input.data = (uint8_t *)t->input;
	task.input.len = t->input_len;
	task.priority = t->priority;
	cmd.id = id.text;
	cmd.tenant = d->tenant;
	cmd.principal = (char *)t->principal;
	cmd.trace = t->trace && *t->trace ? (char *)t->trace : trace;
	cmd.depth = t->depth;
	cmd.body_case = PENSTOCK__COMMAND__BODY_TASK;
	cmd.task = &task;
	d->command = xmalloc(penstock__command__get_packed_size(&cmd));
	d->len = penstock__command__pack(&cmd, d->command);
}

void release_due_forget(struct release_due *due, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free(due[i].command);
	*n = 0;
}

/* Planning it costs several times what it costs to run. The plan is kept, perhaps from a time when
 * the tables were empty, so it must not be one that reads a whole table. */
int release_pg_prepare(PGconn *conn, struct error *err)
{
	if (pg_exec(conn, "SET enable_seqscan = off", err))
		return -1;
	return pg_prepare(conn, ANY, any_sql, err);
}

int release_pg_any(PGconn *conn, uint64_t epoch, struct release_any *any, struct error *err)
{
	struct pg_int8 life = pg_int8((int64_t)epoch);
	PGresult *res = pg_execute(conn, ANY, 1, (const char *[]){life.text}, err);
	if (!res)
		return -1;
	any->releases = pg_bool(res, 0, 0);
	any->redrives = pg_bool(res, 0, 1);
	any->replays = pg_bool(res, 0, 2);
	any->schedules = pg_bool(res, 0, 3);
	any->triggers = pg_bool(res, 0, 4);
	any->triggered = pg_bool(res, 0, 5);
	PQclear(res);
	return 0;
}

int release_pg_read(PGconn *conn, uint64_t epoch, size_t max, const char *paused,
		    struct release_due *due, size_t *n, struct error *err)
{
	struct pg_int8 life = pg_int8((int64_t)epoch), limit = pg_int8((int64_t)max);
	*n = 0;
	PGresult *res =
	    pg_query(conn, read_sql, 3, (const char *[]){life.text, limit.text, paused}, err);
	if (!res)
		return -1;
	for (int row = 0; row < PQntuples(res) && *n < max; row++)
		take_row(&due[(*n)++], res, row);
	PQclear(res);
	return 0;
}

int release_pg_note(PGconn *conn, uint64_t epoch, const struct release_due *due, size_t n,
		    struct error *err)
{
	struct strbuf tasks = {0}, seqs = {0}, bad = {0};
	struct pg_int8 life = pg_int8((int64_t)epoch);
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		if (due[i].kind != SLOW_RELEASE || due[i].end == RELEASE_NOT_YET)
			continue;
		const char *comma = tasks.len ? "," : "{";
		strbuf_addf(&tasks, "%s%s", comma, due[i].task);
		strbuf_addf(&seqs, "%s%llu", comma, (unsigned long long)due[i].seq);
		strbuf_addf(&bad, "%s%c", comma, due[i].end == RELEASE_BAD ? 't' : 'f');
	}
	if (tasks.len) {
		strbuf_addc(&tasks, '}');
		strbuf_addc(&seqs, '}');
		strbuf_addc(&bad, '}');
		rc =
		    pg_run(conn, note_sql, 4,
			   (const char *[]){life.text, tasks.data, seqs.data, bad.data}, NULL, err);
	}
	strbuf_done(&tasks);
	strbuf_done(&seqs);
	strbuf_done(&bad);
	return rc;
}
