/* A hash table of pointers the caller owns: open addressing, linear probing, deletion by shifting
 * back.
 *
 * The table knows nothing of what it holds: the caller gives a 64-bit hash and compares. Threads:
 * one owner. */
#ifndef PENSTOCK_EDGE_TABLE_H
#define PENSTOCK_EDGE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_entry {
	uint64_t hash;
	void *item; /* NULL: free */
};

struct table { /* zeroed: empty */
	struct table_entry *entries;
	size_t cap, n;
};

void table_done(struct table *t); /* frees the table, not the items */
/* The first item with this hash for which same(item, key) says true, or NULL. */
void *table_find(const struct table *t, uint64_t hash,
		 bool (*same)(const void *item, const void *key), const void *key);
void table_add(struct table *t, uint64_t hash, void *item);
void table_remove(struct table *t, uint64_t hash, const void *item);
/* Next item after *at (start with 0), or NULL at the end. Nothing may be added or removed
 * meanwhile. */
void *table_next(const struct table *t, size_t *at);

/* Hash of two texts ("acme", "room.7"). */
uint64_t table_hash2(const char *a, const char *b);

#endif
