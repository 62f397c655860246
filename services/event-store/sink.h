/* Where ingest writes: PostgreSQL (sink_pg.h), or memory in tests and in the simulation.
 *
 * A sink stores batches, one at a time, all or nothing, together with its position. Only one of
 * several event-stores leads; the others stand by. Threads: all calls and callbacks on the loop's
 * thread, never a callback from inside the call that caused it. A batch is borrowed from write()
 * until its callback; the sink may read it from a thread of its own meanwhile. */
#ifndef PENSTOCK_EVENT_STORE_SINK_H
#define PENSTOCK_EVENT_STORE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/event.pb-c.h"

/* One message of EVENTS: an event, or (event NULL) poison: something that is none. */
struct store_item {
	uint64_t seq;
	int64_t stored_us; /* when the broker stored it */
	size_t cost;       /* bytes that it holds, for the bounds */
	Penstock__Event *event;
	const char *reason; /* poison: why; static */
	char *subject;      /* poison: owned, with its bytes */
	void *bytes;
	size_t len;
};

struct store_batch {
	uint64_t epoch;
	struct store_item *items; /* in the order of seq, without a hole */
	size_t n;
};

enum store_standing {
	STORE_AWAY,    /* the database cannot be reached */
	STORE_STANDBY, /* it can, and another event-store writes */
	STORE_LEADING, /* this one writes */
};

struct store_listener {
	/* After each change, from STORE_AWAY at the start; a batch under way is told of before.
	 * With LEADING, position is the last seq of this epoch that is stored (0: none) and
	 * event_id its event ("": not known).
	 */
	void (*standing)(void *arg, enum store_standing standing, uint64_t position,
			 const char *event_id);
	/* The batch is stored (err NULL), or nothing of it is known to be: write it again when
	 * leading. */
	void (*written)(void *arg, const struct error *err);
	void *arg;
};

/* What must stay in the stream for now. */
struct store_hold {
	bool known;           /* this process leads and PostgreSQL answered */
	uint64_t position;    /* committed when it answered */
	uint64_t oldest_open; /* first sequence of the oldest unfinished task, 0: none */
};

struct store_sink;
struct store_sink_ops {
	/* Once: begins to seek the lead. The listener is copied. */
	void (*start)(struct store_sink *, uint64_t epoch, const struct store_listener *);
	/* Only while leading and with no other batch under way. Events whose key was seen before,
	 * and places that are there already, are left out silently. */
	void (*write)(struct store_sink *, const struct store_batch *);
};
struct store_sink { /* first member of each implementation */
	const struct store_sink_ops *ops;
};

#endif
