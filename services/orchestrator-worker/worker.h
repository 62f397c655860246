/* The worker: takes tickets from the ready queue and runs their tasks, hundreds at once, on one
 * loop.
 *
 * Everything that decides is in saga.c; this carries out its actions over the bus and the executor.
 * It takes time from the loop and randomness from its seed, so that with a fake bus, a fake
 * executor and a simulated loop a whole run is repeatable. Threads: the loop's. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "common/bus.h"
#include "common/catalog.h"
#include "services/orchestrator-worker/exec.h"
#include "services/orchestrator-worker/stats.h"

#define WORKER_ACK_WAIT_MS 30000

struct worker;

struct worker_conf {
	const char *instance; /* copied */
	const char *pool;     /* copied */
	unsigned parts;
	unsigned slots;
	unsigned batch_slots; /* besides those, for the pool "batch", if pool is the default one */
	uint64_t seed;
	size_t output_max;   /* of a stage and of a task, bytes */
	size_t document_max; /* what a jq program gets, bytes */
	unsigned deltas_in_flight;
	int64_t fresh_ms; /* the log keeps what is younger; an empty channel of an older ticket is
			   * asked for in the event-store. 0: 60,000 */
	int ack_wait_ms;  /* a ticket without progress for so long goes to another worker; the
			   * same in all workers of a pool. 0: WORKER_ACK_WAIT_MS */
};

/* All is borrowed. Takes tickets at once. NULL on failure. */
struct worker *worker_start(struct loop *loop, struct bus *bus, const struct catalog *catalog,
			    struct executor *executor, struct worker_stats *stats,
			    const struct worker_conf *conf, struct error *err);
/* A key of pen_config changed: the catalog's `changed` goes here. */
void worker_config_changed(struct worker *w, const char *key);
bool worker_ready(const struct worker *w, const char **why);

/* Takes no more tickets and gives back at once those whose tasks it has not started. Of the others
 * the calls that run may end within grace_ms, and no new one is begun; then the task is handed off:
 * it goes on elsewhere behind its last completed stage, and no attempt is spent. Called again, it
 * hands off what is left at once. Calls done once, when nothing is held. */
void worker_stop(struct worker *w, int64_t grace_ms, void (*done)(void *arg), void *arg);
/* The same, until worker_undrain(): then it takes tickets again. Called again it only changes the
 * grace of what still runs. A stop is for good, also of one that is drained. */
void worker_drain(struct worker *w, int64_t grace_ms, void (*done)(void *arg), void *arg);
/* -1: it cannot take tickets, and is of no use any more. */
int worker_undrain(struct worker *w, struct error *err) MUST_CHECK;
/* At any time: whatever is held is left alone, as in a crash. The bus must be freed before its loop
 * turns again: answers to what was asked are on their way. NULL is fine. */
void worker_free(struct worker *w);

size_t worker_running(const struct worker *w);
size_t worker_held(const struct worker *w); /* unfinished tasks: that run, and that wait */

#endif
