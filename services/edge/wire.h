/* Events and deltas as they come from the bus, read without copying or allocating.
 *
 * A reader of the protobuf wire format for the two messages of proto/event.proto that the edge gets
 * by the ten thousands; everything else goes through protobuf-c. Unknown fields are skipped. Pure;
 * threads: any. The slices point into the message. */
#ifndef PENSTOCK_EDGE_WIRE_H
#define PENSTOCK_EDGE_WIRE_H

#include <stdint.h>

#include "services/edge/slice.h"

struct event_view {
	struct slice id, tenant, channel, type, data, trace;
	uint32_t version;
	int64_t time_us;
};

struct delta_view {
	struct slice channel, task, stage, data;
	uint32_t attempt, index;
	bool reset;
};

/* False: not the wire format. */
bool wire_event(const void *data, size_t len, struct event_view *out);
bool wire_delta(const void *data, size_t len, struct delta_view *out);

/* May it go to the channel's subscribers as text? It names that channel itself, and is UTF-8: a
 * client's library closes on anything else. */
bool wire_event_fits(const struct event_view *e, const char *tenant, const char *channel);
bool wire_delta_fits(const struct delta_view *d, const char *channel);

#endif
