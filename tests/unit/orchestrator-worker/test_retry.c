/* The breaker and the retry budget, by tables of what happens when. */
#include <stdio.h>

#include "services/orchestrator-worker/breaker.h"
#include "services/orchestrator-worker/budget.h"
#include "tests/unit/common/suite.h"

#define SOME_TIME INT64_C(1700000000000)

/* --- breaker ------------------------------------------------------------------------------- */

enum what { CALLS, FAILS, NOTHINGS, BEGINS };

struct step {
	int64_t after_ms;
	enum what what;
	unsigned times; /* whole calls with this end; BEGINS: calls that go on */
	enum breaker_state state;
	int64_t wait_ms; /* what the next one is told */
};

static void run(struct breaker *b, int64_t *now, const struct step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct step *s = &steps[i];
		*now += s->after_ms;
		for (unsigned k = 0; k < s->times; k++) {
			ck_assert_msg(breaker_wait_ms(b, *now) == 0, "step %zu: not let in", i);
			unsigned generation = breaker_begin(b, *now);
			if (s->what != BEGINS)
				breaker_end(b, generation,
					    s->what == CALLS   ? BREAKER_ANSWERED
					    : s->what == FAILS ? BREAKER_FAILED
							       : BREAKER_NOTHING,
					    *now);
		}
		ck_assert_msg(b->state == s->state, "step %zu: state %d", i, b->state);
		ck_assert_msg(breaker_wait_ms(b, *now) == s->wait_ms, "step %zu: wait %lld", i,
			      (long long)breaker_wait_ms(b, *now));
	}
}

#define RUN(...)                                                                                   \
	do {                                                                                       \
		static const struct step steps[] = {__VA_ARGS__};                                  \
		struct breaker b = {0};                                                            \
		int64_t now = SOME_TIME;                                                           \
		run(&b, &now, steps, sizeof(steps) / sizeof(steps[0]));                            \
	} while (0)

START_TEST(few_calls_say_nothing)
{
	RUN({0, FAILS, 19, BREAKER_CLOSED, 0}, {0, NOTHINGS, 50, BREAKER_CLOSED, 0},
	    {0, FAILS, 1, BREAKER_OPEN, 5000});
}
END_TEST

START_TEST(half_of_them)
{
	RUN({0, CALLS, 11, BREAKER_CLOSED, 0}, {0, FAILS, 10, BREAKER_CLOSED, 0},
	    {0, FAILS, 1, BREAKER_OPEN, 5000});
}
END_TEST

START_TEST(the_window_moves)
{
	RUN({0, FAILS, 19, BREAKER_CLOSED, 0}, {9999, FAILS, 1, BREAKER_OPEN, 5000});
	RUN({0, FAILS, 19, BREAKER_CLOSED, 0}, {10000, FAILS, 1, BREAKER_CLOSED, 0},
	    {0, FAILS, 18, BREAKER_CLOSED, 0}, {0, FAILS, 1, BREAKER_OPEN, 5000});
}
END_TEST

START_TEST(probes_close_it)
{
	RUN({0, FAILS, 20, BREAKER_OPEN, 5000}, {4999, CALLS, 0, BREAKER_OPEN, 1},
	    {1, CALLS, 0, BREAKER_OPEN, 0}, {0, CALLS, 2, BREAKER_PROBING, 0},
	    {0, CALLS, 1, BREAKER_CLOSED, 0}, {0, FAILS, 19, BREAKER_CLOSED, 0},
	    {0, FAILS, 1, BREAKER_OPEN, 5000});
}
END_TEST

START_TEST(a_probe_opens_it_for_longer)
{
	RUN({0, FAILS, 20, BREAKER_OPEN, 5000}, {5000, FAILS, 1, BREAKER_OPEN, 10000},
	    {10000, CALLS, 2, BREAKER_PROBING, 0}, {0, FAILS, 1, BREAKER_OPEN, 20000},
	    {20000, FAILS, 1, BREAKER_OPEN, 40000}, {40000, FAILS, 1, BREAKER_OPEN, 60000},
	    {60000, FAILS, 1, BREAKER_OPEN, 60000});
}
END_TEST

START_TEST(three_probes_at_once)
{
	RUN({0, FAILS, 20, BREAKER_OPEN, 5000}, {5000, BEGINS, 2, BREAKER_PROBING, 0},
	    {0, BEGINS, 1, BREAKER_PROBING, BREAKER_PROBE_WAIT_MS});
	/* One that says nothing makes room for another. */
	RUN({0, FAILS, 20, BREAKER_OPEN, 5000}, {5000, NOTHINGS, 5, BREAKER_PROBING, 0},
	    {0, CALLS, 3, BREAKER_CLOSED, 0});
}
END_TEST

START_TEST(late_ends_count_no_more)
{
	struct breaker b = {0};
	int64_t now = SOME_TIME;
	unsigned old = breaker_begin(&b, now);
	for (int i = 0; i < 20; i++)
		breaker_end(&b, breaker_begin(&b, now), BREAKER_FAILED, now);
	ck_assert_int_eq(b.state, BREAKER_OPEN);
	ck_assert(!breaker_end(&b, old, BREAKER_ANSWERED, now));
	now += BREAKER_OPEN_MS;
	unsigned probe = breaker_begin(&b, now);
	ck_assert(!breaker_end(&b, old, BREAKER_FAILED, now));
	ck_assert_int_eq(b.state, BREAKER_PROBING);
	ck_assert_uint_eq(b.probes, 1);
	ck_assert(breaker_end(&b, probe, BREAKER_FAILED, now));
	ck_assert_int_eq(b.state, BREAKER_OPEN);
}
END_TEST

/* --- budget -------------------------------------------------------------------------------- */

/* Retries that are allowed at once. */
static unsigned spend(struct budget *b, size_t workers, int64_t now)
{
	unsigned n = 0;
	for (; n < 1000 && budget_wait_ms(b, workers, now) == 0; n++)
		budget_note(b, true, now);
	return n;
}

START_TEST(what_is_allowed)
{
	static const struct {
		unsigned first;
		size_t workers;
		unsigned again;
	} all[] = {
	    {0, 1, 10},     {9, 1, 10}, {10, 1, 11}, {1000, 1, 110},
	    {1000, 4, 102}, {0, 4, 2},  {0, 50, 1},  {0, 0, 10},
	};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct budget b = {0};
		for (unsigned k = 0; k < all[i].first; k++)
			budget_note(&b, false, SOME_TIME);
		ck_assert_msg(spend(&b, all[i].workers, SOME_TIME) == all[i].again, "row %zu", i);
	}
}
END_TEST

/* Whatever is tried: in no 10 s more than the rule says. */
START_TEST(over_time)
{
	struct budget b = {0};
	unsigned firsts[60] = {0}, agains[60] = {0};
	for (int s = 0; s < 60; s++) {
		for (int k = 0; k < (s < 30 ? 40 : 3); k++, firsts[s]++)
			budget_note(&b, false, SOME_TIME + s * 1000);
		agains[s] = spend(&b, 1, SOME_TIME + s * 1000);
	}
	unsigned all = 0;
	for (int s = 9; s < 60; s++) {
		unsigned first = 0, again = 0;
		for (int k = s - 9; k <= s; k++) {
			first += firsts[k];
			again += agains[k];
		}
		ck_assert_uint_le(again, first / 10 + 10 + (s >= 30 && s < 40 ? 40 : 0));
		all += agains[s];
	}
	ck_assert_uint_gt(all, 100); /* and it is used */
}
END_TEST

START_TEST(how_long_to_wait)
{
	struct budget b = {0};
	ck_assert_uint_eq(spend(&b, 1, SOME_TIME), 10);
	ck_assert_int_eq(budget_wait_ms(&b, 1, SOME_TIME + 2500), 7500);
	ck_assert_int_eq(budget_wait_ms(&b, 1, SOME_TIME + 10000), 0);
	ck_assert(!budget_idle(&b, SOME_TIME + 9999));
	ck_assert(budget_idle(&b, SOME_TIME + 10000));
}
END_TEST

START_TEST(tenants_have_their_own)
{
	struct budgets bs = {0};
	char name[20];
	struct budget *a = budgets_of(&bs, "a", SOME_TIME);
	ck_assert_uint_eq(spend(a, 1, SOME_TIME), 10);
	ck_assert_int_eq(budget_wait_ms(budgets_of(&bs, "b", SOME_TIME), 1, SOME_TIME), 0);
	ck_assert_int_gt(budget_wait_ms(budgets_of(&bs, "a", SOME_TIME), 1, SOME_TIME), 0);
	ck_assert(!budgets_idle(&bs, SOME_TIME));
	for (int i = 0; i < 2 * BUDGET_TENANTS_MAX; i++) { /* bounded, and nothing is lost */
		snprintf(name, sizeof(name), "t%d", i);
		budget_note(budgets_of(&bs, name, SOME_TIME), true, SOME_TIME);
	}
	ck_assert_uint_eq(bs.count, BUDGET_TENANTS_MAX);
	ck_assert_int_gt(budget_wait_ms(budgets_of(&bs, "t8000", SOME_TIME), 1, SOME_TIME), 0);
	budget_note(budgets_of(&bs, "new", SOME_TIME + 10000), false, SOME_TIME + 10000);
	ck_assert_uint_le(bs.count, 2); /* those that are idle make room */
	budgets_done(&bs);
	ck_assert(budgets_idle(&bs, SOME_TIME));
}
END_TEST

RUN_TESTS("retry", few_calls_say_nothing, half_of_them, the_window_moves, probes_close_it,
	  a_probe_opens_it_for_longer, three_probes_at_once, late_ends_count_no_more,
	  what_is_allowed, over_time, how_long_to_wait, tenants_have_their_own)
