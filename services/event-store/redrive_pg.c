#include "services/event-store/redrive_pg.h"

#include <stdio.h>
#include <string.h>

#include "common/pg.h"
#include "common/strbuf.h"
#include "proto/command.pb-c.h"

static const char finish_sql[] =
    "UPDATE redrives SET state = 'done', finished_at = now() WHERE state = 'running'"
    " AND NOT EXISTS (SELECT 1 FROM redrive_items i WHERE i.redrive = redrives.id"
    " AND i.state = 'pending')";
/* An order may take what its rate has allowed since its mark, and the mark moves on by just that;
 * what was not taken for more than a second is forgone, or an outage would end in a burst. */
static const char read_sql[] =
    "WITH spare AS (SELECT id, mark, least(floor(extract(epoch FROM now() - mark) * per_s),"
    "   $2::int8)::int AS n FROM (SELECT id, per_s, greatest(mark_at, now() - interval '1 s') AS "
    "mark"
    "   FROM redrives WHERE state = 'running' ORDER BY created_at LIMIT 16) running),"
    " taken AS (UPDATE redrives r SET mark_at = spare.mark + interval '1 s' * (spare.n / "
    "r.per_s::float8)"
    "  FROM spare WHERE r.id = spare.id AND spare.n > 0 RETURNING r.id, r.actor, spare.n)"
    " SELECT i.redrive, i.n, i.task, i.tenant, i.seq, i.gen, taken.actor,"
    "  coalesce(t.last_seq = i.seq AND t.epoch = $1 AND t.state IN ('failed', 'expired'), false),"
    "  e.event_id"
    " FROM taken CROSS JOIN LATERAL (SELECT * FROM redrive_items WHERE redrive = taken.id"
    "  AND state = 'pending' AND tenant <> ALL($3::text[]) ORDER BY n LIMIT taken.n) i"
    " LEFT JOIN tasks t ON t.task = i.task"
    " LEFT JOIN LATERAL (SELECT event_id FROM events WHERE t.last_seq IS DISTINCT FROM i.seq"
    "  AND tenant = i.tenant AND channel = 'task.' || i.task AND epoch = $1 AND seq > i.seq"
    "  ORDER BY seq LIMIT 1) e ON true LIMIT $2::int8";
static const char note_sql[] =
    "UPDATE redrive_items i SET state = CASE x.reason WHEN '' THEN 'done' ELSE 'refused' END,"
    " reason = x.reason FROM unnest($1::uuid[], $2::int[], $3::text[]) AS x(redrive, n, reason)"
    " WHERE i.redrive = x.redrive AND i.n = x.n AND i.state = 'pending'";

/* The task has moved on. If by the very event that we are about to ask for, we have asked for it
 * before, and somebody was killed before that was noted. next: the event behind the terminal one.
 */
static void take_gone(struct release_due *d, const char *next)
{
	char name[ID_LEN + 64];
	snprintf(name, sizeof(name), "%s %llu task.redriven", d->task, (unsigned long long)d->seq);
	struct id own = id_derive(d->tenant, "transition", name); /* as router/redrive.c */
	d->end = next && strcmp(next, own.text) == 0 ? RELEASE_DONE : RELEASE_BAD;
	strcpy(d->reason, d->end == RELEASE_DONE ? "" : "conflict");
}

static void take_row(struct release_due *d, const PGresult *res, int row)
{
	*d = (struct release_due){.kind = SLOW_REDRIVE,
				  .seq = (uint64_t)pg_int(res, row, 4),
				  .n = (int)pg_int(res, row, 1)};
	snprintf(d->order, sizeof(d->order), "%s", pg_text(res, row, 0));
	snprintf(d->task, sizeof(d->task), "%s", pg_text(res, row, 2));
	snprintf(d->tenant, sizeof(d->tenant), "%s", pg_text(res, row, 3));
	if (!pg_bool(res, row, 7)) {
		take_gone(d, pg_text(res, row, 8));
		return;
	}
	Penstock__RedriveTask redrive = PENSTOCK__REDRIVE_TASK__INIT;
	redrive.task = d->task;
	redrive.seq = d->seq;
	redrive.redrive_gen = (uint32_t)pg_int(res, row, 5);
	redrive.by = (char *)pg_text(res, row, 6); /* protobuf-c has no const */
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	char name[ID_LEN + 24];
	snprintf(name, sizeof(name), "%s:%llu", d->task, (unsigned long long)d->seq);
	struct id id = id_derive(d->tenant, "redrive", name);
	cmd.id = id.text;
	cmd.tenant = d->tenant;
	cmd.principal = redrive.by;
	cmd.body_case = PENSTOCK__COMMAND__BODY_REDRIVE;
	cmd.redrive = &redrive;
	d->command = xmalloc(penstock__command__get_packed_size(&cmd));
	d->len = penstock__command__pack(&cmd, d->command);
}

int redrive_pg_read(PGconn *conn, uint64_t epoch, size_t max, const char *paused,
		    struct release_due *due, size_t *n, struct error *err)
{
	struct pg_int8 life = pg_int8((int64_t)epoch), limit = pg_int8((int64_t)max);
	*n = 0;
	if (pg_run(conn, finish_sql, 0, NULL, NULL, err))
		return -1;
	PGresult *res =
	    pg_query(conn, read_sql, 3, (const char *[]){life.text, limit.text, paused}, err);
	if (!res)
		return -1;
	for (int row = 0; row < PQntuples(res) && *n < max; row++)
		take_row(&due[(*n)++], res, row);
	PQclear(res);
	return 0;
}

int redrive_pg_note(PGconn *conn, const struct release_due *due, size_t n, struct error *err)
{
	struct strbuf orders = {0}, numbers = {0}, reasons = {0};
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		if (due[i].kind != SLOW_REDRIVE || due[i].end == RELEASE_NOT_YET)
			continue;
		const char *comma = orders.len ? "," : "{";
		strbuf_addf(&orders, "%s%s", comma, due[i].order);
		strbuf_addf(&numbers, "%s%d", comma, due[i].n);
		strbuf_addf(&reasons, "%s\"%s\"", comma, due[i].reason);
	}
	if (orders.len) {
		strbuf_addc(&orders, '}');
		strbuf_addc(&numbers, '}');
		strbuf_addc(&reasons, '}');
		rc = pg_run(conn, note_sql, 3,
			    (const char *[]){orders.data, numbers.data, reasons.data}, NULL, err);
	}
	strbuf_done(&orders);
	strbuf_done(&numbers);
	strbuf_done(&reasons);
	return rc;
}
