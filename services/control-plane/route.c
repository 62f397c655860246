#include "services/control-plane/route.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base64url.h"

/* One segment of a path against "{}", "{}:verb" or a fixed word. */
static bool segment(const char *pattern, size_t n, const char *text, size_t len,
		    struct route_ids *ids)
{
	if (n < 2 || memcmp(pattern, "{}", 2) != 0)
		return n == len && !memcmp(pattern, text, n);
	size_t suffix = n - 2;
	if (len <= suffix || memcmp(text + len - suffix, pattern + 2, suffix) != 0)
		return false;
	len -= suffix;
	if (len > ROUTE_ID_MAX || ids->n == ROUTE_IDS)
		return false;
	memcpy(ids->id[ids->n], text, len);
	ids->id[ids->n++][len] = '\0';
	return true;
}

bool route_match(const char *pattern, const char *path, struct route_ids *ids)
{
	ids->n = 0;
	while (*pattern == '/' && *path == '/') {
		size_t n = strcspn(++pattern, "/"), len = strcspn(++path, "/");
		if (!segment(pattern, n, path, len, ids))
			return false;
		pattern += n;
		path += len;
	}
	return !*pattern && !*path;
}

void page_token_make(const char *list, const char *last, char out[PAGE_TOKEN_MAX])
{
	char text[(PAGE_TOKEN_MAX - 1) / 4 * 3];
	int n = snprintf(text, sizeof(text), "%.64s\n%.*s", list, ROUTE_ID_MAX, last);
	base64url_encode(text, (size_t)n, out);
}

int page_token_read(const char *token, const char *list, char *last, struct error *err)
{
	char text[PAGE_TOKEN_MAX];
	size_t len, n = strlen(list);
	bool good = base64url_decode(token, strlen(token), text, sizeof(text) - 1, &len);
	text[good ? len : 0] = '\0';
	if (strlen(text) != len || strncmp(text, list, n) != 0 || text[n] != '\n' || !text[n + 1] ||
	    strlen(text + n + 1) > ROUTE_ID_MAX)
		return err_set(err, ERR_REJECTED, "page_token: is not one of this list");
	strcpy(last, text + n + 1);
	return 0;
}

/* Is etag in the list of a header ("a", "b" or *)? Strong comparison: a weak one never matches. */
static bool listed(const char *header, const char *etag)
{
	size_t len = strlen(etag);
	while (*header) {
		header += strspn(header, " \t,");
		size_t n = strcspn(header, " \t,");
		if ((n == 1 && *header == '*') || (n == len && !memcmp(header, etag, n)))
			return true;
		header += n;
	}
	return false;
}

enum precondition precondition(const char *if_match, const char *if_none_match, const char *etag)
{
	if (!etag)
		return if_match ? PRE_STALE : PRE_OK;
	if (if_none_match && listed(if_none_match, etag))
		return PRE_STALE;
	if (!if_match)
		return PRE_MISSING;
	return listed(if_match, etag) ? PRE_OK : PRE_STALE;
}
