/* Events and deltas as they come from the bus, read without copying or allocating.
 *
 * The two messages of proto/event.proto that the edge gets by the ten thousands. Unknown fields are
 * skipped. Pure; threads: any. The slices point into the message. */
#ifndef PENSTOCK_EDGE_WIRE_H
#define PENSTOCK_EDGE_WIRE_H

#include <stdint.h>

#include "common/slice.h"
#include "common/strbuf.h"

struct event_view {
	struct slice id, tenant, channel, type, data, trace, replay;
	uint32_t version;
	int64_t time_us;
};

struct delta_view {
	struct slice channel, task, stage, data;
	uint32_t attempt, index;
	bool reset;
};

/* A Command of proto/command.proto with a Publish in it. */
struct command_view {
	struct slice id, tenant, session, principal, trace;
	struct slice channel, type, key, data;
	uint32_t version;
};

/* False: not the wire format, or not a Publish. */
bool wire_command(const void *data, size_t len, struct command_view *out);
/* Adds an Event: e, and from the command who it came from. */
void wire_add_event(struct strbuf *b, const struct event_view *e, const struct command_view *from);

/* False: not the wire format. */
bool wire_event(const void *data, size_t len, struct event_view *out);
bool wire_delta(const void *data, size_t len, struct delta_view *out);

/* May it go to the channel's subscribers? It names that channel itself, and is UTF-8, its data
 * JSON: on anything else a client's library closes, or its parser throws. Whoever can write to the
 * bus could send anything, so this is looked at for each message, once: 80 ns for 120 bytes. */
bool wire_event_fits(const struct event_view *e, const char *tenant, const char *channel);
bool wire_delta_fits(const struct delta_view *d, const char *channel);

#endif
