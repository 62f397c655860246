/* The daily partitions of `events`: made ahead and on demand, dropped when their day is too old.
 *
 * A day is a count of UTC days since 1970. Blocks; threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_PARTITIONS_H
#define PENSTOCK_EVENT_STORE_PARTITIONS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct store_days { /* those that are known to exist; zeroed: none */
	int32_t *days;
	size_t n;
};

int32_t store_day(int64_t wall_us);
/* "events_p20261124" */
void store_day_name(int32_t day, char out[32]);
bool store_day_parse(const char *name, int32_t *day);

/* Reads which ones there are. */
int store_days_load(struct store_days *d, PGconn *conn, struct error *err) MUST_CHECK;
/* Makes the day's partition unless it is known. Not inside a transaction. */
int store_days_ensure(struct store_days *d, PGconn *conn, int32_t day,
		      struct error *err) MUST_CHECK;
/* Drops the partitions that end before `first_day` begins. *dropped counts them. */
int store_days_drop(struct store_days *d, PGconn *conn, int32_t first_day, int *dropped,
		    struct error *err) MUST_CHECK;
void store_days_done(struct store_days *d);

#endif
