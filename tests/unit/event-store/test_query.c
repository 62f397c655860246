/* Queries end to end: a broker in memory, a real PostgreSQL, requests over the bus. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bus_fake.h"
#include "common/json.h"
#include "common/migrate.h"
#include "common/names.h"
#include "common/pg.h"
#include "proto/store.pb-c.h"
#include "services/event-store/item.h"
#include "services/event-store/query.h"
#include "services/event-store/writer.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/event-store/database.h"

#define DEADLINE_S 60
#define PARTS      16

struct rig {
	struct database d;
	struct loop *loop;
	struct metrics *metrics;
	struct fake_broker *broker;
	struct bus *client, *bus;
	struct store_query *query;
	struct store_writer w;
	uint64_t seq, stored; /* of the stream; of PostgreSQL */
	Penstock__Event *sent[4000];
	/* The last answer. */
	bool done;
	enum bus_result result;
	uint64_t acked;
	Penstock__ReplayReply *page;
	Penstock__JsonReply *reply;
	json_t *json;
	bool replay;
};

#define UNTIL(rig, condition)                                                                      \
	do {                                                                                       \
		time_t until = time(NULL) + DEADLINE_S;                                            \
		while (!(condition) && time(NULL) < until)                                         \
			loop_turn((rig)->loop, 50000);                                             \
		ck_assert_msg(condition, "not within the deadline: %s", #condition);               \
		(rig)->done = false;                                                               \
	} while (0)

static void on_done(void *arg, enum bus_result result)
{
	struct rig *r = arg;
	r->result = result;
	r->done = true;
}

static void on_ack(void *arg, const struct bus_ack *ack)
{
	struct rig *r = arg;
	ck_assert_int_eq(ack->result, BUS_OK);
	r->acked = ack->seq;
	r->done = true;
}

static void rig_open(struct rig *r, const char *dsn)
{
	struct bus_stream_conf stream = {
	    .name = STREAM_EVENTS, .subject = "pen.evt.>", .replicas = 1};
	struct error err = {0};

	*r = (struct rig){0};
	database_open(&r->d, true);
	ck_assert(!store_writer_open(&r->w, r->d.conn, TEST_EPOCH, &err));
	r->loop = loop_new(&err);
	r->metrics = metrics_new();
	r->broker = fake_broker_new(r->loop, 1);
	r->client = bus_fake_open(r->broker, "client");
	r->bus = bus_fake_open(r->broker, "store");
	UNTIL(r, bus_connected(r->client) && bus_connected(r->bus));
	bus_stream_ensure(r->client, &stream, on_done, r);
	UNTIL(r, r->done);
	struct store_query_conf conf = {.dsn = dsn ? dsn : r->d.dsn,
					.epoch = TEST_EPOCH,
					.parts = PARTS,
					.threads = 2,
					.queue_max = 8};
	r->query = store_query_start(r->bus, r->loop, &conf, r->metrics, &err);
	ck_assert_msg(r->query, "%s", err.msg);
}

static void forget_answer(struct rig *r)
{
	if (r->page)
		penstock__replay_reply__free_unpacked(r->page, NULL);
	if (r->reply)
		penstock__json_reply__free_unpacked(r->reply, NULL);
	json_decref(r->json);
	r->page = NULL;
	r->reply = NULL;
	r->json = NULL;
}

static void rig_close(struct rig *r)
{
	forget_answer(r);
	store_query_stop(r->query, 5000);
	bus_free(r->client);
	bus_free(r->bus);
	store_query_free(r->query);
	fake_broker_free(r->broker);
	for (size_t i = 0; i < r->seq; i++)
		penstock__event__free_unpacked(r->sent[i], NULL);
	loop_free(r->loop);
	metrics_free(r->metrics);
	store_writer_close(&r->w);
	database_close(&r->d);
}

/* Into the stream; PostgreSQL gets it with store_upto(). */
static void publish(struct rig *r, const char *channel, const char *type, const char *data)
{
	struct subject subject = subject_evt(part_of("acme", PARTS), "acme", channel);
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 5000};
	Penstock__Event *e = make_event(r->seq, channel, type, data, NULL);
	size_t len = penstock__event__get_packed_size(e);
	uint8_t *bytes = malloc(len);

	penstock__event__pack(e, bytes);
	bus_store(r->client, subject.text, &opts, bytes, len, on_ack, r);
	free(bytes);
	UNTIL(r, r->done);
	r->sent[r->seq++] = e;
	ck_assert_uint_eq(r->acked, r->seq);
}

static void store_upto(struct rig *r, uint64_t seq)
{
	struct error err = {0};
	int64_t rows;

	for (; r->stored < seq; r->stored++) {
		struct store_item item = make_item(r->stored + 1, r->sent[r->stored]);
		ck_assert_msg(!store_writer_write(&r->w, &item, 1, &rows, &err), "%s", err.msg);
	}
}

static void on_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct rig *r = arg;

	r->done = true;
	ck_assert_int_eq(result, BUS_OK);
	if (r->replay) {
		r->page = penstock__replay_reply__unpack(NULL, msg->len, msg->data);
		ck_assert_ptr_nonnull(r->page);
		return;
	}
	r->reply = penstock__json_reply__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(r->reply);
	if (r->reply->json.len)
		r->json = json_parse((char *)r->reply->json.data, r->reply->json.len, NULL);
}

static void ask(struct rig *r, const char *subject, const ProtobufCMessage *msg)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint8_t *bytes = malloc(len + 1);

	forget_answer(r);
	protobuf_c_message_pack(msg, bytes);
	r->replay = !strcmp(subject, SUBJECT_STORE_REPLAY);
	bus_request(r->client, subject, bytes, len, 20000, on_answer, r);
	free(bytes);
	UNTIL(r, r->done);
}

static void replay(struct rig *r, const char *tenant, const char *channel, uint64_t after,
		   uint64_t until, uint32_t limit)
{
	Penstock__ReplayRequest q = PENSTOCK__REPLAY_REQUEST__INIT;

	q.tenant = (char *)tenant;
	q.channel = (char *)channel;
	q.after = after;
	q.until = until;
	q.limit = limit;
	ask(r, SUBJECT_STORE_REPLAY, &q.base);
}

static void ask_task(struct rig *r, const char *tenant, const char *task)
{
	Penstock__TaskRequest q = PENSTOCK__TASK_REQUEST__INIT;

	q.tenant = (char *)tenant;
	q.task = (char *)task;
	ask(r, SUBJECT_STORE_TASK, &q.base);
}

static void ask_timeline(struct rig *r, const char *tenant, const char *id)
{
	Penstock__TimelineRequest q = PENSTOCK__TIMELINE_REQUEST__INIT;

	q.tenant = (char *)tenant;
	q.id = (char *)id;
	ask(r, SUBJECT_STORE_TIMELINE, &q.base);
}

/* "offset:prev offset:prev … +" with + for more. */
static const char *page_text(struct rig *r)
{
	static char text[512];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < r->page->n_events && len < sizeof(text) - 50; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%llu:%llu", i ? " " : "",
					(unsigned long long)r->page->events[i]->offset,
					(unsigned long long)r->page->events[i]->prev);
	if (r->page->more)
		snprintf(text + len, sizeof(text) - len, " +");
	return text;
}

/* --- replay -------------------------------------------------------------------------------------
 */

/* Channels a and b in turn, ten events: a has 1 3 5 7 9, b has 2 4 6 8 10. */
static void ten(struct rig *r)
{
	for (int i = 0; i < 10; i++)
		publish(r, i % 2 ? "b" : "a", "chat", "{\"n\": 1.0}");
}

/* Wherever PostgreSQL has got to, the answers are the same. */
START_TEST(replay_is_whole_wherever_the_seam_is)
{
	static const struct {
		uint64_t after, until;
		uint32_t limit;
		const char *page;
	} table[] = {
	    {0, 0, 0, "1:0 3:1 5:3 7:5 9:7"},
	    {0, 0, 2, "1:0 3:1 +"},
	    {3, 0, 2, "5:3 7:5 +"},
	    {3, 0, 3, "5:3 7:5 9:7"},
	    {7, 0, 10, "9:7"},
	    {9, 0, 10, ""},
	    {1000, 0, 10, ""},
	    {0, 5, 10, "1:0 3:1 5:3"},
	    {3, 8, 10, "5:3 7:5"},
	};

	for (uint64_t stored = 0; stored <= 10; stored++) {
		struct rig r;

		rig_open(&r, NULL);
		ten(&r);
		store_upto(&r, stored);
		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
			replay(&r, "acme", "a", table[i].after, table[i].until, table[i].limit);
			ck_assert_str_eq(r.page->error, "");
			ck_assert_msg(!strcmp(page_text(&r), table[i].page),
				      "stored %d, row %zu: %s", (int)stored, i, page_text(&r));
			ck_assert_uint_eq(r.page->epoch, TEST_EPOCH);
			ck_assert_uint_eq(r.page->earliest, 1);
		}
		rig_close(&r);
	}
}
END_TEST

START_TEST(an_event_comes_back_as_it_was)
{
	struct rig r;
	uint8_t was[2][2048];
	size_t len[2];

	rig_open(&r, NULL);
	publish(&r, "a", "chat", "{ \"z\":1,  \"a\" : 1.500 }");
	publish(&r, "a", "chat", "{ \"z\":1,  \"a\" : 1.500 }");
	store_upto(&r, 1);
	replay(&r, "acme", "a", 0, 0, 10);
	ck_assert_uint_eq(r.page->n_events, 2);
	for (int i = 0; i < 2; i++) {
		Penstock__Event *e = r.page->events[i]->event;
		len[0] = penstock__event__pack(e, was[0]);
		len[1] = penstock__event__pack(r.sent[i], was[1]);
		ck_assert_uint_eq(len[0], len[1]);
		ck_assert_int_eq(memcmp(was[0], was[1], len[0]), 0);
	}
	rig_close(&r);
}
END_TEST

START_TEST(tenants_do_not_see_each_other)
{
	struct rig r;

	rig_open(&r, NULL);
	ten(&r);
	store_upto(&r, 5);
	replay(&r, "evil", "a", 0, 0, 10);
	ck_assert_str_eq(r.page->error, "");
	ck_assert_uint_eq(r.page->n_events, 0);
	ck_assert_uint_eq(r.page->earliest, 0);
	replay(&r, "acme", "nowhere", 0, 0, 10);
	ck_assert_uint_eq(r.page->n_events, 0);
	replay(&r, "ac.me", "a", 0, 0, 10);
	ck_assert_str_eq(r.page->error, "bad_request");
	replay(&r, "acme", "a.*", 0, 0, 10);
	ck_assert_str_eq(r.page->error, "bad_request");
	rig_close(&r);
}
END_TEST

/* Large events: a page stays below a message's bound, on both sides of the seam, and goes on where
 * it ended. */
START_TEST(large_pages_are_cut)
{
	struct rig r;
	size_t size = 200000, n = 0, pages = 0;
	char *data = malloc(size + 1);

	memset(data, ' ', size);
	memcpy(data, "{}", 2);
	data[size] = '\0';
	rig_open(&r, NULL);
	for (int i = 0; i < 20; i++)
		publish(&r, "a", "chat", data);
	store_upto(&r, 10);
	for (uint64_t after = 0;;) {
		replay(&r, "acme", "a", after, 0, 1000);
		ck_assert_str_eq(r.page->error, "");
		ck_assert_uint_lt(penstock__replay_reply__get_packed_size(r.page), 1000 * 1024);
		pages++;
		for (size_t i = 0; i < r.page->n_events; i++) {
			ck_assert_uint_eq(r.page->events[i]->offset, ++n);
			ck_assert_uint_eq(r.page->events[i]->prev, n - 1);
			after = n;
		}
		if (!r.page->more)
			break;
		ck_assert_uint_gt(r.page->n_events, 0);
	}
	ck_assert_uint_eq(n, 20);
	ck_assert_uint_eq(pages, 5);
	free(data);
	rig_close(&r);
}
END_TEST

static void trim_to(struct rig *r, uint64_t seq)
{
	bus_stream_trim(r->client, STREAM_EVENTS, seq, on_done, r);
	UNTIL(r, r->done);
	ck_assert_int_eq(r->result, BUS_OK);
}

START_TEST(what_is_trimmed_comes_from_postgres)
{
	struct rig r;

	rig_open(&r, NULL);
	ten(&r);
	store_upto(&r, 8);
	trim_to(&r, 9);
	replay(&r, "acme", "a", 0, 0, 0);
	ck_assert_str_eq(page_text(&r), "1:0 3:1 5:3 7:5 9:7");
	rig_close(&r);
}
END_TEST

START_TEST(without_postgres_the_stream_answers)
{
	struct rig r;

	rig_open(&r, "host=/nonexistent user=x");
	ten(&r);
	replay(&r, "acme", "a", 3, 0, 2);
	ck_assert_str_eq(r.page->error, "");
	ck_assert_str_eq(page_text(&r), "5:3 7:5 +");
	ck_assert_uint_eq(r.page->earliest, 1);
	/* As far as it reaches back. */
	trim_to(&r, 5);
	replay(&r, "acme", "a", 3, 0, 2);
	ck_assert_str_eq(r.page->error, "unavailable");
	replay(&r, "acme", "a", 4, 0, 2);
	ck_assert_str_eq(page_text(&r), "5:0 7:5 +");
	ask_timeline(&r, "acme", "x");
	ck_assert_str_eq(r.reply->error, "unavailable");
	rig_close(&r);
}
END_TEST

START_TEST(a_query_survives_a_restart_of_postgres)
{
	struct rig r;

	rig_open(&r, NULL);
	ten(&r);
	store_upto(&r, 10);
	trim_to(&r, 10);
	replay(&r, "acme", "a", 0, 0, 0);
	for (int i = 0; i < 3; i++) {
		database_do(
		    &r.d, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
			  " WHERE datname = current_database() AND application_name LIKE '%query'");
		replay(&r, "acme", "a", 0, 0, 0);
		ck_assert_str_eq(r.page->error, "");
		ck_assert_uint_eq(r.page->n_events, 5);
	}
	rig_close(&r);
}
END_TEST

struct counts {
	int whole, overloaded, other;
};

static void on_counted(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct counts *c = arg;

	ck_assert_int_eq(result, BUS_OK);
	Penstock__ReplayReply *page = penstock__replay_reply__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(page);
	if (!strcmp(page->error, "overloaded"))
		c->overloaded++;
	else if (!page->error[0] && page->n_events == 5)
		c->whole++;
	else
		c->other++;
	penstock__replay_reply__free_unpacked(page, NULL);
}

START_TEST(too_many_at_once)
{
	struct rig r;
	struct counts c = {0};
	Penstock__ReplayRequest q = PENSTOCK__REPLAY_REQUEST__INIT;
	uint8_t bytes[64];
	struct strbuf text = {0};

	rig_open(&r, NULL);
	ten(&r);
	/* Held up in PostgreSQL, so that they pile up. */
	database_do(&r.d, "BEGIN; LOCK TABLE events");
	q.tenant = "acme";
	q.channel = "a";
	size_t len = penstock__replay_request__pack(&q, bytes);
	for (int i = 0; i < 9; i++)
		bus_request(r.client, SUBJECT_STORE_REPLAY, bytes, len, 20000, on_counted, &c);
	UNTIL(&r, c.overloaded == 1);
	ck_assert_int_eq(c.whole, 0);
	database_do(&r.d, "COMMIT");
	UNTIL(&r, c.whole + c.other == 8);
	ck_assert_int_eq(c.whole, 8);
	ck_assert_int_eq(c.overloaded, 1);
	metrics_text(r.metrics, &text);
	ck_assert_ptr_nonnull(strstr(
	    text.data, "penstock_store_queries_total{kind=\"replay\",result=\"refused\"} 1"));
	strbuf_done(&text);
	rig_close(&r);
}
END_TEST

/* --- tasks --------------------------------------------------------------------------------------
 */

static void story(struct rig *r)
{
	publish(r, "task.t1", "task.accepted",
		"{\"task\":\"t1\",\"pipeline\":\"p\",\"version\":3,\"input\":{\"q\":1}}");
	publish(r, "room.1", "chat", "{\"text\":\"between\"}");
	publish(r, "task.t1", "task.started", "{\"task\":\"t1\",\"worker\":\"w1\",\"run\":1}");
	publish(
	    r, "task.t1", "task.stage.started",
	    "{\"task\":\"t1\",\"stage\":\"a\",\"kind\":\"chat\",\"attempt\":1,\"worker\":\"w1\"}");
	publish(
	    r, "task.t1", "task.stage.completed",
	    "{\"task\":\"t1\",\"stage\":\"a\",\"attempt\":1,\"worker\":\"w1\",\"model\":\"m\","
	    "\"latency_ms\":9,\"first_token_ms\":4,\"usage\":{\"total_tokens\":5},\"output\":{}}");
	publish(r, "task.t1", "task.completed",
		"{\"task\":\"t1\",\"output\":{\"text\":\"x\"},\"usage\":{\"total_tokens\":5}}");
}

static const char *text_at(const json_t *doc, const char *name)
{
	const char *text = json_string_value(json_object_get(doc, name));
	return text ? text : "";
}

START_TEST(a_task_is_what_its_log_says)
{
	static const char *const states[] = {"accepted", "accepted", "running",
					     "running",  "running",  "completed"};

	for (uint64_t stored = 0; stored <= 6; stored++) {
		struct rig r;

		rig_open(&r, NULL);
		story(&r);
		store_upto(&r, stored);
		ask_task(&r, "acme", "t1");
		ck_assert_str_eq(r.reply->error, "");
		ck_assert_str_eq(text_at(r.json, "state"), "completed");
		ck_assert_str_eq(text_at(r.json, "pipeline"), "p");
		ck_assert_int_eq(json_integer_value(json_object_get(r.json, "offset")), 6);
		ck_assert_uint_eq(json_array_size(json_object_get(r.json, "stages")), 1);
		/* The projection alone, as far as it is. */
		if (stored)
			ck_assert_str_eq(database_get(&r.d, "SELECT state FROM tasks"),
					 states[stored - 1]);
		ask_task(&r, "evil", "t1");
		ck_assert_str_eq(r.reply->error, "not_found");
		ask_task(&r, "acme", "t2");
		ck_assert_str_eq(r.reply->error, "not_found");
		ask_task(&r, "acme", "a b");
		ck_assert_str_eq(r.reply->error, "bad_request");
		ask_task(&r, "", "t1"); /* an operator's: known once it is projected */
		ck_assert_str_eq(r.reply->error, stored ? "" : "not_found");
		rig_close(&r);
	}
}
END_TEST

START_TEST(a_task_without_postgres)
{
	struct rig r;

	rig_open(&r, "host=/nonexistent user=x");
	story(&r);
	ask_task(&r, "acme", "t1");
	ck_assert_str_eq(r.reply->error, "");
	ck_assert_str_eq(text_at(r.json, "state"), "completed");
	ask_task(&r, "evil", "t1");
	ck_assert_str_eq(r.reply->error, "not_found");
	trim_to(&r, 3);
	ask_task(&r, "acme", "t1");
	ck_assert_str_eq(r.reply->error, "unavailable");
	/* Perhaps it was, before the stream begins. */
	ask_task(&r, "acme", "t2");
	ck_assert_str_eq(r.reply->error, "unavailable");
	rig_close(&r);
}
END_TEST

/* --- timelines ----------------------------------------------------------------------------------
 */

START_TEST(one_timeline_for_any_id)
{
	struct id event = nth_id(0), chat = nth_id(1);
	const struct {
		const char *id, *kind;
		size_t events;
	} table[] = {
	    {"t1", "task", 5},
	    {event.text, "event", 5}, /* its task */
	    {chat.text, "event", 6},  /* its trace */
	    {TEST_SESSION, "session", 6},
	    {TEST_TRACE, "trace", 6},
	    {"0123456789abcdef0123456789abcdef", "trace", 6},
	};
	struct rig r;

	rig_open(&r, NULL);
	story(&r);
	store_upto(&r, 6);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (int any = 0; any < 2; any++) {
			ask_timeline(&r, any ? "" : "acme", table[i].id);
			ck_assert_msg(r.json, "row %zu: %s", i, r.reply->error);
			ck_assert_str_eq(text_at(r.json, "kind"), table[i].kind);
			ck_assert_str_eq(text_at(r.json, "id"), table[i].id);
			ck_assert_str_eq(text_at(r.json, "tenant"), "acme");
			ck_assert_str_eq(text_at(r.json, "session"), TEST_SESSION);
			ck_assert_uint_eq(json_array_size(json_object_get(r.json, "events")),
					  table[i].events);
			ck_assert(json_is_false(json_object_get(r.json, "truncated")));
			json_t *task = json_object_get(r.json, "task");
			ck_assert_str_eq(text_at(task, "state"), "completed");
			json_t *attempt = json_array_get(json_object_get(r.json, "attempts"), 0);
			ck_assert_str_eq(text_at(attempt, "state"), "completed");
			ck_assert_str_eq(text_at(attempt, "model"), "m");
			ck_assert_int_eq(
			    json_integer_value(json_object_get(attempt, "first_token_ms")), 4);
			ck_assert_uint_eq(json_array_size(json_object_get(r.json, "spans")), 3);
		}
		ask_timeline(&r, "evil", table[i].id);
		ck_assert_str_eq(r.reply->error, "not_found");
	}
	ask_timeline(&r, "", "nothing");
	ck_assert_str_eq(r.reply->error, "not_found");
	ask_timeline(&r, "", "");
	ck_assert_str_eq(r.reply->error, "bad_request");
	rig_close(&r);
}
END_TEST

START_TEST(a_long_timeline_is_cut)
{
	struct rig r;
	struct error err = {0};
	struct store_item *items = calloc(3000, sizeof(*items));
	char data[1200];
	int64_t rows;

	rig_open(&r, NULL);
	memset(data, 'x', sizeof(data));
	memcpy(data, "{\"a\":\"", 6);
	memcpy(data + 990, "\"}", 3);
	for (size_t i = 0; i < 3000; i++)
		items[i] = make_item(i + 1, make_event(i, "room.1", "chat", data, NULL));
	ck_assert(!store_writer_write(&r.w, items, 3000, &rows, &err));
	ask_timeline(&r, "acme", TEST_SESSION);
	ck_assert_str_eq(r.reply->error, "");
	ck_assert(json_is_true(json_object_get(r.json, "truncated")));
	ck_assert_uint_ge(json_array_size(json_object_get(r.json, "events")), 300);
	ck_assert_uint_le(json_array_size(json_object_get(r.json, "events")), 1000);
	ck_assert_uint_lt(r.reply->json.len, 1000 * 1024);
	items_done(items, 3000);
	free(items);
	rig_close(&r);
}
END_TEST

static void on_bytes(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct rig *r = arg;

	ck_assert_int_eq(result, BUS_OK);
	ck_assert_uint_gt(msg->len, 0);
	r->done = true;
}

START_TEST(nonsense_is_answered)
{
	static const char *const subjects[] = {SUBJECT_STORE_REPLAY, SUBJECT_STORE_TASK,
					       SUBJECT_STORE_TIMELINE};
	struct rig r;

	rig_open(&r, NULL);
	for (int i = 0; i < 3; i++) {
		bus_request(r.client, subjects[i], "\xff\xff\xff\xff", 4, 20000, on_bytes, &r);
		UNTIL(&r, r.done);
		bus_request(r.client, subjects[i], "", 0, 20000, on_bytes, &r);
		UNTIL(&r, r.done);
	}
	rig_close(&r);
}
END_TEST

RUN_TESTS("query", replay_is_whole_wherever_the_seam_is, an_event_comes_back_as_it_was,
	  tenants_do_not_see_each_other, large_pages_are_cut, what_is_trimmed_comes_from_postgres,
	  without_postgres_the_stream_answers, a_query_survives_a_restart_of_postgres,
	  too_many_at_once, a_task_is_what_its_log_says, a_task_without_postgres,
	  one_timeline_for_any_id, a_long_timeline_is_cut, nonsense_is_answered)
