/* The operators' API between HTTP and the handlers: one request in, one reply out, no sockets.
 *
 * Threads: api_handle() may be called by any number of threads at once. Each call may block: on
 * PostgreSQL, on the event-store (store_timeout_ms) and on the publication of a change
 * (publish_wait_ms). */
#ifndef PENSTOCK_CONTROL_API_H
#define PENSTOCK_CONTROL_API_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/ids.h"
#include "common/strbuf.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/route.h"

#define API_QUERY_MAX  16
#define API_BODY_MAX   (1024 * 1024)
#define API_REASON_MAX 500

struct api_param {
	const char *name, *value;
};

/* All borrowed; absent headers are NULL. */
struct api_request {
	const char *method, *path; /* path is decoded, without the query */
	const char *authorization, *content_type, *if_match, *if_none_match, *reason, *traceparent;
	struct api_param query[API_QUERY_MAX];
	size_t n_query;
	const char *body;
	size_t body_len;
};

enum api_published { PUBLISHED_NONE, PUBLISHED_NO, PUBLISHED_YES };

struct api_reply {
	int status;
	bool problem; /* body is application/problem+json, else application/json */
	struct strbuf body;
	char etag[ETAG_LEN + 1]; /* "" for none, as the others */
	char location[512];
	char allow[64];
	char trace[TRACE_LEN + 1];
	int retry_after_s; /* 0: none */
	enum api_published published;
	int64_t revision; /* of the bucket, PUBLISHED_YES; 0: not known */
};

struct db_pool;
struct bridge;
struct publisher;

struct api {
	const char *admin_key;
	struct db_pool *pool;
	struct bridge *bridge;       /* NULL: no bus; what needs it answers 503 */
	struct publisher *publisher; /* NULL: nothing is published by this process */
	int publish_wait_ms, store_timeout_ms;
	unsigned parts; /* of the cluster */
};

/* Zeroed reply; free it with api_reply_done(). */
void api_handle(const struct api *api, const struct api_request *req, struct api_reply *reply);
void api_reply_done(struct api_reply *reply);
/* A refusal that is decided before the request is read: too large, too many parameters. */
void api_refuse(struct api_reply *reply, const char *traceparent, int status, const char *code,
		const char *detail);

/* --- for the handlers ---------------------------------------------------------------------- */

enum api_role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };

struct call {
	const struct api *api;
	const struct api_request *req;
	struct api_reply *reply;
	struct route_ids ids;
	enum api_role role;
	char actor[ROUTE_ID_MAX + 1];
	json_t *body; /* NULL for GET, DELETE and an empty body */
	bool validate_only;
	int64_t now_us;
};

struct api_method {
	void (*fn)(struct call *call);
	enum api_role role;       /* at least */
	const char *const *query; /* names that are allowed, ends with NULL; may be NULL */
};

enum api_verb { VERB_GET, VERB_POST, VERB_PUT, VERB_PATCH, VERB_DELETE, VERB_COUNT };

struct api_route {
	const char *pattern;
	struct api_method methods[VERB_COUNT]; /* fn NULL: 405 */
};

extern const struct api_route api_routes[]; /* ends with pattern NULL */

/* Both fill in the reply and return -1, so that they end a chain of ||. */
int call_fail(struct call *call, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A document or the database said no: ERR_REJECTED 422, ERR_CONFLICT 409, ERR_TRANSIENT 503, else
 * 500. */
int call_error(struct call *call, const struct error *err);
/* A query parameter that does not make sense. */
int call_bad_query(struct call *call, const struct error *err);

const char *call_query(const struct call *call, const char *name); /* NULL: absent */
int call_query_int(struct call *call, const char *name, int64_t min, int64_t max,
		   int64_t *out) MUST_CHECK;
/* The request must have a JSON body. */
int call_need_body(struct call *call) MUST_CHECK;
/* X-Audit-Reason, which PROTOCOL 4 asks for where people are sent away. */
int call_need_reason(struct call *call) MUST_CHECK;
/* If-Match and If-None-Match against what is there (NULL: nothing); fills in 428 or 412. */
int call_precondition(struct call *call, const json_t *current) MUST_CHECK;

/* The answer is this document, with its ETag. doc is borrowed. */
void call_doc(struct call *call, int status, const json_t *doc);
/* The same, but the body is `shown` (stolen): the document with what became of it, which is no part
 * of the ETag, as what an operator has read must not go stale by it. */
void call_doc_shown(struct call *call, int status, const json_t *doc, json_t *shown);
/* The answer is this value without an ETag; stolen. */
void call_value(struct call *call, json_t *value);
void call_location(struct call *call, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* GET of one thing and of a list. sql of a thing: parameters ids…, one column: its document. Of a
 * list: parameters ids…, after (NULL: from the start), limit; columns: name for the page token,
 * document. parent: sql with the ids that has a row if the list exists at all; NULL: it does. */
void call_get(struct call *call, const char *sql, const char *what);
/* A row whose document is null has this one. */
void call_get_or(struct call *call, const char *sql, const char *what, json_t *(*otherwise)(void));
void call_list(struct call *call, const char *list, const char *sql, const char *parent);

/* page_size, and what the page_token says was the last item of the page before ("": the first). */
int call_page(struct call *call, const char *list, int64_t *size,
	      char last[ROUTE_ID_MAX + 1]) MUST_CHECK;
/* A page of what is in memory, by its names, which are ids: {items, next_page_token}. New
 * reference.
 */
json_t *call_page_of(json_t *all, const char *list, int64_t size, const char *last);
/* Answers a page of rows as call_list() has them, one more than `size` if there is a next page. */
void call_rows_page(struct call *call, const char *list, const PGresult *res, int64_t size);
/* The rows of a statement outside of any transaction; NULL: the reply says why. */
PGresult *call_rows(struct call *call, const char *sql, size_t n, const char *const *values);

extern const char *const query_page[];     /* page_size, page_token */
extern const char *const query_mutation[]; /* validate_only */

#endif
