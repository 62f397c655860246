#include "services/event-store/release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pg.h"
#include "proto/command.pb-c.h"
#include "services/event-store/lead.h"
#include "services/event-store/pool.h"
#include "services/event-store/redrive_pg.h"
#include "services/event-store/release_pg.h"
#include "services/event-store/replay_pg.h"
#include "services/event-store/schedule_pg.h"
#include "services/event-store/trigger_pg.h"

#define LOCK         "8099000947049456522"
#define ROUND_US     100000  /* between the beginnings of two rounds */
#define STANDBY_US   1000000 /* another one leads, or PostgreSQL is away */
#define COUNT_US     5000000
#define ASK_MS       3000
#define AWAY_MS      1000  /* a tenant whose router does not answer is left out for so long */
#define FULL_MS      250   /* … whose limits refuse, at least */
#define FORBIDDEN_MS 10000 /* … that is suspended, or that the router does not know */
#define PAUSE_MAX_MS 60000
#define PAUSED_MAX   4096 /* beyond, refused tenants are simply asked again */

enum { END_DONE, END_REFUSED, END_UNKNOWN, END_BAD, ENDS };

struct paused {
	char tenant[TENANT_MAX + 1];
	int64_t until_us;
};

struct ask {
	struct store_release *s;
	size_t at; /* in due */
};

struct store_release {
	struct store_job job; /* first: the one that is under way */
	struct bus *bus;
	struct loop *loop;
	struct store_release_conf conf;
	struct store_pool *pool;
	struct timer timer;
	int64_t round_us; /* when the last one began */
	bool stopped;
	struct paused paused[PAUSED_MAX];
	size_t n_paused;
	size_t asking; /* answers still to come */
	struct ask asks[SLOW_KINDS * RELEASE_ROUND_MAX];
	/* The round's; the pool's thread's while a job is there. */
	struct release_due due[SLOW_KINDS * RELEASE_ROUND_MAX];
	size_t n_due, max;
	struct strbuf skip;
	bool leading, worked;
	int lead_pid; /* of the backend that has the lock */
	int64_t waiting, count_at_us;
	struct metric *m_ends[SLOW_KINDS][ENDS], *m_failures, *m_waiting, *m_leading;
};

/* --- PostgreSQL, on its thread ---------------------------------------------------------------
 */

static int prepare(PGconn *conn, struct error *err)
{
	if (pg_exec(conn,
		    "SET jit = off; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
		    "SELECT 1 FROM control.triggers LIMIT 0",
		    err))
		return -1;
	return release_pg_prepare(conn, err);
}

static int seek_lead(struct store_release *s, PGconn *conn, struct error *err)
{
	bool gained;
	if (lead_seek(conn, LOCK, &s->lead_pid, &gained, err))
		return -1;
	if (gained)
		log_at(LOG_INFO, "this event-store releases parked tasks");
	return 0;
}

static int read_due(struct store_release *s, PGconn *conn, struct error *err)
{
	const char *skip = strbuf_str(&s->skip);
	struct release_any any = {0};
	bool found = false;
	size_t n = 0;
	int rc = release_pg_any(conn, s->conf.epoch, &any, err);
	if (!rc && any.releases)
		rc = release_pg_read(conn, s->conf.epoch, s->max, skip, s->due, &s->n_due, err);
	if (!rc && any.redrives)
		rc = redrive_pg_read(conn, s->conf.epoch, RELEASE_ROUND_MAX, skip,
				     s->due + s->n_due, &n, err);
	s->n_due += n;
	n = 0;
	if (!rc && any.replays)
		rc = replay_pg_read(conn, RELEASE_ROUND_MAX, skip, s->due + s->n_due, &n, err);
	s->n_due += n;
	n = 0;
	if (!rc && any.schedules)
		rc = schedule_pg_read(conn, s->max, skip, s->due + s->n_due, &n, err);
	s->n_due += n;
	n = 0;
	if (!rc && any.triggers)
		rc = trigger_pg_look(conn, &found, err);
	if (!rc && (any.triggered || found))
		rc = trigger_pg_read(conn, s->max, skip, s->due + s->n_due, &n, err);
	s->n_due += n;
	return rc;
}

/* What was answered is noted even if the lead is lost: it is true all the same. */
static int work(PGconn *conn, struct store_job *job)
{
	struct store_release *s = (struct store_release *)job;
	struct error err = {0};

	s->worked = s->leading = false;
	if (!conn) {
		s->lead_pid = 0;
		return 0;
	}
	int rc = release_pg_note(conn, s->conf.epoch, s->due, s->n_due, &err);
	if (!rc)
		rc = redrive_pg_note(conn, s->due, s->n_due, &err);
	if (!rc)
		rc = replay_pg_note(conn, s->due, s->n_due, &err);
	if (!rc)
		rc = schedule_pg_note(conn, s->due, s->n_due, &err);
	if (!rc)
		rc = trigger_pg_note(conn, s->due, s->n_due, &err);
	if (!rc) {
		release_due_forget(s->due, &s->n_due);
		rc = seek_lead(s, conn, &err);
	}
	s->leading = s->lead_pid != 0;
	if (!rc && s->leading)
		rc = read_due(s, conn, &err);
	if (!rc && s->leading && s->round_us >= s->count_at_us) {
		rc = release_pg_count(conn, s->conf.epoch, &s->waiting, &err);
		s->count_at_us = s->round_us + COUNT_US;
	}
	s->worked = !rc;
	if (!rc)
		return 0;
	log_at(LOG_WARN, "parked tasks could not be read", LOG_S("error", err.msg));
	if (pg_alive(conn))
		return 0;
	s->lead_pid = 0;
	return -1;
}

/* --- tenants that were refused -----------------------------------------------------------------
 */

static void pause_tenant(struct store_release *s, const char *tenant, int64_t ms)
{
	int64_t until = loop_now_us(s->loop) + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS) * 1000;
	struct paused *p = NULL;

	for (size_t i = 0; i < s->n_paused && !p; i++)
		if (strcmp(s->paused[i].tenant, tenant) == 0)
			p = &s->paused[i];
	if (!p && s->n_paused == PAUSED_MAX)
		return;
	if (!p) {
		p = &s->paused[s->n_paused++];
		*p = (struct paused){0};
		strcpy(p->tenant, tenant);
	}
	if (p->until_us < until)
		p->until_us = until;
}

/* The array literal of those that are left out now. Names have nothing that needs an escape. */
static void list_paused(struct store_release *s)
{
	int64_t now = loop_now_us(s->loop);
	size_t kept = 0;

	strbuf_reset(&s->skip);
	strbuf_addc(&s->skip, '{');
	for (size_t i = 0; i < s->n_paused; i++) {
		if (s->paused[i].until_us <= now)
			continue;
		strbuf_addf(&s->skip, "%s\"%s\"", kept ? "," : "", s->paused[i].tenant);
		s->paused[kept++] = s->paused[i];
	}
	s->n_paused = kept;
	strbuf_addc(&s->skip, '}');
}

/* --- asking ------------------------------------------------------------------------------------
 */

static int64_t at_least(int64_t ms, int64_t floor_ms)
{
	return ms > floor_ms ? ms : floor_ms;
}

static void take_refusal(struct store_release *s, struct release_due *d,
			 const Penstock__Refused *no)
{
	if (no->temporary) {
		metric_add(s->m_ends[d->kind][END_REFUSED], 1);
		pause_tenant(s, d->tenant, at_least(no->retry_after_ms, FULL_MS));
	} else if (strcmp(no->code, "forbidden") == 0) {
		metric_add(s->m_ends[d->kind][END_REFUSED], 1);
		pause_tenant(s, d->tenant, FORBIDDEN_MS);
	} else {
		log_at(d->kind == SLOW_RELEASE ? LOG_ERROR : LOG_WARN, "the router refused",
		       LOG_S("tenant", d->tenant), LOG_S("task", d->task), LOG_S("code", no->code),
		       LOG_S("reason", no->message));
		d->end = RELEASE_BAD;
		metric_add(s->m_ends[d->kind][END_BAD], 1);
		bool word = no->code[strspn(no->code, "abcdefghijklmnopqrstuvwxyz_")] == '\0';
		snprintf(d->reason, sizeof(d->reason), "%s",
			 word && *no->code ? no->code : "refused");
	}
}

static void take_answer(struct store_release *s, struct release_due *d, enum bus_result result,
			const struct bus_msg *msg)
{
	Penstock__Reply *reply =
	    result == BUS_OK ? penstock__reply__unpack(NULL, msg->len, msg->data) : NULL;

	if (reply && reply->body_case == PENSTOCK__REPLY__BODY_ACCEPTED) {
		metric_add(s->m_ends[d->kind][END_DONE], 1);
		d->end = RELEASE_DONE;
	} else if (reply && reply->body_case == PENSTOCK__REPLY__BODY_REFUSED) {
		take_refusal(s, d, reply->refused);
	} else { /* perhaps it is there and perhaps not: it will be asked for again */
		metric_add(s->m_ends[d->kind][END_UNKNOWN], 1);
		pause_tenant(s, d->tenant, AWAY_MS);
	}
	if (reply)
		penstock__reply__free_unpacked(reply, NULL);
}

static void next_round(struct store_release *s, int64_t period_us)
{
	int64_t wait = s->round_us + period_us - loop_now_us(s->loop);
	if (!s->stopped)
		timer_set(s->loop, &s->timer, wait > 0 ? wait : 0);
}

static void on_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct ask *ask = arg;
	struct store_release *s = ask->s;

	take_answer(s, &s->due[ask->at], result, msg);
	if (--s->asking == 0)
		next_round(s, ROUND_US);
}

static void ask_all(struct store_release *s)
{
	for (size_t i = 0; i < s->n_due; i++)
		s->asking += s->due[i].end == RELEASE_NOT_YET;
	for (size_t i = 0; i < s->n_due; i++) {
		struct release_due *d = &s->due[i];
		if (d->end == RELEASE_BAD)
			metric_add(s->m_ends[d->kind][END_BAD], 1);
		if (d->end != RELEASE_NOT_YET)
			continue;
		s->asks[i] = (struct ask){s, i};
		struct subject subject = subject_cmd(part_of(d->tenant, s->conf.parts));
		bus_request(s->bus, subject.text, d->command, d->len, ASK_MS, on_answer,
			    &s->asks[i]);
	}
}

/* --- rounds ------------------------------------------------------------------------------------
 */

static void on_worked(void *arg, struct store_job *job)
{
	struct store_release *s = arg;

	(void)job;
	if (!s->worked)
		metric_add(s->m_failures, 1);
	metric_set(s->m_leading, s->leading);
	metric_set(s->m_waiting, s->leading ? s->waiting : 0);
	if (s->stopped)
		return;
	if (s->worked && s->leading)
		ask_all(s);
	if (!s->asking)
		next_round(s, s->worked && s->leading ? ROUND_US : STANDBY_US);
}

static void start_job(struct store_release *s)
{
	int64_t max = s->conf.per_s * ROUND_US / 1000000;
	s->round_us = loop_now_us(s->loop);
	s->max = max < 1 ? 1 : max > RELEASE_ROUND_MAX ? RELEASE_ROUND_MAX : (size_t)max;
	list_paused(s);
	store_pool_add(s->pool, &s->job);
}

static void on_timer(struct timer *timer, void *arg)
{
	(void)timer;
	start_job(arg);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void init_metrics(struct store_release *s, struct metrics *m)
{
	static const char *const names[SLOW_KINDS] = {
	    "penstock_store_releases_total", "penstock_store_redrives_total",
	    "penstock_store_replays_total", "penstock_store_schedules_total",
	    "penstock_store_triggers_total"};
	static const char *const help[SLOW_KINDS] = {
	    "Parked tasks that a router was asked to let go on",
	    "Dead letters that a router was asked to let live again",
	    "Events that a router was asked to deliver again",
	    "Tasks that a router was asked to start by schedule",
	    "Tasks that a router was asked to start by an event of a trigger"};
	static const char *const done[SLOW_KINDS] = {"released", "redriven", "sent", "started",
						     "started"};
	for (int k = 0; k < SLOW_KINDS; k++) {
		const char *const ends[ENDS] = {done[k], "refused", "unknown", "bad"};
		for (int e = 0; e < ENDS; e++) {
			char label[32];
			snprintf(label, sizeof(label), "result=\"%s\"", ends[e]);
			s->m_ends[k][e] = metrics_counter(m, names[k], label, help[k]);
		}
	}
	s->m_failures = metrics_counter(m, "penstock_store_release_failures_total", NULL,
					"Rounds in which PostgreSQL could not be asked");
	s->m_waiting = metrics_gauge(m, "penstock_store_parked_tasks", NULL,
				     "Parked tasks that wait for their time or their ticket");
	s->m_leading = metrics_gauge(m, "penstock_store_release_leading", NULL,
				     "1: this event-store releases parked tasks");
}

struct store_release *store_release_start(struct bus *bus, struct loop *loop,
					  const struct store_release_conf *conf,
					  struct metrics *metrics)
{
	struct store_release *s = xcalloc(1, sizeof(*s));

	s->bus = bus;
	s->loop = loop;
	s->conf = *conf;
	timer_init(&s->timer, on_timer, s);
	init_metrics(s, metrics);
	s->pool = store_pool_start(loop,
				   &(struct store_pool_conf){.dsn = conf->dsn,
							     .name = "penstock-event-store release",
							     .threads = 1,
							     .prepare = prepare,
							     .work = work,
							     .done = on_worked},
				   s);
	start_job(s);
	return s;
}

void store_release_stop(struct store_release *s, int timeout_ms)
{
	if (!s)
		return;
	s->stopped = true;
	timer_cancel(s->loop, &s->timer);
	store_pool_stop(s->pool, timeout_ms);
	s->pool = NULL;
}

void store_release_free(struct store_release *s)
{
	if (!s)
		return;
	release_due_forget(s->due, &s->n_due);
	strbuf_done(&s->skip);
	free(s);
}
