/* Turns: fair by weight, in order within a tenant, a slot left for the newcomer; against a slow
 * model of the same. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/rng.h"
#include "services/orchestrator-worker/turns.h"

#define MANY 400

struct item {
	struct turn turn; /* first: the turn is the item */
	int tenant;
	unsigned number;
	bool there;
};

static void add(struct turns *t, struct item *item, int tenant, int64_t weight)
{
	char name[16];
	snprintf(name, sizeof(name), "tenant-%d", tenant);
	item->tenant = tenant;
	turns_add(t, &item->turn, name, weight, false);
}

static int next_tenant(struct turns *t)
{
	struct item *item = (struct item *)turns_next(t);
	return item ? item->tenant : -1;
}

START_TEST(who_has_fewest_is_next)
{
	struct turns *t = turns_new(2);
	struct item a[8] = {0}, b = {0};
	for (int i = 0; i < 8; i++)
		add(t, &a[i], 1, 1);
	ck_assert_ptr_eq(turns_next(t), &a[0].turn);
	ck_assert_ptr_eq(turns_next(t), &a[1].turn);
	ck_assert_ptr_null(turns_next(t));
	add(t, &b, 2, 1);
	turns_leave(t, &a[1].turn);
	ck_assert_ptr_eq(turns_next(t), &b.turn);
	turns_leave(t, &a[0].turn);
	turns_leave(t, &b.turn);
	ck_assert_ptr_eq(turns_next(t), &a[2].turn);
	ck_assert_uint_eq(turns_running(t), 1);
	ck_assert_uint_eq(turns_waiting(t), 5);
	turns_free(t);
}
END_TEST

START_TEST(the_last_slots_are_for_a_newcomer)
{
	struct turns *t = turns_new(16);
	struct item a[64] = {0}, b[64] = {0};
	for (int i = 0; i < 64; i++)
		add(t, &a[i], 1, 1);
	for (int i = 0; i < 14; i++)
		ck_assert_int_eq(next_tenant(t), 1);
	ck_assert_int_eq(next_tenant(t), -1); /* two of sixteen are kept */
	for (int i = 0; i < 64; i++)
		add(t, &b[i], 2, 1);
	ck_assert_int_eq(next_tenant(t), 2);
	ck_assert_int_eq(next_tenant(t), 2);
	ck_assert_int_eq(next_tenant(t), -1);
	turns_leave(t, &a[0].turn); /* the other one comes to his share as slots fall free */
	ck_assert_int_eq(next_tenant(t), 2);
	ck_assert_uint_eq(turns_running(t), 16);
	turns_free(t);
}
END_TEST

START_TEST(few_slots_are_all_used)
{
	for (size_t slots = 1; slots < 4; slots++) {
		struct turns *t = turns_new(slots);
		struct item a[4] = {0};
		for (size_t i = 0; i < 4; i++)
			add(t, &a[i], 1, 1);
		for (size_t i = 0; i < slots; i++)
			ck_assert_int_eq(next_tenant(t), 1);
		ck_assert_int_eq(next_tenant(t), -1);
		turns_free(t);
	}
}
END_TEST

START_TEST(weights_count)
{
	struct turns *t = turns_new(80);
	struct item a[100] = {0}, b[100] = {0};
	int of[3] = {0};
	for (int i = 0; i < 100; i++) {
		add(t, &a[i], 1, 3);
		add(t, &b[i], 2, 1);
	}
	for (int tenant; (tenant = next_tenant(t)) >= 0;)
		of[tenant]++;
	ck_assert_int_eq(of[1] + of[2], 70); /* ten are kept */
	ck_assert_int_ge(of[1], 52);
	ck_assert_int_le(of[1], 53);
	turns_free(t);
}
END_TEST

/* Nothing runs for long: what turns cost decides. */
START_TEST(costs_count)
{
	struct turns *t = turns_new(TURNS_UNBOUNDED);
	struct item items[3][MANY] = {0};
	static const int64_t cost[] = {1, 1, 10}, weight[] = {1, 3, 1};
	int of[3] = {0};
	for (int i = 0; i < MANY; i++)
		for (int k = 0; k < 3; k++)
			add(t, &items[k][i], k, weight[k]);
	for (int i = 0; i < 410; i++) {
		struct turn *turn = turns_first(t);
		ck_assert_ptr_eq(turn, turns_first(t));
		int k = ((struct item *)turn)->tenant;
		turns_start(t, turn, cost[k]);
		turns_leave(t, turn);
		of[k]++;
	}
	ck_assert_int_eq(of[0], 100);
	ck_assert_int_eq(of[1], 300);
	ck_assert_int_eq(of[2], 10);
	/* Who comes now has saved nothing up: he is not served alone until he has had as many. */
	struct item late[20] = {0};
	for (int i = 0; i < 20; i++)
		add(t, &late[i], 3, 1);
	int had = 0;
	for (int i = 0; i < 20; i++) {
		struct turn *turn = turns_first(t);
		had += ((struct item *)turn)->tenant == 3;
		turns_start(t, turn, 1);
		turns_leave(t, turn);
	}
	ck_assert_int_ge(had, 2);
	ck_assert_int_le(had, 8);
	turns_free(t);
}
END_TEST

START_TEST(behind_the_others)
{
	struct turns *t = turns_new(TURNS_UNBOUNDED);
	struct item a[6] = {0};
	static const int order[] = {1, 4, 5, 0, 3};
	for (int i = 0; i < 6; i++)
		turns_add(t, &a[i].turn, "t", 1, i == 0 || i == 2 || i == 3);
	turns_leave(t, &a[2].turn);
	for (int i = 0; i < 5; i++)
		ck_assert_ptr_eq(turns_next(t), &a[order[i]].turn);
	ck_assert_ptr_null(turns_next(t));
	for (int i = 0; i < 6; i++)
		turns_leave(t, &a[i].turn);
	turns_add(t, &a[0].turn, "t", 1, true);
	turns_add(t, &a[1].turn, "t", 1, false);
	turns_leave(t, &a[1].turn); /* the last of those in front */
	turns_add(t, &a[2].turn, "t", 1, false);
	ck_assert_ptr_eq(turns_next(t), &a[2].turn);
	ck_assert_ptr_eq(turns_next(t), &a[0].turn);
	turns_free(t);
}
END_TEST

START_TEST(places_to_wait)
{
	struct turns *t = turns_new(TURNS_UNBOUNDED);
	struct item a[80] = {0}, b[80] = {0};
	int n = 0, m = 0;
	for (; n < 80 && turns_may_wait(t, "tenant-1", 80); n++)
		add(t, &a[n], 1, 1);
	ck_assert_int_eq(n, 70);
	for (; m < 80 && turns_may_wait(t, "tenant-2", 80); m++)
		add(t, &b[m], 2, 1);
	ck_assert_int_eq(m, 10);
	turns_leave(t, &a[0].turn);
	ck_assert(!turns_may_wait(t, "tenant-1", 80));
	ck_assert(turns_may_wait(t, "tenant-2", 80));
	turns_free(t);
}
END_TEST

/* What is next, by looking at all. */
static int model_next(const struct item *items, const int *running, const int64_t *weight,
		      int tenants, size_t slots, size_t total)
{
	int best = -1;
	double weights = 0;
	for (int k = 0; k < tenants; k++) {
		bool waits = false;
		for (int i = 0; i < MANY; i++)
			waits |= items[i].there && items[i].tenant == k && !items[i].turn.running;
		if (waits || running[k] > 0)
			weights += (double)weight[k];
		if (waits && (best < 0 || running[k] * weight[best] < running[best] * weight[k]))
			best = k;
	}
	size_t reserve = slots >= 8 ? slots / 8 : slots >= 4;
	if (best < 0 || total >= slots ||
	    (total >= slots - reserve &&
	     running[best] * (weights + 1) >= (double)slots * (double)weight[best]))
		return -1;
	return best;
}

START_TEST(as_the_model_says)
{
	enum { TENANTS = 7 };
	struct rng rng;
	rng_seed(&rng, (uint64_t)_i + 1);
	size_t slots = 1 + rng_below(&rng, 40);
	struct turns *t = turns_new(slots);
	struct item items[MANY] = {0};
	int running[TENANTS] = {0};
	unsigned added[TENANTS] = {0}, taken[TENANTS] = {0};
	int64_t weight[TENANTS];
	size_t total = 0;
	for (int k = 0; k < TENANTS; k++)
		weight[k] = 1 + (int64_t)rng_below(&rng, 4);
	for (int step = 0; step < 3000; step++) {
		struct item *item = &items[rng_below(&rng, MANY)];
		if (!item->there) {
			int k = (int)rng_below(&rng, TENANTS);
			item->there = true;
			item->number = added[k]++;
			add(t, item, k, weight[k]);
		} else if (item->turn.running) {
			running[item->tenant]--;
			total--;
			item->there = false;
			turns_leave(t, &item->turn);
		} else if (item->number + 1 ==
			   added[item->tenant]) { /* the newest changes its mind */
			added[item->tenant]--;
			item->there = false;
			turns_leave(t, &item->turn);
		}
		if (rng_below(&rng, 3) == 0)
			continue;
		int want = model_next(items, running, weight, TENANTS, slots, total);
		struct item *got = (struct item *)turns_next(t);
		ck_assert_int_eq(got != NULL, want >= 0);
		if (got == NULL)
			continue;
		/* One of those that have fewest, and its tenant's oldest. */
		ck_assert_int_eq(running[got->tenant] * weight[want],
				 running[want] * weight[got->tenant]);
		ck_assert_uint_eq(got->number, taken[got->tenant]++);
		running[got->tenant]++;
		ck_assert_uint_eq(turns_running(t), ++total);
	}
	turns_free(t);
}
END_TEST

START_TEST(nothing_is_left)
{
	struct turns *t = turns_new(4);
	struct item a = {0};
	turns_leave(t, &a.turn); /* never there */
	add(t, &a, 1, 0);
	turns_leave(t, &a.turn);
	turns_leave(t, &a.turn);
	ck_assert_uint_eq(turns_waiting(t), 0);
	add(t, &a, 1, 1);
	ck_assert_ptr_eq(turns_next(t), &a.turn);
	turns_leave(t, &a.turn);
	ck_assert_uint_eq(turns_running(t), 0);
	ck_assert_ptr_null(turns_next(t));
	turns_free(t);
	turns_free(NULL);
}
END_TEST

int main(void)
{
	TCase *c = tcase_create("turns");
	tcase_add_test(c, who_has_fewest_is_next);
	tcase_add_test(c, the_last_slots_are_for_a_newcomer);
	tcase_add_test(c, few_slots_are_all_used);
	tcase_add_test(c, weights_count);
	tcase_add_test(c, costs_count);
	tcase_add_test(c, behind_the_others);
	tcase_add_test(c, places_to_wait);
	tcase_add_loop_test(c, as_the_model_says, 0, 20);
	tcase_add_test(c, nothing_is_left);
	Suite *s = suite_create("turns");
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
