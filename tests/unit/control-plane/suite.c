#include "tests/unit/control-plane/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/log.h"
#include "common/migrate.h"
#include "common/pg.h"
#include "common/strbuf.h"

const char *suite_dsn;

json_t *from_text(const char *text)
{
	struct error err = {0};
	char *copy = xstrdup(text);
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	json_t *value = json_parse(copy, strlen(copy), &err);
	ck_assert_msg(value != NULL, "%s: %s", text, err.msg);
	free(copy);
	return value;
}

const char *text_of(const json_t *value)
{
	static char *last;
	free(last);
	last = json_text(value, NULL);
	for (char *p = last; *p; p++)
		if (*p == '"')
			*p = '\'';
	return last;
}

int suite_run(const char *name, const TTest *const *tests, size_t n)
{
	log_init("test", "test", LOG_ERROR);
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	tcase_set_timeout(tcase, 120); /* sanitizers on a loaded machine are slow */
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	text_of(NULL);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static PGconn *must_connect(const char *dsn)
{
	struct error err = {0};
	PGconn *conn = pg_connect(dsn, "test", &err);
	if (conn)
		return conn;
	fprintf(stderr, "%s\n", err.msg);
	exit(EXIT_FAILURE);
}

static void must_exec(PGconn *conn, const char *sql)
{
	struct error err = {0};
	if (!pg_exec(conn, sql, &err))
		return;
	fprintf(stderr, "%s: %s\n", sql, err.msg);
	exit(EXIT_FAILURE);
}

static void migrate(const char *dsn)
{
	struct error err = {0};
	PGconn *conn = must_connect(dsn);
	if (migrate_run(conn, penstock_migrations, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(EXIT_FAILURE);
	}
	PQfinish(conn);
}

/* A database of its own, so that programs do not meet each other's rows. No connection stays open:
 * the tests run in processes that are forked from here. */
int suite_run_database(char **argv, const char *name, const TTest *const *tests, size_t n)
{
	const char *server = getenv("PENSTOCK_TEST_PG_DSN");
	char sql[100], dsn[1000];
	if (!server || !*server) {
		execl("tests/with-postgres", "tests/with-postgres", argv[0], (char *)NULL);
		perror("tests/with-postgres");
		return EXIT_FAILURE;
	}
	log_init("test", "test", LOG_ERROR);
	snprintf(sql, sizeof(sql), "CREATE DATABASE control_%s_%d", name, (int)getpid());
	snprintf(dsn, sizeof(dsn), "%s dbname=%s", server, sql + strlen("CREATE DATABASE "));
	PGconn *conn = must_connect(server);
	must_exec(conn, sql);
	PQfinish(conn);
	migrate(dsn);
	suite_dsn = dsn;
	int rc = suite_run(name, tests, n);
	suite_dsn = NULL;
	conn = must_connect(server);
	snprintf(sql, sizeof(sql), "DROP DATABASE control_%s_%d", name, (int)getpid());
	must_exec(conn, sql);
	PQfinish(conn);
	return rc;
}
