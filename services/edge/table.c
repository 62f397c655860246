#include "services/edge/table.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/strbuf.h"

void table_done(struct table *t)
{
	free(t->entries);
	*t = (struct table){0};
}

void *table_find(const struct table *t, uint64_t hash,
		 bool (*same)(const void *item, const void *key), const void *key)
{
	if (!t->cap)
		return NULL;
	for (size_t i = hash & (t->cap - 1); t->entries[i].item; i = (i + 1) & (t->cap - 1))
		if (t->entries[i].hash == hash && same(t->entries[i].item, key))
			return t->entries[i].item;
	return NULL;
}

static void put(struct table *t, uint64_t hash, void *item)
{
	size_t i = hash & (t->cap - 1);

	while (t->entries[i].item)
		i = (i + 1) & (t->cap - 1);
	t->entries[i] = (struct table_entry){hash, item};
}

static void resize(struct table *t, size_t cap)
{
	struct table old = *t;

	t->entries = xcalloc(cap, sizeof(*t->entries));
	t->cap = cap;
	for (size_t i = 0; i < old.cap; i++)
		if (old.entries[i].item)
			put(t, old.entries[i].hash, old.entries[i].item);
	free(old.entries);
}

void table_add(struct table *t, uint64_t hash, void *item)
{
	if ((t->n + 1) * 4 > t->cap * 3)
		resize(t, t->cap ? 2 * t->cap : 16);
	put(t, hash, item);
	t->n++;
}

void table_remove(struct table *t, uint64_t hash, const void *item)
{
	size_t mask = t->cap - 1, i, j;

	if (!t->cap)
		return;
	for (i = hash & mask; t->entries[i].item != item; i = (i + 1) & mask)
		if (!t->entries[i].item)
			return;
	/* Close the hole: whoever probed past it moves up (Knuth, 6.4, algorithm R). */
	for (j = (i + 1) & mask; t->entries[j].item; j = (j + 1) & mask) {
		size_t home = t->entries[j].hash & mask;

		if (((j - home) & mask) >= ((j - i) & mask)) {
			t->entries[i] = t->entries[j];
			i = j;
		}
	}
	t->entries[i] = (struct table_entry){0, NULL};
	t->n--;
	if (t->cap > 64 && t->n * 8 < t->cap)
		resize(t, t->cap / 2);
}

void *table_next(const struct table *t, size_t *at)
{
	while (*at < t->cap) {
		void *item = t->entries[(*at)++].item;

		if (item)
			return item;
	}
	return NULL;
}

uint64_t table_hash2(const char *a, const char *b)
{
	return XXH3_64bits_withSeed(b, strlen(b), XXH3_64bits(a, strlen(a)));
}
