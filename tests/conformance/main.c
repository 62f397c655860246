/* conformance [nats-url]: the promises of common/bus.h, asked of the fake and, with a URL, of
 * nats-server. */
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "tests/conformance/world.h"

static int run(const struct factory *f)
{
	char name[64];
	SRunner *runner;
	Suite *suite;
	int failed;

	factory = f;
	snprintf(name, sizeof(name), "bus: %s", f->name);
	suite = suite_create(name);
	suite_add_tcase(suite, core_case());
	suite_add_tcase(suite, stream_case());
	suite_add_tcase(suite, consumer_case());
	suite_add_tcase(suite, bucket_case());
	suite_add_tcase(suite, outage_case());
	if (f == &nats_factory)
		suite_add_tcase(suite, nats_case());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed;
}

int main(int argc, char **argv)
{
	int failed;

	log_init("conformance", "test", LOG_ERROR);
	failed = run(&fake_factory);
	if (argc > 1) {
		nats_url = argv[1];
		failed += run(&nats_factory);
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
