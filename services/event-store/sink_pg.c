#include "services/event-store/sink_pg.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/ids.h"
#include "common/log.h"
#include "common/migrate.h"
#include "common/pg.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "services/event-store/item.h"
#include "services/event-store/writer.h"

/* "penstock" in ASCII, plus 1: migrations have the number itself. */
#define LEAD_LOCK      "8099000947049456492"
#define SEEK_US        1000000
#define RETRY_FIRST_US 200000
#define RETRY_MAX_US   5000000
#define PING_US        5000000
#define MAINTAIN_US    (600 * 1000000LL)

struct store_pg {
	struct store_sink base;
	struct loop *loop;
	char *dsn;
	int retention_days;
	int64_t seek_us;
	uint64_t epoch;
	struct store_listener listener;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* for all up to the next blank line */
	pthread_cond_t wake;  /* something to do */
	pthread_cond_t ended;
	bool stop, over;
	PGconn *shown; /* the thread's connection, for pg_interrupt() */
	const struct store_batch *batch;
	bool want_hold;
	int64_t hold_max_ms;
	bool posted; /* post is on its way */
	bool told_standing, told_written, told_hold;
	enum store_standing standing;
	uint64_t position;
	char event_id[ID_LEN + 1];
	struct error written; /* code ERR_NONE: stored */
	struct store_hold hold;

	struct loop_post post;
	void (*hold_fn)(void *arg, const struct store_hold *hold); /* loop's thread */
	void *hold_arg;

	/* The thread's own. */
	PGconn *conn;
	struct store_writer writer;
	bool leading;
	int failures;
	int64_t maintain_at_us, heard_us;
	struct rng rng;
	struct metric *m_rows, *m_dropped, *m_connected;
};

static int64_t mono_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

static int64_t wall_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

/* --- from the thread to the loop ----------------------------------------------------------------
 */

static void on_post(struct loop_post *post)
{
	struct store_pg *pg = (struct store_pg *)((char *)post - offsetof(struct store_pg, post));

	pthread_mutex_lock(&pg->lock);
	bool standing = pg->told_standing, written = pg->told_written, hold = pg->told_hold;
	enum store_standing what = pg->standing;
	uint64_t position = pg->position;
	struct error err = pg->written;
	struct store_hold answer = pg->hold;
	char event_id[ID_LEN + 1];
	memcpy(event_id, pg->event_id, sizeof(event_id));
	pg->told_standing = pg->told_written = pg->told_hold = pg->posted = false;
	pthread_mutex_unlock(&pg->lock);
	/* A batch's end comes before the change that it may have caused. */
	if (written)
		pg->listener.written(pg->listener.arg, err.code ? &err : NULL);
	if (standing)
		pg->listener.standing(pg->listener.arg, what, position, event_id);
	if (hold)
		pg->hold_fn(pg->hold_arg, &answer);
}

/* With the lock held. */
static void post(struct store_pg *pg)
{
	if (!pg->posted)
		loop_post(pg->loop, &pg->post);
	pg->posted = true;
}

static void tell_standing(struct store_pg *pg, enum store_standing standing, uint64_t position,
			  const char *event_id)
{
	pthread_mutex_lock(&pg->lock);
	bool news = standing != pg->standing || standing == STORE_LEADING;
	pg->standing = standing;
	pg->position = position;
	snprintf(pg->event_id, sizeof(pg->event_id), "%s", event_id);
	if (news) {
		pg->told_standing = true;
		post(pg);
	}
	pthread_mutex_unlock(&pg->lock);
}

static void tell_written(struct store_pg *pg, const struct error *err)
{
	pthread_mutex_lock(&pg->lock);
	pg->written = *err;
	pg->batch = NULL;
	pg->told_written = true;
	post(pg);
	pthread_mutex_unlock(&pg->lock);
}

static void tell_hold(struct store_pg *pg, const struct store_hold *hold)
{
	pthread_mutex_lock(&pg->lock);
	pg->hold = *hold;
	pg->want_hold = false;
	pg->told_hold = true;
	post(pg);
	pthread_mutex_unlock(&pg->lock);
}

/* --- the thread ---------------------------------------------------------------------------------
 */

static void show(struct store_pg *pg, PGconn *conn)
{
	pthread_mutex_lock(&pg->lock);
	pg->shown = conn;
	pthread_mutex_unlock(&pg->lock);
}

/* Waits until there is something to do, or for that long; true: end. */
static bool wait_for_work(struct store_pg *pg, int64_t us)
{
	struct timespec ts;
	int64_t until = mono_us() + us;

	ts.tv_sec = until / 1000000;
	ts.tv_nsec = until % 1000000 * 1000;
	pthread_mutex_lock(&pg->lock);
	int rc = 0;
	while (!pg->stop && !(pg->leading && pg->batch) && !pg->want_hold && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&pg->wake, &pg->lock, &ts);
	/* A batch that was handed over is finished before the end. */
	bool end = pg->stop && !(pg->leading && pg->batch);
	pthread_mutex_unlock(&pg->lock);
	return end;
}

static void lost(struct store_pg *pg, const struct error *err)
{
	if (err && pg->failures++ == 0)
		log_at(LOG_WARN, "PostgreSQL is away", LOG_S("error", err->msg));
	store_writer_close(&pg->writer);
	show(pg, NULL);
	PQfinish(pg->conn);
	pg->conn = NULL;
	pg->leading = false;
	metric_set(pg->m_connected, 0);
	tell_standing(pg, STORE_AWAY, 0, "");
}

static int connect_now(struct store_pg *pg)
{
	struct error err = {0};

	pg->conn = pg_connect(pg->dsn, "penstock-event-store", &err);
	if (!pg->conn) {
		if (pg->failures++ == 0)
			log_at(LOG_WARN, "PostgreSQL is away", LOG_S("error", err.msg));
		return -1;
	}
	show(pg, pg->conn);
	if (migrate_run(pg->conn, penstock_migrations, &err) ||
	    store_writer_open(&pg->writer, pg->conn, pg->epoch, &err)) {
		lost(pg, &err);
		return -1;
	}
	log_at(LOG_INFO, "PostgreSQL is there", LOG_I("failures", pg->failures));
	pg->failures = 0;
	pg->heard_us = mono_us();
	metric_set(pg->m_connected, 1);
	return 0;
}

static int maintain(struct store_pg *pg, struct error *err)
{
	int dropped = 0;

	if (mono_us() < pg->maintain_at_us)
		return 0;
	if (store_writer_maintain(&pg->writer, wall_us(), pg->retention_days, &dropped, err)) {
		/* A lock that somebody holds, for instance: in a minute again. */
		pg->maintain_at_us = mono_us() + 60 * 1000000LL;
		if (!pg_alive(pg->conn))
			return -1;
		log_at(LOG_WARN, "partitions could not be kept", LOG_S("error", err->msg));
		return 0;
	}
	if (dropped)
		log_at(LOG_INFO, "old partitions dropped", LOG_I("partitions", dropped));
	metric_add(pg->m_dropped, dropped);
	pg->maintain_at_us = mono_us() + MAINTAIN_US;
	return 0;
}

static int seek_lead(struct store_pg *pg, struct error *err)
{
	uint64_t position;
	char event_id[ID_LEN + 1];
	PGresult *res =
	    pg_query(pg->conn, "SELECT pg_try_advisory_lock(" LEAD_LOCK ")", 0, NULL, err);

	if (!res)
		return -1;
	bool got = pg_bool(res, 0, 0);
	PQclear(res);
	if (!got) {
		tell_standing(pg, STORE_STANDBY, 0, "");
		return 0;
	}
	pg->maintain_at_us = 0;
	if (maintain(pg, err) || store_writer_position(&pg->writer, &position, event_id, err))
		return -1;
	pg->leading = true;
	log_at(LOG_INFO, "this event-store ingests", LOG_I("position", position));
	tell_standing(pg, STORE_LEADING, position, event_id);
	return 0;
}

/* Halves what PostgreSQL refuses until the refused one is alone. */
static int write_range(struct store_pg *pg, struct store_item *items, size_t n, struct error *err)
{
	int64_t rows;

	if (!store_writer_write(&pg->writer, items, n, &rows, err)) {
		metric_add(pg->m_rows, rows);
		return 0;
	}
	if (err->code != ERR_REJECTED && err->code != ERR_CONFLICT)
		return -1;
	if (n > 1)
		return write_range(pg, items, n / 2, err) ||
			       write_range(pg, items + n / 2, n - n / 2, err)
			   ? -1
			   : 0;
	if (!items[0].event)
		return -1;
	log_at(LOG_ERROR, "an event was refused, it is in quarantine", LOG_S("error", err->msg),
	       LOG_I("seq", items[0].seq), LOG_S("event", items[0].event->id));
	store_item_poison(&items[0], "PostgreSQL refused it");
	return store_writer_write(&pg->writer, items, 1, &rows, err);
}

static int do_batch(struct store_pg *pg, const struct store_batch *batch)
{
	struct error err = {0};

	if (write_range(pg, batch->items, batch->n, &err)) {
		tell_written(pg, &err);
		if (pg_alive(pg->conn))
			return 0;
		lost(pg, &err);
		return -1;
	}
	tell_written(pg, &(struct error){0});
	return 0;
}

static int do_hold(struct store_pg *pg, int64_t max_ms, struct error *err)
{
	struct store_hold hold = {0};
	struct pg_int8 epoch = pg_int8((int64_t)pg->epoch), max = pg_int8(max_ms);
	char event_id[ID_LEN + 1];

	if (pg->leading && max_ms >= 0) {
		PGresult *res = pg_query(pg->conn,
					 "SELECT min(first_seq) FROM tasks WHERE finished_at IS "
					 "NULL AND release_at IS NULL"
					 " AND epoch = $1"
					 " AND created_at > now() - $2::float8 * interval '1 ms'",
					 2, (const char *[]){epoch.text, max.text}, err);
		if (res) {
			hold.oldest_open = (uint64_t)pg_int(res, 0, 0);
			hold.known =
			    !store_writer_position(&pg->writer, &hold.position, event_id, err);
			PQclear(res);
		}
	}
	tell_hold(pg, &hold);
	return pg_alive(pg->conn) ? 0 : -1;
}

/* What there is to do while connected; -1: the connection is no good any more. */
static int work(struct store_pg *pg, struct error *err)
{
	pthread_mutex_lock(&pg->lock);
	const struct store_batch *batch = pg->leading ? pg->batch : NULL;
	bool hold = pg->want_hold;
	int64_t max_ms = pg->hold_max_ms;
	pthread_mutex_unlock(&pg->lock);

	if (batch && do_batch(pg, batch))
		return 0; /* dealt with: there is no connection now */
	if (hold && do_hold(pg, max_ms, err))
		return -1;
	if (!pg->leading)
		return seek_lead(pg, err);
	if (batch)
		pg->heard_us = mono_us();
	if (mono_us() - pg->heard_us > PING_US) {
		pg->heard_us = mono_us();
		if (pg_exec(pg->conn, "SELECT 1", err))
			return -1;
	}
	return maintain(pg, err);
}

static void *run(void *arg)
{
	struct store_pg *pg = arg;
	bool end = false;

	while (!end) {
		struct error err = {0};
		int64_t pause = pg->seek_us;

		if (!pg->conn && connect_now(pg)) {
			tell_standing(pg, STORE_AWAY, 0, "");
			pause = backoff_full_jitter(&pg->rng, pg->failures, RETRY_FIRST_US, 2,
						    RETRY_MAX_US) +
				RETRY_FIRST_US;
			pthread_mutex_lock(&pg->lock);
			bool hold = pg->want_hold;
			pthread_mutex_unlock(&pg->lock);
			if (hold)
				tell_hold(pg, &(struct store_hold){0});
		} else if (work(pg, &err)) {
			lost(pg, &err);
			pause = RETRY_FIRST_US;
		} else if (!pg->conn) {
			pause = RETRY_FIRST_US;
		}
		end = wait_for_work(pg, pause);
	}
	if (pg->conn)
		lost(pg, NULL);
	pthread_mutex_lock(&pg->lock);
	pg->over = true;
	pthread_cond_signal(&pg->ended);
	pthread_mutex_unlock(&pg->lock);
	return NULL;
}

/* --- the loop's side ----------------------------------------------------------------------------
 */

static void pg_start(struct store_sink *sink, uint64_t epoch, const struct store_listener *listener)
{
	struct store_pg *pg = (struct store_pg *)sink;

	pg->epoch = epoch;
	pg->listener = *listener;
	if (pthread_create(&pg->thread, NULL, run, pg))
		abort();
	pg->started = true;
}

static void pg_write(struct store_sink *sink, const struct store_batch *batch)
{
	struct store_pg *pg = (struct store_pg *)sink;

	pthread_mutex_lock(&pg->lock);
	pg->batch = batch;
	pthread_cond_signal(&pg->wake);
	pthread_mutex_unlock(&pg->lock);
}

static const struct store_sink_ops ops = {.start = pg_start, .write = pg_write};

struct store_pg *store_pg_new(struct loop *loop, const struct store_pg_conf *conf,
			      struct metrics *metrics)
{
	struct store_pg *pg = xcalloc(1, sizeof(*pg));
	pthread_condattr_t attr;

	pg->base.ops = &ops;
	pg->loop = loop;
	pg->dsn = xstrdup(conf->dsn);
	pg->retention_days = conf->retention_days;
	pg->seek_us = conf->seek_us ? conf->seek_us : SEEK_US;
	pg->post.fn = on_post;
	rng_seed_os(&pg->rng);
	pthread_mutex_init(&pg->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pg->wake, &attr);
	pthread_cond_init(&pg->ended, &attr);
	pthread_condattr_destroy(&attr);
	pg->m_rows = metrics_counter(metrics, "penstock_store_rows_total", NULL,
				     "Events that became a new row (repeats are none)");
	pg->m_dropped = metrics_counter(metrics, "penstock_store_partitions_dropped_total", NULL,
					"Daily partitions that retention dropped");
	pg->m_connected = metrics_gauge(metrics, "penstock_store_postgres_connected", NULL,
					"1: the writing connection stands");
	return pg;
}

struct store_sink *store_pg_sink(struct store_pg *pg)
{
	return &pg->base;
}

void store_pg_ask_hold(struct store_pg *pg, int64_t task_max_ms,
		       void (*fn)(void *arg, const struct store_hold *hold), void *arg)
{
	pg->hold_fn = fn;
	pg->hold_arg = arg;
	pthread_mutex_lock(&pg->lock);
	pg->want_hold = true;
	pg->hold_max_ms = task_max_ms;
	pthread_cond_signal(&pg->wake);
	pthread_mutex_unlock(&pg->lock);
}

static void join(struct store_pg *pg, int timeout_ms)
{
	struct timespec ts;
	int64_t until = mono_us() + timeout_ms * 1000LL;
	int rc = 0;

	ts.tv_sec = until / 1000000;
	ts.tv_nsec = until % 1000000 * 1000;
	pthread_mutex_lock(&pg->lock);
	pg->stop = true;
	pthread_cond_signal(&pg->wake);
	while (!pg->over && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&pg->ended, &pg->lock, &ts);
	if (!pg->over) /* it hangs in a call; make that fail */
		pg_interrupt(pg->shown);
	pthread_mutex_unlock(&pg->lock);
	pthread_join(pg->thread, NULL);
}

void store_pg_free(struct store_pg *pg, int timeout_ms)
{
	if (!pg)
		return;
	if (pg->started)
		join(pg, timeout_ms);
	while (pg->posted)
		loop_turn(pg->loop, 0);
	pthread_mutex_destroy(&pg->lock);
	pthread_cond_destroy(&pg->wake);
	pthread_cond_destroy(&pg->ended);
	free(pg->dsn);
	free(pg);
}
