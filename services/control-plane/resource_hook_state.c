/* /v1/tenants/{t}/hooks/{h}: /status, :enable, :disable, :rotate. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "common/webhook.h"
#include "services/control-plane/hooks.h"
#include "services/control-plane/registry_util.h"
#include "services/control-plane/resources.h"

#define GRACE_S     86400
#define GRACE_MAX_S 2592000

/* Of an inbound hook only the first members are not null. */
static const char status_sql[] =
    "SELECT json_strip_nulls(json_build_object('id', k.id,"
    " 'direction', coalesce(k.doc->>'direction', 'in'), 'enabled', coalesce(s.enabled, true),"
    " 'previous_secret_until', CASE WHEN k.previous_until > now() THEN k.previous_until END,"
    " 'reason', nullif(s.reason, ''), 'disabled_at', s.disabled_at, 'failures', s.failures,"
    " 'failing_since', s.failing_since, 'resume_at', s.resume_at, 'position', s.position,"
    " 'log_position', CASE WHEN s.hook IS NOT NULL THEN (SELECT p.seq FROM store_position p"
    "  ORDER BY p.epoch DESC LIMIT 1) END, 'queued', d.queued, 'sending', d.sending, 'dead', "
    "d.dead,"
    " 'delivered', s.delivered, 'expired', s.expired, 'last_at', s.last_at,"
    " 'last_status', s.last_status, 'last_error', s.last_error)) FROM control.hooks k"
    " LEFT JOIN hook_states s ON s.hook = k.id LEFT JOIN LATERAL (SELECT"
    "  count(*) FILTER (WHERE NOT dead) AS queued, count(*) FILTER (WHERE sending) AS sending,"
    "  count(*) FILTER (WHERE dead) AS dead FROM hook_deliveries WHERE hook = s.hook) d"
    " ON s.hook IS NOT NULL WHERE k.tenant = $1 AND k.id = $2";
static const char enabled_sql[] =
    "SELECT json_build_object('id', s.hook, 'enabled', s.enabled, 'reason', s.reason,"
    " 'disabled_at', s.disabled_at) FROM hook_states s WHERE s.tenant = $1 AND s.hook = $2";

void hook_status(struct call *call)
{
	PGresult *res =
	    call_rows(call, status_sql, 2, (const char *[]){call->ids.id[0], call->ids.id[1]});
	struct error err;
	if (!res)
		return;
	const char *text = PQntuples(res) ? pg_text(res, 0, 0) : NULL;
	json_t *doc = text ? json_parse(text, strlen(text), &err) : NULL;
	if (doc)
		call_value(call, doc);
	else
		call_fail(call, 404, "not_found", "no such hook");
	PQclear(res);
}

/* --- on and off -------------------------------------------------------------------------------
 */

int hook_switch(struct change *ch, bool on)
{
	const char *values[] = {ch->call->ids.id[0], ch->call->ids.id[1]};
	if (!on)
		return change_run(
		    ch,
		    "UPDATE hook_states SET enabled = false, reason = 'operator',"
		    " disabled_at = now() WHERE tenant = $1 AND hook = $2 AND enabled",
		    2, values);
	return change_run(ch,
			  "UPDATE hook_states SET enabled = true, reason = '', disabled_at = NULL,"
			  " failures = 0, failing_since = NULL, resume_at = NULL"
			  " WHERE tenant = $1 AND hook = $2",
			  2, values) ||
	       change_run(
		   ch,
		   "UPDATE hook_deliveries d SET attempts = 0, dead = false,"
		   " due_at = CASE WHEN sending THEN due_at ELSE now() END FROM hook_states s"
		   " WHERE s.tenant = $1 AND s.hook = $2 AND d.hook = s.hook",
		   2, values);
}

static void set_enabled(struct call *call, bool on)
{
	const char *tenant = call->ids.id[0], *values[] = {tenant, call->ids.id[1]};
	struct change ch;
	json_t *old = NULL, *new = NULL;
	if (change_begin(&ch, call, "tenant", tenant) ||
	    change_find(&ch, enabled_sql, 2, values, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such outgoing hook");
		goto out;
	}
	if (!hook_switch(&ch, on) && !change_find(&ch, enabled_sql, 2, values, &new) &&
	    !change_commit(&ch, on ? "hook.enable" : "hook.disable", tenant, old, new))
		call_doc(call, 200, new);
out:
	change_end(&ch);
	json_decref(old);
	json_decref(new);
}

void hook_enable(struct call *call)
{
	set_enabled(call, true);
}

void hook_disable(struct call *call)
{
	set_enabled(call, false);
}

/* --- secrets ----------------------------------------------------------------------------------
 */

static int read_grace(struct call *call, char secret[WEBHOOK_SECRET_TEXT + 1], json_t *out,
		      struct error *err)
{
	static const char *const names[] = {"grace_s", "secret", NULL};
	const char *given = NULL;
	if (call->body && (registry_object(call->body, "the rotation", err) ||
			   json_only(call->body, names, err) ||
			   json_get_text(call->body, "secret", false, &given, err)))
		return -1;
	if (registry_copy_int(out, call->body, "grace_s", 0, GRACE_MAX_S, GRACE_S, err))
		return -1;
	if (given && !webhook_secret_valid(given))
		return err_set(err, ERR_REJECTED, "secret: whsec_ and the base64 of %d to %d bytes",
			       WEBHOOK_SECRET_MIN, WEBHOOK_SECRET_MAX);
	if (given)
		strcpy(secret, given);
	else
		webhook_secret_new(secret);
	return 0;
}

static const char rotate_sql[] =
    "UPDATE control.hooks k SET previous_secret = k.secret, secret = $3,"
    " previous_until = now() + interval '1 s' * $4::int8, updated_at = now()"
    " WHERE tenant = $1 AND id = $2 RETURNING k.doc, k.previous_secret,"
    " (extract(epoch FROM k.previous_until) * 1000)::int8, json_build_object('id', k.id,"
    " 'direction', coalesce(k.doc->>'direction', 'in'), 'previous_secret_until', k.previous_until)";

/* Edges learn of an inbound hook's secrets; the event-store reads those of outgoing ones itself. */
static int publish(struct change *ch, const PGresult *res, const char *secret)
{
	struct error err;
	json_t *doc = json_parse(pg_text(res, 0, 0), strlen(pg_text(res, 0, 0)), &err);
	if (!doc)
		return call_error(ch->call, &err);
	int rc = hook_is_out(doc) ? 0
				  : hook_publish(ch, ch->call->ids.id[1], doc, secret,
						 pg_text(res, 0, 1), pg_int(res, 0, 2));
	json_decref(doc);
	return rc;
}

void hook_rotate(struct call *call)
{
	const char *tenant = call->ids.id[0];
	char secret[WEBHOOK_SECRET_TEXT + 1];
	struct error err;
	struct change ch = {.call = call};
	json_t *in = json_object(), *shown = NULL;
	PGresult *res = NULL;
	if (read_grace(call, secret, in, &err)) {
		call_error(call, &err);
		goto out;
	}
	struct pg_int8 grace = pg_int8(json_integer_value(json_object_get(in, "grace_s")));
	if (change_begin(&ch, call, "tenant", tenant) ||
	    !(res = change_query(&ch, rotate_sql, 4,
				 (const char *[]){tenant, call->ids.id[1], secret, grace.text})))
		goto out;
	const char *text = PQntuples(res) ? pg_text(res, 0, 3) : NULL;
	shown = text ? json_parse(text, strlen(text), &err) : NULL;
	if (!shown) {
		call_fail(call, 404, "not_found", "no such hook");
		goto out;
	}
	if (publish(&ch, res, secret) || change_commit(&ch, "hook.rotate", tenant, NULL, shown))
		goto out;
	if (!call->validate_only)
		json_object_set_new(shown, "secret", json_string(secret));
	call_value(call, json_incref(shown));
out:
	PQclear(res);
	change_end(&ch);
	json_decref(in);
	json_decref(shown);
	explicit_bzero(secret, sizeof(secret));
}
