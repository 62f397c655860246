/* The router's settings: PENSTOCK_ROUTER_* and what all services share. Threads: main, at start. */
#ifndef PENSTOCK_ROUTER_CONFIG_H
#define PENSTOCK_ROUTER_CONFIG_H

#include "common/env.h"
#include "services/router/router.h"

struct router_config {
	struct env_common common;
	int64_t inflight, inflight_bytes, recent, data_max, input_max, store_timeout_ms, linger_ms,
	    slot_tokens, delay_max_ms;
};

#define ROUTER_PREFIX "PENSTOCK_ROUTER_"
extern const struct env_setting router_settings[];
extern const size_t router_settings_count;

/* Everything but epoch, seed and metrics. Borrows from config. */
void router_config_apply(const struct router_config *config, struct router_conf *conf);

#endif
