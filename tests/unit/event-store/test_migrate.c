/* Several services start at the same time on an empty PostgreSQL: each migration is applied once.
 */
#include <pthread.h>
#include <stdio.h>

#include "common/migrate.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define SERVICES 4

static pthread_barrier_t together;

struct service {
	pthread_t thread;
	PGconn *conn;
	int rc;
	struct error err;
};

static void *start(void *arg)
{
	struct service *s = arg;

	pthread_barrier_wait(&together);
	s->rc = migrate_run(s->conn, penstock_migrations, &s->err);
	return NULL;
}

START_TEST(several_at_once)
{
	struct service services[SERVICES] = {0};
	struct database d;
	char expected[16];
	int n = 0;

	database_open(&d, false);
	pthread_barrier_init(&together, NULL, SERVICES);
	for (int i = 0; i < SERVICES; i++) {
		services[i].conn = PQconnectdb(d.dsn);
		ck_assert_int_eq(PQstatus(services[i].conn), CONNECTION_OK);
		ck_assert_int_eq(pthread_create(&services[i].thread, NULL, start, &services[i]), 0);
	}
	for (int i = 0; i < SERVICES; i++) {
		pthread_join(services[i].thread, NULL);
		ck_assert_msg(services[i].rc == 0, "%s", services[i].err.msg);
		PQfinish(services[i].conn);
	}
	while (penstock_migrations[n].number)
		n++;
	ck_assert_int_gt(n, 0);
	snprintf(expected, sizeof(expected), "%d", n);
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM schema_migrations"), expected);
	ck_assert_str_eq(
	    database_get(&d, "SELECT count(*) FROM " DATABASE_LOCKS " WHERE locktype = 'advisory'"),
	    "0");
	pthread_barrier_destroy(&together);
	database_close(&d);
}
END_TEST

RUN_TESTS("migrate", several_at_once)
