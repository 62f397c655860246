/* Models and pipelines. */
#include <ctype.h>
#include <jq.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "common/pipeline.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define URL_MAX        2048
#define MODEL_TEXT_MAX 200
#define FALLBACKS_MAX  8
#define PRICE_MAX      1000000
#define HOUR_MS        3600000
#define TIMEOUT_MS     60000
#define FIRST_TOKEN_MS 30000

static int check_env(const char *name, struct error *err)
{
	for (const char *p = name; *p; p++)
		if (!isupper((unsigned char)*p) && *p != '_' &&
		    (p == name || !isdigit((unsigned char)*p)))
			return err_set(
			    err, ERR_REJECTED,
			    "secret_env: the name of an environment variable: A-Z, 0-9, _");
	return *name ? 0 : err_set(err, ERR_REJECTED, "secret_env: is empty; leave it out instead");
}

static const char *const limit_names[] = {"rpm", "tpm", "concurrent", NULL};

static int copy_model_limits(json_t *doc, const json_t *in, struct error *err)
{
	const json_t *limits = json_object_get(in, "limits");
	if (limits && !json_is_object(limits))
		return err_set(err, ERR_REJECTED, "limits: must be an object");
	json_t *out = json_object();
	json_object_set_new(doc, "limits", out);
	if (json_only(limits, limit_names, err))
		return err_wrap(err, "limits");
	for (size_t i = 0; limit_names[i]; i++)
		if (registry_copy_int(out, limits, limit_names[i], 0, 1LL << 40, 0, err))
			return err_wrap(err, "limits");
	return 0;
}

/* What may be done without leases: of limits that there are, and no more than they. What is left
 * out is decided by the workers. */
static int copy_safe(json_t *doc, const json_t *in, struct error *err)
{
	const json_t *safe = json_object_get(in, "safe_capacity");
	if (!safe)
		return 0;
	if (!json_is_object(safe))
		return err_set(err, ERR_REJECTED, "safe_capacity: must be an object");
	json_t *out = json_object();
	json_object_set_new(doc, "safe_capacity", out);
	if (json_only(safe, limit_names, err))
		return err_wrap(err, "safe_capacity");
	for (size_t i = 0; limit_names[i]; i++) {
		const json_t *limit =
		    json_object_get(json_object_get(doc, "limits"), limit_names[i]);
		if (json_object_get(safe, limit_names[i]) &&
		    registry_copy_int(out, safe, limit_names[i], 0, json_integer_value(limit), 0,
				      err))
			return err_wrap(err, "safe_capacity");
	}
	return 0;
}

static int copy_fallbacks(json_t *doc, const json_t *in, const char *self, struct error *err)
{
	const json_t *list = json_object_get(in, "fallbacks");
	if (list && (!json_is_array(list) || json_array_size(list) > FALLBACKS_MAX))
		return err_set(err, ERR_REJECTED, "fallbacks: a list of at most %d model names",
			       FALLBACKS_MAX);
	json_t *out = json_array(), *item;
	json_object_set_new(doc, "fallbacks", out);
	size_t i;
	json_array_foreach((json_t *)list, i, item)
	{
		const char *name = json_string_value(item);
		if (!name || !name_valid_tenant(name))
			return err_set(err, ERR_REJECTED, "fallbacks[%zu]: is no model name", i);
		if (!strcmp(name, self) || registry_has_text(out, name))
			return err_set(err, ERR_REJECTED,
				       "fallbacks[%zu]: %s is the model itself or named twice", i,
				       name);
		json_array_append(out, item);
	}
	return 0;
}

/* Of a million tokens, in whatever currency the operators count. */
static int copy_price(json_t *doc, const json_t *in, struct error *err)
{
	static const char *const names[] = {"input", "output", NULL};
	json_t *price = json_object_get(in, "price");
	if (!price)
		return 0;
	if (!json_is_object(price))
		return err_set(err, ERR_REJECTED, "price: must be an object");
	if (json_only(price, names, err))
		return err_wrap(err, "price");
	for (size_t i = 0; names[i]; i++) {
		const json_t *value = json_object_get(price, names[i]);
		double number = json_number_value(value);
		if (value && (!json_is_number(value) || number < 0 || number > PRICE_MAX))
			return err_set(err, ERR_REJECTED, "price: %s: a number from 0 to %d",
				       names[i], PRICE_MAX);
	}
	json_object_set_new(doc, "price", json_deep_copy(price));
	return 0;
}

static int copy_target(json_t *doc, const json_t *in, const char *name, struct error *err)
{
	static const char *const kinds[] = {"openai", "anthropic", "http", NULL};
	const char *url, *kind, *env;
	if (json_get_text(in, "kind", true, &kind, err) ||
	    registry_copy_word(doc, in, "kind", kinds, err) ||
	    json_get_text(in, "url", true, &url, err) || registry_check_url(url, err) ||
	    registry_copy_text(doc, in, "url", URL_MAX, NULL, err) ||
	    registry_copy_text(doc, in, "model", MODEL_TEXT_MAX, strcmp(kind, "http") ? name : NULL,
			       err) ||
	    json_get_text(in, "secret_env", false, &env, err) || (env && check_env(env, err)))
		return -1;
	return registry_copy_text(doc, in, "secret_env", MODEL_TEXT_MAX, NULL, err);
}

json_t *registry_model(const json_t *in, const char *name, struct error *err)
{
	static const char *const names[] = {
	    "name",       "kind",   "url",           "model",
	    "secret_env", "limits", "timeout_ms",    "first_token_timeout_ms",
	    "fallbacks",  "price",  "safe_capacity", NULL};
	json_t *doc = json_object();
	if (registry_object(in, "a model", err) || json_only(in, names, err))
		goto fail;
	if (name ? registry_same_text(in, "name", name, err)
		 : json_get_text(in, "name", true, &name, err))
		goto fail;
	if (!name_valid_tenant(name)) {
		err_set(err, ERR_REJECTED, "name: 1 to %d letters, digits, _ or -", TENANT_MAX);
		goto fail;
	}
	json_object_set_new(doc, "name", json_string(name));
	if (copy_target(doc, in, name, err) || copy_model_limits(doc, in, err) ||
	    copy_safe(doc, in, err) ||
	    registry_copy_int(doc, in, "timeout_ms", 1, HOUR_MS, TIMEOUT_MS, err))
		goto fail;
	int64_t timeout = json_integer_value(json_object_get(doc, "timeout_ms"));
	if (registry_copy_int(doc, in, "first_token_timeout_ms", 1, timeout,
			      timeout < FIRST_TOKEN_MS ? timeout : FIRST_TOKEN_MS, err) ||
	    copy_fallbacks(doc, in, name, err) || copy_price(doc, in, err))
		goto fail;
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

static void first_words(void *arg, jv message)
{
	struct strbuf *words = arg;
	if (words->len == 0 && jv_get_kind(message) == JV_KIND_STRING)
		strbuf_add(words, jv_string_value(message),
			   strcspn(jv_string_value(message), "\n"));
	jv_free(message);
}

/* Compiles a jq program, so that an operator learns of an error now and not a task later. libjq 1.6
 * keeps a little process-wide state while it parses: one at a time. */
static int check_program(const char *what, const char *program, struct error *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct strbuf words = {0};
	pthread_mutex_lock(&lock);
	jq_state *jq = jq_init();
	if (!jq) {
		pthread_mutex_unlock(&lock);
		return err_set(err, ERR_TRANSIENT, "jq does not start");
	}
	jq_set_error_cb(jq, first_words, &words);
	/* No import and no include: the workers have no files to read them from. */
	jq_set_attr(jq, jv_string("JQ_LIBRARY_PATH"), jv_array());
	bool good = jq_compile(jq, program);
	jq_teardown(&jq);
	pthread_mutex_unlock(&lock);
	if (!good)
		err_set(err, ERR_REJECTED, "%s: %s", what, strbuf_str(&words));
	strbuf_done(&words);
	return good ? 0 : -1;
}

static int check_programs(const struct pipeline_spec *spec, struct error *err)
{
	char what[TENANT_MAX + 32];
	for (size_t i = 0; i < spec->n; i++) {
		const struct stage_spec *stage = &spec->stages[i];
		snprintf(what, sizeof(what), "stage %s: input", stage->id);
		if (stage->input && check_program(what, stage->input, err))
			return -1;
		snprintf(what, sizeof(what), "stage %s: when", stage->id);
		if (stage->when && check_program(what, stage->when, err))
			return -1;
	}
	return spec->output ? check_program("output", spec->output, err) : 0;
}

static int check_pipeline(const json_t *in, struct error *err)
{
	struct pipeline_spec *spec = pipeline_parse(in, err);
	if (!spec)
		return -1;
	int rc = check_programs(spec, err);
	pipeline_unref(spec);
	return rc;
}

json_t *registry_pipeline(const json_t *in, const char *name, unsigned version, struct error *err)
{
	static const char *const names[] = {"name",     "version", "stages", "output",
					    "triggers", "pool",    NULL};
	const json_t *triggers = json_object_get(in, "triggers");
	if (registry_object(in, "a pipeline", err) || json_only(in, names, err) ||
	    registry_same_text(in, "name", name, err) ||
	    registry_same_int(in, "version", version, err))
		return NULL;
	if (!name_valid_tenant(name)) {
		err_set(err, ERR_REJECTED, "name: 1 to %d letters, digits, _ or -", TENANT_MAX);
		return NULL;
	}
	if (triggers && !json_is_array(triggers)) {
		err_set(err, ERR_REJECTED, "triggers: must be a list");
		return NULL;
	}
	if (check_pipeline(in, err))
		return NULL;
	json_t *doc = json_pack("{sssisO}", "name", name, "version", (int)version, "stages",
				json_object_get(in, "stages"));
	if (json_object_get(in, "output"))
		json_object_set(doc, "output", json_object_get(in, "output"));
	if (json_object_get(in, "pool"))
		json_object_set(doc, "pool", json_object_get(in, "pool"));
	json_object_set_new(doc, "triggers", triggers ? json_deep_copy(triggers) : json_array());
	return doc;
}

json_t *registry_models_of(const json_t *doc)
{
	json_t *out = json_array(), *item;
	size_t i;
	json_array_foreach(json_object_get(doc, "stages"), i, item)
	{
		json_t *model = json_object_get(item, "model");
		if (json_is_string(model) && !registry_has_text(out, json_string_value(model)))
			json_array_append(out, model);
	}
	json_array_foreach(json_object_get(doc, "fallbacks"), i,
			   item) if (!registry_has_text(out, json_string_value(item)))
	    json_array_append(out, item);
	return out;
}
