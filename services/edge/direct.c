#include "services/edge/direct.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "proto/command.pb-c.h"
#include "proto/lease.pb-c.h"
#include "services/edge/hub_int.h"
#include "services/edge/lease.h"
#include "services/edge/wire.h"

#define ANSWER_MS  500
#define LEASES_MAX 65536
#define LOOK_AT    4   /* others, when one more tenant comes */
#define ALONE_MS   100 /* for another edge that nobody has heard of yet */

struct tenant_lease {
	struct hub *hub;
	struct lease lease;
	uint64_t hash;
	char tenant[];
};

/* --- leases ------------------------------------------------------------------------------- */

static bool same_tenant(const void *item, const void *key)
{
	return !strcmp(((const struct tenant_lease *)item)->tenant, key);
}

/* A few at each call, so that there are never many more than those that send. */
static void forget_idle(struct hub *hub)
{
	int64_t now = loop_now_us(hub->loop);

	for (int i = 0; i < LOOK_AT; i++) {
		struct tenant_lease *t = table_next(&hub->leases, &hub->leases_at);

		if (!t)
			hub->leases_at = 0;
		if (!t || !lease_idle(&t->lease, now))
			continue;
		table_remove(&hub->leases, t->hash, t);
		free(t);
	}
}

/* NULL: as many tenants as may be have one. */
static struct tenant_lease *get(struct hub *hub, const char *tenant)
{
	uint64_t hash = table_hash2(tenant, "");
	struct tenant_lease *t = table_find(&hub->leases, hash, same_tenant, tenant);
	size_t len = strlen(tenant) + 1;

	if (t)
		return t;
	forget_idle(hub);
	if (hub->leases.n >= LEASES_MAX)
		return NULL;
	t = xcalloc(1, sizeof(*t) + len);
	t->hub = hub;
	t->hash = hash;
	memcpy(t->tenant, tenant, len);
	table_add(&hub->leases, hash, t);
	return t;
}

/* What is left of a lease is bounded by what the limits are by now. The router does it too, with
 * its next answer; until then, and where the router has heard of it later than this edge: */
static void bound(struct tenant_lease *t, const struct tenant_limits *limits)
{
	lease_limits(&t->lease, limits->events_per_s, limits->burst, limits->bytes_per_s);
}

void direct_limits(struct hub *hub, const struct tenant *tenant)
{
	struct tenant_lease *t =
	    table_find(&hub->leases, table_hash2(tenant->id, ""), same_tenant, tenant->id);

	if (t)
		bound(t, &tenant->limits);
}

/* NULL: no answer, or none that can be read. */
static void answered(struct tenant_lease *t, const Penstock__LeaseReply *reply)
{
	const struct tenant *tenant = catalog_tenant(t->hub->catalog, t->tenant);
	struct lease_grant g;

	if (reply)
		g = lease_grant(reply);
	lease_answered(&t->lease, reply ? &g : NULL, loop_now_us(t->hub->loop));
	if (tenant)
		bound(t, &tenant->limits);
}

static void on_leased(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct tenant_lease *t = arg;
	Penstock__LeaseReply *reply = NULL;

	if (result == BUS_OK) {
		reply = penstock__lease_reply__unpack(NULL, msg->len, msg->data);
		if (!reply)
			metric_add(t->hub->edge->stats.malformed, 1);
	}
	answered(t, reply);
	if (reply)
		penstock__lease_reply__free_unpacked(reply, NULL);
}

static Penstock__LeaseRequest request_of(const struct lease_question *q)
{
	Penstock__LeaseRequest r = PENSTOCK__LEASE_REQUEST__INIT;

	r.last = q->last;
	r.events_used = (uint64_t)q->events_used;
	r.bytes_used = (uint64_t)q->bytes_used;
	r.events_wanted = (uint64_t)q->events_wanted;
	r.bytes_wanted = (uint64_t)q->bytes_wanted;
	return r;
}

/* Along with a command. What is packed behind another message is merged into it. */
static void ride(struct command_request *r, struct tenant_lease *t, const struct lease_question *q)
{
	Penstock__LeaseRequest ask = request_of(q);
	Penstock__Command only = PENSTOCK__COMMAND__INIT;

	only.lease = &ask;
	r->data = xrealloc(r->data, r->len + penstock__command__get_packed_size(&only));
	r->asks_len = penstock__command__pack(&only, (uint8_t *)r->data + r->len);
	r->asks = t;
}

void direct_answered(struct command_request *r)
{
	Penstock__Reply *reply =
	    r->reply ? penstock__reply__unpack(NULL, r->reply_len, r->reply) : NULL;

	answered(r->asks, reply ? reply->lease : NULL);
	if (reply)
		penstock__reply__free_unpacked(reply, NULL);
}

/* By itself. */
static void ask(struct tenant_lease *t, const struct lease_question *q, unsigned part)
{
	Penstock__LeaseRequest r = request_of(q);
	struct hub *hub = t->hub;
	struct subject subject = subject_lease(part);
	uint8_t packed[4 * TENANT_MAX + 128];
	size_t len;

	r.tenant = t->tenant;
	r.edge = hub->edge->conf->common.instance;
	len = penstock__lease_request__get_packed_size(&r);
	if (len > sizeof(packed)) { /* its instance has a name that no router would take */
		lease_answered(&t->lease, NULL, loop_now_us(hub->loop));
		return;
	}
	penstock__lease_request__pack(&r, packed);
	bus_request(hub->bus, subject.text, packed, len, ANSWER_MS, on_leased, t);
}

/* --- one event ---------------------------------------------------------------------------- */

struct going {
	struct command_view cmd;
	unsigned version;
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1], type[TYPE_MAX + 1], key[KEY_MAX + 1];
};

/* What the router's admission (services/router/admit.c) asks of it beyond the limits; the rest was
 * checked when the client's message was read. */
static bool may_go(struct hub *hub, const struct command_request *r, struct going *g)
{
	const struct command_view *c = &g->cmd;
	const struct tenant *tenant;
	const struct event_type *type;

	if (!wire_command(r->data, r->len, &g->cmd) ||
	    !slice_copy(c->tenant, g->tenant, sizeof(g->tenant)) ||
	    !slice_copy(c->channel, g->channel, sizeof(g->channel)) ||
	    !slice_copy(c->type, g->type, sizeof(g->type)) ||
	    !slice_copy(c->key, g->key, sizeof(g->key)))
		return false;
	type = catalog_type(hub->catalog, g->tenant, g->type);
	if (!type || type->class != CLASS_EPHEMERAL)
		return false;
	tenant = catalog_tenant(hub->catalog, g->tenant);
	g->version = event_type_version(type, c->version);
	return tenant && tenant->active && g->version;
}

static bool spend(struct hub *hub, struct command_request *r, const struct going *g, bool asks)
{
	struct tenant_lease *t = get(hub, g->tenant);
	int64_t bytes = (int64_t)g->cmd.data.len;
	int64_t now = loop_now_us(hub->loop);
	struct lease_question q;
	bool spent;

	if (!t)
		return false;
	spent = lease_spend(&t->lease, bytes, now);
	/* Who may not ask comes again as the hub, and would count as two. */
	if (!(asks || spent) || !lease_ask(&t->lease, spent, bytes, now, &q))
		return spent;
	if (spent)
		ask(t, &q, r->part);
	else
		ride(r, t, &q);
	return spent;
}

/* No other edge is known. */
static bool alone(const struct hub *hub)
{
	return hub->members && members_known(hub->members) && hub->ring.n == 1;
}

static bool send(struct hub *hub, unsigned part, const struct going *g, const struct event_view *e)
{
	struct strbuf *b = &hub->direct;
	struct error err = {0};

	strbuf_reset(b);
	wire_add_event(b, e, &g->cmd);
	if (!bus_publish_later(hub->bus, subject_live(part, g->tenant, g->channel).text, b->data,
			       b->len, alone(hub) ? ALONE_MS : 0, &err))
		return true;
	log_at(LOG_WARN, "event not sent directly", LOG_S("reason", err.msg));
	return false;
}

/* As the router would have said it. */
static void answer(struct command_request *r, const struct going *g, const struct id *id)
{
	Penstock__Accepted accepted = PENSTOCK__ACCEPTED__INIT;
	Penstock__Reply reply = PENSTOCK__REPLY__INIT;
	struct hub *hub = r->base.hub;

	accepted.event_id = (char *)id->text;
	accepted.channel = (char *)g->channel;
	accepted.epoch = hub->epoch;
	reply.body_case = PENSTOCK__REPLY__BODY_ACCEPTED;
	reply.accepted = &accepted;
	r->result = BUS_OK;
	r->direct = true;
	r->reply_len = penstock__reply__get_packed_size(&reply);
	r->reply = xmalloc(r->reply_len + 1);
	penstock__reply__pack(&reply, r->reply);
	metric_add(hub->edge->stats.direct, 1);
	histogram_observe_us(hub->edge->stats.command_time[r->kind],
			     loop_now_us(hub->loop) - r->start_us);
	request_answer(&r->base);
}

bool direct_publish(struct hub *hub, struct command_request *r, bool ask)
{
	struct going g;
	struct event_view e;
	struct id id;

	if (r->kind != COMMAND_PUBLISH || !r->routed || *r->routed || !bus_connected(hub->bus) ||
	    !may_go(hub, r, &g) || !spend(hub, r, &g, ask))
		return false;
	id = *g.key ? id_derive(g.tenant, "event", g.key)
		    : id_new(&hub->rng, loop_wall_us(hub->loop));
	e = (struct event_view){.id = slice_of(id.text),
				.tenant = g.cmd.tenant,
				.channel = g.cmd.channel,
				.type = g.cmd.type,
				.data = g.cmd.data,
				.trace = g.cmd.trace,
				.version = g.version,
				.time_us = loop_wall_us(hub->loop)};
	if (!send(hub, r->part, &g, &e))
		return false;
	channel_direct(hub, g.tenant, g.channel, &e);
	answer(r, &g, &id);
	return true;
}

void direct_done(struct hub *hub)
{
	struct tenant_lease *t;
	size_t at = 0;

	while ((t = table_next(&hub->leases, &at)))
		free(t);
	table_done(&hub->leases);
	strbuf_done(&hub->direct);
}
