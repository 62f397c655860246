#include "services/edge/auth.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/ids.h"
#include "common/json.h"
#include "services/edge/client_msg.h"
#include "services/edge/jwt.h"
#include "services/edge/resume.h"

#define KEY_PREFIX "pk_"
#define JWT_PREFIX "jwt:"

static enum auth_result check_tenant(const struct catalog *catalog, const char *id)
{
	const struct tenant *tenant = catalog_tenant(catalog, id);

	if (!tenant)
		return AUTH_BAD;
	return tenant->active ? AUTH_OK : AUTH_SUSPENDED;
}

static bool in_force(bool active, int64_t expires_us, int64_t now_us)
{
	return active && (!expires_us || expires_us > now_us);
}

/* --- origins ------------------------------------------------------------------------------ */

/* Scheme and host have no case (RFC 6454, 4). */
static bool origin_fits(const char *pattern, const char *origin)
{
	const char *star = strstr(pattern, "://*.");
	size_t scheme, tail, n = strlen(origin);

	if (!star)
		return !strcasecmp(pattern, origin);
	scheme = (size_t)(star - pattern) + 3;
	tail = strlen(pattern + scheme + 1); /* ".example.com" */
	return n > scheme + tail && !strncasecmp(pattern, origin, scheme) &&
	       !strcasecmp(pattern + scheme + 1, origin + n - tail) && origin[scheme] != '.';
}

bool auth_origin_allowed(const json_t *origins, const char *origin)
{
	const json_t *item;
	size_t i;

	if (!origins || !origin)
		return true;
	json_array_foreach((json_t *)origins, i, item)
	{
		if (origin_fits(json_string_value(item), origin))
			return true;
	}
	return false;
}

char *auth_origin(const char *header)
{
	return header ? xstrdup(strlen(header) <= ORIGIN_MAX ? header : "null") : NULL;
}

/* --- API keys ----------------------------------------------------------------------------- */

static bool secret_fits(const char *secret, const struct api_key *key)
{
	/* Hashing also what has no key makes a guess of an id cost the same. */
	static const char nobody[] =
	    "0000000000000000000000000000000000000000000000000000000000000000";
	char hash[65];

	sha256_hex(secret, strlen(secret), hash);
	return secret_equal(hash, key ? key->hash : nobody) && key && *secret;
}

/* Both ids and secrets may have underscores, so each of them may be the one between; and one key's
 * id may be the beginning of another's: the secret decides. */
static const struct api_key *find_key(const struct catalog *catalog, const char *rest)
{
	char id[TENANT_MAX + 1];
	bool tried = false;

	for (const char *at = strchr(rest, '_'); at; at = strchr(at + 1, '_')) {
		size_t n = (size_t)(at - rest);
		const struct api_key *key;

		if (n > TENANT_MAX)
			break;
		memcpy(id, rest, n);
		id[n] = 0;
		key = catalog_key(catalog, id);
		if (!key)
			continue;
		if (secret_fits(at + 1, key))
			return key;
		tried = true;
	}
	if (!tried)
		(void)secret_fits(rest, NULL);
	return NULL;
}

static void identify(const struct api_key *key, struct auth_identity *who)
{
	snprintf(who->tenant, sizeof(who->tenant), "%s", key->tenant);
	snprintf(who->id, sizeof(who->id), "%s", key->id);
	who->scopes = key->scopes;
	who->expires_us = key->expires_us;
	who->permit = permit_ref(key->permit);
}

static enum auth_result check_key(const struct catalog *catalog, const char *token, int64_t now_us,
				  struct auth_identity *who)
{
	const struct api_key *key = find_key(catalog, token + sizeof(KEY_PREFIX) - 1);
	enum auth_result result;

	if (!key || !in_force(key->active, key->expires_us, now_us))
		return AUTH_BAD;
	result = check_tenant(catalog, key->tenant);
	if (result != AUTH_OK)
		return result;
	identify(key, who);
	return AUTH_OK;
}

/* --- JSON Web Tokens ---------------------------------------------------------------------- */

static unsigned scopes_of(const struct permit *p)
{
	return (permit_any(p, PERMIT_SUBSCRIBE) ? SCOPE_SUBSCRIBE : 0) |
	       (permit_any(p, PERMIT_PUBLISH) ? SCOPE_PUBLISH : 0) |
	       (permit_any(p, PERMIT_PIPELINE) ? SCOPE_TASK : 0);
}

/* The key is looked up by what the token says of itself; that the token is by this key, and for
 * this key's algorithm and tenant, is what follows from the signature. */
static enum auth_result check_signed(const struct catalog *catalog, const struct jwt *t,
				     int64_t now_us, struct auth_identity *who)
{
	const struct signing_key *key = catalog_signing(catalog, t->tenant, t->kid);
	struct jwt_rights rights;
	enum auth_result result;

	if (!key || !in_force(key->active, key->expires_us, now_us) || key->alg != t->alg ||
	    !verifier_good(key->verifier, t->text, t->signed_len, t->signature, t->signature_len) ||
	    jwt_rights(t, now_us, &rights))
		return AUTH_BAD;
	result = check_tenant(catalog, key->tenant);
	if (result != AUTH_OK) {
		permit_unref(rights.permit);
		return result;
	}
	snprintf(who->tenant, sizeof(who->tenant), "%s", key->tenant);
	snprintf(who->id, sizeof(who->id), JWT_PREFIX "%s:%s", key->id, rights.sub);
	who->scopes = scopes_of(rights.permit);
	who->expires_us = rights.expires_us;
	who->permit = rights.permit;
	/* No socket outlives the key. */
	if (key->expires_us && key->expires_us < who->expires_us)
		who->expires_us = key->expires_us;
	return AUTH_OK;
}

static enum auth_result check_jwt(const struct catalog *catalog, const char *token, int64_t now_us,
				  struct auth_identity *who)
{
	struct jwt t;
	enum auth_result result;

	if (jwt_read(token, &t))
		return AUTH_BAD;
	result = check_signed(catalog, &t, now_us, who);
	jwt_done(&t);
	return result;
}

bool auth_is_jwt(const char *principal)
{
	return !strncmp(principal, JWT_PREFIX, sizeof(JWT_PREFIX) - 1);
}

bool auth_signed_by(const char *principal, const char *kid)
{
	size_t n = strlen(kid);

	return auth_is_jwt(principal) && !strncmp(principal + sizeof(JWT_PREFIX) - 1, kid, n) &&
	       principal[sizeof(JWT_PREFIX) - 1 + n] == ':';
}

char *auth_token(const char *authorization, const char *query)
{
	const char *token = NULL;

	if (authorization && !strncasecmp(authorization, "Bearer ", 7))
		token = authorization + 7 + strspn(authorization + 7, " ");
	else if (!authorization)
		token = query;
	if (!token || !*token)
		return NULL;
	/* One that is too long is a bad one, and not none. */
	return xstrdup(strlen(token) <= TOKEN_MAX ? token : "");
}

/* --- the door ----------------------------------------------------------------------------- */

static enum auth_result check_origin(const struct catalog *catalog, const char *origin,
				     struct auth_identity *who)
{
	if (auth_origin_allowed(catalog_tenant(catalog, who->tenant)->origins, origin))
		return AUTH_OK;
	auth_identity_done(who);
	return AUTH_ORIGIN;
}

enum auth_result auth_check(const struct catalog *catalog, const char *token, const char *origin,
			    int64_t now_us, struct auth_identity *who)
{
	enum auth_result result;

	if (!catalog || !catalog_ready(catalog))
		return AUTH_NOT_READY;
	if (!token)
		return AUTH_BAD;
	result = auth_costs(token) ? check_jwt(catalog, token, now_us, who)
				   : check_key(catalog, token, now_us, who);
	return result == AUTH_OK ? check_origin(catalog, origin, who) : result;
}

bool auth_costs(const char *token)
{
	return token && strncmp(token, KEY_PREFIX, sizeof(KEY_PREFIX) - 1) != 0;
}

void auth_identity_done(struct auth_identity *who)
{
	permit_unref(who->permit);
	who->permit = NULL;
}

static bool still_signed(const struct catalog *catalog, const char *tenant, const char *principal,
			 int64_t now_us)
{
	const char *kid = principal + sizeof(JWT_PREFIX) - 1;
	const struct signing_key *key;
	char id[TENANT_MAX + 1];
	size_t n = strcspn(kid, ":");

	if (n > TENANT_MAX)
		return false;
	memcpy(id, kid, n);
	id[n] = 0;
	key = catalog_signing(catalog, tenant, id);
	return key && in_force(key->active, key->expires_us, now_us);
}

enum auth_result auth_recheck(const struct catalog *catalog, const char *tenant,
			      const char *principal, int64_t now_us)
{
	if (auth_is_jwt(principal)) {
		if (!still_signed(catalog, tenant, principal, now_us))
			return AUTH_BAD;
	} else {
		const struct api_key *key = catalog_key(catalog, principal);

		if (!key || strcmp(key->tenant, tenant) != 0 ||
		    !in_force(key->active, key->expires_us, now_us))
			return AUTH_BAD;
	}
	return check_tenant(catalog, tenant);
}

/* What a JWT was let in with; -1 for what cannot have been signed by an edge. */
static int recall(const struct resume_claim *claim, struct auth_identity *who)
{
	json_t *rights = json_parse(claim->rights, strlen(claim->rights), NULL);

	who->permit = permit_new(json_object_get(rights, "channels"),
				 json_object_get(rights, "pipelines"), NULL);
	json_decref(rights);
	if (!who->permit)
		return -1;
	snprintf(who->tenant, sizeof(who->tenant), "%s", claim->tenant);
	snprintf(who->id, sizeof(who->id), "%s", claim->principal);
	who->scopes = scopes_of(who->permit);
	who->expires_us = claim->until_us;
	return 0;
}

enum auth_result auth_resume(const struct catalog *catalog, const struct resume_claim *claim,
			     const char *origin, int64_t now_us, struct auth_identity *who)
{
	enum auth_result result;

	if (!catalog || !catalog_ready(catalog))
		return AUTH_NOT_READY;
	result = auth_recheck(catalog, claim->tenant, claim->principal, now_us);
	if (result != AUTH_OK)
		return result;
	if (!auth_is_jwt(claim->principal))
		identify(catalog_key(catalog, claim->principal), who);
	else if (claim->until_us <= now_us || recall(claim, who))
		return AUTH_BAD;
	return check_origin(catalog, origin, who);
}
