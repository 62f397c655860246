#include "services/event-store/trigger_pg.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "common/pg.h"
#include "common/strbuf.h"
#include "services/event-store/event_input.h"

/* What is longer fits into no message to the router, whose own limit is lower. */
#define DATA_MAX (900 * 1024)

/* The oldest life of the stream of which there is more to look at. Where nobody looked yet, or not
 * since there was a trigger, the look begins at the place of the first trigger. */
static const char place_sql[] =
    "SELECT p.epoch, l.seq, p.seq FROM store_position p CROSS JOIN LATERAL"
    " (SELECT greatest(min(CASE WHEN t.from_epoch = p.epoch THEN t.from_seq ELSE 0 END),"
    "   (SELECT position FROM trigger_places WHERE epoch = p.epoch)) AS seq, count(*) AS n"
    "  FROM control.triggers t WHERE NOT t.paused AND t.from_epoch <= p.epoch) l"
    " WHERE l.n > 0 AND l.seq < p.seq ORDER BY p.epoch LIMIT 1";
static const char look_sql[] =
    "WITH p AS (INSERT INTO trigger_places AS p (epoch, position) VALUES ($1::int8, $3::int8)"
    "  ON CONFLICT (epoch) DO UPDATE SET position = excluded.position WHERE p.position <= $2::int8"
    "  RETURNING 1)"
    " INSERT INTO trigger_events (tenant, name, epoch, seq, time)"
    "  SELECT t.tenant, t.name, e.epoch, e.seq, e.time FROM events e"
    "  JOIN control.triggers t ON t.tenant = e.tenant AND t.type = e.type"
    "  WHERE EXISTS (SELECT FROM p) AND e.epoch = $1::int8 AND e.seq > $2::int8"
    "  AND e.seq <= $3::int8 AND NOT t.paused AND e.channel ~ t.channels"
    "  AND (e.epoch, e.seq) > (t.from_epoch, t.from_seq) ON CONFLICT DO NOTHING";
/* Tenants are stepped through by the index, each gives its own first ones, and of these the firsts
 * of all tenants come before the seconds of any. */
static const char read_sql[] =
    "WITH RECURSIVE owner AS ("
    "  (SELECT tenant FROM trigger_events ORDER BY tenant LIMIT 1)"
    "  UNION ALL SELECT (SELECT q.tenant FROM trigger_events q WHERE q.tenant > owner.tenant"
    "   ORDER BY q.tenant LIMIT 1) FROM owner WHERE owner.tenant IS NOT NULL),"
    " due AS (SELECT d.* FROM owner CROSS JOIN LATERAL (SELECT q.*,"
    "   row_number() OVER (ORDER BY q.epoch, q.seq, q.name) AS turn FROM trigger_events q"
    "   WHERE q.tenant = owner.tenant ORDER BY q.epoch, q.seq, q.name LIMIT $1::int8) d"
    "  WHERE owner.tenant IS NOT NULL AND owner.tenant <> ALL($2::text[])"
    "  ORDER BY d.turn, d.time LIMIT $1::int8)"
    " SELECT due.tenant, due.name, due.epoch, due.seq, t.doc->>'pipeline',"
    "  (t.doc->>'priority')::int, e.event_id, e.channel, e.type, e.version, e.data,"
    "  (extract(epoch FROM e.time) * 1000000)::int8, e.trace, e.depth"
    " FROM due JOIN control.triggers t ON t.tenant = due.tenant AND t.name = due.name"
    "  AND NOT t.paused"
    " LEFT JOIN events e ON e.epoch = due.epoch AND e.seq = due.seq AND e.time = due.time"
    " ORDER BY due.turn, due.time";
/* Only what still waited counts, so a repeat of the word changes nothing. */
static const char note_sql[] =
    "WITH x AS (SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::text[],"
    "   $6::text[], $7::text[]) AS x(tenant, name, epoch, seq, event, task, code)),"
    " d AS (DELETE FROM trigger_events q USING x WHERE q.tenant = x.tenant AND q.name = x.name"
    "  AND q.epoch = x.epoch AND q.seq = x.seq RETURNING x.*),"
    " s AS (SELECT tenant, name, count(*) FILTER (WHERE code = '') AS started,"
    "  count(*) FILTER (WHERE code <> '') AS refused,"
    "  (array_agg(json_strip_nulls(json_build_object('event', nullif(event, ''),"
    "   'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    "   'result', CASE code WHEN '' THEN 'started' ELSE 'refused' END,"
    "   'task', CASE code WHEN '' THEN task END, 'code', nullif(code, '')))"
    "   ORDER BY epoch DESC, seq DESC))[1] AS last FROM d GROUP BY tenant, name)"
    " UPDATE control.triggers t SET started = t.started + s.started,"
    "  refused = t.refused + s.refused, last = s.last FROM s"
    "  WHERE t.tenant = s.tenant AND t.name = s.name";

int trigger_pg_look(PGconn *conn, bool *found, struct error *err)
{
	int64_t rows = 0;
	PGresult *res = pg_query(conn, place_sql, 0, NULL, err);
	int rc = res ? 0 : -1;
	if (res && PQntuples(res)) {
		int64_t from = pg_int(res, 0, 1), end = pg_int(res, 0, 2);
		struct pg_int8 after = pg_int8(from);
		struct pg_int8 upto =
		    pg_int8(end - from > TRIGGER_LOOK ? from + TRIGGER_LOOK : end);
		rc =
		    pg_run(conn, look_sql, 3,
			   (const char *[]){pg_text(res, 0, 0), after.text, upto.text}, &rows, err);
	}
	PQclear(res);
	*found = rows > 0;
	return rc;
}

/* --- the command of an event ------------------------------------------------------------------
 */

static void pack(struct release_due *d, const PGresult *res, int row)
{
	char key[KEY_MAX + 1], principal[PRINCIPAL_MAX + 1];
	struct strbuf input = {0};
	snprintf(key, sizeof(key), "trigger.%s.%s", d->order, d->event);
	snprintf(principal, sizeof(principal), "trigger:%s", d->order);
	event_input_add(&input, &(struct event_input){.id = d->event,
						      .channel = pg_text(res, row, 7),
						      .type = pg_text(res, row, 8),
						      .version = pg_int(res, row, 9),
						      .data = pg_text(res, row, 10),
						      .time_us = pg_int(res, row, 11),
						      .epoch = d->epoch,
						      .offset = (int64_t)d->seq});
	release_submit(d, "trigger",
		       &(struct release_task){.principal = principal,
					      .pipeline = pg_text(res, row, 4),
					      .key = key,
					      .input = input.data,
					      .input_len = input.len,
					      .priority = (int32_t)pg_int(res, row, 5),
					      .trace = pg_text(res, row, 12),
					      .depth = (unsigned)pg_int(res, row, 13) + 1});
	strbuf_done(&input);
}

static void refuse(struct release_due *d, const char *reason)
{
	d->end = RELEASE_BAD;
	snprintf(d->reason, sizeof(d->reason), "%s", reason);
	log_at(LOG_WARN, "an event starts no task", LOG_S("tenant", d->tenant),
	       LOG_S("trigger", d->order), LOG_S("event", d->event), LOG_S("reason", reason));
}

static void take_row(struct release_due *d, const PGresult *res, int row)
{
	*d = (struct release_due){.kind = SLOW_TRIGGER,
				  .epoch = (uint64_t)pg_int(res, row, 2),
				  .seq = (uint64_t)pg_int(res, row, 3)};
	snprintf(d->tenant, sizeof(d->tenant), "%s", pg_text(res, row, 0));
	snprintf(d->order, sizeof(d->order), "%s", pg_text(res, row, 1));
	if (!pg_text(res, row, 6)) {
		refuse(d, "expired");
		return;
	}
	snprintf(d->event, sizeof(d->event), "%s", pg_text(res, row, 6));
	if (pg_int(res, row, 13) >= TRIGGER_DEPTH_MAX) {
		refuse(d, "loop");
		return;
	}
	if (PQgetlength(res, row, 10) > DATA_MAX) {
		refuse(d, "too_large");
		return;
	}
	pack(d, res, row);
}

int trigger_pg_read(PGconn *conn, size_t max, const char *paused, struct release_due *due,
		    size_t *n, struct error *err)
{
	struct pg_int8 limit = pg_int8((int64_t)max);
	*n = 0;
	PGresult *res = pg_query(conn, read_sql, 2, (const char *[]){limit.text, paused}, err);
	if (!res)
		return -1;
	for (int row = 0; row < PQntuples(res) && *n < max; row++)
		take_row(&due[(*n)++], res, row);
	PQclear(res);
	return 0;
}

/* None of them has a character that an array literal would need to escape. */
static void add_item(struct strbuf *list, const char *text)
{
	strbuf_addf(list, "%c\"%s\"", list->len ? ',' : '{', text);
}

static void add_number(struct strbuf *list, uint64_t number)
{
	strbuf_addf(list, "%c%" PRId64, list->len ? ',' : '{', (int64_t)number);
}

enum { TENANT, NAME, EPOCH, SEQ, EVENT, TASK, CODE, COLUMNS };

int trigger_pg_note(PGconn *conn, const struct release_due *due, size_t n, struct error *err)
{
	struct strbuf lists[COLUMNS] = {0};
	const char *values[COLUMNS];
	int rc = 0;
	for (size_t i = 0; i < n; i++) {
		const struct release_due *d = &due[i];
		if (d->kind != SLOW_TRIGGER || d->end == RELEASE_NOT_YET)
			continue;
		add_item(&lists[TENANT], d->tenant);
		add_item(&lists[NAME], d->order);
		add_number(&lists[EPOCH], d->epoch);
		add_number(&lists[SEQ], d->seq);
		add_item(&lists[EVENT], d->event);
		add_item(&lists[TASK], d->task);
		add_item(&lists[CODE], d->end == RELEASE_DONE ? "" : d->reason);
	}
	if (lists[TENANT].len) {
		for (int c = 0; c < COLUMNS; c++) {
			strbuf_addc(&lists[c], '}');
			values[c] = strbuf_str(&lists[c]);
		}
		rc = pg_run(conn, note_sql, COLUMNS, values, NULL, err);
	}
	for (int c = 0; c < COLUMNS; c++)
		strbuf_done(&lists[c]);
	return rc;
}
