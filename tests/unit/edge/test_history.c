/* Holes, repeats, wrong order, and live items while the log is read: each durable event once and in
 * order. */
#include "common/rng.h"
#include "services/edge/history.h"
#include "tests/unit/common/suite.h"

static struct history_item item(uint64_t offset, uint64_t prev)
{
	return (struct history_item){.item = NULL, .offset = offset, .prev = prev, .bytes = 10};
}

static void hold(struct history *h, uint64_t offset, uint64_t prev)
{
	struct history_item it = item(offset, prev), out;

	ck_assert(!history_hold(h, &it, &out));
}

static void delivers(struct history *h, uint64_t offset)
{
	struct history_item out;

	ck_assert_int_eq(history_next(h, &out), HISTORY_DELIVER);
	ck_assert_uint_eq(out.offset, offset);
}

static void says(struct history *h, enum history_next what)
{
	struct history_item out;

	ck_assert_int_eq(history_next(h, &out), what);
}

START_TEST(level_from_the_start)
{
	struct history h;

	history_init(&h, 5, 5, 10, 1000);
	says(&h, HISTORY_LIVE);
	hold(&h, 6, 5);
	delivers(&h, 6);
	hold(&h, 6, 5);
	says(&h, HISTORY_SKIP);
	hold(&h, 3, 2);
	says(&h, HISTORY_SKIP);
	says(&h, HISTORY_LIVE);
	ck_assert_uint_eq(h.pos, 6);
	history_done(&h);
}
END_TEST

START_TEST(reads_up_to_the_target)
{
	struct history h;

	history_init(&h, 2, 9, 10, 1000);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 9);
	says(&h, HISTORY_WAIT);
	ck_assert(history_page(&h, 4));
	ck_assert(!history_page(&h, 4));
	ck_assert(!history_page(&h, 1));
	history_fetched(&h, true);
	says(&h, HISTORY_FETCH);
	ck_assert(history_page(&h, 7));
	history_fetched(&h, false);
	/* The log ends at 7: 8 and 9 are gone, the position moves over them. */
	ck_assert_uint_eq(h.pos, 9);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(fills_a_hole)
{
	struct history h;

	history_init(&h, 5, 5, 10, 1000);
	hold(&h, 9, 7);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 7);
	hold(&h, 12, 9); /* live goes on while the log is read */
	says(&h, HISTORY_WAIT);
	ck_assert(history_page(&h, 7));
	history_fetched(&h, false);
	delivers(&h, 9);
	delivers(&h, 12);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(asks_again_after_a_failure)
{
	struct history h;

	history_init(&h, 0, 3, 10, 1000);
	says(&h, HISTORY_FETCH);
	history_failed(&h);
	ck_assert_uint_eq(h.pos, 0);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 3);
	history_fetched(&h, false);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(repairs_wrong_order)
{
	struct history h;

	history_init(&h, 1, 1, 10, 1000);
	hold(&h, 3, 2);
	hold(&h, 2, 1);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 2);
	ck_assert(history_page(&h, 2));
	history_fetched(&h, false);
	delivers(&h, 3);
	says(&h, HISTORY_SKIP); /* 2, late */
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(ephemeral_keeps_its_place)
{
	struct history h;

	history_init(&h, 1, 4, 10, 1000);
	hold(&h, 0, 0);
	says(&h, HISTORY_FETCH); /* 2 to 4 came before it */
	ck_assert(history_page(&h, 4));
	history_fetched(&h, false);
	delivers(&h, 0);
	says(&h, HISTORY_LIVE);
	ck_assert_uint_eq(h.pos, 4);
	history_done(&h);
}
END_TEST

START_TEST(full_ring_lets_the_oldest_go)
{
	struct history h;
	struct history_item it, out;

	history_init(&h, 0, 1, 2, 1000);
	says(&h, HISTORY_FETCH);
	hold(&h, 2, 1);
	hold(&h, 3, 2);
	it = item(4, 3);
	ck_assert(history_hold(&h, &it, &out));
	ck_assert_uint_eq(out.offset, 2);
	ck_assert(!history_hold(&h, NULL, &out));
	ck_assert_uint_eq(h.dropped, 1);
	history_page(&h, 1);
	history_fetched(&h, false);
	/* 2 is read from the log instead. */
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 2);
	ck_assert(history_page(&h, 2));
	history_fetched(&h, false);
	delivers(&h, 3);
	delivers(&h, 4);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(bytes_are_bounded_too)
{
	struct history h;
	struct history_item big = {.offset = 2, .prev = 1, .bytes = 200}, out;

	history_init(&h, 1, 1, 100, 100);
	ck_assert(history_hold(&h, &big, &out)); /* larger than all room: the log has it */
	ck_assert_uint_eq(out.offset, 2);
	ck_assert(!history_hold(&h, NULL, &out));
	ck_assert_uint_eq(h.bytes, 0);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 2);
	ck_assert(history_page(&h, 2));
	history_fetched(&h, false);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

/* A log of 200 events at rising offsets; live delivery loses, repeats and reorders; pages fail.
 * Whoever stands at 0 sees each event once, in order, and is level in the end. */
static void one_run(uint64_t seed)
{
	enum { N = 200 };
	uint64_t log[N + 1] = {0}, expect = 0;
	struct history h;
	struct rng rng;
	unsigned published = 0, idle = 0;

	rng_seed(&rng, seed);
	for (unsigned i = 1; i <= N; i++)
		log[i] = log[i - 1] + 1 + rng_below(&rng, 3);
	history_init(&h, 0, 0, 4, 1000);
	while (idle < 2 || expect < N) {
		struct history_item out;

		if (published < N && rng_below(&rng, 2)) {
			unsigned i = ++published;

			if (rng_below(&rng, 4) == 0 && i > 1 && i < N)
				i -= 1; /* an old one again, and this one is lost */
			struct history_item it = item(log[i], log[i - 1]);

			for (bool more = history_hold(&h, &it, &out); more;)
				more = history_hold(&h, NULL, &out);
		}
		switch (history_next(&h, &out)) {
		case HISTORY_DELIVER:
			ck_assert_uint_eq(out.offset, log[expect + 1]);
			expect++;
			break;
		case HISTORY_SKIP:
			ck_assert_uint_le(out.offset, log[expect]);
			break;
		case HISTORY_FETCH:
			break;
		case HISTORY_WAIT:
			if (rng_below(&rng, 4) == 0) {
				history_failed(&h);
				break;
			}
			{
				unsigned n = 0;
				bool more = false;

				for (unsigned i = 1; i <= published; i++) {
					if (log[i] <= h.pos || log[i] > h.until)
						continue;
					if (n++ == 3) {
						more = true;
						break;
					}
					ck_assert(history_page(&h, log[i]));
					ck_assert_uint_eq(log[i], log[expect + 1]);
					expect++;
				}
				history_fetched(&h, more);
			}
			break;
		case HISTORY_LIVE:
			idle = published == N ? idle + 1 : 0;
			break;
		}
		ck_assert_uint_lt(idle, 100);
	}
	ck_assert_uint_eq(h.pos, log[N]);
	history_done(&h);
}

START_TEST(random_runs)
{
	for (uint64_t seed = 1; seed <= 500; seed++)
		one_run(seed);
}
END_TEST

START_TEST(what_must_have_been_there_is_told)
{
	struct history h;

	history_init(&h, 5, 5, 10, 1000);
	hold(&h, 9, 8);
	says(&h, HISTORY_FETCH);
	ck_assert(h.exact);
	ck_assert(history_page(&h, 6));
	ck_assert_uint_eq(history_fetched(&h, true), 0);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(history_fetched(&h, false), 7); /* 8 is gone, perhaps 7, too */
	ck_assert_uint_eq(h.pos, 8);
	delivers(&h, 9);
	/* Of a forgotten item it is known as well. */
	history_forget(&h, 12);
	says(&h, HISTORY_FETCH);
	ck_assert(h.exact);
	ck_assert_uint_eq(history_fetched(&h, false), 10);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(what_was_only_a_position_is_not)
{
	struct history h;
	struct history_item it = {.offset = 12, .prev = 11, .bytes = 10, .guess = true}, out;

	history_init(&h, 5, 9, 10, 1000);
	says(&h, HISTORY_FETCH);
	ck_assert(!h.exact);
	ck_assert_uint_eq(history_fetched(&h, false), 0);
	ck_assert(!history_hold(&h, &it, &out));
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 11);
	ck_assert_uint_eq(history_fetched(&h, false), 0);
	delivers(&h, 12);
	history_done(&h);
}
END_TEST

START_TEST(nothing_is_kept_up_to_there)
{
	struct history h;

	history_init(&h, 5, 9, 10, 1000);
	says(&h, HISTORY_FETCH);
	ck_assert(!history_lost(&h, 5));
	ck_assert(history_lost(&h, 7));
	ck_assert(!history_page(&h, 7));
	ck_assert(history_page(&h, 8));
	ck_assert_uint_eq(history_fetched(&h, false), 0);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

START_TEST(patience_ends)
{
	struct history h;

	history_init(&h, 5, 9, 10, 1000);
	hold(&h, 20, 15);
	says(&h, HISTORY_FETCH);
	ck_assert_uint_eq(h.until, 15);
	ck_assert(!history_unreadable(&h, 8, 1000, 500));
	says(&h, HISTORY_FETCH);
	ck_assert(!history_unreadable(&h, 8, 1499, 500));
	says(&h, HISTORY_FETCH);
	ck_assert(history_unreadable(&h, 8, 1500, 500));
	ck_assert_uint_eq(h.pos, 8);
	/* Behind that it can be read; afterwards the patience is new. */
	says(&h, HISTORY_FETCH);
	ck_assert(history_page(&h, 9));
	ck_assert_uint_eq(history_fetched(&h, true), 0);
	says(&h, HISTORY_FETCH);
	ck_assert(!history_unreadable(&h, 0, 5000, 500));
	says(&h, HISTORY_FETCH);
	ck_assert(history_unreadable(&h, 0, 5500, 500));
	ck_assert_uint_eq(h.pos, 15);
	delivers(&h, 20);
	says(&h, HISTORY_LIVE);
	history_done(&h);
}
END_TEST

RUN_TESTS("edge: history", what_must_have_been_there_is_told, what_was_only_a_position_is_not,
	  nothing_is_kept_up_to_there, patience_ends, level_from_the_start, reads_up_to_the_target,
	  fills_a_hole, asks_again_after_a_failure, repairs_wrong_order, ephemeral_keeps_its_place,
	  full_ring_lets_the_oldest_go, bytes_are_bounded_too, random_runs)
