/* Random numbers and identities. */
#include <string.h>

#include "common/ids.h"
#include "common/rng.h"
#include "suite.h"

START_TEST(rng_repeats_from_its_seed)
{
	struct rng a, b, c;

	rng_seed(&a, 42);
	rng_seed(&b, 42);
	rng_seed(&c, 43);
	for (int i = 0; i < 100; i++) {
		uint64_t v = rng_next(&a);

		ck_assert_uint_eq(v, rng_next(&b));
		ck_assert_uint_ne(v, rng_next(&c));
	}
	rng_seed_os(&a);
	rng_seed_os(&b);
	ck_assert_uint_ne(rng_next(&a), rng_next(&b));
}
END_TEST

/* The reference implementation's first outputs for the state {1, 2, 3, 4}. */
START_TEST(rng_is_xoshiro256ss)
{
	struct rng rng = {{1, 2, 3, 4}};

	ck_assert_uint_eq(rng_next(&rng), 11520);
	ck_assert_uint_eq(rng_next(&rng), 0);
	ck_assert_uint_eq(rng_next(&rng), 1509978240);
	ck_assert_uint_eq(rng_next(&rng), UINT64_C(1215971899390074240));
}
END_TEST

START_TEST(rng_below_is_uniform)
{
	struct rng rng;
	int count[10] = {0};

	rng_seed(&rng, 1);
	for (int i = 0; i < 100000; i++) {
		uint64_t v = rng_below(&rng, 10);

		ck_assert_uint_lt(v, 10);
		count[v]++;
	}
	for (int i = 0; i < 10; i++) /* 5 standard deviations of a binomial around 10,000 */
		ck_assert_int_lt(abs(count[i] - 10000), 475);
	for (int i = 0; i < 100; i++) {
		ck_assert_uint_eq(rng_below(&rng, 1), 0);
		ck_assert_uint_lt(rng_below(&rng, UINT64_C(3) << 62), UINT64_C(3) << 62);
	}
}
END_TEST

START_TEST(rng_unit_stays_below_one)
{
	struct rng rng;
	double sum = 0;

	rng_seed(&rng, 2);
	for (int i = 0; i < 100000; i++) {
		double v = rng_unit(&rng);

		ck_assert(v >= 0 && v < 1);
		sum += v;
	}
	ck_assert_double_eq_tol(sum / 100000, 0.5, 0.005);
}
END_TEST

START_TEST(backoff_doubles_up_to_its_cap)
{
	struct rng rng;
	int64_t most[8] = {0};

	rng_seed(&rng, 3);
	for (int attempt = 1; attempt < 8; attempt++) {
		for (int i = 0; i < 5000; i++) {
			int64_t v = backoff_full_jitter(&rng, attempt, 100, 2.0, 1000);

			ck_assert_int_ge(v, 0);
			if (v > most[attempt])
				most[attempt] = v;
		}
	}
	ck_assert_int_le(most[1], 100);
	ck_assert_int_gt(most[1], 90);
	ck_assert_int_le(most[2], 200);
	ck_assert_int_gt(most[2], 180);
	ck_assert_int_le(most[7], 1000);
	ck_assert_int_gt(most[7], 900);
}
END_TEST

START_TEST(backoff_survives_odd_arguments)
{
	struct rng rng;

	rng_seed(&rng, 4);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_le(backoff_full_jitter(&rng, 2000000000, 1, 10.0, 50), 50);
		ck_assert_int_ge(backoff_full_jitter(&rng, 500, 1, 1e9, INT64_MAX / 2), 0);
		ck_assert_int_le(backoff_full_jitter(&rng, 0, 7, 2.0, 50), 7);
		ck_assert_int_le(backoff_full_jitter(&rng, 9, 7, 0.5, 50), 7);
	}
	ck_assert_int_eq(backoff_full_jitter(&rng, 3, 0, 2.0, 50), 0);
	ck_assert_int_eq(backoff_full_jitter(&rng, 3, 10, 2.0, 0), 0);
}
END_TEST

START_TEST(new_ids_are_version_7_and_in_order)
{
	struct rng rng;
	struct id before = {{0}};

	rng_seed(&rng, 5);
	for (int64_t ms = 1; ms < 1000; ms++) {
		struct id id = id_new(&rng, INT64_C(1700000000000000) + ms * 1000);

		ck_assert(id_valid(id.text));
		ck_assert_int_eq(id.text[14], '7');
		ck_assert_ptr_nonnull(strchr("89ab", id.text[19]));
		ck_assert_int_lt(strcmp(before.text, id.text), 0);
		before = id;
	}
	/* 0x18bcfe568ff = 1,700,000,000,255 ms */
	before = id_new(&rng, INT64_C(1700000000255999));
	ck_assert_int_eq(strncmp(before.text, "018bcfe5-68ff-7", 15), 0);
}
END_TEST

START_TEST(derived_ids_depend_on_every_part)
{
	struct id id = id_derive("acme", "event", "k1");
	struct id again = id_derive("acme", "event", "k1");

	ck_assert(id_valid(id.text));
	ck_assert_str_eq(id.text, again.text);
	ck_assert_str_ne(id.text, id_derive("acme", "task", "k1").text);
	ck_assert_str_ne(id.text, id_derive("acme", "event", "k2").text);
	ck_assert_str_ne(id.text, id_derive("acm", "eevent", "k1").text);
	ck_assert_str_ne(id_derive("a", "b", "").text, id_derive("a", "", "b").text);
	/* printf 'acme\0event\0k1' | sha256sum, with version and variant put in */
	ck_assert_str_eq(id.text, "1acb3ae5-822b-8855-adbd-52ad18e6b1b4");
}
END_TEST

START_TEST(ids_are_recognised)
{
	ck_assert(id_valid("018bcfe5-68ff-7abc-8def-0123456789ab"));
	ck_assert(!id_valid(NULL));
	ck_assert(!id_valid(""));
	ck_assert(!id_valid("018bcfe5-68ff-7abc-8def-0123456789a"));
	ck_assert(!id_valid("018bcfe5-68ff-7abc-8def-0123456789abc"));
	ck_assert(!id_valid("018BCFE5-68ff-7abc-8def-0123456789ab"));
	ck_assert(!id_valid("018bcfe5068ff-7abc-8def-0123456789ab"));
	ck_assert(!id_valid("018bcfe5-68ff-7abc-8def-0123456789ag"));
}
END_TEST

START_TEST(digest_sees_where_parts_end)
{
	struct digest_part ab_c[] = {{"ab", 2}, {"c", 1}};
	struct digest_part a_bc[] = {{"a", 1}, {"bc", 2}};
	struct digest_part abc[] = {{"abc", 3}};
	struct digest_part empty[] = {{NULL, 0}};

	ck_assert_uint_eq(digest64(ab_c, 2), digest64(ab_c, 2));
	ck_assert_uint_ne(digest64(ab_c, 2), digest64(a_bc, 2));
	ck_assert_uint_ne(digest64(ab_c, 2), digest64(abc, 1));
	ck_assert_uint_ne(digest64(empty, 1), digest64(empty, 0));
}
END_TEST

START_TEST(sha256_of_the_standard)
{
	char hex[65];

	sha256_hex("abc", 3, hex); /* FIPS 180-4's example */
	ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256_hex("", 0, hex);
	ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(secrets_have_their_length_and_alphabet)
{
	char a[64], b[64];

	for (size_t n = 1; n <= 40; n++) {
		secret_random(n, a);
		ck_assert_uint_eq(strlen(a), (n * 8 + 5) / 6);
		ck_assert_uint_eq(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					    "0123456789-_"),
				  strlen(a));
	}
	secret_random(32, a);
	secret_random(32, b);
	ck_assert_str_ne(a, b);
	ck_assert(!secret_equal(a, b));
	ck_assert(secret_equal(a, a));
	ck_assert(!secret_equal("abc", "abcd"));
	ck_assert(!secret_equal("abcd", "abc"));
	ck_assert(secret_equal("", ""));
}
END_TEST

START_TEST(trace_headers_are_recognised)
{
	ck_assert(trace_valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
	ck_assert(trace_valid("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
	ck_assert(!trace_valid(NULL));
	ck_assert(!trace_valid(""));
	ck_assert(!trace_valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"));
	ck_assert(!trace_valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011"));
	ck_assert(!trace_valid("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
	ck_assert(!trace_valid("00-00000000000000000000000000000000-b7ad6b7169203331-01"));
	ck_assert(!trace_valid("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"));
	ck_assert(!trace_valid("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
	ck_assert(!trace_valid("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
	ck_assert(!trace_valid("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g"));
}
END_TEST

START_TEST(trace_children_keep_the_trace)
{
	static const char parent[] = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	char a[TRACE_LEN + 1], b[TRACE_LEN + 1];
	struct rng rng;

	rng_seed(&rng, 6);
	trace_child(&rng, parent, a);
	ck_assert(trace_valid(a));
	ck_assert_mem_eq(a, "00-0af7651916cd43dd8448eb211c80319c-", 36);
	ck_assert_mem_ne(a + 36, parent + 36, 16);
	ck_assert_str_eq(a + 52, "-01");
	trace_child(&rng, "nonsense", b);
	ck_assert(trace_valid(b));
	trace_child(&rng, NULL, a);
	ck_assert(trace_valid(a));
	ck_assert_mem_ne(a + 3, b + 3, 32);
	memcpy(b, a, sizeof(b));
	trace_child(&rng, b, b);
	ck_assert(trace_valid(b));
	ck_assert_mem_eq(a, b, 36);
	ck_assert_mem_ne(a + 36, b + 36, 16);
}
END_TEST

START_TEST(times_are_rfc_3339)
{
	static const struct {
		int64_t us;
		const char *text;
	} cases[] = {
	    {0, "1970-01-01T00:00:00.000000Z"},
	    {-1, "1969-12-31T23:59:59.999999Z"},
	    {INT64_C(951782399999999), "2000-02-28T23:59:59.999999Z"},
	    {INT64_C(951782400000000), "2000-02-29T00:00:00.000000Z"},
	    {INT64_C(951868800000000), "2000-03-01T00:00:00.000000Z"},
	    {INT64_C(1795492092123456), "2026-11-24T03:48:12.123456Z"},
	    {INT64_C(4107542400000000), "2100-03-01T00:00:00.000000Z"},
	    {INT64_C(253402300799000001), "9999-12-31T23:59:59.000001Z"},
	};
	char out[TIME_LEN + 1];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		time_format(cases[i].us, out);
		ck_assert_str_eq(out, cases[i].text);
	}
}
END_TEST

START_TEST(times_are_read)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"1970-01-01T00:00:00.000001Z", 1},
	    {"2000-02-29T12:00:00Z", 951825600000000LL},
	    {"2026-11-24T04:00:00+00:00", 1795492800000000LL},
	    {"2026-11-24t05:30:00.123456789+01:30", 1795492800000000LL + 123456},
	    {"2026-11-23T20:00:00-08:00", 1795492800000000LL},
	    {"1969-12-31T23:59:59Z", -1000000},
	};
	static const char *const bad[] = {"",
					  "2026-11-24",
					  "2026-11-24T04:00:00",
					  "2026-13-01T00:00:00Z",
					  "2026-02-29T00:00:00Z",
					  "2026-11-24T24:00:00Z",
					  "2026-11-24T04:00:00.Z",
					  "2026-11-24T04:00:00Zx",
					  "2026-11-24T04:00:00+1:00",
					  "26-11-24T04:00:00Z"};
	int64_t us;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ck_assert_msg(time_parse(good[i].text, &us), "%s", good[i].text);
		ck_assert_int_eq(us, good[i].us);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!time_parse(bad[i], &us), "%s", bad[i]);
}
END_TEST

RUN_TESTS("ids", rng_repeats_from_its_seed, rng_is_xoshiro256ss, rng_below_is_uniform,
	  rng_unit_stays_below_one, backoff_doubles_up_to_its_cap, backoff_survives_odd_arguments,
	  new_ids_are_version_7_and_in_order, derived_ids_depend_on_every_part, ids_are_recognised,
	  digest_sees_where_parts_end, sha256_of_the_standard,
	  secrets_have_their_length_and_alphabet, trace_headers_are_recognised,
	  trace_children_keep_the_trace, times_are_rfc_3339, times_are_read)
