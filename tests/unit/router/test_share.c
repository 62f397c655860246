/* Leases of limits: by themselves, with the edges that spend them, and through a whole router. */
/* links: services/edge */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/lease.pb-c.h"
#include "services/edge/lease.h"
#include "tests/unit/router/world.h"

#define S  INT64_C(1000000000)
#define MS INT64_C(1000000)

static const struct tenant_limits limits = {
    .events_per_s = 100, .burst = 200, .bytes_per_s = 100000};

static struct share_ask ask_of(uint64_t edge, int64_t events)
{
	return (struct share_ask){.edge = edge, .events_wanted = events, .bytes_wanted = 1000};
}

static int64_t left(const struct admit_state *state, int64_t now_ns)
{
	return gcra_left(&state->events, limits.events_per_s, admit_burst(&limits, state), now_ns);
}

/* One tenant's leases: what the tests below work on. */
static struct {
	struct share share;
	struct admit_state state;
	struct share_ask ask;
	struct share_lease lease; /* the last one that was granted */
} one;

static void nothing_leased(void)
{
	memset(&one, 0, sizeof(one));
}

static void forget_leases(void)
{
	share_done(&one.share);
}

static bool grant(const struct tenant_limits *to, uint64_t id, int64_t now_ns)
{
	return share_grant(&one.share, to, &one.state, &one.ask, id, now_ns, &one.lease);
}

START_TEST(half_of_what_is_left)
{
	one.ask = ask_of(1, 1000);
	ck_assert(grant(&limits, 7, 10 * S));
	ck_assert_uint_eq(one.lease.id, 7);
	ck_assert_int_eq(one.lease.events, 100); /* half of the burst, and what the rate gives */
	ck_assert_int_eq(one.lease.bytes, 1000);
	ck_assert_int_eq(left(&one.state, 10 * S), 100);
	one.ask = ask_of(2, 1000);
	ck_assert(grant(&limits, 8, 10 * S));
	ck_assert_int_eq(one.lease.events, 50);
	one.ask = ask_of(3, 3);
	ck_assert(grant(&limits, 9, 10 * S));
	ck_assert_int_eq(one.lease.events, 3); /* no more than it wants */
	ck_assert_int_eq(left(&one.state, 10 * S), 47);
}
END_TEST

START_TEST(nothing_is_left)
{
	one.ask = ask_of(1, 10);
	gcra_take(&one.state.events, 100, 199, 10 * S);
	struct admit_state before = one.state;
	ck_assert(!grant(&limits, 1, 10 * S));
	ck_assert_int_eq(memcmp(&before, &one.state, sizeof(one.state)), 0);
	/* Events are there, and bytes are not: neither is charged. */
	one.state = before = (struct admit_state){0};
	gcra_take(&one.state.bytes, limits.bytes_per_s, 100000, 10 * S);
	before = one.state;
	ck_assert(!grant(&limits, 2, 10 * S));
	ck_assert_int_eq(memcmp(&before, &one.state, sizeof(one.state)), 0);
}
END_TEST

/* What a question says is charged; the rest is the edge's still, and only what is new is held. */
START_TEST(what_was_used_is_charged)
{
	one.ask = ask_of(1, 100);
	ck_assert(grant(&limits, 7, 10 * S));
	ck_assert_int_eq(one.lease.events, 100);
	ck_assert_int_eq(one.lease.added, 100);
	ck_assert_uint_eq(one.lease.ttl_ms, SHARE_TTL_MS);
	one.ask.last = 7;
	one.ask.events_used = 30;
	one.ask.bytes_used = 400;
	one.ask.events_wanted = 1;
	one.ask.bytes_wanted = 1;
	ck_assert(grant(&limits, 8, 10 * S));
	ck_assert_int_eq(one.lease.events, 70);
	ck_assert_int_eq(one.lease.added, 0);
	ck_assert_int_eq(one.state.held_events, 70);
	ck_assert_int_eq(left(&one.state, 10 * S), 100);
	/* Time fills what was used, and only that: the rest is at the edge. */
	ck_assert_int_eq(left(&one.state, 11 * S), 130);
	one.ask.last = 8;
	one.ask.events_used = 70;
	one.ask.bytes_used = 0;
	one.ask.events_wanted = 10;
	ck_assert(grant(&limits, 9, 11 * S));
	ck_assert_int_eq(one.lease.events, 10);
	ck_assert_int_eq(one.state.held_events, 10);
	ck_assert_int_eq(left(&one.state, 11 * S), 120);
}
END_TEST

/* What is at an edge comes back with its next question, but for what the new limits let pass. */
START_TEST(limits_are_lowered)
{
	const struct tenant_limits low = {.events_per_s = 10, .burst = 8, .bytes_per_s = 300};
	one.ask = ask_of(1, 100);
	ck_assert(grant(&limits, 7, 10 * S));
	ck_assert_int_eq(one.lease.events, 100);
	one.ask.last = 7;
	one.ask.events_used = 30;
	one.ask.bytes_used = 100;
	ck_assert(grant(&low, 8, 10 * S));
	ck_assert_int_eq(one.lease.events, 8);
	ck_assert_int_eq(one.lease.bytes, 300);
	ck_assert_int_eq(one.state.held_events, 8);
	ck_assert_int_eq(one.state.held_bytes, 300);
	/* And not so many again with each question: what it uses is charged. */
	one.ask.last = 8;
	one.ask.events_used = 8;
	one.ask.bytes_used = 8;
	ck_assert(!grant(&low, 9, 10 * S));
}
END_TEST

/* A lease that nobody speaks of again has been used, at the end of its time and not before. */
START_TEST(silence_is_use)
{
	one.ask = ask_of(1, 100);
	int64_t end = 10 * S + (SHARE_TTL_MS + SHARE_GRACE_MS) * MS;
	ck_assert(grant(&limits, 7, 10 * S));
	share_expire(&one.share, &limits, &one.state, end - 1);
	ck_assert_uint_eq(one.share.n, 1);
	ck_assert_int_eq(left(&one.state, end - 1), 100);
	share_expire(&one.share, &limits, &one.state, end);
	ck_assert_uint_eq(one.share.n, 0);
	ck_assert_int_eq(one.state.held_events, 0);
	ck_assert_int_eq(one.state.held_bytes, 0);
	ck_assert_int_eq(left(&one.state, end), 100);
	ck_assert_int_eq(left(&one.state, end + S), 200);
	/* So has one that its edge knows nothing of. */
	ck_assert(grant(&limits, 8, 20 * S));
	one.ask.last = 7;
	one.ask.events_used = 5;
	one.ask.events_wanted = 10;
	ck_assert(grant(&limits, 9, 20 * S));
	ck_assert_int_eq(one.lease.events, 10);
	ck_assert_int_eq(left(&one.state, 20 * S), 90);
}
END_TEST

START_TEST(more_was_used_than_there_was)
{
	one.ask = ask_of(1, 50);
	ck_assert(grant(&limits, 7, 10 * S));
	one.ask.last = 7;
	one.ask.events_used = one.ask.bytes_used = INT64_MAX / 4;
	one.ask.events_wanted = 4;
	ck_assert(grant(&limits, 8, 10 * S));
	ck_assert_int_eq(left(&one.state, 10 * S), 146);
}
END_TEST

/* What is small beside the burst: of all edges together a quarter of it. */
START_TEST(small_ones_last)
{
	one.ask = ask_of(1, 30);
	ck_assert(grant(&limits, 1, 10 * S));
	ck_assert_uint_eq(one.lease.ttl_ms, SHARE_LONG_MS);
	one.ask = ask_of(2, 30);
	ck_assert(grant(&limits, 2, 10 * S));
	ck_assert_int_eq(one.lease.events, 20); /* rather less than not for long */
	ck_assert_uint_eq(one.lease.ttl_ms, SHARE_LONG_MS);
	one.ask = ask_of(3, 30);
	ck_assert(grant(&limits, 3, 10 * S));
	ck_assert_int_eq(one.lease.events, 30);
	ck_assert_uint_eq(one.lease.ttl_ms, SHARE_TTL_MS);
	ck_assert_int_eq(left(&one.state, 10 * S), 120);
	/* Later on the short one has been used, and time has filled up all but what is away. */
	share_expire(&one.share, &limits, &one.state, 20 * S);
	ck_assert_uint_eq(one.share.n, 2);
	ck_assert_int_eq(left(&one.state, 30 * S), 150);
	/* One that grows beyond the quarter lasts no longer, but not shorter than was promised. */
	one.ask = ask_of(2, 90);
	one.ask.last = 2;
	ck_assert(grant(&limits, 4, 30 * S));
	ck_assert_int_eq(one.lease.events, 90);
	ck_assert_uint_eq(one.lease.ttl_ms, SHARE_TTL_MS);
	share_expire(&one.share, &limits, &one.state, 40 * S);
	ck_assert_int_eq(one.state.held_events, 120);
	share_expire(&one.share, &limits, &one.state,
		     10 * S + (SHARE_LONG_MS + SHARE_GRACE_MS) * MS);
	ck_assert_int_eq(one.state.held_events, 0);
}
END_TEST

/* Whoever had leases under a limit that was lowered, or under none, does not wait for years. */
START_TEST(limits_change)
{
	const struct tenant_limits none = {0};
	one.ask = ask_of(1, 1000000);
	ck_assert(grant(&none, 1, 10 * S));
	ck_assert_int_eq(one.lease.events, 1000000);
	int64_t end = 10 * S + (SHARE_LONG_MS + SHARE_GRACE_MS) * MS;
	/* While it is out, one at a time. */
	gcra_take(&one.state.events, 100, 1, 20 * S);
	ck_assert_int_eq(
	    gcra_wait_ns(&one.state.events, 100, admit_burst(&limits, &one.state), 1, 20 * S),
	    10 * MS);
	share_expire(&one.share, &limits, &one.state, end);
	ck_assert_int_eq(left(&one.state, end), 0);
	ck_assert_int_eq(left(&one.state, end + 2 * S), 200);
}
END_TEST

START_TEST(too_many_edges)
{
	struct tenant_limits wide = {.events_per_s = 1000000, .burst = 1000000};
	for (uint64_t e = 1; e <= SHARE_EDGES; e++) {
		one.ask = ask_of(e, 100);
		ck_assert(grant(&wide, e, 10 * S));
	}
	one.ask = ask_of(99, 1);
	ck_assert(!grant(&wide, 99, 11 * S));
	/* Those who were never heard of again make room. */
	ck_assert(grant(&wide, 101, 14 * S));
}
END_TEST

START_TEST(no_limit_and_shadow)
{
	one.ask = ask_of(1, INT64_MAX / 4);
	struct tenant_limits none = {0}, shadow = limits;
	ck_assert(grant(&none, 1, S));
	ck_assert_int_ge(one.lease.events, 1000000);
	ck_assert_int_eq(one.state.events.tat_ns, 0);
	shadow.mode = LIMIT_SHADOW;
	one.ask.events_wanted = 5000;
	share_done(&one.share);
	one.state = (struct admit_state){0};
	ck_assert(grant(&shadow, 2, 10 * S));
	ck_assert_int_eq(one.lease.events, 100);
	/* Above the limit the router has to see, and to count, each of them. */
	gcra_take(&one.state.events, 100, 1000, 10 * S);
	one.ask.last = one.lease.id;
	one.ask.events_used = one.lease.events;
	ck_assert(!grant(&shadow, 3, 10 * S));
}
END_TEST

/* --- with edges --- */

/* Edges that send rarely, often, or as fast as they can, and a router that is flooded besides, over
 * a bus that is slow and loses questions and answers; edges that forget all at once. Never more
 * passes than the limits let: what passes is put into buckets of its own. */
#define EDGES 6

struct edge {
	struct lease lease;
	struct lease_question q;
	struct lease_grant g;
	bool on_its_way, answered, lost; /* the question; its answer */
	int64_t arrives_us, back_us, gives_up_us;
	int64_t gap_us, next_us, turns_us;
	uint64_t direct, all; /* of those that are sent rarely */
};

struct crowd {
	struct rng rng;
	struct share share;
	struct admit_state state;
	struct gcra events, bytes; /* what has passed */
	struct edge edges[EDGES];
	uint64_t id, passed, by_router, broken;
};

static int64_t below(struct crowd *c, int64_t n)
{
	return (int64_t)rng_below(&c->rng, (uint64_t)n);
}

static void passes(struct crowd *c, int64_t bytes, int64_t now_us)
{
	int64_t now = now_us * 1000;
	c->broken += gcra_wait_ns(&c->events, limits.events_per_s, limits.burst + 1, 1, now) > 0;
	c->broken +=
	    gcra_wait_ns(&c->bytes, limits.bytes_per_s, limits.bytes_per_s + 1, bytes, now) > 0;
	gcra_take(&c->events, limits.events_per_s, 1, now);
	gcra_take(&c->bytes, limits.bytes_per_s, bytes, now);
	c->passed++;
}

static bool router_admits(struct crowd *c, int64_t bytes, int64_t now_us)
{
	int64_t now = now_us * 1000;
	share_expire(&c->share, &limits, &c->state, now);
	if (gcra_wait_ns(&c->state.events, limits.events_per_s, admit_burst(&limits, &c->state), 1,
			 now) ||
	    gcra_wait_ns(&c->state.bytes, limits.bytes_per_s, admit_bytes_burst(&limits, &c->state),
			 bytes, now))
		return false;
	gcra_take(&c->state.events, limits.events_per_s, 1, now);
	gcra_take(&c->state.bytes, limits.bytes_per_s, bytes, now);
	passes(c, bytes, now_us);
	c->by_router++;
	return true;
}

static void edge_sends(struct crowd *c, struct edge *e, int64_t now)
{
	int64_t bytes = 1 + below(c, below(c, 10) ? 200 : 3000);
	bool spent = lease_spend(&e->lease, bytes, now);
	if (lease_ask(&e->lease, spent, bytes, now, &e->q)) {
		e->on_its_way = below(c, 20);
		e->answered = false;
		e->lost = !below(c, 20);
		/* Some come when nobody waits for the answer any more. */
		e->arrives_us = now + below(c, below(c, 10) ? 2000 : 700000);
		e->gives_up_us = now + 500000;
	}
	if (spent)
		passes(c, bytes, now);
	bool admitted = spent || router_admits(c, bytes, now);
	if (e->gap_us > 1000000 && admitted) {
		e->direct += spent;
		e->all++;
	}
}

static void router_answers(struct crowd *c, struct edge *e, int64_t now)
{
	struct share_lease l;
	struct share_ask ask = {.edge = (uint64_t)(e - c->edges) + 1,
				.last = e->q.last,
				.events_used = e->q.events_used,
				.bytes_used = e->q.bytes_used,
				.events_wanted = e->q.events_wanted,
				.bytes_wanted = e->q.bytes_wanted};
	e->on_its_way = false;
	e->g = (struct lease_grant){.retry_ms = SHARE_RETRY_MS, .data_max = 2500};
	if (share_grant(&c->share, &limits, &c->state, &ask, ++c->id, now * 1000, &l)) {
		e->g.id = l.id;
		e->g.events = l.events;
		e->g.bytes = l.bytes;
		e->g.ttl_ms = l.ttl_ms;
	}
	e->answered = !e->lost;
	e->back_us = now + below(c, 2000);
}

static void edge_turn(struct crowd *c, struct edge *e, int64_t now)
{
	static const int64_t gaps[] = {20000000, 5000000, 1500000, 300000, 50000, 25000};
	if (e->on_its_way && now >= e->arrives_us)
		router_answers(c, e, now);
	if (e->lease.asking && e->answered && now >= e->back_us)
		lease_answered(&e->lease, &e->g, now);
	else if (e->lease.asking && now >= e->gives_up_us)
		lease_answered(&e->lease, NULL, now);
	if (now >= e->turns_us) {
		e->gap_us = below(c, 60) ? gaps[below(c, 6)] : 200;
		e->next_us = now + below(c, e->gap_us);
		e->turns_us = now + below(c, 10000000 + e->gap_us * 10);
		if (!below(c, 20) && !e->lease.asking)
			e->lease = (struct lease){0}; /* another process */
	}
	if (now >= e->next_us) {
		edge_sends(c, e, now);
		e->next_us = now + 1 + below(c, 2 * e->gap_us);
	}
}

START_TEST(never_more_than_the_limit)
{
	struct crowd c = {.id = 0};
	int64_t flood_us = 0, now;
	uint64_t direct = 0, all = 0;
	rng_seed(&c.rng, (uint64_t)_i + 11);
	for (now = 1000000; now < INT64_C(1200) * 1000000; now += 100) {
		for (int i = 0; i < EDGES; i++)
			edge_turn(&c, &c.edges[i], now);
		/* The way through the router, at times as fast as it is admitted. */
		if (now >= flood_us) {
			router_admits(&c, 100, now);
			flood_us = now / 30000000 % 4 ? now + 200000 : now + 1000;
		}
	}
	for (int i = 0; i < EDGES; i++) {
		direct += c.edges[i].direct;
		all += c.edges[i].all;
	}
	ck_assert_uint_eq(c.broken, 0);
	/* … and not much less than there is, the rare ones mostly without the router. */
	ck_assert_uint_gt(c.passed, 20000);
	ck_assert_uint_gt(c.passed - c.by_router, 5000);
	ck_assert_uint_gt(all, 300);
	ck_assert_uint_gt(direct * 3, all);
	share_done(&c.share);
}
END_TEST

/* --- through a router --- */

static struct world w;

static void setup(void)
{
	world_init(&w);
	world_router(&w, 0);
	world_tenant(&w, "\"events_per_s\":10,\"burst\":20");
}

static void teardown(void)
{
	world_done(&w);
}

struct leased {
	bool came;
	enum bus_result result;
	uint64_t id, events, data_max;
	uint32_t ttl_ms, retry_ms;
};

static void on_reply(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct leased *l = arg;
	l->came = true;
	l->result = result;
	if (result != BUS_OK)
		return;
	Penstock__LeaseReply *r = penstock__lease_reply__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(r);
	l->id = r->id;
	l->events = r->events;
	l->data_max = r->data_max;
	l->ttl_ms = r->ttl_ms;
	l->retry_ms = r->retry_ms;
	penstock__lease_reply__free_unpacked(r, NULL);
}

static struct leased lease(const char *tenant, unsigned part, uint64_t last, uint64_t used)
{
	Penstock__LeaseRequest q = PENSTOCK__LEASE_REQUEST__INIT;
	uint8_t data[256];
	struct leased l = {0};
	q.tenant = (char *)tenant;
	q.edge = (char *)"edge-1";
	q.last = last;
	q.events_used = used;
	q.events_wanted = 8;
	q.bytes_wanted = 1000;
	bus_request(w.client, subject_lease(part).text, data,
		    penstock__lease_request__pack(&q, data), 1000, on_reply, &l);
	world_until(&w, &l.came);
	return l;
}

START_TEST(a_lease_counts_as_sent)
{
	struct leased l = lease("acme", w.part, 0, 0);
	ck_assert_int_eq(l.result, BUS_OK);
	ck_assert_uint_eq(l.events, 5); /* a quarter of the burst */
	ck_assert_uint_ne(l.id, 0);
	ck_assert_uint_eq(l.ttl_ms, SHARE_LONG_MS);
	ck_assert_uint_eq(l.data_max, w.conf.data_max);
	int n = 0;
	while (world_publish(&w, "", "1").accepted)
		n++;
	ck_assert_int_eq(n, 15);
	/* What was used of it comes back with time as what was sent does, the rest stays away. */
	l = lease("acme", w.part, l.id, 3);
	ck_assert_uint_eq(l.events, 2);
	ck_assert_int_eq(metric_get(w.router[0]->stats.leased_events), 5);
	world_run(&w, 5000000);
	n = 0;
	while (world_publish(&w, "", "1").accepted)
		n++;
	ck_assert_int_eq(n, 18);
	l = lease("acme", w.part, l.id, 2);
	ck_assert_int_eq(l.result, BUS_OK);
	ck_assert_uint_eq(l.events, 0);
	ck_assert_uint_eq(l.id, 0);
	ck_assert_uint_gt(l.retry_ms, 0);
}
END_TEST

/* With an event that goes to the router anyway; what it says is charged as in a question by itself.
 */
START_TEST(a_question_rides_along)
{
	Penstock__LeaseRequest q = PENSTOCK__LEASE_REQUEST__INIT;
	struct order o;
	struct answer a;
	q.events_wanted = 8;
	q.bytes_wanted = 1000;
	order_publish(&w, &o, "", "1");
	o.publish.type = (char *)"cursor";
	a = world_ask(&w, &o);
	ck_assert(a.accepted && !a.leases);
	o.cmd.lease = &q;
	a = world_ask(&w, &o);
	ck_assert(a.accepted && a.leases);
	ck_assert_uint_eq(a.leased, 5); /* a quarter of the burst */
	ck_assert_uint_ne(a.lease, 0);
	ck_assert(!world_publish(&w, "", "1").leases); /* that was for the other one */
	q.last = a.lease;
	q.events_used = 5;
	a = world_ask(&w, &o);
	ck_assert(a.accepted && a.leased == 5);
	int n = 0;
	while (world_publish(&w, "", "1").accepted)
		n++;
	ck_assert_int_eq(n, 20 - 2 * 5 - 4);
	a = world_ask(&w, &o);
	ck_assert(!a.accepted && a.leases);
	ck_assert_uint_eq(a.leased, 0);
	/* An event whose answer comes later has none, and nothing is held back for it. */
	world_run(&w, 300000000);
	order_publish(&w, &o, "", "1");
	penstock__lease_request__init(&q);
	q.events_wanted = 8;
	q.bytes_wanted = 1000;
	o.cmd.lease = &q;
	a = world_ask(&w, &o);
	ck_assert(a.accepted && !a.leases);
	/* A question without a wish. */
	o.publish.type = (char *)"cursor";
	q.events_wanted = 0;
	a = world_ask(&w, &o);
	ck_assert(a.accepted && !a.leases);
	ck_assert_int_eq(metric_get(w.router[0]->stats.malformed), 1);
}
END_TEST

/* Who is idle is forgotten, but not before its leases are over and paid for. */
START_TEST(a_lease_is_remembered)
{
	struct leased l = lease("acme", w.part, 0, 0);
	ck_assert_uint_eq(l.events, 5);
	world_run(&w, (SHARE_LONG_MS - 1000) * INT64_C(1000));
	ck_assert_ptr_nonnull(router_tenant_find(w.router[0], "acme"));
	int n = 0;
	while (world_publish(&w, "", "1").accepted)
		n++;
	ck_assert_int_eq(n, 15);
	world_run(&w, 80000000);
	ck_assert_ptr_null(router_tenant_find(w.router[0], "acme"));
}
END_TEST

START_TEST(nobody_elses)
{
	ck_assert_uint_eq(lease("nobody", part_of("nobody", w.conf.parts), 0, 0).events, 0);
	ck_assert_ptr_null(router_tenant_find(w.router[0], "nobody"));
	world_put(&w, "tenant.acme",
		  "{\"id\":\"acme\",\"name\":\"Acme\",\"region\":\"local\",\"class\":\"standard\","
		  "\"status\":\"suspended\"}");
	ck_assert_uint_eq(lease("acme", w.part, 0, 0).events, 0);
	/* Not a question, or to the wrong part: no answer. */
	ck_assert_int_eq(lease("acme", (w.part + 1) % w.conf.parts, 0, 0).result, BUS_TIMEOUT);
	ck_assert_int_eq(lease("a.b", w.part, 0, 0).result, BUS_TIMEOUT);
	ck_assert_int_eq(metric_get(w.router[0]->stats.malformed), 2);
}
END_TEST

/* Two owners would lease the same twice. */
START_TEST(only_the_owner_leases)
{
	world_router(&w, 1);
	world_run(&w, 3000000);
	int leasing = 0;
	for (int i = 0; i < WORLD_ROUTERS; i++)
		leasing += w.router[i]->parts[w.part].lease != NULL;
	ck_assert_int_eq(leasing, 1);
	world_crash(&w, 0);
	world_run(&w, 6000000);
	ck_assert_uint_gt(lease("acme", w.part, 0, 0).events, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("router: leases");
	TCase *pure = tcase_create("share"), *whole = tcase_create("router");
	tcase_add_test(pure, half_of_what_is_left);
	tcase_add_test(pure, limits_are_lowered);
	tcase_add_test(pure, nothing_is_left);
	tcase_add_test(pure, what_was_used_is_charged);
	tcase_add_test(pure, silence_is_use);
	tcase_add_test(pure, more_was_used_than_there_was);
	tcase_add_test(pure, small_ones_last);
	tcase_add_test(pure, limits_change);
	tcase_add_test(pure, too_many_edges);
	tcase_add_test(pure, no_limit_and_shadow);
	tcase_add_loop_test(pure, never_more_than_the_limit, 0, 16);
	tcase_set_timeout(pure, 60);
	tcase_add_checked_fixture(pure, nothing_leased, forget_leases);
	tcase_set_timeout(whole, 60);
	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_add_test(whole, a_lease_counts_as_sent);
	tcase_add_test(whole, a_question_rides_along);
	tcase_add_test(whole, a_lease_is_remembered);
	tcase_add_test(whole, nobody_elses);
	tcase_add_test(whole, only_the_owner_leases);
	suite_add_tcase(suite, pure);
	suite_add_tcase(suite, whole);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
