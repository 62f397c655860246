#include "services/orchestrator-worker/lessee.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "common/rng.h"
#include "common/strbuf.h"

#define SERVICE    "worker"
#define ANSWER_MS  1000
#define USES_MAX   2048 /* more targets than target.c knows */
#define AGAIN_US   20000
#define ANSWER_MAX ((size_t)512 * 1024)

struct lessee_report {
	struct lessee *lessee;
	Penstock__LeaseUse *uses[USES_MAX];
	size_t n;
};

struct lessee {
	struct bus *bus;
	struct loop *loop;
	const struct members *members;
	char *id;
	struct worker_stats *stats;
	struct lessee_owner owner;
	struct lease_world world;
	struct bus_sub *beats;
	uint64_t boot, seq;
	uint64_t grantor;        /* the boot of the last one that was heard */
	bool asked, greet;       /* greet: tell it all at once */
	int64_t sent_us, all_us; /* the last report; the last one of everything */
	struct timer timer;      /* the next report */
};

static void ask_at(struct lessee *l, int64_t at_us)
{
	int64_t now = loop_now_us(l->loop), delay = at_us > now ? at_us - now : 0;
	if (!l->asked && (!timer_armed(&l->timer) || l->timer.at_us > now + delay))
		timer_set(l->loop, &l->timer, delay);
}

static int64_t next_all(const struct lessee *l)
{
	return l->greet ? 0 : l->all_us + LEASE_REPORT_US;
}

void lessee_want(struct lessee *l, const struct lease *lease)
{
	ask_at(l, lease->retry_us);
}

/* --- who there is -------------------------------------------------------------------------- */

struct place {
	const char *id;
	size_t workers, before;
	bool found;
};

static void look(void *arg, const struct member *m)
{
	struct place *place = arg;
	if (member_leaves(m))
		return;
	int order = strcmp(m->id, place->id);
	place->workers++;
	place->before += order < 0;
	place->found |= order == 0;
}

/* Whoever was cut off has missed the beats: until some could have come, no grantor is silent. To
 * the others this one was gone, and its part of the safe capacity is theirs. */
static bool look_online(struct lessee *l)
{
	bool online = bus_connected(l->bus);
	if (online && !l->world.online)
		l->world.heard_us = loop_now_us(l->loop);
	l->world.online = online;
	return online;
}

const struct lease_world *lessee_world(struct lessee *l)
{
	look_online(l);
	return &l->world;
}

/* While this one is not among those that stay it has no part. */
static void find_place(struct lessee *l)
{
	struct place place = {.id = l->id};
	members_each(l->members, SERVICE, look, &place);
	l->world.workers = place.found ? place.workers : 0;
	l->world.rank = place.before;
	metric_set(l->stats->lease_silent,
		   loop_now_us(l->loop) - l->world.heard_us >= LEASE_SILENT_US);
}

/* --- reports ------------------------------------------------------------------------------- */

void lessee_add(struct lessee_report *report, const char *target, struct lease *lease,
		size_t waiting, int64_t want, int64_t first)
{
	if (report->n == USES_MAX)
		return;
	Penstock__LeaseUse *use = xmalloc(sizeof(*use));
	penstock__lease_use__init(use);
	use->target = (char *)target;
	lease_report(lease, use, loop_now_us(report->lessee->loop));
	use->waiting = (uint32_t)waiting;
	use->want = (uint64_t)want;
	use->first = (uint64_t)first;
	report->uses[report->n++] = use;
}

static void take_answer(struct lessee *l, const struct bus_msg *msg)
{
	Penstock__LeaseAnswer *a = msg->len <= ANSWER_MAX
				       ? penstock__lease_answer__unpack(NULL, msg->len, msg->data)
				       : NULL;
	int64_t now = loop_now_us(l->loop);
	if (a == NULL)
		return;
	if (!a->learning)
		l->world.heard_us = now;
	for (size_t i = 0; i < a->n_grants && a->seq == l->seq; i++) {
		struct lease *lease = l->owner.find(l->owner.arg, a->grants[i]->target);
		if (lease != NULL)
			lease_granted(lease, a->grants[i], a->seq, l->sent_us, now);
	}
	penstock__lease_answer__free_unpacked(a, NULL);
}

static void on_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct lessee *l = arg;
	l->asked = false;
	if (result == BUS_OK)
		take_answer(l, msg);
	else
		metric_add(l->stats->lease_unanswered, 1);
	ask_at(l, next_all(l));
	/* What still waits asks again by itself; not at once, if nobody is there. */
	if (result == BUS_OK)
		l->owner.changed(l->owner.arg);
	else
		ask_at(l, loop_now_us(l->loop) + LEASE_REPORT_US / 4);
}

static void send(struct lessee *l, struct lessee_report *report, bool bye)
{
	Penstock__LeaseReport r = PENSTOCK__LEASE_REPORT__INIT;
	struct error err;
	r.worker = l->id;
	r.boot = l->boot;
	r.seq = ++l->seq;
	r.bye = bye;
	r.n_uses = report->n;
	r.uses = report->uses;
	size_t len = penstock__lease_report__get_packed_size(&r);
	void *data = xmalloc(len + 1);
	penstock__lease_report__pack(&r, data);
	l->sent_us = loop_now_us(l->loop);
	if (!bye) {
		l->asked = true;
		bus_request(l->bus, SUBJECT_LEASE_MODELS, data, len, ANSWER_MS, on_answer, l);
	} else if (bus_publish(l->bus, SUBJECT_LEASE_MODELS, data, len, &err)) {
		log_at(LOG_WARN, "leases cannot be given back", LOG_S("reason", err.msg));
	}
	metric_add(l->stats->lease_reports, 1);
	free(data);
}

static void on_timer(struct timer *timer, void *arg)
{
	(void)timer;
	struct lessee *l = arg;
	int64_t now = loop_now_us(l->loop);
	bool all = now >= next_all(l), greet = l->greet;
	bool online = look_online(l);
	find_place(l);
	if (l->owner.collect == NULL || !online) {
		ask_at(l, now + LEASE_REPORT_US / 4);
		return;
	}
	struct lessee_report *report = xmalloc(sizeof(*report));
	report->lessee = l;
	report->n = 0;
	l->owner.collect(l->owner.arg, report, all);
	if (all) {
		l->all_us = now;
		l->greet = false;
	}
	if (report->n > 0 || greet)
		send(l, report, false);
	else
		ask_at(l, next_all(l));
	for (size_t i = 0; i < report->n; i++)
		free(report->uses[i]);
	free(report);
	/* Without a grantor the safe capacity grows with time, and nobody else says so. */
	if (now - l->world.heard_us >= LEASE_SILENT_US)
		l->owner.changed(l->owner.arg);
}

static void on_beat(void *arg, const struct bus_msg *msg)
{
	struct lessee *l = arg;
	Penstock__LeaseAnswer *a = msg->len <= ANSWER_MAX
				       ? penstock__lease_answer__unpack(NULL, msg->len, msg->data)
				       : NULL;
	if (a == NULL)
		return;
	if (!a->learning)
		l->world.heard_us = loop_now_us(l->loop);
	/* A new one waits until it has heard of everybody. */
	if (a->boot != l->grantor) {
		l->grantor = a->boot;
		l->greet = true;
		ask_at(l, 0);
	}
	penstock__lease_answer__free_unpacked(a, NULL);
}

/* --- life ---------------------------------------------------------------------------------- */

struct lessee *lessee_new(struct bus *bus, struct loop *loop, const struct members *members,
			  const char *id, struct worker_stats *stats, struct error *err)
{
	struct lessee *l = xcalloc(1, sizeof(*l));
	struct rng rng;
	rng_seed_os(&rng);
	l->bus = bus;
	l->loop = loop;
	l->members = members;
	l->id = xstrdup(id);
	l->stats = stats;
	l->boot = rng_next(&rng);
	l->world.heard_us = loop_now_us(loop);
	l->greet = true;
	timer_init(&l->timer, on_timer, l);
	l->beats = bus_subscribe(bus, SUBJECT_LEASE_BEAT, NULL, on_beat, l, err);
	if (l->beats == NULL) {
		lessee_free(l);
		return NULL;
	}
	timer_set(loop, &l->timer, AGAIN_US);
	return l;
}

void lessee_attach(struct lessee *l, const struct lessee_owner *owner)
{
	l->owner = *owner;
}

void lessee_free(struct lessee *l)
{
	if (l == NULL)
		return;
	struct lessee_report none = {0};
	if (l->beats != NULL && bus_connected(l->bus))
		send(l, &none, true);
	bus_forget(l->bus, l);
	bus_unsubscribe(l->beats);
	timer_cancel(l->loop, &l->timer);
	free(l->id);
	free(l);
}
