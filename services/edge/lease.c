#include "services/edge/lease.h"

#include "proto/lease.pb-c.h"

#define EVENTS_MIN 8 /* asked for by who needs few */
#define BYTES_MIN  8192
#define MOST       INT64_C(1000000000)
#define TTL_MAX_MS 10000
#define AWAY_MS    1000 /* nobody answers */
#define RARE_US    INT64_C(1000000)

/* Whoever sends so rarely would have a new lease for each event, and none when it comes. */
static bool rare(struct lease *l, int64_t now_us)
{
	bool first = !l->seen_us || now_us - l->seen_us > RARE_US;

	l->seen_us = now_us;
	return first;
}

bool lease_spend(struct lease *l, int64_t bytes, int64_t now_us)
{
	if (l->asking || l->events <= 0 || l->bytes < bytes || now_us >= l->expires_us ||
	    bytes > l->data_max)
		return false;
	l->events--;
	l->bytes -= bytes;
	l->events_used++;
	l->bytes_used += bytes;
	l->seen_us = now_us;
	return true;
}

/* Twice as much where it was too little, else a half more than was used. */
static int64_t wanted(int64_t used, int64_t left, int64_t least)
{
	int64_t n = left <= 0 ? 2 * used : used + used / 2;

	return n < least ? least : n > MOST ? MOST : n;
}

bool lease_ask(struct lease *l, int64_t bytes, int64_t now_us, struct lease_question *q)
{
	if (rare(l, now_us) || l->asking || now_us < l->next_ask_us)
		return false;
	/* One event that is longer than they may be is no reason for another lease. */
	if (l->events > 0 && l->bytes >= bytes && now_us < l->expires_us)
		return false;
	*q = (struct lease_question){
	    .last = l->id,
	    .events_used = l->events_used,
	    .bytes_used = l->bytes_used,
	    .events_wanted = wanted(l->events_used, l->events, EVENTS_MIN),
	    .bytes_wanted = wanted(l->bytes_used + bytes, l->bytes - bytes, BYTES_MIN),
	};
	l->asking = true;
	l->asked_us = now_us;
	return true;
}

void lease_answered(struct lease *l, const struct lease_grant *g, int64_t now_us)
{
	l->asking = false;
	l->id = 0;
	l->events = l->bytes = l->events_used = l->bytes_used = 0;
	if (!g || g->events <= 0) {
		l->next_ask_us = now_us + (g ? g->retry_ms : AWAY_MS) * 1000;
		return;
	}
	l->id = g->id;
	l->events = g->events;
	l->bytes = g->bytes;
	l->data_max = g->data_max;
	l->expires_us = l->asked_us + g->ttl_ms * 1000;
}

static int64_t bounded(uint64_t n, int64_t most)
{
	return n > (uint64_t)most ? most : (int64_t)n;
}

bool lease_read(const void *data, size_t len, struct lease_grant *g)
{
	Penstock__LeaseReply *r = penstock__lease_reply__unpack(NULL, len, data);

	if (!r)
		return false;
	*g = (struct lease_grant){
	    .id = r->id,
	    .events = bounded(r->events, MOST),
	    .bytes = bounded(r->bytes, MOST),
	    .data_max = bounded(r->data_max, MOST),
	    .ttl_ms = bounded(r->ttl_ms, TTL_MAX_MS),
	    .retry_ms = bounded(r->retry_ms, TTL_MAX_MS),
	};
	penstock__lease_reply__free_unpacked(r, NULL);
	return true;
}
