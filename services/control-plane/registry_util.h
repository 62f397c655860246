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
/* An absolute URL of http or https without credentials. */
int registry_check_url(const char *url, struct error *err) MUST_CHECK;
int registry_copy_int(json_t *doc, const json_t *in, const char *member, int64_t min, int64_t max,
		      int64_t dflt, struct error *err) MUST_CHECK;
/* "expires_at", later than created_us; or none. */
int registry_copy_expiry(json_t *doc, const json_t *in, int64_t created_us,
			 struct error *err) MUST_CHECK;
void registry_set_time(json_t *doc, const char *member, int64_t wall_us);
/* registry_signing.c: of a tenant. */
int registry_copy_origins(json_t *doc, const json_t *in, struct error *err) MUST_CHECK;
bool registry_has_text(const json_t *array, const char *text);

#endif
