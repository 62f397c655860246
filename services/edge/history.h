/* Bringing a position in a channel's log together with what is arriving live: the pure core of
 * subscribing after an offset, of catching up, of repairing a missed delivery, and of a slow
 * socket's spill.
 *
 * Somebody stands at offset `pos` and wants every later durable event once and in order. While he
 * is not up to date, live items are held (a bounded ring; when it is full the oldest goes, the log
 * still has it) and pages of the log are asked for:
 *
 *     hold() live items --> ring          page(): offset > pos? deliver, pos = offset
 *     then next() until it says so:  DELIVER (pos moves on) | SKIP (known already) | FETCH (a hole:
 * ask the log for (pos, until]) | LIVE (level with the channel: from now on pass items through)
 *
 * What the whole log does not have up to `until` is gone or never was, and the position moves over
 * it. Ephemeral items keep their place among the durable ones.
 *
 * Who has no room for anything pauses: nothing is asked for, and what comes is not held but
 * forgotten (of durable items the place up to which the log must be read is kept; ephemeral ones
 * are lost). A spill is a history that begins paused.
 *
 * Pure; threads: one owner. The items are the caller's: whatever is handed back he releases. */
#ifndef PENSTOCK_EDGE_HISTORY_H
#define PENSTOCK_EDGE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct history_item {
	void *item;
	uint64_t offset; /* 0: not durable */
	uint64_t prev;
	size_t bytes;
	bool guess; /* prev is not an event's offset that was told, but all that is known */
};

struct history {
	uint64_t pos;       /* all durable events up to here are delivered */
	uint64_t target;    /* the log is known to reach to here: not level before */
	uint64_t until;     /* of the fetch that is under way */
	uint64_t sure;      /* the newest forgotten item's offset: that event was there */
	int64_t failing_us; /* pages cannot be read since then; 0: they can */
	bool fetching;
	bool exact; /* an event was at `until` */
	bool paused;
	uint32_t dropped; /* items that left the ring unseen */
	struct history_item *ring;
	uint32_t cap, head, n;
	size_t bytes, max_bytes;
	uint32_t max_n;
};

enum history_next {
	HISTORY_DELIVER, /* *out, now */
	HISTORY_SKIP,    /* *out is known already: release it */
	HISTORY_FETCH,   /* read (pos, until]; then page() for each event and fetched() */
	HISTORY_WAIT,    /* a fetch is under way, or it is paused */
	HISTORY_LIVE,    /* nothing held, nothing missing */
};

void history_init(struct history *h, uint64_t pos, uint64_t target, uint32_t max_n,
		  size_t max_bytes);
/* The ring must be empty: history_pop() first. */
void history_done(struct history *h);
/* Takes a live item (NULL: none). One that had to make room, or that is not held, is handed back in
 * *out and true returned: call again with NULL until it returns false. */
bool history_hold(struct history *h, const struct history_item *item, struct history_item *out);
/* The log is known to reach to here, by an item that is not held. */
void history_forget(struct history *h, uint64_t offset);
void history_pause(struct history *h, bool paused);
/* Any held item, to be released; false: none. */
bool history_pop(struct history *h, struct history_item *out);
/* An event of a page: true if it is to be delivered (and then counts as delivered). */
bool history_page(struct history *h, uint64_t offset);
/* The last one that was to be delivered had no room: the position is again what it was. */
void history_back(struct history *h, uint64_t pos);
/* The page is through. more: the log has more up to until. Returns the first offset of what must
 * have been there and is not any more, up to pos as it is now; 0: nothing. */
uint64_t history_fetched(struct history *h, bool more);
/* Nothing up to here is kept: true if the position moved over it. */
bool history_lost(struct history *h, uint64_t to);
/* The page could not be read: the next history_next() asks again. */
void history_failed(struct history *h);
/* The same with patience: true if it has gone on for so long that the position was moved to `to`
 * (0: all that was asked for), so that what comes later need not wait any more. */
bool history_unreadable(struct history *h, uint64_t to, int64_t now_us, int64_t patience_us);
enum history_next history_next(struct history *h, struct history_item *out);

#endif
