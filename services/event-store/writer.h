/* One batch into PostgreSQL, in one transaction: events, keys, quarantine, projected tasks, usage,
 * position.
 *
 * Blocks; threads: one owner, with its connection. After a failure nothing of the batch is there
 * (or, if the connection broke at the commit, all of it: the position says). */
#ifndef PENSTOCK_EVENT_STORE_WRITER_H
#define PENSTOCK_EVENT_STORE_WRITER_H

#include <libpq-fe.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "services/event-store/partitions.h"
#include "services/event-store/sink.h"
#include "services/event-store/task_cache.h"
#include "services/event-store/usage.h"

struct store_writer { /* zeroed: closed */
	PGconn *conn; /* borrowed */
	uint64_t epoch;
	struct strbuf copy;
	struct store_days days;
	struct store_task_cache tasks;
	struct store_usage usage; /* of the batch at hand */
};

int store_writer_open(struct store_writer *w, PGconn *conn, uint64_t epoch,
		      struct error *err) MUST_CHECK;
void store_writer_close(struct store_writer *w);
/* The last stored sequence of the epoch (0: none) and its event ("" if it has none). */
int store_writer_position(struct store_writer *w, uint64_t *seq, char event_id[37],
			  struct error *err) MUST_CHECK;
/* items in the order of seq. *rows: events that are new. ERR_REJECTED or ERR_CONFLICT: PostgreSQL
 * will never take this batch as it is. */
int store_writer_write(struct store_writer *w, const struct store_item *items, size_t n,
		       int64_t *rows, struct error *err) MUST_CHECK;
/* Partitions for now and the days ahead; drops what is older than retention_days. *dropped:
 * partitions. */
int store_writer_maintain(struct store_writer *w, int64_t wall_us, int retention_days, int *dropped,
			  struct error *err) MUST_CHECK;

/* The time that an event is filed under: its own, unless its clock was more than a day off the
 * broker's. */
int64_t store_time_us(int64_t own_us, int64_t stored_us);

#endif
