/* An executor that takes simulated time, fails sometimes and always gives the same answer to the
 * same input. It counts what was called, so that the checks can tell a repeated call from a
 * repeated completion. */
#ifndef PENSTOCK_SIM_FAKE_EXEC_H
#define PENSTOCK_SIM_FAKE_EXEC_H

#include "common/loop.h"
#include "common/rng.h"
#include "services/orchestrator-worker/target.h"

struct fake_exec {
	struct executor base;
	struct loop *loop;
	struct rng *rng;
	double fail_rate; /* of model and HTTP calls: retryable */
	struct fake_job *jobs;
	uint64_t *calls;         /* counter of the whole cluster */
	struct targets *targets; /* the worker's: every other chat is a call of the model */
};

void fake_exec_init(struct fake_exec *ex, struct loop *loop, struct rng *rng, uint64_t *calls);
void fake_exec_done(struct fake_exec *ex); /* drops what still runs, as a crash does */

#endif
