#include "services/event-store/ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/log.h"
#include "common/names.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "services/event-store/item.h"
#include "services/event-store/queue.h"

#define BATCH_MAX       2000
#define BYTES_MAX       (32 << 20)
#define GATHER_US       20000
#define ACK_WAIT_MS     30000
#define ACK_PENDING_MAX 20000
#define RETRY_FIRST_US  100000
#define RETRY_MAX_US    5000000

struct ingest {
	struct bus *bus;
	struct loop *loop;
	struct store_sink *sink;
	struct ingest_conf conf;
	void (*changed)(void *arg);
	void *arg;
	struct bus_consumer *consumer;
	enum store_standing standing;
	bool placed;                  /* leading, and the stream told where it begins */
	uint64_t position;            /* committed */
	uint64_t first_seq;           /* while placing */
	char position_id[ID_LEN + 1]; /* its event, as stored; "" not known */
	int ack_wait_ms;
	uint64_t next;              /* the sequence whose turn it is */
	struct store_queue ready;   /* in order, without a hole, up to next - 1 */
	struct store_queue ahead;   /* in order, beyond next */
	struct store_batch writing; /* n > 0: the sink has it */
	size_t held_bytes, typical; /* of all three; of a message, decaying maximum */
	bool placing;               /* the checks of place() are under way */
	uint64_t fetching;          /* a bus_get for this sequence is under way; 0: none */
	int64_t
	    missing_since_us;  /* next is not found although it should be there; 0: it is not so */
	bool anew;             /* it was made anew, or is gone */
	bool broken;           /* the stream is not what was stored: nothing is ingested */
	int failures;          /* writes in a row */
	int64_t wrote_us;      /* when the last write began */
	int64_t not_before_us; /* back-off */
	struct timer flush, again;
	struct loop_hook hook;
	struct rng rng;
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct metric *m_messages, *m_batches, *m_failures, *m_repeats, *m_fetched, *m_poison;
	struct metric *m_held, *m_held_bytes, *m_position, *m_leading, *m_lag_s;
	struct histogram *m_commit;
};

static void place(struct ingest *in);
static void fill_hole(struct ingest *in);

static void tell(struct ingest *in)
{
	metric_set(in->m_position, (int64_t)in->position);
	metric_set(in->m_leading, in->standing == STORE_LEADING);
	if (in->changed)
		in->changed(in->arg);
}

/* --- what is held ------------------------------------------------------------------------------
 */

static size_t held(const struct ingest *in)
{
	return in->ready.n + in->ahead.n + in->writing.n;
}

/* Says how many more messages may come: bounded by number, and by bytes as far as the size of the
 * messages of late lets us guess. */
static void ask(struct ingest *in)
{
	size_t limit = 2 * in->conf.batch_max, credit = 0;
	bool willing = in->placed && !in->stopping && !in->failures;

	if (willing && held(in) < limit && in->held_bytes < in->conf.bytes_max) {
		size_t by_bytes = (in->conf.bytes_max - in->held_bytes) / in->typical + 1;
		credit = limit - held(in);
		credit = by_bytes < credit ? by_bytes : credit;
	}
	bus_consumer_want(in->consumer, (unsigned)credit);
	metric_set(in->m_held, (int64_t)held(in));
	metric_set(in->m_held_bytes, (int64_t)in->held_bytes);
}

enum fate { FATE_ACK, FATE_GIVE_BACK };

static void settle(struct ingest *in, struct store_item *item, enum fate fate)
{
	in->held_bytes -= item->cost;
	if (item->claim && fate == FATE_ACK)
		bus_claim_ack(item->claim);
	else if (item->claim)
		bus_claim_nak(item->claim, 0);
	item->claim = NULL;
	store_item_done(item);
}

static void give_back(struct ingest *in)
{
	for (size_t i = 0; i < in->ready.n; i++)
		settle(in, store_queue_at(&in->ready, i), FATE_GIVE_BACK);
	for (size_t i = 0; i < in->ahead.n; i++)
		settle(in, store_queue_at(&in->ahead, i), FATE_GIVE_BACK);
	store_queue_drop(&in->ready, in->ready.n);
	store_queue_drop(&in->ahead, in->ahead.n);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void write_some(struct ingest *in)
{
	size_t n = 0, bytes = 0;

	/* A batch is bounded in bytes too: half of what may be held, so that the other half can
	 * come in. */
	while (n < in->ready.n && n < in->conf.batch_max && bytes < in->conf.bytes_max / 2)
		bytes += store_queue_at(&in->ready, n++)->cost;
	for (size_t i = 0; i < n; i++)
		in->writing.items[i] = *store_queue_at(&in->ready, i);
	store_queue_drop(&in->ready, n);
	in->writing.n = n;
	in->wrote_us = loop_now_us(in->loop);
	in->sink->ops->write(in->sink, &in->writing);
}

/* An idle event-store writes at once; a busy one gathers, so that a commit carries many. */
static void maybe_write(struct ingest *in)
{
	int64_t now = loop_now_us(in->loop), due = in->wrote_us + in->conf.gather_us;

	if (!in->placed || in->writing.n || !in->ready.n || in->stopping)
		return;
	if (in->ready.n >= in->conf.batch_max || in->held_bytes >= in->conf.bytes_max / 2)
		due = now;
	if (in->failures && due < in->not_before_us)
		due = in->not_before_us;
	if (due <= now)
		write_some(in);
	else if (!timer_armed(&in->flush))
		timer_set(in->loop, &in->flush, due - now);
}

static void on_flush(struct timer *timer, void *arg)
{
	(void)timer;
	maybe_write(arg);
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	(void)hook;
	maybe_write(arg);
}

static void finish_stop(struct ingest *in)
{
	give_back(in);
	if (in->stopped)
		in->stopped(in->stopped_arg);
	in->stopped = NULL;
}

static void keep_for_later(struct ingest *in, const struct error *err)
{
	/* Back to the front of the line; they are older than all that waits there. */
	store_queue_prepend(&in->ready, in->writing.items, in->writing.n);
	in->writing.n = 0;
	in->failures++;
	int64_t cap = backoff_full_jitter(&in->rng, in->failures, RETRY_FIRST_US, 2, RETRY_MAX_US);
	in->not_before_us = loop_now_us(in->loop) + cap;
	metric_add(in->m_failures, 1);
	if (in->standing == STORE_STANDBY)
		give_back(in);
	log_at(LOG_WARN, "a batch could not be written, it is kept", LOG_S("error", err->msg),
	       LOG_I("messages", in->ready.n), LOG_I("failures", in->failures));
	ask(in);
}

static void committed(struct ingest *in)
{
	struct store_batch *b = &in->writing;
	const struct store_item *last = &b->items[b->n - 1];
	int64_t now = loop_now_us(in->loop);

	in->position = last->seq;
	snprintf(in->position_id, sizeof(in->position_id), "%s",
		 last->event ? last->event->id : "");
	in->failures = 0;
	metric_add(in->m_messages, (int64_t)b->n);
	metric_add(in->m_batches, 1);
	metric_set(in->m_lag_s, (loop_wall_us(in->loop) - last->stored_us) / 1000000);
	histogram_observe_us(in->m_commit, now - in->wrote_us);
	for (size_t i = 0; i < b->n; i++) {
		if (!b->items[i].event)
			metric_add(in->m_poison, 1);
		settle(in, &b->items[i], FATE_ACK);
	}
	b->n = 0;
	ask(in);
	tell(in);
}

static void on_written(void *arg, const struct error *err)
{
	struct ingest *in = arg;

	if (!in->consumer || !in->writing.n)
		return; /* closed meanwhile */
	if (err)
		keep_for_later(in, err);
	else
		committed(in);
	if (in->stopping)
		finish_stop(in);
	else
		maybe_write(in);
}

/* --- taking in, in order -----------------------------------------------------------------------
 */

/* A message that we hold was delivered again: its newest claim is the one to acknowledge. */
static void renew_claim(struct ingest *in, uint64_t seq, struct bus_claim *claim)
{
	size_t lo = 0, hi = in->ready.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (store_queue_at(&in->ready, mid)->seq < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	struct store_item *item = lo < in->ready.n ? store_queue_at(&in->ready, lo) : NULL;
	for (size_t i = 0; (!item || item->seq != seq) && i < in->writing.n; i++)
		item = &in->writing.items[i];
	if (!item || item->seq != seq) {
		bus_claim_free(claim); /* deleted by somebody's hand: let it run out */
		return;
	}
	bus_claim_free(item->claim);
	item->claim = claim;
}

static void push_ready(struct ingest *in, struct store_item *item)
{
	store_queue_push(&in->ready, item);
	in->next = item->seq + 1;
}

/* The same message is in our hands already. */
static void drop_twin(struct ingest *in, struct store_item *item)
{
	if (item->claim)
		renew_claim(in, item->seq, item->claim);
	item->claim = NULL;
	settle(in, item, FATE_ACK);
}

/* What waited for its turn and has it now. */
static void promote(struct ingest *in)
{
	size_t n = 0;

	while (n < in->ahead.n && store_queue_at(&in->ahead, n)->seq <= in->next) {
		struct store_item *item = store_queue_at(&in->ahead, n++);
		if (item->seq == in->next)
			push_ready(in, item);
		else /* fetched meanwhile */
			drop_twin(in, item);
	}
	store_queue_drop(&in->ahead, n);
	fill_hole(in);
}

static void take(struct ingest *in, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct store_item item;

	store_item_init(&item, msg);
	item.claim = claim;
	in->held_bytes += item.cost;
	in->typical -= in->typical / 64;
	if (in->typical < item.cost)
		in->typical = item.cost;
	if (item.seq == in->next) {
		push_ready(in, &item);
		if (in->ahead.n)
			promote(in);
		return;
	}
	if (!store_queue_insert(&in->ahead, &item)) {
		bus_claim_free(item.claim);
		item.claim = NULL;
		settle(in, &item, FATE_ACK);
	}
	fill_hole(in);
}

static void on_deliver(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct ingest *in = arg;

	if (!in->placed || in->stopping) {
		bus_claim_nak(claim, 0);
		return;
	}
	if (msg->seq <= in->position) { /* stored: only its acknowledgement was lost */
		metric_add(in->m_repeats, 1);
		bus_claim_ack(claim);
		ask(in);
		return;
	}
	if (msg->seq < in->next) { /* in our hands: it is acknowledged once, after the commit */
		metric_add(in->m_repeats, 1);
		renew_claim(in, msg->seq, claim);
		ask(in);
		return;
	}
	take(in, msg, claim);
}

/* Not there: below the stream's first one it was trimmed, and there is nothing to store. Above, a
 * replica that lags behind may have answered: only when it is not there for longer than a
 * redelivery takes is it believed that somebody deleted it by hand. */
static void on_missing(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct ingest *in = arg;
	int64_t now = loop_now_us(in->loop);
	bool same = in->fetching == in->next;

	in->fetching = 0;
	if (!in->placed || in->stopping)
		return;
	if (result == BUS_OK && same && info->first_seq > in->next) {
		in->next = info->first_seq;
	} else if (same) {
		if (!in->missing_since_us)
			in->missing_since_us = now;
		if (now - in->missing_since_us < 2000 * (int64_t)in->ack_wait_ms) {
			timer_set(in->loop, &in->again, RETRY_FIRST_US);
			return;
		}
		log_at(LOG_ERROR, "a message of EVENTS is gone", LOG_I("seq", in->next));
		in->next++;
	}
	in->missing_since_us = 0;
	promote(in);
}

static void on_fetched(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct ingest *in = arg;
	uint64_t asked = in->fetching;

	if (result == BUS_NOT_FOUND && in->placed && !in->stopping && asked == in->next) {
		bus_stream_info(in->bus, STREAM_EVENTS, NULL, on_missing, in);
		return;
	}
	in->fetching = 0;
	if (!in->placed || in->stopping)
		return;
	if (asked == in->next && result == BUS_OK) {
		metric_add(in->m_fetched, 1);
		in->missing_since_us = 0;
		take(in, msg, NULL);
	} else if (asked == in->next) {
		timer_set(in->loop, &in->again, RETRY_FIRST_US);
		return;
	}
	fill_hole(in);
}

/* Only when something is here whose turn it is not yet: then what is before it was delivered to
 * somebody who did not live to store it, and comes again after ack_wait only. */
static void fill_hole(struct ingest *in)
{
	if (!in->ahead.n || in->fetching || timer_armed(&in->again))
		return;
	in->fetching = in->next;
	bus_get(in->bus, STREAM_EVENTS, in->next, on_fetched, in);
}

static void on_again(struct timer *timer, void *arg)
{
	struct ingest *in = arg;

	(void)timer;
	if (in->standing == STORE_LEADING && !in->placed)
		place(in);
	else if (in->placed)
		fill_hole(in);
}

/* --- taking the lead and losing it --------------------------------------------------------------
 */

static void placed(struct ingest *in, uint64_t first_seq)
{
	uint64_t next = in->position + 1 > first_seq ? in->position + 1 : first_seq;
	size_t old = 0;

	/* Kept from before the database went away, and still the next ones? */
	while (old < in->ready.n && store_queue_at(&in->ready, old)->seq <= in->position)
		settle(in, store_queue_at(&in->ready, old++), FATE_ACK);
	store_queue_drop(&in->ready, old);
	if (in->ready.n && store_queue_at(&in->ready, 0)->seq != next)
		give_back(in);
	if (!in->ready.n)
		in->next = next;
	in->placed = true;
	in->broken = false;
	in->failures = 0;
	promote(in);
	ask(in);
	tell(in);
	maybe_write(in);
}

/* A broker that came back without its newest messages gives their sequences to others. Taking those
 * for stored would lose them, storing them would mix up the channels' offsets: a person must
 * decide. */
static void broken(struct ingest *in, const char *why)
{
	if (!in->broken)
		log_at(LOG_ERROR, "EVENTS is not the stream that was stored; nothing is ingested",
		       LOG_S("why", why), LOG_I("stored", in->position));
	in->broken = true;
	timer_set(in->loop, &in->again, RETRY_MAX_US);
	tell(in);
}

/* The message at the position: is it the one that was stored there? */
static void on_last_stored(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct ingest *in = arg;
	struct store_item item;

	in->placing = false;
	if (in->standing != STORE_LEADING || in->placed || in->stopping)
		return;
	if (result != BUS_OK) {
		timer_set(in->loop, &in->again, RETRY_FIRST_US);
		return;
	}
	store_item_init(&item, msg);
	bool same = !in->position_id[0] || !item.event || !strcmp(item.event->id, in->position_id);
	store_item_done(&item);
	if (same)
		placed(in, in->first_seq);
	else
		broken(in, "another event is at the last stored place");
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct ingest *in = arg;

	in->placing = false;
	if (in->standing != STORE_LEADING || in->placed || in->stopping)
		return;
	in->anew = result == BUS_NOT_FOUND || (result == BUS_OK && info->created_us &&
					       (uint64_t)info->created_us != in->conf.epoch);
	if (in->anew) {
		broken(in, "it was made anew or is gone");
	} else if (result != BUS_OK) {
		timer_set(in->loop, &in->again, RETRY_FIRST_US);
	} else if (in->position > info->last_seq) {
		broken(in, "it ends before what is stored");
	} else if (in->position < info->first_seq || !in->position) {
		placed(in, info->first_seq);
	} else {
		in->placing = true;
		in->first_seq = info->first_seq;
		bus_get(in->bus, STREAM_EVENTS, in->position, on_last_stored, in);
	}
}

static void place(struct ingest *in)
{
	if (in->placing)
		return;
	if (in->writing.n) { /* its end moves the position */
		timer_set(in->loop, &in->again, RETRY_FIRST_US);
		return;
	}
	in->placing = true;
	bus_stream_info(in->bus, STREAM_EVENTS, NULL, on_info, in);
}

static void on_standing(void *arg, enum store_standing standing, uint64_t position,
			const char *event_id)
{
	struct ingest *in = arg;

	if (!in->consumer)
		return; /* closed meanwhile */
	in->standing = standing;
	in->placed = false;
	if (standing == STORE_LEADING) {
		in->position = position;
		snprintf(in->position_id, sizeof(in->position_id), "%s", event_id);
		place(in);
	} else if (standing == STORE_STANDBY) {
		/* Whoever leads fetches these itself; giving them back saves it the wait. */
		give_back(in);
		in->position = 0;
	}
	ask(in);
	tell(in);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void make_metrics(struct ingest *in, struct metrics *m)
{
	in->m_messages =
	    metrics_counter(m, "penstock_store_messages_total", NULL,
			    "Messages of EVENTS that were committed (quarantined ones included)");
	in->m_batches =
	    metrics_counter(m, "penstock_store_batches_total", NULL, "Batches committed");
	in->m_failures = metrics_counter(m, "penstock_store_write_failures_total", NULL,
					 "Batches that could not be written and were kept");
	in->m_repeats =
	    metrics_counter(m, "penstock_store_repeats_total", NULL,
			    "Messages delivered again although they were stored or in hand");
	in->m_fetched = metrics_counter(
	    m, "penstock_store_fetched_total", NULL,
	    "Messages fetched by their sequence because they were missing in the order");
	in->m_poison = metrics_counter(m, "penstock_store_quarantined_total", NULL,
				       "Messages that are no events and went into quarantine");
	in->m_held = metrics_gauge(m, "penstock_store_held_messages", NULL,
				   "Messages taken from the stream and not yet committed");
	in->m_held_bytes =
	    metrics_gauge(m, "penstock_store_held_bytes", NULL, "Memory that they hold");
	in->m_position =
	    metrics_gauge(m, "penstock_store_position", NULL,
			  "Sequence up to which everything is committed (0: not leading)");
	in->m_leading = metrics_gauge(m, "penstock_store_leading", NULL, "1: this process ingests");
	in->m_lag_s = metrics_gauge(m, "penstock_store_lag_seconds", NULL,
				    "Age of the newest event at its commit");
	in->m_commit = metrics_histogram(m, "penstock_store_commit_seconds", NULL,
					 "From handing a batch to the database to its commit");
}

struct ingest *ingest_start(struct bus *bus, struct loop *loop, struct store_sink *sink,
			    struct metrics *metrics, const struct ingest_conf *conf,
			    void (*changed)(void *arg), void *arg, struct error *err)
{
	struct ingest *in = xcalloc(1, sizeof(*in));

	*in = (struct ingest){.bus = bus,
			      .loop = loop,
			      .sink = sink,
			      .conf = *conf,
			      .changed = changed,
			      .arg = arg,
			      .typical = 1024};
	in->conf.batch_max = conf->batch_max ? conf->batch_max : BATCH_MAX;
	in->conf.bytes_max = conf->bytes_max ? conf->bytes_max : BYTES_MAX;
	in->conf.gather_us = conf->gather_us ? conf->gather_us : GATHER_US;
	in->ack_wait_ms = conf->ack_wait_ms ? conf->ack_wait_ms : ACK_WAIT_MS;
	struct bus_consumer_conf consumer = {.stream = STREAM_EVENTS,
					     .durable = "store",
					     .ack_wait_ms = in->ack_wait_ms,
					     .max_ack_pending = ACK_PENDING_MAX};
	in->consumer = bus_consumer_open(bus, &consumer, on_deliver, in, err);
	if (!in->consumer) {
		free(in);
		return NULL;
	}
	in->writing.epoch = conf->epoch;
	in->writing.items = xcalloc(in->conf.batch_max, sizeof(*in->writing.items));
	in->wrote_us = loop_now_us(loop) - in->conf.gather_us;
	rng_seed(&in->rng, conf->epoch);
	make_metrics(in, metrics);
	timer_init(&in->flush, on_flush, in);
	timer_init(&in->again, on_again, in);
	in->hook = (struct loop_hook){.fn = on_turn_end, .arg = in};
	loop_hook_add(loop, &in->hook);
	struct store_listener listener = {
	    .standing = on_standing, .written = on_written, .arg = in};
	sink->ops->start(sink, conf->epoch, &listener);
	return in;
}

enum store_standing ingest_standing(const struct ingest *in)
{
	return in->standing;
}

bool ingest_broken(const struct ingest *in)
{
	return in->broken;
}

bool ingest_anew(const struct ingest *in)
{
	return in->anew;
}

void ingest_recheck(struct ingest *in)
{
	/* A batch that is being written was read before; it ends as it ends. */
	in->placed = false;
	ask(in);
	if (in->standing == STORE_LEADING && !in->stopping)
		place(in);
}

uint64_t ingest_position(const struct ingest *in)
{
	return in->position;
}

void ingest_stop(struct ingest *in, void (*done)(void *arg), void *arg)
{
	in->stopping = true;
	in->stopped = done;
	in->stopped_arg = arg;
	ask(in);
	if (!in->writing.n)
		finish_stop(in);
}

static void forget(struct store_item *item)
{
	bus_claim_free(item->claim);
	store_item_done(item);
}

void ingest_close(struct ingest *in)
{
	if (!in || !in->consumer)
		return;
	for (size_t i = 0; i < in->ready.n; i++)
		forget(store_queue_at(&in->ready, i));
	for (size_t i = 0; i < in->ahead.n; i++)
		forget(store_queue_at(&in->ahead, i));
	for (size_t i = 0; i < in->writing.n; i++)
		forget(&in->writing.items[i]);
	in->writing.n = 0;
	in->stopping = true;
	in->placed = false;
	bus_consumer_close(in->consumer);
	in->consumer = NULL;
	timer_cancel(in->loop, &in->flush);
	timer_cancel(in->loop, &in->again);
	loop_hook_del(in->loop, &in->hook);
	store_queue_done(&in->ready);
	store_queue_done(&in->ahead);
}

void ingest_free(struct ingest *in)
{
	if (!in)
		return;
	free(in->writing.items);
	free(in);
}
