/* Operators' replays (sql/0028_replays.sql), as the slow path works them off. Blocks; threads: the
 * connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_REPLAY_PG_H
#define PENSTOCK_EVENT_STORE_REPLAY_PG_H

#include "services/event-store/release_pg.h"

/* As release_pg_read(): the next events that the rates of the running replays allow now, at most
 * max, each replay's in order. Ends replays that have nothing left. */
int replay_pg_read(PGconn *conn, size_t max, const char *paused, struct release_due *due, size_t *n,
		   struct error *err) MUST_CHECK;
/* Moves each replay on to the first event that was not sent: what is behind that one comes again.
 */
int replay_pg_note(PGconn *conn, const struct release_due *due, size_t n,
		   struct error *err) MUST_CHECK;

#endif
