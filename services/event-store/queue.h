/* A growable ring of items: what ingest holds. Bounded by its user. Pure; one owner. */
#ifndef PENSTOCK_EVENT_STORE_QUEUE_H
#define PENSTOCK_EVENT_STORE_QUEUE_H

#include "services/event-store/sink.h"

struct store_queue { /* zeroed: empty */
	struct store_item *items;
	size_t head, n, cap; /* cap: a power of 2 */
};

struct store_item *store_queue_at(const struct store_queue *q, size_t i); /* i < n */
void store_queue_push(struct store_queue *q, const struct store_item *item);
/* In front of all, in their order. */
void store_queue_prepend(struct store_queue *q, const struct store_item *items, size_t n);
/* Forgets the first n; what they hold is the caller's business. */
void store_queue_drop(struct store_queue *q, size_t n);
void store_queue_done(struct store_queue *q);

#endif
