#include "tests/unit/event-store/database.h"

#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/migrate.h"
#include "common/pg.h"
#include "common/strbuf.h"
#include "services/event-store/item.h"

static const char *server(void)
{
	const char *dsn = getenv("PENSTOCK_TEST_PG_DSN");

	ck_assert_msg(dsn && *dsn,
		      "PENSTOCK_TEST_PG_DSN is not set: run this with tests/with-postgres");
	return dsn;
}

void database_open(struct database *d, bool migrated)
{
	static int count;
	struct error err = {0};
	char sql[128];
	PGconn *admin = pg_connect(server(), "test", &err);

	ck_assert_msg(admin, "%s", err.msg);
	snprintf(d->name, sizeof(d->name), "test_%d_%d", (int)getpid(), count++);
	snprintf(sql, sizeof(sql), "CREATE DATABASE %s", d->name);
	ck_assert_msg(!pg_exec(admin, sql, &err), "%s", err.msg);
	PQfinish(admin);
	snprintf(d->dsn, sizeof(d->dsn), "%s dbname=%s", server(), d->name);
	d->conn = pg_connect(d->dsn, "test", &err);
	ck_assert_msg(d->conn, "%s", err.msg);
	if (migrated)
		ck_assert_msg(!migrate_run(d->conn, penstock_migrations, &err), "%s", err.msg);
}

void database_close(struct database *d)
{
	struct error err = {0};
	char sql[128];

	PQfinish(d->conn);
	PGconn *admin = pg_connect(server(), "test", &err);
	ck_assert_msg(admin, "%s", err.msg);
	snprintf(sql, sizeof(sql), "DROP DATABASE %s WITH (FORCE)", d->name);
	ck_assert_msg(!pg_exec(admin, sql, &err), "%s", err.msg);
	PQfinish(admin);
}

const char *database_get(struct database *d, const char *sql)
{
	static char texts[4][4096];
	static int next;
	struct error err = {0};
	char *text = texts[next++ % 4];
	PGresult *res = pg_query(d->conn, sql, 0, NULL, &err);

	ck_assert_msg(res, "%s: %s", sql, err.msg);
	ck_assert_int_eq(PQntuples(res), 1);
	snprintf(text, sizeof(texts[0]), "%s", pg_text(res, 0, 0) ? pg_text(res, 0, 0) : "null");
	PQclear(res);
	return text;
}

void database_do(struct database *d, const char *sql)
{
	struct error err = {0};
	ck_assert_msg(!pg_exec(d->conn, sql, &err), "%s: %s", sql, err.msg);
}

void database_clock(struct database *d, const char *time)
{
	char sql[256];
	snprintf(sql, sizeof(sql),
		 "CREATE SCHEMA IF NOT EXISTS clock;"
		 "CREATE OR REPLACE FUNCTION clock.now() RETURNS timestamptz LANGUAGE sql STABLE"
		 " AS $$ SELECT timestamptz '%s+00' $$;"
		 "SET search_path = clock, pg_catalog, public",
		 time);
	database_do(d, sql);
}

struct id nth_id(size_t i)
{
	char name[32];

	snprintf(name, sizeof(name), "%zu", i);
	return id_derive("acme", "event", name);
}

Penstock__Event *make_event(size_t nth, const char *channel, const char *type, const char *data,
			    const char *key)
{
	Penstock__Event *e = xmalloc(sizeof(*e));

	penstock__event__init(e);
	data = data ? data : "{}";
	e->id = xstrdup(nth_id(nth).text);
	e->tenant = xstrdup("acme");
	e->channel = xstrdup(channel);
	e->type = xstrdup(type);
	e->version = 2;
	e->data.len = strlen(data);
	e->data.data = xmemdup(data, e->data.len);
	e->time_us = TEST_TIME_US + (int64_t)nth * 1001;
	e->trace = xstrdup(TEST_TRACE);
	e->key = xstrdup(key ? key : "");
	e->digest = 0xfedcba9876543210;
	e->session = xstrdup(TEST_SESSION);
	e->router = xstrdup("r1");
	e->command = xstrdup("c1");
	e->principal = xstrdup("k1");
	e->depth = 2;
	return e;
}

struct store_item make_item(uint64_t seq, Penstock__Event *event)
{
	return (struct store_item){
	    .seq = seq, .stored_us = event->time_us + 500, .event = event, .cost = 100};
}

void items_done(struct store_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		store_item_done(&items[i]);
}
