/* What the operators want of a worker: nothing, or that it is drained. */
#include <stdio.h>

#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define GRACE_MAX_MS (24LL * 3600 * 1000)

json_t *registry_worker(const char *id, bool drain, const json_t *in, struct error *err)
{
	static const char *const names[] = {"grace_ms", NULL};
	int64_t grace_ms = -1;
	if (in && (registry_object(in, "the request", err) ||
		   json_only(in, drain ? names : names + 1, err) ||
		   json_get_int(in, "grace_ms", false, 0, GRACE_MAX_MS, &grace_ms, err)))
		return NULL;
	json_t *doc = json_object();
	json_object_set_new(doc, "id", json_string(id));
	json_object_set_new(doc, "drained", json_boolean(drain));
	if (grace_ms >= 0) /* absent: as the worker is set */
		json_object_set_new(doc, "grace_ms", json_integer(grace_ms));
	return doc;
}

void registry_key_worker(const char *id, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "worker.%s", id);
}
