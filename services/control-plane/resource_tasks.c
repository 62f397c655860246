/* /v1/tasks and /v1/dead-letters: the projection, as the event-store keeps it in PostgreSQL. */
#include "common/names.h"
#include "common/pg.h"
#include "services/control-plane/resources.h"

#define MS(column) "(extract(epoch FROM " column ") * 1000)::int8"
#define DOC                                                                                        \
	"json_build_object('task', task, 'tenant', tenant, 'pipeline', pipeline, 'version',"       \
	" version, 'state', state, 'error', error, 'created_at', " MS(                             \
	    "created_at") ","                                                                      \
			  " 'finished_at', " MS("finished_at") ", 'release_at', " MS(              \
			      "release_at") ", 'attempts',"                                        \
					    " attempts, 'run', run, 'redrive_gen', redrive_gen)"
/* An item's place in a list that is ordered by `column` and the id, the newest first; $4: the last
 * one of the page before. */
#define PLACE(column) "(extract(epoch FROM " column ") * 1000000)::int8 || '/' || task"
#define BEHIND(column)                                                                             \
	"($4::text IS NULL OR (" column ", task) < ('epoch'::timestamptz + split_part($4, '/', "   \
	"1)::int8 * interval '1 microsecond', split_part($4, '/', 2)))"                            \
	" ORDER BY " column " DESC, task DESC LIMIT $5::int8"

static const char tasks_sql[] = "SELECT " PLACE(
    "created_at") ", " DOC " FROM tasks WHERE tenant = $1"
		  " AND ($2::text IS NULL OR pipeline = $2) AND ($3::text IS NULL OR state = $3)"
		  " AND " BEHIND("created_at");
static const char dead_sql[] = "SELECT " PLACE(
    "finished_at") ", " DOC " FROM tasks WHERE state IN ('failed', 'expired')"
		   " AND ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR pipeline = $2)"
		   " AND ($3::text IS NULL OR error->>'reason' = $3) AND " BEHIND("finished_at");

static void list(struct call *call, const char *name, const char *sql, const char *third)
{
	char last[ROUTE_ID_MAX + 1];
	int64_t size;
	if (call_page(call, name, &size, last))
		return;
	/* One more than asked for: its presence says that there is a next page. */
	struct pg_int8 limit = pg_int8(size + 1);
	const char *values[] = {call_query(call, "tenant"), call_query(call, "pipeline"),
				call_query(call, third), *last ? last : NULL, limit.text};
	PGresult *res = call_rows(call, sql, 5, values);
	if (!res)
		return;
	call_rows_page(call, name, res, size);
	PQclear(res);
}

void tasks_list(struct call *call)
{
	const char *tenant = call_query(call, "tenant");
	if (!tenant || !name_valid_tenant(tenant))
		call_fail(call, 400, "bad_request", "tenant: whose tasks?");
	else
		list(call, "tasks", tasks_sql, "state");
}

void dead_letters_list(struct call *call)
{
	list(call, "dead-letters", dead_sql, "reason");
}
