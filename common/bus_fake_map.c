/* The fake's small tools: a map from texts, subjects and filters. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/bus_fake_int.h"

static size_t home(const struct fmap *map, const char *key)
{
	return XXH3_64bits(key, strlen(key)) & (map->cap - 1);
}

static size_t place(const struct fmap *map, const char *key)
{
	size_t i = home(map, key);

	while (map->slots[i].key && strcmp(map->slots[i].key, key) != 0)
		i = (i + 1) & (map->cap - 1);
	return i;
}

void *fmap_get(const struct fmap *map, const char *key)
{
	return map->cap ? map->slots[place(map, key)].value : NULL;
}

void fmap_add(struct fmap *map, const char *key, void *value)
{
	if ((map->n + 1) * 4 > map->cap * 3) {
		struct fmap bigger = {.cap = map->cap ? map->cap * 2 : 16, .n = map->n};

		bigger.slots = xcalloc(bigger.cap, sizeof(*bigger.slots));
		for (size_t i = 0; i < map->cap; i++)
			if (map->slots[i].key)
				bigger.slots[place(&bigger, map->slots[i].key)] = map->slots[i];
		free(map->slots);
		*map = bigger;
	}
	map->slots[place(map, key)] = (struct fmap_slot){key, value};
	map->n++;
}

void fmap_del(struct fmap *map, const char *key)
{
	size_t mask = map->cap - 1, hole;

	if (!map->cap)
		return;
	hole = place(map, key);
	if (!map->slots[hole].key)
		return;
	for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
		size_t h = home(map, map->slots[i].key);

		if (((i - h) & mask) >= ((i - hole) & mask)) {
			map->slots[hole] = map->slots[i];
			hole = i;
		}
	}
	map->slots[hole] = (struct fmap_slot){NULL, NULL};
	map->n--;
}

void fmap_done(struct fmap *map)
{
	free(map->slots);
	*map = (struct fmap){NULL, 0, 0};
}

bool fake_matches(const char *filter, const char *subject)
{
	const char *f = filter, *s = subject;

	for (;;) {
		size_t fl = strcspn(f, "."), sl = strcspn(s, ".");

		if (fl == 1 && *f == '>' && !f[1])
			return sl > 0;
		if (!(fl == 1 && *f == '*' && sl > 0) && (fl != sl || memcmp(f, s, fl) != 0))
			return false;
		f += fl;
		s += sl;
		if (!*f || !*s)
			return !*f && !*s;
		f++;
		s++;
	}
}

bool fake_subject_ok(const char *subject, bool wildcards)
{
	const char *token = subject;

	if (!subject || strlen(subject) > 1024)
		return false;
	for (const char *p = subject;; p++) {
		if (*p == '.' || *p == '\0') {
			size_t len = (size_t)(p - token);

			if (len == 0)
				return false;
			if (len == 1 && (*token == '*' || *token == '>') &&
			    (!wildcards || (*token == '>' && *p)))
				return false;
			if (*p == '\0')
				return true;
			token = p + 1;
		} else if ((unsigned char)*p <= ' ' || *p == 127) {
			return false;
		}
	}
}
