/* Who the sessions of a reactor belong to: a principal for each API key, and for each JSON Web
 * Token of different rights, shared by its sessions.
 *
 * What an API key may do is its document's, so a change there is a change for all its sessions; a
 * token's rights are the token's own. Threads: the reactor's, but for principal_revoke(). */
#ifndef PENSTOCK_EDGE_PRINCIPAL_H
#define PENSTOCK_EDGE_PRINCIPAL_H

#include "services/edge/auth.h"
#include "services/edge/reactor.h"

/* One reference on who this is; what *who holds and the reference on usage are taken over. */
struct principal *principal_take(struct reactor *r, struct auth_identity *who,
				 struct usage_tenant *usage);
void principal_drop(struct reactor *r, struct principal *p); /* NULL is fine */

/* Of all sessions of a tenant, of an API key (key), or of what was signed with a key (signing; of
 * the tenant): they are closed with code; 0: only what the API key may do has changed, to rights'
 * scopes, expiry and permit. */
struct revoke {
	const char *tenant, *key, *signing;
	unsigned code;
	const struct api_key *rights;
};
/* Any thread; copies. */
void principal_revoke(struct reactor *r, const struct revoke *what);

#endif
