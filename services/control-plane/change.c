#include "services/control-plane/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/pg.h"
#include "services/control-plane/auth.h"
#include "services/control-plane/db.h"
#include "services/control-plane/publisher.h"

int change_begin(struct change *ch, struct call *call, const char *scope, const char *name)
{
	struct error err;
	char lock[ROUTE_ID_MAX * 2];
	*ch = (struct change){.call = call};
	snprintf(lock, sizeof(lock), "%s/%s", scope, name);
	ch->conn = db_take(call->api->pool, &err);
	if (!ch->conn || pg_exec(ch->conn, "BEGIN", &err))
		return call_error(call, &err);
	return change_run(ch, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", 1,
			  (const char *[]){lock});
}

void change_end(struct change *ch)
{
	if (ch->conn)
		db_give(ch->call->api->pool, ch->conn);
	ch->conn = NULL;
}

PGresult *change_query(struct change *ch, const char *sql, size_t n, const char *const *values)
{
	struct error err;
	PGresult *res = pg_query(ch->conn, sql, (int)n, values, &err);
	if (!res)
		call_error(ch->call, &err);
	return res;
}

int change_run(struct change *ch, const char *sql, size_t n, const char *const *values)
{
	PGresult *res = change_query(ch, sql, n, values);
	if (!res)
		return -1;
	PQclear(res);
	return 0;
}

int change_find(struct change *ch, const char *sql, size_t n, const char *const *values,
		json_t **doc)
{
	struct error err;
	PGresult *res = change_query(ch, sql, n, values);
	*doc = NULL;
	if (!res)
		return -1;
	const char *text = PQntuples(res) > 0 ? pg_text(res, 0, 0) : NULL;
	int rc = 0;
	if (text && !(*doc = json_parse(text, strlen(text), &err)))
		rc = call_error(ch->call, &err);
	PQclear(res);
	return rc;
}

int change_publish(struct change *ch, const char *key, const json_t *doc)
{
	size_t len = 0;
	char *text = doc ? json_text(doc, &len) : NULL;
	PGresult *res = NULL;
	if (len > REGISTRY_DOCUMENT_MAX)
		call_fail(ch->call, 422, "schema_invalid",
			  "%s would have %zu bytes; at most %d can be published", key, len,
			  REGISTRY_DOCUMENT_MAX);
	else
		res = change_query(ch,
				   "INSERT INTO control.config_outbox (key, document) VALUES ($1, "
				   "$2) RETURNING id",
				   2, (const char *[]){key, text});
	free(text);
	if (!res)
		return -1;
	ch->outbox = pg_int(res, 0, 0);
	PQclear(res);
	return 0;
}

static int write_audit(struct change *ch, const char *action, const char *tenant,
		       const json_t *before, const json_t *after)
{
	const struct api_request *req = ch->call->req;
	char *old = before ? json_text(before, NULL) : NULL;
	char *new = after ? json_text(after, NULL) : NULL;
	const char *values[] = {ch->call->actor,
				auth_role_name(ch->call->role),
				action,
				req->path + strlen("/v1/"),
				tenant,
				old,
				new,
				req->reason,
				ch->call->reply->trace};
	int rc =
	    change_run(ch,
		       "INSERT INTO control.audit (actor, role, action, resource, tenant, before,"
		       " after, reason, trace) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		       sizeof(values) / sizeof(*values), values);
	free(old);
	free(new);
	return rc;
}

/* The caller's next request shall find what this one did, on whatever service it comes: wait for
 * the bucket. */
static void wait_published(struct change *ch)
{
	struct call *call = ch->call;
	bool done = call->api->publisher &&
		    publisher_wait(call->api->publisher, ch->conn, ch->outbox,
				   call->api->publish_wait_ms, &call->reply->revision);
	call->reply->published = done ? PUBLISHED_YES : PUBLISHED_NO;
}

int change_commit(struct change *ch, const char *action, const char *tenant, const json_t *before,
		  const json_t *after)
{
	struct error err;
	struct call *call = ch->call;
	if (write_audit(ch, action, tenant, before, after))
		return -1;
	if (call->validate_only) {
		pg_rollback(ch->conn);
		return 0;
	}
	if ((ch->outbox && pg_exec(ch->conn, "NOTIFY penstock_config", &err)) ||
	    pg_exec(ch->conn, "COMMIT", &err))
		return call_error(call, &err);
	log_at(LOG_INFO, "changed", LOG_S("action", action), LOG_S("actor", call->actor),
	       LOG_S("resource", call->req->path), LOG_S("trace", call->reply->trace));
	if (ch->outbox)
		wait_published(ch);
	return 0;
}
