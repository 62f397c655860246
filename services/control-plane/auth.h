/* Who asks: the admin key, or an operator's key with a role. Threads: any. Tokens are never logged.
 */
#ifndef PENSTOCK_CONTROL_AUTH_H
#define PENSTOCK_CONTROL_AUTH_H

#include "services/control-plane/api.h"

/* Fills in the call's actor and role; -1 with the reply filled in (401, or 503 when an operator's
 * key cannot be looked up). */
int auth_check(struct call *call) MUST_CHECK;
int auth_allowed(struct call *call, enum api_role least) MUST_CHECK; /* 403 */

enum api_role auth_role_parse(const char *word); /* ROLE_NONE if it is none */
const char *auth_role_name(enum api_role role);

/* An id and a secret of lower-case letters and digits only: "pk_<id>_<secret>" splits without
 * doubt. */
#define AUTH_ID_LEN     16
#define AUTH_SECRET_LEN 43
struct auth_secret {
	char id[AUTH_ID_LEN + 1];
	char secret[AUTH_SECRET_LEN + 1];
	char hash[65]; /* hex SHA-256 of the secret */
};
void auth_secret_new(struct auth_secret *out);
/* Splits <prefix>_<id>_<secret>; false if it is none. */
bool auth_secret_parse(const char *token, const char *prefix, struct auth_secret *out);

#endif
