/* The event-store's settings. */
#ifndef PENSTOCK_EVENT_STORE_CONFIG_H
#define PENSTOCK_EVENT_STORE_CONFIG_H

#include "common/env.h"

struct store_config {
	struct env_common common;
	char *pg_dsn;
	int64_t retention_days, receipt_days, release_per_s;
	int64_t batch, gather_ms, held_bytes;
	int64_t keep_ms, keep_bytes, task_max_ms, task_max_bytes, trim_ms;
	int64_t query_threads, query_queue;
};

extern const struct env_setting store_settings[];
extern const size_t store_settings_n;

/* What the table cannot say: bounds against each other, a DSN that parses. */
int store_config_check(const struct store_config *config, struct error *err) MUST_CHECK;

#endif
