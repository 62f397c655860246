/* Resume tokens: whose session it was, signed, so that it may be gone on with on any edge and
 * without new authentication.
 *
 * The token says all that is needed, so no edge has to ask anybody but its own catalog; it is
 * renewed while the socket stands, and expires by itself (docs/decisions/0009). Text: base64url of
 * the claim, a dot, base64url of its HMAC-SHA256 (RFC 2104). Opaque to clients, never logged. Pure;
 * threads: any. */
#ifndef PENSTOCK_EDGE_RESUME_H
#define PENSTOCK_EDGE_RESUME_H

#include <stdint.h>

#include "common/ids.h"
#include "common/names.h"
#include "common/strbuf.h"

#define RIGHTS_MAX 3072 /* what a JWT's claims can be at most */
#define RESUME_MAX 4800 /* of a token's text */

struct resume_claim {
	struct id session;
	char tenant[TENANT_MAX + 1];
	char principal[PRINCIPAL_MAX + 1];
	int64_t expires_ms; /* since 1970 */
	/* A JWT is gone with its socket, so what it allowed, and until when, is said here: JSON as
	 * its claims, without blanks. An API key has both in its document: 0 and "". */
	int64_t until_us;
	char rights[RIGHTS_MAX + 1];
};

/* key: the edges' common one, a text. */
void resume_token(struct strbuf *out, const char *key, const struct resume_claim *claim);
/* False: not signed with this key, not a token at all, or expired; *claim is undefined then. The
 * signature is compared in equal time, before anything that it covers is looked at. */
bool resume_read(const char *token, const char *key, int64_t wall_ms, struct resume_claim *claim);

#endif
