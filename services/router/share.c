#include "services/router/share.h"

#include <stdlib.h>

#include "common/strbuf.h"

#define NS_PER_MS INT64_C(1000000)
#define WHOLE_MAX INT64_C(1000000000) /* of one lease, where there is no limit */
#define LASTING   4                   /* such a part of the burst may be away for long */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void share_done(struct share *s)
{
	free(s->leases);
	*s = (struct share){0};
}

/* So much of it is known to be used, or must be taken for it. It may be more than a limit that was
 * lowered meanwhile lets pass in a year: a burst is the most that anybody has to wait for. */
static void use(struct share_lease *l, const struct tenant_limits *lim, struct admit_state *state,
		int64_t events, int64_t bytes, int64_t now_ns)
{
	events = least(events, l->events);
	bytes = least(bytes, l->bytes);
	l->events -= events;
	l->bytes -= bytes;
	state->held_events -= events;
	state->held_bytes -= bytes;
	gcra_take(&state->events, lim->events_per_s, least(events, lim->burst), now_ns);
	gcra_take(&state->bytes, lim->bytes_per_s, least(bytes, lim->bytes_per_s), now_ns);
}

void share_expire(struct share *s, const struct tenant_limits *lim, struct admit_state *state,
		  int64_t now_ns)
{
	int64_t next = INT64_MAX;

	if (!s->n || now_ns < s->next_ns)
		return;
	for (unsigned i = s->n; i-- > 0;) {
		struct share_lease *l = &s->leases[i];
		if (now_ns < l->until_ns) {
			next = least(next, l->until_ns);
			continue;
		}
		use(l, lim, state, l->events, l->bytes, now_ns);
		*l = s->leases[--s->n];
	}
	s->next_ns = next;
}

static struct share_lease *find(struct share *s, uint64_t edge)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->leases[i].edge == edge)
			return &s->leases[i];
	return NULL;
}

/* NULL: there are too many edges. */
static struct share_lease *add(struct share *s, uint64_t edge)
{
	if (s->n == SHARE_EDGES)
		return NULL;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 1;
		s->leases = xrealloc(s->leases, s->cap * sizeof(*s->leases));
	}
	s->leases[s->n] = (struct share_lease){.edge = edge};
	return &s->leases[s->n++];
}

/* No lease is more than its tenant's limits let pass at once, also when they were lowered: the rest
 * is the tenant's again, and the edge's no more. */
static void bound(struct share_lease *l, const struct tenant_limits *lim, struct admit_state *state)
{
	int64_t most_events =
	    lim->events_per_s > 0 ? least(lim->events_per_s, lim->burst) : l->events;
	int64_t most_bytes = lim->bytes_per_s > 0 ? lim->bytes_per_s : l->bytes;
	int64_t events = most(l->events - most_events, 0), bytes = most(l->bytes - most_bytes, 0);

	l->events -= events;
	l->bytes -= bytes;
	state->held_events -= events;
	state->held_bytes -= bytes;
}

static void drop(struct share *s, struct share_lease *l)
{
	*l = s->leases[--s->n];
}

/* How much is added to `has`: up to what is wanted, but no more than half of what is left, nor than
 * the rate gives in a second. In shadow too: what is above the limit has to be seen by the router,
 * which counts it. */
static int64_t portion(int64_t wanted, int64_t has, int64_t left, int64_t rate)
{
	int64_t n = least(wanted, WHOLE_MAX);
	if (rate > 0)
		n = least(n, rate);
	n -= has;
	return most(rate > 0 ? least(n, left / 2) : n, 0);
}

/* What this lease may be, to last for long. */
static int64_t room(const struct share *s, const struct share_lease *l, int64_t burst, bool bytes)
{
	int64_t away = 0;
	for (unsigned i = 0; i < s->n; i++)
		if (s->leases[i].lasting && &s->leases[i] != l)
			away += bytes ? s->leases[i].bytes : s->leases[i].events;
	return most(burst / LASTING - away, 0);
}

/* Who needs few is content with half of it, if that lasts. */
static void choose_term(const struct share *s, const struct tenant_limits *lim,
			struct share_lease *l, int64_t *events, int64_t *bytes)
{
	int64_t e = lim->events_per_s > 0 ? room(s, l, lim->burst, false) - l->events : *events;
	int64_t b = lim->bytes_per_s > 0 ? room(s, l, lim->bytes_per_s, true) - l->bytes : *bytes;

	l->lasting = l->events + *events <= SHARE_FEW && e >= 0 && b >= 0 &&
		     2 * (l->events + e) >= l->events + *events &&
		     2 * (l->bytes + b) >= l->bytes + *bytes &&
		     l->events + e >= least(l->events + *events, SHARE_LEAST);
	if (l->lasting) {
		*events = least(*events, e);
		*bytes = least(*bytes, b);
	}
}

static void hold(struct share *s, struct share_lease *l, struct admit_state *state, int64_t events,
		 int64_t bytes, int64_t now_ns)
{
	l->added = events;
	l->events += events;
	l->bytes += bytes;
	state->held_events += events;
	state->held_bytes += bytes;
	l->ttl_ms = l->lasting ? SHARE_LONG_MS : SHARE_TTL_MS;
	/* Never earlier than was said before: the edge may not hear of it. */
	l->until_ns = most(l->until_ns, now_ns + (l->ttl_ms + SHARE_GRACE_MS) * NS_PER_MS);
	s->next_ns = s->n == 1 ? l->until_ns : least(s->next_ns, l->until_ns);
}

bool share_grant(struct share *s, const struct tenant_limits *lim, struct admit_state *state,
		 const struct share_ask *ask, uint64_t id, int64_t now_ns,
		 struct share_lease *lease)
{
	share_expire(s, lim, state, now_ns);
	struct share_lease *l = find(s, ask->edge);
	if (!l)
		l = add(s, ask->edge);
	else if (l->id == ask->last)
		use(l, lim, state, ask->events_used, ask->bytes_used, now_ns);
	else /* it knows nothing of this one, or the answer was lost */
		use(l, lim, state, l->events, l->bytes, now_ns);
	if (!l)
		return false;
	bound(l, lim, state);
	int64_t events =
	    portion(ask->events_wanted, l->events,
		    gcra_left(&state->events, lim->events_per_s, admit_burst(lim, state), now_ns),
		    lim->events_per_s);
	int64_t bytes = portion(
	    ask->bytes_wanted, l->bytes,
	    gcra_left(&state->bytes, lim->bytes_per_s, admit_bytes_burst(lim, state), now_ns),
	    lim->bytes_per_s);
	choose_term(s, lim, l, &events, &bytes);
	if (l->events == 0 &&
	    (events < least(ask->events_wanted, SHARE_LEAST) || l->bytes + bytes <= 0)) {
		state->held_bytes -= l->bytes; /* good for nothing without events */
		drop(s, l);
		return false;
	}
	l->id = id;
	hold(s, l, state, events, bytes, now_ns);
	*lease = *l;
	return true;
}
