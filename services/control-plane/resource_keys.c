/* /v1/tenants/{t}/keys and /v1/operators: secrets that are shown once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/control-plane/auth.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

#define TENANT_EXISTS "SELECT 1 FROM control.tenants WHERE id = $1"

void keys_list(struct call *call)
{
	call_list(call, "keys",
		  "SELECT id, doc FROM control.api_keys WHERE tenant = $1"
		  " AND ($2::text IS NULL OR id > $2) ORDER BY id LIMIT $3::bigint",
		  TENANT_EXISTS);
}

void key_get(struct call *call)
{
	call_get(call, "SELECT doc FROM control.api_keys WHERE tenant = $1 AND id = $2", "key");
}

/* The only time that the secret leaves: the document with it is the answer and is kept nowhere. */
static void answer_secret(struct call *call, const json_t *doc, const char *prefix,
			  const struct auth_secret *secret)
{
	char token[128];
	if (call->validate_only) {
		call_doc(call, 200, doc);
		return;
	}
	call_doc(call, 201, doc);
	strbuf_reset(&call->reply->body);
	snprintf(token, sizeof(token), "%s_%s_%s", prefix, secret->id, secret->secret);
	json_t *shown = json_copy((json_t *)doc);
	json_object_set_new(shown, "key", json_string(token));
	json_add(&call->reply->body, shown);
	json_decref(shown);
}

static int publish_key(struct change *ch, const json_t *doc, const char *id, const char *hash)
{
	char key[REGISTRY_KEY_MAX];
	json_t *entry = registry_catalog_key(doc, hash);
	registry_key_key(id, key);
	int rc = change_publish(ch, key, entry);
	json_decref(entry);
	return rc;
}

static int insert_key(struct change *ch, const char *tenant, const json_t *doc,
		      const struct auth_secret *secret)
{
	char *text = json_text(doc, NULL);
	int rc = change_run(
	    ch, "INSERT INTO control.api_keys (id, tenant, hash, doc) VALUES ($1, $2, $3, $4)", 4,
	    (const char *[]){secret->id, tenant, secret->hash, text});
	free(text);
	return rc || publish_key(ch, doc, secret->id, secret->hash);
}

void keys_post(struct call *call)
{
	struct error err;
	struct change ch;
	struct auth_secret secret;
	const char *tenant = call->ids.id[0];
	json_t *there = NULL, *empty = json_object();
	auth_secret_new(&secret);
	json_t *doc =
	    registry_key(call->body ? call->body : empty, secret.id, tenant, call->now_us, &err);
	json_decref(empty);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	if (change_begin(&ch, call, "tenant", tenant) ||
	    change_find(&ch, "SELECT doc FROM control.tenants WHERE id = $1", 1,
			(const char *[]){tenant}, &there))
		goto out;
	if (!there) {
		call_fail(call, 404, "not_found", "no such tenant");
		goto out;
	}
	if (insert_key(&ch, tenant, doc, &secret) ||
	    change_commit(&ch, "key.create", tenant, NULL, doc))
		goto out;
	answer_secret(call, doc, "pk", &secret);
	if (!call->validate_only)
		call_location(call, "/v1/tenants/%s/keys/%s", tenant, secret.id);
out:
	change_end(&ch);
	json_decref(there);
	json_decref(doc);
	explicit_bzero(&secret, sizeof(secret));
}

/* The hash goes into the bucket again, so that a service can tell a revoked key from one that never
 * was. */
static int revoke_key(struct change *ch, const char *id, const json_t *doc)
{
	PGresult *res = change_query(ch, "SELECT hash FROM control.api_keys WHERE id = $1", 1,
				     (const char *[]){id});
	if (!res)
		return -1;
	char *text = json_text(doc, NULL);
	int rc =
	    publish_key(ch, doc, id, PQgetvalue(res, 0, 0)) ||
	    change_run(ch, "UPDATE control.api_keys SET doc = $2, updated_at = now() WHERE id = $1",
		       2, (const char *[]){id, text});
	free(text);
	PQclear(res);
	return rc;
}

void key_delete(struct call *call)
{
	struct change ch;
	const char *tenant = call->ids.id[0], *id = call->ids.id[1];
	json_t *old = NULL, *doc = NULL;
	if (change_begin(&ch, call, "tenant", tenant) ||
	    change_find(&ch, "SELECT doc FROM control.api_keys WHERE tenant = $1 AND id = $2", 2,
			(const char *[]){tenant, id}, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such key");
		goto out;
	}
	if (call_precondition(call, old))
		goto out;
	doc = registry_key_revoked(old, call->now_us);
	if (!revoke_key(&ch, id, doc) && !change_commit(&ch, "key.revoke", tenant, old, doc))
		call->reply->status = 204;
out:
	change_end(&ch);
	json_decref(old);
	json_decref(doc);
}

/* --- operators --------------------------------------------------------------------------- */

void operators_list(struct call *call)
{
	call_list(call, "operators",
		  "SELECT id, doc FROM control.operators WHERE ($1::text IS NULL OR id > $1)"
		  " ORDER BY id LIMIT $2::bigint",
		  NULL);
}

void operator_get(struct call *call)
{
	call_get(call, "SELECT doc FROM control.operators WHERE id = $1", "operator");
}

void operators_post(struct call *call)
{
	struct error err;
	struct change ch;
	struct auth_secret secret;
	if (call_need_body(call))
		return;
	auth_secret_new(&secret);
	json_t *doc = registry_operator(call->body, secret.id, call->now_us, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	char *text = json_text(doc, NULL);
	if (!change_begin(&ch, call, "operators", "") &&
	    !change_run(&ch, "INSERT INTO control.operators (id, hash, doc) VALUES ($1, $2, $3)", 3,
			(const char *[]){secret.id, secret.hash, text}) &&
	    !change_commit(&ch, "operator.create", NULL, NULL, doc)) {
		answer_secret(call, doc, "op", &secret);
		if (!call->validate_only)
			call_location(call, "/v1/operators/%s", secret.id);
	}
	change_end(&ch);
	free(text);
	json_decref(doc);
	explicit_bzero(&secret, sizeof(secret));
}

void operator_delete(struct call *call)
{
	struct change ch;
	const char *values[] = {call->ids.id[0]};
	json_t *old = NULL;
	if (change_begin(&ch, call, "operators", "") ||
	    change_find(&ch, "SELECT doc FROM control.operators WHERE id = $1", 1, values, &old))
		goto out;
	if (!old)
		call_fail(call, 404, "not_found", "no such operator");
	else if (!call_precondition(call, old) &&
		 !change_run(&ch, "DELETE FROM control.operators WHERE id = $1", 1, values) &&
		 !change_commit(&ch, "operator.delete", NULL, old, NULL))
		call->reply->status = 204;
out:
	change_end(&ch);
	json_decref(old);
}
