#include "common/migrate.h"

#include <string.h>

#include "common/ids.h"
#include "common/log.h"
#include "common/pg.h"

/* Any number will do, as long as nobody else takes it: "penstock" in ASCII. */
#define LOCK "8099000947049456491"

static int apply(PGconn *conn, const struct migration *m, const char *sum, struct error *err)
{
	struct pg_int8 number = pg_int8(m->number);

	if (pg_exec(conn, "BEGIN", err) || pg_exec(conn, m->sql, err) ||
	    pg_run(
		conn,
		"INSERT INTO schema_migrations (number, name, checksum) VALUES ($1::int, $2, $3)",
		3, (const char *[]){number.text, m->name, sum}, NULL, err) ||
	    pg_exec(conn, "COMMIT", err)) {
		pg_rollback(conn);
		return err_wrap(err, "migration %s", m->name);
	}
	log_at(LOG_INFO, "migration applied", LOG_S("migration", m->name));
	return 0;
}

/* Compares what was applied with what we have, and applies what is missing. */
static int run_locked(PGconn *conn, const struct migration *migrations, struct error *err)
{
	int newest = 0, rc = 0;

	if (pg_exec(conn,
		    "CREATE TABLE IF NOT EXISTS schema_migrations ("
		    " number int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
		    " applied_at timestamptz NOT NULL DEFAULT now())",
		    err))
		return -1;
	PGresult *res = pg_query(
	    conn, "SELECT number, checksum FROM schema_migrations ORDER BY number", 0, NULL, err);
	if (!res)
		return -1;
	for (const struct migration *m = migrations; !rc && m->number; m++) {
		char sum[65];
		int row = 0;

		sha256_hex(m->sql, strlen(m->sql), sum);
		newest = m->number > newest ? m->number : newest;
		while (row < PQntuples(res) && pg_int(res, row, 0) != m->number)
			row++;
		if (row == PQntuples(res))
			rc = apply(conn, m, sum, err);
		else if (strcmp(pg_text(res, row, 1), sum) != 0)
			rc = err_set(
			    err, ERR_FATAL,
			    "migration %s was changed after it was applied to this database",
			    m->name);
	}
	int known = PQntuples(res) ? (int)pg_int(res, PQntuples(res) - 1, 0) : 0;
	if (!rc && known > newest)
		log_at(LOG_WARN, "the database is newer than this binary", LOG_I("database", known),
		       LOG_I("binary", newest));
	PQclear(res);
	return rc;
}

int migrate_run(PGconn *conn, const struct migration *migrations, struct error *err)
{
	/* A session's lock, not a transaction's: each migration has its own transaction. */
	if (pg_exec(conn, "SELECT pg_advisory_lock(" LOCK ")", err))
		return err_wrap(err, "migrations");
	int rc = run_locked(conn, migrations, err);
	struct error ignored;
	if (pg_exec(conn, "SELECT pg_advisory_unlock(" LOCK ")", &ignored) && !rc) {
		/* The lock went with the connection; what was applied is applied. */
		*err = ignored;
		rc = -1;
	}
	return rc;
}
