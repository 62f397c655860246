/* Knobs in their three spellings, and the sliding minute that limits are held against. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/rng.h"
#include "tests/unit/common/suite.h"
#include "tools/modelsim/knobs.h"
#include "tools/modelsim/stats.h"

static struct knobs from_json(const char *text, int want)
{
	struct knobs k = knobs_default;
	struct error err;
	json_t *doc = json_parse(text, strlen(text), &err);

	ck_assert_ptr_nonnull(doc);
	ck_assert_int_eq(knobs_json(&k, doc, &err), want);
	json_decref(doc);
	return k;
}

START_TEST(as_text)
{
	struct knobs k = knobs_default;
	struct error err;

	ck_assert_int_eq(knobs_parse(&k, "token_ms=5, fail=502;hang=0.5 cut=3", &err), 0);
	ck_assert(k.token_ms == 5 && k.fail_rate == 1 && k.fail_status == 502 &&
		  k.fail_count == -1);
	ck_assert(k.hang_rate == 0.5 && k.cut_rate == 1 && k.cut_after == 3);
	ck_assert_int_eq(knobs_parse(&k, "fail=0", &err), 0);
	ck_assert(k.fail_rate == 0);
	ck_assert_int_eq(knobs_parse(&k, "", &err), 0);
	ck_assert_int_eq(knobs_parse(&k, "nosuch=1", &err), -1);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	ck_assert_int_eq(knobs_parse(&k, "token_ms", &err), -1);
	ck_assert_int_eq(knobs_parse(&k, "token_ms=x", &err), -1);
	ck_assert_int_eq(knobs_parse(&k, "token_ms=nan", &err), -1);
	ck_assert_int_eq(knobs_parse(&k, "rpm=1e30", &err), -1);
	ck_assert_int_eq(knobs_parse(&k, "=1", &err), -1);
}
END_TEST

START_TEST(as_json)
{
	struct knobs k =
	    from_json("{\"model\":\"m\",\"rpm\":60,\"fail\":{\"status\":500,\"count\":2}}", 0);

	ck_assert(k.rpm == 60 && k.fail_rate == 1 && k.fail_status == 500 && k.fail_count == 2);
	k = from_json("{\"hang\":true,\"cut\":{\"after\":4,\"rate\":0.25},\"fail\":null}", 0);
	ck_assert(k.hang_rate == 1 && k.cut_after == 4 && k.cut_rate == 0.25 && k.fail_rate == 0);
	from_json("{\"fail\":\"x\"}", -1);
	from_json("{\"fail\":{\"nosuch\":1}}", -1);
	from_json("{\"rpm\":\"many\"}", -1);
	/* What is refused changes nothing. */
	k = from_json("{\"rpm\":5,\"nosuch\":1}", -1);
	ck_assert(k.rpm == 0);
}
END_TEST

/* Against a plain list of all that happened. */
START_TEST(minute_against_a_list)
{
	enum { N = 5000 };
	static int64_t at[N], n[N];
	struct minute m = {0};
	struct rng rng;
	int64_t now = 0, peak = 0;

	rng_seed(&rng, 11);
	for (int i = 0; i < N; i++) {
		int64_t sum = 0;

		now += (int64_t)rng_below(&rng, 400000);
		at[i] = now;
		n[i] = (int64_t)rng_below(&rng, 10);
		minute_add(&m, now, n[i]);
		for (int j = 0; j <= i; j++)
			sum += at[j] > now - MINUTE_US ? n[j] : 0;
		ck_assert_int_eq(minute_sum(&m, now), sum);
		if (sum > peak)
			peak = sum;
		if (rng_below(&rng, 50) == 0)
			now += MINUTE_US;
	}
	ck_assert_int_eq(m.peak, peak);
	ck_assert_int_eq(minute_sum(&m, now + 2 * MINUTE_US), 0);
	minute_done(&m);
}
END_TEST

/* Who waits exactly as long as he was told gets in, and a microsecond earlier does not. */
START_TEST(wait_is_exact)
{
	struct minute m = {0};
	int64_t wait;

	for (int i = 0; i < 10; i++)
		minute_add(&m, i * 1000, 1);
	wait = minute_wait_us(&m, 20000, 3, 10);
	ck_assert_int_eq(minute_sum(&m, 20000 + wait - 1) + 3, 11);
	ck_assert_int_eq(minute_sum(&m, 20000 + wait) + 3, 10);
	minute_done(&m);
}
END_TEST

START_TEST(keys)
{
	struct stats s;
	struct strbuf text = {0};

	stats_init(&s);
	stats_key(&s, "a");
	stats_key(&s, "a");
	stats_key(&s, "b");
	stats_key(&s, "a");
	ck_assert_int_eq(s.keys_repeated, 1);
	stats_write(&s, 0, false, &text);
	ck_assert_ptr_nonnull(strstr(text.data, "\"idempotency_keys\":{\"a\":3}"));
	s.concurrent = 4;
	stats_reset(&s);
	ck_assert_int_eq(s.concurrent, 4); /* what runs goes on */
	ck_assert_int_eq(s.keys_repeated, 0);
	stats_done(&s);
	strbuf_done(&text);
}
END_TEST

RUN_TESTS("knobs", as_text, as_json, minute_against_a_list, wait_is_exact, keys)
