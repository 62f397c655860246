/* /v1/tenants/{t}/schedules: at the times of a cron expression a task begins. The event-store that
 * releases tasks fires them (sql/0032_schedules.sql). What became of them is shown beside the
 * document and is no part of its ETag: a run must not make stale what an operator has read. */
#include <stdlib.h>
#include <string.h>

#include "common/cron_pg.h"
#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

#define SCHEDULES_MAX 1000 /* of a tenant */

#define FIND         "SELECT doc FROM control.schedules WHERE tenant = $1 AND name = $2"
#define TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define STATUS                                                                                     \
	"json_build_object('next_at', " TIME("next_at") ", 'last', last, 'runs', runs, 'missed',"  \
							" missed)"

void schedules_list(struct call *call)
{
	call_list(call, "schedules",
		  "SELECT name, (doc::jsonb || jsonb_build_object('status', " STATUS "))::json"
		  " FROM control.schedules WHERE tenant = $1 AND ($2::text IS NULL OR name > $2)"
		  " ORDER BY name LIMIT $3::bigint",
		  "SELECT 1 FROM control.tenants WHERE id = $1");
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

void schedule_get(struct call *call)
{
	const char *values[] = {call->ids.id[0], call->ids.id[1]};
	PGresult *res = call_rows(
	    call, "SELECT doc, " STATUS " FROM control.schedules WHERE tenant = $1 AND name = $2",
	    2, values);
	if (res && PQntuples(res)) {
		json_t *doc = parse(res, 0), *state = parse(res, 1);
		answer(call, 200, doc, state);
		json_decref(doc);
		json_decref(state);
	} else if (res) {
		call_fail(call, 404, "not_found", "no such schedule");
	}
	PQclear(res);
}

/* There is room for one more, of a tenant that there is. */
static int has_room(struct change *ch, const char *tenant)
{
	PGresult *res = change_query(ch,
				     "SELECT (SELECT count(*) FROM control.schedules WHERE tenant "
				     "= t.id) FROM control.tenants t WHERE id = $1",
				     1, (const char *[]){tenant});
	if (!res)
		return -1;
	bool there = PQntuples(res) > 0;
	int64_t n = there ? pg_int(res, 0, 0) : 0;
	PQclear(res);
	if (!there)
		return call_fail(ch->call, 404, "not_found", "no such tenant");
	return n < SCHEDULES_MAX ? 0
				 : call_fail(ch->call, 409, "conflict",
					     "a tenant has at most %d schedules", SCHEDULES_MAX);
}

/* When it is due from now on; also of one that is paused, so that a bad zone is told at once. */
static int find_next(struct change *ch, const json_t *doc, int64_t *next_s)
{
	struct cron cron;
	struct error err = {0};
	const char *zone = json_string_value(json_object_get(doc, "zone"));
	if (cron_parse(json_string_value(json_object_get(doc, "cron")), &cron, &err) ||
	    cron_pg_zone(ch->conn, zone, &err) ||
	    cron_pg_next(ch->conn, &cron, zone, ch->call->now_us / 1000000, next_s, &err))
		return call_error(ch->call, &err);
	return 0;
}

/* Changed or not, it is due from now on: no time before is made up for. */
static int write_row(struct change *ch, const json_t *doc, json_t **state)
{
	const char *tenant = ch->call->ids.id[0], *name = ch->call->ids.id[1];
	int64_t next = 0;
	if (find_next(ch, doc, &next))
		return -1;
	bool paused = json_is_true(json_object_get(doc, "paused"));
	struct pg_int8 at = pg_int8(next);
	char *text = json_text(doc, NULL);
	int rc = change_find(
	    ch,
	    "INSERT INTO control.schedules (tenant, name, doc, next_at) VALUES ($1, $2, $3,"
	    " to_timestamp($4::int8)) ON CONFLICT (tenant, name) DO UPDATE SET doc ="
	    " excluded.doc, next_at = excluded.next_at, updated_at = now() RETURNING " STATUS,
	    4, (const char *[]){tenant, name, text, paused ? NULL : at.text}, state);
	free(text);
	return rc;
}

void schedule_put(struct call *call)
{
	struct error err;
	struct change ch = {.call = call};
	const char *tenant = call->ids.id[0], *name = call->ids.id[1];
	const char *values[] = {tenant, name};
	json_t *old = NULL, *state = NULL;
	if (call_need_body(call))
		return;
	json_t *doc = registry_schedule(call->body, name, tenant, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	if (!change_begin(&ch, call, "tenant", tenant) &&
	    !change_find(&ch, FIND, 2, values, &old) && !call_precondition(call, old) &&
	    (old || !has_room(&ch, tenant)) && !write_row(&ch, doc, &state) &&
	    !change_commit(&ch, old ? "schedule.update" : "schedule.create", tenant, old, doc)) {
		bool created = !old && !call->validate_only;
		answer(call, created ? 201 : 200, doc, state);
		if (created)
			call_location(call, "/v1/tenants/%s/schedules/%s", tenant, name);
	}
	change_end(&ch);
	json_decref(doc);
	json_decref(old);
	json_decref(state);
}

void schedule_delete(struct call *call)
{
	struct change ch = {.call = call};
	const char *tenant = call->ids.id[0];
	const char *values[] = {tenant, call->ids.id[1]};
	json_t *old = NULL;
	if (change_begin(&ch, call, "tenant", tenant) || change_find(&ch, FIND, 2, values, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such schedule");
		goto out;
	}
	if (!call_precondition(call, old) &&
	    !change_run(&ch, "DELETE FROM control.schedules WHERE tenant = $1 AND name = $2", 2,
			values) &&
	    !change_commit(&ch, "schedule.delete", tenant, old, NULL))
		call->reply->status = 204;
out:
	change_end(&ch);
	json_decref(old);
}
