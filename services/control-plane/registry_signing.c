/* A tenant's signing keys, and the origins that its web pages come from. */
#include <ctype.h>
#include <string.h>

#include "common/names.h"
#include "common/signing.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/registry_util.h"

#define NAME_TEXT_MAX 200
#define ORIGINS_MAX   64
#define ORIGIN_MAX    255

/* --- signing keys -------------------------------------------------------------------------- */

/* What it verifies with: a secret or a public key, as its algorithm wants it, and never both. */
static int check_material(const json_t *in, enum sign_alg alg, struct error *err)
{
	const char *mine = alg == SIGN_HS256 ? "secret" : "public_key";
	const char *other = alg == SIGN_HS256 ? "public_key" : "secret";
	const char *text;
	struct verifier *v;
	int rc;

	if (json_object_get(in, other))
		return err_set(err, ERR_REJECTED, "%s: is not for %s", other, sign_alg_name(alg));
	/* A secret that is not given is made. */
	if (json_get_text(in, mine, alg != SIGN_HS256, &text, err))
		return -1;
	if (!text)
		return 0;
	v = verifier_new(alg, text);
	rc = verifier_check(v, err);
	verifier_free(v);
	return rc ? err_wrap(err, "%s", mine) : 0;
}

static int copy_alg(json_t *doc, const json_t *in, struct error *err)
{
	const char *text;
	enum sign_alg alg;

	if (json_get_text(in, "alg", true, &text, err))
		return -1;
	if (!sign_alg_parse(text, &alg))
		return err_set(err, ERR_REJECTED, "alg: must be one of HS256, RS256, ES256");
	json_object_set_new(doc, "alg", json_string(text));
	if (check_material(in, alg, err))
		return -1;
	if (alg != SIGN_HS256)
		json_object_set(doc, "public_key", json_object_get(in, "public_key"));
	return 0;
}

json_t *registry_signing(const json_t *in, const char *fresh_id, const char *tenant,
			 int64_t created_us, struct error *err)
{
	static const char *const names[] = {"id",     "name",       "alg", "public_key",
					    "secret", "expires_at", NULL};
	json_t *doc = json_object();
	const char *id;

	if (registry_object(in, "a signing key", err) || json_only(in, names, err) ||
	    json_get_text(in, "id", false, &id, err))
		goto fail;
	if (id && !name_valid_tenant(id)) {
		err_set(err, ERR_REJECTED, "id: 1 to %d letters, digits, _ or -", TENANT_MAX);
		goto fail;
	}
	json_object_set_new(doc, "id", json_string(id ? id : fresh_id));
	json_object_set_new(doc, "tenant", json_string(tenant));
	if (registry_copy_text(doc, in, "name", NAME_TEXT_MAX, NULL, err) ||
	    copy_alg(doc, in, err) || registry_copy_expiry(doc, in, created_us, err))
		goto fail;
	json_object_set_new(doc, "status", json_string("active"));
	registry_set_time(doc, "created_at", created_us);
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

json_t *registry_catalog_signing(const json_t *doc, const char *secret)
{
	static const char *const names[] = {"id", "tenant", "alg", "status", "expires_at"};
	json_t *out = json_object();

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (json_object_get(doc, names[i]))
			json_object_set(out, names[i], json_object_get(doc, names[i]));
	if (strcmp(json_string_value(json_object_get(doc, "status")), "active") != 0)
		return out;
	if (secret)
		json_object_set_new(out, "secret", json_string(secret));
	else
		json_object_set(out, "public_key", json_object_get(doc, "public_key"));
	return out;
}

void registry_key_signing(const char *tenant, const char *id, char out[REGISTRY_KEY_MAX])
{
	snprintf(out, REGISTRY_KEY_MAX, "signing.%s.%s", tenant, id);
}

/* --- origins ------------------------------------------------------------------------------- */

static bool only(const char *from, const char *to, const char *others)
{
	for (; from < to; from++)
		if (!isalnum((unsigned char)*from) && !strchr(others, *from))
			return false;
	return true;
}

/* scheme "://" host [ ":" port ] (RFC 6454, 6.1); the host may begin with "*.". */
static bool valid_origin(const char *text)
{
	const char *host = strstr(text, "://"), *end = text + strlen(text), *port;

	if (!host || host == text || end - text > ORIGIN_MAX || !only(text, host, "+-."))
		return false;
	host += 3;
	if (!strncmp(host, "*.", 2))
		host += 2;
	port = *host == '[' ? strchr(host, ']') : host + strcspn(host, ":");
	if (!port)
		return false;
	if (*host == '[') {
		if (!only(host + 1, port, ":."))
			return false;
		port++;
	} else if (port == host || !only(host, port, "-._")) {
		return false;
	}
	return !*port ||
	       (*port == ':' && port[1] && strspn(port + 1, "0123456789") == strlen(port + 1));
}

int registry_copy_origins(json_t *doc, const json_t *in, struct error *err)
{
	const json_t *list = json_object_get(in, "origins");
	const json_t *item;
	size_t i;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list) || json_array_size(list) > ORIGINS_MAX)
		return err_set(err, ERR_REJECTED, "origins: must be a list of at most %d",
			       ORIGINS_MAX);
	json_array_foreach((json_t *)list, i, item)
	{
		if (!json_is_string(item) || !valid_origin(json_string_value(item)))
			return err_set(err, ERR_REJECTED,
				       "origins[%zu]: must be as https://app.example.com:8443", i);
	}
	json_object_set(doc, "origins", (json_t *)list);
	return 0;
}
