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

bool store_queue_insert(struct store_queue *q, const struct store_item *item)
{
	size_t at = q->n;

	/* Nearly always the newest: look from the end. */
	while (at && store_queue_at(q, at - 1)->seq >= item->seq)
		at--;
	if (at < q->n && store_queue_at(q, at)->seq == item->seq)
		return false;
	store_queue_push(q, item);
	for (size_t i = q->n - 1; i > at; i--)
		*store_queue_at(q, i) = *store_queue_at(q, i - 1);
	*store_queue_at(q, at) = *item;
	return true;
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
