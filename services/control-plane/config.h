/* What the control-plane's environment says. Threads: written by main at start, read by all. */
#ifndef PENSTOCK_CONTROL_CONFIG_H
#define PENSTOCK_CONTROL_CONFIG_H

#include "common/env.h"

#define CONTROL_PREFIX "PENSTOCK_CONTROL_"
#define CONTROL_PURPOSE                                                                            \
	"keeps tenants, keys, limits, event types, models and pipelines; serves the operators' "   \
	"API"

struct control_config {
	struct env_common common;
	char *addr;
	int64_t port;
	char *url;
	int64_t threads;
	int64_t connections;
	int64_t publish_wait_ms;
	int64_t store_timeout_ms;
	char *pg_dsn;
	char *admin_key;
};

extern const struct env_setting control_settings[];
extern const size_t control_settings_n;

#endif
