/* /v1/models */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/control-plane/change.h"
#include "services/control-plane/references.h"
#include "services/control-plane/resources.h"

#define FIND "SELECT doc FROM control.models WHERE name = $1"

void models_list(struct call *call)
{
	call_list(call, "models",
		  "SELECT name, doc FROM control.models WHERE ($1::text IS NULL OR name > $1)"
		  " ORDER BY name LIMIT $2::bigint",
		  NULL);
}

void model_get(struct call *call)
{
	call_get(call, FIND, "model");
}

struct edit {
	struct change ch;
	json_t *old, *new;
};

/* Models and pipelines are one scope: whoever refers to a model sees it stay. */
static int edit_begin(struct edit *e, struct call *call, const char *name)
{
	*e = (struct edit){.ch = {.call = call}};
	return change_begin(&e->ch, call, "models", "") ||
	       change_find(&e->ch, FIND, 1, (const char *[]){name}, &e->old);
}

static void edit_end(struct edit *e)
{
	change_end(&e->ch);
	json_decref(e->old);
	json_decref(e->new);
}

static int write_model(struct edit *e, const char *name)
{
	char *text = json_text(e->new, NULL);
	json_t *fallbacks = registry_models_of(e->new);
	char *list = json_text(fallbacks, NULL);
	int rc =
	    references_exist(&e->ch, fallbacks) ||
	    change_run(&e->ch,
		       "INSERT INTO control.models (name, doc) VALUES ($1, $2) ON CONFLICT (name)"
		       " DO UPDATE SET doc = excluded.doc, updated_at = now()",
		       2, (const char *[]){name, text}) ||
	    change_run(&e->ch, "DELETE FROM control.model_fallbacks WHERE name = $1", 1,
		       (const char *[]){name}) ||
	    change_run(&e->ch,
		       "INSERT INTO control.model_fallbacks (name, fallback)"
		       " SELECT $1, json_array_elements_text($2::json)",
		       2, (const char *[]){name, list});
	json_decref(fallbacks);
	free(list);
	free(text);
	return rc;
}

static void store_model(struct edit *e, const char *name)
{
	struct call *call = e->ch.call;
	char key[REGISTRY_KEY_MAX];
	bool created = !e->old && !call->validate_only;
	registry_key_model(name, key);
	if (write_model(e, name) || change_publish(&e->ch, key, e->new) ||
	    change_commit(&e->ch, e->old ? "model.update" : "model.create", NULL, e->old, e->new))
		return;
	call_doc(call, created ? 201 : 200, e->new);
	if (created)
		call_location(call, "/v1/models/%s", name);
}

/* POST: the document says the name, and the model must be new. */
static void set_model(struct call *call, bool post)
{
	struct error err;
	struct edit e;
	const char *name = post ? NULL : call->ids.id[0];
	if (call_need_body(call))
		return;
	json_t *doc = registry_model(call->body, name, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	name = json_string_value(json_object_get(doc, "name"));
	if (!edit_begin(&e, call, name)) {
		e.new = json_incref(doc);
		if (post && e.old)
			call_fail(call, 409, "conflict", "the model %s exists", name);
		else if (!call_precondition(call, e.old))
			store_model(&e, name);
	}
	edit_end(&e);
	json_decref(doc);
}

void models_post(struct call *call)
{
	set_model(call, true);
}

void model_put(struct call *call)
{
	set_model(call, false);
}

void model_patch(struct call *call)
{
	struct error err;
	struct edit e;
	const char *name = call->ids.id[0];
	if (call_need_body(call))
		return;
	if (edit_begin(&e, call, name))
		goto out;
	if (!e.old) {
		call_fail(call, 404, "not_found", "no such model");
		goto out;
	}
	if (call_precondition(call, e.old))
		goto out;
	json_t *merged = registry_merge(e.old, call->body);
	e.new = registry_model(merged, name, &err);
	json_decref(merged);
	if (e.new)
		store_model(&e, name);
	else
		call_error(call, &err);
out:
	edit_end(&e);
}

void model_delete(struct call *call)
{
	struct edit e;
	char key[REGISTRY_KEY_MAX];
	const char *name = call->ids.id[0], *values[] = {name};
	registry_key_model(name, key);
	if (edit_begin(&e, call, name))
		goto out;
	if (!e.old)
		call_fail(call, 404, "not_found", "no such model");
	else if (!call_precondition(call, e.old) && !references_none(&e.ch, name) &&
		 !change_run(&e.ch, "DELETE FROM control.models WHERE name = $1", 1, values) &&
		 !change_publish(&e.ch, key, NULL) &&
		 !change_commit(&e.ch, "model.delete", NULL, e.old, NULL))
		call->reply->status = 204;
out:
	edit_end(&e);
}
