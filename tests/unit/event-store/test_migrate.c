/* Migrations, on a real PostgreSQL. */
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

/* Several services start at the same time on an empty PostgreSQL: each migration is applied once.
 */
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

static const struct migration one[] = {{1, "0001_a", "CREATE TABLE a (x int)"}, {0, 0, 0}};
static const struct migration two[] = {
    {1, "0001_a", "CREATE TABLE a (x int)"},
    {2, "0002_b", "CREATE TABLE b (x int); INSERT INTO b VALUES (7)"},
    {0, 0, 0}};

START_TEST(migrations_apply_once_in_order)
{
	struct database d;
	struct error err = {0};

	database_open(&d, false);
	ck_assert(!migrate_run(d.conn, one, &err));
	ck_assert(!migrate_run(d.conn, two, &err));
	ck_assert(!migrate_run(d.conn, two, &err));
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM b"), "1");
	ck_assert_str_eq(
	    database_get(&d, "SELECT string_agg(name, ',' ORDER BY number) FROM schema_migrations"),
	    "0001_a,0002_b");
	/* A newer database does not trouble an older binary. */
	ck_assert(!migrate_run(d.conn, one, &err));
	ck_assert_str_eq(
	    database_get(&d, "SELECT count(*) FROM " DATABASE_LOCKS " WHERE locktype = 'advisory'"),
	    "0");
	database_close(&d);
}
END_TEST

START_TEST(a_changed_migration_is_fatal)
{
	static const struct migration changed[] = {
	    {1, "0001_a", "CREATE TABLE a (x bigint)"}, {2, "0002_b", "SELECT 1"}, {0, 0, 0}};
	struct database d;
	struct error err = {0};

	database_open(&d, false);
	ck_assert(!migrate_run(d.conn, one, &err));
	ck_assert(migrate_run(d.conn, changed, &err));
	ck_assert_int_eq(err.code, ERR_FATAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "0001_a"));
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM schema_migrations"), "1");
	database_close(&d);
}
END_TEST

START_TEST(a_failing_migration_leaves_nothing)
{
	static const struct migration bad[] = {
	    {1, "0001_a", "CREATE TABLE a (x int)"},
	    {2, "0002_b", "CREATE TABLE b (x int); SELECT nonsense"},
	    {0, 0, 0}};
	struct database d;
	struct error err = {0};

	database_open(&d, false);
	ck_assert(migrate_run(d.conn, bad, &err));
	ck_assert_str_eq(database_get(&d, "SELECT count(*) FROM schema_migrations"), "1");
	ck_assert_str_eq(database_get(&d, "SELECT to_regclass('b') IS NULL"), "t");
	/* Put right, it goes on from there. */
	ck_assert(!migrate_run(d.conn, two, &err));
	ck_assert_str_eq(database_get(&d, "SELECT x FROM b"), "7");
	database_close(&d);
}
END_TEST

RUN_TESTS("migrate", several_at_once, migrations_apply_once_in_order, a_changed_migration_is_fatal,
	  a_failing_migration_leaves_nothing)
