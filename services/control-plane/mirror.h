/* What the bucket pen_config holds, kept by watch as a digest for each key: what the leader
 * compares with PostgreSQL.
 *
 * Threads: start and stop on the bus's loop; the rest from any thread. */
#ifndef PENSTOCK_CONTROL_MIRROR_H
#define PENSTOCK_CONTROL_MIRROR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/bus.h"

struct mirror;

/* told is called on the loop each time the whole bucket was told: at the start, and after each gap.
 */
struct mirror *mirror_start(struct bus *bus, const char *bucket, void (*told)(void *arg), void *arg,
			    struct error *err);
void mirror_stop(struct mirror *m); /* NULL is fine */
bool mirror_ready(struct mirror *m);
size_t mirror_size(struct mirror *m);
/* The bucket has exactly this document at key. */
bool mirror_has(struct mirror *m, const char *key, const char *document, size_t len);
/* The keys, as a NULL-terminated list; the caller frees each and the list. */
char **mirror_keys(struct mirror *m);

#endif
