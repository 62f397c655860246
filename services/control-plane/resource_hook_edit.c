/* PUT and PATCH of /v1/tenants/{t}/hooks/{h}. A hook stays what it is, inbound or outgoing, and
 * keeps its secret (:rotate changes that). Of an outgoing one the queue and the place in the log
 * stay: what waits goes to the new address, and what was not looked at yet is chosen by the new
 * patterns. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/hooks.h"
#include "services/control-plane/registry_util.h"
#include "services/control-plane/resources.h"

static const char find_sql[] = "SELECT doc FROM control.hooks WHERE tenant = $1 AND id = $2";
static const char write_sql[] =
    "UPDATE control.hooks SET doc = $3, updated_at = now() WHERE tenant = $1 AND id = $2"
    " RETURNING secret, CASE WHEN previous_until > now() THEN previous_secret END,"
    " (extract(epoch FROM previous_until) * 1000)::int8";
/* What failed at another address says nothing about this one. */
static const char state_sql[] =
    "UPDATE hook_states SET channels = $3, types = $4, concurrent = $5::int4,"
    " failures = CASE WHEN $6::bool THEN 0 ELSE failures END,"
    " failing_since = CASE WHEN $6::bool THEN NULL ELSE failing_since END,"
    " resume_at = CASE WHEN $6::bool THEN NULL ELSE resume_at END"
    " WHERE tenant = $1 AND hook = $2 RETURNING enabled";
static const char shown_sql[] = "SELECT " HOOK_SHOWN " FROM control.hooks k LEFT JOIN hook_states s"
				" ON s.hook = k.id WHERE k.tenant = $1 AND k.id = $2";

struct edit {
	struct change ch;
	const char *values[2]; /* tenant, hook */
	json_t *old, *new;
	bool switches, on; /* it says whether the hook is enabled */
};

static bool same(const struct edit *e, const char *member)
{
	return json_equal(json_object_get(e->old, member), json_object_get(e->new, member));
}

/* What a GET shows besides the document may come back, and only `enabled` means something. */
static int take_state(struct edit *e, json_t *in, struct error *err)
{
	static const char *const shown[] = {"enabled", "reason", "delivered", "failures"};
	e->switches = json_object_get(in, "enabled") != NULL;
	if (e->switches && !hook_is_out(e->old))
		return err_set(err, ERR_REJECTED, "enabled: only an outgoing hook has it");
	if (json_get_bool(in, "enabled", &e->on, err))
		return -1;
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		json_object_del(in, shown[i]);
	return 0;
}

static int read_new(struct edit *e, const json_t *body, struct error *err)
{
	bool out = hook_is_out(e->old);
	const char *direction = out ? "out" : "in";
	if (registry_object(body, "a hook", err))
		return -1;
	if (json_object_get(body, "secret"))
		return err_set(err, ERR_REJECTED, "secret: it is changed by :rotate");
	json_t *in = json_copy((json_t *)body);
	if (!take_state(e, in, err) && !registry_same_text(in, "direction", direction, err)) {
		json_object_set_new(in, "direction", json_string(direction));
		e->new = (out ? registry_hook_out : registry_hook)(in, e->values[1], e->values[0],
								   0, err);
	}
	json_decref(in);
	if (!e->new)
		return -1;
	json_object_set(e->new, "created_at", json_object_get(e->old, "created_at"));
	return 0;
}

static int write_state(struct edit *e)
{
	struct strbuf channels = {0}, types = {0};
	struct pg_int8 concurrent =
	    pg_int8(json_integer_value(json_object_get(e->new, "concurrent")));
	hook_regexes(e->new, &channels, &types);
	PGresult *res = change_query(
	    &e->ch, state_sql, 6,
	    (const char *[]){e->values[0], e->values[1], strbuf_str(&channels), strbuf_str(&types),
			     concurrent.text, same(e, "url") ? "false" : "true"});
	bool enabled = res && PQntuples(res) && pg_bool(res, 0, 0);
	strbuf_done(&channels);
	strbuf_done(&types);
	PQclear(res);
	if (!res)
		return -1;
	return e->switches && e->on != enabled ? hook_switch(&e->ch, e->on) : 0;
}

static int write_hook(struct edit *e)
{
	char *text = json_text(e->new, NULL);
	PGresult *res =
	    change_query(&e->ch, write_sql, 3, (const char *[]){e->values[0], e->values[1], text});
	free(text);
	if (!res)
		return -1;
	int rc = hook_is_out(e->new)
		     ? write_state(e)
		     : hook_publish(&e->ch, e->values[1], e->new, pg_text(res, 0, 0),
				    pg_text(res, 0, 1), pg_int(res, 0, 2));
	PQclear(res);
	return rc;
}

/* With what it says of `enabled`, for the audit. */
static int commit(struct edit *e)
{
	json_t *after = json_copy(e->new);
	if (e->switches)
		json_object_set_new(after, "enabled", json_boolean(e->on));
	int rc = change_commit(&e->ch, "hook.update", e->values[0], e->old, after);
	json_decref(after);
	return rc;
}

static void edit(struct call *call, bool patch)
{
	struct error err;
	struct edit e = {.ch = {.call = call}, .values = {call->ids.id[0], call->ids.id[1]}};
	json_t *merged = NULL, *shown = NULL;
	if (call_need_body(call))
		return;
	if (change_begin(&e.ch, call, "tenant", e.values[0]) ||
	    change_find(&e.ch, find_sql, 2, e.values, &e.old))
		goto out;
	if (!e.old) {
		call_fail(call, 404, "not_found", "no such hook");
		goto out;
	}
	if (call_precondition(call, e.old))
		goto out;
	merged = patch ? registry_merge(e.old, call->body) : json_incref(call->body);
	if (read_new(&e, merged, &err)) {
		call_error(call, &err);
		goto out;
	}
	if (!write_hook(&e) && !change_find(&e.ch, shown_sql, 2, e.values, &shown) && !commit(&e))
		call_doc_shown(call, 200, e.new, json_incref(shown));
out:
	change_end(&e.ch);
	json_decref(merged);
	json_decref(shown);
	json_decref(e.old);
	json_decref(e.new);
}

void hook_put(struct call *call)
{
	edit(call, false);
}

void hook_patch(struct call *call)
{
	edit(call, true);
}
