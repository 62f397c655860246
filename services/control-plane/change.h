/* One mutation: a transaction that changes rows, appends what the bucket must say, writes the audit
 * row, commits, and waits for the publication.
 *
 * change_begin() first, change_end() last in every case; between them each step fills in the reply
 * and returns -1 when it fails. Nothing is kept of a mutation that does not reach change_commit(),
 * nor of one with validate_only. Threads: a change belongs to the thread that handles the call. */
#ifndef PENSTOCK_CONTROL_CHANGE_H
#define PENSTOCK_CONTROL_CHANGE_H

#include "services/control-plane/api.h"

struct change {
	struct call *call;
	PGconn *conn;
	int64_t outbox; /* id of the newest row of the outbox; 0: none */
};

/* scope: mutations of the same scope come one after the other, so that the bucket's documents,
 * which are made of several rows, are written in the order of the commits: "tenant/<t>", "models",
 * "operators". */
int change_begin(struct change *ch, struct call *call, const char *scope,
		 const char *name) MUST_CHECK;
void change_end(struct change *ch);

/* A document of the first row's first column: NULL in *doc if there is no row. Owned by the caller.
 */
int change_find(struct change *ch, const char *sql, size_t n, const char *const *values,
		json_t **doc) MUST_CHECK;
int change_run(struct change *ch, const char *sql, size_t n, const char *const *values) MUST_CHECK;
PGresult *change_query(struct change *ch, const char *sql, size_t n, const char *const *values);

/* Appends to the outbox; doc NULL deletes the key. 422 for a document that is too large for the
 * bucket. */
int change_publish(struct change *ch, const char *key, const json_t *doc) MUST_CHECK;

/* action: "tenant.create". before and after are NULL where there is nothing. */
int change_commit(struct change *ch, const char *action, const char *tenant, const json_t *before,
		  const json_t *after) MUST_CHECK;

#endif
