/* Schedules (sql/0032_schedules.sql), as the slow path fires them. Blocks; threads: the
 * connection's owner.
 *
 * A due time is one task: its idempotency key is made of the schedule's name and the due time, so
 * whoever asks again, after whatever crash, asks for the same one. A schedule stays due until the
 * answer is noted; only then it moves on. */
#ifndef PENSTOCK_EVENT_STORE_SCHEDULE_PG_H
#define PENSTOCK_EVENT_STORE_SCHEDULE_PG_H

#include "services/event-store/release_pg.h"

/* As release_pg_read(). One that is late by more than a minute and wants no late runs comes as
 * RELEASE_BAD with the reason "missed". */
int schedule_pg_read(PGconn *conn, size_t max, const char *paused, struct release_due *due,
		     size_t *n, struct error *err) MUST_CHECK;
/* Notes how it ended and when they are due next: behind their due time, and not more than a minute
 * ago. */
int schedule_pg_note(PGconn *conn, const struct release_due *due, size_t n,
		     struct error *err) MUST_CHECK;

#endif
