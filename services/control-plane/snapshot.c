#include "services/control-plane/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/control-plane/registry.h"

static json_t *parse(const PGresult *res, int row, int col)
{
	const char *text = pg_text(res, row, col);
	return text ? json_parse(text, strlen(text), NULL) : NULL;
}

static json_t *make_tenant(const PGresult *res, int row, char *key)
{
	json_t *tenant = parse(res, row, 1), *limits = parse(res, row, 2);
	if (!limits)
		limits = registry_limits_default();
	json_t *doc = registry_catalog_tenant(tenant, limits);
	registry_key_tenant(pg_text(res, row, 0), key);
	json_decref(tenant);
	json_decref(limits);
	return doc;
}

static json_t *make_key(const PGresult *res, int row, char *key)
{
	json_t *api_key = parse(res, row, 1);
	json_t *doc = registry_catalog_key(api_key, pg_text(res, row, 2));
	registry_key_key(pg_text(res, row, 0), key);
	json_decref(api_key);
	return doc;
}

static json_t *make_signing(const PGresult *res, int row, char *key)
{
	json_t *signing = parse(res, row, 2);
	json_t *doc = registry_catalog_signing(signing, pg_text(res, row, 3));
	registry_key_signing(pg_text(res, row, 0), pg_text(res, row, 1), key);
	json_decref(signing);
	return doc;
}

static json_t *make_hook(const PGresult *res, int row, char *key)
{
	json_t *hook = parse(res, row, 1);
	json_t *doc = registry_catalog_hook(hook, pg_text(res, row, 2), pg_text(res, row, 3),
					    pg_int(res, row, 4));
	registry_key_hook(pg_text(res, row, 0), key);
	json_decref(hook);
	return doc;
}

static json_t *make_type(const PGresult *res, int row, char *key)
{
	json_t *versions = parse(res, row, 3);
	json_t *doc = registry_catalog_type(pg_text(res, row, 0), pg_text(res, row, 1),
					    pg_text(res, row, 2), versions);
	registry_key_type(pg_text(res, row, 0), pg_text(res, row, 1), key);
	json_decref(versions);
	return doc;
}

static json_t *make_model(const PGresult *res, int row, char *key)
{
	registry_key_model(pg_text(res, row, 0), key);
	return parse(res, row, 1);
}

static json_t *make_pipeline(const PGresult *res, int row, char *key)
{
	registry_key_pipeline(pg_text(res, row, 0), (unsigned)pg_int(res, row, 1), key);
	return parse(res, row, 2);
}

static json_t *make_edge(const PGresult *res, int row, char *key)
{
	registry_key_edge(pg_text(res, row, 0), key);
	return parse(res, row, 1);
}

static json_t *make_worker(const PGresult *res, int row, char *key)
{
	registry_key_worker(pg_text(res, row, 0), key);
	return parse(res, row, 1);
}

#define TYPES                                                                                      \
	"SELECT t.tenant, t.type, t.class, json_agg(v.doc ORDER BY v.version)"                     \
	" FROM control.event_types t JOIN control.event_type_versions v USING (tenant, type)"

static const struct kind {
	const char *sql;
	json_t *(*make)(const PGresult *res, int row, char *key);
} kinds[] = {
    {"SELECT id, doc, limits FROM control.tenants", make_tenant},
    {"SELECT id, doc, hash FROM control.api_keys", make_key},
    {"SELECT tenant, id, doc, secret FROM control.signing_keys", make_signing},
    {"SELECT id, doc, secret, previous_secret, (extract(epoch FROM previous_until) * 1000)::int8"
     " FROM control.hooks WHERE coalesce(doc->>'direction', 'in') = 'in'",
     make_hook},
    {TYPES " GROUP BY t.tenant, t.type, t.class", make_type},
    {"SELECT name, doc FROM control.models", make_model},
    {"SELECT name, version, doc FROM control.pipeline_versions", make_pipeline},
    {"SELECT id, doc FROM control.edges", make_edge},
    {"SELECT id, doc FROM control.workers", make_worker},
};

static int add_kind(PGconn *conn, const struct kind *kind, json_t *all, struct error *err)
{
	char key[REGISTRY_KEY_MAX];
	PGresult *res = pg_query(conn, kind->sql, 0, NULL, err);
	if (!res)
		return -1;
	for (int row = 0; row < PQntuples(res); row++) {
		json_t *doc = kind->make(res, row, key);
		char *text = json_text(doc, NULL);
		json_object_set_new(all, key, json_string(text));
		free(text);
		json_decref(doc);
	}
	PQclear(res);
	return 0;
}

json_t *snapshot_read(PGconn *conn, struct error *err)
{
	json_t *all = json_object();
	if (pg_exec(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err))
		goto fail;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (add_kind(conn, &kinds[i], all, err))
			goto fail;
	if (pg_exec(conn, "COMMIT", err))
		goto fail;
	return all;
fail:
	pg_rollback(conn);
	json_decref(all);
	return NULL;
}

json_t *snapshot_type(PGconn *conn, const char *tenant, const char *type, bool *ok,
		      struct error *err)
{
	char key[REGISTRY_KEY_MAX];
	PGresult *res = pg_query(
	    conn, TYPES " WHERE t.tenant = $1 AND t.type = $2 GROUP BY t.tenant, t.type, t.class",
	    2, (const char *[]){tenant, type}, err);
	*ok = res != NULL;
	if (!res)
		return NULL;
	json_t *doc = PQntuples(res) ? make_type(res, 0, key) : NULL;
	PQclear(res);
	return doc;
}
