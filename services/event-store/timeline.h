/* Everything that PostgreSQL knows about one id, in the order of time: of a task, an event, a
 * session or a trace.
 *
 * Blocks; threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_TIMELINE_H
#define PENSTOCK_EVENT_STORE_TIMELINE_H

#include <jansson.h>
#include <libpq-fe.h>

#include "common/err.h"

#define STORE_TIMELINE_MAX 1000

/* tenant "": any. *out: the document, owned by the caller, or NULL if nothing has that id.
 * {id, kind, tenant, session, trace, started_at, events: […], task?, tasks?, attempts: […], spans:
 * […], truncated}: times are milliseconds since 1970, `ms` and `…_ms` count from started_at. */
int store_timeline(PGconn *conn, const char *id, const char *tenant, json_t **out,
		   struct error *err) MUST_CHECK;

#endif
