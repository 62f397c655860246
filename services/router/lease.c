/* An edge's question for a share of a tenant's limits, by itself or along with a command. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "proto/lease.pb-c.h"
#include "services/router/impl.h"

static int64_t amount(uint64_t n)
{
	return n > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)n;
}

static void answer(struct router *r, const char *to, const Penstock__LeaseReply *reply)
{
	struct error err;
	strbuf_reset(&r->reply);
	strbuf_reserve(&r->reply, penstock__lease_reply__get_packed_size(reply));
	size_t len = penstock__lease_reply__pack(reply, (uint8_t *)r->reply.data);
	if (bus_publish(r->bus, to, r->reply.data, len, &err) != 0)
		log_at(LOG_DEBUG, "lease not sent", LOG_S("reason", err.msg));
}

/* Nothing. */
static Penstock__LeaseReply refusal(const struct router *r)
{
	Penstock__LeaseReply reply = PENSTOCK__LEASE_REPLY__INIT;
	reply.retry_ms = SHARE_RETRY_MS;
	reply.data_max = r->conf.data_max;
	return reply;
}

static Penstock__LeaseReply grant(struct router *r, const struct tenant *tenant,
				  struct router_tenant *t, const char *edge,
				  const Penstock__LeaseRequest *q)
{
	Penstock__LeaseReply reply = refusal(r);
	struct share_lease lease;
	struct share_ask ask = {
	    .edge = digest64(&(struct digest_part){edge, strlen(edge)}, 1),
	    .last = q->last,
	    .events_used = amount(q->events_used),
	    .bytes_used = amount(q->bytes_used),
	    .events_wanted = amount(q->events_wanted),
	    .bytes_wanted = amount(q->bytes_wanted),
	};
	/* Random: an id of another router, before this one owned the part, is none of ours. */
	bool granted = share_grant(&t->share, &tenant->limits, &t->limits, &ask,
				   rng_next(&r->rng) | 1, loop_now_us(r->loop) * 1000, &lease);
	metric_add(r->stats.leases[granted], 1);
	if (!granted)
		return reply;
	metric_add(r->stats.leased_events, lease.added);
	reply.id = lease.id;
	reply.events = (uint64_t)lease.events;
	reply.bytes = (uint64_t)lease.bytes;
	reply.ttl_ms = lease.ttl_ms;
	return reply;
}

static bool wants(const Penstock__LeaseRequest *q)
{
	return q->events_wanted > 0 && q->bytes_wanted > 0;
}

void router_lease_along(struct router *r, const struct tenant *tenant, struct router_tenant *t,
			const char *edge, const Penstock__LeaseRequest *q)
{
	r->leases = wants(q);
	if (!r->leases)
		metric_add(r->stats.malformed, 1);
	else if (tenant->active)
		r->lease = grant(r, tenant, t, edge, q);
	else
		r->lease = refusal(r);
}

/* NULL: not one of ours. */
static Penstock__LeaseRequest *read_request(struct router *r, unsigned part, const void *data,
					    size_t len)
{
	if (len > 4 * TENANT_MAX + 128)
		return NULL;
	router_arena_reset(&r->arena);
	Penstock__LeaseRequest *q = penstock__lease_request__unpack(&r->arena.allocator, len, data);
	bool good = q && name_valid_tenant(q->tenant) && q->edge[0] && wants(q) &&
		    part_of(q->tenant, r->conf.parts) == part;
	return good ? q : NULL;
}

void router_lease(struct router *r, unsigned part, const char *reply, const void *data, size_t len)
{
	const Penstock__LeaseRequest *q = read_request(r, part, data, len);
	const struct tenant *tenant = q ? catalog_tenant(r->catalog, q->tenant) : NULL;
	Penstock__LeaseReply said = refusal(r);
	if (!q || !reply || strlen(reply) >= ROUTER_REPLY_MAX) {
		metric_add(r->stats.malformed, 1);
		return;
	}
	if (tenant && tenant->active)
		said = grant(r, tenant, router_tenant_get(r, q->tenant), q->edge, q);
	answer(r, reply, &said);
}
