/* The windows: sizes, order, counts, and that a flood waits behind itself. */
#include <check.h>
#include <stdlib.h>

#include "common/rng.h"
#include "services/router/window.h"

START_TEST(sizes)
{
	ck_assert_int_eq(window_size(256, 1, 1, 1000), 512);
	ck_assert_int_eq(window_size(256, 1, 2, 1000), 256);
	ck_assert_int_eq(window_size(256, 3, 4, 1000), 384);
	ck_assert_int_eq(window_size(256, 1, 1, 100), 100); /* tasks_running */
	ck_assert_int_eq(window_size(4, 1, 100, 1000), 1);  /* never shut out */
	ck_assert_int_eq(window_size(0, 1, 1, 1000), 1);
	ck_assert_int_eq(window_size(256, 0, 0, 0), 1);
	ck_assert_int_eq(window_size(INT32_MAX, INT32_MAX, INT32_MAX, INT64_MAX),
			 2 * (int64_t)INT32_MAX);
}
END_TEST

static struct window known(void)
{
	return (struct window){.known = true};
}

START_TEST(places)
{
	struct window w = known();
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(window_place(&w, 4, 2), WINDOW_READY);
		window_send(&w, WINDOW_READY);
		window_sent(&w, WINDOW_READY, true);
	}
	ck_assert_int_eq(window_place(&w, 4, 2), WINDOW_BACKLOG);
	window_send(&w, WINDOW_BACKLOG);
	/* On its way already counts: the order in the tenant holds. */
	window_end(&w);
	ck_assert_int_eq(window_place(&w, 4, 2), WINDOW_BACKLOG);
	window_send(&w, WINDOW_BACKLOG);
	ck_assert_int_eq(window_place(&w, 4, 2), WINDOW_FULL);
	window_sent(&w, WINDOW_BACKLOG, true);
	window_sent(&w, WINDOW_BACKLOG, false);
	ck_assert_int_eq(w.waiting, 1);
	ck_assert_int_eq(window_place(&w, 4, 2), WINDOW_BACKLOG);
}
END_TEST

START_TEST(unknown_counts)
{
	struct window w = {0};
	ck_assert_int_eq(window_place(&w, 4, 0), WINDOW_BACKLOG);
	window_send(&w, WINDOW_BACKLOG);
	window_ask(&w);
	window_sent(&w, WINDOW_BACKLOG, true);
	ck_assert_int_eq(window_credit(&w, 4), 0);
	window_told(&w, 3, 5);
	ck_assert_int_eq(w.waiting, 6);
	ck_assert_int_eq(window_credit(&w, 4), 1);
}
END_TEST

START_TEST(moves)
{
	struct window w = known();
	w.ready = 2;
	w.waiting = 10;
	ck_assert_int_eq(window_credit(&w, 5), 3);
	window_move(&w);
	window_move(&w);
	ck_assert_int_eq(window_credit(&w, 5), 1);
	window_moved(&w, true, false);
	ck_assert_int_eq(w.ready, 3);
	ck_assert_int_eq(w.waiting, 9);
	ck_assert_int_eq(window_credit(&w, 5), 1);
	window_moved(&w, false, false);
	ck_assert_int_eq(window_credit(&w, 5), 2);
	/* In TASKS already: leaves the backlog, takes no place. */
	window_move(&w);
	window_moved(&w, true, true);
	ck_assert_int_eq(w.ready, 3);
	ck_assert_int_eq(w.waiting, 8);
	/* More there than was counted. */
	w = known();
	window_move(&w);
	ck_assert_int_eq(w.waiting, 1);
	window_moved(&w, true, false);
	ck_assert_int_eq(w.waiting, 0);
	ck_assert(window_busy(&w));
	window_end(&w);
	window_end(&w);
	ck_assert(!window_busy(&w));
}
END_TEST

START_TEST(reconcile_corrects)
{
	struct window w = known();
	w.ready = 50; /* ends were lost */
	window_ask(&w);
	window_send(&w, WINDOW_READY);
	window_sent(&w, WINDOW_READY, true);
	window_told(&w, 7, 0);
	ck_assert_int_eq(w.ready, 8);
	window_ask(&w);
	window_told(&w, 8, 0);
	ck_assert_int_eq(w.ready, 8);
}
END_TEST

/* --- a small world: two tenants, one FIFO ready queue, `SLOTS` workers ----------------------- */

enum { SLOTS = 8, FLOOD = 5000, QUEUE = 8192 };

struct world {
	struct window w[2];
	int queue[QUEUE], head, tail;
	int running[2];
	int backlog[2];
	int active;
};

static int64_t size_of(const struct world *x)
{
	return window_size(SLOTS, 1, x->active, 1000);
}

static void count_active(struct world *x)
{
	x->active = window_busy(&x->w[0]) + window_busy(&x->w[1]);
	if (x->active == 0)
		x->active = 1;
}

static void submit(struct world *x, int tenant)
{
	struct window *w = &x->w[tenant];
	/* As the router: a tenant that has nothing yet counts as active when it comes. */
	bool fresh = !window_busy(w);
	x->active += fresh;
	enum window_place place = window_place(w, size_of(x), 100000);
	window_send(w, place);
	window_sent(w, place, true);
	if (place == WINDOW_READY)
		x->queue[x->tail++ % QUEUE] = tenant;
	else
		x->backlog[tenant]++;
	count_active(x);
}

static void move(struct world *x)
{
	for (int t = 0; t < 2; t++)
		for (int64_t n = window_credit(&x->w[t], size_of(x)); n > 0; n--) {
			ck_assert_int_gt(x->backlog[t], 0);
			x->backlog[t]--;
			window_move(&x->w[t]);
			window_moved(&x->w[t], true, false);
			x->queue[x->tail++ % QUEUE] = t;
		}
}

/* Every worker takes one task from the queue's front and ends it; the ends let others in. */
static void step(struct world *x, int done[2])
{
	int batch[SLOTS], n = 0;
	while (n < SLOTS && x->head < x->tail)
		batch[n++] = x->queue[x->head++ % QUEUE];
	for (int i = 0; i < n; i++) {
		done[batch[i]]++;
		window_end(&x->w[batch[i]]);
	}
	count_active(x);
	move(x);
}

START_TEST(flood_waits_behind_itself)
{
	struct world x = {.w = {known(), known()}, .active = 1};
	int done[2] = {0, 0};
	for (int i = 0; i < FLOOD; i++)
		submit(&x, 0);
	/* The ready queue is twice the slots deep, not 5,000. */
	ck_assert_int_eq(x.tail - x.head, 2 * SLOTS);
	for (int round = 0; round < 200; round++) {
		int before = done[1];
		submit(&x, 1);
		int steps = 0;
		while (done[1] == before) {
			step(&x, done);
			steps++;
		}
		/* Never more than the two full rounds that were ahead of it, plus its own. */
		ck_assert_int_le(steps, 3);
		/* And nobody's slots stand idle. */
		ck_assert_int_ge(x.tail - x.head, SLOTS);
	}
	ck_assert_int_eq(done[1], 200);
}
END_TEST

START_TEST(both_flood_both_get_half)
{
	struct world x = {.w = {known(), known()}, .active = 1};
	int done[2] = {0, 0};
	for (int i = 0; i < FLOOD; i++)
		submit(&x, 0);
	for (int i = 0; i < FLOOD / 10; i++)
		submit(&x, 1);
	for (int i = 0; i < 100; i++)
		step(&x, done);
	ck_assert_int_ge(done[1], 100 * SLOTS * 4 / 10);
	ck_assert_int_ge(done[0], 100 * SLOTS * 4 / 10);
}
END_TEST

/* Whatever happens in whatever order: no count below zero, no more moved than fits, all ends at
 * zero. */
START_TEST(random_walk)
{
	struct rng rng;
	rng_seed(&rng, (uint64_t)_i + 1);
	struct window w = known();
	int64_t sending = 0, parking = 0, moving = 0, ready = 0, waiting = 0;
	for (int i = 0; i < 20000; i++) {
		int64_t size = 1 + (int64_t)rng_below(&rng, 20);
		enum window_place place;
		switch (rng_below(&rng, 6)) {
		case 0:
			place = window_place(&w, size, 50);
			if (place == WINDOW_FULL)
				break;
			ck_assert(place == WINDOW_BACKLOG || waiting + parking == 0);
			window_send(&w, place);
			*(place == WINDOW_READY ? &sending : &parking) += 1;
			break;
		case 1:
			if (sending > 0) {
				bool ok = rng_below(&rng, 2);
				window_sent(&w, WINDOW_READY, ok);
				sending--;
				ready += ok;
			}
			break;
		case 2:
			if (parking > 0) {
				bool ok = rng_below(&rng, 2);
				window_sent(&w, WINDOW_BACKLOG, ok);
				parking--;
				waiting += ok;
			}
			break;
		case 3: {
			int64_t credit = window_credit(&w, size);
			ck_assert_int_ge(credit, 0);
			ck_assert_int_le(credit, waiting - moving);
			if (credit > 0) {
				ck_assert_int_lt(ready + sending + moving, size);
				window_move(&w);
				moving++;
			}
			break;
		}
		case 4:
			if (moving > 0) {
				bool ok = rng_below(&rng, 4) > 0;
				window_moved(&w, ok, false);
				moving--;
				waiting -= ok;
				ready += ok;
			}
			break;
		default:
			if (ready > 0) {
				window_end(&w);
				ready--;
			}
			break;
		}
		ck_assert_int_eq(w.ready, ready);
		ck_assert_int_eq(w.waiting, waiting);
		ck_assert_int_eq(w.moving, moving);
		ck_assert_int_eq(window_busy(&w), ready + waiting + sending + parking + moving > 0);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("window");
	TCase *c = tcase_create("window");
	tcase_add_test(c, sizes);
	tcase_add_test(c, places);
	tcase_add_test(c, unknown_counts);
	tcase_add_test(c, moves);
	tcase_add_test(c, reconcile_corrects);
	tcase_add_test(c, flood_waits_behind_itself);
	tcase_add_test(c, both_flood_both_get_half);
	tcase_add_loop_test(c, random_walk, 0, 10);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
