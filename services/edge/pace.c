#include "services/edge/pace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

#define SCALE (1 << 20) /* the catalog's largest weight still pays one */

struct pace_tenant {
	uint64_t at, turn; /* at: virtual time of its next item */
	uint64_t price;    /* SCALE / weight */
	struct pace_item *first, **last;
	unsigned queued;
	char name[];
};

void pace_init(struct pace *p, unsigned max_running, unsigned max_queued, unsigned max_total)
{
	*p = (struct pace){
	    .max_running = max_running, .max_queued = max_queued, .max_total = max_total};
}

static uint64_t hash_of(const char *tenant)
{
	return table_hash2(tenant, "");
}

static bool same_name(const void *item, const void *key)
{
	return !strcmp(((const struct pace_tenant *)item)->name, key);
}

/* --- the heap of those who have something in the queue -------------------------------------- */

static bool before(const struct pace_tenant *a, const struct pace_tenant *b)
{
	return a->at != b->at ? a->at < b->at : a->turn < b->turn;
}

static void swap(struct pace *p, size_t i, size_t j)
{
	struct pace_tenant *t = p->heap[i];

	p->heap[i] = p->heap[j];
	p->heap[j] = t;
}

static void heap_push(struct pace *p, struct pace_tenant *t)
{
	size_t i = p->n;

	if (p->n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 16;
		p->heap = xrealloc(p->heap, p->cap * sizeof(struct pace_tenant *));
	}
	t->turn = p->turn++;
	p->heap[p->n++] = t;
	for (; i && before(p->heap[i], p->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(p, i, (i - 1) / 2);
}

static struct pace_tenant *heap_pop(struct pace *p)
{
	struct pace_tenant *t = p->heap[0];
	size_t i = 0;

	p->heap[0] = p->heap[--p->n];
	for (;;) {
		size_t least = i;

		for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < p->n; k++)
			if (before(p->heap[k], p->heap[least]))
				least = k;
		if (least == i)
			return t;
		swap(p, i, least);
		i = least;
	}
}

/* --- tenants -------------------------------------------------------------------------------- */

static struct pace_tenant *tenant_get(struct pace *p, const char *name)
{
	struct pace_tenant *t = table_find(&p->tenants, hash_of(name), same_name, name);
	size_t len = strlen(name) + 1;

	if (t)
		return t;
	t = xcalloc(1, sizeof(*t) + len);
	memcpy(t->name, name, len);
	t->at = p->now;
	t->last = &t->first;
	table_add(&p->tenants, hash_of(name), t);
	return t;
}

/* The first one's first item. Who has no more is forgotten: he comes anew, at the present. */
static struct pace_item *take(struct pace *p)
{
	struct pace_tenant *t = heap_pop(p);
	struct pace_item *item = t->first;

	p->now = t->at;
	t->at += t->price;
	t->first = item->next;
	p->queued--;
	if (--t->queued) {
		heap_push(p, t);
		return item;
	}
	table_remove(&p->tenants, hash_of(t->name), t);
	free(t);
	return item;
}

bool pace_add(struct pace *p, const char *tenant, int64_t weight, struct pace_item *item)
{
	struct pace_tenant *t;

	assert(weight > 0);
	if (p->queued >= p->max_total)
		return false;
	t = tenant_get(p, tenant);
	if (t->queued >= p->max_queued)
		return false;
	t->price = weight < SCALE ? (uint64_t)(SCALE / weight) : 1;
	item->next = NULL;
	*t->last = item;
	t->last = &item->next;
	p->queued++;
	if (!t->queued++)
		heap_push(p, t);
	return true;
}

struct pace_item *pace_next(struct pace *p)
{
	if (!p->n || p->running >= p->max_running)
		return NULL;
	p->running++;
	return take(p);
}

void pace_end(struct pace *p)
{
	assert(p->running);
	p->running--;
}

struct pace_item *pace_pop(struct pace *p)
{
	return p->n ? take(p) : NULL;
}

void pace_done(struct pace *p)
{
	assert(!p->queued);
	table_done(&p->tenants);
	free(p->heap);
}
