/* The tail of a test program: a list of tests, run by Check, and the exit status. */
#ifndef PENSTOCK_TEST_SUITE_H
#define PENSTOCK_TEST_SUITE_H

#include <check.h>
#include <stdlib.h>

/* before, after: around each test; NULL: nothing. */
static inline int run_tests(const char *name, void (*before)(void), void (*after)(void),
			    const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 120); /* sanitizers on a loaded machine are slow */
	tcase_add_checked_fixture(tcase, before, after);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define RUN_TESTS_WITH(name, before, after, ...)                                                   \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests[] = {__VA_ARGS__};                                        \
                                                                                                   \
		return run_tests(name, before, after, tests, sizeof(tests) / sizeof(*tests));      \
	}
/* Random runs that cost much: the code is the same with each sanitizer, the time is not. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNS_OF(n) ((n) / 5)
#else
#define RUNS_OF(n) (n)
#endif

#define RUN_TESTS(name, ...) RUN_TESTS_WITH(name, NULL, NULL, __VA_ARGS__)

#endif
