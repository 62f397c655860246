/* A pipeline's document (docs/protocol, DESIGN section 11) parsed and checked: stages that need
 * each other.
 *
 * Pure: the control-plane refuses with it what the workers could not run. A spec never changes
 * after it was parsed; it is counted, so that a task keeps the one it started with while the
 * catalog moves on. Threads: any for reading; references are counted by one thread. Units:
 * milliseconds. */
#ifndef PENSTOCK_PIPELINE_H
#define PENSTOCK_PIPELINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define PIPELINE_STAGES_MAX  64 /* a set of stages is one word */
#define PIPELINE_PROGRAM_MAX 65536
#define PIPELINE_TIMEOUT_MS  60000
#define PIPELINE_TOKENS      1024 /* estimate of an answer that has no bound */

enum stage_kind {
	KIND_TRANSFORM,
	KIND_CHAT,
	KIND_HTTP,
	KIND_EMBED,
	KIND_PUBLISH,
	KIND_WAIT,
	STAGE_KINDS,
};

struct retry_policy {
	int64_t max_attempts; /* 4; the first one counts */
	int64_t initial_ms;   /* 500 */
	double factor;        /* 2 */
	int64_t max_ms;       /* 30000 */
};

struct stage_spec {
	char *id;
	enum stage_kind kind;
	char *input;             /* jq program, or NULL: see below */
	char *when;              /* jq program, or NULL: the stage is always run */
	char *program;           /* made of the two: what is to be evaluated, or NULL; see below */
	char *model;             /* or NULL */
	int64_t max_tokens;      /* 0: the model's own bound */
	int64_t output_max;      /* bytes; 0: the worker's bound */
	int64_t timeout_ms;      /* 0: the model's, else PIPELINE_TIMEOUT_MS */
	int64_t start_within_ms; /* from the stage's turn to its first call's beginning; 0: any */
	int64_t deadline_ms;     /* … to its end, with all attempts; 0: any */
	struct retry_policy retry;
	uint64_t needs; /* stages (bit i: stages[i]) that must be complete before this one */
	uint64_t above; /* those and all that they need: what its jq input may see */
};

/* A stage with `when` runs only if that program says neither false nor null; a stage that needs
 * others is skipped as well if all of those were. Condition and input are evaluated at once:
 * `program` gives [] for a stage to be skipped, else [input] (with no `input`: [null]). Without
 * `when` it is the input's program.
 *
 * A stage without `input` works on the task's input if it needs nothing, on the output of the stage
 * that it needs, or, if it needs several, on an object of their outputs by id. */
struct pipeline_spec {
	unsigned refs;
	size_t n;
	struct stage_spec *stages;
	char *output;    /* jq program, or NULL: the outputs of the leaves */
	uint64_t leaves; /* stages that no other needs */
	bool batch;      /* "pool": "batch"; else interactive: somebody waits for its tasks */
	/* What a task may take of its models, as far as the document tells. */
	int64_t answer_tokens; /* sum of max_tokens; PIPELINE_TOKENS for a chat that sets none */
	unsigned model_calls;
};

/* Checks: members that are known, unique valid ids, known kinds, needs that exist and form no
 * circle, a model for chat and embed, numbers within their ranges. Members of the document other
 * than stages, output and pool are not looked at. Owned by the caller (one reference); NULL and
 * ERR_REJECTED on failure. */
struct pipeline_spec *pipeline_parse(const json_t *doc, struct error *err);
struct pipeline_spec *pipeline_ref(struct pipeline_spec *spec);
void pipeline_unref(struct pipeline_spec *spec); /* NULL is fine */

/* Index of the stage with this id (len bytes), or -1. */
int pipeline_find(const struct pipeline_spec *spec, const char *id, size_t len);
const char *stage_kind_name(enum stage_kind kind);

#endif
