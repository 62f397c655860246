#include "services/edge/usage.h"

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

/* What one edge told of one tenant. */
struct entry {
	struct usage_tenant *tenant; /* one reference */
	uint32_t n[USAGE_N];
	uint32_t round; /* in which it was told last */
};

struct other {
	uint64_t boot;
	uint32_t round, seen; /* chunks of the round that came */
	struct table entries;
	char id[TENANT_MAX + 1];
};

void usage_init(struct usage *u, const char *edge, uint64_t boot, const struct usage_stats *stats)
{
	memset(u, 0, sizeof(*u));
	u->stats = stats;
	u->boot = boot;
	strncpy(u->edge, edge, TENANT_MAX);
}

/* --- here --------------------------------------------------------------------------------- */

static bool add(struct usage_tenant *t, enum usage_kind kind, int64_t more)
{
	int64_t limit = atomic_load_explicit(&t->limit[kind], memory_order_relaxed) + more;
	int64_t others = atomic_load_explicit(&t->others[kind], memory_order_relaxed);
	bool shadow;

	if (atomic_fetch_add_explicit(&t->here[kind], 1, memory_order_relaxed) + others < limit)
		return true;
	shadow = atomic_load_explicit(&t->shadow, memory_order_relaxed);
	metric_add(t->stats->refused[kind][shadow], 1);
	if (!shadow)
		atomic_fetch_sub_explicit(&t->here[kind], 1, memory_order_relaxed);
	return shadow;
}

bool usage_connect(struct usage_tenant *t, bool resumed)
{
	int64_t limit = atomic_load_explicit(&t->limit[USAGE_CONNECTIONS], memory_order_relaxed);

	return add(t, USAGE_CONNECTIONS, resumed ? (limit + 9) / 10 : 0);
}

void usage_disconnect(struct usage_tenant *t)
{
	atomic_fetch_sub_explicit(&t->here[USAGE_CONNECTIONS], 1, memory_order_relaxed);
}

bool usage_subscribe(struct usage_tenant *t)
{
	return !t || add(t, USAGE_SUBSCRIPTIONS, 0);
}

void usage_unsubscribe(struct usage_tenant *t)
{
	if (t)
		atomic_fetch_sub_explicit(&t->here[USAGE_SUBSCRIPTIONS], 1, memory_order_relaxed);
}

struct usage_tenant *usage_ref(struct usage_tenant *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void usage_release(struct usage_tenant *t)
{
	if (t)
		atomic_fetch_sub_explicit(&t->refs, 1, memory_order_release);
}

/* --- tenants ------------------------------------------------------------------------------ */

static bool is_tenant(const void *item, const void *key)
{
	return !strcmp(((const struct usage_tenant *)item)->tenant, key);
}

static struct usage_tenant *find(const struct usage *u, const char *tenant)
{
	return table_find(&u->tenants, table_hash2(tenant, ""), is_tenant, tenant);
}

/* A tenant of which only others have told has no limits yet: nobody asks for them here. */
static struct usage_tenant *get(struct usage *u, const char *tenant)
{
	struct usage_tenant *t = find(u, tenant);

	if (!t) {
		t = xcalloc(1, sizeof(*t));
		t->stats = u->stats;
		strncpy(t->tenant, tenant, TENANT_MAX);
		table_add(&u->tenants, table_hash2(tenant, ""), t);
		metric_set(u->stats->tenants, (int64_t)u->tenants.n);
	}
	return usage_ref(t);
}

static void set_limits(struct usage_tenant *t, const struct tenant *tenant)
{
	const struct tenant_limits *l = &tenant->limits;

	atomic_store_explicit(&t->limit[USAGE_CONNECTIONS], l->connections, memory_order_relaxed);
	atomic_store_explicit(&t->limit[USAGE_SUBSCRIPTIONS], l->subscriptions,
			      memory_order_relaxed);
	atomic_store_explicit(&t->shadow, l->mode == LIMIT_SHADOW, memory_order_relaxed);
}

struct usage_tenant *usage_take(struct usage *u, const struct tenant *tenant)
{
	struct usage_tenant *t = get(u, tenant->id);

	set_limits(t, tenant);
	return t;
}

void usage_limits(struct usage *u, const struct tenant *tenant)
{
	struct usage_tenant *t = find(u, tenant->id);

	if (t)
		set_limits(t, tenant);
}

/* --- telling ------------------------------------------------------------------------------ */

struct report {
	Penstock__Usage message;
	Penstock__TenantUsage items[USAGE_CHUNK], *refs[USAGE_CHUNK];
	usage_tell_fn *tell;
	void *arg;
};

static void flush(struct report *r)
{
	r->message.tenants = r->refs;
	r->tell(r->arg, &r->message);
	r->message.n_tenants = 0;
	r->message.hello = false;
}

static void put(struct report *r, struct usage_tenant *t)
{
	size_t i = r->message.n_tenants++;

	r->items[i] = (Penstock__TenantUsage)PENSTOCK__TENANT_USAGE__INIT;
	r->items[i].tenant = t->tenant;
	r->items[i].connections = t->told[USAGE_CONNECTIONS];
	r->items[i].subscriptions = t->told[USAGE_SUBSCRIPTIONS];
	r->refs[i] = &r->items[i];
	if (r->message.n_tenants == USAGE_CHUNK)
		flush(r);
}

/* Notes what is told now; true: it is something else than last time. */
static bool note(const struct usage *u, struct usage_tenant *t)
{
	bool changed = false, drained = u->drained && u->drained(u->arg, t->tenant);

	for (int k = 0; k < USAGE_N; k++) {
		int64_t n = drained ? 0 : atomic_load_explicit(&t->here[k], memory_order_relaxed);
		uint32_t now = n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;

		changed |= t->told[k] != now;
		t->told[k] = now;
	}
	return changed;
}

static bool has_any(const struct usage_tenant *t)
{
	return t->told[USAGE_CONNECTIONS] || t->told[USAGE_SUBSCRIPTIONS];
}

/* Nobody but the hub raises a count of references from nothing, so one that is 0 stays so. Not
 * before its last numbers were told. */
static bool is_idle(const struct usage_tenant *t)
{
	return !atomic_load_explicit(&t->refs, memory_order_acquire) && !has_any(t) &&
	       !atomic_load_explicit(&t->here[USAGE_CONNECTIONS], memory_order_relaxed) &&
	       !atomic_load_explicit(&t->here[USAGE_SUBSCRIPTIONS], memory_order_relaxed);
}

static void forget_idle(struct usage *u)
{
	struct usage_tenant **idle = xmalloc((u->tenants.n + 1) * sizeof(struct usage_tenant *)),
			    *t;
	size_t at = 0, n = 0;

	while ((t = table_next(&u->tenants, &at)))
		if (is_idle(t))
			idle[n++] = t;
	while (n) {
		t = idle[--n];
		table_remove(&u->tenants, table_hash2(t->tenant, ""), t);
		free(t);
	}
	free(idle);
	metric_set(u->stats->tenants, (int64_t)u->tenants.n);
}

static uint32_t count_chunks(const struct usage *u)
{
	struct usage_tenant *t;
	size_t at = 0, n = 0;

	while ((t = table_next(&u->tenants, &at)))
		n += has_any(t);
	return (uint32_t)(n / USAGE_CHUNK + 1);
}

void usage_report(struct usage *u, bool everything, bool hello, usage_tell_fn *tell, void *arg)
{
	struct report *r = xmalloc(sizeof(*r));
	struct usage_tenant *t;
	size_t at = 0;

	*r = (struct report){.message = PENSTOCK__USAGE__INIT, .tell = tell, .arg = arg};
	r->message.edge = u->edge;
	r->message.boot = u->boot;
	r->message.hello = hello;
	if (everything) {
		while ((t = table_next(&u->tenants, &at)))
			note(u, t);
		r->message.round = ++u->round ? u->round : ++u->round;
		r->message.chunks = count_chunks(u);
	}
	for (at = 0; (t = table_next(&u->tenants, &at));)
		if (everything ? has_any(t) : note(u, t))
			put(r, t);
	/* A complete report ends in a message that is not full, and be it empty. */
	if (everything || r->message.n_tenants || r->message.hello)
		flush(r);
	free(r);
	forget_idle(u);
}

/* --- hearing ------------------------------------------------------------------------------ */

static bool is_other(const void *item, const void *key)
{
	return !strcmp(((const struct other *)item)->id, key);
}

static bool is_entry(const void *item, const void *key)
{
	return !strcmp(((const struct entry *)item)->tenant->tenant, key);
}

static void set_entry(struct entry *e, const uint32_t n[USAGE_N])
{
	for (int k = 0; k < USAGE_N; k++) {
		atomic_fetch_add_explicit(&e->tenant->others[k], (int64_t)n[k] - (int64_t)e->n[k],
					  memory_order_relaxed);
		e->n[k] = n[k];
	}
}

static void drop_entry(struct other *o, struct entry *e)
{
	static const uint32_t none[USAGE_N];

	set_entry(e, none);
	table_remove(&o->entries, table_hash2(e->tenant->tenant, ""), e);
	usage_release(e->tenant);
	free(e);
}

/* Those that the round did not name; round 0: all. */
static void sweep(struct other *o, uint32_t round)
{
	struct entry **gone = xmalloc((o->entries.n + 1) * sizeof(struct entry *)), *e;
	size_t at = 0, n = 0;

	while ((e = table_next(&o->entries, &at)))
		if (!round || e->round != round)
			gone[n++] = e;
	while (n)
		drop_entry(o, gone[--n]);
	free(gone);
}

static void hear_tenant(struct usage *u, struct other *o, const Penstock__TenantUsage *in)
{
	const uint32_t n[USAGE_N] = {in->connections, in->subscriptions};
	uint64_t hash;
	struct entry *e;

	if (!name_valid_tenant(in->tenant))
		return;
	hash = table_hash2(in->tenant, "");
	e = table_find(&o->entries, hash, is_entry, in->tenant);
	if (!n[USAGE_CONNECTIONS] && !n[USAGE_SUBSCRIPTIONS]) {
		if (e)
			drop_entry(o, e);
		return;
	}
	if (!e && o->entries.n >= USAGE_TENANTS_MAX) {
		metric_add(u->stats->ignored, 1);
		return;
	}
	if (!e) {
		e = xcalloc(1, sizeof(*e));
		e->tenant = get(u, in->tenant);
		table_add(&o->entries, hash, e);
	}
	e->round = o->round;
	set_entry(e, n);
}

static struct other *other_of(struct usage *u, const Penstock__Usage *in)
{
	uint64_t hash = table_hash2(in->edge, "");
	struct other *o = table_find(&u->edges, hash, is_other, in->edge);

	if (!o) {
		o = xcalloc(1, sizeof(*o));
		strncpy(o->id, in->edge, TENANT_MAX);
		o->boot = in->boot;
		table_add(&u->edges, hash, o);
	} else if (o->boot != in->boot) {
		sweep(o, 0);
		o->boot = in->boot;
		o->round = o->seen = 0;
	}
	return o;
}

void usage_heard(struct usage *u, const Penstock__Usage *in)
{
	struct other *o;

	if (!name_valid_tenant(in->edge) || !strcmp(in->edge, u->edge))
		return;
	o = other_of(u, in);
	if (in->round && in->round != o->round) {
		o->round = in->round;
		o->seen = 0;
	}
	for (size_t i = 0; i < in->n_tenants; i++)
		hear_tenant(u, o, in->tenants[i]);
	if (in->round && ++o->seen == in->chunks)
		sweep(o, o->round);
}

static void forget(struct usage *u, struct other *o)
{
	sweep(o, 0);
	table_remove(&u->edges, table_hash2(o->id, ""), o);
	table_done(&o->entries);
	free(o);
}

void usage_keep(struct usage *u, bool (*lives)(void *arg, const char *edge), void *arg)
{
	struct other *o;
	size_t at = 0;

	while ((o = table_next(&u->edges, &at))) {
		if (lives && lives(arg, o->id))
			continue;
		forget(u, o);
		at = 0; /* the table has moved; there are few edges */
	}
}

void usage_done(struct usage *u)
{
	struct usage_tenant *t;
	size_t at = 0;

	usage_keep(u, NULL, NULL);
	while ((t = table_next(&u->tenants, &at)))
		free(t);
	table_done(&u->tenants);
	table_done(&u->edges);
}
