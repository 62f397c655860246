#include "services/edge/auth.h"

#include <stdio.h>
#include <string.h>

#include "common/ids.h"

#define KEY_PREFIX "pk_"

static enum auth_result check_state(const struct catalog *catalog, const struct api_key *key,
				    int64_t now_us)
{
	const struct tenant *tenant;

	if (!key || !key->active || (key->expires_us && key->expires_us <= now_us))
		return AUTH_BAD;
	tenant = catalog_tenant(catalog, key->tenant);
	if (!tenant)
		return AUTH_BAD;
	return tenant->active ? AUTH_OK : AUTH_SUSPENDED;
}

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

enum auth_result auth_check(const struct catalog *catalog, const char *token, int64_t now_us,
			    struct auth_identity *who)
{
	const struct api_key *key;
	enum auth_result result;

	if (!catalog || !catalog_ready(catalog))
		return AUTH_NOT_READY;
	if (!token || strncmp(token, KEY_PREFIX, sizeof(KEY_PREFIX) - 1))
		return AUTH_BAD;
	key = find_key(catalog, token + sizeof(KEY_PREFIX) - 1);
	if (!key)
		return AUTH_BAD;
	result = check_state(catalog, key, now_us);
	if (result != AUTH_OK)
		return result;
	snprintf(who->tenant, sizeof(who->tenant), "%s", key->tenant);
	snprintf(who->id, sizeof(who->id), "%s", key->id);
	who->scopes = key->scopes;
	who->expires_us = key->expires_us;
	return AUTH_OK;
}

enum auth_result auth_recheck(const struct catalog *catalog, const char *tenant, const char *key_id,
			      int64_t now_us)
{
	const struct api_key *key = catalog_key(catalog, key_id);

	if (key && strcmp(key->tenant, tenant))
		return AUTH_BAD;
	return check_state(catalog, key, now_us);
}
