#include "services/event-store/ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "services/event-store/ingest_impl.h"
#include "services/event-store/item.h"

#define BATCH_MAX 2000
#define BYTES_MAX (32 << 20)
#define GATHER_US 20000
/* From this rate on, messages a second, it gathers longer in proportion: a transaction has its own
 * price, and a task's row is written once a batch, whatever number of its events are in it. */
#define GATHER_RATE    250
#define GATHER_LONGEST 8 /* times gather_us */

void ingest_tell(struct ingest *in)
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
	return in->ready.n + in->writing.n;
}

/* Says how many more messages may come: bounded by number, and by bytes as far as the size of the
 * messages of late lets us guess. */
void ingest_ask(struct ingest *in)
{
	size_t limit = 2 * in->conf.batch_max, credit = 0;

	if (held(in) < limit && in->held_bytes < in->conf.bytes_max) {
		size_t by_bytes = (in->conf.bytes_max - in->held_bytes) / in->typical + 1;
		credit = limit - held(in);
		credit = by_bytes < credit ? by_bytes : credit;
	}
	if (in->consumer)
		bus_consumer_want(in->consumer, (unsigned)credit);
	metric_set(in->m_held, (int64_t)held(in));
	metric_set(in->m_held_bytes, (int64_t)in->held_bytes);
}

static void end_item(struct ingest *in, struct store_item *item)
{
	in->held_bytes -= item->cost;
	store_item_done(item);
}

void ingest_let_go(struct ingest *in, size_t n)
{
	for (size_t i = 0; i < n; i++)
		end_item(in, store_queue_at(&in->ready, i));
	store_queue_drop(&in->ready, n);
}

static void end_batch(struct ingest *in)
{
	for (size_t i = 0; i < in->writing.n; i++)
		end_item(in, &in->writing.items[i]);
	in->writing.n = 0;
}

/* --- writing -----------------------------------------------------------------------------------
 */

/* How long after a batch of n messages, which came in that time, the next one may wait. */
static int64_t gather_for(const struct ingest *in, size_t n, int64_t since_us)
{
	double rate = (double)n * 1e6 / (double)(since_us ? since_us : 1);
	double times = rate / GATHER_RATE;

	times = times < 1 ? 1 : times > GATHER_LONGEST ? GATHER_LONGEST : times;
	return (int64_t)(times * (double)in->conf.gather_us);
}

static void write_some(struct ingest *in)
{
	size_t n = 0, bytes = 0;
	int64_t now = loop_now_us(in->loop);

	/* A batch is bounded in bytes too: half of what may be held, so that the other half can
	 * come in. */
	while (n < in->ready.n && n < in->conf.batch_max && bytes < in->conf.bytes_max / 2)
		bytes += store_queue_at(&in->ready, n++)->cost;
	for (size_t i = 0; i < n; i++)
		in->writing.items[i] = *store_queue_at(&in->ready, i);
	store_queue_drop(&in->ready, n);
	in->writing.n = n;
	in->gather_us = gather_for(in, n + in->ready.n, now - in->wrote_us);
	in->wrote_us = now;
	in->sink->ops->write(in->sink, &in->writing);
}

/* An idle event-store writes at once; a busy one gathers, so that a commit carries many. */
void ingest_maybe_write(struct ingest *in)
{
	int64_t now = loop_now_us(in->loop), due = in->wrote_us + in->gather_us;

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
	ingest_maybe_write(arg);
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	(void)hook;
	ingest_maybe_write(arg);
}

static void finish_stop(struct ingest *in)
{
	if (in->stopped)
		in->stopped(in->stopped_arg);
	in->stopped = NULL;
}

static void keep_for_later(struct ingest *in, const struct error *err)
{
	if (in->placed) {
		/* Back to the front of the line; they are older than all that waits there. */
		store_queue_prepend(&in->ready, in->writing.items, in->writing.n);
		in->writing.n = 0;
	} else {
		end_batch(in); /* read again from the position, by whoever leads */
	}
	in->failures++;
	int64_t cap = backoff_full_jitter(&in->rng, in->failures, INGEST_RETRY_FIRST_US, 2,
					  INGEST_RETRY_MAX_US);
	in->not_before_us = loop_now_us(in->loop) + cap;
	metric_add(in->m_failures, 1);
	log_at(LOG_WARN, "a batch could not be written, it is kept", LOG_S("error", err->msg),
	       LOG_I("messages", in->ready.n), LOG_I("failures", in->failures));
	ingest_ask(in);
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
	for (size_t i = 0; i < b->n; i++)
		if (!b->items[i].event)
			metric_add(in->m_poison, 1);
	end_batch(in);
	ingest_ask(in);
	ingest_tell(in);
}

static void on_written(void *arg, const struct error *err)
{
	struct ingest *in = arg;

	if (in->closed || !in->writing.n)
		return;
	if (err)
		keep_for_later(in, err);
	else
		committed(in);
	if (in->stopping)
		finish_stop(in);
	else
		ingest_maybe_write(in);
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
	in->m_rereads =
	    metrics_counter(m, "penstock_store_rereads_total", NULL,
			    "Times that EVENTS was read anew because it had what did not come");
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

static void on_again(struct timer *timer, void *arg)
{
	struct ingest *in = arg;

	(void)timer;
	if (in->standing == STORE_LEADING && !in->placed)
		ingest_place(in);
}

struct ingest *ingest_start(struct bus *bus, struct loop *loop, struct store_sink *sink,
			    struct metrics *metrics, const struct ingest_conf *conf,
			    void (*changed)(void *arg), void *arg)
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
	in->writing.epoch = conf->epoch;
	in->writing.items = xcalloc(in->conf.batch_max, sizeof(*in->writing.items));
	in->gather_us = in->conf.gather_us;
	in->wrote_us = loop_now_us(loop) - in->gather_us;
	rng_seed(&in->rng, conf->epoch);
	make_metrics(in, metrics);
	timer_init(&in->flush, on_flush, in);
	timer_init(&in->again, on_again, in);
	timer_init(&in->watch, ingest_on_watch, in);
	in->hook = (struct loop_hook){.fn = on_turn_end, .arg = in};
	loop_hook_add(loop, &in->hook);
	struct store_listener listener = {
	    .standing = ingest_on_standing, .written = on_written, .arg = in};
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
	ingest_unplace(in);
	ingest_ask(in);
	if (in->standing == STORE_LEADING && !in->stopping)
		ingest_place(in);
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
	ingest_unplace(in);
	ingest_ask(in);
	if (!in->writing.n)
		finish_stop(in);
}

void ingest_close(struct ingest *in)
{
	if (!in || in->closed)
		return;
	in->closed = in->stopping = true;
	ingest_unplace(in);
	end_batch(in);
	timer_cancel(in->loop, &in->flush);
	timer_cancel(in->loop, &in->again);
	loop_hook_del(in->loop, &in->hook);
	store_queue_done(&in->ready);
}

void ingest_free(struct ingest *in)
{
	if (!in)
		return;
	free(in->writing.items);
	free(in);
}
