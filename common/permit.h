/* What a key or a token may touch: patterns of channels to subscribe to, of channels to publish to,
 * and of pipelines to run.
 *
 * A pattern is a name in which `*` may stand: at its end for any rest (`room.*` is room.7 and
 * room.7.x, `room*` is also room and rooms, `*` is everything); elsewhere as a whole part between
 * dots, for one part (`room.*.chat` is room.7.chat). An absent list names nothing.
 *
 * A permit is immutable and counted, so that a document, a principal and a request share one; at
 * most PERMIT_BYTES. Pure; threads: any. */
#ifndef PENSTOCK_PERMIT_H
#define PENSTOCK_PERMIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define PERMIT_PATTERNS 64   /* of one list */
#define PERMIT_BYTES    4096 /* of all patterns together */

enum permit_right { PERMIT_SUBSCRIBE, PERMIT_PUBLISH, PERMIT_PIPELINE, PERMIT_N };

struct permit;

/* channels: {"subscribe": […], "publish": […]}, pipelines: […]; each of them may be NULL. What else
 * stands in channels is left alone. NULL and ERR_REJECTED for a wrong type, a pattern that is none,
 * or too much. */
struct permit *permit_new(const json_t *channels, const json_t *pipelines, struct error *err);
/* The same for a key's document, where an absent member restricts nothing: *out is NULL if both
 * are. */
int permit_of_key(const json_t *doc, struct permit **out, struct error *err) MUST_CHECK;
struct permit *permit_ref(struct permit *p); /* NULL is fine */
void permit_unref(struct permit *p);         /* NULL is fine */

/* p NULL: everything. */
bool permit_allows(const struct permit *p, enum permit_right right, const char *name);
/* There is a pattern at all. */
bool permit_any(const struct permit *p, enum permit_right right);
bool permit_same(const struct permit *a, const struct permit *b);
uint64_t permit_hash(const struct permit *p);

/* {"channels": …, "pipelines": …} as permit_new() reads it, without blanks; false, and out is "",
 * if it does not fit. */
bool permit_text(const struct permit *p, char *out, size_t size);

bool pattern_valid(const char *pattern);
bool pattern_fits(const char *pattern, const char *name);

#endif
