/* The memory of idempotency keys: bounded, least recently used first out. */
#include <stdio.h>
#include <stdlib.h>

#include "services/router/recent.h"
#include "tests/unit/common/suite.h"

static struct id make(unsigned i)
{
	char name[16];
	snprintf(name, sizeof(name), "k%u", i);
	return id_derive("acme", "event", name);
}

static void add(struct recent *r, unsigned i)
{
	struct recent_entry e = {i * 7, i, i + 1000};
	recent_add(r, make(i).text, &e);
}

START_TEST(find_and_replace)
{
	struct recent *r = recent_new(4);
	ck_assert_ptr_null(recent_find(r, make(1).text));
	add(r, 1);
	const struct recent_entry *e = recent_find(r, make(1).text);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(e->digest, 7);
	ck_assert_uint_eq(e->offset, 1);
	ck_assert_uint_eq(e->command, 1001);
	struct recent_entry other = {1, 2, 3};
	recent_add(r, make(1).text, &other);
	ck_assert_uint_eq(recent_find(r, make(1).text)->offset, 2);
	ck_assert_uint_eq(recent_count(r), 1);
	recent_free(r);
}
END_TEST

START_TEST(oldest_goes_first)
{
	struct recent *r = recent_new(3);
	add(r, 1);
	add(r, 2);
	add(r, 3);
	ck_assert_ptr_nonnull(recent_find(r, make(1).text)); /* now 2 is the oldest */
	add(r, 4);
	ck_assert_ptr_null(recent_find(r, make(2).text));
	ck_assert_ptr_nonnull(recent_find(r, make(1).text));
	ck_assert_ptr_nonnull(recent_find(r, make(3).text));
	ck_assert_ptr_nonnull(recent_find(r, make(4).text));
	ck_assert_uint_eq(recent_count(r), 3);
	recent_free(r);
}
END_TEST

START_TEST(many)
{
	enum { MAX = 100, N = 5000 };
	struct recent *r = recent_new(MAX);
	for (unsigned i = 0; i < N; i++) {
		add(r, i);
		ck_assert_uint_le(recent_count(r), MAX);
	}
	for (unsigned i = 0; i < N; i++) {
		const struct recent_entry *e = recent_find(r, make(i).text);
		ck_assert_int_eq(e != NULL, i >= N - MAX);
		if (e)
			ck_assert_uint_eq(e->offset, i);
	}
	recent_free(r);
}
END_TEST

START_TEST(clear)
{
	struct recent *r = recent_new(10);
	for (unsigned i = 0; i < 20; i++)
		add(r, i);
	recent_clear(r);
	ck_assert_uint_eq(recent_count(r), 0);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_ptr_null(recent_find(r, make(i).text));
	for (unsigned i = 0; i < 20; i++)
		add(r, i);
	ck_assert_uint_eq(recent_count(r), 10);
	recent_free(r);
}
END_TEST

START_TEST(no_id)
{
	struct recent *r = recent_new(10);
	struct recent_entry e = {1, 2, 3};
	static const char *const bad[] = {"",
					  "x",
					  "00000000-0000-0000-0000-00000000000",
					  "00000000-0000-0000-0000-0000000000000",
					  "00000000x0000-0000-0000-000000000000",
					  "0000000g-0000-0000-0000-000000000000"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		recent_add(r, bad[i], &e);
		ck_assert_ptr_null(recent_find(r, bad[i]));
	}
	ck_assert_uint_eq(recent_count(r), 0);
	ck_assert_uint_ne(recent_command("a"), recent_command("b"));
	recent_free(r);
}
END_TEST

RUN_TESTS("recent", find_and_replace, oldest_goes_first, many, clear, no_id)
