#include "services/control-plane/standing.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"

#define SQL_MAX 1200

#define OF_CALL "WHERE tenant = $1 AND name = $2"

void standing_list(struct call *call, const struct standing *kind)
{
	char sql[SQL_MAX];
	snprintf(sql, sizeof(sql),
		 "SELECT name, (doc::jsonb || jsonb_build_object('status', %s))::json"
		 " FROM control.%s t WHERE tenant = $1 AND ($2::text IS NULL OR name > $2)"
		 " ORDER BY name LIMIT $3::bigint",
		 kind->status, kind->list);
	call_list(call, kind->list, sql, "SELECT 1 FROM control.tenants WHERE id = $1");
}

static void answer(struct call *call, int status, const json_t *doc, json_t *state)
{
	json_t *shown = json_copy((json_t *)doc);
	json_object_set(shown, "status", state);
	call_doc_shown(call, status, doc, shown);
}

static json_t *parse(const PGresult *res, int col)
{
	const char *text = pg_text(res, 0, col);
	return text ? json_parse(text, strlen(text), NULL) : json_null();
}

void standing_get(struct call *call, const struct standing *kind)
{
	char sql[SQL_MAX];
	const char *values[] = {call->ids.id[0], call->ids.id[1]};
	snprintf(sql, sizeof(sql), "SELECT doc, %s FROM control.%s t " OF_CALL, kind->status,
		 kind->list);
	PGresult *res = call_rows(call, sql, 2, values);
	if (res && PQntuples(res)) {
		json_t *doc = parse(res, 0), *state = parse(res, 1);
		answer(call, 200, doc, state);
		json_decref(doc);
		json_decref(state);
	} else if (res) {
		call_fail(call, 404, "not_found", "no such %s", kind->noun);
	}
	PQclear(res);
}

/* There is room for one more, of a tenant that there is. */
static int has_room(struct change *ch, const struct standing *kind, const char *tenant)
{
	char sql[SQL_MAX];
	snprintf(sql, sizeof(sql),
		 "SELECT (SELECT count(*) FROM control.%s WHERE tenant = t.id)"
		 " FROM control.tenants t WHERE id = $1",
		 kind->list);
	PGresult *res = change_query(ch, sql, 1, (const char *[]){tenant});
	if (!res)
		return -1;
	bool there = PQntuples(res) > 0;
	int64_t n = there ? pg_int(res, 0, 0) : 0;
	PQclear(res);
	if (!there)
		return call_fail(ch->call, 404, "not_found", "no such tenant");
	return n < kind->max ? 0
			     : call_fail(ch->call, 409, "conflict", "a tenant has at most %d %s",
					 kind->max, kind->list);
}

static int find(struct change *ch, const struct standing *kind, json_t **doc)
{
	char sql[SQL_MAX];
	const char *values[] = {ch->call->ids.id[0], ch->call->ids.id[1]};
	snprintf(sql, sizeof(sql), "SELECT doc FROM control.%s " OF_CALL, kind->list);
	return change_find(ch, sql, 2, values, doc);
}

static int commit(struct change *ch, const struct standing *kind, const char *what,
		  const json_t *old, const json_t *doc)
{
	char action[64];
	snprintf(action, sizeof(action), "%s.%s", kind->noun, what);
	return change_commit(ch, action, ch->call->ids.id[0], old, doc);
}

void standing_put(struct call *call, const struct standing *kind)
{
	struct error err;
	struct change ch = {.call = call};
	const char *tenant = call->ids.id[0], *name = call->ids.id[1];
	json_t *old = NULL, *state = NULL;
	if (call_need_body(call))
		return;
	json_t *doc = kind->registry(call->body, name, tenant, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	if (!change_begin(&ch, call, "tenant", tenant) && !find(&ch, kind, &old) &&
	    !call_precondition(call, old) && (old || !has_room(&ch, kind, tenant)) &&
	    !kind->write(&ch, old, doc, &state) &&
	    !commit(&ch, kind, old ? "update" : "create", old, doc)) {
		bool created = !old && !call->validate_only;
		answer(call, created ? 201 : 200, doc, state);
		if (created)
			call_location(call, "/v1/tenants/%s/%s/%s", tenant, kind->list, name);
	}
	change_end(&ch);
	json_decref(doc);
	json_decref(old);
	json_decref(state);
}

void standing_delete(struct call *call, const struct standing *kind)
{
	char sql[SQL_MAX];
	struct change ch = {.call = call};
	const char *tenant = call->ids.id[0];
	const char *values[] = {tenant, call->ids.id[1]};
	json_t *old = NULL;
	if (change_begin(&ch, call, "tenant", tenant) || find(&ch, kind, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such %s", kind->noun);
		goto out;
	}
	snprintf(sql, sizeof(sql), "DELETE FROM control.%s " OF_CALL, kind->list);
	if (!call_precondition(call, old) && !change_run(&ch, sql, 2, values) &&
	    !commit(&ch, kind, "delete", old, NULL))
		call->reply->status = 204;
out:
	change_end(&ch);
	json_decref(old);
}
