/* The receipts' way to the stream: one message after the other, each until it is stored, so that a
 * later state is never overtaken by an earlier one. */
#include <stdlib.h>

#include "common/log.h"
#include "services/edge/hub_int.h"
#include "services/edge/receipts.h"

#define MAIL_BYTES (16 << 20) /* that wait for the bus */
#define STORE_MS   5000
#define RETRY_US   1000000

struct receipts_mail {
	struct loop_post post;
	struct receipts_mail *next;
	struct hub *hub;
	void *data;
	size_t len;
	unsigned n;
};

static void mail_free(struct receipts_mail *m)
{
	atomic_fetch_sub_explicit(&m->hub->receipts_bytes, m->len, memory_order_relaxed);
	free(m->data);
	free(m);
}

static void drop(struct receipts_mail *m)
{
	metric_add(m->hub->edge->stats.receipts_dropped, m->n);
	mail_free(m);
}

static void take_first(struct hub *hub)
{
	hub->receipts = hub->receipts->next;
	if (!hub->receipts)
		hub->receipts_last = NULL;
}

static void send_next(struct hub *hub);

static void on_stored(void *arg, const struct bus_ack *ack)
{
	struct hub *hub = arg;
	struct receipts_mail *m = hub->receipts;

	hub->receipts_busy = false;
	if (ack->result == BUS_OK) {
		metric_add(hub->edge->stats.receipts, m->n);
		take_first(hub);
		mail_free(m);
		send_next(hub);
	} else if (ack->result == BUS_REJECTED) {
		log_at(LOG_WARN, "receipts were refused", LOG_S("error", bus_error_text(hub->bus)),
		       LOG_I("bytes", m->len));
		take_first(hub);
		drop(m);
		send_next(hub);
	} else {
		timer_set(hub->loop, &hub->receipts_retry, RETRY_US);
	}
}

static void on_retry(struct timer *timer, void *arg)
{
	(void)timer;
	send_next(arg);
}

static void send_next(struct hub *hub)
{
	struct receipts_mail *m = hub->receipts;

	if (!m || hub->receipts_busy || !hub->bus)
		return;
	hub->receipts_busy = true;
	bus_store(hub->bus, SUBJECT_RECEIPTS,
		  &(struct bus_store_opts){.expect_last_seq = -1, .timeout_ms = STORE_MS}, m->data,
		  m->len, on_stored, hub);
}

static void on_mail(struct loop_post *post)
{
	struct receipts_mail *m = (struct receipts_mail *)post;
	struct hub *hub = m->hub;

	if (!hub->bus ||
	    atomic_load_explicit(&hub->receipts_bytes, memory_order_relaxed) > MAIL_BYTES) {
		drop(m);
		return;
	}
	m->next = NULL;
	if (hub->receipts_last)
		hub->receipts_last->next = m;
	else
		hub->receipts = m;
	hub->receipts_last = m;
	if (!timer_armed(&hub->receipts_retry))
		send_next(hub);
}

void hub_receipts_init(struct hub *hub)
{
	timer_init(&hub->receipts_retry, on_retry, hub);
}

void hub_receipts(struct hub *hub, void *data, size_t len, unsigned n)
{
	struct receipts_mail *m = xmalloc(sizeof(*m));

	*m = (struct receipts_mail){
	    .post.fn = on_mail, .hub = hub, .data = data, .len = len, .n = n};
	atomic_fetch_add_explicit(&hub->receipts_bytes, len, memory_order_relaxed);
	loop_post(hub->loop, &m->post);
}

bool hub_receipts_room(struct hub *hub)
{
	return atomic_load_explicit(&hub->receipts_bytes, memory_order_relaxed) < MAIL_BYTES / 2;
}

bool hub_receipts_empty(struct hub *hub)
{
	return !hub->receipts;
}

void hub_receipts_done(struct hub *hub)
{
	timer_cancel(hub->loop, &hub->receipts_retry);
	hub->receipts_busy = false;
	while (hub->receipts) {
		struct receipts_mail *m = hub->receipts;

		take_first(hub);
		drop(m);
	}
}

/* --- the end ------------------------------------------------------------------------------ */

struct tell_post {
	struct loop_post post;
	struct reactor *reactor;
	void (*done)(void *arg);
	void *arg;
};

static void on_told(struct loop_post *post)
{
	struct tell_post *p = (struct tell_post *)post;

	p->done(p->arg);
	free(p);
}

static void on_tell(struct loop_post *post)
{
	struct tell_post *p = (struct tell_post *)post;

	p->reactor->receipts.due = p->reactor->edge->conf->receipts_ms > 0;
	receipts_turn_end(p->reactor);
	p->post.fn = on_told;
	loop_post(hub_loop(p->reactor->edge->hub), &p->post);
}

void reactor_receipts(struct reactor *r, void (*done)(void *arg), void *arg)
{
	struct tell_post *p = xmalloc(sizeof(*p));

	*p = (struct tell_post){.post.fn = on_tell, .reactor = r, .done = done, .arg = arg};
	loop_post(r->loop, &p->post);
}
