/* Resume tokens: who a session was, signed, so that it may come back without new authentication.
 *
 * base64url of "<session> <tenant> <key id> <ms since 1970>", a dot, and base64url of its
 * HMAC-SHA256. Opaque to clients. Pure; threads: any. */
#ifndef PENSTOCK_EDGE_RESUME_H
#define PENSTOCK_EDGE_RESUME_H

#include <stdint.h>

#include "common/strbuf.h"

void resume_token(struct strbuf *out, const char *key, const char *session, const char *tenant,
		  const char *principal, int64_t wall_ms);

#endif
