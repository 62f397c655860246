#include "common/pg.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/ids.h"

/* Microseconds from 1970 to 2000: where PostgreSQL's timestamps count from. */
#define PG_EPOCH_US 946684800000000LL

static void quiet(void *arg, const PGresult *res)
{
	(void)arg;
	(void)res;
}

static enum err_code code_of(const char *state)
{
	/* In order: the first prefix that matches. */
	static const struct {
		const char *prefix;
		enum err_code code;
	} map[] = {
	    {"23505", ERR_CONFLICT},  /* unique_violation */
	    {"23", ERR_REJECTED},     /* other integrity constraints */
	    {"22", ERR_REJECTED},     /* data exceptions */
	    {"08", ERR_TRANSIENT},    /* connection exceptions */
	    {"40", ERR_TRANSIENT},    /* serialization_failure, deadlock_detected */
	    {"53", ERR_TRANSIENT},    /* disk full, out of memory, too many connections */
	    {"55", ERR_TRANSIENT},    /* lock_not_available, object_in_use */
	    {"57", ERR_TRANSIENT},    /* query_canceled, admin_shutdown, cannot_connect_now */
	    {"58", ERR_TRANSIENT},    /* I/O errors */
	    {"25006", ERR_TRANSIENT}, /* read-only: the server became a standby */
	};
	if (!state)
		return ERR_TRANSIENT; /* libpq's own errors: the connection broke */
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (!strncmp(state, map[i].prefix, strlen(map[i].prefix)))
			return map[i].code;
	return ERR_FATAL;
}

/* First line of libpq's message, without the newline. */
int pg_fail(PGconn *conn, const PGresult *res, struct error *err)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *words = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	enum err_code code = PQstatus(conn) == CONNECTION_OK ? code_of(state) : ERR_TRANSIENT;

	if (!words)
		words = PQerrorMessage(conn);
	int len = (int)strcspn(words, "\n");
	return err_set(err, code, "postgresql: %.*s%s%s", len, words, state ? " " : "",
		       state ? state : "");
}

PGconn *pg_connect(const char *dsn, const char *name, struct error *err)
{
	char *words = NULL;
	PQconninfoOption *options = PQconninfoParse(dsn, &words);

	if (!options) {
		err_set(err, ERR_FATAL, "bad PostgreSQL DSN: %.*s",
			(int)strcspn(words ? words : "", "\n"), words ? words : "");
		PQfreemem(words);
		return NULL;
	}
	PQconninfoFree(options);
	/* The DSN comes last and so wins over these defaults, but for the encoding. */
	const char *const keys[] = {"fallback_application_name",
				    "connect_timeout",
				    "keepalives_idle",
				    "keepalives_interval",
				    "keepalives_count",
				    "tcp_user_timeout",
				    "dbname",
				    "client_encoding",
				    NULL};
	const char *const values[] = {name, "5", "5", "2", "3", "15000", dsn, "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) != CONNECTION_OK) {
		err_set(err, ERR_TRANSIENT, "postgresql: %.*s",
			(int)strcspn(PQerrorMessage(conn), "\n"), PQerrorMessage(conn));
		PQfinish(conn);
		return NULL;
	}
	PQsetNoticeReceiver(conn, quiet, NULL);
	if (pg_exec(conn, "SET timezone = 'UTC'; SET datestyle = 'ISO'", err)) {
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

bool pg_alive(PGconn *conn)
{
	return conn && PQstatus(conn) == CONNECTION_OK;
}

void pg_interrupt(PGconn *conn)
{
	if (conn && PQsocket(conn) >= 0)
		shutdown(PQsocket(conn), SHUT_RDWR);
}

static bool good(const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);
	return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ||
	       status == PGRES_EMPTY_QUERY;
}

int pg_exec(PGconn *conn, const char *sql, struct error *err)
{
	PGresult *res = PQexec(conn, sql);
	int rc = good(res) ? 0 : pg_fail(conn, res, err);

	PQclear(res);
	return rc;
}

/* res, if it is good. */
static PGresult *checked(PGconn *conn, PGresult *res, struct error *err)
{
	if (good(res))
		return res;
	pg_fail(conn, res, err);
	PQclear(res);
	return NULL;
}

PGresult *pg_query(PGconn *conn, const char *sql, int n, const char *const *values,
		   struct error *err)
{
	return checked(conn, PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0), err);
}

int pg_prepare(PGconn *conn, const char *name, const char *sql, struct error *err)
{
	PGresult *res = checked(conn, PQprepare(conn, name, sql, 0, NULL), err);

	if (!res)
		return -1;
	PQclear(res);
	return 0;
}

PGresult *pg_execute(PGconn *conn, const char *name, int n, const char *const *values,
		     struct error *err)
{
	return checked(conn, PQexecPrepared(conn, name, n, values, NULL, NULL, 0), err);
}

int pg_run(PGconn *conn, const char *sql, int n, const char *const *values, int64_t *changed,
	   struct error *err)
{
	PGresult *res = pg_query(conn, sql, n, values, err);

	if (!res)
		return -1;
	if (changed)
		*changed = atoll(PQcmdTuples(res));
	PQclear(res);
	return 0;
}

void pg_rollback(PGconn *conn)
{
	if (pg_alive(conn) && PQtransactionStatus(conn) != PQTRANS_IDLE)
		PQclear(PQexec(conn, "ROLLBACK"));
}

const char *pg_text(const PGresult *res, int row, int col)
{
	return PQgetisnull(res, row, col) ? NULL : PQgetvalue(res, row, col);
}

int64_t pg_int(const PGresult *res, int row, int col)
{
	return PQgetisnull(res, row, col) ? 0 : atoll(PQgetvalue(res, row, col));
}

bool pg_bool(const PGresult *res, int row, int col)
{
	return !PQgetisnull(res, row, col) && PQgetvalue(res, row, col)[0] == 't';
}

struct pg_int8 pg_int8(int64_t value)
{
	struct pg_int8 out;

	snprintf(out.text, sizeof(out.text), "%lld", (long long)value);
	return out;
}

/* --- binary COPY: "COPY", File Formats, in PostgreSQL's manual ---------------------------------
 */

static void add16(struct strbuf *b, uint16_t v)
{
	v = htobe16(v);
	strbuf_add(b, &v, sizeof(v));
}

static void add32(struct strbuf *b, uint32_t v)
{
	v = htobe32(v);
	strbuf_add(b, &v, sizeof(v));
}

static void add64(struct strbuf *b, uint64_t v)
{
	v = htobe64(v);
	strbuf_add(b, &v, sizeof(v));
}

void pg_copy_begin(struct strbuf *b)
{
	strbuf_reset(b);
	strbuf_add(b, "PGCOPY\n\377\r\n\0", 11);
	add32(b, 0);
	add32(b, 0);
}

void pg_copy_row(struct strbuf *b, int n_fields)
{
	add16(b, (uint16_t)n_fields);
}

void pg_copy_null(struct strbuf *b)
{
	add32(b, UINT32_MAX);
}

void pg_copy_int8(struct strbuf *b, int64_t value)
{
	add32(b, 8);
	add64(b, (uint64_t)value);
}

void pg_copy_int4(struct strbuf *b, int32_t value)
{
	add32(b, 4);
	add32(b, (uint32_t)value);
}

void pg_copy_bool(struct strbuf *b, bool value)
{
	add32(b, 1);
	strbuf_addc(b, value ? 1 : 0);
}

void pg_copy_bytes(struct strbuf *b, const void *data, size_t len)
{
	add32(b, (uint32_t)len);
	strbuf_add(b, data, len);
}

void pg_copy_text(struct strbuf *b, const char *text)
{
	if (text)
		pg_copy_bytes(b, text, strlen(text));
	else
		pg_copy_null(b);
}

void pg_copy_time(struct strbuf *b, int64_t wall_us)
{
	pg_copy_int8(b, wall_us - PG_EPOCH_US);
}

/* Of a digit that id_valid() has seen. */
static unsigned hex(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

bool pg_copy_uuid(struct strbuf *b, const char *text)
{
	uint8_t raw[16];
	size_t n = 0;

	if (!id_valid(text))
		return false;
	for (const char *p = text; *p; p++) {
		if (*p == '-')
			continue;
		raw[n++] = (uint8_t)(hex(p[0]) << 4 | hex(p[1]));
		p++;
	}
	pg_copy_bytes(b, raw, sizeof(raw));
	return true;
}

int pg_copy_send(PGconn *conn, const char *sql, struct strbuf *b, struct error *err)
{
	PGresult *res = PQexec(conn, sql);

	if (PQresultStatus(res) != PGRES_COPY_IN) {
		int rc = pg_fail(conn, res, err);
		PQclear(res);
		return rc;
	}
	PQclear(res);
	add16(b, UINT16_MAX);
	if (PQputCopyData(conn, b->data, (int)b->len) != 1 || PQputCopyEnd(conn, NULL) != 1)
		return pg_fail(conn, NULL, err);
	int rc = 0;
	while ((res = PQgetResult(conn))) {
		if (!rc && !good(res))
			rc = pg_fail(conn, res, err);
		PQclear(res);
	}
	/* No result at all: the connection went away meanwhile. */
	if (!rc && !pg_alive(conn))
		rc = pg_fail(conn, NULL, err);
	return rc;
}
