/* Standing orders of a tenant to start tasks, by name: schedules and triggers. Each is a row
 * (tenant, name, doc, …) that an operator puts and the event-store works by. What became of it is
 * shown as `status` beside the document and is no part of its ETag: a run must not make stale what
 * an operator has read. Threads: as api_handle(). */
#ifndef PENSTOCK_CONTROL_STANDING_H
#define PENSTOCK_CONTROL_STANDING_H

#include "services/control-plane/change.h"

struct standing {
	const char *noun;   /* "schedule": in messages and in the names of the audit's actions */
	const char *list;   /* "schedules": in paths, and the table control.schedules */
	const char *status; /* an SQL expression of JSON over its row, which is called t */
	int max;            /* of a tenant */
	json_t *(*registry)(const json_t *in, const char *name, const char *tenant,
			    struct error *err);
	/* Inserts or updates the row; *state: its status then, owned by the caller. old: NULL for a
	 * new one. On -1 the call is answered. */
	int (*write)(struct change *ch, const json_t *old, const json_t *doc, json_t **state);
};

void standing_list(struct call *call, const struct standing *kind);
void standing_get(struct call *call, const struct standing *kind);
void standing_put(struct call *call, const struct standing *kind);
void standing_delete(struct call *call, const struct standing *kind);

#endif
