#include "services/edge/ring.h"

#include <stdlib.h>
#include <string.h>

#include "common/members.h"
#include "common/strbuf.h"

void ring_init(struct ring *ring, const struct ring_conf *conf)
{
	*ring = (struct ring){.conf = *conf};
}

static void edge_done(struct ring_edge *e)
{
	free(e->id);
	free(e->url);
	free(e->region);
}

void ring_done(struct ring *ring)
{
	for (size_t i = 0; i < ring->n; i++)
		edge_done(&ring->list[i]);
	free(ring->list);
	free(ring->ids);
	free(ring->places);
	*ring = (struct ring){.conf = ring->conf};
}

/* --- the view ----------------------------------------------------------------------------- */

void ring_begin(struct ring *ring)
{
	for (size_t i = 0; i < ring->n; i++)
		ring->list[i].seen = false;
}

static struct ring_edge *find(struct ring *ring, const char *id)
{
	for (size_t i = 0; i < ring->n; i++)
		if (!strcmp(ring->list[i].id, id))
			return &ring->list[i];
	return NULL;
}

static struct ring_edge *add(struct ring *ring, const char *id)
{
	if (ring->n == ring->cap) {
		ring->cap = ring->cap ? 2 * ring->cap : 4;
		ring->list = xrealloc(ring->list, ring->cap * sizeof(*ring->list));
		ring->ids = xrealloc(ring->ids, ring->cap * sizeof(*ring->ids));
		ring->places = xrealloc(ring->places, ring->cap * sizeof(*ring->places));
	}
	ring->list[ring->n] = (struct ring_edge){.id = xstrdup(id)};
	return &ring->list[ring->n++];
}

static void set_text(char **at, const char *text)
{
	if (*at && !strcmp(*at, text))
		return;
	free(*at);
	*at = xstrdup(text);
}

void ring_put(struct ring *ring, const char *id, const char *url, const char *region, int64_t load,
	      bool out)
{
	struct ring_edge *e = find(ring, id);

	if (!e)
		e = add(ring, id);
	set_text(&e->url, url);
	set_text(&e->region, region);
	if (e->load != load)
		e->sent = 0;
	e->load = load;
	e->out = out;
	e->seen = true;
}

void ring_end(struct ring *ring)
{
	size_t kept = 0;

	for (size_t i = 0; i < ring->n; i++) {
		if (ring->list[i].seen)
			ring->list[kept++] = ring->list[i];
		else
			edge_done(&ring->list[i]);
	}
	ring->n = kept;
}

/* --- the answer --------------------------------------------------------------------------- */

/* Those that take this tenant, of the region (NULL: of all), into places. */
static size_t candidates(struct ring *ring, const char *region,
			 bool (*closed)(void *arg, const char *id), void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < ring->n; i++) {
		const struct ring_edge *e = &ring->list[i];

		if (!e->out && (!region || !strcmp(e->region, region)) &&
		    !(closed && closed(arg, e->id)))
			ring->places[n++] = i;
	}
	return n;
}

static int64_t load_of(struct ring_edge *e, int64_t now_us)
{
	if (e->sent && now_us - e->sent_us > RING_SENT_US)
		e->sent = 0;
	return e->load + e->sent;
}

/* ceil(percent/100 · (total + 1) / n) is above the smallest load there is, so somebody always has
 * room. */
static int64_t bound(struct ring *ring, size_t n, int64_t now_us)
{
	int64_t total = 1, most;

	for (size_t i = 0; i < n; i++)
		total += load_of(&ring->list[ring->places[i]], now_us);
	most = (total * ring->conf.percent + 100 * (int64_t)n - 1) / (100 * (int64_t)n);
	return most > ring->conf.slack ? most : ring->conf.slack;
}

const struct ring_edge *ring_find(struct ring *ring, const char *tenant, const char *region,
				  bool (*closed)(void *arg, const char *id), void *arg,
				  int64_t now_us)
{
	size_t n = candidates(ring, region, closed, arg), open = 0;
	struct ring_edge *e;
	int64_t most;

	if (n == 0)
		n = candidates(ring, NULL, closed, arg);
	if (n == 0)
		return NULL;
	most = bound(ring, n, now_us);
	for (size_t i = 0; i < n; i++) {
		if (ring->list[ring->places[i]].load + ring->list[ring->places[i]].sent >= most)
			continue;
		ring->places[open] = ring->places[i];
		ring->ids[open++] = ring->list[ring->places[i]].id;
	}
	e = &ring->list[ring->places[rendezvous(ring->ids, open, tenant)]];
	if (!e->sent++)
		e->sent_us = now_us;
	return e;
}
