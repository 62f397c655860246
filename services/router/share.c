#include "services/router/share.h"

#define KEPT_NS   (INT64_C(1000000) * SHARE_KEPT_MS)
#define WHOLE_MAX INT64_C(1000000000) /* of one lease, where there is no limit */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static struct share_lease *find(struct share *s, uint64_t edge)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->leases[i].edge == edge)
			return &s->leases[i];
	return NULL;
}

/* Drops what is too old to matter; NULL: there are too many edges. */
static struct share_lease *make_room(struct share *s, int64_t now_ns)
{
	for (unsigned i = s->n; i-- > 0;)
		if (now_ns - s->leases[i].granted_ns > KEPT_NS)
			s->leases[i] = s->leases[--s->n];
	return s->n < SHARE_EDGES ? &s->leases[s->n++] : NULL;
}

/* Not for ever: time has paid for an old one, and who took what it left must not be paid again. */
static void give_back(struct share_lease *l, const struct tenant_limits *lim,
		      struct admit_state *state, const struct share_ask *ask, int64_t now_ns)
{
	if (l->id == 0 || l->id != ask->last || now_ns - l->granted_ns > KEPT_NS)
		return;
	gcra_give(&state->events, lim->events_per_s, l->events - ask->events_used);
	gcra_give(&state->bytes, lim->bytes_per_s, l->bytes - ask->bytes_used);
}

/* As much as is wanted, but no more than half of what is left, nor than the rate gives while the
 * lease lasts. In shadow too: what is above the limit has to be seen by the router, which counts
 * it. */
static int64_t portion(int64_t wanted, int64_t left, int64_t rate)
{
	int64_t n = least(wanted, WHOLE_MAX);
	if (rate <= 0)
		return n;
	return least(n, least(left / 2, rate * SHARE_TTL_MS / 1000));
}

bool share_grant(struct share *s, const struct tenant_limits *lim, struct admit_state *state,
		 const struct share_ask *ask, uint64_t id, int64_t now_ns,
		 struct share_lease *lease)
{
	struct share_lease *l = find(s, ask->edge);
	if (l)
		give_back(l, lim, state, ask, now_ns);
	else
		l = make_room(s, now_ns);
	if (!l)
		return false;
	*l = (struct share_lease){.edge = ask->edge, .id = id, .granted_ns = now_ns};
	int64_t events = portion(ask->events_wanted,
				 gcra_left(&state->events, lim->events_per_s, lim->burst, now_ns),
				 lim->events_per_s);
	int64_t bytes = portion(
	    ask->bytes_wanted, gcra_left(&state->bytes, lim->bytes_per_s, lim->bytes_per_s, now_ns),
	    lim->bytes_per_s);
	if (events >= least(ask->events_wanted, SHARE_LEAST) && bytes > 0) {
		gcra_take(&state->events, lim->events_per_s, events, now_ns);
		gcra_take(&state->bytes, lim->bytes_per_s, bytes, now_ns);
		l->events = events;
		l->bytes = bytes;
	}
	*lease = *l;
	return l->events > 0;
}
