/* An event of the log as the input of a task that it starts. Threads: any. */
#ifndef PENSTOCK_EVENT_STORE_EVENT_INPUT_H
#define PENSTOCK_EVENT_STORE_EVENT_INPUT_H

#include <stdint.h>

#include "common/strbuf.h"

/* Borrowed. */
struct event_input {
	const char *id, *channel, *type;
	const char *data; /* JSON text as it was published; "": none */
	int64_t version, offset, time_us;
	uint64_t epoch;
	const char *replay; /* id of the operators' replay; NULL: none */
};

/* {event: {id, channel, type, version, epoch, offset, time, data}, replay?}: the same bytes for the
 * same event, as a repeat under the same key must have the same input. */
void event_input_add(struct strbuf *b, const struct event_input *e);

#endif
