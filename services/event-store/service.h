/* The event-store put together: bus, topology, ingest, queries, trimming, admin port.
 *
 * Threads: main's, which runs the loop; the sink, the query threads and the admin port have their
 * own. */
#ifndef PENSTOCK_EVENT_STORE_SERVICE_H
#define PENSTOCK_EVENT_STORE_SERVICE_H

#include "common/err.h"
#include "services/event-store/config.h"

enum store_end {
	STORE_END_STOPPED, /* by SIGTERM or SIGINT, cleanly */
	STORE_END_ANEW,    /* EVENTS was made anew: run again, its epoch is another one */
};

/* Blocks until one of the two. -1 only if it could not start (bad URL, port in use). */
int store_service_run(const struct store_config *config, enum store_end *end,
		      struct error *err) MUST_CHECK;

#endif
