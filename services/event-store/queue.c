#include "services/event-store/queue.h"

#include <assert.h>
#include <stdlib.h>

#include "common/strbuf.h"

struct store_item *store_queue_at(const struct store_queue *q, size_t i)
{
	assert(i < q->n);
	return &q->items[(q->head + i) & (q->cap - 1)];
}

static void grow(struct store_queue *q, size_t n)
{
	size_t cap = q->cap ? q->cap : 64;

	while (cap < n)
		cap *= 2;
	if (cap == q->cap)
		return;
	struct store_item *items = xcalloc(cap, sizeof(*items));
	for (size_t i = 0; i < q->n; i++)
		items[i] = *store_queue_at(q, i);
	free(q->items);
	q->items = items;
	q->cap = cap;
	q->head = 0;
}

void store_queue_push(struct store_queue *q, const struct store_item *item)
{
	grow(q, q->n + 1);
	q->n++;
	*store_queue_at(q, q->n - 1) = *item;
}

void store_queue_prepend(struct store_queue *q, const struct store_item *items, size_t n)
{
	grow(q, q->n + n);
	q->head = (q->head + q->cap - n) & (q->cap - 1);
	q->n += n;
	for (size_t i = 0; i < n; i++)
		*store_queue_at(q, i) = items[i];
}

void store_queue_drop(struct store_queue *q, size_t n)
{
	assert(n <= q->n);
	if (!n)
		return;
	q->head = (q->head + n) & (q->cap - 1);
	q->n -= n;
}

void store_queue_done(struct store_queue *q)
{
	free(q->items);
	*q = (struct store_queue){0};
}
