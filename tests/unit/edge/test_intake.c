/* Messages and bytes a second: what is above is read later. */
#include "common/rng.h"
#include "services/edge/intake.h"
#include "tests/unit/common/suite.h"

#define SECOND 1000000

static const struct intake_rates rates = {1000, 100000};

START_TEST(a_window_s_worth_at_once)
{
	struct intake in = {0};
	int64_t now = 7 * SECOND;

	for (int i = 0; i < 100; i++)
		ck_assert(!intake_count(&in, &rates, 1, 10, now));
	ck_assert(intake_count(&in, &rates, 1, 10, now));
	ck_assert_int_eq(in.until_us, now + 101000);
	/* What was read with it is still counted, once. */
	ck_assert(!intake_count(&in, &rates, 10, 10, now));
	ck_assert(!intake_resume(&in, now + 110999));
	ck_assert(intake_resume(&in, now + 111000));
	ck_assert(!intake_resume(&in, now + 111000));
	ck_assert(!intake_count(&in, &rates, 100, 10, now + 111000));
}
END_TEST

START_TEST(bytes_count_too)
{
	struct intake in = {0};

	ck_assert(!intake_count(&in, &rates, 1, 10000, SECOND));
	ck_assert(!intake_count(&in, &rates, 1, 10000, SECOND + 100000)); /* the next window */
	/* One large message: half a second. */
	ck_assert(intake_count(&in, &rates, 1, 50000, 3 * SECOND));
	ck_assert_int_eq(in.until_us, 3 * SECOND + 500000);
}
END_TEST

/* Who always sends as much as is read has his rate, whatever the sizes. */
START_TEST(the_rate_is_kept)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct intake in = {0};
		struct rng rng;
		int64_t bytes = 0, messages = 0, now = SECOND;

		rng_seed(&rng, seed);
		while (now < 21 * SECOND) {
			uint32_t n = 1 + (uint32_t)rng_below(&rng, 3000);

			if (in.until_us && !intake_resume(&in, now)) {
				now = in.until_us;
				continue;
			}
			bytes += n;
			messages++;
			intake_count(&in, &rates, 1, n, now);
			now += (int64_t)rng_below(&rng, 2000);
		}
		ck_assert_int_le(bytes, 21 * rates.bytes);
		ck_assert_int_ge(bytes, 19 * rates.bytes);
		ck_assert_int_le(messages, 21 * rates.messages);
	}
}
END_TEST

RUN_TESTS("edge: intake", a_window_s_worth_at_once, bytes_count_too, the_rate_is_kept)
