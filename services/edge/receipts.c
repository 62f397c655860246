#include "services/edge/receipts.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/receipt.pb-c.h"
#include "services/edge/conn.h"
#include "services/edge/link.h"

#define MESSAGE_BYTES (128 << 10) /* about; NATS takes 1 MiB */
#define FULL_US       INT64_C(3600000000)

/* --- what there is to tell of a link ------------------------------------------------------ */

void receipts_mark(struct link *link)
{
	if (!link->receipt.opened_us)
		return;
	link->receipt.dirty = link->topic->receipts = true;
}

void receipts_mark_all(struct conn *conn)
{
	for (unsigned i = 0; i < conn->session.n_slots; i++)
		if (conn->session.subs[i].state != SUB_FREE)
			receipts_mark(conn->session.subs[i].link);
}

void receipts_opened(struct link *link, uint64_t from)
{
	struct reactor *r = link->topic->reactor;
	int64_t now = loop_wall_us(r->loop);

	if (!r->edge->conf->receipts_ms || link->receipt.opened_us)
		return;
	/* Two of a session and channel would be one. */
	if (now <= r->receipts.opened_us)
		now = r->receipts.opened_us + 1;
	link->receipt.opened_us = r->receipts.opened_us = now;
	link->receipt.from = from;
	receipts_mark(link);
}

/* Where there is no room for another one the last one is extended: it then says too much. */
static void add_range(struct receipt_range *ranges, uint8_t *n, uint64_t from, uint64_t to)
{
	struct receipt_range *last = *n ? &ranges[*n - 1] : NULL;

	assert(ranges);
	if (last && (from <= last->to + 1 || *n == RECEIPT_RANGES)) {
		last->from = from < last->from ? from : last->from;
		last->to = to > last->to ? to : last->to;
		return;
	}
	ranges[(*n)++] = (struct receipt_range){from, to};
}

void receipts_gap(struct link *link, uint64_t from, uint64_t to, bool spilled)
{
	struct receipt_ranges *ranges = link->receipt.ranges;

	if (!link->receipt.opened_us || to < from || !to)
		return;
	if (!ranges)
		link->receipt.ranges = ranges = xcalloc(1, sizeof(*ranges));
	if (spilled)
		add_range(ranges->spilled, &ranges->n_spilled, from, to);
	else
		add_range(ranges->missed, &ranges->n_missed, from, to);
	receipts_mark(link);
}

static uint64_t position(const struct link *link)
{
	if (link->conn->close_sent)
		return link->receipt.last;
	return link->history ? link->history->pos : topic_pos(link->topic);
}

/* Up to where the kernel has it. */
static uint64_t sent(const struct link *link)
{
	uint64_t waits = outq_first(&link->conn->out, (uint32_t)link->topic->hash);
	uint64_t pos = position(link);

	return waits && waits <= pos ? waits - 1 : pos;
}

bool receipts_ack(struct link *link, uint64_t offset)
{
	if (offset > position(link))
		return false;
	if (offset > link->receipt.acked) {
		link->receipt.acked = offset;
		receipts_mark(link);
	}
	return true;
}

void receipts_closing(struct conn *conn, bool cut)
{
	for (unsigned i = 0; i < conn->session.n_slots; i++) {
		struct link *link = conn->session.subs[i].link;

		if (conn->session.subs[i].state == SUB_FREE)
			continue;
		link->receipt.last = cut ? sent(link) : position(link);
		receipts_mark(link);
	}
}

/* --- messages ----------------------------------------------------------------------------- */

/* Parts of a message one behind the other are one message: so each is packed for itself. */
static void add(struct strbuf *body, const Penstock__Receipts *part)
{
	size_t len = penstock__receipts__get_packed_size(part);

	strbuf_reserve(body, len);
	body->len += penstock__receipts__pack(part, (uint8_t *)body->data + body->len);
}

static void send_off(struct reactor *r, bool alive)
{
	struct receipts *rc = &r->receipts;
	const struct edge_conf *conf = r->edge->conf;
	Penstock__Receipts head = PENSTOCK__RECEIPTS__INIT;
	size_t len;

	if (!rc->body.len && !alive)
		return;
	head.edge = conf->common.instance;
	head.run_us = r->edge->started_us;
	head.reactor = r->index;
	head.epoch = r->epoch_number;
	head.time_us = loop_wall_us(r->loop);
	head.period_ms = (uint32_t)conf->receipts_ms;
	head.resume_ms = (uint32_t)conf->resume_ttl_ms;
	add(&rc->body, &head);
	len = rc->body.len;
	hub_receipts(r->edge->hub, strbuf_detach(&rc->body, NULL), len, rc->n);
	rc->n = 0;
}

static size_t fill_ranges(Penstock__OffsetRange *ranges, Penstock__OffsetRange **list,
			  const struct receipt_range *from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		penstock__offset_range__init(&ranges[i]);
		ranges[i].from = from[i].from;
		ranges[i].to = from[i].to;
		list[i] = &ranges[i];
	}
	return n;
}

static void add_link(struct link *link, int64_t closed_us)
{
	struct reactor *r = link->topic->reactor;
	struct conn *conn = link->conn;
	struct receipt *receipt = &link->receipt;
	Penstock__Receipts part = PENSTOCK__RECEIPTS__INIT;
	Penstock__LinkReceipt l = PENSTOCK__LINK_RECEIPT__INIT, *list[1] = {&l};
	Penstock__OffsetRange ranges[2 * RECEIPT_RANGES], *lists[2 * RECEIPT_RANGES];

	/* What is spilled right now is no gap frame yet. */
	if (link->spilled)
		receipts_gap(link, link->history->pos + 1, link->history->target, true);
	l.tenant = link->topic->tenant;
	l.channel = link->topic->channel;
	l.session = conn->session.id.text;
	l.principal = (char *)conn->principal->id;
	l.opened_us = receipt->opened_us;
	l.from = receipt->from;
	l.sent = sent(link);
	l.acked = receipt->acked;
	l.level = !closed_us && !conn->close_sent && link->state == LINK_LIVE && !conn->out.n;
	l.closed_us = closed_us;
	if (closed_us && conn->closed)
		l.close_code = conn->close_code ? conn->close_code : 1006;
	if (receipt->ranges) {
		const struct receipt_ranges *from = receipt->ranges;

		l.spilled = lists;
		l.n_spilled = fill_ranges(ranges, lists, from->spilled, from->n_spilled);
		l.missed = lists + RECEIPT_RANGES;
		l.n_missed = fill_ranges(ranges + RECEIPT_RANGES, lists + RECEIPT_RANGES,
					 from->missed, from->n_missed);
	}
	part.links = list;
	part.n_links = 1;
	add(&r->receipts.body, &part);
	r->receipts.n++;
	free(receipt->ranges);
	receipt->ranges = NULL;
	receipt->dirty = false;
	if (r->receipts.body.len > MESSAGE_BYTES)
		send_off(r, false);
}

void receipts_ended(struct link *link)
{
	if (link->receipt.opened_us)
		add_link(link, loop_wall_us(link->topic->reactor->loop));
	link->receipt.opened_us = 0;
}

static void add_links(struct topic *t, bool full)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct link *link = t->entries[i].link;

		if (link->receipt.dirty || (full && link->receipt.opened_us))
			add_link(link, 0);
	}
	t->receipts = false;
}

static void add_position(struct topic *t)
{
	Penstock__Receipts part = PENSTOCK__RECEIPTS__INIT;
	Penstock__PositionReceipt p = PENSTOCK__POSITION_RECEIPT__INIT, *list[1] = {&p};

	p.tenant = t->tenant;
	p.channel = t->channel;
	p.offset = t->receipts_pos = topic_pos(t);
	part.positions = list;
	part.n_positions = 1;
	add(&t->reactor->receipts.body, &part);
	if (t->reactor->receipts.body.len > MESSAGE_BYTES)
		send_off(t->reactor, false);
}

/* The subscriptions before the positions: one that is not level any more must not be taken along by
 * the position of its channel. */
static void tell(struct reactor *r)
{
	struct receipts *rc = &r->receipts;
	bool full = loop_now_us(r->loop) >= rc->full_us;
	struct topic *t;

	rc->due = false;
	/* Else it is for later: what has changed stays marked. */
	if (hub_receipts_room(r->edge->hub)) {
		for (size_t at = 0; (t = table_next(&r->topics, &at));)
			if (t->receipts || full)
				add_links(t, full);
		for (size_t at = 0; (t = table_next(&r->topics, &at));)
			if (t->n && t->located && (full || topic_pos(t) != t->receipts_pos))
				add_position(t);
		if (full)
			rc->full_us = loop_now_us(r->loop) + FULL_US;
	}
	send_off(r, r->index == 0); /* one of them says that the edge is alive */
}

/* --- time --------------------------------------------------------------------------------- */

static void on_timer(struct timer *timer, void *arg)
{
	struct reactor *r = arg;

	r->receipts.due = true;
	timer_set(r->loop, timer, r->edge->conf->receipts_ms * 1000);
}

void receipts_turn_end(struct reactor *r)
{
	if (r->receipts.due && atomic_load_explicit(&r->edge->serving, memory_order_acquire))
		tell(r);
}

void receipts_start(struct reactor *r)
{
	int64_t period_us = r->edge->conf->receipts_ms * 1000;

	timer_init(&r->receipts.timer, on_timer, r);
	r->receipts.full_us = loop_now_us(r->loop) + FULL_US;
	if (period_us)
		timer_set(r->loop, &r->receipts.timer,
			  (int64_t)rng_below(&r->rng, (uint64_t)period_us));
}

void receipts_done(struct reactor *r)
{
	timer_cancel(r->loop, &r->receipts.timer);
	strbuf_done(&r->receipts.body);
}
