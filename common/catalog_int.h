/* Inside of catalog*.c: one document of the configuration, parsed. Pure. */
#ifndef PENSTOCK_CATALOG_INT_H
#define PENSTOCK_CATALOG_INT_H

#include "common/catalog.h"

#define CATALOG_KEY_MAX 256

enum doc_kind {
	DOC_UNKNOWN,
	DOC_TENANT,
	DOC_KEY,
	DOC_SIGNING,
	DOC_TYPE,
	DOC_MODEL,
	DOC_PIPELINE,
	DOC_EDGE,
	DOC_HOOK,
	DOC_WORKER,
	DOC_HEAD,
};

struct catalog_doc {
	enum doc_kind kind;
	char *key;
	json_t *json; /* what the structures below borrow from */
	size_t len;   /* of the text, and its digest: to know it again */
	uint64_t digest;
	struct catalog_doc *next, **prev; /* tenants, a pipeline's versions, the dead */
	union {
		struct tenant tenant;
		struct api_key key;
		struct signing_key signing;
		struct event_type type;
		struct model model;
		struct pipeline pipeline;
		struct edge_drains edge;
		struct hook hook;
		struct worker_drain worker;
	} u;
};

/* By the key's first word; DOC_UNKNOWN for a word that is not known. */
enum doc_kind catalog_doc_kind(const char *key);
/* Owned by the caller; NULL and ERR_REJECTED for a document that is refused. */
struct catalog_doc *catalog_doc_parse(const char *key, const char *data, size_t len,
				      struct error *err);
struct catalog_doc *catalog_doc_head(const char *key);
void catalog_doc_free(struct catalog_doc *d); /* NULL is fine */

#endif
