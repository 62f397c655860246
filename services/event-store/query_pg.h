/* What PostgreSQL answers for a query; the tail of the stream is added to it later (query.c).
 *
 * Blocks; threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_QUERY_PG_H
#define PENSTOCK_EVENT_STORE_QUERY_PG_H

#include <libpq-fe.h>

#include "common/err.h"
#include "proto/store.pb-c.h"
#include "services/event-store/project.h"

#define STORE_PAGE_MAX 1000
/* NATS' payload bound is 1 MiB; the envelope and one event's overhead must fit beside it. */
#define STORE_PAGE_BYTES (900 * 1024)

struct store_page {                     /* zeroed: empty */
	Penstock__StoredEvent **events; /* owned, also what they point to */
	size_t n, cap, bytes;           /* bytes: packed */
	size_t max_bytes;               /* 0: STORE_PAGE_BYTES */
	bool more;
	uint64_t kept_from; /* the first offset of all channels that PostgreSQL keeps */
	uint64_t position;  /* everything up to it was in PostgreSQL when it was asked */
	uint64_t earliest;  /* of the channel, 0: none */
	uint64_t before;    /* the channel's last event that is not after `after`, 0: none */
};

/* Takes event (allocated by protobuf-c) into the page; false, and event is freed, if the page is
 * full: then `more` is set. limit: of events. */
bool store_page_add(struct store_page *page, uint64_t seq, Penstock__Event *event, size_t limit);
void store_page_done(struct store_page *page);

/* Prepares the statements on a new connection. */
int store_query_prepare(PGconn *conn, struct error *err) MUST_CHECK;
/* until 0: no bound. limit in [1, STORE_PAGE_MAX]. */
int store_query_page(PGconn *conn, uint64_t epoch, const char *tenant, const char *channel,
		     uint64_t after, uint64_t until, size_t limit, struct store_page *page,
		     struct error *err) MUST_CHECK;
/* task: zeroed; stays so (task->task NULL) if there is none. */
int store_query_task(PGconn *conn, uint64_t epoch, const char *id, struct project_task *task,
		     uint64_t *position, struct error *err) MUST_CHECK;

#endif
