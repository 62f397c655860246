/* Event types and their versions; the catalog's documents and keys. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

static int copy_class(json_t *doc, const json_t *in, const char *class, struct error *err)
{
	static const char *const classes[] = {"durable", "ephemeral", NULL};
	const char *text;
	if (json_get_text(in, "class", class == NULL, &text, err))
		return -1;
	if (text && !strcmp(text, "stream"))
		return err_set(err, ERR_REJECTED,
			       "class: \"stream\" is for what the plane itself sends; use "
			       "ephemeral or durable");
	if (text && class && strcmp(text, class) != 0)
		return err_set(err, ERR_CONFLICT,
			       "class: the type is %s and stays so; a new class is a new type",
			       class);
	if (!text) {
		json_object_set_new(doc, "class", json_string(class));
		return 0;
	}
	return registry_copy_word(doc, in, "class", classes, err);
}

static int copy_schema(json_t *doc, const json_t *in, struct error *err)
{
	const json_t *schema = json_object_get(in, "schema");
	if (schema && !json_is_object(schema) && !json_is_boolean(schema))
		return err_set(err, ERR_REJECTED,
			       "schema: a JSON Schema is an object or a boolean");
	json_object_set_new(doc, "schema", schema ? json_deep_copy(schema) : json_true());
	return 0;
}

json_t *registry_version(const json_t *in, const char *tenant, const char *type, unsigned version,
			 const char *class, struct error *err)
{
	static const char *const names[] = {"tenant", "type",  "version", "class",
					    "schema", "state", NULL};
	static const char *const states[] = {"active", "deprecated", "disabled", NULL};
	json_t *doc = json_object();
	if (registry_object(in, "a version", err) || json_only(in, names, err) ||
	    registry_same_text(in, "tenant", tenant, err) ||
	    registry_same_text(in, "type", type, err) ||
	    registry_same_int(in, "version", version, err))
		goto fail;
	if (!name_valid_channel(type) || strlen(type) > TYPE_MAX) {
		err_set(err, ERR_REJECTED,
			"type: 1 to %d letters, digits, _ - : . and no empty part between dots",
			TYPE_MAX);
		goto fail;
	}
	if (name_reserved_type(type)) {
		err_set(err, ERR_REJECTED, "type: task.… is for what the plane itself sends");
		goto fail;
	}
	json_object_set_new(doc, "tenant", json_string(tenant));
	json_object_set_new(doc, "type", json_string(type));
	json_object_set_new(doc, "version", json_integer(version));
	if (copy_class(doc, in, class, err) || copy_schema(doc, in, err) ||
	    registry_copy_word(doc, in, "state", states, err))
		goto fail;
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

bool registry_version_same(const json_t *a, const json_t *b)
{
	static const char *const names[] = {"tenant", "type", "version", "class", "schema"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!json_equal(json_object_get(a, names[i]), json_object_get(b, names[i])))
			return false;
	return true;
}

/* The newest active version; a type whose versions are all deprecated still works. 0: none is in
 * use. */
static json_int_t latest_of(const json_t *versions)
{
	json_int_t active = 0, deprecated = 0;
	size_t i;
	json_t *item;
	json_array_foreach((json_t *)versions, i, item)
	{
		json_int_t version = json_integer_value(json_object_get(item, "version"));
		const char *state = json_string_value(json_object_get(item, "state"));
		if (!strcmp(state, "active") && version > active)
			active = version;
		if (!strcmp(state, "deprecated") && version > deprecated)
			deprecated = version;
	}
	return active ? active : deprecated;
}

json_t *registry_catalog_type(const char *tenant, const char *type, const char *class,
			      const json_t *versions)
{
	if (json_array_size(versions) == 0)
		return NULL;
	json_t *map = json_object();
	size_t i;
	json_t *item;
	json_array_foreach((json_t *)versions, i, item)
	{
		char number[24];
		snprintf(number, sizeof(number), "%lld",
			 (long long)json_integer_value(json_object_get(item, "version")));
		json_object_set_new(map, number,
				    json_pack("{sOsO}", "state", json_object_get(item, "state"),
					      "schema", json_object_get(item, "schema")));
	}
	return json_pack("{sssssssIso}", "tenant", tenant, "type", type, "class", class, "latest",
			 latest_of(versions), "versions", map);
}

json_t *registry_catalog_tenant(const json_t *tenant, const json_t *limits)
{
	static const char *const names[] = {"id",     "name",   "region", "class",
					    "status", "weight", "origins"};
	json_t *doc = json_object();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (json_object_get(tenant, names[i]))
			json_object_set(doc, names[i], json_object_get(tenant, names[i]));
	json_object_set(doc, "limits", (json_t *)limits);
	return doc;
}

json_t *registry_catalog_key(const json_t *key, const char *hash)
{
	static const char *const names[] = {"id",       "tenant",    "scopes",    "status",
					    "channels", "pipelines", "expires_at"};
	json_t *doc = json_object();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (json_object_get(key, names[i]))
			json_object_set(doc, names[i], json_object_get(key, names[i]));
	json_object_set_new(doc, "hash", json_string(hash));
	return doc;
}

void registry_key_tenant(const char *tenant, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "tenant.%s", tenant);
}

void registry_key_key(const char *id, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "key.%s", id);
}

void registry_key_type(const char *tenant, const char *type, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "type.%s.%s", tenant, type);
}

void registry_key_model(const char *name, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "model.%s", name);
}

void registry_key_pipeline(const char *name, unsigned version, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "pipeline.%s.%u", name, version);
}

bool registry_key_known(const char *key)
{
	static const char *const prefixes[] = {"tenant.",   "key.",  "signing.", "type.",  "model.",
					       "pipeline.", "edge.", "hook.",    "worker."};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (!strncmp(key, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}
