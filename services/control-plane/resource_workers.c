/* /v1/workers: who is alive, what the operators want of each, :drain and :undrain. */
#include "services/control-plane/nodes.h"
#include "services/control-plane/resources.h"

static const struct node_kind workers = {
    .service = "worker",
    .list = "workers",
    .all_sql = "SELECT id, doc FROM control.workers",
    .find_sql = "SELECT doc FROM control.workers WHERE id = $1",
    .put_sql = "INSERT INTO control.workers (id, doc) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE"
	       " SET doc = excluded.doc, updated_at = now()",
    .drop_sql = "DELETE FROM control.workers WHERE id = $1",
    .key = registry_key_worker,
};

void workers_list(struct call *call)
{
	nodes_list(call, &workers);
}

void worker_get(struct call *call)
{
	node_get(call, &workers);
}

static void set_drain(struct call *call, bool drain)
{
	struct error err;
	struct node_edit e;
	if (call_need_reason(call))
		return;
	json_t *doc = registry_worker(call->ids.id[0], drain, call->body, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	if (!node_edit_begin(&e, call, &workers)) {
		e.new = json_incref(doc);
		node_edit_commit(&e, drain ? "worker.drain" : "worker.undrain", NULL, !drain);
	}
	node_edit_end(&e);
	json_decref(doc);
}

void worker_drain(struct call *call)
{
	set_drain(call, true);
}

void worker_undrain(struct call *call)
{
	set_drain(call, false);
}
