/* Keys that were found good a moment ago. */
#include <string.h>

#include "common/ids.h"
#include "services/edge/known.h"
#include "tests/unit/common/suite.h"

static const struct principal *who(int n)
{
	static char people[3];

	return (const struct principal *)&people[n];
}

START_TEST(for_a_second)
{
	struct known k = {0};
	char a[65], b[65];

	sha256_hex("pk_a_1", 6, a);
	sha256_hex("pk_a_2", 6, b);
	ck_assert_ptr_null(known_find(&k, a, 5));
	known_add(&k, a, who(0), 5);
	ck_assert_ptr_eq(known_find(&k, a, 5), who(0));
	ck_assert_ptr_eq(known_find(&k, a, 5 + KNOWN_US - 1), who(0));
	ck_assert_ptr_null(known_find(&k, a, 5 + KNOWN_US));
	ck_assert_ptr_null(known_find(&k, b, 5)); /* another secret of the same key */
	known_add(&k, a, who(0), KNOWN_US);
	ck_assert_ptr_eq(known_find(&k, a, 5 + KNOWN_US), who(0));
}
END_TEST

START_TEST(of_one_place_the_newest)
{
	struct known k = {0};
	char a[65], b[65];

	sha256_hex("pk_a_1", 6, a);
	memcpy(b, a, sizeof(b));
	b[64 - 1] = b[64 - 1] == '0' ? '1' : '0'; /* the same place, and nearly the same hash */
	known_add(&k, a, who(0), 0);
	ck_assert_ptr_null(known_find(&k, b, 0));
	known_add(&k, b, who(1), 0);
	ck_assert_ptr_null(known_find(&k, a, 0));
	ck_assert_ptr_eq(known_find(&k, b, 0), who(1));
}
END_TEST

START_TEST(until_they_are_forgotten)
{
	struct known k = {0};
	char hash[3][65];

	for (int i = 0; i < 3; i++) {
		memset(hash[i], '0' + i, 64);
		hash[i][64] = 0;
		known_add(&k, hash[i], who(i), 0);
	}
	known_forget(&k, who(1));
	ck_assert_ptr_eq(known_find(&k, hash[0], 1), who(0));
	ck_assert_ptr_null(known_find(&k, hash[1], 1));
	ck_assert_ptr_eq(known_find(&k, hash[2], 1), who(2));
	known_forget(&k, NULL);
	ck_assert_ptr_null(known_find(&k, hash[0], 1));
	ck_assert_ptr_null(known_find(&k, hash[2], 1));
}
END_TEST

RUN_TESTS("edge: known", for_a_second, of_one_place_the_newest, until_they_are_forgotten)
