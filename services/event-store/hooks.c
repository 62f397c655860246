#include "services/event-store/hooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pg.h"
#include "proto/event.pb-c.h"
#include "proto/hook.pb-c.h"
#include "services/event-store/hooks_pg.h"
#include "services/event-store/lead.h"
#include "services/event-store/pool.h"

#define LOCK       "8099000947049456523"
#define ROUND_US   100000  /* between the beginnings of two rounds, if nothing happens */
#define SOON_US    10000   /* … if something did: so much is gathered */
#define STANDBY_US 1000000 /* another one leads, PostgreSQL is away, or there are no hooks */
#define MARGIN_MS  3000    /* a worker answers within the hook's timeout and this */
#define STORE_MS   3000

enum { END_DELIVERED, END_FAILED, END_UNTRIED, ENDS };

/* The event that tells of a disabled hook. */
enum say { SAY_NOTHING, SAY_FOUND, SAY_STORING, SAY_STORED };

struct flight {
	struct store_hooks *s;
	struct hook_delivery *d; /* NULL: free */
};

struct store_hooks {
	struct store_job job; /* first: the one that is under way */
	struct bus *bus;
	struct loop *loop;
	struct store_hooks_conf conf;
	struct store_pool *pool;
	struct timer timer;
	int64_t round_us; /* when the last one began */
	bool stopped, at_work, poked;
	struct flight flights[HOOKS_IN_FLIGHT];
	size_t flying;
	struct hook_delivery *answered; /* to be noted */
	struct hook_ended ended;        /* that say is about */
	enum say say;
	/* The round's; the pool's thread's while a job is there. */
	struct hook_delivery *noting, *taken;
	size_t room;
	int64_t now_us;
	bool look, said, told; /* for an ended hook; its event is stored; which is noted */
	struct hook_ended found;
	bool leading, worked, any, more;
	int lead_pid; /* of the backend that has the lock */
	struct metric *m_ends[ENDS], *m_disabled, *m_failures, *m_flying, *m_leading;
};

static void delivery_free(struct hook_delivery *d)
{
	free(d->post);
	free(d);
}

/* --- PostgreSQL, on its thread ----------------------------------------------------------------
 */

static int prepare(PGconn *conn, struct error *err)
{
	return pg_exec(conn,
		       "SET jit = off; SET statement_timeout = '30s'; SET lock_timeout = '10s';"
		       "SELECT 1 FROM hook_deliveries LIMIT 0",
		       err);
}

static int seek_lead(struct store_hooks *s, PGconn *conn, struct error *err)
{
	bool gained;
	if (lead_seek(conn, LOCK, &s->lead_pid, &gained, err))
		return -1;
	if (!gained)
		return 0;
	log_at(LOG_INFO, "this event-store delivers to hooks");
	return hooks_pg_take_over(conn, err);
}

/* What was answered is noted even if the lead is lost: it is true all the same. */
static int note_all(struct store_hooks *s, PGconn *conn, struct error *err)
{
	while (s->noting) {
		struct hook_delivery *d = s->noting;
		bool disabled;
		if (hooks_pg_note(conn, d, &disabled, err))
			return -1;
		if (disabled) {
			log_at(LOG_WARN, "a hook is disabled", LOG_S("hook", d->hook),
			       LOG_S("last", d->error));
			metric_add(s->m_disabled, 1);
		}
		s->noting = d->next;
		delivery_free(d);
	}
	return 0;
}

static int lead(struct store_hooks *s, PGconn *conn, struct error *err)
{
	size_t n;
	if (hooks_pg_any(conn, &s->any, err))
		return -1;
	if (!s->any)
		return 0;
	if (hooks_pg_scan(conn, &s->more, err) || hooks_pg_replay(conn, err) ||
	    hooks_pg_take(conn, s->room, s->now_us, &s->taken, &n, err))
		return -1;
	return s->look ? hooks_pg_untold(conn, &s->found, err) : 0;
}

static int work(PGconn *conn, struct store_job *job)
{
	struct store_hooks *s = (struct store_hooks *)job;
	struct error err = {0};

	s->worked = s->leading = s->any = s->more = s->told = false;
	if (!conn) {
		s->lead_pid = 0;
		return 0;
	}
	int rc = note_all(s, conn, &err);
	if (!rc && s->said) {
		rc = hooks_pg_told(conn, &s->ended, &err);
		s->told = !rc;
	}
	if (!rc)
		rc = seek_lead(s, conn, &err);
	s->leading = s->lead_pid != 0;
	if (!rc && s->leading)
		rc = lead(s, conn, &err);
	s->worked = !rc;
	if (!rc)
		return 0;
	log_at(LOG_WARN, "hooks could not be read", LOG_S("error", err.msg));
	if (pg_alive(conn))
		return 0;
	s->lead_pid = 0;
	return -1;
}

/* --- rounds -----------------------------------------------------------------------------------
 */

static void next_round(struct store_hooks *s, int64_t period_us)
{
	int64_t wait = s->round_us + period_us - loop_now_us(s->loop);
	if (!s->stopped && !s->at_work)
		timer_set(s->loop, &s->timer, wait > 0 ? wait : 0);
}

static void soon(struct store_hooks *s)
{
	s->poked = true;
	if (s->any)
		next_round(s, SOON_US);
}

void store_hooks_poke(struct store_hooks *s)
{
	if (s && !s->poked)
		soon(s);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct store_hooks *s = arg;
	struct hook_delivery *last = s->answered;
	(void)timer;
	while (last && last->next)
		last = last->next;
	if (last) { /* what could not be noted last time is still there */
		last->next = s->noting;
		s->noting = s->answered;
		s->answered = NULL;
	}
	s->at_work = true;
	s->poked = false;
	s->round_us = loop_now_us(s->loop);
	s->now_us = loop_wall_us(s->loop);
	s->room = HOOKS_IN_FLIGHT - s->flying;
	s->look = s->say == SAY_NOTHING;
	s->said = s->say == SAY_STORED;
	store_pool_add(s->pool, &s->job);
}

/* --- handing out ------------------------------------------------------------------------------
 */

static void take_answer(struct store_hooks *s, struct hook_delivery *d, enum bus_result result,
			const struct bus_msg *msg)
{
	Penstock__HookAnswer *a =
	    result == BUS_OK ? penstock__hook_answer__unpack(NULL, msg->len, msg->data) : NULL;
	int end = END_UNTRIED;
	if (a && !a->busy) {
		d->tried = true;
		d->status = a->status;
		d->retry_after_ms =
		    a->retry_after_ms < 86400000 ? (int64_t)a->retry_after_ms : 86400000;
		if (a->status)
			snprintf(d->error, sizeof(d->error), "HTTP %u", a->status);
		else
			snprintf(d->error, sizeof(d->error), "%s", a->error);
		end = a->status >= 200 && a->status < 300 ? END_DELIVERED : END_FAILED;
	}
	metric_add(s->m_ends[end], 1);
	if (a)
		penstock__hook_answer__free_unpacked(a, NULL);
}

static void on_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct flight *f = arg;
	struct store_hooks *s = f->s;
	struct hook_delivery *d = f->d;
	f->d = NULL;
	take_answer(s, d, result, msg);
	d->next = s->answered;
	s->answered = d;
	metric_set(s->m_flying, (int64_t)--s->flying);
	soon(s);
}

/* As many as are taken there is room for. */
static void hand_out(struct store_hooks *s)
{
	struct flight *f = s->flights;
	while (s->taken) {
		struct hook_delivery *d = s->taken;
		while (f->d)
			f++;
		*f = (struct flight){s, d};
		s->taken = d->next;
		metric_set(s->m_flying, (int64_t)++s->flying);
		bus_request(s->bus, SUBJECT_HOOK_POST, d->post, d->len, d->timeout_ms + MARGIN_MS,
			    on_answer, f);
	}
}

static void on_stored(void *arg, const struct bus_ack *ack)
{
	struct store_hooks *s = arg;
	s->say = ack->result == BUS_OK ? SAY_STORED : SAY_FOUND;
}

/* hook.disabled, on the tenant's channel hook.<id>: under an id of its own, so that a repeat is the
 * same event. */
static void say_disabled(struct store_hooks *s)
{
	struct hook_ended *e = &s->ended;
	char name[TENANT_MAX + 16], channel[CHANNEL_MAX + 1];
	snprintf(name, sizeof(name), "%s:%d", e->hook, e->times);
	snprintf(channel, sizeof(channel), "hook.%s", e->hook);
	struct id id = id_derive(e->tenant, "hook.disabled", name);
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	ev.id = id.text;
	ev.tenant = e->tenant;
	ev.channel = channel;
	ev.type = (char *)"hook.disabled";
	ev.version = 1;
	ev.data.data = (uint8_t *)e->data;
	ev.data.len = strlen(e->data);
	ev.time_us = loop_wall_us(s->loop);
	ev.principal = (char *)"event-store";
	size_t len = penstock__event__get_packed_size(&ev);
	uint8_t *packed = xmalloc(len);
	penstock__event__pack(&ev, packed);
	struct subject subject = subject_evt(part_of(e->tenant, s->conf.parts), e->tenant, channel);
	s->say = SAY_STORING;
	bus_store(s->bus, subject.text,
		  &(struct bus_store_opts){
		      .msg_id = id.text, .expect_last_seq = -1, .timeout_ms = STORE_MS},
		  packed, len, on_stored, s);
	free(packed);
}

static void tell_ended(struct store_hooks *s)
{
	if (s->told) {
		free(s->ended.data);
		s->ended = (struct hook_ended){0};
		s->say = SAY_NOTHING;
	}
	if (s->found.data) {
		s->ended = s->found;
		s->found = (struct hook_ended){0};
		s->say = SAY_FOUND;
	}
	if (s->say == SAY_FOUND && !s->stopped)
		say_disabled(s);
}

static void on_worked(void *arg, struct store_job *job)
{
	struct store_hooks *s = arg;
	(void)job;
	s->at_work = false;
	if (!s->worked)
		metric_add(s->m_failures, 1);
	metric_set(s->m_leading, s->leading);
	tell_ended(s);
	if (s->stopped)
		return;
	hand_out(s);
	if (!s->worked || !s->leading || !s->any)
		next_round(s, STANDBY_US);
	else
		next_round(s, s->more || s->poked ? SOON_US : ROUND_US);
}

/* --- life -------------------------------------------------------------------------------------
 */

static void init_metrics(struct store_hooks *s, struct metrics *m)
{
	static const char *const ends[ENDS] = {"result=\"delivered\"", "result=\"failed\"",
					       "result=\"untried\""};
	for (int e = 0; e < ENDS; e++)
		s->m_ends[e] = metrics_counter(m, "penstock_store_hook_deliveries_total", ends[e],
					       "Attempts to deliver to outgoing webhooks");
	s->m_disabled = metrics_counter(m, "penstock_store_hooks_disabled_total", NULL,
					"Hooks that were given up");
	s->m_failures = metrics_counter(m, "penstock_store_hook_failures_total", NULL,
					"Rounds in which PostgreSQL could not be asked");
	s->m_flying = metrics_gauge(m, "penstock_store_hook_in_flight", NULL,
				    "Deliveries that workers have in hand");
	s->m_leading = metrics_gauge(m, "penstock_store_hook_leading", NULL,
				     "1: this event-store delivers to hooks");
}

struct store_hooks *store_hooks_start(struct bus *bus, struct loop *loop,
				      const struct store_hooks_conf *conf, struct metrics *metrics)
{
	struct store_hooks *s = xcalloc(1, sizeof(*s));

	s->bus = bus;
	s->loop = loop;
	s->conf = *conf;
	timer_init(&s->timer, on_timer, s);
	init_metrics(s, metrics);
	s->pool = store_pool_start(loop,
				   &(struct store_pool_conf){.dsn = conf->dsn,
							     .name = "penstock-event-store hooks",
							     .threads = 1,
							     .prepare = prepare,
							     .work = work,
							     .done = on_worked},
				   s);
	timer_set(loop, &s->timer, 0);
	return s;
}

void store_hooks_stop(struct store_hooks *s, int timeout_ms)
{
	if (!s)
		return;
	s->stopped = true;
	timer_cancel(s->loop, &s->timer);
	store_pool_stop(s->pool, timeout_ms);
	s->pool = NULL;
}

static void list_free(struct hook_delivery *d)
{
	while (d) {
		struct hook_delivery *next = d->next;
		delivery_free(d);
		d = next;
	}
}

void store_hooks_free(struct store_hooks *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < HOOKS_IN_FLIGHT; i++)
		if (s->flights[i].d)
			delivery_free(s->flights[i].d);
	list_free(s->answered);
	list_free(s->noting);
	list_free(s->taken);
	free(s->ended.data);
	free(s->found.data);
	free(s);
}
