#include "services/event-store/receipts.h"

#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/log.h"
#include "common/names.h"
#include "common/pg.h"
#include "services/event-store/item.h"
#include "services/event-store/pool.h"
#include "services/event-store/receipts_pg.h"

#define IN_HAND     64
#define ACK_WAIT_MS 30000
#define AGAIN_MS    1000 /* after PostgreSQL was away */
#define GATHER_US   200000
#define MAINTAIN_US 600000000
#define LINKS_MAX   20000
#define RANGES_MAX  64
#define TIME_MAX_US INT64_C(4000000000000000) /* the year 2096 */
#define TEXT_MAX    256

struct held {
	Penstock__Receipts *msg;
	struct bus_claim *claim;
};

struct store_receipts {
	struct store_job job; /* first: the one that is under way */
	struct bus *bus;
	struct loop *loop;
	struct bus_consumer *consumer;
	struct store_pool *pool;
	struct timer gather;
	struct held waiting[IN_HAND], writing[IN_HAND];
	size_t n_waiting, n_writing;
	bool stopped;
	int retention_days;
	int64_t maintain_at_us; /* the pool's thread, while a job is there */
	/* The job's. */
	Penstock__Receipts *msgs[IN_HAND];
	int64_t now_us;
	bool written;
	struct metric *m_messages, *m_links, *m_failures, *m_bad;
};

/* --- what comes from outside -------------------------------------------------------------------
 */

static bool offset_ok(uint64_t offset)
{
	return offset < INT64_MAX;
}

static bool time_ok(int64_t us)
{
	return us > 0 && us < TIME_MAX_US;
}

static bool ranges_ok(Penstock__OffsetRange *const *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ranges[i]->from > ranges[i]->to || !offset_ok(ranges[i]->to))
			return false;
	return n <= RANGES_MAX;
}

static const char *link_fault(const Penstock__LinkReceipt *l)
{
	if (!name_valid_tenant(l->tenant) || !name_valid_channel(l->channel))
		return "no valid tenant or channel";
	if (!id_valid(l->session))
		return "the session is no UUID";
	if (strlen(l->principal) > TEXT_MAX || !store_clean_text(l->principal))
		return "the principal is no short UTF-8 text";
	if (!time_ok(l->opened_us) || (l->closed_us && !time_ok(l->closed_us)))
		return "a time is out of range";
	if (!offset_ok(l->from) || !offset_ok(l->sent) || !offset_ok(l->acked) ||
	    l->close_code > UINT16_MAX)
		return "a number is out of range";
	if (!ranges_ok(l->spilled, l->n_spilled) || !ranges_ok(l->missed, l->n_missed))
		return "a range is none";
	return NULL;
}

const char *store_receipts_fault(const Penstock__Receipts *r)
{
	if (!name_valid_channel(r->edge))
		return "no valid edge";
	if (!time_ok(r->run_us) || !time_ok(r->time_us) || !offset_ok(r->epoch) ||
	    r->reactor > INT16_MAX || r->period_ms > INT32_MAX || r->resume_ms > INT32_MAX)
		return "a number is out of range";
	if (r->n_links > LINKS_MAX || r->n_positions > LINKS_MAX)
		return "too many entries";
	for (size_t i = 0; i < r->n_links; i++) {
		const char *fault = link_fault(r->links[i]);
		if (fault)
			return fault;
	}
	for (size_t i = 0; i < r->n_positions; i++) {
		const Penstock__PositionReceipt *p = r->positions[i];
		if (!name_valid_tenant(p->tenant) || !name_valid_channel(p->channel) ||
		    !offset_ok(p->offset))
			return "no valid position";
	}
	return NULL;
}

/* --- writing -----------------------------------------------------------------------------------
 */

/* What PostgreSQL refuses for its data is found by writing one message after the other, and left
 * out. */
static int write_each(struct store_receipts *s, PGconn *conn, struct error *err)
{
	for (size_t i = 0; i < s->n_writing; i++) {
		if (!store_receipts_write(conn, &s->msgs[i], 1, err))
			continue;
		if (err->code != ERR_REJECTED && err->code != ERR_CONFLICT)
			return -1;
		log_at(LOG_ERROR, "receipts were refused", LOG_S("error", err->msg),
		       LOG_S("edge", s->msgs[i]->edge));
		metric_add(s->m_bad, 1);
	}
	return 0;
}

static int write_all(struct store_receipts *s, PGconn *conn, struct error *err)
{
	if (!store_receipts_write(conn, s->msgs, s->n_writing, err))
		return 0;
	return err->code == ERR_REJECTED || err->code == ERR_CONFLICT ? write_each(s, conn, err)
								      : -1;
}

static int write_job(PGconn *conn, struct store_job *job)
{
	struct store_receipts *s = (struct store_receipts *)job;
	struct error err = {0};

	s->written = false;
	if (!conn)
		return 0;
	if (write_all(s, conn, &err)) {
		log_at(LOG_WARN, "receipts could not be written", LOG_S("error", err.msg));
		return pg_alive(conn) ? 0 : -1;
	}
	s->written = true;
	if (s->now_us < s->maintain_at_us)
		return 0;
	s->maintain_at_us = s->now_us + MAINTAIN_US;
	if (store_receipts_maintain(conn, s->retention_days, &err))
		log_at(LOG_WARN, "old receipts could not be removed", LOG_S("error", err.msg));
	return 0;
}

static void ask(struct store_receipts *s)
{
	if (s->consumer && !s->stopped)
		bus_consumer_want(s->consumer, (unsigned)(IN_HAND - s->n_waiting - s->n_writing));
}

static void settle(struct store_receipts *s, struct held *h, bool written)
{
	if (written)
		bus_claim_ack(h->claim);
	else
		bus_claim_nak(h->claim, AGAIN_MS);
	if (written) {
		metric_add(s->m_messages, 1);
		metric_add(s->m_links, (int64_t)h->msg->n_links);
	}
	penstock__receipts__free_unpacked(h->msg, NULL);
}

static void start_job(struct store_receipts *s)
{
	if (!s->n_waiting || s->n_writing || s->stopped)
		return;
	for (size_t i = 0; i < s->n_waiting; i++) {
		s->writing[i] = s->waiting[i];
		s->msgs[i] = s->waiting[i].msg;
	}
	s->n_writing = s->n_waiting;
	s->n_waiting = 0;
	s->now_us = loop_now_us(s->loop);
	store_pool_add(s->pool, &s->job);
}

static void on_written(void *arg, struct store_job *job)
{
	struct store_receipts *s = arg;

	(void)job;
	if (!s->written)
		metric_add(s->m_failures, 1);
	for (size_t i = 0; i < s->n_writing; i++)
		settle(s, &s->writing[i], s->written);
	s->n_writing = 0;
	ask(s);
	if (s->n_waiting && !s->stopped)
		timer_set(s->loop, &s->gather, GATHER_US);
}

static void on_gather(struct timer *timer, void *arg)
{
	(void)timer;
	start_job(arg);
}

static void on_deliver(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct store_receipts *s = arg;
	Penstock__Receipts *r = penstock__receipts__unpack(NULL, msg->len, msg->data);
	const char *fault = r ? store_receipts_fault(r) : "it does not decode";

	if (fault) {
		log_at(LOG_WARN, "receipts were left out", LOG_S("reason", fault),
		       LOG_I("bytes", msg->len));
		metric_add(s->m_bad, 1);
		bus_claim_ack(claim);
		if (r)
			penstock__receipts__free_unpacked(r, NULL);
		return;
	}
	if (s->n_waiting == IN_HAND || s->stopped) { /* more than was asked for */
		bus_claim_nak(claim, AGAIN_MS);
		penstock__receipts__free_unpacked(r, NULL);
		return;
	}
	s->waiting[s->n_waiting++] = (struct held){r, claim};
	if (!timer_armed(&s->gather) && !s->n_writing)
		timer_set(s->loop, &s->gather, GATHER_US);
	ask(s);
}

/* --- life --------------------------------------------------------------------------------------
 */

struct store_receipts *store_receipts_start(struct bus *bus, struct loop *loop,
					    const struct store_receipts_conf *conf,
					    struct metrics *m, struct error *err)
{
	const struct bus_consumer_conf consumer = {
	    .stream = STREAM_RECEIPTS, .durable = "store_receipts", .ack_wait_ms = ACK_WAIT_MS};
	struct store_receipts *s = xcalloc(1, sizeof(*s));

	s->bus = bus;
	s->loop = loop;
	s->retention_days = conf->retention_days;
	timer_init(&s->gather, on_gather, s);
	s->m_messages = metrics_counter(m, "penstock_store_receipt_messages_total", NULL,
					"Messages of receipts that were stored");
	s->m_links = metrics_counter(m, "penstock_store_receipts_total", NULL,
				     "States of subscriptions that were stored");
	s->m_failures = metrics_counter(m, "penstock_store_receipt_failures_total", NULL,
					"Batches of receipts that could not be written");
	s->m_bad = metrics_counter(m, "penstock_store_receipts_bad_total", NULL,
				   "Messages that are no receipts and were left out");
	s->pool =
	    store_pool_start(loop,
			     &(struct store_pool_conf){.dsn = conf->dsn,
						       .name = "penstock-event-store receipts",
						       .threads = 1,
						       .prepare = store_receipts_prepare,
						       .work = write_job,
						       .done = on_written},
			     s);
	s->consumer = bus_consumer_open(bus, &consumer, on_deliver, s, err);
	if (!s->consumer) {
		store_receipts_stop(s, 0);
		store_receipts_free(s);
		return NULL;
	}
	ask(s);
	return s;
}

void store_receipts_stop(struct store_receipts *s, int timeout_ms)
{
	if (!s)
		return;
	s->stopped = true;
	timer_cancel(s->loop, &s->gather);
	bus_consumer_close(s->consumer);
	s->consumer = NULL;
	store_pool_stop(s->pool, timeout_ms);
	s->pool = NULL;
	for (size_t i = 0; i < s->n_writing; i++) /* a job that was never begun */
		settle(s, &s->writing[i], false);
	for (size_t i = 0; i < s->n_waiting; i++)
		settle(s, &s->waiting[i], false);
	s->n_writing = s->n_waiting = 0;
}

void store_receipts_free(struct store_receipts *s)
{
	free(s);
}
