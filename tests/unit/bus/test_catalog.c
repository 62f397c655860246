#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake.h"
#include "common/catalog.h"
#include "common/log.h"
#include "common/names.h"
#include "common/topology.h"

static struct catalog *c;
static struct error err;

static void setup(void)
{
	c = catalog_new();
}

static void teardown(void)
{
	catalog_stop(c);
}

static int put(const char *key, const char *doc)
{
	return catalog_put(c, key, doc, doc ? strlen(doc) : 0, &err);
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

START_TEST(tenant_defaults)
{
	const struct tenant *t;

	ck_assert_int_eq(put("tenant.acme", "{\"id\":\"acme\"}"), 0);
	t = catalog_tenant(c, "acme");
	ck_assert_str_eq(t->id, "acme");
	ck_assert_str_eq(t->name, "acme");
	ck_assert_str_eq(t->region, "");
	ck_assert(t->active);
	ck_assert(!t->synthetic);
	ck_assert_int_eq(t->weight, 1);
	ck_assert_int_eq(t->limits.events_per_s, 1000);
	ck_assert_int_eq(t->limits.burst, 2000);
	ck_assert_int_eq(t->limits.bytes_per_s, 4194304);
	ck_assert_int_eq(t->limits.connections, 10000);
	ck_assert_int_eq(t->limits.subscriptions, 100000);
	ck_assert_int_eq(t->limits.tasks_running, 1000);
	ck_assert_int_eq(t->limits.tasks_queued, 100000);
	ck_assert_int_eq(t->limits.tokens_per_min, 0);
	ck_assert_int_eq(t->limits.mode, LIMIT_ENFORCE);
	ck_assert(!catalog_tenant(c, "acm"));
	ck_assert(!catalog_tenant(c, ""));
}
END_TEST

START_TEST(tenant_in_full)
{
	const struct tenant *t;

	ck_assert_int_eq(
	    put("tenant.a-1",
		"{\"id\":\"a-1\",\"name\":\"A\",\"region\":\"eu\",\"class\":\"synthetic\","
		"\"status\":\"suspended\",\"weight\":7,\"limits\":{\"burst\":3,\"mode\":"
		"\"shadow\",\"tasks_running\":null,\"tokens_per_min\":90}}"),
	    0);
	t = catalog_tenant(c, "a-1");
	ck_assert_str_eq(t->name, "A");
	ck_assert_str_eq(t->region, "eu");
	ck_assert(!t->active);
	ck_assert(t->synthetic);
	ck_assert_int_eq(t->weight, 7);
	ck_assert_int_eq(t->limits.burst, 3);
	ck_assert_int_eq(t->limits.mode, LIMIT_SHADOW);
	ck_assert_int_eq(t->limits.tasks_running, 1000);
	ck_assert_int_eq(t->limits.tokens_per_min, 90);
}
END_TEST

START_TEST(keys)
{
	const struct api_key *k;

	ck_assert_int_eq(put("key.k1",
			     "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"" HASH
			     "\",\"scopes\":[\"publish\",\"task\",\"fly\"],\"status\":"
			     "\"active\",\"expires_at\":\"2026-11-24T03:48:12.5+01:00\"}"),
			 0);
	k = catalog_key(c, "k1");
	ck_assert_str_eq(k->tenant, "acme");
	ck_assert_str_eq(k->hash, HASH);
	ck_assert_uint_eq(k->scopes, SCOPE_PUBLISH | SCOPE_TASK);
	ck_assert_int_eq(k->expires_us, INT64_C(1795488492500000));
	ck_assert(k->active);
	ck_assert_int_eq(put("key.k1", "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"" HASH
				       "\",\"status\":\"revoked\",\"expires_at\":null}"),
			 0);
	k = catalog_key(c, "k1");
	ck_assert(!k->active);
	ck_assert_int_eq(k->expires_us, 0);
	ck_assert_uint_eq(k->scopes, 0);
}
END_TEST

START_TEST(what_a_key_may_touch)
{
	ck_assert_int_eq(put("key.k1", "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"" HASH
				       "\",\"scopes\":[\"publish\"],"
				       "\"channels\":{\"publish\":[\"room.*\"]}}"),
			 0);
	ck_assert(permit_allows(catalog_key(c, "k1")->permit, PERMIT_PUBLISH, "room.1"));
	ck_assert(!permit_allows(catalog_key(c, "k1")->permit, PERMIT_PUBLISH, "hall.1"));
	ck_assert_int_eq(put("key.k1", "{\"id\":\"k1\",\"tenant\":\"acme\",\"hash\":\"" HASH "\"}"),
			 0);
	ck_assert(!catalog_key(c, "k1")->permit);
}
END_TEST

START_TEST(signing_keys)
{
	const struct signing_key *k;

	ck_assert_int_eq(put("signing.acme.k1", "{\"id\":\"k1\",\"tenant\":\"acme\",\"alg\":"
						"\"HS256\",\"secret\":\"s\"}"),
			 0);
	k = catalog_signing(c, "acme", "k1");
	ck_assert_str_eq(k->id, "k1");
	ck_assert_str_eq(k->tenant, "acme");
	ck_assert_int_eq(k->alg, SIGN_HS256);
	ck_assert(k->active && k->verifier && !k->expires_us);
	ck_assert(!catalog_signing(c, "acme", "k2") && !catalog_signing(c, "other", "k1"));
	ck_assert_int_eq(put("signing.acme.k1", "{\"id\":\"k1\",\"tenant\":\"acme\",\"alg\":"
						"\"HS256\",\"status\":\"revoked\"}"),
			 0);
	k = catalog_signing(c, "acme", "k1");
	ck_assert(!k->active && !k->verifier);
	ck_assert_int_eq(put("signing.acme.k1", NULL), 0);
	ck_assert(!catalog_signing(c, "acme", "k1"));
}
END_TEST

START_TEST(types)
{
	const struct event_type *t;

	ck_assert_int_eq(put("type.acme.chat.message:x",
			     "{\"tenant\":\"acme\",\"type\":\"chat.message:x\",\"class\":"
			     "\"ephemeral\",\"latest\":2,"
			     "\"versions\":{\"1\":{\"state\":\"deprecated\",\"schema\":{}},\"2\":{"
			     "\"state\":\"active\","
			     "\"schema\":true},\"3\":{\"state\":\"disabled\",\"schema\":{}}}}"),
			 0);
	t = catalog_type(c, "acme", "chat.message:x");
	ck_assert_int_eq(t->class, CLASS_EPHEMERAL);
	ck_assert_uint_eq(t->latest, 2);
	ck_assert(json_is_true(json_object_get(json_object_get(t->versions, "2"), "schema")));
	ck_assert(!catalog_type(c, "acme", "chat.message"));
	ck_assert(!catalog_type(c, "acm", "e.chat.message:x"));
	/* Without latest: the newest active one. */
	ck_assert_int_eq(put("type.acme.t",
			     "{\"tenant\":\"acme\",\"type\":\"t\",\"versions\":{\"1\":{"
			     "\"state\":\"active\"},\"10\":{\"state\":\"active\"},\"9\":{}}}"),
			 0);
	t = catalog_type(c, "acme", "t");
	ck_assert_uint_eq(t->latest, 10);
	ck_assert_int_eq(t->class, CLASS_DURABLE);
}
END_TEST

START_TEST(models)
{
	const struct model *m;

	ck_assert_int_eq(put("model.gpt",
			     "{\"name\":\"gpt\",\"kind\":\"openai\",\"url\":\"http://h/v1\","
			     "\"model\":\"g\",\"limits\":{\"rpm\":60,\"tpm\":9000,\"concurrent\":"
			     "4},\"timeout_ms\":5000,\"fallbacks\":[\"other\"]}"),
			 0);
	m = catalog_model(c, "gpt");
	ck_assert_str_eq(m->kind, "openai");
	ck_assert_int_eq(m->rpm, 60);
	ck_assert_int_eq(m->tpm, 9000);
	ck_assert_int_eq(m->concurrent, 4);
	ck_assert_int_eq(m->timeout_ms, 5000);
	ck_assert_uint_eq(json_array_size(m->fallbacks), 1);
	ck_assert_int_eq(put("model.h", "{\"name\":\"h\",\"kind\":\"http\",\"url\":\"https://h\"}"),
			 0);
	m = catalog_model(c, "h");
	ck_assert_int_eq(m->rpm, 0);
	ck_assert(!m->secret_env);
	ck_assert_uint_eq(json_array_size(m->fallbacks), 0);
}
END_TEST

static void put_pipeline(const char *name, int version)
{
	char key[64], doc[256];

	snprintf(key, sizeof(key), "pipeline.%s.%d", name, version);
	snprintf(doc, sizeof(doc),
		 "{\"name\":\"%s\",\"version\":%d,\"stages\":[{\"id\":\"a\",\"kind\":\"transform\","
		 "\"input\":\".\"}],\"output\":\".\"}",
		 name, version);
	ck_assert_msg(put(key, doc) == 0, "%s", err.msg);
}

START_TEST(pipelines_and_their_newest_version)
{
	put_pipeline("p", 2);
	put_pipeline("p", 10);
	put_pipeline("p", 9);
	put_pipeline("q", 1);
	ck_assert_uint_eq(catalog_pipeline(c, "p", 0)->version, 10);
	ck_assert_uint_eq(catalog_pipeline(c, "p", 2)->version, 2);
	ck_assert(!catalog_pipeline(c, "p", 3));
	ck_assert(!catalog_pipeline(c, "r", 0));
	ck_assert_int_eq(put("pipeline.p.10", NULL), 0);
	ck_assert_uint_eq(catalog_pipeline(c, "p", 0)->version, 9);
	put("pipeline.p.2", NULL);
	put("pipeline.p.9", NULL);
	ck_assert(!catalog_pipeline(c, "p", 0));
	ck_assert_uint_eq(catalog_pipeline(c, "q", 0)->version, 1);
	put_pipeline("p", 1);
	ck_assert_str_eq(catalog_pipeline(c, "p", 0)->name, "p");
	ck_assert(json_is_array(json_object_get(catalog_pipeline(c, "p", 1)->doc, "stages")));
}
END_TEST

static const struct {
	const char *key, *doc;
} refused[] = {
    {"tenant.a", ""},
    {"tenant.a", "{"},
    {"tenant.a", "[]"},
    {"tenant.a", "{}"},
    {"tenant.a", "{\"id\":\"b\"}"},
    {"tenant.a", "{\"id\":1}"},
    {"tenant.a", "{\"id\":\"a\",\"id\":\"a\"}"},
    {"tenant.a", "{\"id\":\"a\"} x"},
    {"tenant.a", "{\"id\":\"a\",\"status\":\"gone\"}"},
    {"tenant.a", "{\"id\":\"a\",\"class\":\"big\"}"},
    {"tenant.a", "{\"id\":\"a\",\"weight\":0}"},
    {"tenant.a", "{\"id\":\"a\",\"limits\":[]}"},
    {"tenant.a", "{\"id\":\"a\",\"limits\":{\"burst\":-1}}"},
    {"tenant.a", "{\"id\":\"a\",\"limits\":{\"burst\":1.5}}"},
    {"tenant.a", "{\"id\":\"a\",\"limits\":{\"mode\":\"maybe\"}}"},
    {"tenant.a b", "{\"id\":\"a b\"}"},
    {"tenant.a", "{\"id\":\"a\",\"origins\":\"*\"}"},
    {"tenant.a", "{\"id\":\"a\",\"origins\":[1]}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH "\",\"channels\":[\"*\"]}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH "\",\"pipelines\":[\"a*b\"]}"},
    {"signing.a.k", "{\"id\":\"k\",\"tenant\":\"a\",\"alg\":\"HS256\"}"},
    {"signing.a.k", "{\"id\":\"k\",\"tenant\":\"a\",\"secret\":\"s\"}"},
    {"signing.a.k", "{\"id\":\"k\",\"tenant\":\"a\",\"alg\":\"none\",\"secret\":\"s\"}"},
    {"signing.a.k", "{\"id\":\"k\",\"tenant\":\"a\",\"alg\":\"RS256\",\"secret\":\"s\"}"},
    {"signing.a.k", "{\"id\":\"k\",\"tenant\":\"b\",\"alg\":\"HS256\",\"secret\":\"s\"}"},
    {"signing.a.k", "{\"id\":\"j\",\"tenant\":\"a\",\"alg\":\"HS256\",\"secret\":\"s\"}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\"}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"abc\"}"},
    {"key.k", "{\"id\":\"j\",\"tenant\":\"a\",\"hash\":\"" HASH "\"}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH "\",\"scopes\":\"task\"}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH "\",\"scopes\":[1]}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH "\",\"expires_at\":5}"},
    {"key.k",
     "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH "\",\"expires_at\":\"2026-11-24\"}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH
	      "\",\"expires_at\":\"2026-13-24T00:00:00Z\"}"},
    {"key.k", "{\"id\":\"k\",\"tenant\":\"a\",\"hash\":\"" HASH
	      "\",\"expires_at\":\"2026-11-24T00:00:00\"}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"t\"}"},
    {"type.a.t", "{\"tenant\":\"b\",\"type\":\"t\",\"versions\":{}}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"u\",\"versions\":{}}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"t\",\"class\":\"x\",\"versions\":{}}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"t\",\"latest\":2,\"versions\":{\"1\":{}}}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"t\",\"versions\":{\"x\":{}}}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"t\",\"versions\":{\"01\":{}}}"},
    {"type.a.t", "{\"tenant\":\"a\",\"type\":\"t\",\"versions\":{\"1\":3}}"},
    {"model.m", "{\"name\":\"m\"}"},
    {"model.m", "{\"name\":\"m\",\"url\":\"ftp://x\"}"},
    {"model.m", "{\"name\":\"n\",\"url\":\"http://x\"}"},
    {"model.m", "{\"name\":\"m\",\"url\":\"http://x\",\"kind\":\"grpc\"}"},
    {"model.m", "{\"name\":\"m\",\"url\":\"http://x\",\"limits\":{\"rpm\":\"9\"}}"},
    {"model.m", "{\"name\":\"m\",\"url\":\"http://x\",\"fallbacks\":[1]}"},
    {"pipeline.p.1", "{\"name\":\"p\",\"version\":2,\"stages\":[]}"},
    {"pipeline.p", "{\"name\":\"p\",\"version\":1,\"stages\":[]}"},
    {"pipeline.p.1", "{\"name\":\"p\",\"version\":1}"},
    {"pipeline.p.1", "{\"name\":\"p\",\"version\":1,\"stages\":[{\"id\":\"a\",\"kind\":\"fly\"}]}"},
    {"pipeline.p.1",
     "{\"name\":\"p\",\"version\":1,\"stages\":[{\"id\":\"a\",\"kind\":\"transform\",\"needs\":["
     "\"a\"]}]}"},
    {"worker.w-1", "{}"},
    {"worker.w-1", "{\"id\":\"w-2\"}"},
    {"worker.w-1", "{\"id\":\"w-1\",\"drained\":1}"},
    {"worker.w-1", "{\"id\":\"w-1\",\"grace_ms\":-1}"},
    {"edge.e-1", "{}"},
    {"edge.e-1", "{\"id\":\"e-2\"}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"drained\":1}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"deadline_ms\":-1}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"spread_ms\":\"7\"}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"tenants\":[\"acme\"]}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"tenants\":{\"a b\":{}}}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"tenants\":{\"acme\":true}}"},
    {"edge.e-1", "{\"id\":\"e-1\",\"tenants\":{\"acme\":{\"deadline_ms\":1e9}}}"},
};

START_TEST(drained_edges)
{
	const struct edge_drains *e;
	struct drain_times t;

	ck_assert_int_eq(put("edge.e.1", "{\"id\":\"e.1\"}"), 0);
	e = catalog_edge(c, "e.1");
	ck_assert(!e->drained);
	ck_assert(!edge_drains_tenant(e, "acme", NULL));
	ck_assert_int_eq(put("edge.e.1", "{\"id\":\"e.1\",\"drained\":true,\"deadline_ms\":5,"
					 "\"tenants\":{\"acme\":{\"spread_ms\":7}}}"),
			 0);
	e = catalog_edge(c, "e.1");
	ck_assert(e->drained);
	ck_assert_int_eq(e->times.notice_ms, 5);
	ck_assert_int_eq(e->times.spread_ms, -1);
	ck_assert(edge_drains_tenant(e, "acme", &t));
	ck_assert_int_eq(t.notice_ms, -1);
	ck_assert_int_eq(t.spread_ms, 7);
	ck_assert(!edge_drains_tenant(e, "other", &t));
	ck_assert_int_eq(put("edge.e.1", NULL), 0);
	ck_assert(!catalog_edge(c, "e.1"));
	ck_assert(!edge_drains_tenant(NULL, "acme", NULL));
}
END_TEST

START_TEST(drained_workers)
{
	ck_assert(!catalog_worker(c, "w.1"));
	ck_assert_int_eq(put("worker.w.1", "{\"id\":\"w.1\",\"drained\":true}"), 0);
	ck_assert(catalog_worker(c, "w.1")->drained);
	ck_assert_int_eq(catalog_worker(c, "w.1")->grace_ms, -1);
	ck_assert_int_eq(put("worker.w.1", "{\"id\":\"w.1\",\"drained\":true,\"grace_ms\":0}"), 0);
	ck_assert_int_eq(catalog_worker(c, "w.1")->grace_ms, 0);
	ck_assert_int_eq(put("worker.w.1", NULL), 0);
	ck_assert(!catalog_worker(c, "w.1"));
}
END_TEST

START_TEST(bad_documents_are_refused)
{
	err.msg[0] = '\0';
	ck_assert_msg(put(refused[_i].key, refused[_i].doc) == -1, "%s %s", refused[_i].key,
		      refused[_i].doc);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	ck_assert_str_ne(err.msg, "");
}
END_TEST

START_TEST(the_previous_one_stays_in_force)
{
	put("tenant.a", "{\"id\":\"a\",\"weight\":3}");
	ck_assert_int_eq(put("tenant.a", "{\"id\":\"a\",\"weight\":-3}"), -1);
	ck_assert_int_eq(catalog_tenant(c, "a")->weight, 3);
	ck_assert_int_eq(put("tenant.a", NULL), 0);
	ck_assert(!catalog_tenant(c, "a"));
	ck_assert_int_eq(put("tenant.a", NULL), 0);
	ck_assert_int_eq(put("flag.of.tomorrow", "whatever"), 0); /* not ours to judge */
}
END_TEST

static void count(void *arg, const struct tenant *t)
{
	(void)t;
	++*(int *)arg;
}

START_TEST(ten_thousand_tenants_come_and_go)
{
	char key[64], doc[128];
	int n = 0;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 10000; i++) {
			snprintf(key, sizeof(key), "tenant.t%d", i);
			snprintf(doc, sizeof(doc), "{\"id\":\"t%d\",\"weight\":%d}", i,
				 i % 100 + 1 + round);
			ck_assert_int_eq(put(key, doc), 0);
		}
	}
	catalog_each_tenant(c, count, &n);
	ck_assert_int_eq(n, 10000);
	for (int i = 0; i < 10000; i += 2) {
		snprintf(key, sizeof(key), "tenant.t%d", i);
		ck_assert_int_eq(put(key, NULL), 0);
	}
	n = 0;
	catalog_each_tenant(c, count, &n);
	ck_assert_int_eq(n, 5000);
	for (int i = 0; i < 10000; i++) {
		const struct tenant *t;

		snprintf(key, sizeof(key), "t%d", i);
		t = catalog_tenant(c, key);
		ck_assert_int_eq(t != NULL, i % 2);
		ck_assert(!t || t->weight == i % 100 + 2);
	}
}
END_TEST

/* --- over a bus --------------------------------------------------------------------------------
 */

struct watcher {
	int ready, changed;
	char key[64];
	const struct tenant *kept;
	struct catalog *c;
};

static void on_ready(void *arg)
{
	((struct watcher *)arg)->ready++;
}

static void on_changed(void *arg, const char *key)
{
	struct watcher *w = arg;

	w->changed++;
	snprintf(w->key, sizeof(w->key), "%s", key);
	/* The old one is still there in the turn in which it was replaced. */
	if (w->kept)
		ck_assert_str_eq(w->kept->id, "acme");
	w->kept = catalog_tenant(w->c, "acme");
}

static void run(struct loop *loop)
{
	int64_t until = loop_now_us(loop) + 3000000;

	while (loop_sim_step(loop, until))
		;
}

static void streams_are_there(void *arg, uint64_t epoch)
{
	*(uint64_t *)arg = epoch;
}

START_TEST(follows_the_bucket)
{
	struct loop *loop = loop_new_sim(INT64_C(1700000000000000));
	struct fake_broker *broker = fake_broker_new(loop, 1);
	struct bus *bus = bus_fake_open(broker, "one");
	struct topology_conf conf = {.replicas = 1};
	struct metrics *metrics = metrics_new();
	struct metric *revision = metrics_gauge(metrics, "penstock_config_revision", NULL, "");
	struct watcher w = {0};
	uint64_t epoch = 0;
	struct topology *t;
	const char *doc = "{\"id\":\"acme\"}", *bad = "{}";

	log_init("test", "test", LOG_ERROR + 1); /* the refusal is meant to be */
	w.c = catalog_start(bus, loop, on_ready, on_changed, &w, &err);
	catalog_count_into(w.c, metrics);
	run(loop);
	ck_assert(!catalog_ready(w.c)); /* no bucket yet */
	t = topology_start(bus, loop, &conf, streams_are_there, &epoch);
	run(loop);
	ck_assert_uint_eq(epoch, UINT64_C(1700000003000000));
	ck_assert(catalog_ready(w.c));
	ck_assert_int_eq(w.ready, 1);
	bus_put(bus, BUCKET_CONFIG, "tenant.acme", doc, strlen(doc), NULL, NULL);
	run(loop);
	ck_assert_int_eq(w.changed, 1);
	ck_assert_str_eq(w.key, "tenant.acme");
	ck_assert_int_eq(metric_get(revision), 1);
	bus_put(bus, BUCKET_CONFIG, "tenant.acme", bad, strlen(bad), NULL, NULL);
	run(loop);
	ck_assert_int_eq(metric_get(revision), 2); /* what is refused is seen as well */
	fake_broker_set_up(broker, false);
	run(loop);
	fake_broker_set_up(broker, true);
	run(loop);
	ck_assert_int_eq(w.changed, 1); /* told again, and nothing new in it */
	ck_assert_int_eq(w.ready, 1);
	ck_assert(catalog_tenant(w.c, "acme") != NULL);
	bus_del(bus, BUCKET_CONFIG, "tenant.acme", NULL, NULL);
	run(loop);
	ck_assert_int_eq(w.changed, 2);
	ck_assert(!catalog_tenant(w.c, "acme"));
	ck_assert_int_eq(metric_get(revision), 3);
	catalog_stop(w.c);
	metric_set(revision, 0);
	/* Who starts now is not told of the deletion, and has it all the same. */
	w.c = catalog_start(bus, loop, on_ready, on_changed, &w, &err);
	catalog_count_into(w.c, metrics);
	run(loop);
	ck_assert_int_eq(metric_get(revision), 3);
	topology_stop(t);
	catalog_stop(w.c);
	metrics_free(metrics);
	bus_free(bus);
	fake_broker_free(broker);
	loop_free(loop);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("catalog");
	TCase *tc = tcase_create("catalog");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, tenant_defaults);
	tcase_add_test(tc, tenant_in_full);
	tcase_add_test(tc, keys);
	tcase_add_test(tc, what_a_key_may_touch);
	tcase_add_test(tc, signing_keys);
	tcase_add_test(tc, types);
	tcase_add_test(tc, models);
	tcase_add_test(tc, pipelines_and_their_newest_version);
	tcase_add_test(tc, drained_edges);
	tcase_add_test(tc, drained_workers);
	tcase_add_loop_test(tc, bad_documents_are_refused, 0, sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, the_previous_one_stays_in_force);
	tcase_add_test(tc, ten_thousand_tenants_come_and_go);
	tcase_add_test(tc, follows_the_bucket);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
