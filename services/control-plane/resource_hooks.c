/* /v1/tenants/{t}/hooks. The secret is shown once; it goes to PostgreSQL and, of an inbound hook,
 * to the bucket, where the edges need it, and into no audit row, list or log. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "common/webhook.h"
#include "services/control-plane/auth.h"
#include "services/control-plane/hooks.h"
#include "services/control-plane/resources.h"

#define FIND "SELECT doc FROM control.hooks WHERE tenant = $1 AND id = $2"

void hooks_list(struct call *call)
{
	call_list(call, "hooks",
		  "SELECT k.id, " HOOK_SHOWN " FROM control.hooks k"
		  " LEFT JOIN hook_states s ON s.hook = k.id WHERE k.tenant = $1"
		  " AND ($2::text IS NULL OR k.id > $2) ORDER BY k.id LIMIT $3::bigint",
		  "SELECT 1 FROM control.tenants WHERE id = $1");
}

void hook_get(struct call *call)
{
	struct error err;
	const char *values[] = {call->ids.id[0], call->ids.id[1]};
	PGresult *res = call_rows(call,
				  "SELECT k.doc, " HOOK_SHOWN " FROM control.hooks k"
				  " LEFT JOIN hook_states s ON s.hook = k.id"
				  " WHERE k.tenant = $1 AND k.id = $2",
				  2, values);
	if (res && PQntuples(res)) {
		json_t *doc = json_parse(pg_text(res, 0, 0), strlen(pg_text(res, 0, 0)), &err);
		json_t *shown = json_parse(pg_text(res, 0, 1), strlen(pg_text(res, 0, 1)), &err);
		call_doc_shown(call, 200, doc, shown);
		json_decref(doc);
	} else if (res) {
		call_fail(call, 404, "not_found", "no such hook");
	}
	PQclear(res);
}

static int tenant_exists(struct change *ch, const char *tenant)
{
	json_t *there;
	if (change_find(ch, "SELECT doc FROM control.tenants WHERE id = $1", 1,
			(const char *[]){tenant}, &there))
		return -1;
	if (!there)
		return call_fail(ch->call, 404, "not_found", "no such tenant");
	json_decref(there);
	return 0;
}

bool hook_is_out(const json_t *doc)
{
	const char *direction = json_string_value(json_object_get(doc, "direction"));
	return direction && !strcmp(direction, "out");
}

void hook_regexes(const json_t *doc, struct strbuf *channels, struct strbuf *types)
{
	registry_pattern_regex(json_object_get(doc, "channels"), channels);
	registry_pattern_regex(json_object_get(doc, "types"), types);
}

/* From the log's end on: what comes from now on is the hook's. */
static int insert_state(struct change *ch, const char *tenant, const char *id, const json_t *doc)
{
	struct strbuf channels = {0}, types = {0};
	struct pg_int8 concurrent = pg_int8(json_integer_value(json_object_get(doc, "concurrent")));
	hook_regexes(doc, &channels, &types);
	int rc = change_run(
	    ch,
	    "INSERT INTO hook_states (hook, tenant, channels, types, concurrent, epoch,"
	    " position) SELECT $1, $2, $3, $4, $5::int4, coalesce(max(p.epoch), 0),"
	    " coalesce((SELECT q.seq FROM store_position q WHERE q.epoch = max(p.epoch)), 0)"
	    " FROM store_position p",
	    5,
	    (const char *[]){id, tenant, strbuf_str(&channels), strbuf_str(&types),
			     concurrent.text});
	strbuf_done(&channels);
	strbuf_done(&types);
	return rc;
}

int hook_publish(struct change *ch, const char *id, const json_t *doc, const char *secret,
		 const char *previous, int64_t previous_until_ms)
{
	char key[REGISTRY_KEY_MAX];
	json_t *entry = registry_catalog_hook(doc, secret, previous, previous_until_ms);
	registry_key_hook(id, key);
	int rc = change_publish(ch, key, entry);
	json_decref(entry);
	return rc;
}

static int insert(struct change *ch, const char *tenant, const json_t *doc, const char *secret)
{
	const char *id = json_string_value(json_object_get(doc, "id"));
	char *text = json_text(doc, NULL);
	int rc = change_run(
	    ch, "INSERT INTO control.hooks (tenant, id, doc, secret) VALUES ($1, $2, $3, $4)", 4,
	    (const char *[]){tenant, id, text, secret});
	free(text);
	if (rc)
		return rc;
	/* Edges know nothing of outgoing ones. */
	return hook_is_out(doc) ? insert_state(ch, tenant, id, doc)
				: hook_publish(ch, id, doc, secret, NULL, 0);
}

/* The only time that the secret leaves, and not for a rehearsal. */
static void answer(struct call *call, const json_t *doc, const char *secret)
{
	if (call->validate_only) {
		call_doc(call, 200, doc);
		return;
	}
	call_location(call, "/v1/tenants/%s/hooks/%s", call->ids.id[0],
		      json_string_value(json_object_get(doc, "id")));
	json_t *shown = json_copy((json_t *)doc);
	json_object_set_new(shown, "secret", json_string(secret));
	call_doc_shown(call, 201, doc, shown);
}

void hooks_post(struct call *call)
{
	struct error err;
	struct change ch;
	struct auth_secret fresh;
	char made[WEBHOOK_SECRET_TEXT + 1];
	const char *tenant = call->ids.id[0];
	if (call_need_body(call))
		return;
	auth_secret_new(&fresh);
	explicit_bzero(&fresh.secret, sizeof(fresh.secret));
	json_t *doc = hook_is_out(call->body)
			  ? registry_hook_out(call->body, fresh.id, tenant, call->now_us, &err)
			  : registry_hook(call->body, fresh.id, tenant, call->now_us, &err);
	if (!doc) {
		call_error(call, &err);
		return;
	}
	webhook_secret_new(made);
	const char *secret = json_string_value(json_object_get(call->body, "secret"));
	secret = secret ? secret : made;
	if (!change_begin(&ch, call, "tenant", tenant) && !tenant_exists(&ch, tenant) &&
	    !insert(&ch, tenant, doc, secret) &&
	    !change_commit(&ch, "hook.create", tenant, NULL, doc))
		answer(call, doc, secret);
	change_end(&ch);
	json_decref(doc);
	explicit_bzero(made, sizeof(made));
}

void hook_delete(struct call *call)
{
	struct change ch;
	const char *tenant = call->ids.id[0], *id = call->ids.id[1];
	const char *values[] = {tenant, id};
	char key[REGISTRY_KEY_MAX];
	json_t *old = NULL;
	registry_key_hook(id, key);
	if (change_begin(&ch, call, "tenant", tenant) || change_find(&ch, FIND, 2, values, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such hook");
		goto out;
	}
	if (!call_precondition(call, old) &&
	    !change_run(&ch, "DELETE FROM control.hooks WHERE tenant = $1 AND id = $2", 2,
			values) &&
	    !change_publish(&ch, key, NULL) &&
	    !change_commit(&ch, "hook.delete", tenant, old, NULL))
		call->reply->status = 204;
out:
	change_end(&ch);
	json_decref(old);
}
