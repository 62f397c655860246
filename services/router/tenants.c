/* The tenants this router has something to remember of: a hash table that forgets the idle ones. */
#include <stdlib.h>
#include <string.h>

#include "services/router/impl.h"

#define BUCKETS_MIN 64
#define IDLE_US     INT64_C(60000000)

static size_t bucket_of(const struct router *r, const char *name)
{
	struct digest_part part = {name, strlen(name)};
	return (size_t)(digest64(&part, 1) & (r->tenants.n_buckets - 1));
}

struct router_tenant *router_tenant_find(struct router *r, const char *name)
{
	if (!r->tenants.n_buckets)
		return NULL;
	struct router_tenant *t = r->tenants.buckets[bucket_of(r, name)];
	while (t && strcmp(t->name, name) != 0)
		t = t->next;
	return t;
}

static void link_tenant(struct router *r, struct router_tenant *t)
{
	struct router_tenant **bucket = &r->tenants.buckets[bucket_of(r, t->name)];
	t->next = *bucket;
	*bucket = t;
}

static void grow(struct router *r)
{
	size_t old = r->tenants.n_buckets;
	struct router_tenant **buckets = r->tenants.buckets;
	r->tenants.n_buckets = old ? 2 * old : BUCKETS_MIN;
	r->tenants.buckets = xcalloc(r->tenants.n_buckets, sizeof(struct router_tenant *));
	for (size_t i = 0; i < old; i++)
		while (buckets[i]) {
			struct router_tenant *t = buckets[i];
			buckets[i] = t->next;
			link_tenant(r, t);
		}
	free(buckets);
}

struct router_tenant *router_tenant_get(struct router *r, const char *name)
{
	struct router_tenant *t = router_tenant_find(r, name);
	if (!t) {
		if (r->tenants.count >= r->tenants.n_buckets)
			grow(r);
		t = xcalloc(1, sizeof(*t));
		strcpy(t->name, name);
		t->router = r;
		t->part = part_of(name, r->conf.parts);
		for (int p = 0; p < ROUTER_POOLS; p++) {
			t->queues[p].tenant = t;
			t->queues[p].pool = (enum router_pool)p;
			/* The streams had nothing of a tenant that the last look did not bring up.
			 */
			t->queues[p].window.known = r->parts[t->part].counted;
		}
		link_tenant(r, t);
		r->tenants.count++;
	}
	t->used_us = loop_now_us(r->loop);
	return t;
}

void router_tenants_each(struct router *r, void (*fn)(struct router *r, struct router_tenant *t))
{
	for (size_t i = 0; i < r->tenants.n_buckets; i++)
		for (struct router_tenant *t = r->tenants.buckets[i]; t; t = t->next)
			fn(r, t);
}

void router_tenant_busy(struct router *r, struct router_tenant *t)
{
	if (t->busy_at)
		return;
	t->busy_next = r->busy;
	t->busy_at = &r->busy;
	if (r->busy)
		r->busy->busy_at = &t->busy_next;
	r->busy = t;
}

void router_tenant_calm(struct router_tenant *t)
{
	if (!t->busy_at)
		return;
	*t->busy_at = t->busy_next;
	if (t->busy_next)
		t->busy_next->busy_at = t->busy_at;
	t->busy_at = NULL;
}

static void undirty(struct router *r, struct router_queue *q)
{
	struct router_queue **at = &r->dirty;
	while (*at && *at != q)
		at = &(*at)->dirty_next;
	if (*at)
		*at = q->dirty_next;
	q->dirty = false;
}

static void drop(struct router *r, struct router_tenant **at)
{
	struct router_tenant *t = *at;
	*at = t->next;
	for (int p = 0; p < ROUTER_POOLS; p++) {
		struct router_queue *q = &t->queues[p];
		if (q->dirty)
			undirty(r, q);
		router_backlog_stop(q);
		r->active_weight[p] -= q->counted_weight;
	}
	router_tenant_calm(t);
	r->tenants.count--;
	share_done(&t->share);
	free(t);
}

static void drop_if(struct router *r,
		    bool (*fn)(struct router *r, struct router_tenant *t, int64_t x), int64_t x)
{
	for (size_t i = 0; i < r->tenants.n_buckets; i++) {
		struct router_tenant **at = &r->tenants.buckets[i];
		while (*at) {
			if (fn(r, *at, x))
				drop(r, at);
			else
				at = &(*at)->next;
		}
	}
}

/* Its limits are full again, and nothing of it is under way: a fresh one would be the same. */
static bool idle(struct router *r, struct router_tenant *t, int64_t now_us)
{
	const struct tenant *tenant;
	if (now_us - t->used_us <= IDLE_US)
		return false;
	for (int p = 0; p < ROUTER_POOLS; p++)
		if (window_busy(&t->queues[p].window) || t->queues[p].backlog)
			return false;
	tenant = catalog_tenant(r->catalog, t->name);
	if (tenant)
		share_expire(&t->share, &tenant->limits, &t->limits, now_us * 1000);
	return (!tenant || !t->share.n) && t->limits.events.tat_ns < now_us * 1000 &&
	       t->limits.bytes.tat_ns < now_us * 1000 && t->limits.tokens.tat_ns < now_us * 1000;
}

void router_tenants_sweep(struct router *r)
{
	drop_if(r, idle, loop_now_us(r->loop));
}

static bool in_part(struct router *r, struct router_tenant *t, int64_t part)
{
	(void)r;
	return t->part == part;
}

void router_tenants_drop_part(struct router *r, unsigned part)
{
	drop_if(r, in_part, part);
}

static bool any(struct router *r, struct router_tenant *t, int64_t x)
{
	(void)r;
	(void)t;
	(void)x;
	return true;
}

void router_tenants_free(struct router *r)
{
	drop_if(r, any, 0);
	free(r->tenants.buckets);
	r->tenants = (struct router_tenants){0};
}
