/* One task over its graph of stages: the deciding code of the worker. No I/O, no clock, no
 * randomness of its own.
 *
 * The log is the truth. Inputs are the events read from the task's channel, the answers to what was
 * asked for, and time; outputs are actions, taken one by one with saga_next() after every input.
 * Transitions are written strictly one after the other, each with the channel's last sequence as
 * what it expects (docs/internals.md, "The life of a task"). Stages whose needs are complete run at
 * the same time.
 *
 *            ┌─────────► ACCEPTING ───────┐                       (log empty: the ticket's own
 * event) │                            ▼ LOADING ──┼────────────────────────► STARTING ──► RUNNING
 * ──► OUTPUT ──► ENDING ──► ENDED │                            │             │  └─────────────────▲
 * │          ▲ │                            └─────────────┴────────────────────┘ │          │ └─►
 * ENDED or DROPPED: from every state, when the log says so      └──────────┘
 *
 *  ENDED    a terminal event is in the log, ours or another's
 *  DROPPED  the task is somebody else's, or is to be taken up later
 *  LEAVING  from STARTING, RUNNING and OUTPUT, when the worker is to stop: what has an end gets it
 *           into the log, then task.handed_off, then DROPPED (ENDED, if the log says so). The same
 *           with task.parked, when all that may go on has to wait for SAGA_PARK_MS or longer
 *
 * A stage:
 *            ┌─────────────────── attempt + 1 ───────────────────┐
 *            ▼                                                   │
 *  WAITING ► STARTING ─► PREPARING ─► CALLING ─► COMPLETING ─► DONE
 *            (event of    (its input   │  │                      │
 *            the start)    is made)    │  └────► FAILING ────► BACKOFF
 *                │             └───────┴────────────▲ └──────► FAILED
 *                └──────────────────────────────────┘   STOPPED: from any that is not over, when
 * the task is
 *  WAITING ► ASKING ► STARTING | SKIPPING ► SKIPPED: a stage with a condition, before its first
 *  start; to SKIPPING also from WAITING, when all that it needs was skipped, and from PREPARING,
 *  when its condition could not be asked before
 *
 *  CALLING ◄─► HELD: the call may not begin yet (breaker, retry budget); it is the same attempt. A
 *  stage of the kind wait is held until its time has come
 *
 * A write:   IDLE ─► SENT ─► IDLE,  SENT ─► PAUSED (outcome unknown) ─► SENT,  SENT ─► CHECKING
 * (refused: read the channel again) ─► IDLE | SENT | the end
 *
 * Threads: one owner. Units: milliseconds, wall clock (`now`: UTC since 1970). What is passed in is
 * copied. */
#ifndef WORKER_SAGA_H
#define WORKER_SAGA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ids.h"
#include "common/pipeline.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "services/orchestrator-worker/slice.h"

#define SAGA_PARK_MS  2000 /* a task that has nothing to do for so long gives its place back */
#define SAGA_LOST_MAX 8    /* attempts of one stage that may vanish with their workers */
/* So often, or for so long since the first time, the other side may put a stage off. */
#define SAGA_THROTTLED_MAX 200
#define SAGA_THROTTLED_MS  (24 * 3600 * INT64_C(1000))

/* For so long a stage's calls may be held without one being made. */
#define SAGA_HELD_MS (24 * 3600 * INT64_C(1000))

enum saga_state {
	SAGA_LOADING,
	SAGA_ACCEPTING,
	SAGA_STARTING,
	SAGA_RUNNING,
	SAGA_OUTPUT,
	SAGA_ENDING,
	SAGA_LEAVING,
	SAGA_ENDED,
	SAGA_DROPPED,
};

enum saga_stage_state {
	STAGE_WAITING,
	STAGE_ASKING,
	STAGE_SKIPPING,
	STAGE_STARTING,
	STAGE_PREPARING,
	STAGE_CALLING,
	STAGE_HELD,
	STAGE_COMPLETING,
	STAGE_FAILING,
	STAGE_BACKOFF,
	STAGE_DONE,
	STAGE_SKIPPED,
	STAGE_FAILED,
	STAGE_STOPPED,
};

enum saga_write_state { WRITE_IDLE, WRITE_SENT, WRITE_PAUSED, WRITE_CHECKING };

/* docs/states.md; a state's number is that of its enum. NULL: there are no more. */
enum saga_machine { MACHINE_TASK, MACHINE_STAGE, MACHINE_WRITE, MACHINES };
bool saga_follows(enum saga_machine machine, unsigned from, unsigned to);
const char *saga_state_name(enum saga_machine machine, unsigned state);

enum saga_type {
	TASK_ACCEPTED,
	TASK_STARTED,
	TASK_STAGE_STARTED,
	TASK_STAGE_COMPLETED,
	TASK_STAGE_FAILED,
	TASK_STAGE_SKIPPED,
	TASK_PARKED,
	TASK_REDRIVEN,
	TASK_HANDED_OFF,
	TASK_COMPLETED,
	TASK_FAILED,
	TASK_CANCELLED,
	TASK_EXPIRED,
	TASK_UNKNOWN,
};

const char *saga_type_name(enum saga_type type);
enum saga_type saga_type_of(const char *name);
bool saga_type_terminal(enum saga_type type);

struct saga_usage {
	int64_t prompt_tokens, completion_tokens, total_tokens;
};

enum saga_class {
	OUTCOME_OK,
	OUTCOME_RETRY,     /* the same may work later */
	OUTCOME_FINAL,     /* it will not */
	OUTCOME_THROTTLED, /* the other side says: later. Is tried again without spending one of the
			    * stage's attempts */
	OUTCOME_HELD,      /* it was not asked at all, and may be after retry_after_ms */
	OUTCOME_CLASSES,
};

/* What came of a stage's input, of its call, or of the pipeline's output. */
struct saga_outcome {
	enum saga_class class;
	const char *text; /* OK: JSON */
	size_t len;
	const char *reason, *message;       /* not OK */
	int64_t retry_after_ms;             /* the other side's wish: a floor */
	int64_t latency_ms, first_token_ms; /* -1: not measured */
	const char *model;                  /* that answered, NULL: the stage's own */
	bool has_usage;
	struct saga_usage usage;
};

struct saga_stage {
	enum saga_stage_state state;
	unsigned attempt;        /* of its newest start, 0: none */
	unsigned failed;         /* attempts that ended in task.stage.failed, less … */
	unsigned throttled;      /* … those that the other side put off */
	int64_t throttled_since; /* the first of these, 0: none */
	int64_t held_since;      /* the first call that was held, of those since the last one that
				  * was made; 0: none */
	unsigned earlier;        /* attempts that count neither as failed nor as lost */
	bool open;               /* folded: started, and no end of it in the log */
	bool asked;              /* its input is being made */
	bool unwanted;           /* its condition says no */
	int64_t since;           /* kind wait: its first start, of whatever worker; 0: none */
	char *input;             /* NULL: not yet */
	size_t input_len;
	char *output;
	size_t output_len;
	char *reason, *message; /* of its newest failure */
	char *model;            /* that answered in place of its own, or NULL */
	bool final;
	bool put_off; /* its newest failure counts as throttled */
	int64_t retry_at, started_at;
	int64_t start_by, deadline_at; /* of all its attempts; 0: none */
	bool begun;                    /* a call of it has begun, here */
	int64_t latency_ms, first_token_ms;
	bool has_usage;
	struct saga_usage usage;
};

enum saga_verdict {
	VERDICT_END,    /* over or parked: acknowledge the ticket, say that a place is free */
	VERDICT_REPEAT, /* acknowledge the ticket: another one stands for the task */
	VERDICT_LOST,   /* somebody else holds this very ticket: say nothing */
	VERDICT_LATER,  /* give the ticket back, with a delay */
};

enum saga_action_type {
	ACTION_LOAD,   /* read the channel behind `after`: saga_fold() each, then saga_loaded() */
	ACTION_WRITE,  /* write saga_write(): then saga_written() */
	ACTION_INPUT,  /* make the stage's input with its program: then saga_input() */
	ACTION_CALL,   /* do what the stage's kind does with its input: then saga_called() */
	ACTION_ABORT,  /* stop the stage's input or call, whose result is not wanted */
	ACTION_OUTPUT, /* make the task's output with the pipeline's program: then saga_output() */
	ACTION_FINISH, /* verdict; the last action ever */
};

struct saga_action {
	enum saga_action_type type;
	size_t stage;
	unsigned attempt;
	uint64_t after;
	enum saga_verdict verdict;
};

struct saga_write {
	enum saga_type type;
	size_t stage;
	struct id id;
	int64_t expect;     /* the subject's last sequence */
	struct strbuf data; /* JSON */
};

struct saga_setup {
	const char *tenant, *task, *pipeline, *worker;
	unsigned version;
	struct pipeline_spec *spec; /* referenced; NULL: there is no such pipeline */
	uint64_t claim;             /* the ticket's sequence */
	uint64_t behind;            /* … and the event that it lets go on: see task.proto */
	size_t output_max;          /* bytes of the task's output */
	struct rng *rng;            /* borrowed as long as the saga lives */
	/* The ticket's own task.accepted. */
	const char *accepted_id, *accepted_data;
	size_t accepted_len;
	int64_t accepted_at;
};

struct saga {
	enum saga_state state;
	char *tenant, *task, *pipeline, *worker;
	unsigned version;
	struct pipeline_spec *spec;
	uint64_t claim;
	size_t output_max;
	struct rng *rng;
	struct strbuf accepted; /* data of task.accepted */
	char accepted_id[ID_LEN + 1];
	struct slice input; /* in it */
	int64_t accepted_at, deadline_at;

	/* The log, as far as it was read. */
	bool in_log; /* there is an event at all */
	uint64_t last_seq;
	bool trimmed;    /* the subject's own memory of it is gone: expect 0 */
	uint64_t behind; /* what our ticket lets go on: see task.proto */
	/* The newest task.parked or task.redriven, or the task.accepted of a delayed task, if
	 * nothing has followed it. */
	uint64_t resting;
	uint64_t holder; /* claim of the newest task.started, 0: none or resting */
	int64_t run;
	enum saga_type end; /* the terminal event, TASK_UNKNOWN: none yet */
	bool foreign;       /* found, while we ran it, what we have not written */

	enum saga_write_state write_state;
	struct saga_write write;
	unsigned write_tries;
	int64_t write_at;
	bool hinted, pending; /* pending: `write` is not answered for good */
	bool checking;        /* … and that is why the channel is read */
	struct {
		enum saga_type type;
		size_t stage;
	} queue[2 * PIPELINE_STAGES_MAX + 4];
	size_t queued;

	struct saga_stage *stages;
	size_t n;
	uint64_t complete; /* stages that are DONE or SKIPPED */
	uint64_t skipped;
	bool doomed;   /* a stage failed for good */
	bool draining; /* no new calls: the task is to go elsewhere */
	/* What this ticket's calls of models took, as far as it was told; untold: one of them may
	 * have taken more. */
	int64_t spent;
	bool untold;
	char *output, *reason, *message; /* of the task */
	size_t output_len, failed_stage;
	bool has_failed_stage;
	int64_t output_at; /* the output is tried again then, 0: no */

	struct saga_action *actions;
	size_t action_at, action_count, action_cap;
};

void saga_init(struct saga *s, const struct saga_setup *setup);
void saga_done(struct saga *s);
bool saga_next(struct saga *s, struct saga_action *action);
/* Tokens that its calls took under this ticket; where one of them did not tell, `estimate` at
 * least.
 */
int64_t saga_used(const struct saga *s, int64_t estimate);
/* When saga_tick() has something to do, 0: never. */
int64_t saga_wake_at(const struct saga *s);

/* --- inputs -------------------------------------------------------------------------------- */

void saga_begin(struct saga *s);
/* In the channel's order; what was folded before is ignored. type is the event's type. */
void saga_fold(struct saga *s, uint64_t seq, const char *id, const char *type, const char *data,
	       size_t len);
/* trimmed: the stream has no event of the channel (any more). */
void saga_loaded(struct saga *s, bool trimmed, int64_t now);

enum saga_write_result {
	WRITTEN,
	WRITE_UNKNOWN,  /* it may be in the log or not: is repeated with the same id */
	WRITE_CONFLICT, /* the channel has moved */
	WRITE_REFUSED,  /* the broker will not have it */
};
void saga_written(struct saga *s, enum saga_write_result result, uint64_t seq, int64_t now);
void saga_input(struct saga *s, size_t stage, const struct saga_outcome *outcome, int64_t now);
void saga_called(struct saga *s, size_t stage, unsigned attempt, const struct saga_outcome *outcome,
		 int64_t now);
/* The call has begun: it waits for nobody any more but the other side. */
void saga_begun(struct saga *s, size_t stage, unsigned attempt);
void saga_output(struct saga *s, const struct saga_outcome *outcome, int64_t now);
/* Somebody says that the log has something new: it is read before the next write. */
void saga_hint(struct saga *s);
void saga_tick(struct saga *s, int64_t now);
/* The worker is to stop. Calls that run may end, none is begun any more; what is done within the
 * worker goes on. As soon as no call runs the task is handed off behind its completed stages, which
 * spends no attempt. at_once: calls are stopped, and it is handed off now. */
void saga_drain(struct saga *s, bool at_once, int64_t now);

/* --- texts --------------------------------------------------------------------------------- */

/* {input, stages, task} for a stage's program (the stages above it), or, with stage == n, for the
 * output (all). */
void saga_document(const struct saga *s, size_t stage, struct strbuf *out);
/* The input of a stage, or the output, when there is no program: see pipeline.h. */
void saga_plain(const struct saga *s, size_t stage, struct strbuf *out);
/* Until when a stage of the kind wait waits, whose first start was at `since`. Input: milliseconds,
 * {ms}, or {until}; at most 366 days. -1 and ERR_REJECTED for another one. Private to saga*.c. */
int saga_wait_until(const char *text, size_t len, int64_t since, int64_t *until, struct error *err);
/* Data of a transition (docs/internals.md). Private to saga*.c. */
void saga_write_data(const struct saga *s, enum saga_type type, size_t stage, int64_t now,
		     struct strbuf *out);
/* A call of the stage has ended, and what it took; NULL: nobody told. Private to saga*.c. */
void saga_spend(struct saga *s, size_t stage, const struct saga_usage *usage);
/* … it has failed for this reason, and told nothing. Private to saga*.c. */
void saga_spend_failed(struct saga *s, size_t stage, const char *reason);
/* What an event of the log means for the task's state. Private to saga*.c. */
void saga_take_event(struct saga *s, enum saga_type type, const char *data, size_t len);

#endif
