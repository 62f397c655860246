/* The core of the control-plane: what a valid document is, what it looks like with its defaults
 * filled in, its ETag, and the documents of the bucket pen_config that are made from it
 * (docs/internals.md).
 *
 * Pure: no I/O, no clock, no randomness. Threads: any.
 * All functions that return json_t return a new reference, or NULL with *err: ERR_REJECTED for a
 * document that is not valid (the message names the member), ERR_CONFLICT for one that contradicts
 * what is there. Members that only the plane sets (created_at, version, tenant, …) may be present
 * in an input, so that what was read can be written back: identities must agree with the path,
 * times and status of keys are ignored. */
#ifndef PENSTOCK_CONTROL_REGISTRY_H
#define PENSTOCK_CONTROL_REGISTRY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

#define REGISTRY_VERSION_MAX 1000000
/* A bucket's value is one message: below the broker's default of 1 MiB. */
#define REGISTRY_DOCUMENT_MAX (768 * 1024)
#define REGISTRY_KEY_MAX      400 /* the longest key of the bucket, NUL included */

/* --- documents of the operators' API ------------------------------------------------------- */

/* id NULL: the document must have one. */
json_t *registry_tenant(const json_t *in, const char *id, struct error *err);
json_t *registry_tenant_status(const json_t *tenant, const char *status);
json_t *registry_limits(const json_t *in, struct error *err);
json_t *registry_limits_default(void);
/* created_us: now, or of the key that is replaced. */
json_t *registry_key(const json_t *in, const char *id, const char *tenant, int64_t created_us,
		     struct error *err);
json_t *registry_key_revoked(const json_t *key, int64_t now_us); /* also of a signing key */
/* fresh_id: of one that does not name itself. The secret stays outside: it is in no document of the
 * API. */
json_t *registry_signing(const json_t *in, const char *fresh_id, const char *tenant,
			 int64_t created_us, struct error *err);
/* The secret stays outside, as a signing key's does. */
json_t *registry_hook(const json_t *in, const char *id, const char *tenant, int64_t created_us,
		      struct error *err);
/* An outgoing one: {direction: "out", url, channels, …}. */
json_t *registry_hook_out(const json_t *in, const char *id, const char *tenant, int64_t created_us,
			  struct error *err);
/* One regular expression that is as the patterns (common/permit.h) are together; none: everything.
 */
void registry_pattern_regex(const json_t *patterns, struct strbuf *out);
/* Whether its time zone is there, PostgreSQL must be asked. */
json_t *registry_schedule(const json_t *in, const char *name, const char *tenant,
			  struct error *err);
json_t *registry_trigger(const json_t *in, const char *name, const char *tenant, struct error *err);
/* class: what the type is already, NULL for a new one. A different class is ERR_CONFLICT. */
json_t *registry_version(const json_t *in, const char *tenant, const char *type, unsigned version,
			 const char *class, struct error *err);
/* Same type, class and schema: only the state may differ between two writes of one version. */
bool registry_version_same(const json_t *a, const json_t *b);
/* name NULL: the document must have one. */
json_t *registry_model(const json_t *in, const char *name, struct error *err);
json_t *registry_pipeline(const json_t *in, const char *name, unsigned version, struct error *err);
/* Names of the models that a document needs: a pipeline's stages, a model's fallbacks; each once.
 */
json_t *registry_models_of(const json_t *doc);
json_t *registry_operator(const json_t *in, const char *id, int64_t created_us, struct error *err);
/* The body of :drain {tenant?, deadline_ms?, spread_ms?} and of :undrain {tenant?}; in NULL: none.
 * *tenant: NULL for the whole edge; borrowed. */
int registry_edge_tenant(const json_t *in, bool drain, const char **tenant,
			 struct error *err) MUST_CHECK;
/* What is wanted of an edge after it; old NULL: nothing yet. */
json_t *registry_edge_drain(const json_t *old, const char *id, const json_t *in, struct error *err);
json_t *registry_edge_undrain(const json_t *old, const char *id, const json_t *in,
			      struct error *err);
bool registry_edge_plain(const json_t *doc); /* nothing is wanted of it */
/* What is wanted of a worker after :drain {grace_ms?} or :undrain; in NULL: no body. */
json_t *registry_worker(const char *id, bool drain, const json_t *in, struct error *err);

/* --- documents of the bucket --------------------------------------------------------------- */

json_t *registry_catalog_tenant(const json_t *tenant, const json_t *limits);
json_t *registry_catalog_key(const json_t *key, const char *hash);
/* secret: NULL unless HS256. */
json_t *registry_catalog_signing(const json_t *doc, const char *secret);
/* previous: the secret before, good until previous_until_ms; NULL: none. */
json_t *registry_catalog_hook(const json_t *doc, const char *secret, const char *previous,
			      int64_t previous_until_ms);
/* versions: array of a type's version documents. NULL when there are none: the key is deleted. */
json_t *registry_catalog_type(const char *tenant, const char *type, const char *class,
			      const json_t *versions);
/* A model's, a pipeline version's, an edge's and a worker's document are the API's own. */

void registry_key_tenant(const char *tenant, char out[REGISTRY_KEY_MAX]);
void registry_key_key(const char *id, char out[REGISTRY_KEY_MAX]);
void registry_key_signing(const char *tenant, const char *id, char out[REGISTRY_KEY_MAX]);
void registry_key_hook(const char *id, char out[REGISTRY_KEY_MAX]);
void registry_key_type(const char *tenant, const char *type, char out[REGISTRY_KEY_MAX]);
void registry_key_model(const char *name, char out[REGISTRY_KEY_MAX]);
void registry_key_pipeline(const char *name, unsigned version, char out[REGISTRY_KEY_MAX]);
void registry_key_edge(const char *id, char out[REGISTRY_KEY_MAX]);
void registry_key_worker(const char *id, char out[REGISTRY_KEY_MAX]);
/* A key of the kinds above. Others in the bucket belong to a newer version and are left alone. */
bool registry_key_known(const char *key);

/* --- helpers ------------------------------------------------------------------------------- */

/* RFC 7396. */
json_t *registry_merge(const json_t *target, const json_t *patch);

#define ETAG_LEN 18
/* Strong ETag, quotes included: the first 64 bits of SHA-256 of the compact text. */
void registry_etag(const json_t *doc, char out[ETAG_LEN + 1]);

#endif
