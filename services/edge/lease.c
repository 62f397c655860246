#include "services/edge/lease.h"

#include "proto/lease.pb-c.h"

#define EVENTS_MIN 16 /* asked for by who needs few */
#define EVENTS_FEW 32
#define BYTES_MIN  8192
#define MOST       INT64_C(1000000000)
#define GROWTH     4 /* … times the last one at most: a burst is no rate */
#define TTL_MAX_MS 300000
#define RETRY_MAX  10000
#define AWAY_MS    1000 /* nobody answers */
#define BUSY_S     2    /* a lease lasts so long */
#define FEW_S      240  /* … and one of at most EVENTS_FEW */
#define US_PER_S   INT64_C(1000000)

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static bool live(const struct lease *l, int64_t now_us)
{
	return l->id && now_us < l->expires_us;
}

bool lease_spend(struct lease *l, int64_t bytes, int64_t now_us)
{
	if (!live(l, now_us) || l->events_used >= l->events || bytes > l->bytes - l->bytes_used ||
	    bytes > l->data_max)
		return false;
	l->events_used++;
	l->bytes_used += bytes;
	return true;
}

/* Whoever sends so rarely would pay a question for each event. */
static bool rare(struct lease *l, int64_t now_us)
{
	bool first = !l->seen_us || now_us - l->seen_us > LEASE_RARE_US;

	l->seen_us = now_us;
	return first;
}

/* There is no need yet: neither three quarters of it nor of its time are over. */
static bool enough(const struct lease *l, int64_t now_us)
{
	return now_us < l->renew_us && 4 * l->events_used < 3 * l->events &&
	       4 * l->bytes_used < 3 * l->bytes;
}

static int64_t events_wanted(const struct lease *l, int64_t now_us)
{
	int64_t us = most(now_us - l->from_us, 1), used = l->events_used, n;

	if (!l->id)
		return EVENTS_MIN;
	n = least(used * FEW_S * US_PER_S / us, EVENTS_FEW);
	n = most(n, used * BUSY_S * US_PER_S / us);
	n = most(least(n, GROWTH * l->events), EVENTS_MIN);
	return least(n, MOST);
}

/* Twice what so many will need, if they are as long as the last ones. */
static int64_t bytes_wanted(const struct lease *l, int64_t events, int64_t bytes)
{
	int64_t mean = l->events_used ? l->bytes_used / l->events_used + 1 : bytes;

	return least(most(2 * most(events * mean, bytes), BYTES_MIN), MOST);
}

bool lease_ask(struct lease *l, bool spent, int64_t bytes, int64_t now_us, struct lease_question *q)
{
	bool seldom = rare(l, now_us);

	if (l->asking || now_us < l->next_ask_us)
		return false;
	if (spent && (seldom || enough(l, now_us)))
		return false;
	/* One event that is longer than they may be is no reason for another lease. */
	if (!spent && live(l, now_us) && l->events_used < l->events &&
	    bytes <= l->bytes - l->bytes_used)
		return false;
	*q = (struct lease_question){
	    .last = l->id,
	    .events_used = l->events_used,
	    .bytes_used = l->bytes_used,
	    .events_wanted = events_wanted(l, now_us),
	};
	q->bytes_wanted = bytes_wanted(l, q->events_wanted, bytes);
	l->events_told = l->events_used;
	l->bytes_told = l->bytes_used;
	l->asking = true;
	l->asked_us = now_us;
	return true;
}

void lease_answered(struct lease *l, const struct lease_grant *g, int64_t now_us)
{
	l->asking = false;
	if (!g) {
		l->next_ask_us = now_us + AWAY_MS * 1000;
		return;
	}
	if (g->events <= 0) {
		l->id = 0;
		l->events = l->bytes = l->events_used = l->bytes_used = 0;
		l->next_ask_us = now_us + g->retry_ms * 1000;
		return;
	}
	l->id = g->id;
	l->events = g->events;
	l->bytes = g->bytes;
	l->events_used -= l->events_told;
	l->bytes_used -= l->bytes_told;
	l->data_max = g->data_max;
	l->from_us = l->asked_us;
	l->renew_us = l->asked_us + g->ttl_ms * 750;
	l->expires_us = l->asked_us + g->ttl_ms * 1000;
}

void lease_limits(struct lease *l, int64_t events_per_s, int64_t burst, int64_t bytes_per_s)
{
	if (events_per_s > 0)
		l->events = least(l->events, l->events_used + least(events_per_s, burst));
	if (bytes_per_s > 0)
		l->bytes = least(l->bytes, l->bytes_used + bytes_per_s);
}

bool lease_idle(const struct lease *l, int64_t now_us)
{
	return !l->asking && !live(l, now_us) && now_us - l->seen_us > LEASE_RARE_US;
}

static int64_t bounded(uint64_t n, int64_t max)
{
	return n > (uint64_t)max ? max : (int64_t)n;
}

struct lease_grant lease_grant(const Penstock__LeaseReply *r)
{
	return (struct lease_grant){
	    .id = r->id,
	    .events = bounded(r->events, MOST),
	    .bytes = bounded(r->bytes, MOST),
	    .data_max = bounded(r->data_max, MOST),
	    .ttl_ms = bounded(r->ttl_ms, TTL_MAX_MS),
	    .retry_ms = bounded(r->retry_ms, RETRY_MAX),
	};
}
