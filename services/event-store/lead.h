/* Who of several event-stores does what only one may do: whose connection holds an advisory lock.
 * Blocks; threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_LEAD_H
#define PENSTOCK_EVENT_STORE_LEAD_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "common/err.h"

/* Tries for the lock, a literal, unless this very connection has it. *pid: of the backend that has
 * it, 0: another one leads; it is the caller's to zero when the connection is gone. *gained: it was
 * got just now. -1: nobody knows, *pid is as it was. */
int lead_seek(PGconn *conn, const char *lock, int *pid, bool *gained, struct error *err) MUST_CHECK;

#endif
