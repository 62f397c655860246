/* Small helpers over libpq: connections, statements with their errors mapped to what the caller may
 * do about them, and binary COPY.
 *
 * Everything blocks. Threads: a connection has one owner at a time (pg_interrupt is the exception).
 * Errors (from SQLSTATE, PostgreSQL 15, appendix A): lost connections, shutdown, serialization
 * failures, deadlocks, lack of resources and time-outs are ERR_TRANSIENT; a unique violation is
 * ERR_CONFLICT; other integrity violations and bad data are ERR_REJECTED; the rest (no such table,
 * no privilege, syntax) is ERR_FATAL. After a transient error ask pg_alive(): if it says no, close
 * and connect again. */
#ifndef PENSTOCK_PG_H
#define PENSTOCK_PG_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

/* Connects within 5 s, as `name` in pg_stat_activity. ERR_FATAL only for a DSN that does not parse;
 * anything else may be better on the next try. Close with PQfinish(). Time zone and encoding are
 * set to UTC and UTF-8. */
PGconn *pg_connect(const char *dsn, const char *name, struct error *err);
bool pg_alive(PGconn *conn);
/* Any thread, while the owner does not close it: makes the call that the owner is in, and each
 * later one, fail. For a clean stop while the server hangs. */
void pg_interrupt(PGconn *conn);

/* One or several statements without parameters and without interest in rows. Several run in one
 * round trip, in one transaction unless they say BEGIN/COMMIT themselves. */
int pg_exec(PGconn *conn, const char *sql, struct error *err) MUST_CHECK;
/* One statement with n text parameters (NULL is null; n may be 0). The result (never NULL on
 * success) is the caller's: PQclear(). */
PGresult *pg_query(PGconn *conn, const char *sql, int n, const char *const *values,
		   struct error *err);
/* The same for a statement whose rows do not matter; *changed (may be NULL) is the number of rows.
 */
int pg_run(PGconn *conn, const char *sql, int n, const char *const *values, int64_t *changed,
	   struct error *err) MUST_CHECK;
/* A statement under a name that pg_execute() runs, parsed once and, after some times, planned once.
 */
int pg_prepare(PGconn *conn, const char *name, const char *sql, struct error *err) MUST_CHECK;
/* As pg_query(). */
PGresult *pg_execute(PGconn *conn, const char *name, int n, const char *const *values,
		     struct error *err);
/* For those who call libpq themselves: maps what went wrong (res may be NULL) and returns -1. */
int pg_fail(PGconn *conn, const PGresult *res, struct error *err);
/* Ends an open transaction if there is one; errors do not matter. */
void pg_rollback(PGconn *conn);

/* Fields of a text result. Borrowed from the result; NULL for null. */
const char *pg_text(const PGresult *res, int row, int col);
int64_t pg_int(const PGresult *res, int row, int col); /* 0 for null */
bool pg_bool(const PGresult *res, int row, int col);   /* false for null */
/* A timestamptz column selected as `(extract(epoch from c) * 1000000)::int8` is simply pg_int. */

/* An int8 as a parameter: pg_query(…, (const char *[]){pg_int8(7).text}, …). */
struct pg_int8 {
	char text[24];
};
struct pg_int8 pg_int8(int64_t value);

/* --- COPY … FROM STDIN (FORMAT binary) ------------------------------------------------------- */

/* The rows are put together in a strbuf: pg_copy_begin, then for each row pg_copy_row and its
 * fields, then pg_copy_send, which adds the trailer. Types must be exactly the columns'. */
void pg_copy_begin(struct strbuf *b);
void pg_copy_row(struct strbuf *b, int n_fields);
void pg_copy_null(struct strbuf *b);
void pg_copy_int8(struct strbuf *b, int64_t value);
void pg_copy_int4(struct strbuf *b, int32_t value);
void pg_copy_bool(struct strbuf *b, bool value);
void pg_copy_text(struct strbuf *b, const char *text);              /* NULL adds null; also json */
void pg_copy_bytes(struct strbuf *b, const void *data, size_t len); /* text or bytea */
void pg_copy_time(struct strbuf *b, int64_t wall_us);               /* timestamptz */
/* A canonical UUID text; false (and nothing added) if it is none. */
bool pg_copy_uuid(struct strbuf *b, const char *text);
/* sql: "COPY t (…) FROM STDIN (FORMAT binary)". */
int pg_copy_send(PGconn *conn, const char *sql, struct strbuf *b, struct error *err) MUST_CHECK;

#endif
