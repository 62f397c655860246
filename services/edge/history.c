#include "services/edge/history.h"

#include <assert.h>
#include <stdlib.h>

#include "common/strbuf.h"

void history_init(struct history *h, uint64_t pos, uint64_t target, uint32_t max_n,
		  size_t max_bytes)
{
	*h = (struct history){.pos = pos, .target = target, .max_n = max_n, .max_bytes = max_bytes};
}

void history_done(struct history *h)
{
	assert(h->n == 0);
	free(h->ring);
	h->ring = NULL;
	h->cap = 0;
}

static void grow(struct history *h)
{
	uint32_t cap = h->cap ? 2 * h->cap : 8;
	struct history_item *ring = xmalloc(cap * sizeof(*ring));

	for (uint32_t i = 0; i < h->n; i++)
		ring[i] = h->ring[(h->head + i) & (h->cap - 1)];
	free(h->ring);
	h->ring = ring;
	h->cap = cap;
	h->head = 0;
}

bool history_pop(struct history *h, struct history_item *out)
{
	if (!h->n)
		return false;
	*out = h->ring[h->head];
	h->head = (h->head + 1) & (h->cap - 1);
	h->n--;
	h->bytes -= out->bytes;
	return true;
}

bool history_hold(struct history *h, const struct history_item *item, struct history_item *out)
{
	if (item) {
		if (h->n == h->cap)
			grow(h);
		h->ring[(h->head + h->n++) & (h->cap - 1)] = *item;
		h->bytes += item->bytes;
	}
	if (h->n <= h->max_n && h->bytes <= h->max_bytes)
		return false;
	if (!history_pop(h, out))
		return false;
	/* The log has it: what is held afterwards shows the hole by its prev, or the ring is empty
	 * and the target shows it. */
	if (out->offset > h->target)
		h->target = out->offset;
	h->dropped++;
	return true;
}

bool history_page(struct history *h, uint64_t offset)
{
	if (offset <= h->pos)
		return false;
	h->pos = offset;
	return true;
}

void history_fetched(struct history *h, bool more)
{
	h->fetching = false;
	if (!more && h->until > h->pos)
		h->pos = h->until;
}

void history_failed(struct history *h)
{
	h->fetching = false;
}

static enum history_next fetch(struct history *h, uint64_t until)
{
	h->fetching = true;
	h->until = until;
	return HISTORY_FETCH;
}

enum history_next history_next(struct history *h, struct history_item *out)
{
	const struct history_item *first;

	if (h->fetching)
		return HISTORY_WAIT;
	if (!h->n)
		return h->pos < h->target ? fetch(h, h->target) : HISTORY_LIVE;
	first = &h->ring[h->head];
	if (first->offset == 0) {
		/* An ephemeral item keeps its place: not before a durable one that came earlier and
		 * is still being read from the log. */
		if (h->pos < h->target)
			return fetch(h, h->target);
		history_pop(h, out);
		return HISTORY_DELIVER;
	}
	if (first->offset <= h->pos) {
		history_pop(h, out);
		return HISTORY_SKIP;
	}
	if (first->prev > h->pos)
		return fetch(h, first->prev);
	history_pop(h, out);
	h->pos = out->offset;
	return HISTORY_DELIVER;
}
