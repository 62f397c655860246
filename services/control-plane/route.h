/* The small pure parts of serving the API: paths, page tokens, preconditions. Threads: any. */
#ifndef PENSTOCK_CONTROL_ROUTE_H
#define PENSTOCK_CONTROL_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define ROUTE_IDS    3
#define ROUTE_ID_MAX 128

struct route_ids {
	char id[ROUTE_IDS][ROUTE_ID_MAX + 1];
	size_t n;
};

/* pattern: segments, {} for one that is an id, e.g. "/v1/tenants/{}/keys/{}" or
 * "/v1/tenants/{}:suspend". An id is never empty. */
bool route_match(const char *pattern, const char *path, struct route_ids *ids);

#define PAGE_TOKEN_MAX 400 /* NUL included */
/* A token says of which list it is and what the last item of the page was. */
void page_token_make(const char *list, const char *last, char out[PAGE_TOKEN_MAX]);
/* last: room for ROUTE_ID_MAX + 1. ERR_REJECTED for a token that is none, or another list's. */
int page_token_read(const char *token, const char *list, char *last, struct error *err) MUST_CHECK;

enum precondition { PRE_OK, PRE_MISSING, PRE_STALE };
/* RFC 9110, 13.1: etag is the current one, NULL if the thing does not exist. What exists may only
 * be changed by somebody who says which state of it was seen (If-Match), "*" included. */
enum precondition precondition(const char *if_match, const char *if_none_match, const char *etag);

#endif
