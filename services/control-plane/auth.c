#include "services/control-plane/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "common/pg.h"
#include "services/control-plane/db.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";

/* Five bits a character: 80 bits for the id, 215 for the secret. */
static void random_text(char *out, size_t n)
{
	unsigned char raw[64];
	if (getrandom(raw, n, 0) != (ssize_t)n)
		abort(); /* only without a kernel source: a key that can be guessed is worse */
	for (size_t i = 0; i < n; i++)
		out[i] = letters[raw[i] & 31];
	out[n] = '\0';
}

void auth_secret_new(struct auth_secret *out)
{
	random_text(out->id, AUTH_ID_LEN);
	random_text(out->secret, AUTH_SECRET_LEN);
	sha256_hex(out->secret, AUTH_SECRET_LEN, out->hash);
}

bool auth_secret_parse(const char *token, const char *prefix, struct auth_secret *out)
{
	size_t n = strlen(prefix);
	if (strncmp(token, prefix, n) != 0 || token[n] != '_')
		return false;
	token += n + 1;
	if (strspn(token, letters) != AUTH_ID_LEN || token[AUTH_ID_LEN] != '_' ||
	    strlen(token + AUTH_ID_LEN + 1) != AUTH_SECRET_LEN)
		return false;
	memcpy(out->id, token, AUTH_ID_LEN);
	out->id[AUTH_ID_LEN] = '\0';
	strcpy(out->secret, token + AUTH_ID_LEN + 1);
	sha256_hex(out->secret, AUTH_SECRET_LEN, out->hash);
	return true;
}

static const char *const roles[] = {"none", "viewer", "operator", "admin"};

enum api_role auth_role_parse(const char *word)
{
	for (int i = ROLE_VIEWER; i <= ROLE_ADMIN; i++)
		if (word && !strcmp(word, roles[i]))
			return (enum api_role)i;
	return ROLE_NONE;
}

const char *auth_role_name(enum api_role role)
{
	return roles[role];
}

static int unauthenticated(struct call *call)
{
	return call_fail(call, 401, "unauthenticated",
			 "Authorization: Bearer with the admin key or an operator's key");
}

/* Compares digests: equal in time whatever the lengths are. */
static bool is_admin(const struct api *api, const char *token)
{
	char ours[65], theirs[65];
	sha256_hex(api->admin_key, strlen(api->admin_key), ours);
	sha256_hex(token, strlen(token), theirs);
	return secret_equal(ours, theirs);
}

static int check_operator(struct call *call, const char *token)
{
	struct auth_secret given;
	struct error err;
	if (!auth_secret_parse(token, "op", &given))
		return unauthenticated(call);
	PGconn *conn = db_take(call->api->pool, &err);
	if (!conn)
		return call_error(call, &err);
	PGresult *res =
	    pg_query(conn, "SELECT hash, doc->>'role' FROM control.operators WHERE id = $1", 1,
		     (const char *[]){given.id}, &err);
	db_give(call->api->pool, conn);
	if (!res)
		return call_error(call, &err);
	bool good = PQntuples(res) == 1 && secret_equal(pg_text(res, 0, 0), given.hash);
	call->role = good ? auth_role_parse(pg_text(res, 0, 1)) : ROLE_NONE;
	PQclear(res);
	snprintf(call->actor, sizeof(call->actor), "%s", given.id);
	return call->role == ROLE_NONE ? unauthenticated(call) : 0;
}

int auth_check(struct call *call)
{
	const char *header = call->req->authorization;
	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return unauthenticated(call);
	header += 7 + strspn(header + 7, " ");
	if (!is_admin(call->api, header))
		return check_operator(call, header);
	call->role = ROLE_ADMIN;
	strcpy(call->actor, "admin");
	return 0;
}

int auth_allowed(struct call *call, enum api_role least)
{
	if (call->role >= least)
		return 0;
	return call_fail(call, 403, "forbidden", "this needs the role %s, the key has %s",
			 auth_role_name(least), auth_role_name(call->role));
}
