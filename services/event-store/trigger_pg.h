/* Triggers (sql/0033_triggers.sql, docs/decisions/0040), as the slow path fires them. Blocks;
 * threads: the connection's owner.
 *
 * One look at the log serves all triggers: what fits one waits in the table trigger_events, and
 * that table and the place of the look move in one statement. An event is one task of a trigger:
 * its idempotency key is made of the trigger's name and the event's id, and it waits until the
 * answer is noted. */
#ifndef PENSTOCK_EVENT_STORE_TRIGGER_PG_H
#define PENSTOCK_EVENT_STORE_TRIGGER_PG_H

#include "services/event-store/release_pg.h"

/* Of triggers, one after the other, that may lead to a task. */
#define TRIGGER_DEPTH_MAX 8

/* Looks at more of the log, at most TRIGGER_LOOK offsets. *found: something fits a trigger. */
#define TRIGGER_LOOK 5000
int trigger_pg_look(PGconn *conn, bool *found, struct error *err) MUST_CHECK;
/* As release_pg_read(). What no task will ever come of is RELEASE_BAD with the reason: "loop"
 * beyond TRIGGER_DEPTH_MAX, "expired" when the event is not in the log any more. */
int trigger_pg_read(PGconn *conn, size_t max, const char *paused, struct release_due *due,
		    size_t *n, struct error *err) MUST_CHECK;
/* Notes how it ended; these events wait no longer. */
int trigger_pg_note(PGconn *conn, const struct release_due *due, size_t n,
		    struct error *err) MUST_CHECK;

#endif
