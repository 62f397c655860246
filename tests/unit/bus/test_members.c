#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake.h"
#include "common/log.h"
#include "common/members.h"
#include "common/names.h"
#include "common/topology.h"

#define N      3
#define SECOND INT64_C(1000000)

static struct loop *loop;
static struct fake_broker *broker;
static struct bus *bus[N];
static struct members *m[N];
static int changes[N];

static void run(int64_t us)
{
	int64_t until = loop_now_us(loop) + us;

	while (loop_sim_step(loop, until))
		;
}

static void changed(void *arg)
{
	++*(int *)arg;
}

static void ready(void *arg, uint64_t epoch)
{
	*(bool *)arg = epoch != 0;
}

static void setup(void)
{
	static const char *const names[] = {"a", "b", "c"};
	struct topology_conf conf = {.replicas = 1};
	bool there = false;
	struct topology *t;
	struct error err;

	loop = loop_new_sim(INT64_C(1700000000000000));
	broker = fake_broker_new(loop, 3);
	for (int i = 0; i < N; i++)
		bus[i] = bus_fake_open(broker, names[i]);
	t = topology_start(bus[0], loop, &conf, ready, &there);
	run(SECOND);
	ck_assert(there);
	topology_stop(t);
	for (int i = 0; i < N; i++) {
		changes[i] = 0;
		m[i] = members_start(bus[i], loop, "router", names[i],
				     json_pack("{s:i}", "slots", i), changed, &changes[i], &err);
		ck_assert(m[i]);
	}
	run(SECOND);
}

static void teardown(void)
{
	for (int i = 0; i < N; i++) {
		members_stop(m[i]);
		bus_free(bus[i]);
		bus[i] = NULL;
		m[i] = NULL;
	}
	fake_broker_free(broker);
	loop_free(loop);
}

static void crash(int i)
{
	members_stop(m[i]);
	bus_fake_partition(bus[i], true); /* its good-bye does not arrive */
	bus_free(bus[i]);
	bus[i] = bus_fake_open(broker, "again");
	m[i] = NULL;
}

START_TEST(everybody_knows_everybody)
{
	for (int i = 0; i < N; i++) {
		ck_assert(members_known(m[i]));
		ck_assert_uint_eq(members_count(m[i], "router"), N);
		ck_assert_uint_eq(members_count(m[i], NULL), N);
		ck_assert_uint_eq(members_count(m[i], "edge"), 0);
		ck_assert_int_ge(changes[i], 1);
	}
}
END_TEST

static void look(void *arg, const struct member *member)
{
	char *out = arg;

	ck_assert_str_eq(member->service, "router");
	ck_assert_str_eq(json_string_value(json_object_get(member->doc, "service")), "router");
	ck_assert_str_eq(json_string_value(json_object_get(member->doc, "id")), member->id);
	ck_assert(json_is_integer(json_object_get(member->doc, "started")));
	if (!strcmp(member->id, "b"))
		sprintf(out, "%lld",
			(long long)json_integer_value(json_object_get(member->doc, "slots")));
}

START_TEST(documents_are_told)
{
	char out[32] = "";
	int before;

	members_each(m[0], "router", look, out);
	ck_assert_str_eq(out, "1");
	run(5 * SECOND);
	before = changes[0];
	run(5 * SECOND);
	ck_assert_int_eq(changes[0], before); /* a beat alone is no change */
	members_update(m[1], json_pack("{s:i}", "slots", 77));
	run(SECOND / 10);
	members_each(m[0], NULL, look, out);
	ck_assert_str_eq(out, "77");
	ck_assert_int_eq(changes[0], before + 1);
}
END_TEST

static json_t *describe(void *arg)
{
	return json_pack("{s:i}", "slots", ++*(int *)arg);
}

START_TEST(what_changes_is_asked_for_at_each_beat)
{
	char out[32] = "";
	int asked = 100;

	members_describe(m[1], describe, &asked);
	run(5 * SECOND);
	ck_assert_int_ge(asked, 104);
	ck_assert_int_le(asked, 106);
	run(SECOND / 10);
	members_each(m[0], "router", look, out);
	ck_assert_int_eq(atoi(out), asked);
}
END_TEST

START_TEST(a_good_bye_is_heard_at_once)
{
	members_stop(m[1]);
	m[1] = NULL;
	run(SECOND / 10);
	ck_assert_uint_eq(members_count(m[0], "router"), 2);
}
END_TEST

START_TEST(a_crash_is_noticed_after_the_ttl)
{
	int64_t start = loop_now_us(loop);

	crash(1);
	run(MEMBER_TTL_MS * INT64_C(1000) - 1500000);
	ck_assert_uint_eq(members_count(m[0], "router"), 3);
	while (members_count(m[0], "router") == 3 && loop_sim_step(loop, start + 60 * SECOND))
		;
	ck_assert_int_ge(loop_now_us(loop) - start,
			 (MEMBER_TTL_MS - MEMBER_BEAT_MS) * INT64_C(1000));
	ck_assert_int_le(loop_now_us(loop) - start, (MEMBER_TTL_MS + 300) * INT64_C(1000));
	ck_assert_uint_eq(members_count(m[2], "router"), 2);
}
END_TEST

START_TEST(an_outage_of_the_broker_kills_nobody)
{
	int before = changes[0];

	fake_broker_set_up(broker, false);
	run(60 * SECOND);
	ck_assert_uint_eq(members_count(m[0], "router"), 3);
	fake_broker_set_up(broker,
			   true); /* the bucket has aged: the entries are not in it any more */
	run(60 * SECOND);
	ck_assert_uint_eq(members_count(m[0], "router"), 3);
	ck_assert_int_eq(changes[0], before);
}
END_TEST

START_TEST(who_crashed_in_an_outage_is_gone_after_it)
{
	fake_broker_set_up(broker, false);
	run(10 * SECOND);
	crash(1);
	fake_broker_set_up(broker, true);
	run(SECOND);
	ck_assert_uint_eq(members_count(m[0], "router"), 3);
	run(MEMBER_TTL_MS * INT64_C(1000));
	ck_assert_uint_eq(members_count(m[0], "router"), 2);
}
END_TEST

START_TEST(rubbish_in_the_bucket_is_not_a_member)
{
	log_init("test", "test", LOG_ERROR);
	bus_put(bus[0], BUCKET_MEMBERS, "nodot", "{}", 2, NULL, NULL);
	bus_put(bus[0], BUCKET_MEMBERS, "router.x", "[", 1, NULL, NULL);
	bus_put(bus[0], BUCKET_MEMBERS, "router.y", "[]", 2, NULL, NULL);
	bus_put(bus[0], BUCKET_MEMBERS, "router.z", "", 0, NULL, NULL);
	run(SECOND);
	ck_assert_uint_eq(members_count(m[1], NULL), 3);
}
END_TEST

static void put_text(const char *key, const char *text)
{
	bus_put(bus[0], BUCKET_MEMBERS, key, text, strlen(text), NULL, NULL);
}

/* A stray router would own parts that nobody serves. */
START_TEST(a_document_must_be_of_its_key)
{
	struct metrics *metrics = metrics_new();
	struct strbuf text = {0};
	char out[32] = "";
	int before = changes[1];

	log_init("test", "test", LOG_ERROR);
	members_count_into(m[1], metrics);
	put_text("router.x", "{}");
	put_text("router.x", "{\"service\":\"router\"}");
	put_text("router.x", "{\"service\":\"router\",\"id\":\"y\"}");
	put_text("router.x", "{\"service\":\"edge\",\"id\":\"x\"}");
	put_text("router.x", "{\"service\":\"router\",\"id\":7}");
	put_text("router.x", "{\"service\":\"router\",\"id\":\"x\\u0000\"}");
	put_text("router.x", "[\"router\",\"x\"]");
	/* Nor can one speak for somebody else who is there. */
	put_text("router.b", "{\"service\":\"router\",\"id\":\"c\",\"slots\":99}");
	run(SECOND);
	ck_assert_uint_eq(members_count(m[1], NULL), 3);
	ck_assert_int_eq(changes[1], before);
	members_each(m[1], "router", look, out);
	ck_assert_str_eq(out, "1");
	metrics_text(metrics, &text);
	ck_assert_msg(strstr(strbuf_str(&text), "penstock_members_refused_total 8\n"), "%s",
		      strbuf_str(&text));
	put_text("router.x", "{\"service\":\"router\",\"id\":\"x\"}");
	run(SECOND);
	ck_assert_uint_eq(members_count(m[1], NULL), 4);
	strbuf_done(&text);
	metrics_free(metrics);
}
END_TEST

START_TEST(bad_names_are_refused)
{
	struct error err;

	ck_assert(!members_start(bus[0], loop, "router", "a b", json_object(), NULL, NULL, &err));
	ck_assert_int_eq(err.code, ERR_REJECTED);
	ck_assert(!members_start(bus[0], loop, "ro.uter", "a", NULL, NULL, NULL, &err));
	ck_assert(!members_start(bus[0], loop, "router", NULL, NULL, NULL, NULL, &err));
}
END_TEST

START_TEST(all_agree_on_the_owners)
{
	int owns[N] = {0};

	for (unsigned part = 0; part < 300; part++) {
		const char *owner = members_owner(m[0], "router", part);

		ck_assert_str_eq(owner, members_owner(m[1], "router", part));
		ck_assert_str_eq(owner, members_owner(m[2], "router", part));
		owns[owner[0] - 'a']++;
	}
	for (int i = 0; i < N; i++)
		ck_assert_int_gt(owns[i], 60);
	ck_assert(!members_owner(m[0], "edge", 0));
}
END_TEST

/* --- rendezvous, pure --------------------------------------------------------------------------
 */

static const char *const ids[] = {"r-1", "r-2", "r-3", "r-4", "r-5"};

static const char *what(int i)
{
	static char text[16];

	snprintf(text, sizeof(text), "%d", i);
	return text;
}

START_TEST(rendezvous_is_even)
{
	int count[5] = {0};

	for (int i = 0; i < 5000; i++)
		count[rendezvous(ids, 5, what(i))]++;
	for (int i = 0; i < 5; i++)
		ck_assert_msg(count[i] > 850 && count[i] < 1150, "%d of 5000", count[i]);
	ck_assert_int_eq(rendezvous(ids, 0, "x"), -1);
	ck_assert_int_eq(rendezvous(ids, 1, "x"), 0);
}
END_TEST

START_TEST(rendezvous_moves_only_what_it_must)
{
	const char *less[] = {"r-1", "r-2", "r-4", "r-5"}; /* without r-3 */

	for (int i = 0; i < 1000; i++) {
		const char *before = ids[rendezvous(ids, 5, what(i))];
		const char *after = less[rendezvous(less, 4, what(i))];

		if (strcmp(before, "r-3") != 0)
			ck_assert_str_eq(before, after);
	}
}
END_TEST

START_TEST(rendezvous_does_not_care_about_the_order)
{
	const char *other[] = {"r-4", "r-1", "r-5", "r-3", "r-2"};

	for (int i = 0; i < 1000; i++)
		ck_assert_str_eq(ids[rendezvous(ids, 5, what(i))],
				 other[rendezvous(other, 5, what(i))]);
}
END_TEST

START_TEST(epochs)
{
	char text[EPOCH_LEN + 1];
	uint64_t epoch;

	epoch_format(UINT64_C(0x000660fe019967d3), text);
	ck_assert_str_eq(text, "000660fe019967d3");
	ck_assert(epoch_parse(text, &epoch));
	ck_assert_uint_eq(epoch, UINT64_C(0x000660fe019967d3));
	ck_assert(!epoch_parse("660fe019967d3", &epoch));
	ck_assert(!epoch_parse("000660FE019967D3", &epoch));
	ck_assert(!epoch_parse("000660fe019967d3 ", &epoch));
	ck_assert(!epoch_parse("", &epoch));
	ck_assert(!epoch_parse(NULL, &epoch));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("members");
	TCase *tc = tcase_create("members"), *pure = tcase_create("rendezvous");
	SRunner *r;
	int failed;

	log_init("test", "test", LOG_WARN);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, everybody_knows_everybody);
	tcase_add_test(tc, documents_are_told);
	tcase_add_test(tc, what_changes_is_asked_for_at_each_beat);
	tcase_add_test(tc, a_good_bye_is_heard_at_once);
	tcase_add_test(tc, a_crash_is_noticed_after_the_ttl);
	tcase_add_test(tc, an_outage_of_the_broker_kills_nobody);
	tcase_add_test(tc, who_crashed_in_an_outage_is_gone_after_it);
	tcase_add_test(tc, rubbish_in_the_bucket_is_not_a_member);
	tcase_add_test(tc, a_document_must_be_of_its_key);
	tcase_add_test(tc, bad_names_are_refused);
	tcase_add_test(tc, all_agree_on_the_owners);
	tcase_add_test(pure, rendezvous_is_even);
	tcase_add_test(pure, rendezvous_moves_only_what_it_must);
	tcase_add_test(pure, rendezvous_does_not_care_about_the_order);
	tcase_add_test(pure, epochs);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, pure);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
