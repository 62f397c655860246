/* /v1/tenants/{t}/signing-keys. The secret of an HS256 key is shown once; it goes to PostgreSQL and
 * to the bucket, where the edges need it, and into no audit row, list or log. */
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "services/control-plane/auth.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

#define SECRET_BYTES 32
#define SECRET_LEN   43 /* in base64url */

void signing_list(struct call *call)
{
	call_list(call, "signing-keys",
		  "SELECT id, doc FROM control.signing_keys WHERE tenant = $1"
		  " AND ($2::text IS NULL OR id > $2) ORDER BY id LIMIT $3::bigint",
		  "SELECT 1 FROM control.tenants WHERE id = $1");
}

void signing_get(struct call *call)
{
	call_get(call, "SELECT doc FROM control.signing_keys WHERE tenant = $1 AND id = $2",
		 "signing key");
}

static int publish(struct change *ch, const json_t *doc, const char *secret)
{
	char key[REGISTRY_KEY_MAX];
	json_t *entry = registry_catalog_signing(doc, secret);

	registry_key_signing(json_string_value(json_object_get(doc, "tenant")),
			     json_string_value(json_object_get(doc, "id")), key);
	int rc = change_publish(ch, key, entry);
	json_decref(entry);
	return rc;
}

/* An id that was used stays used, also by a revoked key: its tokens shall not come back to life. */
static int must_be_new(struct change *ch, const char *tenant, const char *id)
{
	json_t *there, *old;
	int rc = -1;

	if (change_find(ch, "SELECT doc FROM control.tenants WHERE id = $1", 1,
			(const char *[]){tenant}, &there))
		return -1;
	if (!there)
		call_fail(ch->call, 404, "not_found", "no such tenant");
	else if (!change_find(ch,
			      "SELECT doc FROM control.signing_keys WHERE tenant = $1 AND id = $2",
			      2, (const char *[]){tenant, id}, &old)) {
		rc =
		    old ? call_fail(ch->call, 409, "conflict", "the signing key %s exists", id) : 0;
		json_decref(old);
	}
	json_decref(there);
	return rc;
}

static int insert(struct change *ch, const char *tenant, const char *id, const json_t *doc,
		  const char *secret)
{
	char *text = json_text(doc, NULL);
	int rc = change_run(
	    ch,
	    "INSERT INTO control.signing_keys (tenant, id, doc, secret) VALUES ($1, $2, $3, $4)", 4,
	    (const char *[]){tenant, id, text, secret});
	free(text);
	return rc || publish(ch, doc, secret);
}

/* The only time that the secret leaves, and not for a rehearsal. */
static void answer(struct call *call, const json_t *doc, const char *secret)
{
	call_doc(call, call->validate_only ? 200 : 201, doc);
	if (call->validate_only)
		return;
	call_location(call, "/v1/tenants/%s/signing-keys/%s", call->ids.id[0],
		      json_string_value(json_object_get(doc, "id")));
	if (!secret)
		return;
	json_t *shown = json_copy((json_t *)doc);
	json_object_set_new(shown, "secret", json_string(secret));
	strbuf_reset(&call->reply->body);
	json_add(&call->reply->body, shown);
	json_decref(shown);
}

void signing_post(struct call *call)
{
	struct error err;
	struct change ch;
	struct auth_secret fresh;
	char made[SECRET_LEN + 1];
	const char *tenant = call->ids.id[0], *secret = NULL;
	if (call_need_body(call))
		return;
	auth_secret_new(&fresh);
	json_t *doc = registry_signing(call->body, fresh.id, tenant, call->now_us, &err);
	explicit_bzero(&fresh.secret, sizeof(fresh.secret));
	if (!doc) {
		call_error(call, &err);
		return;
	}
	const char *id = json_string_value(json_object_get(doc, "id"));
	if (!json_object_get(doc, "public_key")) {
		secret_random(SECRET_BYTES, made);
		secret = json_string_value(json_object_get(call->body, "secret"));
		secret = secret ? secret : made;
	}
	if (!change_begin(&ch, call, "tenant", tenant) && !must_be_new(&ch, tenant, id) &&
	    !insert(&ch, tenant, id, doc, secret) &&
	    !change_commit(&ch, "signing-key.create", tenant, NULL, doc))
		answer(call, doc, secret);
	change_end(&ch);
	json_decref(doc);
	explicit_bzero(made, sizeof(made));
}

static int revoke(struct change *ch, const char *tenant, const char *id, const json_t *doc)
{
	char *text = json_text(doc, NULL);
	int rc = publish(ch, doc, NULL) ||
		 change_run(ch,
			    "UPDATE control.signing_keys SET doc = $3, secret = NULL,"
			    " updated_at = now() WHERE tenant = $1 AND id = $2",
			    3, (const char *[]){tenant, id, text});
	free(text);
	return rc;
}

void signing_delete(struct call *call)
{
	struct change ch;
	const char *tenant = call->ids.id[0], *id = call->ids.id[1];
	json_t *old = NULL, *doc = NULL;
	if (change_begin(&ch, call, "tenant", tenant) ||
	    change_find(&ch, "SELECT doc FROM control.signing_keys WHERE tenant = $1 AND id = $2",
			2, (const char *[]){tenant, id}, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such signing key");
		goto out;
	}
	if (call_precondition(call, old))
		goto out;
	doc = registry_key_revoked(old, call->now_us);
	if (!revoke(&ch, tenant, id, doc) &&
	    !change_commit(&ch, "signing-key.revoke", tenant, old, doc))
		call->reply->status = 204;
out:
	change_end(&ch);
	json_decref(old);
	json_decref(doc);
}
