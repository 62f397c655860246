/* A database of its own for a test, on the server of tests/with-postgres, with the project's
 * schema; and events to put into it. */
#ifndef PENSTOCK_TEST_STORE_DATABASE_H
#define PENSTOCK_TEST_STORE_DATABASE_H

#include <libpq-fe.h>

#include "common/ids.h"
#include "services/event-store/sink.h"

struct database {
	char name[64];
	char dsn[512];
	PGconn *conn; /* for the test's own looks */
};

/* Fails the test if there is no server: nothing is skipped. migrated false: empty. */
void database_open(struct database *d, bool migrated);
void database_close(struct database *d);
/* The single value of a query, as text; static storage, valid until the fourth call after this one.
 */
const char *database_get(struct database *d, const char *sql);
void database_do(struct database *d, const char *sql);
/* What PostgreSQL takes for now() on the test's connection from here on ("2026-03-10 12:00:30"):
 * for what depends on how much time has passed. */
void database_clock(struct database *d, const char *time);
/* pg_locks, for a FROM: of the test's own database, for others are at work on the same server. */
#define DATABASE_LOCKS                                                                             \
	"(SELECT * FROM pg_locks WHERE database ="                                                 \
	" (SELECT oid FROM pg_database WHERE datname = current_database())) locks"

struct id nth_id(size_t i);
/* An event as protobuf-c would have unpacked it. key NULL: none; data NULL: {}. */
Penstock__Event *make_event(size_t nth, const char *channel, const char *type, const char *data,
			    const char *key);
struct store_item make_item(uint64_t seq, Penstock__Event *event);
void items_done(struct store_item *items, size_t n);

#define TEST_EPOCH   1764000000000000ULL
#define TEST_TIME_US 1764000100000000LL /* 2025-11-24 16:01:40 */
#define TEST_SESSION "0193f0f0-0000-7000-8000-000000000001"
#define TEST_TRACE   "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"

#endif
