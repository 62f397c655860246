/* Connections to PostgreSQL for the threads that serve HTTP: at most `size`, made when they are
 * needed.
 *
 * Threads: any. A connection belongs to its taker until it is given back. */
#ifndef PENSTOCK_CONTROL_DB_H
#define PENSTOCK_CONTROL_DB_H

#include <stdbool.h>

#include "common/pg.h"

struct db_pool;

struct db_pool *db_pool_new(const char *dsn, unsigned size); /* dsn is copied */
void db_pool_free(struct db_pool *pool);                     /* all given back; NULL is fine */
/* The schema is there: until then db_take() says ERR_TRANSIENT. */
void db_pool_open(struct db_pool *pool);
/* Never waits longer than for a connect. After a failed connect the next tries fail at once for
 * half a second, so that a server that is away does not hold all threads. NULL with ERR_TRANSIENT
 * (or ERR_FATAL: a bad DSN). */
PGconn *db_take(struct db_pool *pool, struct error *err);
/* Rolls back what is open. */
void db_give(struct db_pool *pool, PGconn *conn);

/* Connects with the bounds that every statement of the control-plane has. */
PGconn *db_connect(const char *dsn, struct error *err);

#endif
