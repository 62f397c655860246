/* Leases of limits: by themselves, and through a whole router. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/lease.pb-c.h"
#include "tests/unit/router/world.h"

#define S  INT64_C(1000000000)
#define MS INT64_C(1000000)

static const struct tenant_limits limits = {
    .events_per_s = 100, .burst = 200, .bytes_per_s = 100000};

static struct share_ask ask_of(uint64_t edge, int64_t events)
{
	return (struct share_ask){.edge = edge, .events_wanted = events, .bytes_wanted = 1000};
}

START_TEST(half_of_what_is_left)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l;
	struct share_ask ask = ask_of(1, 1000);
	ck_assert(share_grant(&s, &limits, &state, &ask, 7, 10 * S, &l));
	ck_assert_uint_eq(l.id, 7);
	ck_assert_int_eq(l.events, 100); /* half of the burst, and what the rate gives */
	ck_assert_int_eq(l.bytes, 1000);
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 10 * S), 100);
	ask = ask_of(2, 1000);
	ck_assert(share_grant(&s, &limits, &state, &ask, 8, 10 * S, &l));
	ck_assert_int_eq(l.events, 50);
	ask = ask_of(3, 3);
	ck_assert(share_grant(&s, &limits, &state, &ask, 9, 10 * S, &l));
	ck_assert_int_eq(l.events, 3); /* no more than it wants */
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 10 * S), 47);
}
END_TEST

START_TEST(nothing_is_left)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l;
	struct share_ask ask = ask_of(1, 10);
	gcra_take(&state.events, 100, 199, 10 * S);
	struct admit_state before = state;
	ck_assert(!share_grant(&s, &limits, &state, &ask, 1, 10 * S, &l));
	ck_assert_int_eq(memcmp(&before, &state, sizeof(state)), 0);
	/* Events are there, and bytes are not: neither is charged. */
	state = before = (struct admit_state){0};
	gcra_take(&state.bytes, limits.bytes_per_s, 100000, 10 * S);
	before = state;
	ck_assert(!share_grant(&s, &limits, &state, &ask, 2, 10 * S, &l));
	ck_assert_int_eq(memcmp(&before, &state, sizeof(state)), 0);
}
END_TEST

START_TEST(what_was_not_used_comes_back)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l;
	struct share_ask ask = ask_of(1, 100);
	ck_assert(share_grant(&s, &limits, &state, &ask, 7, 10 * S, &l));
	ck_assert_int_eq(l.events, 100);
	ask.last = 7;
	ask.events_used = 30;
	ask.bytes_used = 400;
	ask.events_wanted = 1;
	ask.bytes_wanted = 1;
	ck_assert(share_grant(&s, &limits, &state, &ask, 8, 10 * S, &l));
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 10 * S), 200 - 30 - 1);
	ck_assert_int_eq(gcra_left(&state.bytes, 100000, 100000, 10 * S), 100000 - 400 - 1);
	/* Only once, and only of the last one. */
	ck_assert(share_grant(&s, &limits, &state, &ask, 9, 10 * S, &l));
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 10 * S), 200 - 30 - 2);
	ask.last = 0;
	ck_assert(share_grant(&s, &limits, &state, &ask, 10, 10 * S, &l));
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 10 * S), 200 - 30 - 3);
	/* Nor is the bucket ever fuller than full. */
	ask.last = 10;
	ask.events_used = ask.bytes_used = 0;
	ck_assert(share_grant(&s, &limits, &state, &ask, 11, 11 * S, &l));
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 11 * S), 199);
}
END_TEST

/* Leases that nobody used, and which time has paid for, are no second burst for a flood. */
START_TEST(what_is_old_does_not_come_back)
{
	const struct tenant_limits wide = {.events_per_s = 100, .burst = 1000};
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l[8];
	int passed = 0;
	for (uint64_t e = 0; e < 8; e++) {
		struct share_ask ask = ask_of(e + 1, 100);
		ck_assert(share_grant(&s, &wide, &state, &ask, e + 1, 10 * S, &l[e]));
	}
	int64_t now = 19 * S;
	for (uint64_t e = 0; e < 8; e++) {
		for (; !gcra_wait_ns(&state.events, 100, 1000, 1, now); passed++)
			gcra_take(&state.events, 100, 1, now);
		struct share_ask ask = ask_of(e + 1, 1);
		ask.last = l[e].id;
		ck_assert(!share_grant(&s, &wide, &state, &ask, e + 20, now, &l[e]));
	}
	ck_assert_int_eq(passed, 1000);
}
END_TEST

START_TEST(more_was_used_than_there_was)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l;
	struct share_ask ask = ask_of(1, 50);
	ck_assert(share_grant(&s, &limits, &state, &ask, 7, 10 * S, &l));
	ask.last = 7;
	ask.events_used = ask.bytes_used = INT64_MAX / 4;
	ask.events_wanted = 1;
	ck_assert(share_grant(&s, &limits, &state, &ask, 8, 10 * S, &l));
	ck_assert_int_eq(gcra_left(&state.events, 100, 200, 10 * S), 149);
}
END_TEST

START_TEST(too_many_edges)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l;
	struct share_ask ask;
	struct tenant_limits wide = {.events_per_s = 1000000, .burst = 1000000};
	for (uint64_t e = 1; e <= SHARE_EDGES; e++) {
		ask = ask_of(e, 1);
		ck_assert(share_grant(&s, &wide, &state, &ask, e, 10 * S, &l));
	}
	ask = ask_of(99, 1);
	ck_assert(!share_grant(&s, &wide, &state, &ask, 99, 11 * S, &l));
	/* Those who were never heard of again make room. */
	ask = ask_of(5, 1);
	ck_assert(share_grant(&s, &wide, &state, &ask, 100, 11 * S + 900 * MS, &l));
	ask = ask_of(99, 1);
	ck_assert(share_grant(&s, &wide, &state, &ask, 101, 12 * S + 1, &l));
	ck_assert_uint_eq(s.n, 2);
}
END_TEST

START_TEST(no_limit_and_shadow)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease l;
	struct share_ask ask = ask_of(1, INT64_MAX / 4);
	struct tenant_limits none = {0}, shadow = limits;
	ck_assert(share_grant(&s, &none, &state, &ask, 1, S, &l));
	ck_assert_int_ge(l.events, 1000000);
	ck_assert_int_eq(state.events.tat_ns, 0);
	shadow.mode = LIMIT_SHADOW;
	ask.events_wanted = 5000;
	ck_assert(share_grant(&s, &shadow, &state, &ask, 2, 10 * S, &l));
	ck_assert_int_eq(l.events, 100);
	/* Above the limit the router has to see, and to count, each of them. */
	gcra_take(&state.events, 100, 1000, 10 * S);
	ck_assert(!share_grant(&s, &shadow, &state, &ask, 3, 10 * S, &l));
}
END_TEST

/* Edges that spend what they have at the worst moments, beside a router that is flooded: never more
 * than the burst and the rate give, the rate for as much longer as a lease is kept. */
#define EDGES 4
#define PASS  20000

static int64_t passed[PASS];
static size_t n_passed;

static void pass(int64_t now_ns, int64_t n)
{
	for (; n > 0 && n_passed < PASS; n--)
		passed[n_passed++] = now_ns;
}

START_TEST(never_more_than_the_limit)
{
	struct share s = {0};
	struct admit_state state = {0};
	struct share_lease have[EDGES] = {0};
	int64_t used[EDGES] = {0};
	struct rng rng;
	int64_t now = 10 * S;
	uint64_t id = 1;
	rng_seed(&rng, 11);
	while (now < 60 * S) {
		now += (int64_t)rng_below(&rng, 3 * MS);
		unsigned e = (unsigned)rng_below(&rng, EDGES);
		bool good = now - have[e].granted_ns < SHARE_TTL_MS * MS;
		if (rng_below(&rng, 4) == 0) { /* the way through the router */
			if (gcra_wait_ns(&state.events, 100, 200, 1, now) == 0) {
				gcra_take(&state.events, 100, 1, now);
				pass(now, 1);
			}
		} else if (good && used[e] < have[e].events && rng_below(&rng, 3)) {
			int64_t n =
			    1 + (int64_t)rng_below(&rng, (uint64_t)(have[e].events - used[e]));
			used[e] += n;
			pass(now, n);
		} else if (rng_below(&rng, 20) == 0) {
			struct share_ask ask = ask_of(e + 1, 1 + (int64_t)rng_below(&rng, 300));
			ask.last = have[e].id;
			ask.events_used = used[e];
			have[e] = (struct share_lease){0};
			used[e] = 0;
			if (!share_grant(&s, &limits, &state, &ask, ++id, now, &have[e]))
				have[e].events = 0;
		}
	}
	ck_assert_uint_lt(n_passed, PASS);
	ck_assert_uint_gt(n_passed, 3000); /* … and not much less either */
	size_t broken = 0;
	for (size_t a = 0; a < n_passed; a++)
		for (size_t b = a; b < n_passed && passed[b] - passed[a] < 5 * S; b++) {
			int64_t most = 201 + (passed[b] - passed[a] + SHARE_KEPT_MS * MS) * 100 / S;
			broken += (int64_t)(b - a + 1) > most;
		}
	ck_assert_uint_eq(broken, 0);
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
	ck_assert_uint_eq(l.events, 8);
	ck_assert_uint_ne(l.id, 0);
	ck_assert_uint_eq(l.ttl_ms, SHARE_TTL_MS);
	ck_assert_uint_eq(l.data_max, w.conf.data_max);
	int n = 0;
	while (world_publish(&w, "", "1").accepted)
		n++;
	ck_assert_int_eq(n, 12);
	/* None of it was used, says the next question: then it is there for others. */
	ck_assert_uint_eq(lease("acme", w.part, l.id, 0).events, 4);
	n = 0;
	while (world_publish(&w, "", "1").accepted)
		n++;
	ck_assert_int_eq(n, 4);
	ck_assert_int_eq(metric_get(w.router[0]->stats.leased_events), 12);
	l = lease("acme", w.part, 0, 0);
	ck_assert_int_eq(l.result, BUS_OK);
	ck_assert_uint_eq(l.events, 0);
	ck_assert_uint_eq(l.id, 0);
	ck_assert_uint_gt(l.retry_ms, 0);
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
	tcase_add_test(pure, nothing_is_left);
	tcase_add_test(pure, what_was_not_used_comes_back);
	tcase_add_test(pure, what_is_old_does_not_come_back);
	tcase_add_test(pure, more_was_used_than_there_was);
	tcase_add_test(pure, too_many_edges);
	tcase_add_test(pure, no_limit_and_shadow);
	tcase_add_test(pure, never_more_than_the_limit);
	tcase_set_timeout(pure, 60);
	tcase_set_timeout(whole, 60);
	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_add_test(whole, a_lease_counts_as_sent);
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
