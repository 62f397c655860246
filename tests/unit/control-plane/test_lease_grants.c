/* What counts against a model's limits, one thing after the other: each test would let too much
 * pass if only that was forgotten. */
#include <string.h>

#include "services/control-plane/lease.h"
#include "tests/unit/common/suite.h"

#define S     INT64_C(1000000)
#define MODEL "m"

struct worker {
	const char *id;
	uint64_t boot, seq, heard, started, settled, held;
	uint32_t running;
	bool deaf; /* the answers do not reach it */
};

static struct grantor *g;
static int64_t now;
static struct worker a, b;

/* A grantor that knows its workers, who have nothing. */
static void setup(const struct lease_limits *limits, const char *const *workers, size_t n)
{
	now = S;
	a = (struct worker){.id = "a", .boot = 1};
	b = (struct worker){.id = "b", .boot = 1};
	g = grantor_new("control", 1, now);
	grantor_target(g, MODEL, limits, true, now);
	grantor_workers(g, workers, n, n, now);
}

static Penstock__LeaseGrant ask(struct worker *w, uint32_t waiting, uint64_t tokens)
{
	Penstock__LeaseUse use = PENSTOCK__LEASE_USE__INIT, *uses[] = {&use};
	Penstock__LeaseReport r = PENSTOCK__LEASE_REPORT__INIT;
	Penstock__LeaseAnswer answer;
	Penstock__LeaseGrant grant;

	use.target = (char *)MODEL;
	use.started = w->started;
	use.settled = w->settled;
	use.held = w->held;
	use.running = w->running;
	use.waiting = waiting;
	use.want = use.first = tokens;
	use.heard = w->heard;
	r.worker = (char *)w->id;
	r.boot = w->boot;
	r.seq = ++w->seq;
	r.uses = uses;
	r.n_uses = 1;
	grantor_report(g, &r, now, &answer);
	ck_assert_uint_eq(answer.n_grants, 1);
	grant = *answer.grants[0];
	grantor_answer_done(&answer);
	if (!w->deaf)
		w->heard = w->seq;
	return grant;
}

/* The worker says each second that it lives. */
static void pass(struct worker *w, int64_t seconds)
{
	for (; seconds > 0; seconds--) {
		now += S;
		(void)ask(w, 0, 0);
	}
}

/* --- tokens: 2,500 a minute, a call of 2,000 ------------------------------------------------ */

static void one_large_call(void)
{
	static const struct lease_limits limits = {.tpm = 2500};
	static const char *const workers[] = {"a", "b"};

	setup(&limits, workers, 2);
	(void)ask(&b, 0, 0);
	pass(&a, 3); /* learning is over */
	ck_assert_uint_eq(ask(&a, 1, 2000).tokens, 2000);
	a.started = a.running = 1;
	a.held = 2000;
	(void)ask(&a, 0, 0);
}

START_TEST(reserved_tokens_count_however_long)
{
	one_large_call();
	pass(&a, 100);
	ck_assert_uint_eq(ask(&b, 1, 2000).tokens, 0);
	ck_assert_uint_eq(ask(&b, 1, 50).tokens, 50); /* there is some left */
	grantor_free(g);
}
END_TEST

START_TEST(settled_tokens_count_for_a_minute)
{
	one_large_call();
	a.settled = 2000;
	a.held = a.running = 0;
	pass(&a, 55);
	ck_assert_uint_eq(ask(&b, 1, 2000).tokens, 0);
	pass(&a, 10);
	ck_assert_uint_eq(ask(&b, 1, 2000).tokens, 2000);
	grantor_free(g);
}
END_TEST

/* A worker that is gone may have used what it had reserved, at the last moment. */
START_TEST(what_a_dead_worker_had_reserved_is_used)
{
	one_large_call();
	pass(&a, 50);
	pass(&b, 20); /* a is silent */
	ck_assert_uint_eq(ask(&b, 1, 2000).tokens, 0);
	pass(&b, 63);
	ck_assert_uint_eq(ask(&b, 1, 2000).tokens, 2000);
	grantor_free(g);
}
END_TEST

/* --- calls: 60 a minute --------------------------------------------------------------------- */

/* How many calls a is given within a minute and what a credit may last, whatever it wants. */
static uint64_t greedy_minute(void)
{
	uint64_t calls = 0;

	for (int64_t end = now + 61900000; now < end; now += S / 10) {
		uint32_t n = ask(&a, 100, 0).calls;

		calls += n;
		a.started += n;
	}
	return calls;
}

static void calls(void)
{
	static const struct lease_limits limits = {.rpm = 60};
	static const char *const workers[] = {"a"};

	setup(&limits, workers, 1);
	pass(&a, 3);
}

START_TEST(no_more_calls_a_minute_than_may_be)
{
	uint64_t n;

	calls();
	n = greedy_minute();
	ck_assert_uint_le(n, 60);
	ck_assert_uint_ge(n, 58);
	grantor_free(g);
}
END_TEST

/* By its safe share, while there was no grantor. */
START_TEST(calls_without_a_grant_count)
{
	calls();
	a.started += 30;
	ck_assert_uint_eq(ask(&a, 100, 0).calls, 0);
	ck_assert_uint_le(greedy_minute() + 30, 60);
	grantor_free(g);
}
END_TEST

/* --- calls at once: 10, of which 4 without a grantor ----------------------------------------- */

static void at_once(void)
{
	static const struct lease_limits limits = {.concurrent = 10, .safe_concurrent = 4};
	static const char *const workers[] = {"a", "b"};

	setup(&limits, workers, 2);
}

START_TEST(the_part_of_one_that_is_silent_is_kept_free)
{
	at_once();
	pass(&a, 20); /* b is waited for no longer */
	ck_assert_uint_eq(ask(&a, 100, 0).level, 8);
	grantor_free(g);
}
END_TEST

START_TEST(the_part_of_one_that_has_nothing_is_kept_free)
{
	at_once();
	ck_assert_uint_eq(ask(&b, 0, 0).level, 0);
	pass(&a, 3);
	ck_assert_uint_eq(ask(&a, 100, 0).level, 8);
	grantor_free(g);
}
END_TEST

/* What was granted counts until the worker says that it has heard of less. */
START_TEST(a_level_counts_until_less_is_heard_of)
{
	at_once();
	(void)ask(&b, 0, 0);
	pass(&a, 3);
	ck_assert_uint_eq(ask(&a, 100, 0).level, 8);
	ck_assert_uint_eq(ask(&b, 100, 0).level, 2);
	a.deaf = true;
	ck_assert_uint_eq(ask(&a, 100, 0).level, 5);
	(void)ask(&a, 100, 0);
	ck_assert_uint_eq(ask(&b, 100, 0).level, 2);
	a.deaf = false;
	(void)ask(&a, 100, 0);
	(void)ask(&a, 100, 0);
	ck_assert_uint_eq(ask(&b, 100, 0).level, 5);
	grantor_free(g);
}
END_TEST

/* A process that has the name of another one is there instead of it. */
START_TEST(a_successor_has_what_its_predecessor_had)
{
	at_once();
	(void)ask(&b, 0, 0);
	pass(&a, 3);
	ck_assert_uint_eq(ask(&a, 100, 0).level, 8);
	a = (struct worker){.id = "a", .boot = 2};
	ck_assert_uint_eq(ask(&a, 100, 0).level, 8);
	grantor_free(g);
}
END_TEST

/* --- eight at once, of which four are safe --------------------------------------------------- */

/* Whoever begins no calls any more keeps no more than what it still has to do. */
START_TEST(who_leaves_keeps_nothing_to_spare)
{
	static const struct lease_limits limits = {.concurrent = 8, .safe_concurrent = 4};
	static const char *const workers[] = {"a", "b"};

	setup(&limits, workers, 2);
	b.running = 1;
	(void)ask(&b, 0, 0);
	pass(&a, 3);
	ck_assert_uint_eq(ask(&b, 0, 0).level, 4);
	ck_assert_uint_eq(ask(&a, 100, 0).level, 4);
	grantor_workers(g, workers, 1, 2, now);
	(void)ask(&a, 0, 0);
	ck_assert_uint_eq(ask(&b, 0, 0).level, 1); /* although nobody asks for the rest */
	(void)ask(&b, 0, 0);                       /* it has heard it */
	ck_assert_uint_eq(ask(&a, 100, 0).level, 7);
	ck_assert_uint_eq(ask(&b, 1, 0).level, 1); /* what waits there has its turn */
	b.running = 0;
	ck_assert_uint_eq(ask(&b, 0, 0).level, 0);
	(void)ask(&b, 0, 0);
	ck_assert_uint_eq(ask(&a, 100, 0).level, 8);
	grantor_workers(g, workers, 2, 2, now);
	ck_assert_uint_eq(ask(&a, 100, 0).level, 6); /* the safe part of b is free again */
	grantor_free(g);
}
END_TEST

RUN_TESTS("control-plane: what counts against a limit", reserved_tokens_count_however_long,
	  settled_tokens_count_for_a_minute, what_a_dead_worker_had_reserved_is_used,
	  no_more_calls_a_minute_than_may_be, calls_without_a_grant_count,
	  the_part_of_one_that_is_silent_is_kept_free,
	  the_part_of_one_that_has_nothing_is_kept_free, a_level_counts_until_less_is_heard_of,
	  a_successor_has_what_its_predecessor_had, who_leaves_keeps_nothing_to_spare)
