/* Taking in what the consumer delivers, in the order of the stream. */
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "services/event-store/ingest_impl.h"
#include "services/event-store/item.h"

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
	ingest_settle(in, item, INGEST_ACK);
}

/* What waited for its turn and has it now. */
void ingest_promote(struct ingest *in)
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
	ingest_fill_hole(in);
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
			ingest_promote(in);
		return;
	}
	if (!store_queue_insert(&in->ahead, &item)) {
		bus_claim_free(item.claim);
		item.claim = NULL;
		ingest_settle(in, &item, INGEST_ACK);
	}
	ingest_fill_hole(in);
}

void ingest_deliver(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct ingest *in = arg;

	if (!in->placed || in->stopping) {
		bus_claim_nak(claim, 0);
		return;
	}
	in->heard_us = loop_now_us(in->loop);
	if (msg->seq <= in->position) { /* stored: only its acknowledgement was lost */
		metric_add(in->m_repeats, 1);
		bus_claim_ack(claim);
		ingest_ask(in);
		return;
	}
	if (msg->seq < in->next) { /* in our hands: it is acknowledged once, after the commit */
		metric_add(in->m_repeats, 1);
		renew_claim(in, msg->seq, claim);
		ingest_ask(in);
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
			timer_set(in->loop, &in->again, INGEST_RETRY_FIRST_US);
			return;
		}
		log_at(LOG_ERROR, "a message of EVENTS is gone", LOG_I("seq", in->next));
		in->next++;
	}
	in->missing_since_us = 0;
	ingest_promote(in);
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
		timer_set(in->loop, &in->again, INGEST_RETRY_FIRST_US);
		return;
	}
	ingest_fill_hole(in);
}

/* Was this message there when we took the lead, and does the consumer deliver nothing? Then whoever
 * led before died with it in its hands, and it comes again after ack_wait only. */
static bool left_behind(const struct ingest *in)
{
	return in->next <= in->known && loop_now_us(in->loop) - in->heard_us >= INGEST_QUIET_US;
}

/* Only when something is here whose turn it is not yet, or the end of what was there is waited for
 * in vain: then it was delivered to somebody who did not live to store it. As much as may be held.
 */
void ingest_fill_hole(struct ingest *in)
{
	bool room = in->ready.n < in->conf.batch_max && in->held_bytes < in->conf.bytes_max;

	if (in->fetching || timer_armed(&in->again) || !(in->ahead.n || (room && left_behind(in))))
		return;
	in->fetching = in->next;
	bus_get(in->bus, STREAM_EVENTS, in->next, on_fetched, in);
}

void ingest_watch_quiet(struct ingest *in)
{
	in->heard_us = loop_now_us(in->loop);
	timer_set(in->loop, &in->quiet, INGEST_QUIET_US);
}

void ingest_on_quiet(struct timer *timer, void *arg)
{
	struct ingest *in = arg;

	if (!in->placed || in->stopping || in->next > in->known)
		return;
	ingest_fill_hole(in);
	timer_set(in->loop, timer, INGEST_QUIET_US);
}
