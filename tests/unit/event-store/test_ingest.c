/* Ingest on a simulated loop, a broker in memory and a sink in memory: exactly once, in order,
 * whatever fails. */
#include <stdio.h>
#include <string.h>

#include "common/bus_fake.h"
#include "common/ids.h"
#include "common/names.h"
#include "services/event-store/ingest.h"
#include "services/event-store/item.h"
#include "tests/unit/common/suite.h"

#define S   1000000LL
#define MAX 5000

/* --- a database in memory: outlives the processes that write to it ------------------------------
 */

struct row {
	uint64_t seq;
	bool poison;
	char id[ID_LEN + 1];
};

struct memory {
	struct row rows[MAX];
	size_t n;
	uint64_t position;
	char position_id[ID_LEN + 1];
	int batches, most;
};

struct msink {
	struct store_sink base; /* first */
	struct loop *loop;
	struct memory *db;
	struct store_listener to;
	const struct store_batch *batch;
	struct timer write, tell;
	enum store_standing standing;
	int64_t commit_us;
	int fail;       /* so many writes fail */
	bool fail_late; /* … after having been committed: the answer is lost */
};

static void commit(struct msink *m)
{
	struct memory *db = m->db;

	for (size_t i = 0; i < m->batch->n; i++) {
		const struct store_item *item = &m->batch->items[i];
		/* The promise of ingest: in order and without a hole (no message is deleted here).
		 */
		if (item->seq <= db->position)
			continue;
		ck_assert_uint_eq(item->seq, db->position + 1);
		struct row *row = &db->rows[db->n++];
		row->seq = item->seq;
		row->poison = !item->event;
		snprintf(row->id, sizeof(row->id), "%s", item->event ? item->event->id : "");
		db->position = item->seq;
		snprintf(db->position_id, sizeof(db->position_id), "%s", row->id);
	}
	db->batches++;
	if ((int)m->batch->n > db->most)
		db->most = (int)m->batch->n;
}

static void on_write(struct timer *timer, void *arg)
{
	struct msink *m = arg;
	struct error err = {.code = ERR_TRANSIENT, .msg = "injected"};
	bool fail = m->fail > 0 && m->fail--;

	(void)timer;
	if (!fail || m->fail_late)
		commit(m);
	m->batch = NULL;
	m->to.written(m->to.arg, fail ? &err : NULL);
}

static void msink_write(struct store_sink *sink, const struct store_batch *batch)
{
	struct msink *m = (struct msink *)sink;

	ck_assert_ptr_null(m->batch);
	ck_assert_int_eq(m->standing, STORE_LEADING);
	m->batch = batch;
	timer_set(m->loop, &m->write, m->commit_us);
}

static void on_tell(struct timer *timer, void *arg)
{
	struct msink *m = arg;
	(void)timer;
	m->to.standing(m->to.arg, m->standing, m->standing == STORE_LEADING ? m->db->position : 0,
		       m->db->position_id);
}

static void msink_stand(struct msink *m, enum store_standing standing)
{
	m->standing = standing;
	timer_set(m->loop, &m->tell, 1);
}

static void msink_start(struct store_sink *sink, uint64_t epoch, const struct store_listener *to)
{
	struct msink *m = (struct msink *)sink;
	(void)epoch;
	m->to = *to;
	timer_set(m->loop, &m->tell, 1);
}

static const struct store_sink_ops msink_ops = {.start = msink_start, .write = msink_write};

/* --- the world ----------------------------------------------------------------------------------
 */

struct process {
	struct bus *bus;
	struct msink sink;
	struct metrics *metrics;
	struct ingest *ingest;
	bool stopped;
};

struct world {
	struct loop *loop;
	struct fake_broker *broker;
	struct bus *client;
	struct memory *db;
	struct process p[2];
	uint64_t epoch;
	bool done;
	size_t sent;
};

static void on_done(void *arg, enum bus_result result)
{
	ck_assert_int_eq(result, BUS_OK);
	((struct world *)arg)->done = true;
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct world *w = arg;
	ck_assert_int_eq(result, BUS_OK);
	w->epoch = (uint64_t)info->created_us;
	w->done = true;
}

static void settle(struct world *w)
{
	for (int i = 0; i < 100000 && !w->done; i++)
		ck_assert(loop_sim_step(w->loop, loop_now_us(w->loop) + 60 * S));
	ck_assert(w->done);
	w->done = false;
}

static void pass(struct world *w, int64_t us)
{
	int64_t until = loop_now_us(w->loop) + us;
	while (loop_sim_step(w->loop, until))
		;
}

static void until_stored(struct world *w, uint64_t position, int64_t most_us)
{
	int64_t until = loop_now_us(w->loop) + most_us;
	while (w->db->position < position && loop_sim_step(w->loop, until))
		;
	ck_assert_uint_eq(w->db->position, position);
}

static void start(struct world *w, int i, enum store_standing standing)
{
	struct process *p = &w->p[i];
	struct ingest_conf conf = {.epoch = w->epoch, .batch_max = 100};

	*p = (struct process){.bus = bus_fake_open(w->broker, i ? "store-1" : "store-0"),
			      .metrics = metrics_new()};
	p->sink = (struct msink){.base.ops = &msink_ops,
				 .loop = w->loop,
				 .db = w->db,
				 .standing = standing,
				 .commit_us = 5000};
	timer_init(&p->sink.write, on_write, &p->sink);
	timer_init(&p->sink.tell, on_tell, &p->sink);
	p->ingest = ingest_start(p->bus, w->loop, &p->sink.base, p->metrics, &conf, NULL, NULL);
}

/* As SIGKILL does: nothing is said to anybody. */
static void crash(struct world *w, int i)
{
	struct process *p = &w->p[i];

	(void)w;
	if (!p->ingest)
		return;
	timer_cancel(p->sink.loop, &p->sink.write);
	timer_cancel(p->sink.loop, &p->sink.tell);
	ingest_close(p->ingest);
	bus_free(p->bus);
	ingest_free(p->ingest);
	metrics_free(p->metrics);
	*p = (struct process){0};
}

static void open_world(struct world *w, uint64_t seed)
{
	struct bus_stream_conf stream = {
	    .name = STREAM_EVENTS, .subject = "pen.evt.>", .replicas = 1, .dedupe_ms = 600000};

	*w = (struct world){.loop = loop_new_sim(1000 * S)};
	w->broker = fake_broker_new(w->loop, seed);
	w->client = bus_fake_open(w->broker, "client");
	w->db = calloc(1, sizeof(*w->db));
	pass(w, S);
	bus_stream_ensure(w->client, &stream, on_done, w);
	settle(w);
	bus_stream_info(w->client, STREAM_EVENTS, NULL, on_info, w);
	settle(w);
}

static void close_world(struct world *w)
{
	crash(w, 0);
	crash(w, 1);
	bus_free(w->client);
	fake_broker_free(w->broker);
	loop_free(w->loop);
	free(w->db);
}

static void on_ack(void *arg, const struct bus_ack *ack)
{
	(void)arg;
	(void)ack;
}

static void store_bytes(struct world *w, const char *subject, const void *data, size_t len)
{
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 60000};
	bus_store(w->client, subject, &opts, data, len, on_ack, w);
	w->sent++;
}

static struct id nth_id(size_t i)
{
	char name[32];
	snprintf(name, sizeof(name), "%zu", i);
	return id_derive("acme", "event", name);
}

static void send_events(struct world *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		Penstock__Event e = PENSTOCK__EVENT__INIT;
		struct id id = nth_id(w->sent);
		struct subject subject = subject_evt(3, "acme", "room.1");
		uint8_t bytes[512];

		e.id = id.text;
		e.tenant = "acme";
		e.channel = "room.1";
		e.type = "chat";
		e.data.data = (uint8_t *)"{}";
		e.data.len = 2;
		e.time_us = loop_wall_us(w->loop);
		store_bytes(w, subject.text, bytes, penstock__event__pack(&e, bytes));
	}
}

/* All that was sent, once each, in order. */
static void check_all(struct world *w)
{
	ck_assert_uint_eq(w->db->n, w->sent);
	for (size_t i = 0; i < w->db->n; i++) {
		ck_assert_uint_eq(w->db->rows[i].seq, i + 1);
		if (!w->db->rows[i].poison)
			ck_assert_str_eq(w->db->rows[i].id, nth_id(i).text);
	}
}

/* Nothing is left to be read, nor read a second time. */
static void check_settled(struct world *w)
{
	struct memory *before = malloc(sizeof(*before));

	pass(w, 120 * S);
	memcpy(before, w->db, sizeof(*before));
	crash(w, 0);
	crash(w, 1);
	start(w, 0, STORE_LEADING);
	pass(w, 120 * S);
	ck_assert_int_eq(w->db->batches, before->batches);
	free(before);
}

/* --- the tests ----------------------------------------------------------------------------------
 */

START_TEST(everything_once_in_order)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 1000);
	until_stored(&w, 1000, 10 * S);
	check_all(&w);
	ck_assert_uint_eq(ingest_position(w.p[0].ingest), 1000);
	check_settled(&w);
	close_world(&w);
}
END_TEST

START_TEST(idle_writes_at_once_busy_gathers)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	pass(&w, S);
	send_events(&w, 1);
	until_stored(&w, 1, 6000); /* the commit takes 5 ms */
	/* 20 in 200 ms: at most one batch every 20 ms. */
	int batches = w.db->batches;
	for (int i = 0; i < 20; i++) {
		send_events(&w, 1);
		pass(&w, 10000);
	}
	until_stored(&w, 21, S);
	ck_assert_int_le(w.db->batches - batches, 12);
	ck_assert_int_ge(w.db->batches - batches, 8);
	/* 500 a second: fewer and larger ones, one in 40 ms. */
	batches = w.db->batches;
	w.db->most = 0;
	for (int i = 0; i < 200; i++) {
		send_events(&w, 1);
		pass(&w, 2000);
	}
	until_stored(&w, 221, 60000);
	ck_assert_int_le(w.db->batches - batches, 12);
	ck_assert_int_ge(w.db->batches - batches, 9);
	ck_assert_int_ge(w.db->most, 18);
	/* 1,000 a second: one in 80 ms. */
	batches = w.db->batches;
	for (int i = 0; i < 400; i++) {
		send_events(&w, 1);
		pass(&w, 1000);
	}
	until_stored(&w, 621, 90000);
	ck_assert_int_le(w.db->batches - batches, 7);
	ck_assert_int_ge(w.db->most, 70);
	/* Full ones are not waited for; what comes slowly again is there soon again. */
	send_events(&w, 1000);
	until_stored(&w, 1621, S);
	ck_assert_int_eq(w.db->most, 100);
	pass(&w, S);
	send_events(&w, 1);
	until_stored(&w, 1622, 6000);
	send_events(&w, 1);
	until_stored(&w, 1623, 30000);
	close_world(&w);
}
END_TEST

START_TEST(crash_after_a_commit)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 250);
	/* The moment the second batch is committed, its process dies with more in its hands. */
	until_stored(&w, 200, S);
	crash(&w, 0);
	start(&w, 0, STORE_LEADING);
	until_stored(&w, 250, S);
	send_events(&w, 50);
	until_stored(&w, 300, S);
	check_all(&w);
	check_settled(&w);
	close_world(&w);
}
END_TEST

/* Kills the process at each point of the way in turn. */
START_TEST(crash_anywhere)
{
	for (int64_t at = 0; at < 60; at++) {
		struct world w;

		open_world(&w, (uint64_t)at);
		start(&w, 0, STORE_LEADING);
		send_events(&w, 300);
		pass(&w, at * 700);
		crash(&w, 0);
		start(&w, 0, STORE_LEADING);
		send_events(&w, 30);
		/* What the first one had in its hands is not waited for. */
		until_stored(&w, 330, S);
		check_all(&w);
		close_world(&w);
	}
}
END_TEST

START_TEST(the_database_fails_for_a_while)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	pass(&w, S);
	w.p[0].sink.fail = 6;
	send_events(&w, 500);
	pass(&w, 200000);
	ck_assert_uint_eq(w.db->n, 0);
	until_stored(&w, 500, 60 * S);
	check_all(&w);
	/* The commit went through, its answer did not. */
	w.p[0].sink.fail = 3;
	w.p[0].sink.fail_late = true;
	send_events(&w, 50);
	until_stored(&w, 550, 60 * S);
	pass(&w, 60 * S);
	check_all(&w);
	check_settled(&w);
	close_world(&w);
}
END_TEST

START_TEST(the_database_is_away_for_long)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 150);
	until_stored(&w, 150, S);
	w.p[0].sink.fail = 1;
	send_events(&w, 1);
	pass(&w, 7000);
	msink_stand(&w.p[0].sink, STORE_AWAY);
	send_events(&w, 2000);
	pass(&w, 300 * S);
	ck_assert_uint_eq(w.db->n, 150);
	msink_stand(&w.p[0].sink, STORE_LEADING);
	until_stored(&w, 2151, 10 * S);
	check_all(&w);
	check_settled(&w);
	close_world(&w);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct world w;
	struct strbuf text = {0};

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	pass(&w, S);
	w.p[0].sink.fail = 1000;
	send_events(&w, 3000);
	pass(&w, 60 * S);
	metrics_text(w.p[0].metrics, &text);
	const char *line = strstr(text.data, "\npenstock_store_held_messages ");
	ck_assert_ptr_nonnull(line);
	int held = atoi(line + strlen("\npenstock_store_held_messages "));
	ck_assert_int_ge(held, 100);
	ck_assert_int_le(held, 200); /* two batches */
	strbuf_done(&text);
	w.p[0].sink.fail = 0;
	until_stored(&w, 3000, 60 * S);
	check_all(&w);
	close_world(&w);
}
END_TEST

START_TEST(the_lead_moves)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	start(&w, 1, STORE_STANDBY);
	send_events(&w, 450);
	pass(&w, 23000);
	/* In the middle of it. Whoever loses the lead has no batch under way any more: the lock
	 * went with the connection. */
	w.p[0].sink.fail = 1;
	pass(&w, 6000);
	msink_stand(&w.p[0].sink, STORE_STANDBY);
	pass(&w, 10);
	msink_stand(&w.p[1].sink, STORE_LEADING);
	until_stored(&w, 450, 5 * S);
	send_events(&w, 10);
	until_stored(&w, 460, S);
	check_all(&w);
	ck_assert_uint_eq(ingest_position(w.p[0].ingest), 0);
	check_settled(&w);
	close_world(&w);
}
END_TEST

START_TEST(poison_goes_by)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 10);
	store_bytes(&w, "pen.evt.3.acme.room.1", "\xff\xff\xff", 3);
	store_bytes(&w, "pen.evt.3.acme.room.1", "", 0);
	send_events(&w, 10);
	until_stored(&w, 22, 5 * S);
	check_all(&w);
	for (size_t i = 0; i < 22; i++)
		ck_assert_int_eq(w.db->rows[i].poison, i == 10 || i == 11);
	check_settled(&w);
	close_world(&w);
}
END_TEST

START_TEST(faults_of_the_broker)
{
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct world w;
		struct fake_faults faults = {.redeliver = 0.2,
					     .lose_core = 0.1,
					     .duplicate_core = 0.1,
					     .delay_min_us = 10,
					     .delay_max_us = 30000};

		open_world(&w, seed);
		start(&w, 0, STORE_LEADING);
		fake_broker_faults(w.broker, &faults);
		for (int i = 0; i < 20; i++) {
			send_events(&w, 20);
			pass(&w, 50000);
			if (i == 10) {
				crash(&w, 0);
				start(&w, 0, STORE_LEADING);
			}
		}
		pass(&w, 100 * S);
		fake_broker_faults(w.broker, &(struct fake_faults){0});
		until_stored(&w, w.sent, 300 * S);
		ck_assert_uint_eq(w.db->n,
				  w.sent); /* publishes may overtake each other: no order of ids */
		close_world(&w);
	}
}
END_TEST

START_TEST(broker_down_and_up)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 300);
	pass(&w, 8000);
	fake_broker_set_up(w.broker, false);
	pass(&w, 40 * S);
	fake_broker_set_up(w.broker, true);
	ingest_recheck(w.p[0].ingest);
	until_stored(&w, 300, 100 * S);
	check_all(&w);
	close_world(&w);
}
END_TEST

/* What is lost on the way with nothing behind it is missed by nobody but the watch. */
START_TEST(the_last_one_is_lost_on_the_way)
{
	struct world w;
	struct strbuf text = {0};

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	pass(&w, S);
	fake_broker_faults(w.broker, &(struct fake_faults){.redeliver = 1});
	send_events(&w, 3);
	pass(&w, S);
	ck_assert_uint_eq(w.db->n, 0);
	fake_broker_faults(w.broker, &(struct fake_faults){0});
	until_stored(&w, 3, 30 * S);
	check_all(&w);
	metrics_text(w.p[0].metrics, &text);
	ck_assert_ptr_nonnull(strstr(text.data, "\npenstock_store_rereads_total 1\n"));
	strbuf_done(&text);
	check_settled(&w);
	close_world(&w);
}
END_TEST

START_TEST(a_stream_that_begins_later)
{
	struct world w;

	open_world(&w, 1);
	send_events(&w, 20);
	pass(&w, S);
	bus_stream_trim(w.client, STREAM_EVENTS, 11, on_done, &w);
	settle(&w);
	w.db->position = 10; /* what the rows below are is no matter here */
	start(&w, 0, STORE_LEADING);
	until_stored(&w, 20, S);
	ck_assert_uint_eq(w.db->n, 10);
	close_world(&w);
}
END_TEST

struct found {
	enum bus_result result;
	bool done;
};

static void on_found(void *arg, enum bus_result result)
{
	*(struct found *)arg = (struct found){result, true};
}

static void ignore(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	(void)arg;
	(void)msg;
	bus_claim_free(claim);
}

START_TEST(the_old_durable_consumer_is_removed)
{
	struct bus_consumer_conf conf = {.stream = STREAM_EVENTS, .durable = "store"};
	struct found found = {0};
	struct bus_consumer *old;
	struct error err;
	struct world w;

	open_world(&w, 1);
	old = bus_consumer_open(w.client, &conf, ignore, NULL, &err);
	pass(&w, S);
	bus_consumer_close(old);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 5);
	until_stored(&w, 5, S);
	pass(&w, S);
	bus_consumer_remove(w.client, STREAM_EVENTS, "store", on_found, &found);
	pass(&w, S);
	ck_assert(found.done);
	ck_assert_int_eq(found.result, BUS_NOT_FOUND);
	close_world(&w);
}
END_TEST

static void on_stopped(void *arg)
{
	((struct process *)arg)->stopped = true;
}

START_TEST(a_clean_stop_leaves_nothing_to_wait_for)
{
	struct world w;

	open_world(&w, 1);
	start(&w, 0, STORE_LEADING);
	send_events(&w, 450);
	pass(&w, 8000);
	ingest_stop(w.p[0].ingest, on_stopped, &w.p[0]);
	pass(&w, 10000);
	ck_assert(w.p[0].stopped);
	uint64_t position = w.db->position;
	ck_assert_uint_ge(position, 100);
	ck_assert_uint_lt(position, 450);
	crash(&w, 0);
	start(&w, 0, STORE_LEADING);
	until_stored(&w, 450, S);
	check_all(&w);
	close_world(&w);
}
END_TEST

/* A broker that lost its newest messages gives their sequences to others: nothing may be taken for
 * stored. */
START_TEST(a_stream_that_is_not_the_one)
{
	struct world w;

	open_world(&w, 1);
	send_events(&w, 20);
	pass(&w, S);
	w.db->position = 30;
	snprintf(w.db->position_id, sizeof(w.db->position_id), "%s", nth_id(12345).text);
	start(&w, 0, STORE_LEADING);
	pass(&w, 60 * S);
	ck_assert(ingest_broken(w.p[0].ingest));
	ck_assert(!ingest_anew(w.p[0].ingest));
	ck_assert_uint_eq(w.db->n, 0);
	/* And it is still so when the stream has grown past that. */
	send_events(&w, 20);
	pass(&w, 60 * S);
	ck_assert(ingest_broken(w.p[0].ingest));
	crash(&w, 0);
	/* The right one. */
	w.db->position = 30;
	snprintf(w.db->position_id, sizeof(w.db->position_id), "%s", nth_id(29).text);
	start(&w, 0, STORE_LEADING);
	until_stored(&w, 40, 10 * S);
	ck_assert(!ingest_broken(w.p[0].ingest));
	ck_assert_uint_eq(w.db->n, 10);
	crash(&w, 0);
	/* Made anew: another epoch. */
	w.epoch++;
	start(&w, 0, STORE_LEADING);
	pass(&w, S);
	ck_assert(ingest_anew(w.p[0].ingest));
	close_world(&w);
}
END_TEST

START_TEST(items)
{
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	struct id id = nth_id(1);
	uint8_t bytes[512];
	struct {
		const char *id, *tenant, *channel, *type, *data;
		uint32_t version;
		const char *reason; /* NULL: fine */
	} table[] = {
	    {id.text, "acme", "room.1", "chat", "{}", 1, NULL},
	    {id.text, "acme", "room.1", "chat", "", 1, NULL},
	    {"x", "acme", "room.1", "chat", "{}", 1, "the event id is no UUID"},
	    {id.text, "evil", "room.1", "chat", "{}", 1,
	     "its tenant or channel is not its subject's"},
	    {id.text, "acme", "room.2", "chat", "{}", 1,
	     "its tenant or channel is not its subject's"},
	    {id.text, "acme", "room.1", "chat", "{\"a\":\"\xff\"}", 1,
	     "the data is not UTF-8 text"},
	    {id.text, "acme", "room.1", "\xc3", "{}", 1, "a text is not UTF-8"},
	    {id.text, "acme", "room.1", "chat", "{}", 0x80000000,
	     "the version or the depth is too large"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct store_item item;
		e.id = (char *)table[i].id;
		e.tenant = (char *)table[i].tenant;
		e.channel = (char *)table[i].channel;
		e.type = (char *)table[i].type;
		e.version = table[i].version;
		e.data.data = (uint8_t *)table[i].data;
		e.data.len = strlen(table[i].data);
		struct bus_msg msg = {.subject = "pen.evt.3.acme.room.1",
				      .data = bytes,
				      .seq = 9,
				      .len = penstock__event__pack(&e, bytes)};
		store_item_init(&item, &msg);
		ck_assert_uint_eq(item.seq, 9);
		if (table[i].reason) {
			ck_assert_ptr_null(item.event);
			ck_assert_str_eq(item.reason, table[i].reason);
			ck_assert_uint_eq(item.len, msg.len);
			ck_assert_int_eq(memcmp(item.bytes, bytes, msg.len), 0);
		} else {
			ck_assert_ptr_nonnull(item.event);
		}
		store_item_done(&item);
	}
}
END_TEST

RUN_TESTS("ingest", everything_once_in_order, idle_writes_at_once_busy_gathers,
	  crash_after_a_commit, crash_anywhere, the_database_fails_for_a_while,
	  the_database_is_away_for_long, memory_is_bounded, the_lead_moves, poison_goes_by,
	  faults_of_the_broker, broker_down_and_up, the_last_one_is_lost_on_the_way,
	  a_stream_that_begins_later, the_old_durable_consumer_is_removed,
	  a_clean_stop_leaves_nothing_to_wait_for, a_stream_that_is_not_the_one, items)
