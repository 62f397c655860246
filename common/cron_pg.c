#include "common/cron_pg.h"

#include "common/pg.h"

struct clock {
	PGconn *conn;
	const char *zone;
};

int cron_pg_zone(PGconn *conn, const char *zone, struct error *err)
{
	int64_t rows;
	if (pg_run(conn, "SELECT 1 FROM pg_timezone_names WHERE name = $1", 1,
		   (const char *[]){zone}, &rows, err))
		return -1;
	return rows ? 0 : err_set(err, ERR_REJECTED, "zone: there is no time zone of this name");
}

static int ask_offset(void *arg, int64_t utc_s, int64_t *offset_s, struct error *err)
{
	struct clock *clock = arg;
	struct pg_int8 at = pg_int8(utc_s);
	PGresult *res = pg_query(
	    clock->conn,
	    "SELECT extract(epoch FROM to_timestamp($1::int8) AT TIME ZONE $2)::int8 - $1::int8", 2,
	    (const char *[]){at.text, clock->zone}, err);
	if (!res)
		return -1;
	*offset_s = pg_int(res, 0, 0);
	PQclear(res);
	return 0;
}

int cron_pg_next(PGconn *conn, const struct cron *cron, const char *zone, int64_t after_s,
		 int64_t *next_s, struct error *err)
{
	struct clock clock = {conn, zone};
	return cron_next(cron, after_s, ask_offset, &clock, next_s, err);
}
