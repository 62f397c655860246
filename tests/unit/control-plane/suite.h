/* What these tests share: JSON written with ' for ", and the tail of each program. */
#ifndef CONTROL_TEST_SUITE_H
#define CONTROL_TEST_SUITE_H

#include <check.h>
#include <jansson.h>

json_t *from_text(const char *text); /* fails the test for what is no JSON */
/* Compact text of a value; freed by the next call. NULL gives "null". */
const char *text_of(const json_t *value);

/* DSN of an empty database of this program, NULL until RUN_DATABASE_TESTS made it. */
extern const char *suite_dsn;

int suite_run(const char *name, const TTest *const *tests, size_t n);

#define RUN_TESTS(name, ...)                                                                       \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		return suite_run(name, tests, sizeof(tests) / sizeof(*tests));                     \
	}

/* The same with a database; without PENSTOCK_TEST_PG_DSN the program starts itself again under
 * tests/with-postgres. */
int suite_run_database(char **argv, const char *name, const TTest *const *tests, size_t n);

#define RUN_DATABASE_TESTS(name, ...)                                                              \
	int main(int argc, char **argv)                                                            \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
		(void)argc;                                                                        \
		return suite_run_database(argv, name, tests, sizeof(tests) / sizeof(*tests));      \
	}

#endif
