/* Whose turn it is: shares by weight, newcomers at once, bounds. */
#include <stdio.h>

#include "common/rng.h"
#include "services/edge/pace.h"
#include "tests/unit/common/suite.h"

struct page {
	struct pace_item item; /* first */
	unsigned tenant, number;
};

enum { TENANTS = 4, PAGES = 4000 };

static struct page pages[TENANTS][PAGES];

static const char *name(unsigned tenant)
{
	static char text[16];

	snprintf(text, sizeof(text), "t%u", tenant);
	return text;
}

static bool add(struct pace *p, unsigned tenant, unsigned number, int64_t weight)
{
	struct page *page = &pages[tenant][number];

	page->tenant = tenant;
	page->number = number;
	return pace_add(p, name(tenant), weight, &page->item);
}

static struct page *next(struct pace *p)
{
	struct page *page = (struct page *)pace_next(p);

	if (page)
		pace_end(p);
	return page;
}

static void drain(struct pace *p)
{
	while (pace_pop(p))
		;
	ck_assert_uint_eq(p->queued, 0);
	pace_done(p);
}

START_TEST(one_after_the_other)
{
	struct pace p;

	pace_init(&p, 2, 10, 100);
	ck_assert_ptr_null(pace_next(&p));
	for (unsigned i = 0; i < 3; i++)
		ck_assert(add(&p, 0, i, 1));
	ck_assert_ptr_eq(pace_next(&p), &pages[0][0].item);
	ck_assert_ptr_eq(pace_next(&p), &pages[0][1].item);
	ck_assert_ptr_null(pace_next(&p)); /* two are under way */
	pace_end(&p);
	ck_assert_ptr_eq(pace_next(&p), &pages[0][2].item);
	pace_end(&p);
	pace_end(&p);
	ck_assert_ptr_null(pace_next(&p));
	drain(&p);
}
END_TEST

START_TEST(a_newcomer_does_not_wait_behind_a_storm)
{
	struct pace p;
	unsigned before = 0;

	pace_init(&p, 1, PAGES, 2 * PAGES);
	for (unsigned i = 0; i < PAGES; i++)
		ck_assert(add(&p, 0, i, 1));
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_eq(next(&p)->tenant, 0);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(add(&p, 1, i, 1));
	/* From then on it has every second page. */
	for (unsigned got = 0; got < 10;) {
		if (next(&p)->tenant == 1)
			got++;
		else
			before++;
	}
	ck_assert_uint_le(before, 11);
	drain(&p);
}
END_TEST

START_TEST(one_page_at_a_time_has_its_share)
{
	struct pace p;
	unsigned waited = 0;

	pace_init(&p, 1, PAGES, 2 * PAGES);
	for (unsigned i = 0; i < PAGES; i++)
		ck_assert(add(&p, 0, i, 1000));
	for (unsigned i = 0; i < 100; i++) {
		ck_assert(add(&p, 1, i, 1));
		while (next(&p)->tenant != 1)
			waited++;
	}
	ck_assert_uint_le(waited, 200);
	drain(&p);
}
END_TEST

START_TEST(shares_follow_the_weights)
{
	static const int64_t weights[TENANTS] = {1, 2, 5, 12};
	unsigned got[TENANTS] = {0}, number[TENANTS] = {0};
	struct pace p;

	pace_init(&p, 1, PAGES, TENANTS * PAGES);
	for (unsigned t = 0; t < TENANTS; t++)
		for (unsigned i = 0; i < PAGES; i++)
			ck_assert(add(&p, t, i, weights[t]));
	for (unsigned i = 0; i < 2000; i++) {
		struct page *page = next(&p);

		ck_assert_uint_eq(page->number, number[page->tenant]++);
		got[page->tenant]++;
	}
	for (unsigned t = 0; t < TENANTS; t++) {
		ck_assert_uint_ge(got[t], 2000 * weights[t] / 20 - 2);
		ck_assert_uint_le(got[t], 2000 * weights[t] / 20 + 2);
	}
	drain(&p);
}
END_TEST

START_TEST(queues_are_bounded)
{
	struct pace p;

	pace_init(&p, 1, 3, 5);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(add(&p, 0, i, 1));
	ck_assert(!add(&p, 0, 3, 1));
	ck_assert(add(&p, 1, 0, 1));
	ck_assert(add(&p, 2, 0, 1000000));
	ck_assert(!add(&p, 3, 0, 1)); /* of all */
	ck_assert_uint_eq(next(&p)->tenant, 0);
	ck_assert(add(&p, 3, 0, 1));
	drain(&p);
}
END_TEST

START_TEST(random_runs)
{
	struct rng rng;
	unsigned in[TENANTS] = {0}, out[TENANTS] = {0}, running = 0;
	struct pace p;

	rng_seed(&rng, 7);
	pace_init(&p, 3, 50, 120);
	for (unsigned i = 0; i < 30000; i++) {
		unsigned t = (unsigned)rng_below(&rng, TENANTS);
		struct page *page;

		if (rng_below(&rng, 2) && in[t] < PAGES) {
			bool room = in[t] - out[t] < 50 && p.queued < 120;

			ck_assert(add(&p, t, in[t], 1 + (int64_t)rng_below(&rng, 9)) == room);
			in[t] += room;
		} else if (running && rng_below(&rng, 2)) {
			pace_end(&p);
			running--;
		} else if ((page = (struct page *)pace_next(&p))) {
			running++;
			ck_assert_uint_le(running, 3);
			ck_assert_uint_eq(page->number, out[page->tenant]++);
		} else {
			ck_assert(running == 3 || !p.queued);
		}
	}
	drain(&p);
}
END_TEST

RUN_TESTS("edge: pace", one_after_the_other, a_newcomer_does_not_wait_behind_a_storm,
	  one_page_at_a_time_has_its_share, shares_follow_the_weights, queues_are_bounded,
	  random_runs)
