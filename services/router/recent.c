#include "services/router/recent.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

#define NONE UINT32_MAX

struct slot {
	uint64_t id[2]; /* the UUID's 16 bytes */
	struct recent_entry entry;
	uint32_t older, newer;
	uint32_t chain; /* next in the same bucket; of a free slot: the next free one */
};

struct recent {
	struct slot *slots;
	uint32_t *buckets;
	size_t max, n_buckets, count;
	uint32_t oldest, newest, unused;
};

uint64_t recent_command(const char *command)
{
	return digest64(&(struct digest_part){command, strlen(command)}, 1);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse(const char *text, uint64_t id[2])
{
	uint64_t words[2] = {0, 0};
	int n = 0;
	for (int i = 0; i < ID_LEN; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return false;
			continue;
		}
		int d = hex(text[i]);
		if (d < 0)
			return false;
		words[n / 16] = words[n / 16] << 4 | (uint64_t)d;
		n++;
	}
	if (text[ID_LEN])
		return false;
	memcpy(id, words, sizeof(words));
	return true;
}

/* Derived ids are SHA-256 bits already: mixing both halves is enough. */
static size_t bucket_of(const struct recent *r, const uint64_t id[2])
{
	return (size_t)((id[0] ^ id[1] * UINT64_C(0x9E3779B97F4A7C15)) % r->n_buckets);
}

static void unlink_lru(struct recent *r, uint32_t i)
{
	struct slot *s = &r->slots[i];
	if (s->older == NONE)
		r->oldest = s->newer;
	else
		r->slots[s->older].newer = s->newer;
	if (s->newer == NONE)
		r->newest = s->older;
	else
		r->slots[s->newer].older = s->older;
}

static void link_newest(struct recent *r, uint32_t i)
{
	struct slot *s = &r->slots[i];
	s->older = r->newest;
	s->newer = NONE;
	if (r->newest == NONE)
		r->oldest = i;
	else
		r->slots[r->newest].newer = i;
	r->newest = i;
}

static void drop_oldest(struct recent *r)
{
	uint32_t i = r->oldest;
	uint32_t *at = &r->buckets[bucket_of(r, r->slots[i].id)];
	while (*at != i)
		at = &r->slots[*at].chain;
	*at = r->slots[i].chain;
	unlink_lru(r, i);
	r->slots[i].chain = r->unused;
	r->unused = i;
	r->count--;
}

struct recent *recent_new(size_t max)
{
	struct recent *r = xcalloc(1, sizeof(*r));
	r->max = max ? max : 1;
	r->n_buckets = r->max | 1;
	r->slots = xcalloc(r->max, sizeof(*r->slots));
	r->buckets = xcalloc(r->n_buckets, sizeof(*r->buckets));
	recent_clear(r);
	return r;
}

void recent_free(struct recent *r)
{
	if (!r)
		return;
	free(r->slots);
	free(r->buckets);
	free(r);
}

void recent_clear(struct recent *r)
{
	for (size_t i = 0; i < r->n_buckets; i++)
		r->buckets[i] = NONE;
	for (size_t i = 0; i < r->max; i++)
		r->slots[i].chain = i + 1 < r->max ? (uint32_t)i + 1 : NONE;
	r->unused = 0;
	r->oldest = r->newest = NONE;
	r->count = 0;
}

size_t recent_count(const struct recent *r)
{
	return r->count;
}

static uint32_t lookup(const struct recent *r, const uint64_t id[2])
{
	uint32_t i = r->buckets[bucket_of(r, id)];
	while (i != NONE && memcmp(r->slots[i].id, id, sizeof(r->slots[i].id)) != 0)
		i = r->slots[i].chain;
	return i;
}

const struct recent_entry *recent_find(struct recent *r, const char *text)
{
	uint64_t id[2];
	if (!parse(text, id))
		return NULL;
	uint32_t i = lookup(r, id);
	if (i == NONE)
		return NULL;
	unlink_lru(r, i);
	link_newest(r, i);
	return &r->slots[i].entry;
}

void recent_add(struct recent *r, const char *text, const struct recent_entry *entry)
{
	uint64_t id[2];
	if (!parse(text, id))
		return;
	uint32_t i = lookup(r, id);
	if (i != NONE) {
		r->slots[i].entry = *entry;
		unlink_lru(r, i);
		link_newest(r, i);
		return;
	}
	if (r->count == r->max)
		drop_oldest(r);
	i = r->unused;
	struct slot *s = &r->slots[i];
	r->unused = s->chain;
	memcpy(s->id, id, sizeof(s->id));
	s->entry = *entry;
	uint32_t *bucket = &r->buckets[bucket_of(r, id)];
	s->chain = *bucket;
	*bucket = i;
	link_newest(r, i);
	r->count++;
}
