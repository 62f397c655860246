#include "services/control-plane/db.h"

#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "common/strbuf.h"

#define RETRY_MS 500

struct db_pool {
	pthread_mutex_t lock;
	char *dsn;
	bool open;
	PGconn **idle;
	unsigned n_idle, used, size;
	int64_t failed_ms; /* when connecting failed last; 0: it did not */
};

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct db_pool *db_pool_new(const char *dsn, unsigned size)
{
	struct db_pool *pool = xcalloc(1, sizeof(*pool));
	pthread_mutex_init(&pool->lock, NULL);
	pool->dsn = xstrdup(dsn);
	pool->idle = xcalloc(size, sizeof(*pool->idle));
	pool->size = size;
	return pool;
}

void db_pool_free(struct db_pool *pool)
{
	if (!pool)
		return;
	for (unsigned i = 0; i < pool->n_idle; i++)
		PQfinish(pool->idle[i]);
	pthread_mutex_destroy(&pool->lock);
	free(pool->idle);
	free(pool->dsn);
	free(pool);
}

void db_pool_open(struct db_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->open = true;
	pthread_mutex_unlock(&pool->lock);
}

PGconn *db_connect(const char *dsn, struct error *err)
{
	PGconn *conn = pg_connect(dsn, "penstock-control-plane", err);
	/* A stopped process must not hold a lock on a tenant for ever, nor wait for one. */
	if (conn && pg_exec(conn,
			    "SET statement_timeout = '10s'; SET lock_timeout = '3s';"
			    "SET idle_in_transaction_session_timeout = '15s'",
			    err)) {
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

/* -1: refused; else the place is taken, with an idle connection or without one. */
static int reserve(struct db_pool *pool, PGconn **conn, struct error *err)
{
	int rc = 0;
	pthread_mutex_lock(&pool->lock);
	*conn = NULL;
	if (!pool->open)
		rc = err_set(err, ERR_TRANSIENT, "postgresql: its schema is not ready yet");
	else if (pool->used == pool->size)
		rc = err_set(err, ERR_TRANSIENT, "postgresql: all %u connections are in use",
			     pool->size);
	else if (pool->n_idle)
		*conn = pool->idle[--pool->n_idle];
	else if (pool->failed_ms && now_ms() - pool->failed_ms < RETRY_MS)
		rc = err_set(err, ERR_TRANSIENT, "postgresql: no connection");
	if (!rc)
		pool->used++;
	pthread_mutex_unlock(&pool->lock);
	return rc;
}

/* An idle connection has nothing to say: what is there to be read is a goodbye, or the end itself
 * (one read may show only the first of the two). */
static bool fit(PGconn *conn)
{
	struct pollfd p = {.fd = PQsocket(conn), .events = POLLIN};
	return pg_alive(conn) && p.fd >= 0 && poll(&p, 1, 0) == 0;
}

PGconn *db_take(struct db_pool *pool, struct error *err)
{
	PGconn *conn;
	if (reserve(pool, &conn, err))
		return NULL;
	if (conn && !fit(conn)) {
		PQfinish(conn);
		conn = NULL;
	}
	if (!conn)
		conn = db_connect(pool->dsn, err);
	pthread_mutex_lock(&pool->lock);
	pool->failed_ms = conn ? 0 : now_ms();
	if (!conn)
		pool->used--;
	pthread_mutex_unlock(&pool->lock);
	return conn;
}

void db_give(struct db_pool *pool, PGconn *conn)
{
	pg_rollback(conn);
	bool good = pg_alive(conn);
	if (!good)
		PQfinish(conn);
	pthread_mutex_lock(&pool->lock);
	pool->used--;
	if (good)
		pool->idle[pool->n_idle++] = conn;
	pthread_mutex_unlock(&pool->lock);
}
