/* The windows: sizes, order, counts, and that a flood waits behind itself. */
#include <check.h>
#include <stdlib.h>

#include "common/rng.h"
#include "services/router/window.h"

enum { SLOT_TOKENS = 100 };

static int64_t tasks_of(int64_t slots, int64_t weight, int64_t weights, int64_t running)
{
	return window_size(slots, weight, weights, running, SLOT_TOKENS).tasks;
}

static struct window_size tasks(int64_t n)
{
	return (struct window_size){n, INT64_MAX};
}

START_TEST(sizes)
{
	ck_assert_int_eq(tasks_of(256, 1, 1, 1000), 512);
	ck_assert_int_eq(tasks_of(256, 1, 2, 1000), 256);
	ck_assert_int_eq(tasks_of(256, 3, 4, 1000), 384);
	ck_assert_int_eq(tasks_of(256, 1, 1, 100), 100); /* tasks_running */
	ck_assert_int_eq(tasks_of(4, 1, 100, 1000), 1);  /* never shut out */
	ck_assert_int_eq(tasks_of(0, 1, 1, 1000), 1);
	ck_assert_int_eq(tasks_of(256, 0, 0, 0), 1);
	ck_assert_int_eq(tasks_of(INT32_MAX, INT32_MAX, INT32_MAX, INT64_MAX),
			 2 * (int64_t)INT32_MAX);
	ck_assert_int_eq(window_size(256, 3, 4, 7, 100).tokens, 38400);
	ck_assert_int_eq(window_size(INT32_MAX, 1, 1, 7, INT64_MAX).tokens, INT64_MAX);
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
		ck_assert_int_eq(window_place(&w, tasks(4), 2), WINDOW_READY);
		window_send(&w, WINDOW_READY, 0);
		window_sent(&w, WINDOW_READY, 0, true);
	}
	ck_assert_int_eq(window_place(&w, tasks(4), 2), WINDOW_BACKLOG);
	window_send(&w, WINDOW_BACKLOG, 0);
	/* On its way already counts: the order in the tenant holds. */
	window_end(&w, 0);
	ck_assert_int_eq(window_place(&w, tasks(4), 2), WINDOW_BACKLOG);
	window_send(&w, WINDOW_BACKLOG, 0);
	ck_assert_int_eq(window_place(&w, tasks(4), 2), WINDOW_FULL);
	window_sent(&w, WINDOW_BACKLOG, 0, true);
	window_sent(&w, WINDOW_BACKLOG, 0, false);
	ck_assert_int_eq(w.waiting, 1);
	ck_assert_int_eq(window_place(&w, tasks(4), 2), WINDOW_BACKLOG);
}
END_TEST

START_TEST(unknown_counts)
{
	struct window w = {0};
	ck_assert_int_eq(window_place(&w, tasks(4), 0), WINDOW_BACKLOG);
	window_send(&w, WINDOW_BACKLOG, 0);
	window_ask(&w, 1);
	window_sent(&w, WINDOW_BACKLOG, 0, true);
	ck_assert_int_eq(window_credit(&w, tasks(4)), 0);
	window_told(&w, 3, 5);
	ck_assert_int_eq(w.waiting, 6);
	ck_assert_int_eq(window_credit(&w, tasks(4)), 1);
}
END_TEST

START_TEST(moves)
{
	struct window w = known();
	w.ready = 2;
	w.waiting = 10;
	ck_assert_int_eq(window_credit(&w, tasks(5)), 3);
	window_move(&w, 0);
	window_move(&w, 0);
	ck_assert_int_eq(window_credit(&w, tasks(5)), 1);
	window_moved(&w, 0, true, false);
	ck_assert_int_eq(w.ready, 3);
	ck_assert_int_eq(w.waiting, 9);
	ck_assert_int_eq(window_credit(&w, tasks(5)), 1);
	window_moved(&w, 0, false, false);
	ck_assert_int_eq(window_credit(&w, tasks(5)), 2);
	/* In TASKS already: leaves the backlog, takes no place. */
	window_move(&w, 0);
	window_moved(&w, 0, true, true);
	ck_assert_int_eq(w.ready, 3);
	ck_assert_int_eq(w.waiting, 8);
	/* More there than was counted. */
	w = known();
	window_move(&w, 0);
	ck_assert_int_eq(w.waiting, 1);
	window_moved(&w, 0, true, false);
	ck_assert_int_eq(w.waiting, 0);
	ck_assert(window_busy(&w));
	window_end(&w, 0);
	window_end(&w, 0);
	ck_assert(!window_busy(&w));
}
END_TEST

START_TEST(reconcile_corrects)
{
	struct window w = known();
	w.ready = 50; /* ends were lost */
	window_ask(&w, 1);
	window_send(&w, WINDOW_READY, 0);
	window_sent(&w, WINDOW_READY, 0, true);
	window_told(&w, 7, 0);
	ck_assert_int_eq(w.ready, 8);
	window_ask(&w, 1);
	window_told(&w, 8, 0);
	ck_assert_int_eq(w.ready, 8);
}
END_TEST

/* --- tokens ---------------------------------------------------------------------------------- */

static void make_ready(struct window *w, int64_t tokens)
{
	window_send(w, WINDOW_READY, tokens);
	window_sent(w, WINDOW_READY, tokens, true);
}

START_TEST(tokens_fill_the_window)
{
	struct window w = known();
	struct window_size size = {100, 1000};
	make_ready(&w, 600);
	ck_assert_int_eq(window_place(&w, size, 9), WINDOW_READY);
	make_ready(&w, 600); /* the last one may exceed it */
	ck_assert_int_eq(window_place(&w, size, 9), WINDOW_BACKLOG);
	window_end(&w, 600);
	ck_assert_int_eq(window_place(&w, size, 9), WINDOW_READY);
	/* One that is larger than everything runs alone. */
	w = known();
	ck_assert_int_eq(window_place(&w, size, 9), WINDOW_READY);
	make_ready(&w, 5000);
	w.waiting = 1;
	ck_assert_int_eq(window_credit(&w, size), 0);
	window_end(&w, 5000);
	ck_assert_int_eq(window_credit(&w, size), 1);
	/* What cannot be is bounded. */
	window_send(&w, WINDOW_READY, -5);
	window_send(&w, WINDOW_READY, INT64_MAX);
	ck_assert_int_eq(w.going_tokens, WINDOW_TOKENS_MAX);
}
END_TEST

START_TEST(credit_by_the_mean)
{
	struct window w = known();
	struct window_size size = {100, 1000};
	make_ready(&w, 300);
	w.waiting = 50;
	ck_assert_int_eq(window_credit(&w, size), 2);
	window_move(&w, 300);
	window_move(&w, 300);
	ck_assert_int_eq(window_credit(&w, size), 1); /* room for less than one: one */
	window_move(&w, 300);
	ck_assert_int_eq(window_credit(&w, size), 0);
	window_moved(&w, 300, true, true); /* was there already: gives its tokens back */
	ck_assert_int_eq(window_credit(&w, size), 1);
	window_moved(&w, 300, true, false);
	ck_assert_int_eq(w.ready_tokens, 600);
	ck_assert_int_eq(w.going_tokens, 300);
}
END_TEST

/* The streams count tickets: the tokens follow in proportion, and end with the last one. */
START_TEST(tokens_follow_the_counts)
{
	struct window w = known();
	for (int i = 0; i < 10; i++)
		make_ready(&w, 100);
	window_ask(&w, 1);
	window_told(&w, 5, 0);
	ck_assert_int_eq(w.ready_tokens, 500);
	window_told(&w, 7, 0);
	ck_assert_int_eq(w.ready_tokens, 700);
	for (int i = 0; i < 7; i++)
		window_end(&w, 90);
	ck_assert_int_eq(w.ready_tokens, 0);
	window_end(&w, 90);
	ck_assert_int_eq(w.ready_tokens, 0);
}
END_TEST

START_TEST(retry_after)
{
	struct window w = known();
	ck_assert_int_eq(window_retry_ms(&w), 1000); /* nothing is known yet */
	w = known();
	w.waiting = 100;
	window_ask(&w, 1000000);
	for (int i = 0; i < 4; i++) {
		window_move(&w, 0);
		window_moved(&w, 0, true, false);
	}
	window_ask(&w, 3000000); /* four in two seconds */
	ck_assert_int_eq(window_retry_ms(&w), 500);
	ck_assert_int_eq(window_retry_ms(&w), 1000); /* behind the first */
	for (int i = 0; i < 38; i++)
		window_retry_ms(&w);
	ck_assert_int_eq(window_retry_ms(&w), 20500);
	/* Who found a place waits for none any more. */
	window_send(&w, WINDOW_BACKLOG, 0);
	ck_assert_int_eq(window_retry_ms(&w), 20500);
	for (int i = 0; i < 1000; i++)
		window_retry_ms(&w);
	ck_assert_int_eq(window_retry_ms(&w), 60000);
	/* Nothing leaves at all. */
	w = known();
	window_ask(&w, 1);
	window_ask(&w, 2000001);
	ck_assert_int_eq(window_retry_ms(&w), 1000);
	for (int i = 0; i < 30; i++)
		window_retry_ms(&w);
	ck_assert_int_eq(window_retry_ms(&w), 10000);
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

static struct window_size size_of(const struct world *x)
{
	return window_size(SLOTS, 1, x->active, 1000, SLOT_TOKENS);
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
	window_send(w, place, 0);
	window_sent(w, place, 0, true);
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
			window_move(&x->w[t], 0);
			window_moved(&x->w[t], 0, true, false);
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
		window_end(&x->w[batch[i]], 0);
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
			place = window_place(&w, tasks(size), 50);
			if (place == WINDOW_FULL)
				break;
			ck_assert(place == WINDOW_BACKLOG || waiting + parking == 0);
			window_send(&w, place, 0);
			*(place == WINDOW_READY ? &sending : &parking) += 1;
			break;
		case 1:
			if (sending > 0) {
				bool ok = rng_below(&rng, 2);
				window_sent(&w, WINDOW_READY, 0, ok);
				sending--;
				ready += ok;
			}
			break;
		case 2:
			if (parking > 0) {
				bool ok = rng_below(&rng, 2);
				window_sent(&w, WINDOW_BACKLOG, 0, ok);
				parking--;
				waiting += ok;
			}
			break;
		case 3: {
			int64_t credit = window_credit(&w, tasks(size));
			ck_assert_int_ge(credit, 0);
			ck_assert_int_le(credit, waiting - moving);
			if (credit > 0) {
				ck_assert_int_lt(ready + sending + moving, size);
				window_move(&w, 0);
				moving++;
			}
			break;
		}
		case 4:
			if (moving > 0) {
				bool ok = rng_below(&rng, 4) > 0;
				window_moved(&w, 0, ok, false);
				moving--;
				waiting -= ok;
				ready += ok;
			}
			break;
		default:
			if (ready > 0) {
				window_end(&w, 0);
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
	tcase_add_test(c, tokens_fill_the_window);
	tcase_add_test(c, credit_by_the_mean);
	tcase_add_test(c, tokens_follow_the_counts);
	tcase_add_test(c, retry_after);
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
