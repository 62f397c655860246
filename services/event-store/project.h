/* The projection: folds a task's transitions (docs/internals.md, "Data of the transitions") into
 * its newest state. Pure: no I/O, no clock; what it knows is in the events.
 *
 * Idempotent: an event whose place (epoch, seq) is not behind the last one folded changes nothing,
 * so a stored state can be resumed with events that overlap it. Events must come in the order of
 * seq.
 *
 *   (none) ──► accepted ──► running ◄──► parked        any of these ──► completed, failed,
 *                                           ▲                           cancelled, expired: final
 *      └── with a not_before ───────────────┤
 *                                           └── redriven ── failed, expired
 * Any other event that comes after a final one only moves last_seq. A task whose first events are
 * not known (trimmed, or of an earlier life of the stream) starts in the state that its first known
 * event says.
 *
 * Threads: any, one owner a task. */
#ifndef PENSTOCK_EVENT_STORE_PROJECT_H
#define PENSTOCK_EVENT_STORE_PROJECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum project_state {
	PROJECT_NONE, /* no event yet */
	PROJECT_ACCEPTED,
	PROJECT_RUNNING,
	PROJECT_PARKED,
	PROJECT_COMPLETED, /* from here on: final */
	PROJECT_FAILED,
	PROJECT_CANCELLED,
	PROJECT_EXPIRED,
};

const char *project_state_name(enum project_state state);
enum project_state project_state_parse(const char *word); /* PROJECT_NONE for an unknown word */
bool project_final(enum project_state state);

struct project_task {
	char *task, *tenant, *pipeline; /* never NULL after the first event */
	int version;
	enum project_state state;
	int64_t created_us, updated_us; /* times of events; 0: not yet */
	int64_t started_us, finished_us;
	int64_t deadline_ms;                    /* since 1970; 0: none */
	int64_t release_us;                     /* parked: when it may go on; 0: not parked */
	json_t *input, *output, *error, *usage; /* NULL: none */
	json_t *stages;                         /* array of objects, in order of first appearance */
	char *worker;                           /* NULL: none yet */
	int run, attempts;                      /* take-overs from 1; stage attempts in all */
	int redrive_gen;                        /* how often it was redriven */
	uint64_t epoch, first_seq, last_seq;
};

struct project_event {
	uint64_t epoch, seq;
	int64_t time_us;
	const char *tenant, *channel, *type;
	const void *data; /* JSON text; what cannot be read counts as {} */
	size_t len;
};

/* Is this a transition of a task? Only then may it be folded. */
bool project_is_transition(const char *channel, const char *type);
/* The task of a channel "task.<id>"; NULL if it is no such channel. Borrowed. */
const char *project_task_of(const char *channel);

/* t: zeroed storage, or a state loaded earlier. Returns true if something changed. Everything is
 * copied. */
bool project_apply(struct project_task *t, const struct project_event *event);
/* Frees what t holds and zeroes it. NULL is fine. */
void project_done(struct project_task *t);

/* The task as clients see it (GET /v1/tasks/{id}); times are milliseconds since 1970. Owned by the
 * caller. */
json_t *project_json(const struct project_task *t);
/* How long each part of the task took, for a timeline: [{name, stage?, attempt?, start_ms,
 * duration_ms?, state}], start_ms counted from its acceptance. Owned by the caller. */
json_t *project_spans(const struct project_task *t);

#endif
