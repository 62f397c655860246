/* The edge's metrics. Made once at start; counted by any thread. */
#ifndef PENSTOCK_EDGE_STATS_H
#define PENSTOCK_EDGE_STATS_H

#include "common/metrics.h"
#include "services/edge/usage.h"

enum close_slot {
	CLOSED_1000,
	CLOSED_1002,
	CLOSED_1003,
	CLOSED_1007,
	CLOSED_1009,
	CLOSED_4001,
	CLOSED_4002,
	CLOSED_4003,
	CLOSED_4004,
	CLOSED_4100,
	CLOSED_4101,
	CLOSED_4102,
	CLOSED_4103,
	CLOSED_4200,
	CLOSED_4201,
	CLOSED_4300,
	CLOSED_4301,
	CLOSED_OTHER, /* without a close frame, or a code of the client's own */
	CLOSED_N,
};
enum came_in { CAME_OK, CAME_LIMITED, CAME_REFUSED, CAME_N };
enum command_kind { COMMAND_PUBLISH, COMMAND_TASK, COMMAND_CANCEL, COMMAND_N };
enum drop_reason { DROP_SLOW, DROP_MAILBOX, DROP_HELD, DROP_N };
enum slow_reason { SLOW_FULL, SLOW_IDLE, SLOW_N };

enum deflate_bytes {
	DEFLATE_PLAIN_OUT,
	DEFLATE_PACKED_OUT,
	DEFLATE_PLAIN_IN,
	DEFLATE_PACKED_IN,
	DEFLATE_N
};

struct stats {
	struct metric *streams;
	struct metric *connections, *opened, *subscriptions, *topics, *channels;
	struct metric *frames_in, *frames_out, *bytes_in, *bytes_out, *writes, *batches;
	struct metric *events_in, *deliveries, *lent;
	struct metric *dropped[DROP_N], *closed[CLOSED_N];
	struct metric *repairs, *fetches, *fetch_failed, *paused, *malformed;
	struct metric *deflate[DEFLATE_N];
	struct metric *commands, *refused_commands, *direct, *signatures;
	struct metric *draining, *drain_frames;
	struct metric *receipts, *receipts_dropped;
	struct metric *came_in[2][CAME_N]; /* fresh, resumed */
	struct metric *gaps;
	struct metric *delta_pages, *delta_failed;
	struct metric *replay_waiting, *replay_under_way, *replay_refused;
	struct histogram *replay_wait;
	struct metric *out_bytes, *spills, *spilled, *slow_closed[SLOW_N];
	struct histogram *command_time[COMMAND_N];
	struct metric *turned_away, *accept_failures;
	struct metric *cut_off;
	struct usage_stats usage;
	struct metric *http[6]; /* by the first digit of the status */
};

void stats_init(struct stats *s, struct metrics *m);
void stats_closed(struct stats *s, unsigned code);

#endif
