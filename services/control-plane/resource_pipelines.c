/* /v1/pipelines: versions that never change. */
#include <stdlib.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/change.h"
#include "services/control-plane/references.h"
#include "services/control-plane/resources.h"
#include "services/control-plane/version.h"

#define FIND "SELECT doc FROM control.pipeline_versions WHERE name = $1 AND version::text = $2"

void pipelines_list(struct call *call)
{
	call_list(call, "pipelines",
		  "SELECT p.name, json_build_object('name', p.name, 'latest', max(v.version),"
		  " 'versions', json_agg(v.version ORDER BY v.version))"
		  " FROM control.pipelines p JOIN control.pipeline_versions v USING (name)"
		  " WHERE ($1::text IS NULL OR p.name > $1) GROUP BY p.name"
		  " ORDER BY p.name LIMIT $2::bigint",
		  NULL);
}

void pipeline_versions_list(struct call *call)
{
	call_list(call, "pipeline-versions",
		  "SELECT version, doc FROM control.pipeline_versions WHERE name = $1"
		  " AND ($2::int IS NULL OR version > $2::int) ORDER BY version LIMIT $3::bigint",
		  "SELECT 1 FROM control.pipelines WHERE name = $1");
}

void pipeline_get(struct call *call)
{
	call_get(call, FIND, "version of a pipeline");
}

struct edit {
	struct change ch;
	const char *name;
	unsigned last; /* the highest number that was ever used */
	json_t *old, *new;
};

static int edit_begin(struct edit *e, struct call *call)
{
	*e = (struct edit){.ch = {.call = call}, .name = call->ids.id[0]};
	if (change_begin(&e->ch, call, "models", ""))
		return -1;
	PGresult *res =
	    change_query(&e->ch, "SELECT last_version FROM control.pipelines WHERE name = $1", 1,
			 (const char *[]){e->name});
	if (!res)
		return -1;
	e->last = PQntuples(res) ? (unsigned)pg_int(res, 0, 0) : 0;
	PQclear(res);
	return 0;
}

static void edit_end(struct edit *e)
{
	change_end(&e->ch);
	json_decref(e->old);
	json_decref(e->new);
}

static int write_version(struct edit *e, unsigned version)
{
	struct pg_int8 number = pg_int8(version);
	json_t *models = registry_models_of(e->new);
	char *text = json_text(e->new, NULL), *list = json_text(models, NULL);
	int rc =
	    references_exist(&e->ch, models) ||
	    change_run(&e->ch,
		       "INSERT INTO control.pipelines (name, last_version) VALUES ($1, $2::int)"
		       " ON CONFLICT (name) DO UPDATE SET last_version = excluded.last_version",
		       2, (const char *[]){e->name, number.text}) ||
	    change_run(&e->ch,
		       "INSERT INTO control.pipeline_versions (name, version, doc)"
		       " VALUES ($1, $2::int, $3)",
		       3, (const char *[]){e->name, number.text, text}) ||
	    change_run(&e->ch,
		       "INSERT INTO control.pipeline_models (name, version, model)"
		       " SELECT $1, $2::int, json_array_elements_text($3::json)",
		       3, (const char *[]){e->name, number.text, list});
	json_decref(models);
	free(text);
	free(list);
	return rc;
}

static void store_version(struct edit *e, unsigned version)
{
	struct call *call = e->ch.call;
	char key[REGISTRY_KEY_MAX];
	registry_key_pipeline(e->name, version, key);
	if (write_version(e, version) || change_publish(&e->ch, key, e->new) ||
	    change_commit(&e->ch, "pipeline.create", NULL, NULL, e->new))
		return;
	call_doc(call, call->validate_only ? 200 : 201, e->new);
	if (!call->validate_only)
		call_location(call, "/v1/pipelines/%s/versions/%u", e->name, version);
}

static int make_new(struct edit *e, unsigned version)
{
	struct error err;
	e->new = registry_pipeline(e->ch.call->body, e->name, version, &err);
	return e->new ? 0 : call_error(e->ch.call, &err);
}

void pipeline_versions_post(struct call *call)
{
	struct edit e;
	if (call_need_body(call))
		return;
	if (!edit_begin(&e, call) && !version_free(call, e.last, e.last + 1) &&
	    !make_new(&e, e.last + 1))
		store_version(&e, e.last + 1);
	edit_end(&e);
}

void pipeline_put(struct call *call)
{
	struct edit e;
	unsigned version;
	if (call_need_body(call) || version_parse(call, call->ids.id[1], &version))
		return;
	if (edit_begin(&e, call) || make_new(&e, version) ||
	    change_find(&e.ch, FIND, 2, (const char *[]){e.name, call->ids.id[1]}, &e.old))
		goto out;
	/* A task that runs must find what it started with: the same again is fine, anything else is
	 * not. */
	if (e.old && !json_equal(e.old, e.new))
		call_fail(call, 409, "conflict",
			  "version %u of %s is something else and never changes; make the next one",
			  version, e.name);
	else if (e.old)
		call_doc(call, 200, e.old);
	else if (!call_precondition(call, NULL) && !version_free(call, e.last, version))
		store_version(&e, version);
out:
	edit_end(&e);
}

void pipeline_delete(struct call *call)
{
	struct edit e;
	char key[REGISTRY_KEY_MAX];
	unsigned version;
	const char *values[] = {call->ids.id[0], call->ids.id[1]};
	if (version_parse(call, values[1], &version))
		return;
	registry_key_pipeline(values[0], version, key);
	if (edit_begin(&e, call) || change_find(&e.ch, FIND, 2, values, &e.old))
		goto out;
	if (!e.old)
		call_fail(call, 404, "not_found", "no such version of a pipeline");
	else if (!call_precondition(call, e.old) &&
		 !change_run(&e.ch,
			     "DELETE FROM control.pipeline_versions"
			     " WHERE name = $1 AND version::text = $2",
			     2, values) &&
		 !change_publish(&e.ch, key, NULL) &&
		 !change_commit(&e.ch, "pipeline.delete", NULL, e.old, NULL))
		call->reply->status = 204;
out:
	edit_end(&e);
}
