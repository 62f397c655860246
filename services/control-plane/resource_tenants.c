/* /v1/tenants, their limits, :suspend and :resume. */
#include <stdlib.h>

#include "common/json.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

/* A mutation of one tenant: what was there, what shall be there. */
struct edit {
	struct change ch;
	json_t *old, *limits; /* NULL: none */
	json_t *new;
};

static int edit_begin(struct edit *e, struct call *call, const char *id)
{
	const char *values[] = {id};
	*e = (struct edit){.ch = {.call = call}};
	return change_begin(&e->ch, call, "tenant", id) ||
	       change_find(&e->ch, "SELECT doc FROM control.tenants WHERE id = $1", 1, values,
			   &e->old) ||
	       change_find(&e->ch, "SELECT limits FROM control.tenants WHERE id = $1", 1, values,
			   &e->limits);
}

static void edit_end(struct edit *e)
{
	change_end(&e->ch);
	json_decref(e->old);
	json_decref(e->limits);
	json_decref(e->new);
}

static int must_exist(struct edit *e)
{
	return e->old ? 0 : call_fail(e->ch.call, 404, "not_found", "no such tenant");
}

static int publish_tenant(struct edit *e, const char *id, const json_t *tenant,
			  const json_t *limits)
{
	char key[REGISTRY_KEY_MAX];
	json_t *defaults = limits ? NULL : registry_limits_default();
	json_t *doc = registry_catalog_tenant(tenant, limits ? limits : defaults);
	registry_key_tenant(id, key);
	int rc = change_publish(&e->ch, key, doc);
	json_decref(doc);
	json_decref(defaults);
	return rc;
}

static int write_tenant(struct edit *e, const char *id)
{
	char *text = json_text(e->new, NULL);
	int rc = change_run(&e->ch,
			    "INSERT INTO control.tenants (id, doc) VALUES ($1, $2) ON CONFLICT (id)"
			    " DO UPDATE SET doc = excluded.doc, updated_at = now()",
			    2, (const char *[]){id, text});
	free(text);
	return rc;
}

static void store_tenant(struct edit *e, const char *id, const char *action)
{
	struct call *call = e->ch.call;
	bool created = !e->old && !call->validate_only;
	if (write_tenant(e, id) || publish_tenant(e, id, e->new, e->limits) ||
	    change_commit(&e->ch, action, id, e->old, e->new))
		return;
	call_doc(call, created ? 201 : 200, e->new);
	if (created)
		call_location(call, "/v1/tenants/%s", id);
}

void tenants_list(struct call *call)
{
	call_list(call, "tenants",
		  "SELECT id, doc FROM control.tenants WHERE ($1::text IS NULL OR id > $1)"
		  " ORDER BY id LIMIT $2::bigint",
		  NULL);
}

void tenant_get(struct call *call)
{
	call_get(call, "SELECT doc FROM control.tenants WHERE id = $1", "tenant");
}

void tenants_post(struct call *call)
{
	struct error err;
	struct edit e;
	if (call_need_body(call))
		return;
	json_t *doc = registry_tenant(call->body, NULL, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	const char *id = json_string_value(json_object_get(doc, "id"));
	if (!edit_begin(&e, call, id)) {
		e.new = json_incref(doc);
		if (e.old)
			call_fail(call, 409, "conflict", "the tenant %s exists", id);
		else
			store_tenant(&e, id, "tenant.create");
	}
	edit_end(&e);
	json_decref(doc);
}

void tenant_put(struct call *call)
{
	struct error err;
	struct edit e;
	const char *id = call->ids.id[0];
	if (call_need_body(call))
		return;
	json_t *doc = registry_tenant(call->body, id, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	if (!edit_begin(&e, call, id) && !call_precondition(call, e.old)) {
		e.new = json_incref(doc);
		store_tenant(&e, id, e.old ? "tenant.update" : "tenant.create");
	}
	edit_end(&e);
	json_decref(doc);
}

void tenant_patch(struct call *call)
{
	struct error err;
	struct edit e;
	const char *id = call->ids.id[0];
	if (call_need_body(call))
		return;
	if (!edit_begin(&e, call, id) && !must_exist(&e) && !call_precondition(call, e.old)) {
		json_t *merged = registry_merge(e.old, call->body);
		e.new = registry_tenant(merged, id, &err);
		json_decref(merged);
		if (e.new)
			store_tenant(&e, id, "tenant.update");
		else
			call_error(call, &err);
	}
	edit_end(&e);
}

static void set_status(struct call *call, const char *status, const char *action)
{
	struct edit e;
	const char *id = call->ids.id[0];
	/* A verb names its outcome, so it needs no If-Match; one that is given counts. */
	if (!edit_begin(&e, call, id) && !must_exist(&e) &&
	    (!call->req->if_match || !call_precondition(call, e.old))) {
		e.new = registry_tenant_status(e.old, status);
		store_tenant(&e, id, action);
	}
	edit_end(&e);
}

void tenant_suspend(struct call *call)
{
	set_status(call, "suspended", "tenant.suspend");
}

void tenant_resume(struct call *call)
{
	set_status(call, "active", "tenant.resume");
}

/* The tenant goes with all that hangs on it; the bucket's keys are taken back in the same
 * transaction. */
static int delete_rows(struct edit *e, const char *id)
{
	const char *values[] = {id};
	char key[REGISTRY_KEY_MAX];
	registry_key_tenant(id, key);
	return change_run(&e->ch,
			  "INSERT INTO control.config_outbox (key)"
			  " SELECT 'key.' || id FROM control.api_keys WHERE tenant = $1 UNION ALL"
			  " SELECT 'signing.' || tenant || '.' || id FROM control.signing_keys"
			  "  WHERE tenant = $1 UNION ALL"
			  " SELECT 'hook.' || id FROM control.hooks WHERE tenant = $1 UNION ALL"
			  " SELECT 'type.' || tenant || '.' || type FROM control.event_types"
			  "  WHERE tenant = $1",
			  1, values) ||
	       change_publish(&e->ch, key, NULL) ||
	       change_run(&e->ch, "DELETE FROM control.tenants WHERE id = $1", 1, values);
}

void tenant_delete(struct call *call)
{
	struct edit e;
	const char *id = call->ids.id[0];
	if (!edit_begin(&e, call, id) && !must_exist(&e) && !call_precondition(call, e.old) &&
	    !delete_rows(&e, id) && !change_commit(&e.ch, "tenant.delete", id, e.old, NULL))
		call->reply->status = 204;
	edit_end(&e);
}

/* --- limits ------------------------------------------------------------------------------ */

static json_t *limits_of(const struct edit *e)
{
	return e->limits ? json_incref(e->limits) : registry_limits_default();
}

void limits_get(struct call *call)
{
	call_get_or(call, "SELECT limits FROM control.tenants WHERE id = $1", "tenant",
		    registry_limits_default);
}

static int write_limits(struct edit *e, const char *id)
{
	char *text = json_text(e->new, NULL);
	int rc = change_run(
	    &e->ch, "UPDATE control.tenants SET limits = $2, updated_at = now() WHERE id = $1", 2,
	    (const char *[]){id, text});
	free(text);
	return rc;
}

static void set_limits(struct call *call, bool patch)
{
	struct error err;
	struct edit e;
	const char *id = call->ids.id[0];
	json_t *old = NULL, *in = NULL;
	if (call_need_body(call))
		return;
	if (edit_begin(&e, call, id) || must_exist(&e))
		goto out;
	old = limits_of(&e);
	if (call_precondition(call, old))
		goto out;
	in = patch ? registry_merge(old, call->body) : json_incref(call->body);
	e.new = registry_limits(in, &err);
	if (!e.new) {
		call_error(call, &err);
		goto out;
	}
	if (!write_limits(&e, id) && !publish_tenant(&e, id, e.old, e.new) &&
	    !change_commit(&e.ch, "limits.update", id, old, e.new))
		call_doc(call, 200, e.new);
out:
	edit_end(&e);
	json_decref(old);
	json_decref(in);
}

void limits_put(struct call *call)
{
	set_limits(call, false);
}

void limits_patch(struct call *call)
{
	set_limits(call, true);
}
