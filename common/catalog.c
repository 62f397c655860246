#include "common/catalog.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "common/catalog_int.h"
#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"

#define DOC_MAX (8 << 20)

struct catalog {
	struct bus *bus; /* NULL: fed by hand */
	struct loop *loop;
	struct bus_watch *watch;
	struct catalog_doc **slots; /* open addressing, linear probing, at most 3/4 full */
	size_t cap, n;
	struct catalog_doc *tenants; /* all of them, doubly linked */
	struct catalog_doc *grave; /* replaced ones: somebody may still look at them in this turn */
	struct timer bury;
	bool ready;
	struct metric *revision; /* NULL: nobody asks */
	void (*on_ready)(void *arg);
	void (*on_changed)(void *arg, const char *key);
	void *arg;
};

/* --- the table: every document by its key in the bucket -------------------------------------- */

static uint64_t hash_of(const char *key)
{
	return XXH3_64bits(key, strlen(key));
}

static size_t place(const struct catalog *c, const char *key)
{
	size_t i = hash_of(key) & (c->cap - 1);

	while (c->slots[i] && strcmp(c->slots[i]->key, key) != 0)
		i = (i + 1) & (c->cap - 1);
	return i;
}

static struct catalog_doc *find(const struct catalog *c, const char *key)
{
	return c->cap ? c->slots[place(c, key)] : NULL;
}

static void grow(struct catalog *c)
{
	struct catalog_doc **old = c->slots;
	size_t n = c->cap;

	if ((c->n + 1) * 4 <= c->cap * 3)
		return;
	c->cap = c->cap ? c->cap * 2 : 64;
	c->slots = xcalloc(c->cap, sizeof(*c->slots));
	for (size_t i = 0; i < n; i++)
		if (old[i])
			c->slots[place(c, old[i]->key)] = old[i];
	free(old);
}

/* Leaves no hole that would cut a later one off from its first place. */
static void remove_at(struct catalog *c, size_t hole)
{
	size_t mask = c->cap - 1;

	for (size_t i = (hole + 1) & mask; c->slots[i]; i = (i + 1) & mask) {
		size_t home = hash_of(c->slots[i]->key) & mask;

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			c->slots[hole] = c->slots[i];
			hole = i;
		}
	}
	c->slots[hole] = NULL;
	c->n--;
}

/* --- links between documents ----------------------------------------------------------------- */

static void link_tenant(struct catalog *c, struct catalog_doc *d)
{
	d->next = c->tenants;
	d->prev = &c->tenants;
	if (d->next)
		d->next->prev = &d->next;
	c->tenants = d;
}

static void unlink_tenant(struct catalog_doc *d)
{
	*d->prev = d->next;
	if (d->next)
		d->next->prev = d->prev;
}

static void head_key(const struct catalog_doc *d, char *out, size_t size)
{
	snprintf(out, size, "versions.%s", d->u.pipeline.name);
}

/* The versions of a pipeline hang on a document of our own making, "versions.<name>", newest first.
 */
static void link_version(struct catalog *c, struct catalog_doc *d)
{
	char key[CATALOG_KEY_MAX];
	struct catalog_doc *head, **p;

	head_key(d, key, sizeof(key));
	head = find(c, key);
	if (!head) {
		head = catalog_doc_head(key);
		grow(c);
		c->slots[place(c, key)] = head;
		c->n++;
	}
	for (p = &head->next; *p && (*p)->u.pipeline.version > d->u.pipeline.version;
	     p = &(*p)->next)
		;
	d->next = *p;
	*p = d;
}

static void unlink_version(struct catalog *c, struct catalog_doc *d)
{
	char key[CATALOG_KEY_MAX];
	struct catalog_doc *head, **p;

	head_key(d, key, sizeof(key));
	head = find(c, key);
	for (p = &head->next; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	if (!head->next) {
		remove_at(c, place(c, key));
		catalog_doc_free(head);
	}
}

static void on_bury(struct timer *timer, void *arg)
{
	struct catalog *c = arg;

	(void)timer;
	while (c->grave) {
		struct catalog_doc *d = c->grave;

		c->grave = d->next;
		catalog_doc_free(d);
	}
}

static void take_out(struct catalog *c, const char *key)
{
	size_t i = c->cap ? place(c, key) : 0;
	struct catalog_doc *d = c->cap ? c->slots[i] : NULL;

	if (!d)
		return;
	remove_at(c, i);
	if (d->kind == DOC_TENANT)
		unlink_tenant(d);
	else if (d->kind == DOC_PIPELINE)
		unlink_version(c, d);
	d->next = c->grave;
	c->grave = d;
	if (c->loop && !timer_armed(&c->bury))
		timer_set(c->loop, &c->bury, 0);
}

static void put_in(struct catalog *c, struct catalog_doc *d)
{
	grow(c);
	c->slots[place(c, d->key)] = d;
	c->n++;
	if (d->kind == DOC_TENANT)
		link_tenant(c, d);
	else if (d->kind == DOC_PIPELINE)
		link_version(c, d);
}

/* --- feeding --------------------------------------------------------------------------------- */

/* 1: changed, 0: as it was, -1: refused. */
static int apply(struct catalog *c, const char *key, const char *data, size_t len,
		 struct error *err)
{
	const struct catalog_doc *old;
	struct catalog_doc *d;

	if (strlen(key) >= CATALOG_KEY_MAX || len > DOC_MAX)
		return err_set(err, ERR_REJECTED, "too long");
	if (!catalog_doc_kind(key)) /* of a newer version of the plane: not ours to judge */
		return 0;
	old = find(c, key);
	if (!data) {
		take_out(c, key);
		return old != NULL;
	}
	/* After each reconnect the whole bucket is told again. */
	if (old && old->len == len && old->digest == XXH3_64bits(data, len))
		return 0;
	d = catalog_doc_parse(key, data, len, err);
	if (!d)
		return -1;
	take_out(c, key);
	put_in(c, d);
	return 1;
}

struct catalog *catalog_new(void)
{
	struct catalog *c = xcalloc(1, sizeof(*c));

	c->ready = true;
	timer_init(&c->bury, on_bury, c);
	return c;
}

int catalog_put(struct catalog *c, const char *key, const char *data, size_t len, struct error *err)
{
	if (!c->loop) /* without a loop a turn is from one call to the next */
		on_bury(&c->bury, c);
	return apply(c, key, data, len, err) < 0 ? -1 : 0;
}

/* While a gap is told again, what was in force still is: only its end says that the bucket is now
 * behind where it was, for it was lost and made again. */
static void follow(struct catalog *c, const struct bus_entry *in)
{
	if (c->revision &&
	    (in->op == BUS_ENTRY_READY || (int64_t)in->revision > metric_get(c->revision)))
		metric_set(c->revision, (int64_t)in->revision);
}

static void on_entry(void *arg, const struct bus_entry *in)
{
	struct catalog *c = arg;
	struct error err;
	int rc;

	if (in->op == BUS_ENTRY_READY) {
		bool first = !c->ready;

		c->ready = true;
		if (first && c->on_ready)
			c->on_ready(c->arg);
		follow(c, in);
		return;
	}
	rc = apply(c, in->key, in->op == BUS_ENTRY_PUT ? (in->data ? in->data : "") : NULL, in->len,
		   &err);
	if (rc < 0)
		log_at(LOG_ERROR, "configuration is refused, the previous one stays in force",
		       LOG_S("key", in->key), LOG_S("error", err.msg));
	else if (rc > 0 && c->on_changed)
		c->on_changed(c->arg, in->key);
	follow(c, in);
}

struct catalog *catalog_start(struct bus *bus, struct loop *loop, void (*ready)(void *arg),
			      void (*changed)(void *arg, const char *key), void *arg,
			      struct error *err)
{
	struct catalog *c = catalog_new();

	c->bus = bus;
	c->loop = loop;
	c->ready = false;
	c->on_ready = ready;
	c->on_changed = changed;
	c->arg = arg;
	c->watch = bus_watch(bus, BUCKET_CONFIG, on_entry, c, err);
	if (!c->watch) {
		catalog_stop(c);
		return NULL;
	}
	return c;
}

void catalog_count_into(struct catalog *c, struct metrics *m)
{
	c->revision = metrics_gauge(m, "penstock_config_revision", NULL,
				    "newest revision of the configuration that is in force here");
}

void catalog_stop(struct catalog *c)
{
	if (!c)
		return;
	bus_watch_free(c->watch);
	if (c->loop)
		timer_cancel(c->loop, &c->bury);
	on_bury(&c->bury, c);
	for (size_t i = 0; i < c->cap; i++)
		catalog_doc_free(c->slots[i]);
	free(c->slots);
	free(c);
}

bool catalog_ready(const struct catalog *c)
{
	return c->ready;
}

/* --- looking up ------------------------------------------------------------------------------ */

static const struct catalog_doc *look(const struct catalog *c, const char *kind, const char *a,
				      const char *b)
{
	char key[CATALOG_KEY_MAX];
	int n = snprintf(key, sizeof(key), b ? "%s.%s.%s" : "%s.%s", kind, a, b);

	return n > 0 && (size_t)n < sizeof(key) ? find(c, key) : NULL;
}

const struct tenant *catalog_tenant(const struct catalog *c, const char *id)
{
	const struct catalog_doc *d = look(c, "tenant", id, NULL);

	return d ? &d->u.tenant : NULL;
}

const struct api_key *catalog_key(const struct catalog *c, const char *id)
{
	const struct catalog_doc *d = look(c, "key", id, NULL);

	return d ? &d->u.key : NULL;
}

const struct signing_key *catalog_signing(const struct catalog *c, const char *tenant,
					  const char *id)
{
	const struct catalog_doc *d = look(c, "signing", tenant, id);

	return d ? &d->u.signing : NULL;
}

const struct event_type *catalog_type(const struct catalog *c, const char *tenant, const char *type)
{
	const struct catalog_doc *d = look(c, "type", tenant, type);

	return d ? &d->u.type : NULL;
}

const struct hook *catalog_hook(const struct catalog *c, const char *id)
{
	const struct catalog_doc *d = look(c, "hook", id, NULL);

	return d ? &d->u.hook : NULL;
}

const struct model *catalog_model(const struct catalog *c, const char *name)
{
	const struct catalog_doc *d = look(c, "model", name, NULL);

	return d ? &d->u.model : NULL;
}

const struct pipeline *catalog_pipeline(const struct catalog *c, const char *name, unsigned version)
{
	const struct catalog_doc *d;
	char number[16];

	if (version == 0) {
		d = look(c, "versions", name, NULL);
		d = d ? d->next : NULL;
	} else {
		snprintf(number, sizeof(number), "%u", version);
		d = look(c, "pipeline", name, number);
	}
	return d ? &d->u.pipeline : NULL;
}

const struct edge_drains *catalog_edge(const struct catalog *c, const char *id)
{
	const struct catalog_doc *d = look(c, "edge", id, NULL);

	return d ? &d->u.edge : NULL;
}

const struct worker_drain *catalog_worker(const struct catalog *c, const char *id)
{
	const struct catalog_doc *d = look(c, "worker", id, NULL);

	return d ? &d->u.worker : NULL;
}

void catalog_each_tenant(const struct catalog *c, void (*fn)(void *arg, const struct tenant *t),
			 void *arg)
{
	for (const struct catalog_doc *d = c->tenants; d; d = d->next)
		fn(arg, &d->u.tenant);
}

void catalog_each_model(const struct catalog *c, void (*fn)(void *arg, const struct model *m),
			void *arg)
{
	for (size_t i = 0; i < c->cap; i++)
		if (c->slots[i] && c->slots[i]->kind == DOC_MODEL)
			fn(arg, &c->slots[i]->u.model);
}

/* Drafts and withdrawn versions cannot be sent; a deprecated one still can. */
static bool version_open(const struct event_type *type, unsigned version)
{
	char key[16];
	const char *state;

	snprintf(key, sizeof(key), "%u", version);
	state = json_string_value(json_object_get(json_object_get(type->versions, key), "state"));
	return state && (!strcmp(state, "active") || !strcmp(state, "deprecated"));
}

unsigned event_type_version(const struct event_type *type, unsigned version)
{
	if (!version || version == type->latest)
		return type->latest;
	return version_open(type, version) ? version : 0;
}
