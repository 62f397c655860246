#include "services/control-plane/lease.h"

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "services/control-plane/aimd.h"
#include "services/control-plane/trail.h"

#define GRACE_US      ((int64_t)1000000) /* a report may be on its way for so long */
#define CONTENDS_US   ((int64_t)1500000) /* what a worker wants is believed for so long */
#define RATE_SECONDS  63.0               /* as long as what is granted stays in the trail */
#define BURST         25                 /* a bucket holds a 25th of its limit: 2.5 s */
#define RETRY_MIN_MS  20
#define RETRY_BUSY_MS 50
#define RETRY_MAX_MS  1000
#define UNLIMITED     INT32_MAX

/* A worker's process. */
struct member {
	struct member *next;
	char *id;
	uint64_t boot, seq;
	int64_t heard_us;
	bool leaves; /* it has what it asks for, and nothing to spare */
};

/* What a process holds of a target. */
struct holder {
	struct holder *next;
	struct member *member;
	int64_t heard_us;
	uint64_t answered; /* report of the last grant */
	int64_t level,
	    level_sent; /* it may believe in `level`, the most of what is not superseded */
	int64_t running, waiting;
	uint64_t started, settled; /* its counters, as last told */
	uint64_t held;
	int64_t out_calls, out_tokens, out_us; /* granted by the last answer, not yet told of */
	int64_t want_tokens, first_tokens;
	int64_t had_calls, had_tokens; /* so far, for fairness between those who want more */
	bool wanted;
	struct aimd_seen seen;
};

struct bucket {
	double level;
	int64_t at_us;
};

struct goal {
	struct goal *next;
	char *name;
	struct lease_limits limits;
	struct trail calls, tokens;
	struct bucket call_bucket, token_bucket;
	struct aimd aimd;
	struct holder *holders;
	size_t n;
};

struct grantor {
	char *id;
	uint64_t boot;
	bool learning;
	int64_t since_us;
	struct goal *goals;
	struct member *members;
	char **workers;
	size_t n_stay, n_workers, n_goals;
	struct grantor_numbers numbers;
};

/* --- targets ------------------------------------------------------------------------------- */

static struct goal *find_goal(const struct grantor *g, const char *name)
{
	struct goal *goal = g->goals;
	while (goal != NULL && strcmp(goal->name, name) != 0)
		goal = goal->next;
	return goal;
}

static double bucket_most(int64_t limit)
{
	return limit > BURST ? (double)limit / BURST : 1;
}

static void bucket_fill(struct bucket *b, int64_t limit, int64_t now_us)
{
	double seconds = (double)(now_us - b->at_us) / 1e6;
	b->at_us = now_us;
	b->level += seconds * (double)limit / RATE_SECONDS;
	if (b->level > bucket_most(limit))
		b->level = bucket_most(limit);
}

/* Nobody knows what was used before: all of it, and a whole bucket at the end. */
static void assume_used(struct goal *goal, int64_t now_us)
{
	trail_assume(&goal->calls, now_us, goal->limits.rpm);
	trail_assume(&goal->tokens, now_us, goal->limits.tpm);
	goal->call_bucket = goal->token_bucket = (struct bucket){0, now_us};
}

static void goal_free(struct goal *goal)
{
	for (struct holder *h; (h = goal->holders) != NULL;) {
		goal->holders = h->next;
		free(h);
	}
	free(goal->name);
	free(goal);
}

void grantor_target(struct grantor *g, const char *name, const struct lease_limits *limits,
		    bool fresh, int64_t now_us)
{
	struct goal *goal = find_goal(g, name);
	if (limits == NULL) { /* what was used stays known, should it come back at once */
		if (goal != NULL)
			goal->limits = (struct lease_limits){0};
		return;
	}
	if (goal == NULL) {
		if (g->n_goals >= LEASE_TARGETS_MAX)
			return;
		goal = xcalloc(1, sizeof(*goal));
		goal->name = xstrdup(name);
		goal->next = g->goals;
		g->goals = goal;
		g->n_goals++;
		goal->limits = *limits;
		trail_init(&goal->calls, now_us);
		trail_init(&goal->tokens, now_us);
		goal->call_bucket = (struct bucket){bucket_most(limits->rpm), now_us};
		goal->token_bucket = (struct bucket){bucket_most(limits->tpm), now_us};
		if (!fresh)
			assume_used(goal, now_us);
		aimd_init(&goal->aimd, limits->concurrent, now_us);
	}
	goal->limits = *limits;
	aimd_limit(&goal->aimd, limits->concurrent);
}

/* --- workers ------------------------------------------------------------------------------- */

static struct member *find_member(struct grantor *g, const Penstock__LeaseReport *r)
{
	for (struct member *m = g->members; m != NULL; m = m->next)
		if (m->boot == r->boot && strcmp(m->id, r->worker) == 0)
			return m;
	return NULL;
}

/* More than anybody has of anything; so the sums of them stay numbers. */
static int64_t bounded(uint64_t n)
{
	return n < (uint64_t)1 << 40 ? (int64_t)n : (int64_t)1 << 40;
}

/* What was reserved and never told of counts as used from now on. */
static void drop_holders(struct grantor *g, const struct member *m, int64_t now_us)
{
	for (struct goal *goal = g->goals; goal != NULL; goal = goal->next)
		for (struct holder **at = &goal->holders; *at != NULL;) {
			struct holder *h = *at;
			if (h->member != m) {
				at = &h->next;
				continue;
			}
			trail_add(&goal->tokens, now_us, now_us, bounded(h->held) + h->out_tokens);
			*at = h->next;
			goal->n--;
			free(h);
		}
}

static void drop_member(struct grantor *g, struct member **at, int64_t now_us)
{
	struct member *m = *at;
	drop_holders(g, m, now_us);
	*at = m->next;
	free(m->id);
	free(m);
}

/* A process with the name of another one is its successor: that one's sockets are closed. */
static void drop_predecessors(struct grantor *g, const Penstock__LeaseReport *r, int64_t now_us)
{
	for (struct member **at = &g->members; *at != NULL;)
		if (strcmp((*at)->id, r->worker) == 0 && (*at)->boot != r->boot)
			drop_member(g, at, now_us);
		else
			at = &(*at)->next;
}

static bool leaves(const struct grantor *g, const char *id)
{
	for (size_t i = g->n_stay; i < g->n_workers; i++)
		if (strcmp(g->workers[i], id) == 0)
			return true;
	return false;
}

static struct member *take_member(struct grantor *g, const Penstock__LeaseReport *r, int64_t now_us)
{
	struct member *m = find_member(g, r);
	if (m != NULL)
		return m;
	size_t n = 0;
	drop_predecessors(g, r, now_us);
	for (m = g->members; m != NULL; m = m->next)
		n++;
	if (n >= LEASE_HOLDERS_MAX)
		return NULL;
	m = xcalloc(1, sizeof(*m));
	m->id = xstrdup(r->worker);
	m->boot = r->boot;
	m->leaves = leaves(g, m->id);
	m->next = g->members;
	g->members = m;
	return m;
}

static void free_workers(struct grantor *g)
{
	for (size_t i = 0; i < g->n_workers; i++)
		free(g->workers[i]);
	free(g->workers);
}

void grantor_workers(struct grantor *g, const char *const *ids, size_t stay, size_t n,
		     int64_t now_us)
{
	free_workers(g);
	g->workers = xcalloc(n + 1, sizeof(*g->workers));
	g->n_stay = stay;
	g->n_workers = n;
	for (size_t i = 0; i < n; i++)
		g->workers[i] = xstrdup(ids[i]);
	for (struct member *m = g->members; m != NULL; m = m->next)
		m->leaves = leaves(g, m->id);
	grantor_tick(g, now_us);
}

static bool reported(const struct grantor *g, const char *id)
{
	for (const struct member *m = g->members; m != NULL; m = m->next)
		if (strcmp(m->id, id) == 0 && m->heard_us >= g->since_us)
			return true;
	return false;
}

static void end_learning(struct grantor *g, int64_t now_us)
{
	bool all = now_us - g->since_us >= LEASE_LEARN_US;
	for (size_t i = 0; i < g->n_workers && all; i++)
		all = reported(g, g->workers[i]);
	if (!all && now_us - g->since_us < LEASE_TERM_US + GRACE_US)
		return;
	g->learning = false;
	for (struct goal *goal = g->goals; goal != NULL; goal = goal->next)
		if (goal->call_bucket.at_us < now_us) { /* no more than the rate from now on */
			goal->call_bucket.at_us = goal->token_bucket.at_us = now_us;
		}
}

void grantor_tick(struct grantor *g, int64_t now_us)
{
	for (struct member **at = &g->members; *at != NULL;)
		if (now_us - (*at)->heard_us >= LEASE_TERM_US + GRACE_US)
			drop_member(g, at, now_us);
		else
			at = &(*at)->next;
	if (g->learning)
		end_learning(g, now_us);
}

/* --- a report ------------------------------------------------------------------------------ */

static struct holder *take_holder(struct goal *goal, struct member *m,
				  const Penstock__LeaseUse *use)
{
	for (struct holder *h = goal->holders; h != NULL; h = h->next)
		if (h->member == m)
			return h;
	struct holder *h = xcalloc(1, sizeof(*h));
	h->member = m;
	h->level = h->level_sent = use->level;
	h->started = use->started;
	h->settled = use->settled;
	h->held = use->held;
	h->seen = (struct aimd_seen){use->good, use->troubled};
	/* In the order of their ids: who is first is not who came first. */
	struct holder **at = &goal->holders;
	while (*at != NULL && strcmp((*at)->member->id, m->id) < 0)
		at = &(*at)->next;
	h->next = *at;
	*at = h;
	goal->n++;
	return h;
}

/* A counter only grows; what it says beyond is somebody's mistake. */
static int64_t grown(uint64_t now, uint64_t *before)
{
	int64_t n = now > *before ? bounded(now - *before) : 0;
	*before = now;
	return n;
}

/* The credits of the last answer are used or void; what was done is charged instead. */
static void settle(struct goal *goal, struct holder *h, const Penstock__LeaseUse *use,
		   int64_t now_us)
{
	int64_t started = grown(use->started, &h->started), before = bounded(h->held);
	int64_t settled = grown(use->settled, &h->settled);
	int64_t unused = h->out_calls - started;
	if (unused > 0)
		trail_add(&goal->calls, h->out_us, now_us, -unused);
	else /* without a grantor, by its safe share */
		trail_add(&goal->calls, now_us, now_us, -unused);
	goal->call_bucket.level += (double)unused;
	h->had_calls -= unused;
	int64_t done = bounded(use->held) + settled - before, saved = h->out_tokens - done;
	trail_add(&goal->tokens, now_us, now_us, settled);
	goal->token_bucket.level += (double)saved;
	h->had_tokens -= saved;
	h->held = use->held;
	h->out_calls = h->out_tokens = 0;
}

static void take_use(struct goal *goal, struct holder *h, const Penstock__LeaseUse *use,
		     int64_t now_us)
{
	if (use->heard == h->answered)
		h->level = h->level_sent; /* what it believed before is superseded */
	h->running = use->running;
	h->waiting = use->waiting;
	h->want_tokens = bounded(use->want);
	h->first_tokens = bounded(use->first);
	h->heard_us = now_us;
	settle(goal, h, use, now_us);
	aimd_report(&goal->aimd, &h->seen, use, now_us);
}

/* --- levels -------------------------------------------------------------------------------- */

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* What a live worker will take when there is no grantor any more. */
static int64_t safe_part(const struct grantor *g, const struct goal *goal, const char *id)
{
	int64_t safe = lease_safe(goal->limits.concurrent, goal->limits.safe_concurrent);
	safe = least(safe, goal->limits.concurrent - 1);
	for (size_t i = 0; i < g->n_stay; i++)
		if (strcmp(g->workers[i], id) == 0)
			return lease_safe_part(safe, g->n_stay, i);
	return 0;
}

static int64_t held_by(const struct grantor *g, const struct goal *goal, const struct holder *h)
{
	return most(most(h->level, h->running), safe_part(g, goal, h->member->id));
}

/* What is left of the limit beside the others: what they have, and what they may take. */
static int64_t left_for(const struct grantor *g, const struct goal *goal, const struct holder *me)
{
	int64_t left = goal->limits.concurrent;
	for (const struct holder *h = goal->holders; h != NULL; h = h->next)
		if (h != me)
			left -= held_by(g, goal, h);
	for (size_t i = 0; i < g->n_stay; i++) {
		bool holds = false;
		for (const struct holder *h = goal->holders; h != NULL && !holds; h = h->next)
			holds = strcmp(h->member->id, g->workers[i]) == 0;
		if (!holds)
			left -= safe_part(g, goal, g->workers[i]);
	}
	return left;
}

static int64_t level_for(const struct grantor *g, struct goal *goal, struct holder *me)
{
	int64_t want[LEASE_HOLDERS_MAX], asked = 0, stay = 0;
	size_t n = 0, mine = 0;
	if (goal->limits.concurrent <= 0)
		return UNLIMITED;
	int64_t left = left_for(g, goal, me);
	if (g->learning) /* no more than it has, and no more than there is */
		return most(least(me->level, left), 0);
	int64_t capacity = least(aimd_now(&goal->aimd), goal->limits.concurrent);
	for (const struct holder *h = goal->holders; h != NULL; h = h->next) {
		if (h == me)
			mine = n;
		want[n] = h->running + h->waiting;
		asked += want[n++];
		stay += !h->member->leaves;
	}
	/* What nobody asks for is spread, so that a call that comes need not ask first. */
	int64_t fair = lease_share(want, NULL, n, mine, capacity);
	if (asked < capacity && stay > 0 && !me->member->leaves)
		fair += (capacity - asked) / stay;
	return most(least(fair, left), 0);
}

/* --- credits ------------------------------------------------------------------------------- */

struct asked {
	int64_t want[LEASE_HOLDERS_MAX], had[LEASE_HOLDERS_MAX];
	size_t n, me;
};

static bool contends(const struct holder *h, int64_t now_us)
{
	return h->waiting > 0 && now_us - h->heard_us < CONTENDS_US;
}

/* Who wants more now. One that did not a moment ago has no claim to what it did not want then. */
static void contenders(struct goal *goal, struct holder *me, bool tokens, int64_t now_us,
		       struct asked *out)
{
	int64_t least_had = INT64_MAX;
	out->n = out->me = 0;
	for (struct holder *h = goal->holders; h != NULL; h = h->next)
		if (h->wanted && contends(h, now_us))
			least_had = least(least_had, tokens ? h->had_tokens : h->had_calls);
	for (struct holder *h = goal->holders; h != NULL; h = h->next) {
		int64_t *had = tokens ? &h->had_tokens : &h->had_calls;
		if (!contends(h, now_us))
			continue;
		if (!h->wanted)
			*had = most(*had, least_had == INT64_MAX ? *had : least_had);
		if (h == me)
			out->me = out->n;
		out->want[out->n] = tokens ? most(h->want_tokens, h->first_tokens) : h->waiting;
		out->had[out->n++] = *had;
	}
	/* Only the differences count; the least is 0. */
	least_had = INT64_MAX;
	for (size_t i = 0; i < out->n; i++)
		least_had = least(least_had, out->had[i]);
	for (size_t i = 0; i < out->n; i++)
		out->had[i] -= least_had;
}

static int64_t whole(double level)
{
	return level >= 1 ? (int64_t)level : 0;
}

static int64_t calls_for(struct goal *goal, struct holder *me, int64_t can_start, int64_t now_us)
{
	struct asked a;
	if (goal->limits.rpm <= 0)
		return can_start;
	bucket_fill(&goal->call_bucket, goal->limits.rpm, now_us);
	int64_t there = least(whole(goal->call_bucket.level),
			      goal->limits.rpm - trail_sum(&goal->calls, now_us));
	contenders(goal, me, false, now_us, &a);
	return least(can_start, lease_share(a.want, a.had, a.n, a.me, there));
}

static int64_t tokens_left(struct goal *goal, int64_t now_us)
{
	int64_t used = trail_sum(&goal->tokens, now_us);
	for (const struct holder *h = goal->holders; h != NULL; h = h->next)
		used += bounded(h->held) + h->out_tokens;
	return goal->limits.tpm - used;
}

/* A single call may be larger than the bucket: then it passes when its worker's turn has come and
 * the bucket is not in debt, and is paid off. */
static int64_t tokens_for(struct goal *goal, struct holder *me, int64_t calls, int64_t now_us)
{
	struct asked a;
	if (goal->limits.tpm <= 0)
		return INT64_MAX;
	bucket_fill(&goal->token_bucket, goal->limits.tpm, now_us);
	int64_t left = tokens_left(goal, now_us);
	int64_t there = least(whole(goal->token_bucket.level), left);
	int64_t want = me->waiting > 0 ? me->want_tokens / me->waiting * calls : 0;
	want = most(want, me->first_tokens);
	contenders(goal, me, true, now_us, &a);
	int64_t share = least(want, lease_share(a.want, a.had, a.n, a.me, there));
	if (share >= me->first_tokens)
		return share;
	bool turn = a.n > 0 && a.had[a.me] == 0;
	return turn && there > 0 && left >= me->first_tokens ? me->first_tokens : 0;
}

static void grant_credits(struct goal *goal, struct holder *me, Penstock__LeaseGrant *grant,
			  int64_t now_us)
{
	bool rated = goal->limits.rpm > 0 || goal->limits.tpm > 0;
	int64_t can_start = me->waiting;
	if (goal->limits.concurrent > 0)
		can_start = least(can_start, (int64_t)grant->level - me->running);
	if (!rated || can_start <= 0 || me->waiting == 0)
		return;
	int64_t calls = calls_for(goal, me, can_start, now_us);
	int64_t tokens = calls > 0 ? tokens_for(goal, me, calls, now_us) : 0;
	me->wanted = true;
	if (calls <= 0 || tokens <= 0)
		return;
	grant->calls = (uint32_t)least(calls, UNLIMITED);
	grant->tokens = tokens == INT64_MAX ? 0 : (uint64_t)tokens;
	me->out_us = now_us;
	if (goal->limits.rpm > 0) {
		me->out_calls = calls;
		me->had_calls += calls;
		goal->call_bucket.level -= (double)calls;
		trail_add(&goal->calls, now_us, now_us, calls);
	}
	if (goal->limits.tpm > 0) {
		me->out_tokens = tokens;
		me->had_tokens += tokens;
		goal->token_bucket.level -= (double)tokens;
	}
}

static uint32_t retry_ms(const struct goal *goal, const struct holder *me,
			 const Penstock__LeaseGrant *grant)
{
	if (me->waiting <= (int64_t)grant->calls)
		return RETRY_MAX_MS;
	if (goal->limits.concurrent > 0 && me->running >= (int64_t)grant->level)
		return RETRY_BUSY_MS;
	double wait = 0;
	if (goal->limits.rpm > 0 && goal->call_bucket.level < 1)
		wait = (1 - goal->call_bucket.level) * RATE_SECONDS / (double)goal->limits.rpm;
	if (goal->limits.tpm > 0 && goal->token_bucket.level < 1) {
		double more = (1 - goal->token_bucket.level) * RATE_SECONDS;
		wait =
		    wait > more / (double)goal->limits.tpm ? wait : more / (double)goal->limits.tpm;
	}
	return (uint32_t)most(RETRY_MIN_MS, (int64_t)(wait < 1 ? wait * 1000 : RETRY_MAX_MS));
}

static void grant_use(struct grantor *g, struct member *m, const Penstock__LeaseUse *use,
		      int64_t now_us, Penstock__LeaseAnswer *answer)
{
	struct goal *goal = find_goal(g, use->target);
	if (goal == NULL || lease_unlimited(&goal->limits)) {
		g->numbers.refused++;
		return;
	}
	struct holder *h = take_holder(goal, m, use);
	take_use(goal, h, use, now_us);
	Penstock__LeaseGrant *grant = xmalloc(sizeof(*grant));
	penstock__lease_grant__init(grant);
	answer->grants[answer->n_grants++] = grant;
	grant->target = use->target;
	h->wanted &= h->waiting > 0;
	int64_t level = level_for(g, goal, h);
	grant->level = (uint32_t)level;
	if (!g->learning)
		grant_credits(goal, h, grant, now_us);
	grant->retry_ms = g->learning ? RETRY_MAX_MS : retry_ms(goal, h, grant);
	h->level_sent = level;
	h->level = most(h->level, level);
	h->answered = m->seq;
}

void grantor_beat(struct grantor *g, int64_t now_us, Penstock__LeaseAnswer *answer)
{
	grantor_tick(g, now_us);
	penstock__lease_answer__init(answer);
	answer->grantor = g->id;
	answer->boot = g->boot;
	answer->learning = g->learning;
}

void grantor_report(struct grantor *g, const Penstock__LeaseReport *r, int64_t now_us,
		    Penstock__LeaseAnswer *answer)
{
	grantor_beat(g, now_us, answer);
	answer->seq = r->seq;
	struct member *m = take_member(g, r, now_us);
	g->numbers.reports++;
	if (m == NULL || r->seq <= m->seq) { /* late: a newer one was answered already */
		g->numbers.refused++;
		return;
	}
	m->seq = r->seq;
	m->heard_us = now_us;
	answer->grants = xcalloc(r->n_uses + 1, sizeof(*answer->grants));
	for (size_t i = 0; i < r->n_uses; i++)
		grant_use(g, m, r->uses[i], now_us, answer);
	if (!r->bye)
		return;
	for (struct member **at = &g->members; *at != NULL; at = &(*at)->next)
		if (*at == m) {
			drop_member(g, at, now_us);
			return;
		}
}

void grantor_answer_done(Penstock__LeaseAnswer *answer)
{
	for (size_t i = 0; i < answer->n_grants; i++)
		free(answer->grants[i]);
	free(answer->grants);
	answer->grants = NULL;
	answer->n_grants = 0;
}

/* --- life ---------------------------------------------------------------------------------- */

struct grantor *grantor_new(const char *id, uint64_t boot, int64_t now_us)
{
	struct grantor *g = xcalloc(1, sizeof(*g));
	g->id = xstrdup(id);
	g->boot = boot;
	g->learning = true;
	g->since_us = now_us;
	return g;
}

void grantor_free(struct grantor *g)
{
	if (g == NULL)
		return;
	for (struct goal *goal; (goal = g->goals) != NULL;) {
		g->goals = goal->next;
		goal_free(goal);
	}
	for (struct member *m; (m = g->members) != NULL;) {
		g->members = m->next;
		free(m->id);
		free(m);
	}
	free_workers(g);
	free(g->id);
	free(g);
}

void grantor_numbers(const struct grantor *g, struct grantor_numbers *out)
{
	*out = g->numbers;
	out->learning = g->learning;
	out->targets = (int64_t)g->n_goals;
	out->holders = 0;
	for (const struct goal *goal = g->goals; goal != NULL; goal = goal->next)
		out->holders += (int64_t)goal->n;
}
