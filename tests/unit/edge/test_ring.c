/* Which edge is a tenant's: little moves, nobody is overloaded, regions, and all edges agree. */
#include <stdio.h>
#include <string.h>

#include "services/edge/ring.h"
#include "tests/unit/common/suite.h"

#define TENANTS 3000

static const struct ring_conf conf = {.percent = 125, .slack = 100};
static struct ring ring;

static void view(struct ring *r, const char *ids, const char *region, int64_t load)
{
	ring_begin(r);
	for (; *ids; ids++) {
		char id[] = {*ids, 0}, url[] = {'u', *ids, 0};

		ring_put(r, id, url, region, load, false);
	}
	ring_end(r);
}

static const char *tenant(int i)
{
	static char name[24];

	snprintf(name, sizeof(name), "tenant-%d", i);
	return name;
}

static char where(struct ring *r, int i)
{
	const struct ring_edge *e = ring_find(r, tenant(i), "eu", NULL, NULL, 0);

	ck_assert(e);
	ck_assert_int_eq(e->url[1], e->id[0]);
	return e->id[0];
}

static void all(struct ring *r, char out[TENANTS])
{
	for (int i = 0; i < TENANTS; i++)
		out[i] = where(r, i);
}

/* Nobody is full: what is sent does not count against 10,000 connections of everybody. */
static void even(struct ring *r, const char *ids)
{
	ring_init(r, &(struct ring_conf){.percent = 1000, .slack = 100000});
	view(r, ids, "eu", 0);
}

START_TEST(little_moves)
{
	static char three[TENANTS], two[TENANTS], again[TENANTS];
	int n[3] = {0};

	even(&ring, "abc");
	all(&ring, three);
	view(&ring, "ab", "eu", 0);
	all(&ring, two);
	for (int i = 0; i < TENANTS; i++) {
		n[three[i] - 'a']++;
		if (three[i] != 'c')
			ck_assert_int_eq(three[i], two[i]);
		else
			ck_assert_int_ne(two[i], 'c');
	}
	for (int i = 0; i < 3; i++)
		ck_assert_int_gt(n[i], TENANTS / 3 - TENANTS / 20);
	view(&ring, "cab", "eu", 0);
	all(&ring, again);
	ck_assert_mem_eq(three, again, TENANTS);
	ring_done(&ring);
}
END_TEST

START_TEST(all_edges_agree)
{
	struct ring other;

	even(&ring, "abcd");
	even(&other, "dbca");
	for (int i = 0; i < TENANTS; i++)
		ck_assert_int_eq(where(&ring, i), where(&other, i));
	ring_done(&ring);
	ring_done(&other);
}
END_TEST

/* One tenant with all the connections: they go on to the next edges of its order, and each has at
 * most 1.25 of the mean at any time. */
START_TEST(load_is_bounded)
{
	int64_t load[3] = {0}, total = 0;

	ring_init(&ring, &conf);
	for (int round = 0; round < 50; round++) {
		ring_begin(&ring);
		for (int i = 0; i < 3; i++) {
			char id[] = {(char)('a' + i), 0};

			ring_put(&ring, id, "u", "eu", load[i], false);
		}
		ring_end(&ring);
		for (int i = 0; i < 100; i++) { /* between two beats */
			const struct ring_edge *e =
			    ring_find(&ring, "acme", "eu", NULL, NULL, round * 1000000);
			int64_t *mine = &load[e->id[0] - 'a'];

			++*mine;
			total++;
			ck_assert_int_le(*mine,
					 total * 125 / 300 + 1 > 100 ? total * 125 / 300 + 1 : 100);
		}
	}
	for (int i = 0; i < 3; i++)
		ck_assert_int_gt(load[i], 500);
	ring_done(&ring);
}
END_TEST

/* Below the slack a tenant stays together. */
START_TEST(a_small_tenant_is_in_one_place)
{
	const char *first;

	ring_init(&ring, &conf);
	view(&ring, "abc", "eu", 0);
	first = ring_find(&ring, "acme", "eu", NULL, NULL, 0)->id;
	for (int i = 1; i < 100; i++)
		ck_assert_str_eq(ring_find(&ring, "acme", "eu", NULL, NULL, 0)->id, first);
	ck_assert_str_ne(ring_find(&ring, "acme", "eu", NULL, NULL, 0)->id, first);
	/* Nobody came, and some time later what was sent there is forgotten. */
	ck_assert_str_eq(ring_find(&ring, "acme", "eu", NULL, NULL, RING_SENT_US + 1)->id, first);
	ring_done(&ring);
}
END_TEST

/* Somebody takes one more, whatever the loads are. */
START_TEST(somebody_has_room)
{
	static const struct ring_conf tight = {.percent = 100, .slack = 0};

	for (int a = 0; a < 12; a++)
		for (int b = 0; b < 12; b++) {
			ring_init(&ring, &tight);
			ring_begin(&ring);
			ring_put(&ring, "a", "u", "eu", a, false);
			ring_put(&ring, "b", "u", "eu", b, false);
			ring_end(&ring);
			for (int i = 0; i < 5; i++)
				ck_assert(ring_find(&ring, tenant(i), "eu", NULL, NULL, 0));
			ring_done(&ring);
		}
}
END_TEST

START_TEST(regions)
{
	int n = 0;

	even(&ring, "ab");
	ring_begin(&ring);
	ring_put(&ring, "a", "u", "eu", 0, false);
	ring_put(&ring, "b", "u", "eu", 0, false);
	ring_put(&ring, "c", "u", "us", 0, false);
	ring_end(&ring);
	for (int i = 0; i < 100; i++) {
		ck_assert_str_eq(ring_find(&ring, tenant(i), "us", NULL, NULL, 0)->id, "c");
		ck_assert_str_ne(ring_find(&ring, tenant(i), "eu", NULL, NULL, 0)->id, "c");
		/* A region without an edge: any. */
		n += *ring_find(&ring, tenant(i), "asia", NULL, NULL, 0)->id == 'c';
	}
	ck_assert_int_gt(n, 10);
	ck_assert_int_lt(n, 60);
	ring_begin(&ring);
	ring_put(&ring, "a", "u", "eu", 0, false);
	ring_put(&ring, "c", "u", "us", 0, true);
	ring_end(&ring);
	ck_assert_str_eq(ring_find(&ring, "acme", "us", NULL, NULL, 0)->id, "a");
	ring_done(&ring);
}
END_TEST

static bool is(void *arg, const char *id)
{
	return strchr(arg, *id) != NULL;
}

START_TEST(who_drains_gets_nobody)
{
	static char three[TENANTS];
	char closed[] = "c", everybody[] = "abc";

	even(&ring, "abc");
	all(&ring, three);
	for (int i = 0; i < TENANTS; i++) {
		const struct ring_edge *e = ring_find(&ring, tenant(i), "eu", is, closed, 0);

		ck_assert_int_ne(*e->id, 'c');
		ck_assert(three[i] == 'c' || *e->id == three[i]);
	}
	ck_assert(!ring_find(&ring, "acme", "eu", is, everybody, 0));
	ring_begin(&ring);
	ring_put(&ring, "a", "u", "eu", 0, true);
	ring_end(&ring);
	ck_assert(!ring_find(&ring, "acme", "eu", NULL, NULL, 0));
	ring_done(&ring);
	ck_assert(!ring_find(&ring, "acme", "eu", NULL, NULL, 0));
}
END_TEST

RUN_TESTS("edge: ring", little_moves, all_edges_agree, load_is_bounded,
	  a_small_tenant_is_in_one_place, somebody_has_room, regions, who_drains_gets_nobody)
