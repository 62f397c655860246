/* /v1/tenants/{t}/schedules: at the times of a cron expression a task begins. The event-store that
 * releases tasks fires them (sql/0032_schedules.sql). */
#include <stdlib.h>

#include "common/cron_pg.h"
#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/resources.h"
#include "services/control-plane/standing.h"

#define TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define STATUS                                                                                     \
	"json_build_object('next_at', " TIME("next_at") ", 'last', last, 'runs', runs, 'missed',"  \
							" missed)"

/* When it is due from now on; also of one that is paused, so that a bad zone is told at once. */
static int find_next(struct change *ch, const json_t *doc, int64_t *next_s)
{
	struct cron cron;
	struct error err = {0};
	const char *zone = json_string_value(json_object_get(doc, "zone"));
	if (cron_parse(json_string_value(json_object_get(doc, "cron")), &cron, &err) ||
	    cron_pg_zone(ch->conn, zone, &err) ||
	    cron_pg_next(ch->conn, &cron, zone, ch->call->now_us / 1000000, next_s, &err))
		return call_error(ch->call, &err);
	return 0;
}

/* Changed or not, it is due from now on: no time before is made up for. */
static int write_row(struct change *ch, const json_t *old, const json_t *doc, json_t **state)
{
	const char *tenant = ch->call->ids.id[0], *name = ch->call->ids.id[1];
	int64_t next = 0;
	(void)old;
	if (find_next(ch, doc, &next))
		return -1;
	bool paused = json_is_true(json_object_get(doc, "paused"));
	struct pg_int8 at = pg_int8(next);
	char *text = json_text(doc, NULL);
	int rc = change_find(
	    ch,
	    "INSERT INTO control.schedules (tenant, name, doc, next_at) VALUES ($1, $2, $3,"
	    " to_timestamp($4::int8)) ON CONFLICT (tenant, name) DO UPDATE SET doc ="
	    " excluded.doc, next_at = excluded.next_at, updated_at = now() RETURNING " STATUS,
	    4, (const char *[]){tenant, name, text, paused ? NULL : at.text}, state);
	free(text);
	return rc;
}

static const struct standing schedules = {.noun = "schedule",
					  .list = "schedules",
					  .status = STATUS,
					  .max = 1000,
					  .registry = registry_schedule,
					  .write = write_row};

void schedules_list(struct call *call)
{
	standing_list(call, &schedules);
}

void schedule_get(struct call *call)
{
	standing_get(call, &schedules);
}

void schedule_put(struct call *call)
{
	standing_put(call, &schedules);
}

void schedule_delete(struct call *call)
{
	standing_delete(call, &schedules);
}
