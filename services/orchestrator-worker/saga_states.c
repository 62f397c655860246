/* The states of a saga and which may follow which: the table of docs/states.md, which a test holds
 * against this one. */
#include "services/orchestrator-worker/saga.h"

#define B(state) (1U << (state))

/* Which states may follow which. */
static const unsigned task_next[] = {
    [SAGA_LOADING] =
	B(SAGA_ACCEPTING) | B(SAGA_STARTING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_ACCEPTING] = B(SAGA_STARTING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_STARTING] =
	B(SAGA_RUNNING) | B(SAGA_LEAVING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_RUNNING] =
	B(SAGA_OUTPUT) | B(SAGA_LEAVING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_OUTPUT] = B(SAGA_LEAVING) | B(SAGA_ENDING) | B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_ENDING] = B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_LEAVING] = B(SAGA_ENDED) | B(SAGA_DROPPED),
    [SAGA_ENDED] = 0,
    [SAGA_DROPPED] = 0,
};

static const unsigned stage_next[] = {
    [STAGE_WAITING] = B(STAGE_ASKING) | B(STAGE_SKIPPING) | B(STAGE_STARTING) | B(STAGE_FAILING) |
		      B(STAGE_STOPPED),
    [STAGE_ASKING] = B(STAGE_STARTING) | B(STAGE_SKIPPING) | B(STAGE_STOPPED),
    [STAGE_SKIPPING] = B(STAGE_SKIPPED) | B(STAGE_STOPPED),
    [STAGE_STARTING] = B(STAGE_PREPARING) | B(STAGE_STOPPED),
    [STAGE_PREPARING] = B(STAGE_CALLING) | B(STAGE_SKIPPING) | B(STAGE_FAILING) | B(STAGE_STOPPED),
    [STAGE_CALLING] = B(STAGE_COMPLETING) | B(STAGE_FAILING) | B(STAGE_HELD) | B(STAGE_STOPPED),
    [STAGE_HELD] = B(STAGE_CALLING) | B(STAGE_FAILING) | B(STAGE_STOPPED),
    [STAGE_COMPLETING] = B(STAGE_DONE) | B(STAGE_STOPPED),
    [STAGE_FAILING] = B(STAGE_BACKOFF) | B(STAGE_FAILED) | B(STAGE_STOPPED),
    [STAGE_BACKOFF] = B(STAGE_STARTING) | B(STAGE_STOPPED),
    [STAGE_DONE] = 0,
    [STAGE_SKIPPED] = 0,
    [STAGE_FAILED] = 0,
    [STAGE_STOPPED] = 0,
};

static const unsigned write_next[] = {
    [WRITE_IDLE] = B(WRITE_SENT) | B(WRITE_CHECKING),
    [WRITE_SENT] = B(WRITE_IDLE) | B(WRITE_PAUSED) | B(WRITE_CHECKING),
    [WRITE_PAUSED] = B(WRITE_SENT),
    [WRITE_CHECKING] = B(WRITE_IDLE) | B(WRITE_PAUSED) | B(WRITE_SENT),
};

static const char *const task_names[] = {
    [SAGA_LOADING] = "LOADING", [SAGA_ACCEPTING] = "ACCEPTING", [SAGA_STARTING] = "STARTING",
    [SAGA_RUNNING] = "RUNNING", [SAGA_OUTPUT] = "OUTPUT",       [SAGA_ENDING] = "ENDING",
    [SAGA_LEAVING] = "LEAVING", [SAGA_ENDED] = "ENDED",         [SAGA_DROPPED] = "DROPPED",
};

static const char *const stage_names[] = {
    [STAGE_WAITING] = "WAITING",     [STAGE_ASKING] = "ASKING",
    [STAGE_SKIPPING] = "SKIPPING",   [STAGE_STARTING] = "STARTING",
    [STAGE_PREPARING] = "PREPARING", [STAGE_CALLING] = "CALLING",
    [STAGE_HELD] = "HELD",           [STAGE_COMPLETING] = "COMPLETING",
    [STAGE_FAILING] = "FAILING",     [STAGE_BACKOFF] = "BACKOFF",
    [STAGE_DONE] = "DONE",           [STAGE_SKIPPED] = "SKIPPED",
    [STAGE_FAILED] = "FAILED",       [STAGE_STOPPED] = "STOPPED",
};

static const char *const write_names[] = {
    [WRITE_IDLE] = "IDLE",
    [WRITE_SENT] = "SENT",
    [WRITE_PAUSED] = "PAUSED",
    [WRITE_CHECKING] = "CHECKING",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const unsigned *next;
	const char *const *names;
	size_t count;
} machines[] = {
    [MACHINE_TASK] = {task_next, task_names, COUNT(task_names)},
    [MACHINE_STAGE] = {stage_next, stage_names, COUNT(stage_names)},
    [MACHINE_WRITE] = {write_next, write_names, COUNT(write_names)},
};

bool saga_follows(enum saga_machine machine, unsigned from, unsigned to)
{
	return (machines[machine].next[from] & B(to)) != 0;
}

const char *saga_state_name(enum saga_machine machine, unsigned state)
{
	return state < machines[machine].count ? machines[machine].names[state] : NULL;
}
