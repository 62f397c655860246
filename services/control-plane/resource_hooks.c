/* /v1/tenants/{t}/hooks. The secret is shown once; it goes to PostgreSQL and, of an inbound hook,
 * to the bucket, where the edges need it, and into no audit row, list or log. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "common/webhook.h"
#include "services/control-plane/auth.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

#define FIND "SELECT doc FROM control.hooks WHERE tenant = $1 AND id = $2"

void hooks_list(struct call *call)
{
	call_list(call, "hooks",
		  "SELECT k.id, CASE WHEN s.hook IS NULL THEN k.doc ELSE (k.doc::jsonb ||"
		  " jsonb_build_object('enabled', s.enabled, 'reason', s.reason, 'delivered',"
		  " s.delivered, 'failures', s.failures))::json END FROM control.hooks k"
		  " LEFT JOIN hook_states s ON s.hook = k.id WHERE k.tenant = $1"
		  " AND ($2::text IS NULL OR k.id > $2) ORDER BY k.id LIMIT $3::bigint",
		  "SELECT 1 FROM control.tenants WHERE id = $1");
}

void hook_get(struct call *call)
{
	call_get(call, FIND, "hook");
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

static bool is_out(const json_t *doc)
{
	const char *direction = json_string_value(json_object_get(doc, "direction"));
	return direction && !strcmp(direction, "out");
}

/* From the log's end on: what comes from now on is the hook's. */
static int insert_state(struct change *ch, const char *tenant, const char *id, const json_t *doc)
{
	struct strbuf channels = {0}, types = {0};
	struct pg_int8 concurrent = pg_int8(json_integer_value(json_object_get(doc, "concurrent")));
	registry_pattern_regex(json_object_get(doc, "channels"), &channels);
	registry_pattern_regex(json_object_get(doc, "types"), &types);
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

static int publish(struct change *ch, const char *id, const json_t *doc, const char *secret)
{
	char key[REGISTRY_KEY_MAX];
	json_t *entry = registry_catalog_hook(doc, secret, NULL, 0);
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
	return is_out(doc) ? insert_state(ch, tenant, id, doc) : publish(ch, id, doc, secret);
}

/* The only time that the secret leaves, and not for a rehearsal. */
static void answer(struct call *call, const json_t *doc, const char *secret)
{
	call_doc(call, call->validate_only ? 200 : 201, doc);
	if (call->validate_only)
		return;
	call_location(call, "/v1/tenants/%s/hooks/%s", call->ids.id[0],
		      json_string_value(json_object_get(doc, "id")));
	json_t *shown = json_copy((json_t *)doc);
	json_object_set_new(shown, "secret", json_string(secret));
	strbuf_reset(&call->reply->body);
	json_add(&call->reply->body, shown);
	json_decref(shown);
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
	json_t *doc = is_out(call->body)
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
