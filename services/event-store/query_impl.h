/* What the files of query.h share: one query on its way. Its stages: request (query.c, loop) →
 * PostgreSQL (store_query_ask_postgres, a pool thread) → the stream's tail (query_tail.c, loop) →
 * answer (query.c, loop). */
#ifndef PENSTOCK_EVENT_STORE_QUERY_IMPL_H
#define PENSTOCK_EVENT_STORE_QUERY_IMPL_H

#include "common/bus.h"
#include "common/names.h"
#include "services/event-store/pool.h"
#include "services/event-store/project.h"
#include "services/event-store/query_pg.h"

enum query_kind { QUERY_REPLAY, QUERY_TASK, QUERY_TIMELINE, QUERY_DELIVERIES, N_QUERY_KINDS };

struct query {
	struct store_job job; /* first */
	struct store_query *owner;
	struct query *all; /* the next one in the owner's list */
	enum query_kind kind;
	uint64_t epoch;
	int64_t since_us; /* on the loop's clock */
	char *reply;
	/* The request. */
	char *tenant, *id; /* id: channel, task, or any */
	uint64_t after, until;
	size_t limit, max_bytes;
	/* PostgreSQL's part. */
	bool asked; /* it answered */
	struct store_page page;
	struct project_task task;
	uint64_t position;
	/* The tail's part. */
	struct subject subject;
	uint64_t next; /* the sequence from which the stream is read */
	bool whole;    /* the stream still begins at its beginning */
	/* The answer. */
	const char *error, *message; /* static; error NULL: it is good */
	char *json;
	size_t json_len;
};

/* Copies what a request of q's kind says; NULL, or what is wrong with it (static). */
const char *store_query_read(struct query *q, const struct bus_msg *msg);
void store_query_free_one(struct query *q);
/* On a pool thread; conn NULL: PostgreSQL is away. Returns -1 if the connection is no good any
 * more. */
int store_query_ask_postgres(PGconn *conn, struct store_job *job);
/* Reads what PostgreSQL does not have yet, then finishes. */
void store_query_tail(struct query *q);
/* Sends the answer (or q->error) and frees q. */
void store_query_finish(struct query *q);

struct bus *store_query_bus(struct query *q);
unsigned store_query_parts(struct query *q);
int64_t store_query_age_us(struct query *q);

#endif
