/* PENSTOCK_WORKER_*: the worker's settings. */
#ifndef WORKER_CONFIG_H
#define WORKER_CONFIG_H

#include "common/env.h"

struct worker_settings {
	struct env_common common;
	char *pool;
	int64_t slots, batch_slots, grace_ms, ack_wait_ms;
	int64_t output_max, document_max, deltas_in_flight;
	int64_t jq_helpers, jq_budget_ms, jq_memory_mb, jq_output_max, jq_programs, jq_queue,
	    jq_queue_bytes;
	int64_t waiting_max, http_concurrent;
	bool http_private;
};

extern const struct env_setting worker_settings_table[];
extern const size_t worker_settings_count;

#endif
