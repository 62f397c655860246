/* Strict JSON (RFC 8259) in one pass without building a tree: the members of one object as slices.
 *
 * The whole text is checked: grammar, nesting of at most 64, no duplicate keys at any level, no NUL
 * and no lone surrogate in a string. What is rare and dear to check (objects with very many keys,
 * escapes in keys, giant numbers) is decided by common/json.h. The text must be valid UTF-8
 * already. Pure; threads: any. */
#ifndef PENSTOCK_EDGE_JSCAN_H
#define PENSTOCK_EDGE_JSCAN_H

#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "services/edge/slice.h"

enum jkind { J_OBJECT, J_ARRAY, J_STRING, J_NUMBER, J_TRUE, J_FALSE, J_NULL };

struct jmember {
	struct slice key;   /* as written, without the quotes */
	struct slice value; /* as written; a string with its quotes */
	enum jkind kind;
};

/* More than max members, or anything but an object: ERR_REJECTED. Slices point into text. */
int jscan_object(const char *text, size_t len, struct jmember *out, size_t max, size_t *n,
		 struct error *err) MUST_CHECK;
/* A string's text with its escapes resolved and a NUL; false if it is no string or does not fit. */
bool jscan_text(const struct jmember *m, char *out, size_t cap);
/* A whole number without fraction or exponent; false if it is none or does not fit. */
bool jscan_int(const struct jmember *m, int64_t *out);
/* Adds a value that was scanned, without the white space between its tokens. */
void jscan_compact(struct strbuf *b, struct slice value);

#endif
