#include "services/event-store/schedule_pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cron_pg.h"
#include "common/log.h"
#include "common/pg.h"

#define LATE_S "60"

/* The firsts of all tenants before the seconds of any. */
static const char read_sql[] =
    "SELECT tenant, name, extract(epoch FROM next_at)::int8, doc->>'pipeline', doc->'input',"
    " (doc->>'priority')::int, doc->>'missed' = 'skip' AND next_at < now() - interval '" LATE_S
    " s' FROM (SELECT *, row_number() OVER (PARTITION BY tenant ORDER BY next_at, name) AS turn"
    "  FROM control.schedules WHERE next_at <= now() AND tenant <> ALL($2::text[])) s"
    " ORDER BY turn, next_at, tenant LIMIT $1::int8";
static const char find_sql[] =
    "SELECT doc->>'cron', doc->>'zone', greatest($3::int8, extract(epoch FROM now())::int8 "
    "- " LATE_S
    ") FROM control.schedules WHERE tenant = $1 AND name = $2 AND next_at = to_timestamp($3::int8)";
/* Whose time is another one by now was changed meanwhile: its new time stays. */
static const char move_sql[] =
    "UPDATE control.schedules SET next_at = to_timestamp($4::int8), runs = runs + ($5 = "
    "'started')::int,"
    " missed = missed + ($5 = 'missed')::int, last = json_strip_nulls(json_build_object("
    "  'due_at', to_char(next_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    "  'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    "  'result', $5::text, 'task', $6::text, 'code', $7::text))"
    " WHERE tenant = $1 AND name = $2 AND next_at = to_timestamp($3::int8)";

static void take_row(struct release_due *d, const PGresult *res, int row)
{
	char key[KEY_MAX + 1], due[TIME_LEN + 1], principal[TENANT_MAX + 16];
	*d = (struct release_due){.kind = SLOW_SCHEDULE, .seq = (uint64_t)pg_int(res, row, 2)};
	snprintf(d->tenant, sizeof(d->tenant), "%s", pg_text(res, row, 0));
	snprintf(d->order, sizeof(d->order), "%s", pg_text(res, row, 1));
	if (pg_bool(res, row, 6)) {
		d->end = RELEASE_BAD;
		strcpy(d->reason, "missed");
		return;
	}
	time_format((int64_t)d->seq * 1000000, due);
	snprintf(key, sizeof(key), "schedule.%s.%s", d->order, due);
	snprintf(principal, sizeof(principal), "schedule:%s", d->order);
	release_submit(d, "schedule",
		       &(struct release_task){.principal = principal,
					      .pipeline = pg_text(res, row, 3),
					      .key = key,
					      .input = pg_text(res, row, 4),
					      .input_len = strlen(pg_text(res, row, 4)),
					      .priority = (int32_t)pg_int(res, row, 5)});
}

int schedule_pg_read(PGconn *conn, size_t max, const char *paused, struct release_due *due,
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

static int move_on(PGconn *conn, const struct release_due *d, const PGresult *found,
		   struct error *err)
{
	struct cron cron;
	struct error why = {0};
	struct pg_int8 at = pg_int8((int64_t)d->seq), then = {""};
	int64_t next;
	if (!cron_parse(pg_text(found, 0, 0), &cron, &why) &&
	    !cron_pg_next(conn, &cron, pg_text(found, 0, 1), pg_int(found, 0, 2), &next, &why))
		then = pg_int8(next);
	else if (why.code == ERR_TRANSIENT || !pg_alive(conn))
		return *err = why, -1;
	else /* it was good when it was put; perhaps the zone is gone with an update */
		log_at(LOG_ERROR, "a schedule is never due again", LOG_S("tenant", d->tenant),
		       LOG_S("schedule", d->order), LOG_S("error", why.msg));
	bool started = d->end == RELEASE_DONE, missed = !strcmp(d->reason, "missed");
	const char *values[] = {d->tenant,
				d->order,
				at.text,
				then.text[0] ? then.text : NULL,
				started  ? "started"
				: missed ? "missed"
					 : "refused",
				started ? d->task : NULL,
				started || missed ? NULL : d->reason};
	return pg_run(conn, move_sql, sizeof(values) / sizeof(*values), values, NULL, err);
}

int schedule_pg_note(PGconn *conn, const struct release_due *due, size_t n, struct error *err)
{
	int rc = 0;
	for (size_t i = 0; i < n && !rc; i++) {
		if (due[i].kind != SLOW_SCHEDULE || due[i].end == RELEASE_NOT_YET)
			continue;
		struct pg_int8 at = pg_int8((int64_t)due[i].seq);
		PGresult *res = pg_query(
		    conn, find_sql, 3, (const char *[]){due[i].tenant, due[i].order, at.text}, err);
		rc = !res ? -1 : PQntuples(res) ? move_on(conn, &due[i], res, err) : 0;
		PQclear(res);
	}
	return rc;
}
