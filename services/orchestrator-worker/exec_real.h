/* The executor that really acts: jq in helpers, calls through permits. Threads: the loop's. */
#ifndef WORKER_EXEC_REAL_H
#define WORKER_EXEC_REAL_H

#include "services/orchestrator-worker/exec.h"
#include "services/orchestrator-worker/jqbox.h"
#include "services/orchestrator-worker/stats.h"
#include "services/orchestrator-worker/target.h"

/* All is borrowed. */
void exec_real_init(struct executor *ex, struct jqbox *box, struct targets *targets,
		    struct worker_stats *stats);
void exec_real_done(
    struct executor *ex); /* after the last job has ended or was cancelled; zeroed is fine */

#endif
