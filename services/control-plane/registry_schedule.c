/* Schedules of a tenant. */
#include <stdlib.h>

#include "common/cron.h"
#include "common/names.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define ZONE_MAX     64
#define INPUT_MAX    (64 * 1024)
#define PRIORITY_MAX 100

static int copy_when(json_t *doc, const json_t *in, struct error *err)
{
	struct cron cron;
	struct error why = {0};
	const char *text;
	if (json_get_text(in, "cron", true, &text, err) ||
	    registry_copy_text(doc, in, "cron", CRON_TEXT_MAX, NULL, err) ||
	    registry_copy_text(doc, in, "zone", ZONE_MAX, "UTC", err))
		return -1;
	if (cron_parse(text, &cron, &why))
		return err_set(err, ERR_REJECTED, "cron: %s", why.msg);
	return 0;
}

static int copy_what(json_t *doc, const json_t *in, struct error *err)
{
	const char *pipeline;
	size_t len = 0;
	json_t *input = json_object_get(in, "input");
	if (json_get_text(in, "pipeline", true, &pipeline, err))
		return -1;
	if (!name_valid_tenant(pipeline))
		return err_set(err, ERR_REJECTED, "pipeline: 1 to %d letters, digits, _ or -",
			       TENANT_MAX);
	json_object_set_new(doc, "pipeline", json_string(pipeline));
	json_object_set_new(doc, "input", input ? json_incref(input) : json_object());
	char *text = json_text(json_object_get(doc, "input"), &len);
	free(text);
	if (len > INPUT_MAX)
		return err_set(err, ERR_REJECTED, "input: longer than %d bytes", INPUT_MAX);
	return registry_copy_int(doc, in, "priority", -PRIORITY_MAX, PRIORITY_MAX, 0, err);
}

json_t *registry_schedule(const json_t *in, const char *name, const char *tenant, struct error *err)
{
	static const char *const names[] = {"name",     "tenant", "cron",     "zone",
					    "pipeline", "input",  "priority", "paused",
					    "missed",   "status", NULL};
	static const char *const missed[] = {"skip", "run_once", NULL};
	json_t *doc = json_object();
	bool paused = false;
	if (!name_valid_tenant(name)) {
		err_set(err, ERR_REJECTED, "name: 1 to %d letters, digits, _ or -", TENANT_MAX);
		goto fail;
	}
	json_object_set_new(doc, "name", json_string(name));
	json_object_set_new(doc, "tenant", json_string(tenant));
	if (registry_object(in, "a schedule", err) || json_only(in, names, err) ||
	    registry_same_text(in, "name", name, err) ||
	    registry_same_text(in, "tenant", tenant, err) || copy_when(doc, in, err) ||
	    copy_what(doc, in, err) || registry_copy_word(doc, in, "missed", missed, err) ||
	    json_get_bool(in, "paused", &paused, err))
		goto fail;
	json_object_set_new(doc, "paused", json_boolean(paused));
	return doc;
fail:
	json_decref(doc);
	return NULL;
}
