/* pen.lease.events.<part>: an edge's question for a share of a tenant's limits. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "proto/lease.pb-c.h"
#include "services/router/impl.h"

static int64_t amount(uint64_t n)
{
	return n > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)n;
}

static void answer(struct router *r, const char *to, const struct share_lease *lease)
{
	Penstock__LeaseReply reply = PENSTOCK__LEASE_REPLY__INIT;
	struct error err;
	if (lease) {
		reply.id = lease->id;
		reply.events = (uint64_t)lease->events;
		reply.bytes = (uint64_t)lease->bytes;
		reply.ttl_ms = lease->ttl_ms;
	}
	reply.retry_ms = SHARE_RETRY_MS;
	reply.data_max = r->conf.data_max;
	strbuf_reset(&r->reply);
	strbuf_reserve(&r->reply, penstock__lease_reply__get_packed_size(&reply));
	size_t len = penstock__lease_reply__pack(&reply, (uint8_t *)r->reply.data);
	if (bus_publish(r->bus, to, r->reply.data, len, &err) != 0)
		log_at(LOG_DEBUG, "lease not sent", LOG_S("reason", err.msg));
}

/* NULL: not one of ours. */
static Penstock__LeaseRequest *read_request(struct router *r, unsigned part, const void *data,
					    size_t len)
{
	if (len > 4 * TENANT_MAX + 128)
		return NULL;
	router_arena_reset(&r->arena);
	Penstock__LeaseRequest *q = penstock__lease_request__unpack(&r->arena.allocator, len, data);
	bool good = q && name_valid_tenant(q->tenant) && q->edge[0] && q->events_wanted > 0 &&
		    q->bytes_wanted > 0 && part_of(q->tenant, r->conf.parts) == part;
	return good ? q : NULL;
}

void router_lease(struct router *r, unsigned part, const char *reply, const void *data, size_t len)
{
	const Penstock__LeaseRequest *q = read_request(r, part, data, len);
	const struct tenant *tenant = q ? catalog_tenant(r->catalog, q->tenant) : NULL;
	struct share_lease lease;
	if (!q || !reply || strlen(reply) >= ROUTER_REPLY_MAX) {
		metric_add(r->stats.malformed, 1);
		return;
	}
	if (!tenant || !tenant->active) {
		answer(r, reply, NULL);
		return;
	}
	struct router_tenant *t = router_tenant_get(r, q->tenant);
	struct share_ask ask = {
	    .edge = digest64(&(struct digest_part){q->edge, strlen(q->edge)}, 1),
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
	if (granted)
		metric_add(r->stats.leased_events, lease.added);
	answer(r, reply, granted ? &lease : NULL);
}
