/* What a watch told, as the newest value of each key. */
#ifndef PENSTOCK_CONFORMANCE_ENTRIES_H
#define PENSTOCK_CONFORMANCE_ENTRIES_H

#include "tests/conformance/world.h"

struct entries {
	int puts, dels, ready;
	uint64_t revision; /* of the last PUT or DEL */
	uint64_t newest;   /* what the last READY said */
	size_t n;
	struct {
		char key[32], value[32];
	} list[32]; /* the first keys only */
};

void entries_fn(void *arg, const struct bus_entry *entry);
const char *entries_value(const struct entries *e,
			  const char *key); /* "" if deleted or never told */
/* The bucket is named like the world's prefix. */
void entries_bucket(struct world *w, int64_t ttl_ms);
void entries_put(struct world *w, const char *key, const char *value);
struct bus_watch *entries_watch(struct world *w, struct bus *bus, struct entries *e);

#endif
