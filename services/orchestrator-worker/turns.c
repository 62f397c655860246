#include "services/orchestrator-worker/turns.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/strbuf.h"

#define BUCKETS       256
#define RESERVE_SHARE 8 /* one slot in so many */
#define RESERVE_FROM  4 /* slots */

struct turns_tenant {
	struct turns_tenant *same; /* in its bucket */
	struct turn *first, *last; /* waiting */
	struct turn *front_last;   /* of those that are not behind the others */
	int64_t weight;
	size_t running, waiting;
	double pass;     /* what its turns have cost for its weight; before its first one, the clock
			  * of then */
	uint64_t served; /* number of its last turn */
	size_t pos;      /* place in the heap + 1; 0: nothing waits */
	char name[];
};

struct turns {
	size_t slots, reserve;
	size_t running, waiting;
	int64_t weights; /* of all tenants here */
	size_t tenants;
	double clock; /* what the turns so far have cost, for all weights */
	uint64_t served;
	struct turns_tenant **heap; /* those with something waiting; the next one first */
	size_t n, cap;
	struct turns_tenant *buckets[BUCKETS];
};

/* --- the heap ------------------------------------------------------------------------------ */

static bool before(const struct turns_tenant *a, const struct turns_tenant *b)
{
	uint64_t left = a->running * (uint64_t)b->weight;
	uint64_t right = b->running * (uint64_t)a->weight;
	if (left != right)
		return left < right;
	return a->pass != b->pass ? a->pass < b->pass : a->served < b->served;
}

static void put(struct turns *t, size_t at, struct turns_tenant *tenant)
{
	t->heap[at] = tenant;
	tenant->pos = at + 1;
}

/* Moves the one at `at` to where it belongs. */
static void sift(struct turns *t, size_t at)
{
	struct turns_tenant *moving = t->heap[at];
	for (; at > 0 && before(moving, t->heap[(at - 1) / 2]); at = (at - 1) / 2)
		put(t, at, t->heap[(at - 1) / 2]);
	for (size_t child; (child = 2 * at + 1) < t->n; at = child) {
		if (child + 1 < t->n && before(t->heap[child + 1], t->heap[child]))
			child++;
		if (!before(t->heap[child], moving))
			break;
		put(t, at, t->heap[child]);
	}
	put(t, at, moving);
}

static void heap_add(struct turns *t, struct turns_tenant *tenant)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 16;
		t->heap = xrealloc(t->heap, t->cap * sizeof(struct turns_tenant *));
	}
	put(t, t->n++, tenant);
	sift(t, t->n - 1);
}

static void heap_remove(struct turns *t, struct turns_tenant *tenant)
{
	size_t at = tenant->pos - 1;
	tenant->pos = 0;
	if (at == --t->n)
		return;
	put(t, at, t->heap[t->n]);
	sift(t, at);
}

/* Its key changed. */
static void heap_fix(struct turns *t, struct turns_tenant *tenant)
{
	if (tenant->pos != 0)
		sift(t, tenant->pos - 1);
}

/* --- tenants ------------------------------------------------------------------------------- */

static struct turns_tenant **find(struct turns *t, const char *name)
{
	struct turns_tenant **at = &t->buckets[XXH3_64bits(name, strlen(name)) % BUCKETS];
	while (*at != NULL && strcmp((*at)->name, name) != 0)
		at = &(*at)->same;
	return at;
}

static struct turns_tenant *tenant_of(struct turns *t, const char *name, int64_t weight)
{
	struct turns_tenant **at = find(t, name);
	if (*at == NULL) {
		size_t len = strlen(name) + 1;
		*at = xcalloc(1, sizeof(**at) + len);
		memcpy((*at)->name, name, len);
		(*at)->pass = t->clock;
		t->tenants++;
	}
	t->weights += weight - (*at)->weight;
	(*at)->weight = weight;
	return *at;
}

static void forget_idle(struct turns *t, struct turns_tenant *tenant)
{
	if (tenant->running > 0 || tenant->first != NULL)
		return;
	*find(t, tenant->name) = tenant->same;
	t->weights -= tenant->weight;
	t->tenants--;
	free(tenant);
}

static void stop_waiting(struct turns *t, struct turn *turn)
{
	struct turns_tenant *tenant = turn->of;
	*(turn->prev ? &turn->prev->next : &tenant->first) = turn->next;
	*(turn->next ? &turn->next->prev : &tenant->last) = turn->prev;
	if (tenant->front_last == turn)
		tenant->front_last = turn->prev;
	turn->next = turn->prev = NULL;
	tenant->waiting--;
	t->waiting--;
	if (tenant->first == NULL)
		heap_remove(t, tenant);
}

/* --- turns --------------------------------------------------------------------------------- */

struct turns *turns_new(size_t slots)
{
	struct turns *t = xcalloc(1, sizeof(*t));
	t->slots = slots;
	if (slots == TURNS_UNBOUNDED)
		return t;
	t->reserve = slots / RESERVE_SHARE;
	if (t->reserve == 0 && slots >= RESERVE_FROM)
		t->reserve = 1;
	return t;
}

void turns_free(struct turns *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct turns_tenant *tenant = t->buckets[i], *same; tenant; tenant = same) {
			same = tenant->same;
			free(tenant);
		}
	}
	free(t->heap);
	free(t);
}

static void join(struct turns_tenant *of, struct turn *turn, bool behind)
{
	struct turn *prev = behind ? of->last : of->front_last;
	struct turn *next = prev != NULL ? prev->next : of->first;
	*turn = (struct turn){.of = of, .prev = prev, .next = next};
	*(prev != NULL ? &prev->next : &of->first) = turn;
	*(next != NULL ? &next->prev : &of->last) = turn;
	if (!behind)
		of->front_last = turn;
	of->waiting++;
}

void turns_add(struct turns *t, struct turn *turn, const char *tenant, int64_t weight, bool behind)
{
	struct turns_tenant *of = tenant_of(t, tenant, weight > 0 ? weight : 1);
	join(of, turn, behind);
	t->waiting++;
	if (of->pos == 0)
		heap_add(t, of);
	else
		heap_fix(t, of);
}

bool turns_may_wait(struct turns *t, const char *tenant, size_t max)
{
	if (t->waiting < max - max / RESERVE_SHARE)
		return true;
	const struct turns_tenant *of = *find(t, tenant);
	return t->waiting < max && (of == NULL || of->waiting < max / (t->tenants + 1));
}

/* May the tenant have one of the last slots? */
static bool below_share(const struct turns *t, const struct turns_tenant *tenant)
{
	return (double)tenant->running * ((double)t->weights + 1) <
	       (double)t->slots * (double)tenant->weight;
}

struct turn *turns_first(const struct turns *t)
{
	if (t->n == 0 || t->running >= t->slots)
		return NULL;
	const struct turns_tenant *tenant = t->heap[0];
	if (t->running >= t->slots - t->reserve && !below_share(t, tenant))
		return NULL;
	return tenant->first;
}

void turns_start(struct turns *t, struct turn *turn, int64_t cost)
{
	struct turns_tenant *tenant = turn->of;
	tenant->running++;
	tenant->served = ++t->served;
	tenant->pass += (double)cost / (double)tenant->weight;
	t->clock += (double)cost / (double)t->weights;
	t->running++;
	turn->running = true;
	stop_waiting(t, turn);
	heap_fix(t, tenant);
}

struct turn *turns_next(struct turns *t)
{
	struct turn *turn = turns_first(t);
	if (turn != NULL)
		turns_start(t, turn, 1);
	return turn;
}

void turns_leave(struct turns *t, struct turn *turn)
{
	struct turns_tenant *tenant = turn->of;
	if (tenant == NULL)
		return;
	if (turn->running) {
		tenant->running--;
		t->running--;
		heap_fix(t, tenant);
	} else {
		stop_waiting(t, turn);
	}
	*turn = (struct turn){.of = NULL};
	forget_idle(t, tenant);
}

size_t turns_running(const struct turns *t)
{
	return t->running;
}

size_t turns_waiting(const struct turns *t)
{
	return t->waiting;
}
