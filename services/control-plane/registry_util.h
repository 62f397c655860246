/* What the registry's files share: reading members with defaults. Pure; threads: any. */
#ifndef PENSTOCK_CONTROL_REGISTRY_UTIL_H
#define PENSTOCK_CONTROL_REGISTRY_UTIL_H

#include "common/json.h"

int registry_object(const json_t *in, const char *what, struct error *err) MUST_CHECK;
/* A member that repeats what the path says: absent, or exactly that. */
int registry_same_text(const json_t *in, const char *member, const char *value,
		       struct error *err) MUST_CHECK;
int registry_same_int(const json_t *in, const char *member, int64_t value,
		      struct error *err) MUST_CHECK;
/* Copies a text member of at most max bytes into doc, or dflt when absent (NULL: leaves it out). */
int registry_copy_text(json_t *doc, const json_t *in, const char *member, size_t max,
		       const char *dflt, struct error *err) MUST_CHECK;
/* One of the words, which end with NULL; the first one is the default. */
int registry_copy_word(json_t *doc, const json_t *in, const char *member, const char *const *words,
		       struct error *err) MUST_CHECK;
int registry_copy_int(json_t *doc, const json_t *in, const char *member, int64_t min, int64_t max,
		      int64_t dflt, struct error *err) MUST_CHECK;
bool registry_has_text(const json_t *array, const char *text);

#endif
