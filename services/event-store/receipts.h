/* From the stream RECEIPTS into PostgreSQL: what edges say about deliveries, for the audit.
 *
 * Apart from ingest: nothing here holds an event up. A message is acknowledged when it was
 * committed, and delivered again else; every message is a state, so one that comes twice, or to
 * another event-store in another order, does no harm. Bounds: 64 messages in hand. Threads: the
 * loop's; the database has a thread of its own. */
#ifndef PENSTOCK_EVENT_STORE_RECEIPTS_H
#define PENSTOCK_EVENT_STORE_RECEIPTS_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "proto/receipt.pb-c.h"

struct store_receipts;

struct store_receipts_conf {
	const char *dsn;
	int retention_days;
};

/* conf is copied. */
struct store_receipts *store_receipts_start(struct bus *bus, struct loop *loop,
					    const struct store_receipts_conf *conf,
					    struct metrics *metrics, struct error *err);
/* Takes nothing more, ends the thread. Before bus_free, not from a callback. NULL is fine. */
void store_receipts_stop(struct store_receipts *s, int timeout_ms);
void store_receipts_free(struct store_receipts *s); /* after bus_free; NULL is fine */

/* Pure: what is wrong with a message that came from outside; NULL: it can be stored. */
const char *store_receipts_fault(const Penstock__Receipts *r);

#endif
