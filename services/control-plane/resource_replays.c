/* /v1/replays: events of a channel that are delivered again, at a rate. The event-store works them
 * off (sql/0028_replays.sql). */
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "common/pg.h"
#include "services/control-plane/change.h"
#include "services/control-plane/registry_util.h"
#include "services/control-plane/resources.h"

#define PER_S     50
#define PER_S_MAX 1000
#define TEXT_MAX  256

#define MS(column) "(extract(epoch FROM " column ") * 1000)::int8"
#define DOC                                                                                        \
	"json_build_object('id', id, 'tenant', tenant, 'channel', channel, 'target', target,"      \
	" 'hook', hook, 'pipeline', pipeline, 'after', after_seq, 'until', until_seq, "            \
	"'position', position, 'per_s',"                                                           \
	" per_s, 'state', state, 'sent', sent, 'refused', refused, 'reason', reason, 'actor', "    \
	"actor, "                                                                                  \
	"'created_at', " MS("created_at") ", 'finished_at', " MS("finished_at") ")"
static const char show_sql[] = "SELECT " DOC " FROM replays WHERE id = $1::uuid";
static const char list_sql[] =
    "SELECT (extract(epoch FROM created_at) * 1000000)::int8 || '/' || id, " DOC " FROM replays"
    " WHERE ($1::text IS NULL OR (created_at, id) < ('epoch'::timestamptz + split_part($1, '/',"
    " 1)::int8 * interval '1 microsecond', split_part($1, '/', 2)::uuid))"
    " ORDER BY created_at DESC, id DESC LIMIT $2::int8";
/* Up to what there is now, if nothing else was said: what comes meanwhile is not part of it. */
static const char insert_sql[] =
    "INSERT INTO replays (id, actor, tenant, channel, target, epoch, after_seq, until_seq, "
    "position,"
    " per_s, hook, pipeline) SELECT gen_random_uuid(), $1, $2, $3, $4, p.epoch, $5::int8,"
    " least($6::int8, p.seq), $5::int8, $7, $8, $9 FROM store_position p"
    " WHERE p.epoch = (SELECT max(epoch) FROM store_position)"
    " AND ($8::text IS NULL OR EXISTS (SELECT 1 FROM hook_states WHERE hook = $8 AND tenant = $2))"
    " AND ($9::text IS NULL OR EXISTS (SELECT 1 FROM control.pipelines WHERE name = $9))"
    " RETURNING id";

static const char *text_of(const json_t *doc, const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

static struct pg_int8 int_of(const json_t *doc, const char *name)
{
	return pg_int8(json_integer_value(json_object_get(doc, name)));
}

static int only_one(const json_t *body, struct error *err)
{
	static const char *const targets[] = {"target", "hook", "pipeline"};
	int n = 0;
	for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++)
		n += json_object_get(body, targets[i]) != NULL;
	return n > 1 ? err_set(err, ERR_REJECTED, "target, hook or pipeline: one of them") : 0;
}

static int read_members(json_t *doc, const json_t *body, struct error *err)
{
	static const char *const names[] = {"tenant", "channel", "target", "hook", "pipeline",
					    "after",  "until",   "per_s",  NULL};
	if (registry_object(body, "the replay", err) || json_only(body, names, err) ||
	    registry_copy_text(doc, body, "tenant", TEXT_MAX, "", err) ||
	    registry_copy_text(doc, body, "channel", TEXT_MAX, "", err) ||
	    registry_copy_text(doc, body, "target", TEXT_MAX, text_of(doc, "channel"), err) ||
	    registry_copy_text(doc, body, "hook", TEXT_MAX, NULL, err) ||
	    registry_copy_text(doc, body, "pipeline", TENANT_MAX, NULL, err) ||
	    registry_copy_int(doc, body, "after", 0, INT64_MAX, 0, err) ||
	    registry_copy_int(doc, body, "until", 0, INT64_MAX, INT64_MAX, err) ||
	    registry_copy_int(doc, body, "per_s", 1, PER_S_MAX, PER_S, err))
		return -1;
	const char *target = text_of(doc, "target");
	if (!name_valid_tenant(text_of(doc, "tenant")))
		return err_set(err, ERR_REJECTED, "tenant: whose events?");
	if (!name_valid_channel(text_of(doc, "channel")))
		return err_set(err, ERR_REJECTED, "channel: which channel's?");
	if (text_of(doc, "hook") || text_of(doc, "pipeline")) /* in place of a channel */
		return only_one(body, err);
	if (!name_valid_channel(target) || name_reserved_channel(target))
		return err_set(err, ERR_REJECTED, "target: no channel that may be replayed to");
	return 0;
}

/* Its id, owned; NULL: the reply says why not. */
static char *insert(struct change *ch, const json_t *doc)
{
	struct pg_int8 after = int_of(doc, "after"), until = int_of(doc, "until"),
		       per_s = int_of(doc, "per_s");
	const char *values[] = {ch->call->actor,
				text_of(doc, "tenant"),
				text_of(doc, "channel"),
				text_of(doc, "target"),
				after.text,
				until.text,
				per_s.text,
				text_of(doc, "hook"),
				text_of(doc, "pipeline")};
	PGresult *res = change_query(ch, insert_sql, sizeof(values) / sizeof(*values), values);
	char *id = res && PQntuples(res) ? xstrdup(pg_text(res, 0, 0)) : NULL;
	if (res && !id)
		call_fail(ch->call, 404, "not_found",
			  "there are no events yet, or no such hook or pipeline");
	PQclear(res);
	return id;
}

void replays_post(struct call *call)
{
	json_t *in = json_object(), *doc = NULL;
	char *id = NULL;
	struct change ch = {.call = call};
	struct error err;
	if (call_need_body(call))
		goto out;
	if (read_members(in, call->body, &err)) {
		call_error(call, &err);
		goto out;
	}
	if (!change_begin(&ch, call, "replays", "") && (id = insert(&ch, in)) &&
	    !change_find(&ch, show_sql, 1, (const char *[]){id}, &doc) &&
	    !change_commit(&ch, "replay.create", text_of(in, "tenant"), NULL, doc)) {
		call_doc(call, 201, doc);
		if (!call->validate_only)
			call_location(call, "/v1/replays/%s", id);
	}
out:
	change_end(&ch);
	json_decref(in);
	json_decref(doc);
	free(id);
}

void replays_list(struct call *call)
{
	call_list(call, "replays", list_sql, NULL);
}

static int known_id(struct call *call)
{
	return id_valid(call->ids.id[0]) ? 0 : call_fail(call, 404, "not_found", "no such replay");
}

void replay_get(struct call *call)
{
	if (!known_id(call))
		call_get(call, show_sql, "replay");
}

static void set_state(struct call *call, const char *sql, const char *action)
{
	const char *values[] = {call->ids.id[0]};
	struct change ch = {.call = call};
	json_t *old = NULL, *new = NULL;
	if (known_id(call))
		return;
	if (change_begin(&ch, call, "replays", call->ids.id[0]) ||
	    change_find(&ch, show_sql, 1, values, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such replay");
		goto out;
	}
	if (!change_run(&ch, sql, 1, values) && !change_find(&ch, show_sql, 1, values, &new) &&
	    !change_commit(&ch, action, text_of(old, "tenant"), old, new))
		call_doc(call, 200, new);
out:
	change_end(&ch);
	json_decref(old);
	json_decref(new);
}

void replay_pause(struct call *call)
{
	set_state(call,
		  "UPDATE replays SET state = 'paused' WHERE id = $1::uuid AND state = 'running'",
		  "replay.pause");
}

void replay_resume(struct call *call)
{
	set_state(call,
		  "UPDATE replays SET state = 'running' WHERE id = $1::uuid AND state = 'paused'",
		  "replay.resume");
}

void replay_cancel(struct call *call)
{
	set_state(call,
		  "UPDATE replays SET state = 'cancelled', finished_at = now()"
		  " WHERE id = $1::uuid AND state IN ('running', 'paused')",
		  "replay.cancel");
}
