/* The histogram against exact quantiles, and the frame scanner. */
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "tests/unit/common/suite.h"
#include "tools/load/client.h"
#include "tools/load/hist.h"

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

START_TEST(quantiles_are_within_the_buckets_error)
{
	enum { N = 20000 };
	static struct hist h;
	static int64_t values[N];
	static const double quantiles[] = {0, 0.25, 0.5, 0.9, 0.99, 0.999};
	struct rng rng;

	rng_seed(&rng, 7);
	memset(&h, 0, sizeof(h));
	for (int i = 0; i < N; i++) {
		values[i] = (int64_t)rng_below(&rng, UINT64_C(1) << rng_below(&rng, 32));
		hist_add(&h, values[i]);
	}
	qsort(values, N, sizeof(*values), by_value);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++) {
		int64_t exact = values[(int)(quantiles[i] * N)],
			got = hist_quantile(&h, quantiles[i]);

		ck_assert_int_ge(got, exact);
		ck_assert_int_le(got, exact + exact / 255 + 1);
	}
	ck_assert_int_eq(hist_quantile(&h, 1), values[N - 1]);
	ck_assert_uint_eq(h.n, N);
}
END_TEST

START_TEST(small_values_are_exact)
{
	static struct hist h;

	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 64; i++)
		hist_add(&h, i);
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(hist_quantile(&h, (double)i / 64 + 0.001), i);
}
END_TEST

START_TEST(extremes)
{
	static struct hist h;
	struct strbuf text = {0};

	memset(&h, 0, sizeof(h));
	ck_assert_int_eq(hist_quantile(&h, 0.5), 0);
	hist_write(&h, &text);
	ck_assert_str_eq(text.data, "null");
	hist_add(&h, -5);
	hist_add(&h, INT64_MAX);
	ck_assert_int_eq(hist_quantile(&h, 0), 0);
	ck_assert_int_eq(hist_quantile(&h, 1), INT64_MAX);
	strbuf_done(&text);
}
END_TEST

START_TEST(written_in_milliseconds)
{
	static struct hist h;
	struct strbuf text = {0};

	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 10; i++)
		hist_add(&h, 1500);
	hist_write(&h, &text);
	ck_assert_ptr_nonnull(strstr(text.data, "\"n\":10,\"mean\":1.500,\"p50\":1.500"));
	ck_assert_ptr_nonnull(strstr(text.data, "\"max\":1.500}"));
	strbuf_done(&text);
}
END_TEST

START_TEST(scan)
{
	static const char frame[] =
	    "{\"op\":\"accepted\",\"id\":42,\"event_id\":\"e-1\",\"offset\":7}";
	size_t len = sizeof(frame) - 1;
	char out[8];

	ck_assert_int_eq(scan_int(frame, len, "\"id\":"), 42);
	ck_assert_int_eq(scan_int(frame, len, "\"offset\":"), 7);
	ck_assert_int_eq(scan_int(frame, len, "\"none\":"), -1);
	ck_assert_int_eq(scan_int(frame, len - 2, "\"offset\":"),
			 0); /* cut off behind the colon: no digit is read */
	ck_assert(scan_text(frame, len, "\"event_id\":\"", out, sizeof(out)));
	ck_assert_str_eq(out, "e-1");
	ck_assert(!scan_text(frame, len, "\"op\":\"", out, sizeof(out))); /* does not fit */
	ck_assert(!scan_text(frame, 10, "\"op\":\"", out, sizeof(out)));  /* no closing quote */
	ck_assert(scan_has(frame, len, "accepted"));
	ck_assert(!scan_has(frame, 12, "accepted"));
}
END_TEST

RUN_TESTS("load", quantiles_are_within_the_buckets_error, small_values_are_exact, extremes,
	  written_in_milliseconds, scan)
