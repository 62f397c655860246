#include "services/control-plane/publisher_int.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/migrate.h"
#include "common/pg.h"
#include "common/strbuf.h"
#include "services/control-plane/db.h"

#define TURN_MS      1000 /* without any news: look for the lock, count the outbox */
#define RETRY_MS     500  /* after a failure */
#define RECONCILE_MS 60000
#define PRUNE_MS     600000
#define WAIT_STEP_MS 200 /* a waiter looks itself, should it miss the news */
#define STOP_MS      3000

int64_t publisher_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void publisher_wake(struct publisher *p)
{
	/* Fails only when the counter is full, and then it wakes anyway. */
	ssize_t n = write(p->wake, &(uint64_t){1}, sizeof(uint64_t));
	(void)n;
}

void publisher_bus(struct publisher *p, bool connected)
{
	atomic_store(&p->bus_up, connected);
	publisher_wake(p);
}

void publisher_bucket_told(struct publisher *p)
{
	atomic_store(&p->told, true);
	publisher_wake(p);
}

bool publisher_leads(struct publisher *p)
{
	return atomic_load(&p->leader);
}

void publisher_tell(struct publisher *p)
{
	pthread_mutex_lock(&p->lock);
	p->news++;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

/* --- leadership -------------------------------------------------------------------------- */

static void lead(struct publisher *p, bool leader)
{
	if (atomic_exchange(&p->leader, leader) == leader)
		return;
	p->reconciled_ms = p->pruned_ms = 0;
	metric_set(p->m_leader, leader);
	log_at(LOG_INFO, leader ? "publishes the configuration" : "does not publish any more");
}

/* A session's lock: it goes with the connection, so there are never two who hold it. */
static int try_lead(struct publisher *p, struct error *err)
{
	if (atomic_load(&p->leader))
		return 0;
	PGresult *res = pg_query(p->conn, "SELECT pg_try_advisory_lock(7365998, 1)", 0, NULL, err);
	if (!res)
		return -1;
	lead(p, pg_bool(res, 0, 0));
	PQclear(res);
	return 0;
}

static int publish(struct publisher *p, struct error *err)
{
	if (!atomic_load(&p->bus_up))
		return 0;
	bool due = !p->reconciled_ms || atomic_load(&p->told) ||
		   publisher_now_ms() - p->reconciled_ms >= RECONCILE_MS;
	if (due && bucket_ensure(p, err))
		return -1;
	if (!mirror_ready(p->conf.mirror)) /* it wakes us when it is */
		return 0;
	if (outbox_drain(p, err)) {
		p->reconciled_ms = 0; /* look first whether the bucket is there at all */
		return -1;
	}
	return due ? bucket_reconcile(p, err) : 0;
}

/* --- the thread -------------------------------------------------------------------------- */

static void set_conn(struct publisher *p, PGconn *conn)
{
	pthread_mutex_lock(&p->lock);
	PGconn *old = p->conn;
	p->conn = conn;
	pthread_mutex_unlock(&p->lock);
	if (old)
		PQfinish(old);
}

static int connect_database(struct publisher *p, struct error *err)
{
	if (p->conn)
		return 0;
	PGconn *conn = db_connect(p->dsn, err);
	if (!conn)
		return -1;
	set_conn(p, conn);
	/* Migrations may take their time. */
	if (!p->migrated &&
	    (pg_exec(conn, "SET statement_timeout = 0; SET lock_timeout = 0", err) ||
	     migrate_run(conn, penstock_migrations, err)))
		return -1;
	p->migrated = true;
	/* A mark that is lost with a crash of the server is only a document that is sent twice. */
	if (pg_exec(conn,
		    "SET statement_timeout = '30s'; SET synchronous_commit = off;"
		    "LISTEN penstock_config; LISTEN penstock_published",
		    err))
		return -1;
	p->conf.database(p->conf.arg, true);
	return 0;
}

static int turn(struct publisher *p, struct error *err)
{
	if (connect_database(p, err) || try_lead(p, err) ||
	    (atomic_load(&p->leader) && publish(p, err)) || outbox_count(p, err))
		return -1;
	if (atomic_load(&p->leader) && publisher_now_ms() - p->pruned_ms >= PRUNE_MS)
		return outbox_prune(p, err);
	return 0;
}

/* Takes what was notified; true if there was anything. */
static bool take_notifications(struct publisher *p)
{
	bool any = false, marked = false;
	for (PGnotify *n; p->conn && (n = PQnotifies(p->conn)); PQfreemem(n)) {
		any = true;
		marked |= !strcmp(n->relname, "penstock_published");
	}
	if (marked)
		publisher_tell(p);
	return any;
}

/* Until something happens: a wake, a notification, or timeout_ms. Some notifications came along
 * with the answers of the last turn's queries, where poll() does not see them any more. */
static void wait_for_work(struct publisher *p, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = p->wake, .events = POLLIN},
				{.fd = p->conn ? PQsocket(p->conn) : -1, .events = POLLIN}};
	uint64_t count;
	if (take_notifications(p))
		return;
	if (poll(fds, 2, timeout_ms) > 0 && fds[0].revents)
		if (read(p->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
			return;
	if (p->conn && PQconsumeInput(p->conn))
		take_notifications(p);
}

static void failed(struct publisher *p, const struct error *err)
{
	if (err->code == ERR_FATAL) {
		log_at(LOG_ERROR, "cannot go on", LOG_S("error", err->msg));
		p->conf.fatal(p->conf.arg);
	} else {
		log_at(LOG_WARN, "configuration is not published", LOG_S("error", err->msg));
	}
	if (p->conn && !pg_alive(p->conn)) {
		set_conn(p, NULL);
		lead(p, false);
	}
	if (!p->conn)
		p->conf.database(p->conf.arg, false);
	else
		pg_rollback(p->conn);
}

static void *run(void *arg)
{
	struct publisher *p = arg;
	while (!atomic_load(&p->stopping)) {
		struct error err = {0};
		if (!turn(p, &err)) {
			wait_for_work(p, TURN_MS);
			continue;
		}
		if (atomic_load(&p->stopping))
			break;
		failed(p, &err);
		/* Not woken by more work: what failed just now will fail again. */
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		int64_t at = publisher_now_ms() + RETRY_MS;
		while (!atomic_load(&p->stopping) && publisher_now_ms() < at)
			wait_for_work(p, (int)(at - publisher_now_ms()) + 1);
	}
	set_conn(p, NULL);
	return NULL;
}

static void make_metrics(struct publisher *p)
{
	struct metrics *m = p->conf.metrics;
	p->m_leader = metrics_gauge(m, "penstock_control_leader", NULL,
				    "1 if this process publishes the configuration");
	p->m_depth = metrics_gauge(m, "penstock_control_outbox_depth", NULL,
				   "changes that are not in the bucket yet");
	p->m_published = metrics_counter(m, "penstock_control_published_total", NULL,
					 "changes that the bucket acknowledged");
	p->m_failed =
	    metrics_counter(m, "penstock_control_publish_failures_total", NULL,
			    "changes that the bucket did not acknowledge and that are sent again");
	p->m_reconciles = metrics_counter(m, "penstock_control_reconciles_total", NULL,
					  "comparisons of the whole bucket with PostgreSQL");
	p->m_repaired = metrics_counter(m, "penstock_control_repaired_keys_total", NULL,
					"keys of the bucket that a comparison put right");
	p->m_latency = metrics_histogram(m, "penstock_control_publish_seconds", NULL,
					 "from a change's commit to the bucket's acknowledgement");
}

struct publisher *publisher_start(const struct publisher_conf *conf, struct error *err)
{
	struct publisher *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;
	p->conf = *conf;
	p->dsn = xstrdup(conf->dsn);
	p->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&p->lock, NULL);
	make_metrics(p);
	if (p->wake >= 0 && !pthread_create(&p->thread, NULL, run, p))
		return p;
	err_set(err, ERR_FATAL, "cannot start the publisher: %s", strerror(errno));
	if (p->wake >= 0)
		close(p->wake);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p->dsn);
	free(p);
	return NULL;
}

void publisher_stop(struct publisher *p)
{
	if (!p)
		return;
	struct timespec until;
	atomic_store(&p->stopping, true);
	publisher_wake(p);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_MS / 1000;
	if (pthread_timedjoin_np(p->thread, NULL, &until) != 0) {
		/* It waits for a server that does not answer. */
		pthread_mutex_lock(&p->lock);
		pg_interrupt(p->conn);
		pthread_mutex_unlock(&p->lock);
		pthread_join(p->thread, NULL);
	}
	close(p->wake);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p->dsn);
	free(p);
}

/* --- those who wait ---------------------------------------------------------------------- */

/* A row that was pruned was published. */
static bool is_published(PGconn *conn, int64_t id, int64_t *revision)
{
	struct error err;
	struct pg_int8 row = pg_int8(id);
	PGresult *res = pg_query(conn,
				 "SELECT published_at IS NOT NULL, coalesce(revision, 0)"
				 " FROM control.config_outbox WHERE id = $1::bigint",
				 1, (const char *[]){row.text}, &err);
	bool there = res && PQntuples(res) > 0, done = res && (!there || pg_bool(res, 0, 0));
	*revision = there ? pg_int(res, 0, 1) : 0;
	PQclear(res);
	return done;
}

static void wait_news(struct publisher *p, uint64_t *seen, int64_t until)
{
	struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
	pthread_mutex_lock(&p->lock);
	while (p->news == *seen && !pthread_cond_timedwait(&p->cond, &p->lock, &at))
		;
	*seen = p->news;
	pthread_mutex_unlock(&p->lock);
}

bool publisher_wait(struct publisher *p, PGconn *conn, int64_t id, int timeout_ms,
		    int64_t *revision)
{
	int64_t deadline = publisher_now_ms() + timeout_ms;
	pthread_mutex_lock(&p->lock);
	uint64_t seen = p->news;
	pthread_mutex_unlock(&p->lock);
	publisher_wake(p);
	while (!is_published(conn, id, revision)) {
		int64_t now = publisher_now_ms();
		if (now >= deadline || !atomic_load(&p->bus_up) || atomic_load(&p->stopping))
			return false;
		wait_news(p, &seen, now + WAIT_STEP_MS < deadline ? now + WAIT_STEP_MS : deadline);
	}
	return true;
}
