/* base64url without padding: RFC 4648 section 5, as RFC 7515 appendix C wants it. Pure; threads:
 * any. */
#ifndef PENSTOCK_BASE64URL_H
#define PENSTOCK_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

#define BASE64URL_LEN(n) (((n)*4 + 2) / 3) /* characters for n bytes */

/* out: BASE64URL_LEN(n) + 1, NUL included. */
void base64url_encode(const void *data, size_t n, char *out);
void base64url_add(struct strbuf *out, const void *data, size_t n);
/* Strict: no padding, no blanks, no other alphabet, no bits behind the last byte, so that no two
 * texts decode to the same bytes. False, and *n is undefined, if it is not that or does not fit
 * room. */
bool base64url_decode(const char *text, size_t len, void *out, size_t room, size_t *n);

#endif
