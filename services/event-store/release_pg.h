/* What the slow path reads and notes in PostgreSQL. Blocks; threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_RELEASE_PG_H
#define PENSTOCK_EVENT_STORE_RELEASE_PG_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/ids.h"
#include "common/names.h"

#define RELEASE_ROUND_MAX 256

enum release_kind {
	SLOW_RELEASE,  /* a parked or redriven task gets its ticket */
	SLOW_REDRIVE,  /* a dead letter becomes a redriven task */
	SLOW_REPLAY,   /* an event of the log is delivered again */
	SLOW_SCHEDULE, /* a schedule starts a task */
	SLOW_TRIGGER,  /* an event starts a task */
	SLOW_KINDS,
};

enum release_end {
	RELEASE_NOT_YET, /* nothing is noted: it stays due */
	RELEASE_DONE,    /* its ticket is in the queue */
	RELEASE_BAD,     /* it never will be, as it is */
};

struct release_due {
	enum release_kind kind;
	char task[ID_LEN + 1], tenant[TENANT_MAX + 1];
	uint64_t seq;
	void *command; /* a packed Command; owned */
	size_t len;
	enum release_end end;
	/* SLOW_REDRIVE: the item of the order; SLOW_REPLAY: the order, its event is at seq, and
	 * task the one that it starts, if any; SLOW_SCHEDULE: its name, seq is the due time in
	 * seconds; SLOW_TRIGGER: its name, the event is `event` at (epoch, seq). */
	char order[TENANT_MAX + 1], event[ID_LEN + 1];
	uint64_t epoch;
	int n;
	char reason[32]; /* RELEASE_BAD: a code of the protocol */
};

/* A task that the slow path starts. */
struct release_task {
	const char *principal, *pipeline, *key;
	const char *input; /* JSON text */
	size_t input_len;
	int32_t priority;
	const char *trace; /* NULL or "": one of its own, the same for each repeat */
	unsigned depth;    /* triggers that led to it */
};

/* Fills in the task's id and the command: a SubmitTask of d->tenant. Whoever asks again with the
 * same key asks for the same task. `what`: names the kind, for the command's id. */
void release_submit(struct release_due *d, const char *what, const struct release_task *task);

/* Frees their commands; there are none then. */
void release_due_forget(struct release_due *due, size_t *n);

struct release_any {
	bool releases, redrives, replays, schedules, triggers, triggered;
};

/* Of a new connection, before release_pg_any(). */
int release_pg_prepare(PGconn *conn, struct error *err) MUST_CHECK;
/* Is there anything of each kind, due or not (schedules: due; triggered: events that wait)? Ten
 * times a second, so this one is cheap. */
int release_pg_any(PGconn *conn, uint64_t epoch, struct release_any *any,
		   struct error *err) MUST_CHECK;
/* What is due now, at most max, the tenants in turn; without those of the array literal `paused`.
 * -1: nothing was read. */
int release_pg_read(PGconn *conn, uint64_t epoch, size_t max, const char *paused,
		    struct release_due *due, size_t *n, struct error *err) MUST_CHECK;
/* How many there are, due or not. */
int release_pg_count(PGconn *conn, uint64_t epoch, int64_t *waiting, struct error *err) MUST_CHECK;
/* Notes how it ended, for those that are still where they were when they were read. What is bad as
 * it is is not due for an hour. */
int release_pg_note(PGconn *conn, uint64_t epoch, const struct release_due *due, size_t n,
		    struct error *err) MUST_CHECK;

#endif
