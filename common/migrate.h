/* Numbered SQL migrations (sql/NNNN_name.sql, embedded at build time), applied in order under an
 * advisory lock, each in its own transaction, with its checksum kept: a file that was changed after
 * it was applied is ERR_FATAL. Any service that needs the schema calls it at start; the first one
 * does the work. */
#ifndef PENSTOCK_MIGRATE_H
#define PENSTOCK_MIGRATE_H

#include <libpq-fe.h>

#include "common/err.h"

struct migration {
	int number;
	const char *name;
	const char *sql;
};

extern const struct migration penstock_migrations[]; /* ends with number 0 */

/* Blocks. On failure the schema is as it was before the failing migration. */
int migrate_run(PGconn *conn, const struct migration *migrations, struct error *err) MUST_CHECK;

#endif
