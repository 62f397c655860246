/* What the operators want of an edge: nothing, or that it is drained, for everybody or for single
 * tenants. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define TENANTS_MAX 1000 /* drained alone on one edge: more is a job for the whole edge */
#define TIME_MAX_MS (24LL * 3600 * 1000)

static json_t *edge_copy(const json_t *old, const char *id)
{
	json_t *doc = old ? json_deep_copy(old) : json_object();
	json_object_set_new(doc, "id", json_string(id));
	if (!json_object_get(doc, "drained"))
		json_object_set_new(doc, "drained", json_false());
	if (!json_object_get(doc, "tenants"))
		json_object_set_new(doc, "tenants", json_object());
	return doc;
}

static int copy_time(json_t *to, const json_t *in, const char *member, struct error *err)
{
	int64_t ms = -1;
	if (json_get_int(in, member, false, 0, TIME_MAX_MS, &ms, err))
		return -1;
	json_object_del(to, member); /* another drain's; absent: as the edge is set */
	if (ms >= 0)
		json_object_set_new(to, member, json_integer(ms));
	return 0;
}

int registry_edge_tenant(const json_t *in, bool drain, const char **tenant, struct error *err)
{
	static const char *const names[] = {"tenant", "deadline_ms", "spread_ms", NULL};
	static const char *const only[] = {"tenant", NULL};
	*tenant = NULL;
	if (!in)
		return 0;
	if (registry_object(in, "the request", err) || json_only(in, drain ? names : only, err) ||
	    json_get_text(in, "tenant", false, tenant, err))
		return -1;
	if (*tenant && !name_valid_tenant(*tenant))
		return err_set(err, ERR_REJECTED, "tenant: not a name");
	return 0;
}

json_t *registry_edge_drain(const json_t *old, const char *id, const json_t *in, struct error *err)
{
	json_t *doc = edge_copy(old, id), *tenants = json_object_get(doc, "tenants"), *at = doc;
	const char *tenant;
	if (registry_edge_tenant(in, true, &tenant, err))
		goto fail;
	if (tenant) {
		at = json_object();
		json_object_set_new(tenants, tenant, at);
	} else {
		json_object_set_new(doc, "drained", json_true());
	}
	if (json_object_size(tenants) > TENANTS_MAX) {
		err_set(err, ERR_CONFLICT, "more than %d tenants are drained alone", TENANTS_MAX);
		goto fail;
	}
	if (copy_time(at, in, "deadline_ms", err) || copy_time(at, in, "spread_ms", err))
		goto fail;
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

json_t *registry_edge_undrain(const json_t *old, const char *id, const json_t *in,
			      struct error *err)
{
	json_t *doc = edge_copy(old, id);
	const char *tenant;
	if (registry_edge_tenant(in, false, &tenant, err)) {
		json_decref(doc);
		return NULL;
	}
	if (tenant) {
		json_object_del(json_object_get(doc, "tenants"), tenant);
	} else {
		json_object_set_new(doc, "drained", json_false());
		json_object_del(doc, "deadline_ms");
		json_object_del(doc, "spread_ms");
	}
	return doc;
}

bool registry_edge_plain(const json_t *doc)
{
	return !json_is_true(json_object_get(doc, "drained")) &&
	       json_object_size(json_object_get(doc, "tenants")) == 0;
}

void registry_key_edge(const char *id, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "edge.%s", id);
}
