/* Tickets in BACKLOG under a subject that is no tenant's own: another part than its tenant's (the
 * number of parts was changed, or somebody made a mistake), or no such name at all. No tenant's
 * consumer would ever take them, so they would stay for ever.
 *
 * The look at the streams finds such subjects; one at a time gets a consumer of its own, and keeps
 * it until the next look does not find it any more. What is a ticket goes to the end of its own
 * tenant's backlog, the rest is dropped. */
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

#define ACK_WAIT_MS 30000
#define CREDIT      64
#define NAK_MS      500

static void want(struct router *r)
{
	if (r->stray.consumer)
		bus_consumer_want(r->stray.consumer, CREDIT - r->stray.moving);
}

static void moved(void *arg, const struct bus_ack *ack)
{
	struct router_move *m = arg;
	struct router *r = m->router;
	if (ack->result == BUS_OK) {
		bus_claim_ack(m->claim);
		metric_add(r->stats.strays, 1);
	} else {
		bus_claim_nak(m->claim, NAK_MS);
	}
	r->stray.moving--;
	want(r);
	router_move_end(m);
}

static void delivered(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct router *r = arg;
	Penstock__Ticket *ticket = router_ticket_read(r, msg);
	if (!ticket) {
		metric_add(r->stats.bad_tickets, 1);
		log_at(LOG_ERROR, "ticket in the backlog cannot be read: dropped",
		       LOG_S("subject", msg->subject));
		bus_claim_ack(claim);
		want(r);
		return;
	}
	const char *tenant = ticket->tenant;
	log_at(LOG_WARN, "ticket in a backlog that is not its tenant's: moved",
	       LOG_S("tenant", tenant), LOG_S("task", ticket->task),
	       LOG_S("subject", msg->subject));
	struct router_move *m = router_move_new(r, claim, ticket);
	r->stray.moving++;
	struct subject subject =
	    subject_wait(part_of(tenant, r->conf.parts), tenant, router_pool_name(m->pool));
	/* Under its own id the broker would know it: from where it lies now. */
	char own[ROUTER_TICKET_ID_MAX], id[sizeof(own) + sizeof("moved.")];
	router_ticket_id(ticket, own);
	snprintf(id, sizeof(id), "moved.%s", own);
	struct bus_store_opts opts = {
	    .msg_id = id, .expect_last_seq = -1, .timeout_ms = r->conf.store_timeout_ms};
	bus_store(r->bus, subject.text, &opts, msg->data, msg->len, moved, m);
}

void router_stray_found(struct router *r, const char *subject)
{
	struct router_stray *s = &r->stray;
	struct digest_part text = {subject, strlen(subject)};
	uint64_t hash = digest64(&text, 1);
	char durable[32];
	struct error err;
	/* One router looks after each of them; two would do no harm. */
	if (!r->parts[hash % r->conf.parts].owned)
		return;
	if (s->consumer) {
		s->seen |= s->hash == hash;
		return;
	}
	snprintf(durable, sizeof(durable), "stray_%016llx", (unsigned long long)hash);
	struct bus_consumer_conf conf = {.stream = STREAM_BACKLOG,
					 .durable = durable,
					 .filter = subject,
					 .ack_wait_ms = ACK_WAIT_MS};
	s->consumer = bus_consumer_open(r->bus, &conf, delivered, r, &err);
	if (!s->consumer) {
		log_at(LOG_ERROR, "consumer of stray tickets not opened", LOG_S("subject", subject),
		       LOG_S("reason", err.msg));
		return;
	}
	s->hash = hash;
	s->seen = true;
	want(r);
}

void router_stray_looked(struct router *r)
{
	if (!r->stray.seen)
		router_stray_stop(r);
	r->stray.seen = false;
}

void router_stray_stop(struct router *r)
{
	bus_consumer_close(r->stray.consumer);
	r->stray.consumer = NULL;
}
