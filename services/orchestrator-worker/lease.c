#include "services/orchestrator-worker/lease.h"

#include <string.h>

#define MINUTE_S       60.0
#define COMPLETION     1024.0 /* tokens of an answer, until answers have come */
#define PER_BYTE       0.4    /* tokens of a byte of a question, until usage has come */
#define OVERHEAD       16     /* tokens of a question besides its bytes */
#define MARGIN         1.25   /* above the most that was seen lately */
#define DECAY          0.98   /* of the most that was seen, a call */
#define IDLE_US        ((int64_t)60000000) /* a level that nobody uses is given up */
#define FIRST_SMOOTHED 0.2

void lease_init(struct lease *l)
{
	memset(l, 0, sizeof(*l));
	l->completion = COMPLETION / MARGIN;
	l->per_byte = PER_BYTE / MARGIN;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void lease_set(struct lease *l, const struct lease_limits *limits, int64_t now_us)
{
	/* A limit that is new may still be unknown to the grantor; until it has said something,
	 * what was free must not be taken for granted. A lower one holds at once. */
	if (limits->concurrent > 0 && l->limits.concurrent != limits->concurrent &&
	    l->level_until_us > now_us)
		l->level = least(l->level, limits->concurrent);
	l->limits = *limits;
}

int64_t lease_estimate(const struct lease *l, size_t bytes, int64_t max_tokens)
{
	double prompt = (double)bytes * l->per_byte * MARGIN + OVERHEAD;
	double answer = max_tokens > 0 ? (double)max_tokens : l->completion * MARGIN;
	double sum = prompt + answer;
	if (l->limits.tpm > 0 && sum > (double)l->limits.tpm)
		return l->limits.tpm; /* alone in its minute */
	return (int64_t)sum + 1;
}

/* --- without a grantor ----------------------------------------------------------------------- */

static bool silent(const struct lease_world *w, int64_t now_us, int64_t since)
{
	return w->workers > 0 && now_us - w->heard_us >= since;
}

static int64_t level_now(const struct lease *l, const struct lease_world *w, int64_t now_us)
{
	int64_t level = l->level_until_us > now_us ? l->level : 0, safe = 0;
	if (l->limits.concurrent <= 0)
		return INT64_MAX;
	if (silent(w, now_us, LEASE_TERM_US))
		safe = lease_safe_part(lease_safe(l->limits.concurrent, l->limits.safe_concurrent),
				       w->workers, w->rank);
	return level > safe ? level : safe;
}

/* A bucket of one call (or of one call's tokens), empty when the grantor fell silent. */
static bool rate_has(struct lease_rate *r, int64_t limit, int64_t safe, size_t workers,
		     int64_t cost, int64_t now_us)
{
	if (r->at_us == 0)
		r->level = 0;
	else
		r->level += (double)(now_us - r->at_us) / 1e6 * (double)lease_safe(limit, safe) /
			    MINUTE_S / (double)workers;
	r->at_us = now_us;
	if (r->level > (double)cost)
		r->level = (double)cost;
	return r->level >= (double)cost;
}

static bool take_safe(struct lease *l, const struct lease_world *w, int64_t tokens, int64_t now_us)
{
	const struct lease_limits *m = &l->limits;
	bool calls =
	    m->rpm <= 0 || rate_has(&l->safe_calls, m->rpm, m->safe_rpm, w->workers, 1, now_us);
	bool enough = m->tpm <= 0 ||
		      rate_has(&l->safe_tokens, m->tpm, m->safe_tpm, w->workers, tokens, now_us);
	if (!calls || !enough)
		return false;
	l->safe_calls.level -= 1;
	l->safe_tokens.level -= (double)tokens;
	return true;
}

/* --- calls ----------------------------------------------------------------------------------- */

static bool take_credits(struct lease *l, int64_t tokens, int64_t now_us)
{
	if (now_us >= l->credits_until_us || (l->limits.rpm > 0 && l->calls < 1) ||
	    (l->limits.tpm > 0 && l->tokens < tokens))
		return false;
	if (l->limits.rpm > 0)
		l->calls--;
	if (l->limits.tpm > 0)
		l->tokens -= tokens;
	return true;
}

bool lease_take(struct lease *l, const struct lease_world *w, int64_t tokens, int64_t now_us,
		struct lease_permit *permit)
{
	bool rated = l->limits.rpm > 0 || l->limits.tpm > 0;
	if (!w->online || l->running >= level_now(l, w, now_us))
		return false;
	if (rated && !take_credits(l, tokens, now_us)) {
		if (!silent(w, now_us, LEASE_SILENT_US)) {
			l->safe_calls.at_us = l->safe_tokens.at_us = 0;
			return false;
		}
		if (!take_safe(l, w, tokens, now_us))
			return false;
	}
	permit->tokens = tokens;
	l->running++;
	l->started++;
	l->held += tokens;
	l->used_us = now_us;
	return true;
}

static void learn(double *most, double seen)
{
	*most = seen > *most * DECAY ? seen : *most * DECAY;
}

void lease_settle(struct lease *l, const struct lease_permit *permit, enum lease_end how, bool cut,
		  size_t bytes, int64_t prompt, int64_t completion, int64_t now_us)
{
	bool known = prompt >= 0 && completion >= 0;
	l->running -= !cut;
	l->held -= permit->tokens;
	l->settled += (uint64_t)(known ? prompt + completion : permit->tokens);
	l->untold = true;
	l->used_us = now_us;
	l->good += how == LEASE_GOOD;
	l->troubled += how == LEASE_TROUBLED;
	if (!known || how != LEASE_GOOD)
		return;
	learn(&l->completion, (double)completion);
	if (bytes > 0)
		learn(&l->per_byte, (double)prompt / (double)bytes);
}

void lease_gone(struct lease *l, int64_t calls)
{
	l->running -= calls;
	l->untold = true;
}

void lease_first_token(struct lease *l, int64_t ms)
{
	l->first_token_ms =
	    l->first_token_ms <= 0
		? (double)ms
		: l->first_token_ms + FIRST_SMOOTHED * ((double)ms - l->first_token_ms);
}

/* --- reports --------------------------------------------------------------------------------- */

bool lease_in_use(const struct lease *l, int64_t now_us)
{
	if (lease_unlimited(&l->limits))
		return false;
	return l->running > 0 || l->untold || (l->level_until_us > now_us && l->level > 0);
}

void lease_report(struct lease *l, Penstock__LeaseUse *use, int64_t now_us)
{
	if (l->running == 0 && now_us - l->used_us >= IDLE_US)
		l->level_until_us = 0;
	l->calls = l->tokens = l->credits_until_us = 0;
	l->untold = false;
	use->heard = l->heard;
	use->level = l->level_until_us > now_us ? (uint32_t)least(l->level, UINT32_MAX) : 0;
	use->running = (uint32_t)l->running;
	use->started = l->started;
	use->settled = l->settled;
	use->held = (uint64_t)l->held;
	use->good = l->good;
	use->troubled = l->troubled;
	use->first_token_ms = (uint32_t)(l->first_token_ms + 0.5);
}

void lease_granted(struct lease *l, const Penstock__LeaseGrant *grant, uint64_t seq,
		   int64_t sent_us, int64_t now_us)
{
	l->heard = seq;
	/* What was taken away is another's when this one is known to have heard of it. */
	l->untold |= l->level_until_us > now_us && grant->level < l->level;
	l->level = grant->level;
	l->level_until_us = sent_us + LEASE_TERM_US;
	l->calls = grant->calls;
	l->tokens = grant->tokens < INT64_MAX ? (int64_t)grant->tokens : INT64_MAX;
	l->credits_until_us = sent_us + LEASE_CREDIT_US;
	l->retry_us = now_us + (int64_t)grant->retry_ms * 1000;
}
