/* What starts tasks of a tenant by itself: schedules and triggers. */
#include <stdlib.h>

#include "common/cron.h"
#include "common/names.h"
#include "common/permit.h"
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
	bool paused = false;
	if (json_get_text(in, "pipeline", true, &pipeline, err) ||
	    json_get_bool(in, "paused", &paused, err))
		return -1;
	if (!name_valid_tenant(pipeline))
		return err_set(err, ERR_REJECTED, "pipeline: 1 to %d letters, digits, _ or -",
			       TENANT_MAX);
	json_object_set_new(doc, "pipeline", json_string(pipeline));
	json_object_set_new(doc, "paused", json_boolean(paused));
	return registry_copy_int(doc, in, "priority", -PRIORITY_MAX, PRIORITY_MAX, 0, err);
}

static int copy_input(json_t *doc, const json_t *in, struct error *err)
{
	size_t len = 0;
	json_t *input = json_object_get(in, "input");
	json_object_set_new(doc, "input", input ? json_incref(input) : json_object());
	char *text = json_text(json_object_get(doc, "input"), &len);
	free(text);
	if (len > INPUT_MAX)
		return err_set(err, ERR_REJECTED, "input: longer than %d bytes", INPUT_MAX);
	return 0;
}

/* The document so far: who it is of. NULL for what is no object of these members. */
static json_t *begin(const json_t *in, const char *what, const char *const *members,
		     const char *name, const char *tenant, struct error *err)
{
	json_t *doc = json_object();
	json_object_set_new(doc, "name", json_string(name));
	json_object_set_new(doc, "tenant", json_string(tenant));
	if (!name_valid_tenant(name))
		err_set(err, ERR_REJECTED, "name: 1 to %d letters, digits, _ or -", TENANT_MAX);
	else if (!registry_object(in, what, err) && !json_only(in, members, err) &&
		 !registry_same_text(in, "name", name, err) &&
		 !registry_same_text(in, "tenant", tenant, err))
		return doc;
	json_decref(doc);
	return NULL;
}

json_t *registry_schedule(const json_t *in, const char *name, const char *tenant, struct error *err)
{
	static const char *const names[] = {"name",     "tenant", "cron",     "zone",
					    "pipeline", "input",  "priority", "paused",
					    "missed",   "status", NULL};
	static const char *const missed[] = {"skip", "run_once", NULL};
	json_t *doc = begin(in, "a schedule", names, name, tenant, err);
	if (doc && !copy_when(doc, in, err) && !copy_what(doc, in, err) &&
	    !copy_input(doc, in, err) && !registry_copy_word(doc, in, "missed", missed, err))
		return doc;
	json_decref(doc);
	return NULL;
}

static int copy_event(json_t *doc, const json_t *in, struct error *err)
{
	const char *type, *channel = "*";
	if (json_get_text(in, "type", true, &type, err) ||
	    json_get_text(in, "channel", false, &channel, err))
		return -1;
	if (!name_valid_channel(type))
		return err_set(err, ERR_REJECTED, "type: no name of an event type");
	if (!channel)
		channel = "*";
	if (!pattern_valid(channel))
		return err_set(err, ERR_REJECTED, "channel: no pattern of channels");
	json_object_set_new(doc, "type", json_string(type));
	json_object_set_new(doc, "channel", json_string(channel));
	return 0;
}

json_t *registry_trigger(const json_t *in, const char *name, const char *tenant, struct error *err)
{
	static const char *const names[] = {"name",     "tenant", "type",   "channel", "pipeline",
					    "priority", "paused", "status", NULL};
	json_t *doc = begin(in, "a trigger", names, name, tenant, err);
	if (doc && !copy_event(doc, in, err) && !copy_what(doc, in, err))
		return doc;
	json_decref(doc);
	return NULL;
}
