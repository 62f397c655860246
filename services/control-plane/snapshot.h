/* All documents that the bucket should hold, made from PostgreSQL. Blocks. Threads: the
 * connection's owner. */
#ifndef PENSTOCK_CONTROL_SNAPSHOT_H
#define PENSTOCK_CONTROL_SNAPSHOT_H

#include <jansson.h>

#include "common/pg.h"

/* key → document as compact text, of one moment. New reference; NULL and *err on failure. */
json_t *snapshot_read(PGconn *conn, struct error *err);

/* Of one type: NULL if there is no version. *ok tells that from a failure. */
json_t *snapshot_type(PGconn *conn, const char *tenant, const char *type, bool *ok,
		      struct error *err);

#endif
