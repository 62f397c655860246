/* Tickets on their way into a queue: which one, and what is charged for them to tokens_per_min.
 *
 * The charge is the estimate that the ticket carries. It names who charged it, as long as this
 * router serves the part: with the task's end the worker says what was used, and the difference is
 * given back, or charged, by that one alone. The next owner of the part begins with fresh limits,
 * and what its predecessor charged is void.
 *
 * A ticket that was not stored gives its charge back. Where nobody knows whether it was, the charge
 * stays, and who asks for the same ticket again is not charged again. */
#include <stdio.h>
#include <string.h>

#include "services/router/impl.h"

static bool has_place(struct router *r, struct router_queue *q, const struct tenant *tenant,
		      enum window_place *place, struct admit_refusal *why)
{
	const struct router_queue *queues = q->tenant->queues;
	int64_t queued = window_queued(&queues[ROUTER_INTERACTIVE].window) +
			 window_queued(&queues[ROUTER_BATCH].window);
	int64_t elsewhere = queued - window_queued(&q->window);
	*place = window_place(&q->window, router_window_size(r, q, tenant),
			      tenant->limits.tasks_queued - elsewhere);
	if (*place != WINDOW_FULL)
		return true;
	metric_add(r->stats.limited[0][tenant->limits.mode], 1);
	*place = WINDOW_BACKLOG;
	if (tenant->limits.mode == LIMIT_SHADOW)
		return true;
	*why = admit_refuse_later("rate_limited", "too many tasks are waiting",
				  (uint32_t)window_retry_ms(&q->window), "tenant.tasks_queued");
	return false;
}

/* --- tokens a minute ------------------------------------------------------------------------- */

/* In router.unsure: this ticket, charged by this owner of the part. */
static struct id charge_id(const struct router_ticket *ticket)
{
	char text[ROUTER_TICKET_ID_MAX + 24];
	snprintf(text, sizeof(text), "%llx %s", (unsigned long long)ticket->charge, ticket->id);
	return id_derive(ticket->tenant, "charge", text);
}

static bool charged_before(struct router *r, const struct router_ticket *ticket)
{
	return recent_count(r->unsure) > 0 && recent_find(r->unsure, charge_id(ticket).text);
}

static bool has_tokens(struct router *r, struct router_tenant *t, const struct tenant *tenant,
		       struct router_ticket *ticket, struct admit_refusal *why)
{
	struct admit_result res;
	ticket->charge = 0;
	if (tenant->limits.tokens_per_min <= 0 || ticket->tokens <= 0)
		return true;
	ticket->charge = r->parts[t->part].charge;
	if (charged_before(r, ticket))
		return true;
	bool ok = admit_tokens(&tenant->limits, &t->limits, ticket->tokens,
			       loop_now_us(r->loop) * 1000, &res);
	ticket->fresh = res.limited == ADMIT_LIMIT_NONE;
	if (!ticket->fresh) {
		ticket->charge = 0;
		metric_add(r->stats.limited[res.limited][tenant->limits.mode], 1);
	}
	*why = res.refusal;
	return ok;
}

static void settle(struct router *r, const char *name, int64_t charged, int64_t used)
{
	const struct tenant *tenant = catalog_tenant(r->catalog, name);
	if (tenant)
		admit_tokens_settle(&tenant->limits, &router_tenant_get(r, name)->limits, charged,
				    used, loop_now_us(r->loop) * 1000);
}

/* Does the part still have the limits that it was charged to? */
static bool ours(const struct router *r, const char *tenant, uint64_t charge)
{
	return charge && r->parts[part_of(tenant, r->conf.parts)].charge == charge;
}

static void charge_sent(struct router *r, struct router_ticket *ticket, const struct bus_ack *ack)
{
	bool unknown = ack->result == BUS_TIMEOUT || ack->result == BUS_UNAVAILABLE;
	bool stored = ack->result == BUS_OK && !ack->duplicate;
	if (!ticket->fresh)
		return;
	ticket->fresh = false;
	if (stored || !ours(r, ticket->tenant, ticket->charge))
		return;
	if (unknown) {
		recent_add(r->unsure, charge_id(ticket).text, &(struct recent_entry){0});
		return;
	}
	settle(r, ticket->tenant, ticket->tokens, 0);
	ticket->returned = true;
}

void router_tokens_end(struct router *r, const Penstock__TaskEnd *end)
{
	if (ours(r, end->tenant, end->charge))
		settle(r, end->tenant, router_tokens(end->tokens), router_tokens(end->used));
}

int64_t router_tokens(uint64_t told)
{
	return told < WINDOW_TOKENS_MAX ? (int64_t)told : WINDOW_TOKENS_MAX;
}

/* --- the ticket ------------------------------------------------------------------------------ */

bool router_ticket_admit(struct router *r, struct router_ticket *ticket, struct router_tenant *t,
			 const struct tenant *tenant, enum router_kind kind, const char *reply)
{
	struct admit_refusal why;
	strcpy(ticket->tenant, t->name);
	if (has_place(r, &t->queues[ticket->pool], tenant, &ticket->place, &why) &&
	    has_tokens(r, t, tenant, ticket, &why))
		return true;
	router_refuse(r, kind, reply, &why);
	return false;
}

void router_ticket_send(struct router *r, struct router_ticket *ticket, const void *data,
			size_t len, bus_ack_fn *fn, void *arg)
{
	const char *pool = router_pool_name(ticket->pool);
	unsigned part = part_of(ticket->tenant, r->conf.parts);
	struct subject subject = ticket->place == WINDOW_READY
				     ? subject_task(pool, ticket->tenant)
				     : subject_wait(part, ticket->tenant, pool);
	struct bus_store_opts opts = {
	    .msg_id = ticket->id, .expect_last_seq = -1, .timeout_ms = r->conf.store_timeout_ms};
	struct router_tenant *t = router_tenant_find(r, ticket->tenant);
	if (ticket->returned && ours(r, ticket->tenant, ticket->charge)) {
		settle(r, ticket->tenant, 0, ticket->tokens);
		ticket->fresh = true;
	}
	ticket->returned = false;
	if (t) {
		window_send(&t->queues[ticket->pool].window, ticket->place, ticket->tokens);
		router_window_changed(r, &t->queues[ticket->pool]);
	}
	bus_store(r->bus, subject.text, &opts, data, len, fn, arg);
}

void router_ticket_sent(struct router *r, struct router_ticket *ticket, const struct bus_ack *ack)
{
	struct router_tenant *t = router_tenant_find(r, ticket->tenant);
	charge_sent(r, ticket, ack);
	if (!t)
		return;
	struct router_queue *q = &t->queues[ticket->pool];
	window_sent(&q->window, ticket->place, ticket->tokens,
		    ack->result == BUS_OK && !ack->duplicate);
	router_window_changed(r, q);
}
