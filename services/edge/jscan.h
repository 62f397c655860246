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
#include "common/slice.h"
#include "common/strbuf.h"

enum jkind {
	J_OBJECT,
	J_ARRAY,
	J_STRING,
	J_NUMBER,
	J_TRUE,
	J_FALSE,
	J_NULL,
	/* Not from JSON: who reads the same members from another encoding makes them. */
	J_TEXT,    /* value is the text itself */
	J_INT,     /* number */
	J_MESSAGE, /* value is a message of that encoding */
};

struct jmember {
	struct slice key;   /* as written, without the quotes */
	struct slice value; /* as written; a string with its quotes */
	enum jkind kind;
	int64_t number; /* J_INT only */
};

/* Slices point into text. ERR_REJECTED with *n 0: no JSON object. ERR_REJECTED with *n > 0: one
 * with something in it that is not taken (see above; or more than max members): the members tell
 * whom to answer. */
int jscan_object(const char *text, size_t len, struct jmember *out, size_t max, size_t *n,
		 struct error *err) MUST_CHECK;
/* One JSON value of any kind, as strictly as the members of an object are checked. */
int jscan_value(const char *text, size_t len, struct error *err) MUST_CHECK;
/* One JSON value and nothing else by the grammar of RFC 8259 alone, nested by at most 256: what any
 * parser can read. For what the plane says itself. *ascii true: it is UTF-8, too; false: that is
 * still to be found out. */
bool jscan_valid(const char *text, size_t len, bool *ascii);
/* A string's text with its escapes resolved and a NUL; false if it is no string, does not fit, or
 * has a NUL or a lone surrogate in it. */
bool jscan_text(const struct jmember *m, char *out, size_t cap);
/* Adds the text of a string that was scanned, without its quotes, with its escapes resolved; NUL
 * stays, half of a surrogate pair becomes NUL. */
void jscan_unescape(struct strbuf *b, struct slice text);
/* A whole number without fraction or exponent; false if it is none or does not fit. */
bool jscan_int(const struct jmember *m, int64_t *out);
/* Adds a value that was scanned, without the white space between its tokens. */
void jscan_compact(struct strbuf *b, struct slice value);

#endif
