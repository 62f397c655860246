#include "services/event-store/partitions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/pg.h"
#include "common/strbuf.h"

#define DAY_US 86400000000LL
#define DAY_S  86400LL

int32_t store_day(int64_t wall_us)
{
	int64_t day = wall_us / DAY_US;
	return (int32_t)(wall_us % DAY_US < 0 ? day - 1 : day);
}

static void date_of(int32_t day, const char *fmt, char *out, size_t size)
{
	time_t at = (time_t)(day * DAY_S);
	struct tm tm;

	gmtime_r(&at, &tm);
	/* Only the two formats below come here. */
	snprintf(out, size, *fmt == 'n' ? "events_p%04d%02d%02d" : "%04d-%02d-%02d",
		 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

void store_day_name(int32_t day, char out[32])
{
	date_of(day, "name", out, 32);
}

bool store_day_parse(const char *name, int32_t *day)
{
	struct tm tm = {0};
	int used = 0;

	if (strlen(name) != strlen("events_pYYYYMMDD") ||
	    sscanf(name, "events_p%4d%2d%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &used) != 3 ||
	    name[used])
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*day = (int32_t)(timegm(&tm) / DAY_S);
	return true;
}

static bool known(const struct store_days *d, int32_t day)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->days[i] == day)
			return true;
	return false;
}

static void add(struct store_days *d, int32_t day)
{
	d->days = xrealloc(d->days, (d->n + 1) * sizeof(*d->days));
	d->days[d->n++] = day;
}

int store_days_load(struct store_days *d, PGconn *conn, struct error *err)
{
	PGresult *res =
	    pg_query(conn,
		     "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
		     " WHERE i.inhparent = 'events'::regclass",
		     0, NULL, err);
	if (!res)
		return -1;
	d->n = 0;
	for (int row = 0; row < PQntuples(res); row++) {
		int32_t day;
		if (store_day_parse(pg_text(res, row, 0), &day))
			add(d, day);
	}
	PQclear(res);
	return 0;
}

int store_days_ensure(struct store_days *d, PGconn *conn, int32_t day, struct error *err)
{
	char sql[256], name[32], from[32], to[32];

	if (known(d, day))
		return 0;
	store_day_name(day, name);
	date_of(day, "date", from, sizeof(from));
	date_of(day + 1, "date", to, sizeof(to));
	snprintf(sql, sizeof(sql),
		 "CREATE TABLE IF NOT EXISTS %s PARTITION OF events"
		 " FOR VALUES FROM ('%s 00:00:00+00') TO ('%s 00:00:00+00')",
		 name, from, to);
	if (pg_exec(conn, sql, err))
		return -1;
	add(d, day);
	return 0;
}

int store_days_drop(struct store_days *d, PGconn *conn, int32_t first_day, int *dropped,
		    struct error *err)
{
	*dropped = 0;
	for (size_t i = 0; i < d->n;) {
		char sql[64], name[32];

		if (d->days[i] >= first_day) {
			i++;
			continue;
		}
		store_day_name(d->days[i], name);
		snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS %s", name);
		if (pg_exec(conn, sql, err))
			return -1;
		d->days[i] = d->days[--d->n];
		(*dropped)++;
	}
	return 0;
}

void store_days_done(struct store_days *d)
{
	free(d->days);
	*d = (struct store_days){0};
}
