/* Inbound hooks of a tenant. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "common/webhook.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define NAME_TEXT_MAX 200
#define PRIORITY_MAX  100

json_t *registry_hook(const json_t *in, const char *id, const char *tenant, int64_t created_us,
		      struct error *err)
{
	static const char *const names[] = {"id",        "tenant", "created_at",
					    "direction", "name",   "pipeline",
					    "priority",  "secret", NULL};
	json_t *doc = json_object();
	const char *pipeline, *secret, *direction;

	json_object_set_new(doc, "id", json_string(id));
	json_object_set_new(doc, "tenant", json_string(tenant));
	if (registry_object(in, "a hook", err) || json_only(in, names, err) ||
	    registry_same_text(in, "id", id, err) ||
	    registry_same_text(in, "tenant", tenant, err) ||
	    json_get_text(in, "direction", false, &direction, err))
		goto fail;
	if (direction && strcmp(direction, "in") != 0) {
		err_set(err, ERR_REJECTED, "direction: must be one of in, out");
		goto fail;
	}
	if (json_get_text(in, "pipeline", true, &pipeline, err) ||
	    json_get_text(in, "secret", false, &secret, err) ||
	    registry_copy_text(doc, in, "name", NAME_TEXT_MAX, NULL, err) ||
	    registry_copy_int(doc, in, "priority", -PRIORITY_MAX, PRIORITY_MAX, 0, err))
		goto fail;
	if (!name_valid_tenant(pipeline)) {
		err_set(err, ERR_REJECTED, "pipeline: 1 to %d letters, digits, _ or -", TENANT_MAX);
		goto fail;
	}
	if (secret && !webhook_secret_valid(secret)) {
		err_set(err, ERR_REJECTED, "secret: whsec_ and the base64 of %d to %d bytes",
			WEBHOOK_SECRET_MIN, WEBHOOK_SECRET_MAX);
		goto fail;
	}
	json_object_set_new(doc, "pipeline", json_string(pipeline));
	registry_set_time(doc, "created_at", created_us);
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

json_t *registry_catalog_hook(const json_t *doc, const char *secret, const char *previous,
			      int64_t previous_until_ms)
{
	static const char *const names[] = {"id", "tenant", "pipeline", "priority"};
	json_t *out = json_object();

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		json_object_set(out, names[i], json_object_get(doc, names[i]));
	json_object_set_new(out, "secret", json_string(secret));
	if (previous) {
		json_object_set_new(out, "previous_secret", json_string(previous));
		json_object_set_new(out, "previous_until", json_integer(previous_until_ms));
	}
	return out;
}

void registry_key_hook(const char *id, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "hook.%s", id);
}
