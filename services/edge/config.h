/* What the edge is told by its environment (PENSTOCK_EDGE_…). Threads: read-only once loaded. */
#ifndef PENSTOCK_EDGE_CONFIG_H
#define PENSTOCK_EDGE_CONFIG_H

#include "common/env.h"

struct edge_conf {
	struct env_common common;
	char *addr, *url, *urls, *region, *static_dir;
	char *resume_secret;
	int64_t port;
	int64_t reactors, http_threads; /* 0: as many as cores; */
	int64_t connect_ms, ping_ms, pong_ms, resume_ttl_ms, command_ms, linger_ms;
	int64_t drain_ms, drain_spread_ms, load_percent, load_slack;
	int64_t receipts_ms;
	int64_t connect_rate, connect_burst, resume_rate, resume_burst;
	int64_t connections, streams, subscriptions, in_flight, commands, rate;
	int64_t frame_bytes, task_bytes, out_soft_bytes, out_hard_bytes;
	int64_t mailbox, http_timeout_s, slow_ms, gap_ms, replay_pages, replay_queue;
	int64_t rate_bytes, in_flight_bytes;
	bool deflate, io_uring;
	int64_t deflate_level, deflate_bytes;
};

extern const struct env_setting edge_settings[];
extern const size_t edge_n_settings;

#endif
