#include "services/control-plane/granting.h"

#include <stdlib.h>
#include <string.h>

#include "common/catalog.h"
#include "common/log.h"
#include "common/names.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "services/control-plane/lease.h"

#define SERVICE     "control"
#define REPORT_MAX  ((size_t)512 * 1024)
#define WORKERS_MAX 4096 /* of members.h */

struct granting {
	struct bus *bus;
	struct loop *loop;
	const struct members *members;
	char *id;
	struct catalog *catalog;
	bool read; /* the catalog */
	struct rng rng;
	struct grantor *grantor; /* NULL: it is another one's turn */
	struct bus_sub *sub;
	struct timer beat;
	struct metric *leads, *learning, *reports, *refused, *holders;
	uint64_t reports_told, refused_told;
};

static struct lease_limits limits_of(const struct model *m)
{
	return (struct lease_limits){.rpm = m->rpm,
				     .tpm = m->tpm,
				     .concurrent = m->concurrent,
				     .safe_rpm = m->safe_rpm,
				     .safe_tpm = m->safe_tpm,
				     .safe_concurrent = m->safe_concurrent};
}

static void count(struct granting *g)
{
	struct grantor_numbers n = {0};
	if (g->grantor != NULL)
		grantor_numbers(g->grantor, &n);
	metric_set(g->leads, g->grantor != NULL);
	metric_set(g->learning, n.learning);
	metric_set(g->holders, n.holders);
	if (g->grantor == NULL)
		return;
	metric_add(g->reports, (int64_t)(n.reports - g->reports_told));
	metric_add(g->refused, (int64_t)(n.refused - g->refused_told));
	g->reports_told = n.reports;
	g->refused_told = n.refused;
}

/* --- messages ------------------------------------------------------------------------------ */

static void send(struct granting *g, const char *subject, const Penstock__LeaseAnswer *answer)
{
	size_t len = penstock__lease_answer__get_packed_size(answer);
	void *data = xmalloc(len + 1);
	struct error err;
	penstock__lease_answer__pack(answer, data);
	if (bus_publish(g->bus, subject, data, len, &err))
		log_at(LOG_ERROR, "lease cannot be told", LOG_S("reason", err.msg));
	free(data);
}

static void on_report(void *arg, const struct bus_msg *msg)
{
	struct granting *g = arg;
	Penstock__LeaseReport *r = msg->len <= REPORT_MAX
				       ? penstock__lease_report__unpack(NULL, msg->len, msg->data)
				       : NULL;
	Penstock__LeaseAnswer answer;
	if (r == NULL) {
		metric_add(g->refused, 1);
		return;
	}
	grantor_report(g->grantor, r, loop_now_us(g->loop), &answer);
	if (msg->reply != NULL)
		send(g, msg->reply, &answer);
	grantor_answer_done(&answer);
	penstock__lease_report__free_unpacked(r, NULL);
}

static void on_beat(struct timer *timer, void *arg)
{
	struct granting *g = arg;
	Penstock__LeaseAnswer beat;
	count(g);
	if (g->grantor == NULL)
		return;
	grantor_beat(g->grantor, loop_now_us(g->loop), &beat);
	send(g, SUBJECT_LEASE_BEAT, &beat);
	grantor_answer_done(&beat);
	timer_set(g->loop, timer, LEASE_BEAT_US);
}

/* --- who it is ----------------------------------------------------------------------------- */

struct names {
	const char *ids[WORKERS_MAX];
	size_t n;
	bool leave; /* of those that leave, or that stay */
};

static void add_name(void *arg, const struct member *m)
{
	struct names *names = arg;
	if (names->n < WORKERS_MAX && member_leaves(m) == names->leave)
		names->ids[names->n++] = m->id;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void tell_workers(struct granting *g)
{
	struct names *names = xcalloc(1, sizeof(*names));
	members_each(g->members, "worker", add_name, names);
	size_t stay = names->n;
	names->leave = true;
	members_each(g->members, "worker", add_name, names);
	qsort(names->ids, stay, sizeof(names->ids[0]), by_name);
	qsort(names->ids + stay, names->n - stay, sizeof(names->ids[0]), by_name);
	grantor_workers(g->grantor, names->ids, stay, names->n, loop_now_us(g->loop));
	free(names);
}

static void add_model(void *arg, const struct model *m)
{
	struct granting *g = arg;
	struct lease_limits limits = limits_of(m);
	grantor_target(g->grantor, m->name, &limits, false, loop_now_us(g->loop));
}

static void lay_down(struct granting *g)
{
	if (g->grantor == NULL)
		return;
	log_at(LOG_INFO, "grants no leases any more");
	bus_unsubscribe(g->sub);
	g->sub = NULL;
	grantor_free(g->grantor);
	g->grantor = NULL;
	timer_cancel(g->loop, &g->beat);
	count(g);
}

static void take_up(struct granting *g)
{
	struct error err;
	g->grantor = grantor_new(g->id, rng_next(&g->rng), loop_now_us(g->loop));
	g->reports_told = g->refused_told = 0;
	catalog_each_model(g->catalog, add_model, g);
	g->sub = bus_subscribe(g->bus, SUBJECT_LEASE_MODELS, "control", on_report, g, &err);
	if (g->sub == NULL) {
		log_at(LOG_ERROR, "cannot grant leases", LOG_S("reason", err.msg));
		lay_down(g);
		return;
	}
	log_at(LOG_INFO, "grants leases");
	timer_set(g->loop, &g->beat, 0);
}

static void review(struct granting *g)
{
	const char *owner = members_owner(g->members, SERVICE, 0);
	bool mine = g->read && bus_connected(g->bus) && members_known(g->members) &&
		    owner != NULL && strcmp(owner, g->id) == 0;
	if (!mine)
		lay_down(g);
	else if (g->grantor == NULL)
		take_up(g);
	if (g->grantor != NULL)
		tell_workers(g);
}

void granting_members(struct granting *g)
{
	if (g != NULL)
		review(g);
}

void granting_bus(struct granting *g, bool connected)
{
	if (g == NULL)
		return;
	if (!connected)
		lay_down(g);
	review(g);
}

/* --- life ---------------------------------------------------------------------------------- */

static void on_read(void *arg)
{
	struct granting *g = arg;
	g->read = true;
	review(g);
}

static void on_changed(void *arg, const char *key)
{
	struct granting *g = arg;
	if (g->grantor == NULL || strncmp(key, "model.", 6) != 0)
		return;
	const struct model *m = catalog_model(g->catalog, key + 6);
	struct lease_limits limits;
	if (m != NULL)
		limits = limits_of(m);
	grantor_target(g->grantor, key + 6, m != NULL ? &limits : NULL, true, loop_now_us(g->loop));
}

static void make_metrics(struct granting *g, struct metrics *m)
{
	g->leads = metrics_gauge(m, "penstock_control_lease_grantor", NULL,
				 "1: this process grants the models' capacity");
	g->learning = metrics_gauge(m, "penstock_control_lease_learning", NULL,
				    "1: the grantor still learns what is held");
	g->holders = metrics_gauge(m, "penstock_control_lease_holders", NULL,
				   "Shares of models that workers hold");
	g->reports = metrics_counter(m, "penstock_control_lease_reports_total", NULL,
				     "Reports of workers, each answered with what they may do");
	g->refused = metrics_counter(m, "penstock_control_lease_refused_total", NULL,
				     "Reports, or parts of them, that are not known or too late");
}

struct granting *granting_start(struct bus *bus, struct loop *loop, const struct members *members,
				const char *id, struct metrics *metrics, struct error *err)
{
	struct granting *g = xcalloc(1, sizeof(*g));
	g->bus = bus;
	g->loop = loop;
	g->members = members;
	g->id = xstrdup(id);
	rng_seed_os(&g->rng);
	timer_init(&g->beat, on_beat, g);
	make_metrics(g, metrics);
	g->catalog = catalog_start(bus, loop, on_read, on_changed, g, err);
	if (g->catalog == NULL) {
		granting_stop(g);
		return NULL;
	}
	catalog_count_into(g->catalog, metrics);
	return g;
}

void granting_stop(struct granting *g)
{
	if (g == NULL)
		return;
	lay_down(g);
	catalog_stop(g->catalog);
	free(g->id);
	free(g);
}
