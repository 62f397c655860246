/* Cron expressions in the time zones that PostgreSQL knows (of IANA; Debian's tzdata). Blocks;
 * threads: the connection's owner. */
#ifndef PENSTOCK_CRON_PG_H
#define PENSTOCK_CRON_PG_H

#include <libpq-fe.h>

#include "common/cron.h"

/* ERR_REJECTED for a zone that there is not. */
int cron_pg_zone(PGconn *conn, const char *zone, struct error *err) MUST_CHECK;
/* As cron_next(). */
int cron_pg_next(PGconn *conn, const struct cron *cron, const char *zone, int64_t after_s,
		 int64_t *next_s, struct error *err) MUST_CHECK;

#endif
