/* /v1/tenants/{t}/triggers: each durable event of a type starts a task. The event-store that
 * releases tasks fires them (sql/0033_triggers.sql, docs/decisions/0040). */
#include <stdlib.h>

#include "common/json.h"
#include "services/control-plane/resources.h"
#include "services/control-plane/standing.h"

#define WAITING_MAX "10000" /* counted no further */
#define STATUS                                                                                     \
	"json_build_object('started', t.started, 'refused', t.refused, 'waiting',"                 \
	" (SELECT count(*) FROM (SELECT 1 FROM trigger_events q WHERE q.tenant = t.tenant"         \
	" AND q.name = t.name LIMIT " WAITING_MAX ") w), 'last', t.last)"

static bool is_paused(const json_t *doc)
{
	return json_is_true(json_object_get(doc, "paused"));
}

/* What of the log is behind the place that is read here, is its own: whatever is acknowledged after
 * this is answered is among that. One that goes on as it was keeps its place. */
static int write_row(struct change *ch, const json_t *old, const json_t *doc, json_t **state)
{
	const char *tenant = ch->call->ids.id[0], *name = ch->call->ids.id[1];
	struct strbuf channels = {0};
	json_t *patterns = json_pack("[O]", json_object_get(doc, "channel"));
	char *text = json_text(doc, NULL);
	registry_pattern_regex(patterns, &channels);
	json_decref(patterns);
	int rc = 0;
	if (old && (is_paused(old) || is_paused(doc)))
		rc = change_run(ch, "DELETE FROM trigger_events WHERE tenant = $1 AND name = $2", 2,
				(const char *[]){tenant, name});
	if (!rc)
		rc = change_find(
		    ch,
		    "INSERT INTO control.triggers AS t (tenant, name, doc, type, channels, paused,"
		    " from_epoch, from_seq) SELECT $1, $2, $3::json, $4, $5, $6::bool,"
		    " coalesce(max(p.epoch), 0), coalesce((SELECT q.seq FROM store_position q"
		    "  WHERE q.epoch = max(p.epoch)), 0) FROM store_position p"
		    " ON CONFLICT (tenant, name) DO UPDATE SET doc = excluded.doc,"
		    " type = excluded.type, channels = excluded.channels, paused = excluded.paused,"
		    " from_epoch = CASE WHEN t.paused THEN excluded.from_epoch ELSE t.from_epoch"
		    " END, from_seq = CASE WHEN t.paused THEN excluded.from_seq ELSE t.from_seq "
		    "END,"
		    " updated_at = now() RETURNING " STATUS,
		    6,
		    (const char *[]){tenant, name, text,
				     json_string_value(json_object_get(doc, "type")),
				     strbuf_str(&channels), is_paused(doc) ? "t" : "f"},
		    state);
	strbuf_done(&channels);
	free(text);
	return rc;
}

static const struct standing triggers = {.noun = "trigger",
					 .list = "triggers",
					 .status = STATUS,
					 .max = 1000,
					 .registry = registry_trigger,
					 .write = write_row};

void triggers_list(struct call *call)
{
	standing_list(call, &triggers);
}

void trigger_get(struct call *call)
{
	standing_get(call, &triggers);
}

void trigger_put(struct call *call)
{
	standing_put(call, &triggers);
}

void trigger_delete(struct call *call)
{
	standing_delete(call, &triggers);
}
