/* What became of durable events, for the operators' audit: which subscription was sent them up to
 * where, acknowledged them, left them to the log, or missed them.
 *
 * Nothing is written for an event. Every subscription of a channel that is level is at the
 * channel's own position, so every few seconds each reactor tells the position of the channels that
 * moved, and besides only of the subscriptions that changed in another way: new, gone,
 * acknowledged, behind, level again (proto/receipt.proto). What is told is always how things are,
 * so while the bus is away nothing piles up but the ends of subscriptions, within a bound; beyond
 * it they are dropped and counted. "Sent" means that the kernel has taken it.
 *
 * Threads: the reactor's; hub_receipts… as they say. */
#ifndef PENSTOCK_EDGE_RECEIPTS_H
#define PENSTOCK_EDGE_RECEIPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/strbuf.h"

struct conn;
struct edge;
struct hub;
struct link;
struct reactor;

#define RECEIPT_RANGES 4

struct receipt_range {
	uint64_t from, to; /* inclusive */
};

struct receipt_ranges { /* since the last message */
	uint8_t n_spilled, n_missed;
	struct receipt_range spilled[RECEIPT_RANGES], missed[RECEIPT_RANGES];
};

struct receipt { /* of a link; zeroed: it is not told of */
	int64_t opened_us;
	uint64_t from, acked;
	uint64_t last; /* once the close frame is on its way: nothing later is delivered */
	struct receipt_ranges *ranges;
	bool dirty; /* something is to be told */
};

struct receipts { /* of a reactor */
	struct timer timer;
	bool due;
	int64_t full_us;    /* when all subscriptions are told again */
	int64_t opened_us;  /* of the newest one: each has a time of its own */
	struct strbuf body; /* of the next message */
	unsigned n;         /* subscriptions in it */
};

void receipts_start(struct reactor *r);
void receipts_done(struct reactor *r);
/* After the turn's frames were written. */
void receipts_turn_end(struct reactor *r);

/* The subscription begins behind this offset; again is fine. */
void receipts_opened(struct link *link, uint64_t from);
/* Something about it has changed that its channel's position does not say. */
void receipts_mark(struct link *link);
void receipts_mark_all(struct conn *conn);
/* Events in [from, to] are left out (to 0: none): to come later from the log, if spilled. */
void receipts_gap(struct link *link, uint64_t from, uint64_t to, bool spilled);
/* False: nothing was sent up to this offset. */
bool receipts_ack(struct link *link, uint64_t offset);
/* The close frame is queued. cut: what waits is dropped now. */
void receipts_closing(struct conn *conn, bool cut);
/* Before anything of the link is taken apart. */
void receipts_ended(struct link *link);

/* --- the way to the bus (receipts_post.c) */
struct receipts_mail;
/* data: owned; n: subscriptions in it, to be counted if it is dropped. Any thread. */
void hub_receipts(struct hub *hub, void *data, size_t len, unsigned n);
/* Little waits for the bus: there is room for a look at everything. Any thread. */
bool hub_receipts_room(struct hub *hub);
/* The hub's thread. empty: nothing waits any more. done: the bus is gone, drops what waits. */
void hub_receipts_init(struct hub *hub);
bool hub_receipts_empty(struct hub *hub);
void hub_receipts_done(struct hub *hub);
/* Any thread: tells all that is to be told, then calls done(arg) on the hub's loop. */
void reactor_receipts(struct reactor *r, void (*done)(void *arg), void *arg);

#endif
