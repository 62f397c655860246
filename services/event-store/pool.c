#include "services/event-store/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/pg.h"
#include "common/strbuf.h"

#define RECONNECT_US 1000000

struct worker {
	struct store_pool *pool;
	pthread_t thread;
	PGconn *conn;  /* the thread's own */
	PGconn *shown; /* for pg_interrupt(), with the lock */
	int64_t try_at_us;
};

struct store_pool {
	struct loop *loop;
	struct store_pool_conf conf;
	char *dsn;
	void *arg;
	int n;
	struct worker *workers;
	size_t posted; /* jobs on their way back; the loop's thread only sees it under the lock */

	pthread_mutex_t lock;
	pthread_cond_t wake, ended;
	struct store_job *first, **last;
	bool stop;
	int alive;
};

static int64_t mono_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

static void on_post(struct loop_post *post)
{
	struct store_job *job = (struct store_job *)post;
	struct store_pool *pool = job->pool;

	pthread_mutex_lock(&pool->lock);
	pool->posted--;
	pthread_mutex_unlock(&pool->lock);
	pool->conf.done(pool->arg, job);
}

static void set_conn(struct worker *w, PGconn *conn)
{
	pthread_mutex_lock(&w->pool->lock);
	w->shown = conn;
	pthread_mutex_unlock(&w->pool->lock);
	if (!conn)
		PQfinish(w->conn);
	w->conn = conn;
}

static void connect_if_due(struct worker *w)
{
	struct error err;

	if (w->conn || mono_us() < w->try_at_us)
		return;
	PGconn *conn = pg_connect(w->pool->dsn, w->pool->conf.name, &err);
	w->try_at_us = mono_us() + RECONNECT_US;
	if (!conn)
		return;
	set_conn(w, conn);
	/* Fails while the schema is not there yet: the writer makes it. */
	if (w->pool->conf.prepare(conn, &err))
		set_conn(w, NULL);
}

static struct store_job *take(struct store_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (!pool->stop && !pool->first)
		pthread_cond_wait(&pool->wake, &pool->lock);
	struct store_job *job = pool->stop ? NULL : pool->first;
	if (job) {
		pool->first = job->next;
		if (!pool->first)
			pool->last = &pool->first;
	}
	pthread_mutex_unlock(&pool->lock);
	return job;
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct store_pool *pool = w->pool;
	struct store_job *job;

	while ((job = take(pool))) {
		connect_if_due(w);
		/* A server that was restarted is noticed by the first query: that one gets a second
		 * try. */
		if (pool->conf.work(w->conn, job) && w->conn) {
			set_conn(w, NULL);
			w->try_at_us = 0;
			connect_if_due(w);
			if (pool->conf.work(w->conn, job) && w->conn)
				set_conn(w, NULL);
		}
		pthread_mutex_lock(&pool->lock);
		pool->posted++;
		loop_post(pool->loop, &job->post);
		pthread_mutex_unlock(&pool->lock);
	}
	if (w->conn)
		set_conn(w, NULL);
	pthread_mutex_lock(&pool->lock);
	pool->alive--;
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct store_pool *store_pool_start(struct loop *loop, const struct store_pool_conf *conf,
				    void *arg)
{
	struct store_pool *pool = xcalloc(1, sizeof(*pool));
	pthread_condattr_t attr;

	*pool = (struct store_pool){
	    .loop = loop, .conf = *conf, .dsn = xstrdup(conf->dsn), .arg = arg, .n = conf->threads};
	pool->last = &pool->first;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->wake, NULL);
	pthread_cond_init(&pool->ended, &attr);
	pthread_condattr_destroy(&attr);
	pool->workers = xcalloc((size_t)pool->n, sizeof(*pool->workers));
	pool->alive = pool->n;
	for (int i = 0; i < pool->n; i++) {
		pool->workers[i].pool = pool;
		if (pthread_create(&pool->workers[i].thread, NULL, run, &pool->workers[i]))
			abort();
	}
	return pool;
}

void store_pool_add(struct store_pool *pool, struct store_job *job)
{
	job->pool = pool;
	job->next = NULL;
	job->post.fn = on_post;
	pthread_mutex_lock(&pool->lock);
	*pool->last = job;
	pool->last = &job->next;
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
}

void store_pool_stop(struct store_pool *pool, int timeout_ms)
{
	struct timespec ts;

	if (!pool)
		return;
	int64_t until = mono_us() + timeout_ms * 1000LL;
	ts.tv_sec = until / 1000000;
	ts.tv_nsec = until % 1000000 * 1000;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->wake);
	int rc = 0;
	while (pool->alive && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&pool->ended, &pool->lock, &ts);
	for (int i = 0; i < pool->n; i++)
		pg_interrupt(pool->workers[i].shown);
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < pool->n; i++)
		pthread_join(pool->workers[i].thread, NULL);
	while (pool->posted)
		loop_turn(pool->loop, 0);
	pthread_mutex_destroy(&pool->lock);
	pthread_cond_destroy(&pool->wake);
	pthread_cond_destroy(&pool->ended);
	free(pool->workers);
	free(pool->dsn);
	free(pool);
}
