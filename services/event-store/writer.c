#include "services/event-store/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "services/event-store/task_rows.h"

#define DAY_US     86400000000LL
#define DAYS_AHEAD 2

#define COLUMNS                                                                                    \
	"epoch, seq, time, event_id, tenant, channel, type, version, data, trace, key, digest,"    \
	" session, router, command, principal, depth"
#define N_COLUMNS 17

/* The first place that a key's event was stored at is the only one; ORDER BY decides within a
 * batch. Times are microseconds. */
static const char keys_sql[] =
    "INSERT INTO event_keys (tenant, event_id, epoch, seq, time)"
    " SELECT tenant, event_id, $1, seq, timestamptz 'epoch' + us * interval '1 microsecond'"
    " FROM unnest($2::text[], $3::uuid[], $4::int8[], $5::int8[]) AS k (tenant, event_id, seq, us)"
    " ORDER BY seq ON CONFLICT DO NOTHING";
/* The ordinary batch has nothing that was seen before, and goes straight into its partitions. */
static const char copy_sql[] = "COPY events (" COLUMNS ") FROM STDIN (FORMAT binary)";
/* Any other one is looked through. */
static const char stage_sql[] = "CREATE TEMP TABLE stage_events (LIKE events) ON COMMIT DROP";
static const char stage_copy_sql[] = "COPY stage_events (" COLUMNS ") FROM STDIN (FORMAT binary)";
static const char sift_sql[] =
    "INSERT INTO events (" COLUMNS ") SELECT " COLUMNS
    " FROM stage_events s WHERE s.key = '' OR EXISTS"
    " (SELECT 1 FROM event_keys k WHERE k.tenant = s.tenant AND k.event_id = s.event_id"
    " AND k.epoch = s.epoch AND k.seq = s.seq) ON CONFLICT DO NOTHING";

int64_t store_time_us(int64_t own_us, int64_t stored_us)
{
	bool believable = own_us > stored_us - DAY_US && own_us < stored_us + DAY_US;
	return believable || !stored_us ? own_us : stored_us;
}

int store_writer_open(struct store_writer *w, PGconn *conn, uint64_t epoch, struct error *err)
{
	*w = (struct store_writer){.conn = conn, .epoch = epoch};
	if (pg_exec(conn,
		    "SET synchronous_commit = on; SET jit = off; SET statement_timeout = '60s';"
		    "SET lock_timeout = '10s'",
		    err) ||
	    pg_exec(conn, store_task_stage_sql, err) || pg_exec(conn, store_usage_stage_sql, err) ||
	    store_days_load(&w->days, conn, err)) {
		store_writer_close(w);
		return -1;
	}
	return 0;
}

void store_writer_close(struct store_writer *w)
{
	strbuf_done(&w->copy);
	store_days_done(&w->days);
	store_task_cache_done(&w->tasks);
	store_usage_done(&w->usage);
	*w = (struct store_writer){0};
}

int store_writer_position(struct store_writer *w, uint64_t *seq, char event_id[37],
			  struct error *err)
{
	struct pg_int8 epoch = pg_int8((int64_t)w->epoch);
	PGresult *res =
	    pg_query(w->conn, "SELECT seq, event_id FROM store_position WHERE epoch = $1", 1,
		     (const char *[]){epoch.text}, err);

	if (!res)
		return -1;
	*seq = 0;
	event_id[0] = '\0';
	if (PQntuples(res)) {
		*seq = (uint64_t)pg_int(res, 0, 0);
		snprintf(event_id, 37, "%s", pg_text(res, 0, 1));
	}
	PQclear(res);
	return 0;
}

/* --- events ------------------------------------------------------------------------------------
 */

static void add_event(struct strbuf *b, uint64_t epoch, const struct store_item *item)
{
	const Penstock__Event *e = item->event;

	pg_copy_row(b, N_COLUMNS);
	pg_copy_int8(b, (int64_t)epoch);
	pg_copy_int8(b, (int64_t)item->seq);
	pg_copy_time(b, store_time_us(e->time_us, item->stored_us));
	if (!pg_copy_uuid(b, e->id))
		abort(); /* store_item_init() made sure */
	pg_copy_text(b, e->tenant);
	pg_copy_text(b, e->channel);
	pg_copy_text(b, e->type);
	pg_copy_int4(b, (int32_t)e->version);
	pg_copy_bytes(b, e->data.data, e->data.len);
	pg_copy_text(b, e->trace);
	pg_copy_text(b, e->key);
	pg_copy_int8(b, (int64_t)e->digest);
	pg_copy_text(b, e->session);
	pg_copy_text(b, e->router);
	pg_copy_text(b, e->command);
	pg_copy_text(b, e->principal);
	pg_copy_int4(b, (int32_t)e->depth);
}

static int ensure_days(struct store_writer *w, const struct store_item *items, size_t n,
		       struct error *err)
{
	int32_t last = INT32_MIN;

	for (size_t i = 0; i < n; i++) {
		if (!items[i].event)
			continue;
		int32_t day = store_day(store_time_us(items[i].event->time_us, items[i].stored_us));
		if (day != last && store_days_ensure(&w->days, w->conn, day, err))
			return -1;
		last = day;
	}
	return 0;
}

/* Takes the places of the batch's keys. *seen: one of them had its place before. */
static int write_keys(struct store_writer *w, const struct store_item *items, size_t n, bool *seen,
		      struct error *err)
{
	struct strbuf column[4] = {0};
	struct pg_int8 epoch = pg_int8((int64_t)w->epoch);
	int64_t keyed = 0, fresh = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		const Penstock__Event *e = items[i].event;
		if (!e || !e->key[0])
			continue;
		char sep = keyed++ ? ',' : '{';
		/* A tenant has no character that an array literal would need to escape. */
		strbuf_addf(&column[0], "%c\"%s\"", sep, e->tenant);
		strbuf_addf(&column[1], "%c%s", sep, e->id);
		strbuf_addf(&column[2], "%c%lld", sep, (long long)items[i].seq);
		strbuf_addf(&column[3], "%c%lld", sep,
			    (long long)store_time_us(e->time_us, items[i].stored_us));
	}
	for (int c = 0; keyed && c < 4; c++)
		strbuf_addc(&column[c], '}');
	if (keyed)
		rc = pg_run(w->conn, keys_sql, 5,
			    (const char *[]){epoch.text, column[0].data, column[1].data,
					     column[2].data, column[3].data},
			    &fresh, err);
	*seen = fresh != keyed;
	for (int c = 0; c < 4; c++)
		strbuf_done(&column[c]);
	return rc;
}

static int write_events(struct store_writer *w, const struct store_item *items, size_t n, bool sift,
			int64_t *rows, struct error *err)
{
	int64_t events = 0;
	bool seen;

	*rows = 0;
	pg_copy_begin(&w->copy);
	for (size_t i = 0; i < n; i++) {
		if (!items[i].event)
			continue;
		add_event(&w->copy, w->epoch, &items[i]);
		events++;
	}
	if (!events)
		return 0;
	if (write_keys(w, items, n, &seen, err))
		return -1;
	if (sift || seen)
		return pg_exec(w->conn, stage_sql, err) ||
			       pg_copy_send(w->conn, stage_copy_sql, &w->copy, err) ||
			       pg_run(w->conn, sift_sql, 0, NULL, rows, err)
			   ? -1
			   : 0;
	*rows = events;
	return pg_copy_send(w->conn, copy_sql, &w->copy, err);
}

static int write_poison(struct store_writer *w, const struct store_item *items, size_t n,
			struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		if (items[i].event)
			continue;
		struct pg_int8 epoch = pg_int8((int64_t)w->epoch);
		struct pg_int8 seq = pg_int8((int64_t)items[i].seq);
		const char *values[] = {epoch.text, seq.text, items[i].subject, items[i].reason,
					items[i].len ? items[i].bytes : ""};
		const int lengths[] = {0, 0, 0, 0, (int)items[i].len};
		const int formats[] = {0, 0, 0, 0, 1};
		PGresult *res =
		    PQexecParams(w->conn,
				 "INSERT INTO quarantine (epoch, seq, subject, reason, bytes)"
				 " VALUES ($1, $2, $3, $4, $5::bytea) ON CONFLICT DO NOTHING",
				 5, NULL, values, lengths, formats, 0);
		bool ok = PQresultStatus(res) == PGRES_COMMAND_OK;
		int rc = ok ? 0 : pg_fail(w->conn, res, err);
		PQclear(res);
		if (rc)
			return rc;
	}
	return 0;
}

/* --- tasks -------------------------------------------------------------------------------------
 */

/* Reads the tasks that the batch speaks of and the cache does not know. */
static int load_tasks(struct store_writer *w, const struct store_item *items, size_t n,
		      struct error *err)
{
	struct strbuf ids = {0};
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		const Penstock__Event *e = items[i].event;
		if (!e || !project_is_transition(e->channel, e->type))
			continue;
		const char *id = project_task_of(e->channel);
		if (store_task_cache_find(&w->tasks, id))
			continue;
		store_task_cache_add(&w->tasks, id);
		/* A channel has no character that an array literal would need to escape. */
		strbuf_addf(&ids, "%s\"%s\"", ids.len ? "," : "{", id);
	}
	if (!ids.len)
		return 0;
	strbuf_addc(&ids, '}');
	PGresult *res = pg_query(
	    w->conn, "SELECT " STORE_TASK_COLUMNS " FROM tasks WHERE task = ANY($1::text[])", 1,
	    (const char *[]){ids.data}, err);
	for (int row = 0; res && row < PQntuples(res); row++) {
		struct store_task *t = store_task_cache_find(&w->tasks, pg_text(res, row, 0));
		if (!t)
			continue;
		store_task_from_row(&t->task, res, row);
		t->stored = true;
		t->input_stored = t->task.input != NULL;
	}
	if (!res)
		rc = -1;
	PQclear(res);
	strbuf_done(&ids);
	return rc;
}

static void fold_tasks(struct store_writer *w, const struct store_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const Penstock__Event *e = items[i].event;
		if (!e || !project_is_transition(e->channel, e->type))
			continue;
		struct store_task *t =
		    store_task_cache_find(&w->tasks, project_task_of(e->channel));
		struct project_event event = {.epoch = w->epoch,
					      .seq = items[i].seq,
					      .time_us =
						  store_time_us(e->time_us, items[i].stored_us),
					      .tenant = e->tenant,
					      .channel = e->channel,
					      .type = e->type,
					      .data = e->data.data,
					      .len = e->data.len};
		if (!t || !project_apply(&t->task, &event))
			continue;
		store_task_cache_touch(&w->tasks, t, e->data.len);
		store_usage_add(&w->usage, &t->task, &event);
	}
}

/* Puts the touched tasks that have a row, or have none yet, into w->copy; how many they are. */
static size_t gather_tasks(struct store_writer *w, bool stored)
{
	size_t rows = 0;

	pg_copy_begin(&w->copy);
	for (size_t i = 0; i < w->tasks.n_touched; i++) {
		struct store_task *t = w->tasks.touched[i];
		if (t->stored != stored)
			continue;
		store_task_to_copy(&w->copy, &t->task, !t->input_stored);
		rows++;
	}
	return rows;
}

static int write_tasks(struct store_writer *w, const struct store_item *items, size_t n,
		       struct error *err)
{
	if (load_tasks(w, items, n, err))
		return -1;
	store_usage_reset(&w->usage);
	fold_tasks(w, items, n);
	/* Nobody else makes rows of tasks: what was not there when it was looked for is new. */
	if (gather_tasks(w, false) && pg_copy_send(w->conn, store_task_copy_sql, &w->copy, err))
		return -1;
	if (gather_tasks(w, true) &&
	    (pg_copy_send(w->conn, store_task_stage_copy_sql, &w->copy, err) ||
	     pg_run(w->conn, store_task_merge_sql, 0, NULL, NULL, err)))
		return -1;
	return store_usage_write(&w->usage, w->conn, err);
}

/* --- the transaction ---------------------------------------------------------------------------
 */

static int write_position(struct store_writer *w, const struct store_item *last, struct error *err)
{
	struct pg_int8 epoch = pg_int8((int64_t)w->epoch), seq = pg_int8((int64_t)last->seq);

	return pg_run(
	    w->conn,
	    "INSERT INTO store_position AS p (epoch, seq, event_id) VALUES ($1, $2, $3)"
	    " ON CONFLICT (epoch) DO UPDATE SET seq = excluded.seq, event_id = excluded.event_id,"
	    " updated_at = now() WHERE p.seq < excluded.seq",
	    3, (const char *[]){epoch.text, seq.text, last->event ? last->event->id : ""}, NULL,
	    err);
}

static int write_batch(struct store_writer *w, const struct store_item *items, size_t n, bool sift,
		       int64_t *rows, struct error *err)
{
	if (pg_exec(w->conn, "BEGIN", err) || write_events(w, items, n, sift, rows, err) ||
	    write_poison(w, items, n, err) || write_tasks(w, items, n, err) ||
	    write_position(w, &items[n - 1], err) || pg_exec(w->conn, "COMMIT", err)) {
		pg_rollback(w->conn);
		store_task_cache_done(&w->tasks);
		return -1;
	}
	store_task_cache_committed(&w->tasks);
	return 0;
}

int store_writer_write(struct store_writer *w, const struct store_item *items, size_t n,
		       int64_t *rows, struct error *err)
{
	/* Outside the transaction: a partition's lock must not wait for the batch. */
	if (ensure_days(w, items, n, err))
		return -1;
	int rc = write_batch(w, items, n, false, rows, err);
	/* A place is there already: after a restored database, say. */
	if (rc && err->code == ERR_CONFLICT)
		rc = write_batch(w, items, n, true, rows, err);
	return rc;
}

/* Rows that no partition takes along; in steps, so that a long one holds nothing up. */
static const char *const expire_sql[] = {
    store_usage_expire_sql,
    "DELETE FROM event_keys WHERE ctid = ANY(ARRAY(SELECT ctid FROM event_keys"
    " WHERE time < to_timestamp($1::float8) LIMIT 20000))",
    "DELETE FROM tasks WHERE ctid = ANY(ARRAY(SELECT ctid FROM tasks"
    " WHERE finished_at < to_timestamp($1::float8) LIMIT 20000))",
    "DELETE FROM replays WHERE finished_at < to_timestamp($1::float8)",
    "DELETE FROM redrives WHERE finished_at < to_timestamp($1::float8)",
    "DELETE FROM quarantine WHERE time < to_timestamp($1::float8)",
};

int store_writer_maintain(struct store_writer *w, int64_t wall_us, int retention_days, int *dropped,
			  struct error *err)
{
	int32_t today = store_day(wall_us);
	struct pg_int8 oldest = pg_int8((int64_t)(today - retention_days) * 86400);

	for (int32_t day = today; day <= today + DAYS_AHEAD; day++)
		if (store_days_ensure(&w->days, w->conn, day, err))
			return -1;
	if (store_days_drop(&w->days, w->conn, today - retention_days, dropped, err))
		return -1;
	for (size_t i = 0; i < sizeof(expire_sql) / sizeof(expire_sql[0]); i++)
		if (pg_run(w->conn, expire_sql[i], 1, (const char *[]){oldest.text}, NULL, err))
			return -1;
	return 0;
}
