/* Who is it? A token against the catalog.
 *
 * Tokens: `pk_<id>_<secret>`, an API key, whose secret is known to the plane only as a SHA-256 and
 * compared in equal time; and JSON Web Tokens (jwt.h) signed with a key of their tenant.
 * auth_check() is the one door for all of them, on every road into the edge.
 *
 * Pure but for the catalog it reads. It runs on the hub's thread: HS256 costs 7 us there,
 * RS256 60, ES256 140, so door.c does a few of them at a time. Threads: the catalog's loop. Never
 * logs a token. */
#ifndef PENSTOCK_EDGE_AUTH_H
#define PENSTOCK_EDGE_AUTH_H

#include <stdint.h>

#include "common/catalog.h"
#include "common/names.h"

struct resume_claim;

enum auth_result {
	AUTH_OK,
	AUTH_BAD,       /* no such key, revoked, expired, or not the secret: close 4001 */
	AUTH_SUSPENDED, /* the tenant is: close 4003 */
	AUTH_ORIGIN,    /* the tenant does not let pages of this origin in: close 4001 */
	AUTH_NOT_READY, /* the configuration has not been read yet: try again */
	AUTH_EXPIRED,   /* a resume token that is good no more, and nothing else: close 4300 */
	AUTH_FULL,      /* the tenant has as many sockets as it may have: close 4100 */
	AUTH_BUSY,      /* more come in than the edge takes in a second: close 4101 */
};

#define ORIGIN_MAX 300 /* of an Origin header */

#define AUTH_ORIGIN_TEXT "the tenant does not let pages of this origin in"

struct auth_identity {
	char tenant[TENANT_MAX + 1];
	char id[PRINCIPAL_MAX + 1];
	unsigned scopes;       /* enum scope */
	int64_t expires_us;    /* 0: never */
	struct permit *permit; /* one reference; NULL: all that the scopes allow */
};

/* The token of a request: Authorization: Bearer, or where that header is not there the query's
 * access_token. Each NULL: not there. Owned by the caller; NULL: none. */
char *auth_token(const char *authorization, const char *query);
/* Its Origin header, likewise: one that is too long is none that anybody allows. */
char *auth_origin(const char *header);

/* now_us: UTC. origin: of the page that asks, NULL for who is no browser. *who is set only for
 * AUTH_OK, and then auth_identity_done() is due. token NULL or "": AUTH_BAD. */
enum auth_result auth_check(const struct catalog *catalog, const char *token, const char *origin,
			    int64_t now_us, struct auth_identity *who);
/* Does it take the check of a signature? token may be NULL. */
bool auth_costs(const char *token);
/* Who has proved with a resume token that he was let in before: is he still good? An API key has
 * the rights of its document, a JWT those that it had. */
enum auth_result auth_resume(const struct catalog *catalog, const struct resume_claim *claim,
			     const char *origin, int64_t now_us, struct auth_identity *who);
void auth_identity_done(struct auth_identity *who); /* zeroed is fine; again is fine */
/* May this principal, who was let in before, still be here? After the configuration changed. Its
 * own expiry is its session's matter. */
enum auth_result auth_recheck(const struct catalog *catalog, const char *tenant,
			      const char *principal, int64_t now_us);
bool auth_is_jwt(const char *principal);
/* It is one that was signed with this key. */
bool auth_signed_by(const char *principal, const char *kid);

/* origins: of the tenant's document, NULL for all; each is an origin as browsers send it, or one
 * whose host begins with "*.", for all hosts below that one. origin NULL: true. */
bool auth_origin_allowed(const json_t *origins, const char *origin);

#endif
