/* /v1/tenants/{t}/schemas: event types and their versions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"
#include "services/control-plane/snapshot.h"
#include "services/control-plane/version.h"

#define FIND_VERSION                                                                               \
	"SELECT doc FROM control.event_type_versions"                                              \
	" WHERE tenant = $1 AND type = $2 AND version::text = $3"

void types_list(struct call *call)
{
	call_list(
	    call, "schemas",
	    "SELECT t.type, json_build_object('tenant', t.tenant, 'type', t.type, 'class', t.class,"
	    " 'versions', (SELECT coalesce(json_agg(v.version ORDER BY v.version), '[]')"
	    "  FROM control.event_type_versions v WHERE v.tenant = t.tenant AND v.type = t.type))"
	    " FROM control.event_types t WHERE t.tenant = $1 AND ($2::text IS NULL OR t.type > $2)"
	    " ORDER BY t.type LIMIT $3::bigint",
	    "SELECT 1 FROM control.tenants WHERE id = $1");
}

void versions_list(struct call *call)
{
	call_list(
	    call, "versions",
	    "SELECT version, doc FROM control.event_type_versions WHERE tenant = $1 AND type = $2"
	    " AND ($3::int IS NULL OR version > $3::int) ORDER BY version LIMIT $4::bigint",
	    "SELECT 1 FROM control.event_types WHERE tenant = $1 AND type = $2");
}

void version_get(struct call *call)
{
	call_get(call, FIND_VERSION, "version");
}

/* What is known of the type before the mutation. */
struct type {
	struct change ch;
	const char *tenant, *type;
	char class[16]; /* "" for a new type */
	unsigned last;
	json_t *old, *new; /* the version's document */
};

static int find_type(struct type *t)
{
	PGresult *res = change_query(&t->ch,
				     "SELECT class, last_version FROM control.tenants"
				     " LEFT JOIN control.event_types ON tenant = id AND type = $2"
				     " WHERE id = $1",
				     2, (const char *[]){t->tenant, t->type});
	if (!res)
		return -1;
	bool there = PQntuples(res) > 0;
	if (there && !PQgetisnull(res, 0, 0)) {
		snprintf(t->class, sizeof(t->class), "%s", PQgetvalue(res, 0, 0));
		t->last = (unsigned)pg_int(res, 0, 1);
	}
	PQclear(res);
	return there ? 0 : call_fail(t->ch.call, 404, "not_found", "no such tenant");
}

static int type_begin(struct type *t, struct call *call)
{
	*t =
	    (struct type){.ch = {.call = call}, .tenant = call->ids.id[0], .type = call->ids.id[1]};
	return change_begin(&t->ch, call, "tenant", t->tenant) || find_type(t);
}

static void type_end(struct type *t)
{
	change_end(&t->ch);
	json_decref(t->old);
	json_decref(t->new);
}

static int publish_type(struct type *t)
{
	struct error err;
	bool ok;
	char key[REGISTRY_KEY_MAX];
	json_t *doc = snapshot_type(t->ch.conn, t->tenant, t->type, &ok, &err);
	if (!ok)
		return call_error(t->ch.call, &err);
	registry_key_type(t->tenant, t->type, key);
	int rc = change_publish(&t->ch, key, doc);
	json_decref(doc);
	return rc;
}

static int write_version(struct type *t, unsigned version)
{
	struct pg_int8 number = pg_int8(version);
	char *text = json_text(t->new, NULL);
	const char *class = json_string_value(json_object_get(t->new, "class"));
	int rc = change_run(&t->ch,
			    "INSERT INTO control.event_types (tenant, type, class, last_version)"
			    " VALUES ($1, $2, $3, $4::int) ON CONFLICT (tenant, type) DO UPDATE"
			    " SET last_version = greatest(event_types.last_version, $4::int)",
			    4, (const char *[]){t->tenant, t->type, class, number.text}) ||
		 change_run(&t->ch,
			    "INSERT INTO control.event_type_versions (tenant, type, version, doc)"
			    " VALUES ($1, $2, $3::int, $4) ON CONFLICT (tenant, type, version)"
			    " DO UPDATE SET doc = excluded.doc, updated_at = now()",
			    4, (const char *[]){t->tenant, t->type, number.text, text});
	free(text);
	return rc;
}

static int make_new(struct type *t, const json_t *in, unsigned version)
{
	struct error err;
	t->new =
	    registry_version(in, t->tenant, t->type, version, t->class[0] ? t->class : NULL, &err);
	return t->new ? 0 : call_error(t->ch.call, &err);
}

static void store_version(struct type *t, unsigned version)
{
	struct call *call = t->ch.call;
	bool created = !t->old && !call->validate_only;
	if (write_version(t, version) || publish_type(t) ||
	    change_commit(&t->ch, t->old ? "type.update" : "type.create", t->tenant, t->old,
			  t->new))
		return;
	call_doc(call, created ? 201 : 200, t->new);
	if (created)
		call_location(call, "/v1/tenants/%s/schemas/%s/versions/%u", t->tenant, t->type,
			      version);
}

void versions_post(struct call *call)
{
	struct type t;
	if (call_need_body(call))
		return;
	if (!type_begin(&t, call) && !version_free(call, t.last, t.last + 1) &&
	    !make_new(&t, call->body, t.last + 1))
		store_version(&t, t.last + 1);
	type_end(&t);
}

static int find_version(struct type *t)
{
	const char *values[] = {t->tenant, t->type, t->ch.call->ids.id[2]};
	return change_find(&t->ch, FIND_VERSION, 3, values, &t->old);
}

/* Who published with this version relies on its schema: only the state may change. */
static int put_existing(struct type *t)
{
	struct call *call = t->ch.call;
	if (!registry_version_same(t->old, t->new))
		return call_fail(
		    call, 409, "conflict",
		    "a version's class and schema never change; make the next version");
	if (json_equal(t->old, t->new)) {
		call_doc(call, 200, t->old);
		return -1;
	}
	return call_precondition(call, t->old);
}

void version_put(struct call *call)
{
	struct type t;
	unsigned version;
	if (call_need_body(call) || version_parse(call, call->ids.id[2], &version))
		return;
	if (!type_begin(&t, call) && !find_version(&t) && !make_new(&t, call->body, version) &&
	    (t.old ? !put_existing(&t)
		   : !call_precondition(call, NULL) && !version_free(call, t.last, version)))
		store_version(&t, version);
	type_end(&t);
}

void version_patch(struct call *call)
{
	struct type t;
	unsigned version;
	if (call_need_body(call) || version_parse(call, call->ids.id[2], &version))
		return;
	if (type_begin(&t, call) || find_version(&t))
		goto out;
	if (!t.old) {
		call_fail(call, 404, "not_found", "no such version");
		goto out;
	}
	json_t *merged = registry_merge(t.old, call->body);
	if (!call_precondition(call, t.old) && !make_new(&t, merged, version) && !put_existing(&t))
		store_version(&t, version);
	json_decref(merged);
out:
	type_end(&t);
}

void version_delete(struct call *call)
{
	struct type t;
	if (type_begin(&t, call) || find_version(&t))
		goto out;
	if (!t.old) {
		call_fail(call, 404, "not_found", "no such version");
		goto out;
	}
	const char *values[] = {t.tenant, t.type, call->ids.id[2]};
	if (!call_precondition(call, t.old) &&
	    !change_run(&t.ch,
			"DELETE FROM control.event_type_versions"
			" WHERE tenant = $1 AND type = $2 AND version::text = $3",
			3, values) &&
	    !publish_type(&t) && !change_commit(&t.ch, "type.delete", t.tenant, t.old, NULL))
		call->reply->status = 204;
out:
	type_end(&t);
}
