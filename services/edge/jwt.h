/* JSON Web Tokens in the one form that is taken: a JWS of three parts (RFC 7515, 3.1) with the
 * claims of PROTOCOL 2.
 *
 * Header: `alg` is HS256, RS256 or ES256, `kid` names a signing key of the tenant; a `crit`, or a
 * `typ` other than JWT or at+jwt, is refused (RFC 8725, 3.11). Keys that a token brings along (jwk,
 * jku, x5c, …) are not looked at.
 * Claims: `tenant`, `sub` (1 to SUB_MAX printable characters, no blank), `exp`; and `nbf`,
 * `channels`, `pipelines`, and `aud`, which must name "penstock" if it is there (RFC 7519, 4.1.3).
 * Others are left alone.
 *
 * Strict: base64url without padding or stray bits, JSON without duplicate members, nothing longer
 * than TOKEN_MAX. Pure; threads: any. */
#ifndef PENSTOCK_EDGE_JWT_H
#define PENSTOCK_EDGE_JWT_H

#include <jansson.h>
#include <stdint.h>

#include "common/names.h"
#include "common/permit.h"
#include "common/signing.h"

#define SUB_MAX      128
#define JWT_AUDIENCE "penstock"
#define JWT_SKEW_US  5000000 /* that the issuer's clock may be ahead; for nbf, never for exp */

struct jwt {
	enum sign_alg alg;
	char kid[TENANT_MAX + 1];
	json_t *claims;     /* owned; nothing of it is true before the signature was verified */
	const char *tenant; /* in claims */
	const char *text;   /* the token, borrowed; its first signed_len bytes are signed */
	size_t signed_len, signature_len;
	uint8_t signature[SIGN_MAX];
};

/* Takes it apart. -1: not a token of this form, and *out needs no jwt_done(). */
int jwt_read(const char *token, struct jwt *out) MUST_CHECK;
void jwt_done(struct jwt *t);

struct jwt_rights {
	const char *sub; /* in the token's claims */
	int64_t expires_us;
	struct permit *permit; /* one reference */
};
/* Once the signature is known to be good. -1: a claim is missing, of a wrong form, or says that it
 * is not the time. */
int jwt_rights(const struct jwt *t, int64_t now_us, struct jwt_rights *out) MUST_CHECK;

#endif
