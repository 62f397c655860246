/* The documents of the bucket pen_config: docs/internals.md. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/catalog_int.h"
#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "common/pipeline.h"
#include "common/strbuf.h"
#include "common/webhook.h"

#define NUMBER_MAX   ((int64_t)1 << 53) /* what every JSON reader can hold */
#define DRAIN_MAX_MS ((int64_t)24 * 3600 * 1000)

enum doc_kind catalog_doc_kind(const char *key)
{
	static const struct {
		const char *prefix;
		enum doc_kind kind;
	} kinds[] = {{"tenant.", DOC_TENANT}, {"key.", DOC_KEY},     {"signing.", DOC_SIGNING},
		     {"type.", DOC_TYPE},     {"model.", DOC_MODEL}, {"pipeline.", DOC_PIPELINE},
		     {"edge.", DOC_EDGE},     {"hook.", DOC_HOOK},   {"worker.", DOC_WORKER}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(key, kinds[i].prefix, strlen(kinds[i].prefix)))
			return kinds[i].kind;
	return DOC_UNKNOWN;
}

static int bad(struct error *err, const char *what)
{
	return err_set(err, ERR_REJECTED, "%s", what);
}

/* One of the words, the first one if it is absent; its index in *out. */
static int get_word(const json_t *obj, const char *name, const char *const *words, int *out,
		    struct error *err)
{
	const char *text;

	if (json_get_text(obj, name, false, &text, err))
		return -1;
	*out = 0;
	for (int i = 0; text && words[i]; i++) {
		if (!strcmp(words[i], text)) {
			*out = i;
			return 0;
		}
	}
	return text ? err_set(err, ERR_REJECTED, "%s: unknown word", name) : 0;
}

static int get_name(const json_t *obj, const char *name, const char **out, struct error *err)
{
	if (json_get_text(obj, name, true, out, err))
		return -1;
	return name_valid_tenant(*out) ? 0 : err_set(err, ERR_REJECTED, "%s: not a name", name);
}

static int parse_limits(const json_t *doc, struct tenant_limits *l, struct error *err)
{
	static const char *const modes[] = {"enforce", "shadow", NULL};
	const json_t *obj = json_object_get(doc, "limits");
	int mode;

	*l = (struct tenant_limits){
	    .events_per_s = 1000,
	    .burst = 2000,
	    .bytes_per_s = 4194304,
	    .connections = 10000,
	    .subscriptions = 100000,
	    .tasks_running = 1000,
	    .tasks_queued = 100000,
	};
	if (!obj)
		return 0;
	if (!json_is_object(obj))
		return bad(err, "limits: not an object");
	if (json_get_int(obj, "events_per_s", false, 0, NUMBER_MAX, &l->events_per_s, err) ||
	    json_get_int(obj, "burst", false, 0, NUMBER_MAX, &l->burst, err) ||
	    json_get_int(obj, "bytes_per_s", false, 0, NUMBER_MAX, &l->bytes_per_s, err) ||
	    json_get_int(obj, "connections", false, 0, NUMBER_MAX, &l->connections, err) ||
	    json_get_int(obj, "subscriptions", false, 0, NUMBER_MAX, &l->subscriptions, err) ||
	    json_get_int(obj, "tasks_running", false, 0, NUMBER_MAX, &l->tasks_running, err) ||
	    json_get_int(obj, "tasks_queued", false, 0, NUMBER_MAX, &l->tasks_queued, err) ||
	    json_get_int(obj, "tokens_per_min", false, 0, NUMBER_MAX, &l->tokens_per_min, err) ||
	    get_word(obj, "mode", modes, &mode, err))
		return -1;
	l->mode = mode ? LIMIT_SHADOW : LIMIT_ENFORCE;
	return 0;
}

static int parse_origins(const json_t *list, struct error *err)
{
	const json_t *item;
	size_t i;

	if (list && !json_is_array(list))
		return bad(err, "origins: not an array");
	json_array_foreach((json_t *)list, i, item)
	{
		if (!json_is_string(item))
			return bad(err, "origins: not a text");
	}
	return 0;
}

static int parse_tenant(struct catalog_doc *d, const char *name, struct error *err)
{
	static const char *const states[] = {"active", "suspended", NULL};
	static const char *const classes[] = {"standard", "synthetic", NULL};
	struct tenant *t = &d->u.tenant;
	int state, class;

	t->weight = 1;
	if (get_name(d->json, "id", &t->id, err) ||
	    json_get_text(d->json, "name", false, &t->name, err) ||
	    json_get_text(d->json, "region", false, &t->region, err) ||
	    get_word(d->json, "status", states, &state, err) ||
	    get_word(d->json, "class", classes, &class, err) ||
	    json_get_int(d->json, "weight", false, 1, 1000000, &t->weight, err) ||
	    parse_limits(d->json, &t->limits, err) ||
	    parse_origins(json_object_get(d->json, "origins"), err))
		return -1;
	t->origins = json_object_get(d->json, "origins");
	if (strcmp(t->id, name) != 0)
		return bad(err, "id is not the key's");
	t->name = t->name ? t->name : t->id;
	t->region = t->region ? t->region : "";
	t->active = state == 0;
	t->synthetic = class == 1;
	return 0;
}

static int parse_scopes(const json_t *list, unsigned *out, struct error *err)
{
	static const char *const names[] = {"publish", "subscribe", "task"};
	const json_t *item;
	size_t i;

	*out = 0;
	if (!list)
		return 0;
	if (!json_is_array(list))
		return bad(err, "scopes: not an array");
	json_array_foreach((json_t *)list, i, item)
	{
		const char *word = json_string_value(item);

		if (!word)
			return bad(err, "scopes: not a text");
		/* A scope that this version does not know gives no right here. */
		for (unsigned n = 0; n < 3; n++)
			if (!strcmp(word, names[n]))
				*out |= 1U << n;
	}
	return 0;
}

static int parse_expiry(const json_t *doc, int64_t *us, struct error *err)
{
	const json_t *expires = json_object_get(doc, "expires_at");

	if (expires && (!json_is_string(expires) || !time_parse(json_string_value(expires), us)))
		return bad(err, "expires_at: not a time");
	return 0;
}

static int parse_key(struct catalog_doc *d, const char *name, struct error *err)
{
	static const char *const states[] = {"active", "revoked", NULL};
	struct api_key *k = &d->u.key;
	int state;

	if (get_name(d->json, "id", &k->id, err) || get_name(d->json, "tenant", &k->tenant, err) ||
	    json_get_text(d->json, "hash", true, &k->hash, err) ||
	    get_word(d->json, "status", states, &state, err) ||
	    parse_scopes(json_object_get(d->json, "scopes"), &k->scopes, err))
		return -1;
	if (strcmp(k->id, name) != 0)
		return bad(err, "id is not the key's");
	if (strlen(k->hash) != 64 || strspn(k->hash, "0123456789abcdef") != 64)
		return bad(err, "hash: not a SHA-256 in hex");
	k->active = state == 0;
	return parse_expiry(d->json, &k->expires_us, err) ||
	       permit_of_key(d->json, &k->permit, err);
}

/* "<tenant>.<id>" is what stands behind the first dot of the key. */
static bool is_pair(const char *pair, const char *tenant, const char *id)
{
	size_t n = strlen(tenant);

	return !strncmp(pair, tenant, n) && pair[n] == '.' && !strcmp(pair + n + 1, id);
}

/* A revoked one has no material any more. */
static int parse_signing(struct catalog_doc *d, const char *name, struct error *err)
{
	static const char *const states[] = {"active", "revoked", NULL};
	struct signing_key *k = &d->u.signing;
	const char *alg, *material;
	int state;

	if (get_name(d->json, "id", &k->id, err) || get_name(d->json, "tenant", &k->tenant, err) ||
	    json_get_text(d->json, "alg", true, &alg, err) ||
	    get_word(d->json, "status", states, &state, err) ||
	    parse_expiry(d->json, &k->expires_us, err))
		return -1;
	if (!is_pair(name, k->tenant, k->id))
		return bad(err, "tenant and id are not the key's");
	if (!sign_alg_parse(alg, &k->alg))
		return bad(err, "alg: unknown word");
	k->active = state == 0;
	if (!k->active)
		return 0;
	if (json_get_text(d->json, k->alg == SIGN_HS256 ? "secret" : "public_key", true, &material,
			  err))
		return -1;
	k->verifier = verifier_new(k->alg, material);
	return 0;
}

static bool is_version(const char *text, unsigned *out)
{
	char *end;
	unsigned long v;

	if (*text < '1' || *text > '9' || strlen(text) > 9)
		return false;
	v = strtoul(text, &end, 10);
	*out = (unsigned)v;
	return *end == '\0';
}

static int parse_versions(struct event_type *t, int64_t latest, struct error *err)
{
	unsigned newest = 0, deprecated = 0, version;
	const char *name;
	json_t *item;
	bool there = latest <= 0;

	json_object_foreach((json_t *)t->versions, name, item)
	{
		const char *state = json_string_value(json_object_get(item, "state"));

		if (!is_version(name, &version) || !json_is_object(item))
			return bad(err, "versions: not numbers with objects");
		there = there || version == (unsigned)latest;
		if (state && !strcmp(state, "deprecated"))
			deprecated = version > deprecated ? version : deprecated;
		else if (!state || !strcmp(state, "active"))
			newest = version > newest ? version : newest;
	}
	if (!there)
		return bad(err, "latest: there is no such version");
	t->latest = latest >= 0 ? (unsigned)latest : newest ? newest : deprecated;
	return 0;
}

static int parse_type(struct catalog_doc *d, const char *name, struct error *err)
{
	static const char *const classes[] = {"durable", "ephemeral", "stream", NULL};
	static const enum event_class values[] = {CLASS_DURABLE, CLASS_EPHEMERAL, CLASS_STREAM};
	struct event_type *t = &d->u.type;
	int64_t latest = -1;
	int class;

	if (get_name(d->json, "tenant", &t->tenant, err) ||
	    json_get_text(d->json, "type", true, &t->type, err) ||
	    get_word(d->json, "class", classes, &class, err) ||
	    json_get_int(d->json, "latest", false, 0, 999999999, &latest, err))
		return -1;
	if (!is_pair(name, t->tenant, t->type))
		return bad(err, "tenant and type are not the key's");
	if (!name_valid_channel(t->type))
		return bad(err, "type: not a name");
	t->versions = json_object_get(d->json, "versions");
	if (!json_is_object(t->versions))
		return bad(err, "versions: not an object");
	t->class = values[class];
	return parse_versions(t, latest, err);
}

static uint64_t route_digest(const struct model *m)
{
	const char *const parts[] = {m->kind, m->url, m->model, m->secret_env};
	uint64_t digest = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		digest = XXH3_64bits_withSeed(parts[i] ? parts[i] : "",
					      parts[i] ? strlen(parts[i]) : 0, digest + i + 1);
	return digest;
}

static int parse_model(struct catalog_doc *d, const char *name, struct error *err)
{
	static const char *const kinds[] = {"openai", "anthropic", "http", NULL};
	struct model *m = &d->u.model;
	const json_t *limits = json_object_get(d->json, "limits"), *item;
	const json_t *safe = json_object_get(d->json, "safe_capacity");
	json_t *fallbacks = json_object_get(d->json, "fallbacks");
	int kind;
	size_t i;

	m->timeout_ms = 60000;
	m->first_token_timeout_ms = 0;
	if (!fallbacks) {
		fallbacks = json_array();
		json_object_set_new(d->json, "fallbacks", fallbacks);
	}
	m->safe_rpm = m->safe_tpm = m->safe_concurrent = -1;
	if (limits && !json_is_object(limits))
		return bad(err, "limits: not an object");
	if (safe && !json_is_object(safe))
		return bad(err, "safe_capacity: not an object");
	if (get_name(d->json, "name", &m->name, err) ||
	    get_word(d->json, "kind", kinds, &kind, err) ||
	    json_get_text(d->json, "url", true, &m->url, err) ||
	    json_get_text(d->json, "model", false, &m->model, err) ||
	    json_get_text(d->json, "secret_env", false, &m->secret_env, err) ||
	    json_get_int(d->json, "timeout_ms", false, 1, 86400000, &m->timeout_ms, err) ||
	    json_get_int(d->json, "first_token_timeout_ms", false, 0, 86400000,
			 &m->first_token_timeout_ms, err))
		return -1;
	if (json_is_object(limits) &&
	    (json_get_int(limits, "rpm", false, 0, NUMBER_MAX, &m->rpm, err) ||
	     json_get_int(limits, "tpm", false, 0, NUMBER_MAX, &m->tpm, err) ||
	     json_get_int(limits, "concurrent", false, 0, NUMBER_MAX, &m->concurrent, err)))
		return -1;
	if (safe &&
	    (json_get_int(safe, "rpm", false, 0, NUMBER_MAX, &m->safe_rpm, err) ||
	     json_get_int(safe, "tpm", false, 0, NUMBER_MAX, &m->safe_tpm, err) ||
	     json_get_int(safe, "concurrent", false, 0, NUMBER_MAX, &m->safe_concurrent, err)))
		return -1;
	if (strcmp(m->name, name) != 0)
		return bad(err, "name is not the key's");
	if (strncmp(m->url, "http://", 7) != 0 && strncmp(m->url, "https://", 8) != 0)
		return bad(err, "url: neither http nor https");
	if (!json_is_array(fallbacks))
		return bad(err, "fallbacks: not an array");
	json_array_foreach(fallbacks, i, item)
	{
		if (!json_is_string(item))
			return bad(err, "fallbacks: not a text");
	}
	m->kind = kinds[kind];
	m->fallbacks = fallbacks;
	m->route = route_digest(m);
	return 0;
}

static int parse_pipeline(struct catalog_doc *d, const char *name, struct error *err)
{
	struct pipeline *p = &d->u.pipeline;
	struct pipeline_spec *spec;
	int64_t version = 0;
	unsigned of_key;
	size_t len;

	if (get_name(d->json, "name", &p->name, err) ||
	    json_get_int(d->json, "version", true, 1, 999999999, &version, err))
		return -1;
	len = strlen(p->name);
	if (strncmp(name, p->name, len) != 0 || name[len] != '.' ||
	    !is_version(name + len + 1, &of_key) || of_key != (unsigned)version)
		return bad(err, "name and version are not the key's");
	spec = pipeline_parse(d->json, err);
	if (!spec)
		return -1;
	p->batch = spec->batch;
	p->answer_tokens = spec->answer_tokens;
	p->model_calls = spec->model_calls;
	pipeline_unref(spec);
	p->version = (unsigned)version;
	p->doc = d->json;
	return 0;
}

static int parse_times(const json_t *obj, struct drain_times *t, struct error *err)
{
	*t = (struct drain_times){-1, -1};
	if (json_get_int(obj, "deadline_ms", false, 0, DRAIN_MAX_MS, &t->notice_ms, err) ||
	    json_get_int(obj, "spread_ms", false, 0, DRAIN_MAX_MS, &t->spread_ms, err))
		return -1;
	return 0;
}

static int parse_edge(struct catalog_doc *d, const char *name, struct error *err)
{
	struct edge_drains *e = &d->u.edge;
	struct drain_times times;
	const char *tenant;
	json_t *item;

	if (json_get_text(d->json, "id", true, &e->id, err) ||
	    json_get_bool(d->json, "drained", &e->drained, err) ||
	    parse_times(d->json, &e->times, err))
		return -1;
	if (strcmp(e->id, name) != 0)
		return bad(err, "id is not the key's");
	e->tenants = json_object_get(d->json, "tenants");
	if (e->tenants && !json_is_object(e->tenants))
		return bad(err, "tenants: not an object");
	json_object_foreach((json_t *)e->tenants, tenant, item)
	{
		if (!name_valid_tenant(tenant) || !json_is_object(item))
			return bad(err, "tenants: not names with objects");
		if (parse_times(item, &times, err))
			return -1;
	}
	return 0;
}

bool edge_drains_tenant(const struct edge_drains *e, const char *tenant, struct drain_times *times)
{
	const json_t *item = e ? json_object_get(e->tenants, tenant) : NULL;
	struct error err;

	if (!item)
		return false;
	/* It was read once before, so it can be read. */
	return !times || parse_times(item, times, &err) == 0;
}

static int parse_worker(struct catalog_doc *d, const char *name, struct error *err)
{
	struct worker_drain *w = &d->u.worker;

	w->grace_ms = -1;
	if (json_get_text(d->json, "id", true, &w->id, err) ||
	    json_get_bool(d->json, "drained", &w->drained, err) ||
	    json_get_int(d->json, "grace_ms", false, 0, DRAIN_MAX_MS, &w->grace_ms, err))
		return -1;
	return strcmp(w->id, name) ? bad(err, "id is not the key's") : 0;
}

static int parse_hook(struct catalog_doc *d, const char *name, struct error *err)
{
	struct hook *h = &d->u.hook;
	int64_t priority = 0;

	if (get_name(d->json, "id", &h->id, err) || get_name(d->json, "tenant", &h->tenant, err) ||
	    get_name(d->json, "pipeline", &h->pipeline, err) ||
	    json_get_text(d->json, "secret", true, &h->secret, err) ||
	    json_get_text(d->json, "previous_secret", false, &h->previous, err) ||
	    json_get_int(d->json, "previous_until", false, 0, INT64_MAX, &h->previous_until_ms,
			 err) ||
	    json_get_int(d->json, "priority", false, -100, 100, &priority, err))
		return -1;
	if (strcmp(h->id, name) != 0)
		return bad(err, "id is not the key's");
	if (!webhook_secret_valid(h->secret) || (h->previous && !webhook_secret_valid(h->previous)))
		return bad(err, "secret: is none of a webhook");
	h->priority = (int32_t)priority;
	return 0;
}

static int parse_as(struct catalog_doc *d, struct error *err)
{
	const char *name = strchr(d->key, '.') + 1;

	switch (d->kind) {
	case DOC_TENANT:
		return parse_tenant(d, name, err);
	case DOC_KEY:
		return parse_key(d, name, err);
	case DOC_SIGNING:
		return parse_signing(d, name, err);
	case DOC_TYPE:
		return parse_type(d, name, err);
	case DOC_MODEL:
		return parse_model(d, name, err);
	case DOC_PIPELINE:
		return parse_pipeline(d, name, err);
	case DOC_EDGE:
		return parse_edge(d, name, err);
	case DOC_HOOK:
		return parse_hook(d, name, err);
	case DOC_WORKER:
		return parse_worker(d, name, err);
	default:
		return bad(err, "unknown kind of document");
	}
}

/* A null says the same as an absent member: both come from databases. */
static void drop_nulls(json_t *obj)
{
	const char *name;
	json_t *value;
	void *next;

	json_object_foreach_safe(obj, next, name, value)
	{
		if (json_is_null(value))
			json_object_del(obj, name);
	}
}

struct catalog_doc *catalog_doc_parse(const char *key, const char *data, size_t len,
				      struct error *err)
{
	struct catalog_doc *d = xcalloc(1, sizeof(*d));

	d->kind = catalog_doc_kind(key);
	d->key = xstrdup(key);
	d->len = len;
	d->digest = XXH3_64bits(data, len);
	d->json = json_parse(data, len, err);
	if (!d->json)
		goto fail;
	if (!json_is_object(d->json)) {
		bad(err, "not an object");
		goto fail;
	}
	drop_nulls(d->json);
	drop_nulls(json_object_get(d->json, "limits"));
	if (parse_as(d, err) == 0)
		return d;
fail:
	catalog_doc_free(d);
	return NULL;
}

struct catalog_doc *catalog_doc_head(const char *key)
{
	struct catalog_doc *d = xcalloc(1, sizeof(*d));

	d->kind = DOC_HEAD;
	d->key = xstrdup(key);
	return d;
}

void catalog_doc_free(struct catalog_doc *d)
{
	if (!d)
		return;
	if (d->kind == DOC_KEY)
		permit_unref(d->u.key.permit);
	else if (d->kind == DOC_SIGNING)
		verifier_free(d->u.signing.verifier);
	json_decref(d->json);
	free(d->key);
	free(d);
}
