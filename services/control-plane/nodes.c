#include "services/control-plane/nodes.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/resources.h"

/* NULL: not known yet; new reference. */
static json_t *live_nodes(const struct call *call, const struct node_kind *kind)
{
	return call->api->bridge ? bridge_members(call->api->bridge, kind->service) : NULL;
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
static json_t *item(const struct node_kind *kind, const char *id, json_t *member, json_t *wish)
{
	json_t *doc =
	    member ? json_copy(member) : json_pack("{ssss}", "id", id, "service", kind->service);
	json_object_set_new(doc, "live", json_boolean(member != NULL));
	json_object_set(doc, "drain", wish ? wish : json_null());
	return doc;
}

/* Every one by its id, those that live and those that something is wanted of; new reference. */
static json_t *all_nodes(const struct node_kind *kind, json_t *live, const PGresult *res)
{
	json_t *all = json_object(), *member;
	size_t i;
	json_array_foreach(live, i, member)
	{
		const char *id = json_string_value(json_object_get(member, "id"));
		json_object_set_new(all, id, item(kind, id, member, NULL));
	}
	for (int row = 0; row < PQntuples(res); row++) {
		const char *id = pg_text(res, row, 0), *text = pg_text(res, row, 1);
		json_t *wish = json_parse(text, strlen(text), NULL);
		json_object_set_new(all, id, item(kind, id, find_live(live, id), wish));
		json_decref(wish);
	}
	return all;
}

void nodes_list(struct call *call, const struct node_kind *kind)
{
	char last[ROUTE_ID_MAX + 1];
	int64_t size;
	if (call_page(call, kind->list, &size, last))
		return;
	json_t *live = live_nodes(call, kind);
	if (!live) {
		call_fail(call, 503, "unavailable", "the list of members is not known yet");
		return;
	}
	PGresult *res = call_rows(call, kind->all_sql, 0, NULL);
	if (res) {
		json_t *all = all_nodes(kind, live, res);
		call_value(call, call_page_of(all, kind->list, size, last));
		json_decref(all);
		PQclear(res);
	}
	json_decref(live);
}

void node_get(struct call *call, const struct node_kind *kind)
{
	const char *id = call->ids.id[0];
	json_t *live = live_nodes(call, kind), *member = find_live(live, id), *wish = NULL;
	PGresult *res = call_rows(call, kind->find_sql, 1, (const char *[]){id});
	if (!res)
		goto out;
	if (PQntuples(res))
		wish = json_parse(pg_text(res, 0, 0), strlen(pg_text(res, 0, 0)), NULL);
	if (member || wish)
		call_value(call, item(kind, id, member, wish));
	else if (!live)
		call_fail(call, 503, "unavailable", "the list of members is not known yet");
	else
		call_fail(call, 404, "not_found", "no such %s", kind->service);
	PQclear(res);
out:
	json_decref(wish);
	json_decref(live);
}

/* --- what is wanted ------------------------------------------------------------------------ */

int node_edit_begin(struct node_edit *e, struct call *call, const struct node_kind *kind)
{
	const char *id = call->ids.id[0];
	/* Asked before the transaction, which holds a lock. */
	*e = (struct node_edit){
	    .ch = {.call = call}, .kind = kind, .id = id, .live = live_nodes(call, kind)};
	e->member = find_live(e->live, id);
	if (change_begin(&e->ch, call, kind->service, id) ||
	    change_find(&e->ch, kind->find_sql, 1, (const char *[]){id}, &e->old))
		return -1;
	if (e->member || e->old)
		return 0;
	return e->live
		   ? call_fail(call, 404, "not_found", "no such %s", kind->service)
		   : call_fail(call, 503, "unavailable", "the list of members is not known yet");
}

void node_edit_end(struct node_edit *e)
{
	change_end(&e->ch);
	json_decref(e->live);
	json_decref(e->old);
	json_decref(e->new);
}

static int write_wish(struct node_edit *e, bool plain)
{
	char key[REGISTRY_KEY_MAX], *text = json_text(e->new, NULL);
	const char *values[] = {e->id, text};
	int rc = plain ? change_run(&e->ch, e->kind->drop_sql, 1, values)
		       : change_run(&e->ch, e->kind->put_sql, 2, values);
	free(text);
	e->kind->key(e->id, key);
	return rc || change_publish(&e->ch, key, plain ? NULL : e->new);
}

void node_edit_commit(struct node_edit *e, const char *action, const char *tenant, bool plain)
{
	if (!write_wish(e, plain) && !change_commit(&e->ch, action, tenant, e->old, e->new))
		call_value(e->ch.call, item(e->kind, e->id, e->member, plain ? NULL : e->new));
}
