/* The worker's metrics, made at start. Threads: made by main's, counted by the loop's. */
#ifndef WORKER_STATS_H
#define WORKER_STATS_H

#include "common/metrics.h"
#include "services/orchestrator-worker/saga.h"

struct worker_stats {
	struct metric *tasks[7]; /* enum worker_task_result */
	struct metric *stages[STAGE_KINDS][OUTCOME_CLASSES];
	struct metric *transitions, *writes_repeated, *fenced;
	struct metric *retries;
	struct metric *slots, *slots_used, *tickets_waiting;
	struct metric *deltas, *deltas_lost, *deltas_held, *deltas_in_flight;
	struct metric *calls[8]; /* enum call_result of target.h */
	struct metric *calls_running, *permits_waiting;
	struct metric *calls_held[4]; /* enum call_held of target.h */
	struct metric *calls_again, *fallbacks, *breakers_open, *breakers_opened;
	struct metric *lease_reports, *lease_unanswered, *lease_silent;
	struct metric *tokens_prompt, *tokens_completion;
	struct histogram *latency, *first_token, *permit_wait, *write_time, *task_time;
	struct histogram *jq_time;
	struct metric *jq_failed, *jq_queued, *jq_killed, *jq_refused;
};

enum worker_task_result {
	RESULT_COMPLETED,
	RESULT_FAILED,
	RESULT_ENDED_ELSEWHERE, /* the log said it is over: cancelled, or ended by another worker */
	RESULT_EXPIRED,
	RESULT_REPEAT,
	RESULT_HANDED_BACK,
	RESULT_PARKED,
};

void worker_stats_init(struct worker_stats *s, struct metrics *m);

#endif
