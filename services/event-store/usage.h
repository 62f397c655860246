/* What the calls of models took, from the transitions that tell their ends: the pure part reads one
 * transition, the rest puts what was read into PostgreSQL (sql/0025_usage.sql).
 *
 * Whoever folds each event once counts each call once. Blocks only in store_usage_write(); threads:
 * the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_USAGE_H
#define PENSTOCK_EVENT_STORE_USAGE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "services/event-store/project.h"

#define USAGE_TOKENS_MAX                                                                           \
	INT64_C(1000000000000) /* of one call; what says more is taken for this                    \
				*/
#define USAGE_MODEL_MAX 200

struct usage_call {
	char model[USAGE_MODEL_MAX + 1];
	bool failed;
	int64_t prompt_tokens, completion_tokens, total_tokens;
};

/* A transition and its data (JSON text). False: it tells of no call's end. What is missing or of
 * the wrong type counts as 0. */
bool usage_of_event(struct usage_call *call, const char *type, const void *data, size_t len);

/* The calls of one batch, as rows for COPY. */
struct store_usage { /* zeroed: empty */
	struct strbuf rows;
	size_t n;
};

void store_usage_reset(struct store_usage *u);
void store_usage_done(struct store_usage *u);
/* e was folded into t just now. */
void store_usage_add(struct store_usage *u, const struct project_task *t,
		     const struct project_event *e);
/* Within the batch's transaction. */
int store_usage_write(struct store_usage *u, PGconn *conn, struct error *err) MUST_CHECK;

extern const char store_usage_stage_sql[];  /* once a connection */
extern const char store_usage_expire_sql[]; /* $1: seconds since 1970 */

#endif
