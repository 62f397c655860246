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
	if (item && h->paused) {
		history_forget(h, item->offset);
		h->dropped++;
		*out = *item;
		return true;
	}
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
	history_forget(h, out->offset);
	h->dropped++;
	return true;
}

void history_forget(struct history *h, uint64_t offset)
{
	if (offset > h->sure)
		h->sure = offset;
	if (offset > h->target)
		h->target = offset;
}

void history_pause(struct history *h, bool paused)
{
	h->paused = paused;
}

bool history_page(struct history *h, uint64_t offset)
{
	if (offset <= h->pos)
		return false;
	h->pos = offset;
	return true;
}

void history_back(struct history *h, uint64_t pos)
{
	history_forget(h, h->pos);
	h->pos = pos;
}

uint64_t history_fetched(struct history *h, bool more)
{
	uint64_t from = h->pos + 1;

	h->fetching = false;
	h->failing_us = 0;
	if (more || !history_lost(h, h->until))
		return 0;
	return h->exact ? from : 0;
}

bool history_lost(struct history *h, uint64_t to)
{
	if (to <= h->pos)
		return false;
	h->pos = to;
	return true;
}

void history_failed(struct history *h)
{
	h->fetching = false;
}

bool history_unreadable(struct history *h, uint64_t to, int64_t now_us, int64_t patience_us)
{
	history_failed(h);
	if (!h->failing_us)
		h->failing_us = now_us;
	if (now_us - h->failing_us < patience_us)
		return false;
	h->failing_us = 0;
	return history_lost(h, to && to < h->until ? to : h->until);
}

static enum history_next fetch(struct history *h, uint64_t until, bool exact)
{
	h->fetching = true;
	h->until = until;
	h->exact = exact;
	return HISTORY_FETCH;
}

static enum history_next fetch_target(struct history *h)
{
	return fetch(h, h->target, h->target == h->sure);
}

enum history_next history_next(struct history *h, struct history_item *out)
{
	const struct history_item *first;

	if (h->fetching || h->paused)
		return HISTORY_WAIT;
	if (!h->n)
		return h->pos < h->target ? fetch_target(h) : HISTORY_LIVE;
	first = &h->ring[h->head];
	if (first->offset == 0) {
		/* An ephemeral item keeps its place: not before a durable one that came earlier and
		 * is still being read from the log. */
		if (h->pos < h->target)
			return fetch_target(h);
		history_pop(h, out);
		return HISTORY_DELIVER;
	}
	if (first->offset <= h->pos) {
		history_pop(h, out);
		return HISTORY_SKIP;
	}
	if (first->prev > h->pos)
		return fetch(h, first->prev, !first->guess);
	history_pop(h, out);
	h->pos = out->offset;
	return HISTORY_DELIVER;
}
