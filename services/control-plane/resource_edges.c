/* /v1/edges: who is alive, what the operators want of each, :drain and :undrain.
 *
 * A drain is configuration: the edge follows its document in the bucket, so the wish survives this
 * process and the edge's. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

#define FIND "SELECT doc FROM control.edges WHERE id = $1"

/* --- what there is ----------------------------------------------------------------------- */

/* NULL: not known yet; new reference. */
static json_t *live_edges(const struct call *call)
{
	return call->api->bridge ? bridge_members(call->api->bridge, "edge") : NULL;
}

static json_t *find_live(json_t *list, const char *id)
{
	size_t i;
	json_t *member;
	json_array_foreach(list, i, member)
	{
		const char *name = json_string_value(json_object_get(member, "id"));
		if (name && !strcmp(name, id))
			return member;
	}
	return NULL;
}

/* member, wish: NULL for none; borrowed. */
static json_t *item(const char *id, json_t *member, json_t *wish)
{
	json_t *doc = member ? json_copy(member) : json_pack("{ssss}", "id", id, "service", "edge");
	json_object_set_new(doc, "live", json_boolean(member != NULL));
	json_object_set(doc, "drain", wish ? wish : json_null());
	return doc;
}

/* Every edge by its id, those that live and those that something is wanted of; new reference. */
static json_t *all_edges(json_t *live, const PGresult *res)
{
	json_t *all = json_object(), *member;
	size_t i;
	json_array_foreach(live, i, member)
	{
		const char *id = json_string_value(json_object_get(member, "id"));
		json_object_set_new(all, id, item(id, member, NULL));
	}
	for (int row = 0; row < PQntuples(res); row++) {
		const char *id = pg_text(res, row, 0), *text = pg_text(res, row, 1);
		json_t *wish = json_parse(text, strlen(text), NULL);
		json_object_set_new(all, id, item(id, find_live(live, id), wish));
		json_decref(wish);
	}
	return all;
}

void edges_list(struct call *call)
{
	char last[ROUTE_ID_MAX + 1];
	int64_t size;
	if (call_page(call, "edges", &size, last))
		return;
	json_t *live = live_edges(call);
	if (!live) {
		call_fail(call, 503, "unavailable", "the list of members is not known yet");
		return;
	}
	PGresult *res = call_rows(call, "SELECT id, doc FROM control.edges", 0, NULL);
	if (res) {
		json_t *all = all_edges(live, res);
		call_value(call, call_page_of(all, "edges", size, last));
		json_decref(all);
		PQclear(res);
	}
	json_decref(live);
}

void edge_get(struct call *call)
{
	const char *id = call->ids.id[0];
	json_t *live = live_edges(call), *member = find_live(live, id), *wish = NULL;
	PGresult *res = call_rows(call, FIND, 1, (const char *[]){id});
	if (!res)
		goto out;
	if (PQntuples(res))
		wish = json_parse(pg_text(res, 0, 0), strlen(pg_text(res, 0, 0)), NULL);
	if (member || wish)
		call_value(call, item(id, member, wish));
	else if (!live)
		call_fail(call, 503, "unavailable", "the list of members is not known yet");
	else
		call_fail(call, 404, "not_found", "no such edge");
	PQclear(res);
out:
	json_decref(wish);
	json_decref(live);
}

/* --- :drain and :undrain ------------------------------------------------------------------- */

struct edit {
	struct change ch;
	json_t *live, *member; /* all; this one, borrowed */
	json_t *old, *new;
};

static int edit_begin(struct edit *e, struct call *call, const char *id)
{
	/* Asked before the transaction, which holds a lock. */
	*e = (struct edit){.ch = {.call = call}, .live = live_edges(call)};
	e->member = find_live(e->live, id);
	if (change_begin(&e->ch, call, "edge", id) ||
	    change_find(&e->ch, FIND, 1, (const char *[]){id}, &e->old))
		return -1;
	if (e->member || e->old)
		return 0;
	return e->live
		   ? call_fail(call, 404, "not_found", "no such edge")
		   : call_fail(call, 503, "unavailable", "the list of members is not known yet");
}

static void edit_end(struct edit *e)
{
	change_end(&e->ch);
	json_decref(e->live);
	json_decref(e->old);
	json_decref(e->new);
}

static int tenant_exists(struct edit *e, const char *tenant)
{
	json_t *doc;
	if (!tenant)
		return 0;
	if (change_find(&e->ch, "SELECT doc FROM control.tenants WHERE id = $1", 1,
			(const char *[]){tenant}, &doc))
		return -1;
	if (!doc)
		return call_fail(e->ch.call, 404, "not_found", "no such tenant");
	json_decref(doc);
	return 0;
}

static int write_edge(struct edit *e, const char *id)
{
	bool plain = registry_edge_plain(e->new);
	char key[REGISTRY_KEY_MAX], *text = json_text(e->new, NULL);
	const char *values[] = {id, text};
	int rc = plain ? change_run(&e->ch, "DELETE FROM control.edges WHERE id = $1", 1, values)
		       : change_run(&e->ch,
				    "INSERT INTO control.edges (id, doc) VALUES ($1, $2)"
				    " ON CONFLICT (id) DO UPDATE SET doc = excluded.doc,"
				    " updated_at = now()",
				    2, values);
	free(text);
	registry_key_edge(id, key);
	return rc || change_publish(&e->ch, key, plain ? NULL : e->new);
}

static void set_drain(struct call *call, bool drain)
{
	const char *id = call->ids.id[0], *tenant;
	struct error err;
	struct edit e;
	if (call_need_reason(call))
		return;
	if (registry_edge_tenant(call->body, drain, &tenant, &err)) {
		call_error(call, &err);
		return;
	}
	if (edit_begin(&e, call, id) || (drain && tenant_exists(&e, tenant)))
		goto out;
	e.new = drain ? registry_edge_drain(e.old, id, call->body, &err)
		      : registry_edge_undrain(e.old, id, call->body, &err);
	if (!e.new) {
		call_error(call, &err);
		goto out;
	}
	if (!write_edge(&e, id) &&
	    !change_commit(&e.ch, drain ? "edge.drain" : "edge.undrain", tenant, e.old, e.new))
		call_value(call, item(id, e.member, registry_edge_plain(e.new) ? NULL : e.new));
out:
	edit_end(&e);
}

void edge_drain(struct call *call)
{
	set_drain(call, true);
}

void edge_undrain(struct call *call)
{
	set_drain(call, false);
}
