/* Redriving dead letters, one or by filter, and /v1/operations: an order is written with all its
 * items in one transaction; the event-store works it off at its rate (sql/0027_redrives.sql). */
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
#define LIMIT     10000
#define LIMIT_MAX 100000
#define TEXT_MAX  256
#define TIME_MAX  INT64_C(4000000000000)

#define MS(column) "(extract(epoch FROM " column ") * 1000)::int8"
#define COUNT(s)                                                                                   \
	"(SELECT count(*) FROM redrive_items i WHERE i.redrive = r.id AND i.state = '" s "')"
static const char show_sql[] =
    "SELECT json_build_object('id', id, 'kind', 'redrive', 'state', state, "
    "'created_at', " MS("created_at") ", 'finished_at', " MS(
	"finished_at") ", 'actor', actor, 'filter', filter,"
		       " 'per_s', per_s, 'total', total, 'done', " COUNT(
			   "done") ", 'refused', " COUNT("refused") ","
								    " 'pending', " COUNT(
									"pending") ", "
										   "'refusa"
										   "ls', "
										   "(SELECT"
										   " coales"
										   "ce("
										   "json_"
										   "agg(x),"
										   " '[]'::"
										   "json) "
										   "FROM"
										   " ("
										   "SELECT "
										   "task, "
										   "reason "
										   "FROM "
										   "redrive"
										   "_items "
										   "i "
										   "WHERE "
										   "i."
										   "redrive"
										   " = "
										   "r.id "
										   "AND "
										   "i."
										   "state "
										   "= "
										   "'refuse"
										   "d'"
										   " ORDER "
										   "BY n "
										   "LIMIT "
										   "10) "
										   "x)) "
										   "FROM "
										   "redrive"
										   "s r "
										   "WHERE "
										   "id = "
										   "$1::"
										   "uuid";
static const char order_sql[] = "INSERT INTO redrives (id, actor, filter, per_s, total)"
				" VALUES (gen_random_uuid(), $1, $2, $3, 0) RETURNING id";
/* Only what the log of today has: the terminal event must be there to be followed. */
static const char items_sql[] =
    "WITH picked AS (SELECT task, tenant, last_seq, redrive_gen, finished_at FROM tasks"
    "  WHERE state IN ('failed', 'expired') AND epoch = (SELECT max(epoch) FROM store_position)"
    "  AND ($2::text IS NULL OR tenant = $2) AND ($3::text IS NULL OR pipeline = $3)"
    "  AND ($4::text IS NULL OR error->>'reason' = $4) AND ($5::text IS NULL OR state = $5)"
    "  AND ($6::text IS NULL OR task = $6)"
    "  AND ($7::int8 IS NULL OR finished_at < to_timestamp($7::int8 / 1e3))"
    "  ORDER BY finished_at, task LIMIT $8::int8),"
    " put AS (INSERT INTO redrive_items (redrive, n, task, tenant, seq, gen) SELECT $1::uuid,"
    "  row_number() OVER (ORDER BY finished_at, task), task, tenant, last_seq, redrive_gen + 1"
    "  FROM picked RETURNING 1)"
    " UPDATE redrives SET total = (SELECT count(*) FROM put) WHERE id = $1::uuid RETURNING total";

/* --- what is asked for ------------------------------------------------------------------------ */

/* The body with its defaults; NULL: the reply says why not. */
static json_t *read_filter(struct call *call)
{
	static const char *const names[] = {"tenant", "pipeline", "reason", "state",
					    "before", "limit",    "per_s",  NULL};
	static const char *const texts[] = {"tenant", "pipeline", "reason", "state", NULL};
	json_t *filter = json_object(), *value;
	struct error err;
	const char *name;
	if (registry_object(call->body, "the order", &err))
		goto bad;
	json_object_foreach(call->body, name, value)
	{
		size_t i = 0;
		while (names[i] && strcmp(names[i], name) != 0)
			i++;
		if (!names[i]) {
			err_set(&err, ERR_REJECTED, "%s: not a member of this", name);
			goto bad;
		}
	}
	for (size_t i = 0; texts[i]; i++)
		if (registry_copy_text(filter, call->body, texts[i], TEXT_MAX, NULL, &err))
			goto bad;
	if (registry_copy_int(filter, call->body, "limit", 1, LIMIT_MAX, LIMIT, &err) ||
	    registry_copy_int(filter, call->body, "per_s", 1, PER_S_MAX, PER_S, &err))
		goto bad;
	if (json_object_get(call->body, "before") &&
	    registry_copy_int(filter, call->body, "before", 0, TIME_MAX, 0, &err))
		goto bad;
	return filter;
bad:
	json_decref(filter);
	call_error(call, &err);
	return NULL;
}

static const char *text_of(const json_t *filter, const char *name)
{
	return json_string_value(json_object_get(filter, name));
}

/* --- the order ---------------------------------------------------------------------------------
 */

/* Its id; NULL: the reply says why not. Owned. */
static char *write_order(struct change *ch, const json_t *filter)
{
	char *text = json_text(filter, NULL);
	struct pg_int8 per_s = pg_int8(json_integer_value(json_object_get(filter, "per_s")));
	const char *values[] = {ch->call->actor, text, per_s.text};
	PGresult *res = change_query(ch, order_sql, 3, values);
	char *id = res ? xstrdup(pg_text(res, 0, 0)) : NULL;
	PQclear(res);
	free(text);
	return id;
}

static int write_items(struct change *ch, const char *id, const json_t *filter, int64_t *total)
{
	struct pg_int8 limit = pg_int8(json_integer_value(json_object_get(filter, "limit")));
	struct pg_int8 before = pg_int8(json_integer_value(json_object_get(filter, "before")));
	const char *values[] = {id,
				text_of(filter, "tenant"),
				text_of(filter, "pipeline"),
				text_of(filter, "reason"),
				text_of(filter, "state"),
				text_of(filter, "task"),
				json_object_get(filter, "before") ? before.text : NULL,
				limit.text};
	PGresult *res = change_query(ch, items_sql, sizeof(values) / sizeof(*values), values);
	if (!res)
		return -1;
	*total = pg_int(res, 0, 0);
	PQclear(res);
	return 0;
}

/* one: the filter names a task, which must be there. */
static void order(struct call *call, const json_t *filter, bool one)
{
	struct change ch;
	json_t *doc = NULL;
	char *id = NULL;
	int64_t total;
	if (change_begin(&ch, call, "redrives", "") || !(id = write_order(&ch, filter)) ||
	    write_items(&ch, id, filter, &total))
		goto out;
	if (one && total == 0) {
		call_fail(call, 404, "not_found", "no such dead letter");
		goto out;
	}
	if (change_find(&ch, show_sql, 1, (const char *[]){id}, &doc) ||
	    change_commit(&ch, "dead_letters.redrive", text_of(filter, "tenant"), NULL, doc))
		goto out;
	call_doc(call, 202, doc);
	if (!call->validate_only)
		call_location(call, "/v1/operations/%s", id);
out:
	change_end(&ch);
	json_decref(doc);
	free(id);
}

void dead_letters_redrive(struct call *call)
{
	json_t *filter = call_need_body(call) ? NULL : read_filter(call);
	if (filter)
		order(call, filter, false);
	json_decref(filter);
}

void task_redrive(struct call *call)
{
	const char *tenant = call_query(call, "tenant");
	if (!tenant || !name_valid_tenant(tenant)) {
		call_fail(call, 400, "bad_request", "tenant: which tenant's is it?");
		return;
	}
	json_t *filter = json_pack("{sssssisi}", "tenant", tenant, "task", call->ids.id[0], "limit",
				   1, "per_s", PER_S_MAX);
	if (filter)
		order(call, filter, true);
	else
		call_fail(call, 404, "not_found", "no such dead letter");
	json_decref(filter);
}

/* --- operations --------------------------------------------------------------------------------
 */

void operation_get(struct call *call)
{
	if (id_valid(call->ids.id[0]))
		call_get(call, show_sql, "operation");
	else
		call_fail(call, 404, "not_found", "no such operation");
}

/* What is under way already goes on; what is not begun is left. */
void operation_cancel(struct call *call)
{
	const char *id = call->ids.id[0], *values[] = {id};
	struct change ch;
	json_t *old = NULL, *new = NULL;
	if (!id_valid(id)) {
		call_fail(call, 404, "not_found", "no such operation");
		return;
	}
	if (change_begin(&ch, call, "redrives", id) || change_find(&ch, show_sql, 1, values, &old))
		goto out;
	if (!old) {
		call_fail(call, 404, "not_found", "no such operation");
		goto out;
	}
	if (change_run(&ch,
		       "UPDATE redrives SET state = 'cancelled', finished_at = now()"
		       " WHERE id = $1::uuid AND state = 'running'",
		       1, values) ||
	    change_run(&ch,
		       "UPDATE redrive_items SET state = 'cancelled' WHERE redrive = $1::uuid"
		       " AND state = 'pending'",
		       1, values) ||
	    change_find(&ch, show_sql, 1, values, &new) ||
	    change_commit(&ch, "operation.cancel", NULL, old, new))
		goto out;
	call_doc(call, 200, new);
out:
	change_end(&ch);
	json_decref(old);
	json_decref(new);
}
