/* From the outbox into the bucket: a real PostgreSQL, the broker in memory on a loop of its own
 * thread. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bus_fake.h"
#include "common/json.h"
#include "common/names.h"
#include "common/pg.h"
#include "services/control-plane/api.h"
#include "services/control-plane/db.h"
#include "services/control-plane/publisher.h"
#include "services/control-plane/snapshot.h"
#include "tests/unit/control-plane/suite.h"

#define DEADLINE_MS 20000

static struct loop *loop;
static struct fake_broker *broker;
static struct metrics *metrics;
static pthread_t thread;
static int64_t newest; /* the revision that was said last */

/* One control-plane, as far as this goes. */
struct plane {
	struct bus *bus;
	struct bridge *bridge;
	struct mirror *mirror;
	_Atomic(struct publisher *) publisher; /* made while the mirror calls already */
	struct db_pool *pool;
	struct api api;
};

static void told(void *arg)
{
	struct plane *p = arg;
	if (p->publisher)
		publisher_bucket_told(p->publisher);
}

static void on_state(void *arg, bool connected)
{
	struct plane *p = arg;
	if (p->publisher)
		publisher_bus(p->publisher, connected);
}

static void on_database(void *arg, bool up)
{
	struct plane *p = arg;
	if (up)
		db_pool_open(p->pool);
}

static void on_fatal(void *arg)
{
	(void)arg;
	abort();
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

/* --- things that are done on the loop's thread --------------------------------------------- */

struct errand {
	struct loop_post post;
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void on_errand(struct loop_post *post)
{
	struct errand *e = (struct errand *)post;
	e->fn(e->arg);
	pthread_mutex_lock(&e->lock);
	e->done = true;
	pthread_cond_signal(&e->cond);
	pthread_mutex_unlock(&e->lock);
}

static void on_loop(void (*fn)(void *arg), void *arg)
{
	struct errand e = {.post = {.fn = on_errand},
			   .fn = fn,
			   .arg = arg,
			   .lock = PTHREAD_MUTEX_INITIALIZER,
			   .cond = PTHREAD_COND_INITIALIZER};
	loop_post(loop, &e.post);
	pthread_mutex_lock(&e.lock);
	while (!e.done)
		pthread_cond_wait(&e.cond, &e.lock);
	pthread_mutex_unlock(&e.lock);
}

static void do_open(void *arg)
{
	struct plane *p = arg;
	struct error err = {0};
	p->bus = bus_fake_open(broker, "control");
	bus_on_state(p->bus, on_state, p);
	p->bridge = bridge_new(loop, p->bus);
	p->mirror = mirror_start(p->bus, BUCKET_CONFIG, told, p, &err);
	ck_assert_msg(p->mirror != NULL, "%s", err.msg);
}

static void do_close(void *arg)
{
	struct plane *p = arg;
	mirror_stop(p->mirror);
	bus_free(p->bus);
	bridge_free(p->bridge);
}

static void do_down(void *arg)
{
	(void)arg;
	fake_broker_set_up(broker, false);
}

static void do_up(void *arg)
{
	(void)arg;
	fake_broker_set_up(broker, true);
}

static void do_faults(void *arg)
{
	fake_broker_faults(broker, arg);
}

static void do_stray(void *arg)
{
	struct plane *p = arg;
	bus_put(p->bus, BUCKET_CONFIG, "tenant.stray", "{}", 2, NULL, NULL);
	bus_put(p->bus, BUCKET_CONFIG, "tenant.kept", "{\"changed\":1}", 13, NULL, NULL);
	bus_put(p->bus, BUCKET_CONFIG, "flag.newer", "{}", 2, NULL, NULL);
}

/* --- the scene ----------------------------------------------------------------------------- */

static void begin(void)
{
	struct error err = {0};
	loop = loop_new(&err);
	broker = fake_broker_new(loop, 1);
	metrics = metrics_new();
	newest = 0;
	pthread_create(&thread, NULL, run_loop, loop);
}

static void end(void)
{
	loop_stop(loop);
	pthread_join(thread, NULL);
	fake_broker_free(broker);
	loop_free(loop);
	metrics_free(metrics);
}

static void plane_open(struct plane *p)
{
	struct error err = {0};
	*p = (struct plane){.pool = db_pool_new(suite_dsn, 2)};
	on_loop(do_open, p);
	struct publisher_conf conf = {.dsn = suite_dsn,
				      .bridge = p->bridge,
				      .mirror = p->mirror,
				      .metrics = metrics,
				      .replicas = 1,
				      .database = on_database,
				      .fatal = on_fatal,
				      .arg = p};
	p->publisher = publisher_start(&conf, &err);
	ck_assert_msg(p->publisher != NULL, "%s", err.msg);
	publisher_bus(p->publisher, true);
	db_pool_open(p->pool);
	p->api = (struct api){.admin_key = "an-admin-key-of-the-tests",
			      .pool = p->pool,
			      .bridge = p->bridge,
			      .publisher = p->publisher,
			      .publish_wait_ms = DEADLINE_MS,
			      .store_timeout_ms = 1000};
}

static void plane_close(struct plane *p)
{
	publisher_stop(p->publisher);
	on_loop(do_close, p);
	db_pool_free(p->pool);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What the operator got to hear about the publication; with it the revision of his own change. */
static enum api_published put(struct plane *p, const char *tenant, int weight)
{
	char path[200], body[100];
	snprintf(path, sizeof(path), "/v1/tenants/%s", tenant);
	snprintf(body, sizeof(body), "{\"weight\":%d}", weight);
	struct api_request get = {
	    .method = "GET", .path = path, .authorization = "Bearer an-admin-key-of-the-tests"};
	struct api_reply was = {0}, is = {0};
	api_handle(&p->api, &get, &was);
	struct api_request req = {.method = "PUT",
				  .path = path,
				  .authorization = "Bearer an-admin-key-of-the-tests",
				  .content_type = "application/json",
				  .if_match = was.status == 200 ? was.etag : NULL,
				  .body = body,
				  .body_len = strlen(body)};
	api_handle(&p->api, &req, &is);
	ck_assert_msg(is.status == 200 || is.status == 201, "%s", strbuf_str(&is.body));
	enum api_published published = is.published;
	if (published == PUBLISHED_YES)
		ck_assert_int_gt(is.revision, newest);
	else
		ck_assert_int_eq(is.revision, 0);
	newest = is.revision ? is.revision : newest;
	api_reply_done(&was);
	api_reply_done(&is);
	return published;
}

/* The bucket, as p sees it, is what PostgreSQL says, and has `others` keys besides. */
static bool agrees(struct plane *p, size_t others)
{
	struct error err = {0};
	PGconn *conn = pg_connect(suite_dsn, "test", &err);
	json_t *wanted = snapshot_read(conn, &err), *text;
	const char *key;
	ck_assert_msg(wanted != NULL, "%s", err.msg);
	bool good = mirror_size(p->mirror) == json_object_size(wanted) + others;
	json_object_foreach(wanted, key, text) good &=
	    mirror_has(p->mirror, key, json_string_value(text), json_string_length(text));
	json_decref(wanted);
	PQfinish(conn);
	return good;
}

static void await(struct plane *p, size_t others)
{
	int64_t until = now_ms() + DEADLINE_MS;
	while (!agrees(p, others))
		ck_assert_msg(now_ms() < until, "bucket and database differ");
}

START_TEST(test_publish)
{
	struct plane p;
	begin();
	plane_open(&p);
	for (int i = 1; i <= 20; i++)
		ck_assert_int_eq(put(&p, "one", i), PUBLISHED_YES);
	await(&p, 0);
	plane_close(&p);
	end();
}
END_TEST

/* Two at once: both hear of their publications, only one publishes; the other takes over. */
START_TEST(test_two)
{
	struct plane a, b;
	begin();
	plane_open(&a);
	ck_assert_int_eq(put(&a, "two-a", 1), PUBLISHED_YES);
	plane_open(&b);
	for (int i = 1; i <= 10; i++) {
		ck_assert_int_eq(put(&a, "two-a", i + 1), PUBLISHED_YES);
		ck_assert_int_eq(put(&b, "two-b", i), PUBLISHED_YES);
	}
	ck_assert(publisher_leads(a.publisher));
	ck_assert(!publisher_leads(b.publisher));
	plane_close(&a);
	ck_assert_int_eq(put(&b, "two-b", 99), PUBLISHED_YES);
	ck_assert(publisher_leads(b.publisher));
	await(&b, 0);
	plane_close(&b);
	end();
}
END_TEST

/* The broker away: changes are taken, said to be unpublished, and arrive later. */
START_TEST(test_broker_away)
{
	struct plane p;
	begin();
	plane_open(&p);
	ck_assert_int_eq(put(&p, "away", 1), PUBLISHED_YES);
	on_loop(do_down, NULL);
	int64_t start = now_ms();
	for (int i = 2; i < 100; i++)
		ck_assert_int_eq(put(&p, "away", i), PUBLISHED_NO);
	ck_assert_int_lt((int)(now_ms() - start), DEADLINE_MS); /* nobody waits for it */
	ck_assert(!agrees(&p, 0));
	on_loop(do_up, NULL);
	await(&p, 0);
	plane_close(&p);
	end();
}
END_TEST

/* Acknowledgements and stores are lost: sent again, in order, so that the newest document stays. */
START_TEST(test_faults)
{
	struct plane p;
	struct fake_faults faults = {.lose_ack = 0.1, .lose_store = 0.1, .delay_max_us = 2000},
			   none = {0};
	begin();
	plane_open(&p);
	ck_assert_int_eq(put(&p, "faults", 1), PUBLISHED_YES);
	p.api.publish_wait_ms = 0;
	on_loop(do_faults, &faults);
	for (int i = 2; i < 40; i++)
		put(&p, i % 2 ? "faults" : "faults-2", i);
	on_loop(do_faults, &none);
	await(&p, 0);
	plane_close(&p);
	end();
}
END_TEST

/* What others wrote into the bucket is put right when it is told anew; keys of a newer version
 * stay. */
START_TEST(test_repair)
{
	struct plane p;
	begin();
	plane_open(&p);
	ck_assert_int_eq(put(&p, "kept", 1), PUBLISHED_YES);
	on_loop(do_stray, &p);
	int64_t until = now_ms() + DEADLINE_MS;
	while (!mirror_has(p.mirror, "flag.newer", "{}", 2)) /* the last of them */
		ck_assert(now_ms() < until);
	publisher_bucket_told(p.publisher);
	await(&p, 1);
	ck_assert(!mirror_has(p.mirror, "tenant.stray", "{}", 2));
	ck_assert(mirror_has(p.mirror, "flag.newer", "{}", 2));
	plane_close(&p);
	end();
}
END_TEST

/* A bucket with nothing in it, and one that says nothing of us yet: filled at the start. */
START_TEST(test_empty_bucket)
{
	struct plane p;
	begin();
	plane_open(&p);
	ck_assert_int_eq(put(&p, "empty", 7), PUBLISHED_YES);
	plane_close(&p);
	end();
	begin(); /* another broker */
	plane_open(&p);
	await(&p, 0);
	ck_assert_int_gt((int)mirror_size(p.mirror), 0);
	plane_close(&p);
	end();
}
END_TEST

RUN_DATABASE_TESTS("publisher", test_publish, test_two, test_broker_away, test_faults, test_repair,
		   test_empty_bucket)
