/* Tenants, their limits and their keys; operators. */
#include <string.h>

#include "common/ids.h"
#include "common/names.h"
#include "common/permit.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define NAME_TEXT_MAX   200
#define LABELS_MAX      32
#define LABEL_MAX       63
#define LABEL_VALUE_MAX 256
#define COUNT_MAX       1000000000LL

static int copy_labels(json_t *doc, const json_t *in, struct error *err)
{
	const json_t *labels = json_object_get(in, "labels");
	if (labels && !json_is_object(labels))
		return err_set(err, ERR_REJECTED, "labels: must be an object of texts");
	json_t *out = json_object();
	json_object_set_new(doc, "labels", out);
	if (json_object_size(labels) > LABELS_MAX)
		return err_set(err, ERR_REJECTED, "labels: more than %d", LABELS_MAX);
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)labels, name, value)
	{
		if (!*name || strlen(name) > LABEL_MAX)
			return err_set(err, ERR_REJECTED, "labels: a name has 1 to %d bytes",
				       LABEL_MAX);
		if (!json_is_string(value) || json_string_length(value) > LABEL_VALUE_MAX)
			return err_set(err, ERR_REJECTED,
				       "labels.%s: must be a text of at most %d bytes", name,
				       LABEL_VALUE_MAX);
		json_object_set(out, name, value);
	}
	return 0;
}

/* The id of a new thing: of the path, or of the document. */
static int take_id(const json_t *in, const char *member, const char *given, const char **id,
		   struct error *err)
{
	if (given) {
		*id = given;
		if (registry_same_text(in, member, given, err))
			return -1;
	} else if (json_get_text(in, member, true, id, err)) {
		return -1;
	}
	if (!name_valid_tenant(*id))
		return err_set(err, ERR_REJECTED, "%s: 1 to %d letters, digits, _ or -", member,
			       TENANT_MAX);
	return 0;
}

json_t *registry_tenant(const json_t *in, const char *id, struct error *err)
{
	static const char *const names[] = {"id",     "name",   "region",  "class", "status",
					    "weight", "labels", "origins", NULL};
	static const char *const classes[] = {"standard", "synthetic", NULL};
	static const char *const statuses[] = {"active", "suspended", NULL};
	json_t *doc = json_object();
	if (registry_object(in, "a tenant", err) || json_only(in, names, err) ||
	    take_id(in, "id", id, &id, err))
		goto fail;
	json_object_set_new(doc, "id", json_string(id));
	if (registry_copy_text(doc, in, "name", NAME_TEXT_MAX, id, err) ||
	    registry_copy_text(doc, in, "region", TENANT_MAX, "local", err) ||
	    registry_copy_word(doc, in, "class", classes, err) ||
	    registry_copy_word(doc, in, "status", statuses, err) ||
	    registry_copy_int(doc, in, "weight", 1, 1000, 1, err) || copy_labels(doc, in, err) ||
	    registry_copy_origins(doc, in, err))
		goto fail;
	if (!name_valid_tenant(json_string_value(json_object_get(doc, "region")))) {
		err_set(err, ERR_REJECTED, "region: letters, digits, _ or -");
		goto fail;
	}
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

json_t *registry_tenant_status(const json_t *tenant, const char *status)
{
	json_t *doc = json_copy((json_t *)tenant);
	json_object_set_new(doc, "status", json_string(status));
	return doc;
}

json_t *registry_limits(const json_t *in, struct error *err)
{
	static const struct {
		const char *name;
		int64_t min, max, dflt;
	} numbers[] = {
	    {"events_per_s", 1, COUNT_MAX, 1000},    {"burst", 1, COUNT_MAX, 2000},
	    {"bytes_per_s", 1, 1LL << 50, 4194304},  {"connections", 0, COUNT_MAX, 10000},
	    {"subscriptions", 0, COUNT_MAX, 100000}, {"tasks_running", 1, COUNT_MAX, 1000},
	    {"tasks_queued", 0, COUNT_MAX, 100000},  {"tokens_per_min", 0, 1LL << 50, 0},
	};
	static const char *const names[] = {
	    "events_per_s",  "burst",        "bytes_per_s",    "connections", "subscriptions",
	    "tasks_running", "tasks_queued", "tokens_per_min", "mode",        NULL};
	static const char *const modes[] = {"enforce", "shadow", NULL};
	json_t *doc = json_object();
	if (registry_object(in, "limits", err) || json_only(in, names, err))
		goto fail;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (registry_copy_int(doc, in, numbers[i].name, numbers[i].min, numbers[i].max,
				      numbers[i].dflt, err))
			goto fail;
	if (registry_copy_word(doc, in, "mode", modes, err))
		goto fail;
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

json_t *registry_limits_default(void)
{
	json_t *empty = json_object(), *doc = registry_limits(empty, NULL);
	json_decref(empty);
	return doc;
}

static int copy_scopes(json_t *doc, const json_t *in, struct error *err)
{
	static const char *const all[] = {"publish", "subscribe", "task", NULL};
	const json_t *given = json_object_get(in, "scopes");
	json_t *out = json_array();
	json_object_set_new(doc, "scopes", out);
	if (given && (!json_is_array(given) || json_array_size(given) == 0))
		return err_set(err, ERR_REJECTED,
			       "scopes: a list of at least one of publish, subscribe, task");
	/* In the order of `all`, so that the same scopes are the same document. */
	for (size_t i = 0; all[i]; i++)
		if (!given || registry_has_text(given, all[i]))
			json_array_append_new(out, json_string(all[i]));
	if (given && json_array_size(given) != json_array_size(out))
		return err_set(err, ERR_REJECTED,
			       "scopes: only publish, subscribe and task, each at most once");
	return 0;
}

/* Patterns of channels and pipelines; absent ones restrict nothing. */
static int copy_permit(json_t *doc, const json_t *in, struct error *err)
{
	static const char *const rights[] = {"subscribe", "publish", NULL};
	json_t *channels = json_object_get(in, "channels");
	struct permit *permit;
	if (permit_of_key(in, &permit, err))
		return -1;
	permit_unref(permit);
	if (json_is_object(channels) && json_only(channels, rights, err))
		return err_wrap(err, "channels");
	if (json_is_object(channels))
		json_object_set(doc, "channels", channels);
	if (json_is_array(json_object_get(in, "pipelines")))
		json_object_set(doc, "pipelines", json_object_get(in, "pipelines"));
	return 0;
}

json_t *registry_key(const json_t *in, const char *id, const char *tenant, int64_t created_us,
		     struct error *err)
{
	static const char *const names[] = {"name",      "scopes",     "channels",
					    "pipelines", "expires_at", NULL};
	json_t *doc = json_object();
	if (registry_object(in, "a key", err) || json_only(in, names, err))
		goto fail;
	json_object_set_new(doc, "id", json_string(id));
	json_object_set_new(doc, "tenant", json_string(tenant));
	if (registry_copy_text(doc, in, "name", NAME_TEXT_MAX, NULL, err) ||
	    copy_scopes(doc, in, err) || copy_permit(doc, in, err) ||
	    registry_copy_expiry(doc, in, created_us, err))
		goto fail;
	json_object_set_new(doc, "status", json_string("active"));
	registry_set_time(doc, "created_at", created_us);
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

json_t *registry_key_revoked(const json_t *key, int64_t now_us)
{
	json_t *doc = json_copy((json_t *)key);
	if (strcmp(json_string_value(json_object_get(doc, "status")), "revoked") != 0) {
		json_object_set_new(doc, "status", json_string("revoked"));
		registry_set_time(doc, "revoked_at", now_us);
	}
	return doc;
}

json_t *registry_operator(const json_t *in, const char *id, int64_t created_us, struct error *err)
{
	static const char *const names[] = {"name", "role", NULL};
	static const char *const roles[] = {"viewer", "operator", "admin", NULL};
	const char *role;
	json_t *doc = json_object();
	if (registry_object(in, "an operator", err) || json_only(in, names, err))
		goto fail;
	json_object_set_new(doc, "id", json_string(id));
	if (registry_copy_text(doc, in, "name", NAME_TEXT_MAX, id, err) ||
	    json_get_text(in, "role", true, &role, err) ||
	    registry_copy_word(doc, in, "role", roles, err))
		goto fail;
	registry_set_time(doc, "created_at", created_us);
	return doc;
fail:
	json_decref(doc);
	return NULL;
}
