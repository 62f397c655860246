/* Orders to redrive dead letters (sql/0027_redrives.sql), as the slow path works them off. Blocks;
 * threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_REDRIVE_PG_H
#define PENSTOCK_EVENT_STORE_REDRIVE_PG_H

#include "services/event-store/release_pg.h"

/* As release_pg_read(): what the rates of the running orders allow now, at most max. Ends orders
 * that have nothing left. An item whose task is no dead letter any
 * more comes as RELEASE_BAD, or as RELEASE_DONE if it was redriven. */
int redrive_pg_read(PGconn *conn, uint64_t epoch, size_t max, const char *paused,
		    struct release_due *due, size_t *n, struct error *err) MUST_CHECK;
int redrive_pg_note(PGconn *conn, const struct release_due *due, size_t n,
		    struct error *err) MUST_CHECK;

#endif
