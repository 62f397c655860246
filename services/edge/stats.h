/* The edge's metrics. Made once at start; counted by any thread. */
#ifndef PENSTOCK_EDGE_STATS_H
#define PENSTOCK_EDGE_STATS_H

#include "common/metrics.h"

enum close_slot {
	CLOSED_1000,
	CLOSED_1002,
	CLOSED_1003,
	CLOSED_1007,
	CLOSED_1009,
	CLOSED_4001,
	CLOSED_4002,
	CLOSED_4003,
	CLOSED_4100,
	CLOSED_4102,
	CLOSED_4103,
	CLOSED_4200,
	CLOSED_4300,
	CLOSED_OTHER, /* without a close frame, or a code of the client's own */
	CLOSED_N,
};
enum command_kind { COMMAND_PUBLISH, COMMAND_TASK, COMMAND_CANCEL, COMMAND_N };
enum drop_reason { DROP_SLOW, DROP_MAILBOX, DROP_HELD, DROP_N };

struct stats {
	struct metric *connections, *opened, *subscriptions, *topics, *channels;
	struct metric *frames_in, *frames_out, *bytes_in, *bytes_out, *writes;
	struct metric *events_in, *deliveries;
	struct metric *dropped[DROP_N], *closed[CLOSED_N];
	struct metric *repairs, *fetches, *fetch_failed, *paused, *malformed;
	struct metric *commands, *refused_commands;
	struct histogram *command_time[COMMAND_N];
	struct metric *http[6]; /* by the first digit of the status */
};

void stats_init(struct stats *s, struct metrics *m);
void stats_closed(struct stats *s, unsigned code);

#endif
