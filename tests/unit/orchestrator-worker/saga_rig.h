/* A saga with a log of its own, for tests: what it writes is appended, what it asks for is noted.
 */
#ifndef TEST_SAGA_RIG_H
#define TEST_SAGA_RIG_H

#include "services/orchestrator-worker/saga.h"

struct rig_event {
	uint64_t seq;
	char id[ID_LEN + 1];
	char type[32];
	char *data;
};

struct rig {
	struct saga s;
	struct rng rng;
	struct pipeline_spec *spec;
	int64_t now;
	uint64_t behind;            /* of the next ticket */
	struct rig_event log[1200]; /* the channel, as the broker has it */
	size_t n_log;
	uint64_t next_seq;
	/* What the saga wants at the moment. */
	bool write, load, output, finished;
	uint64_t load_after;
	enum saga_verdict verdict;
	unsigned inputs[8], calls[8], aborts[8]; /* times asked, a stage */
	unsigned attempts[8];                    /* of the newest call */
};

#define RIG_START  INT64_C(1700000000000)
#define RIG_CLAIM  77
#define RIG_STATES 32 /* more than a machine has */

/* doc: of the pipeline, with ' for "; NULL: there is none. accepted: members added to
 * task.accepted, or "". */
void rig_init(struct rig *r, const char *doc, const char *accepted, uint64_t claim);
void rig_done(struct rig *r);
/* Another worker with another ticket or the same, over the same log. */
void rig_again(struct rig *r, const char *worker, uint64_t claim);
/* Appends an event that the saga did not write. data with ' for ". */
void rig_append(struct rig *r, const char *type, const char *data);
/* Takes what the saga wants now. */
void rig_take(struct rig *r);
/* Answers the load with the log. */
void rig_load(struct rig *r);
/* Answers the write: it is in the log, by the rules of compare-and-set. */
void rig_write(struct rig *r);
void rig_written(struct rig *r, enum saga_write_result result);
/* Writes on until the saga wants no more writes. */
void rig_writes(struct rig *r);
/* The first two: it runs, as far as it gets without an answer. */
void rig_start(struct rig *r, const char *doc, const char *accepted);
void rig_resume(struct rig *r, const char *worker, uint64_t claim);
/* It has ended like this, in this state; and rig_done(). */
void rig_ends(struct rig *r, enum saga_verdict verdict, enum saga_state state);
void rig_input(struct rig *r, size_t stage, const char *text);
void rig_call(struct rig *r, size_t stage, const char *text);
void rig_call_fails(struct rig *r, size_t stage, enum saga_class class, int64_t retry_after_ms);
void rig_tick(struct rig *r, int64_t ms);
/* The log's types from the first event on, joined by spaces, without "task."; static storage. */
const char *rig_types(const struct rig *r);
const struct rig_event *rig_last(const struct rig *r);
void rig_last_has(const struct rig *r, const char *type, const char *part);

#endif
