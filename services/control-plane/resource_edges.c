/* /v1/edges: who is alive, what the operators want of each, :drain and :undrain. */
#include "services/control-plane/nodes.h"
#include "services/control-plane/resources.h"

static const struct node_kind edges = {
    .service = "edge",
    .list = "edges",
    .all_sql = "SELECT id, doc FROM control.edges",
    .find_sql = "SELECT doc FROM control.edges WHERE id = $1",
    .put_sql = "INSERT INTO control.edges (id, doc) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE"
	       " SET doc = excluded.doc, updated_at = now()",
    .drop_sql = "DELETE FROM control.edges WHERE id = $1",
    .key = registry_key_edge,
};

void edges_list(struct call *call)
{
	nodes_list(call, &edges);
}

void edge_get(struct call *call)
{
	node_get(call, &edges);
}

static int tenant_exists(struct node_edit *e, const char *tenant)
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

static void set_drain(struct call *call, bool drain)
{
	const char *id = call->ids.id[0], *tenant;
	struct error err;
	struct node_edit e;
	if (call_need_reason(call))
		return;
	if (registry_edge_tenant(call->body, drain, &tenant, &err)) {
		call_error(call, &err);
		return;
	}
	if (node_edit_begin(&e, call, &edges) || (drain && tenant_exists(&e, tenant)))
		goto out;
	e.new = drain ? registry_edge_drain(e.old, id, call->body, &err)
		      : registry_edge_undrain(e.old, id, call->body, &err);
	if (!e.new) {
		call_error(call, &err);
		goto out;
	}
	node_edit_commit(&e, drain ? "edge.drain" : "edge.undrain", tenant,
			 registry_edge_plain(e.new));
out:
	node_edit_end(&e);
}

void edge_drain(struct call *call)
{
	set_drain(call, true);
}

void edge_undrain(struct call *call)
{
	set_drain(call, false);
}
