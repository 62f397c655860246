/* Counts of connections and subscriptions across edges: limits, reports, and edges that go. */
#include <stdio.h>
#include <string.h>

#include "services/edge/usage.h"
#include "tests/unit/common/suite.h"

static struct metrics *metrics;
static struct usage_stats stats;
static struct usage a, b;
static struct tenant acme = {.id = "acme", .limits = {.connections = 3, .subscriptions = 2}};
static int messages;
static bool lose;

static void setup(void)
{
	metrics = metrics_new();
	for (int k = 0; k < USAGE_N; k++)
		for (int i = 0; i < 2; i++) {
			char name[20];

			snprintf(name, sizeof(name), "r%d%d", k, i);
			stats.refused[k][i] = metrics_counter(metrics, name, NULL, "x");
		}
	stats.tenants = metrics_gauge(metrics, "t", NULL, "x");
	stats.ignored = metrics_counter(metrics, "i", NULL, "x");
	usage_init(&a, "edge-a", 1, &stats);
	usage_init(&b, "edge-b", 2, &stats);
	messages = 0;
	lose = false;
}

static void teardown(void)
{
	usage_done(&a);
	usage_done(&b);
	metrics_free(metrics);
}

/* Over the wire and back. */
static void carry(void *arg, const Penstock__Usage *message)
{
	size_t len = penstock__usage__get_packed_size(message);
	uint8_t *data = malloc(len + 1);
	Penstock__Usage *in;

	penstock__usage__pack(message, data);
	in = penstock__usage__unpack(NULL, len, data);
	ck_assert(in);
	messages++;
	if (!lose)
		usage_heard(arg, in);
	penstock__usage__free_unpacked(in, NULL);
	free(data);
}

static void changes(struct usage *from, struct usage *to)
{
	usage_report(from, false, false, carry, to);
}

static void everything(struct usage *from, struct usage *to)
{
	usage_report(from, true, false, carry, to);
}

static const char *away;

static bool is_away(void *arg, const char *tenant)
{
	return arg == &a && away && !strcmp(tenant, away);
}

static int64_t others(struct usage_tenant *t)
{
	return atomic_load(&t->others[USAGE_CONNECTIONS]);
}

START_TEST(a_limit_on_one_edge)
{
	struct usage_tenant *t;

	setup();
	t = usage_take(&a, &acme);
	for (int i = 0; i < 3; i++)
		ck_assert(usage_connect(t, false));
	ck_assert(!usage_connect(t, false));
	/* One that comes back may be there twice for a while, but not every time. */
	ck_assert(usage_connect(t, true));
	ck_assert(!usage_connect(t, true));
	usage_disconnect(t);
	usage_disconnect(t);
	ck_assert(usage_connect(t, false));
	ck_assert(!usage_connect(t, false));
	ck_assert(usage_subscribe(t) && usage_subscribe(t) && !usage_subscribe(t));
	usage_unsubscribe(t);
	ck_assert(usage_subscribe(t));
	ck_assert_int_eq(metric_get(stats.refused[USAGE_CONNECTIONS][0]), 3);
	ck_assert_int_eq(metric_get(stats.refused[USAGE_SUBSCRIPTIONS][0]), 1);
	ck_assert(usage_subscribe(NULL));
	usage_unsubscribe(NULL);
	usage_release(t);
	teardown();
}
END_TEST

START_TEST(limits_change)
{
	struct tenant other = acme;
	struct usage_tenant *t;

	setup();
	t = usage_take(&a, &acme);
	ck_assert(usage_connect(t, false));
	other.limits.connections = 0;
	usage_limits(&a, &other);
	ck_assert(!usage_connect(t, false) && !usage_connect(t, true));
	other.limits.mode = LIMIT_SHADOW;
	usage_limits(&a, &other);
	ck_assert(usage_connect(t, false) && usage_connect(t, false));
	ck_assert_int_eq(metric_get(stats.refused[USAGE_CONNECTIONS][1]), 2);
	ck_assert_int_eq(atomic_load(&t->here[USAGE_CONNECTIONS]), 3);
	usage_limits(&a, &acme);
	ck_assert(!usage_connect(t, false));
	usage_release(t);
	teardown();
}
END_TEST

START_TEST(a_limit_across_edges)
{
	struct usage_tenant *ta, *tb;

	setup();
	ta = usage_take(&a, &acme);
	ck_assert(usage_connect(ta, false) && usage_connect(ta, false));
	changes(&a, &b); /* before anybody of it is there */
	tb = usage_take(&b, &acme);
	ck_assert_int_eq(others(tb), 2);
	ck_assert(usage_connect(tb, false));
	ck_assert(!usage_connect(tb, false));
	/* Until it is told, the other does not know. */
	ck_assert_int_eq(others(ta), 0);
	changes(&b, &a);
	ck_assert(!usage_connect(ta, false));
	usage_disconnect(ta);
	changes(&a, &b);
	ck_assert(usage_connect(tb, false));
	/* Nothing new, nothing said. */
	changes(&b, &a);
	messages = 0;
	changes(&b, &a);
	changes(&a, &b);
	ck_assert_int_eq(messages, 0);
	usage_release(ta);
	usage_release(tb);
	teardown();
}
END_TEST

START_TEST(what_was_lost_is_told_again)
{
	struct usage_tenant *ta, *tb;

	setup();
	ta = usage_take(&a, &acme);
	tb = usage_take(&b, &acme);
	usage_connect(ta, false);
	lose = true;
	changes(&a, &b);
	lose = false;
	changes(&a, &b);
	ck_assert_int_eq(others(tb), 0);
	everything(&a, &b);
	ck_assert_int_eq(others(tb), 1);
	usage_disconnect(ta);
	lose = true;
	changes(&a, &b);
	lose = false;
	ck_assert_int_eq(others(tb), 1);
	everything(&a, &b); /* names nobody any more */
	ck_assert_int_eq(others(tb), 0);
	usage_release(ta);
	usage_release(tb);
	teardown();
}
END_TEST

static bool lives(void *arg, const char *edge)
{
	return strcmp(edge, arg) != 0;
}

START_TEST(edges_go_and_come)
{
	struct usage_tenant *ta, *tb;
	struct usage again;

	setup();
	ta = usage_take(&a, &acme);
	tb = usage_take(&b, &acme);
	usage_connect(ta, false);
	changes(&a, &b);
	usage_keep(&b, lives, (void *)"edge-c");
	ck_assert_int_eq(others(tb), 1);
	usage_keep(&b, lives, (void *)"edge-a");
	ck_assert_int_eq(others(tb), 0);
	everything(&a, &b);
	ck_assert_int_eq(others(tb), 1);
	/* The same edge, started again, has nothing yet. */
	usage_init(&again, "edge-a", 3, &stats);
	usage_report(&again, false, true, carry, &b);
	ck_assert_int_eq(others(tb), 0);
	usage_done(&again);
	/* What one says of itself is not another's. */
	everything(&b, &b);
	ck_assert_int_eq(others(tb), 0);
	usage_release(ta);
	usage_release(tb);
	teardown();
}
END_TEST

/* Many tenants go in several messages, each once; and are forgotten on both sides. */
START_TEST(many_tenants)
{
	enum { N = 3 * USAGE_CHUNK };
	static struct usage_tenant *t[N];
	static char names[N][16];

	setup();
	for (int i = 0; i < N; i++) {
		struct tenant tenant = acme;

		snprintf(names[i], sizeof(names[i]), "t%d", i);
		tenant.id = names[i];
		t[i] = usage_take(&a, &tenant);
		ck_assert(usage_connect(t[i], false));
	}
	everything(&a, &b);
	ck_assert_int_eq(messages, 4);
	ck_assert_uint_eq(b.tenants.n, N);
	everything(&a, &b);
	ck_assert_uint_eq(b.tenants.n, N);
	for (int i = 0; i < N; i++) {
		usage_disconnect(t[i]);
		usage_release(t[i]);
	}
	changes(&a, &b);
	changes(&b, &a);
	ck_assert_uint_eq(a.tenants.n, 0);
	ck_assert_uint_eq(b.tenants.n, 0);
	teardown();
}
END_TEST

static void hear(const char *edge, const char *tenant, uint32_t n)
{
	Penstock__Usage m = PENSTOCK__USAGE__INIT;
	Penstock__TenantUsage item = PENSTOCK__TENANT_USAGE__INIT, *items[] = {&item};

	item.tenant = (char *)tenant;
	item.connections = n;
	m.edge = (char *)edge;
	m.boot = 7;
	m.n_tenants = 1;
	m.tenants = items;
	usage_heard(&a, &m);
}

START_TEST(strangers)
{
	struct usage_tenant *t;
	char name[80];

	setup();
	hear("", "acme", 1);
	hear("a.b", "acme", 1);
	hear("edge-x", "a.b", 1);
	hear("edge-x", "", 1);
	ck_assert_uint_eq(a.tenants.n, 0);
	hear("edge-x", "acme", UINT32_MAX);
	t = usage_take(&a, &acme);
	ck_assert(!usage_connect(t, false));
	hear("edge-x", "acme", 0);
	ck_assert(usage_connect(t, false));
	for (int i = 0; i < USAGE_TENANTS_MAX + 3; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		hear("edge-x", name, 1);
	}
	ck_assert_uint_eq(a.tenants.n, USAGE_TENANTS_MAX + 1);
	ck_assert_int_eq(metric_get(stats.ignored), 3);
	usage_release(t);
	teardown();
}
END_TEST

/* Its sockets do not stand in their own way; but they count again if they may stay. */
START_TEST(a_tenant_that_is_drained)
{
	struct usage_tenant *here, *there;

	setup();
	a.drained = is_away;
	a.arg = &a;
	here = usage_take(&a, &acme);
	there = usage_take(&b, &acme);
	for (int i = 0; i < 3; i++)
		ck_assert(usage_connect(here, false));
	changes(&a, &b);
	ck_assert(!usage_connect(there, false));
	away = "acme";
	changes(&a, &b);
	ck_assert_int_eq(others(there), 0);
	everything(&a, &b);
	for (int i = 0; i < 3; i++)
		ck_assert(usage_connect(there, false));
	ck_assert(!usage_connect(there, false));
	away = NULL;
	changes(&a, &b);
	ck_assert_int_eq(others(there), 3);
	for (int i = 0; i < 3; i++) {
		usage_disconnect(here);
		usage_disconnect(there);
	}
	usage_release(here);
	usage_release(there);
	teardown();
}
END_TEST

RUN_TESTS("edge: usage of tenants", a_limit_on_one_edge, limits_change, a_limit_across_edges,
	  what_was_lost_is_told_again, edges_go_and_come, many_tenants, strangers,
	  a_tenant_that_is_drained)
