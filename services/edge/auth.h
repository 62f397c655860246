/* Who is it? A token against the catalog.
 *
 * Tokens: `pk_<id>_<secret>`, an API key; its secret is known to the plane only as a SHA-256, and
 * compared in equal time. (JWTs come in here as well: auth_check() is the one door.) Pure but for
 * the catalog it reads. Threads: the catalog's loop. Never logs a token. */
#ifndef PENSTOCK_EDGE_AUTH_H
#define PENSTOCK_EDGE_AUTH_H

#include <stdint.h>

#include "common/catalog.h"
#include "common/names.h"

enum auth_result {
	AUTH_OK,
	AUTH_BAD,       /* no such key, revoked, expired, or not the secret: close 4001 */
	AUTH_SUSPENDED, /* the tenant is: close 4003 */
	AUTH_NOT_READY, /* the configuration has not been read yet: try again */
};

struct auth_identity {
	char tenant[TENANT_MAX + 1];
	char id[TENANT_MAX + 1]; /* of the key */
	unsigned scopes;         /* enum scope */
	int64_t expires_us;      /* 0: never */
};

/* now_us: UTC. *who is set only for AUTH_OK. token NULL or "": AUTH_BAD. */
enum auth_result auth_check(const struct catalog *catalog, const char *token, int64_t now_us,
			    struct auth_identity *who);
/* The same question again, after the configuration changed. */
enum auth_result auth_recheck(const struct catalog *catalog, const char *tenant, const char *key_id,
			      int64_t now_us);

#endif
