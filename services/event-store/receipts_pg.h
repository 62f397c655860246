/* Receipts in PostgreSQL (sql/0003): batches of messages in one transaction, and their retention.
 *
 * Blocks; threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_RECEIPTS_PG_H
#define PENSTOCK_EVENT_STORE_RECEIPTS_PG_H

#include <libpq-fe.h>

#include "common/err.h"
#include "proto/receipt.pb-c.h"

/* A new connection. Fails while the schema is not there. */
int store_receipts_prepare(PGconn *conn, struct error *err) MUST_CHECK;
/* Messages without a fault, in the order of the stream; all or nothing. */
int store_receipts_write(PGconn *conn, Penstock__Receipts *const *msgs, size_t n,
			 struct error *err) MUST_CHECK;
/* Removes what was not told of for so many days. */
int store_receipts_maintain(PGconn *conn, int retention_days, struct error *err) MUST_CHECK;

#endif
