/* What the edge is told by its environment (PENSTOCK_EDGE_…). Threads: read-only once loaded. */
#ifndef PENSTOCK_EDGE_CONFIG_H
#define PENSTOCK_EDGE_CONFIG_H

#include "common/env.h"

struct edge_conf {
	struct env_common common;
	char *addr, *url, *urls, *region;
	char *resume_secret;
	int64_t port;
	int64_t reactors, http_threads; /* 0: as many as cores; */
	int64_t connect_ms, ping_ms, pong_ms, resume_ttl_ms, command_ms, drain_ms, linger_ms;
	int64_t connections, subscriptions, in_flight, commands, rate;
	int64_t frame_bytes, task_bytes, out_soft_bytes, out_hard_bytes;
	int64_t mailbox, http_timeout_s;
};

extern const struct env_setting edge_settings[];
extern const size_t edge_n_settings;

#endif
