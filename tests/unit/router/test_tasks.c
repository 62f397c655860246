/* Tasks through a whole router: the pair of stores, repeats, a full queue, cancelling, windows and
 * backlogs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "proto/store.pb-c.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/router/hand.h"

static struct world w;

static void setup(void)
{
	world_init(&w);
	world_router(&w, 0);
}

static void teardown(void)
{
	world_done(&w);
}

/* --- submitting ------------------------------------------------------------------------------ */

START_TEST(submit)
{
	struct order o;
	order_task(&w, &o, "job-1", "{\"q\":[1,2]}");
	o.task.priority = 3;
	o.task.deadline_ms = 5000;
	struct answer a = world_ask(&w, &o);
	ck_assert(a.accepted && !a.duplicate);
	ck_assert_str_eq(a.task, id_derive("acme", "task", "job-1").text);
	char channel[CHANNEL_MAX + 1];
	task_channel(a.task, channel);
	ck_assert_str_eq(a.channel, channel);
	uint64_t seq;
	Penstock__Event *e = world_last(&w, channel, &seq);
	ck_assert_ptr_nonnull(e);
	ck_assert_uint_eq(seq, a.offset);
	ck_assert_str_eq(e->id, a.event_id);
	ck_assert_str_eq(e->type, "task.accepted");
	ck_assert_str_eq(e->key, "job-1");
	ck_assert_str_eq(e->command, o.id);
	struct error err;
	json_t *data = json_parse((char *)e->data.data, e->data.len, &err);
	ck_assert_ptr_nonnull(data);
	ck_assert_str_eq(json_string_value(json_object_get(data, "task")), a.task);
	ck_assert_str_eq(json_string_value(json_object_get(data, "pipeline")), "summary");
	ck_assert_int_eq(json_integer_value(json_object_get(data, "version")), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(data, "priority")), 3);
	ck_assert_int_eq(json_integer_value(json_object_get(data, "deadline_at")),
			 e->time_us / 1000 + 5000);
	ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(data, "input"), "q")), 2);
	json_decref(data);
	struct hand h;
	hand_open(&h, &w);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 1);
	ck_assert_str_eq(h.task[0], a.task);
	ck_assert_str_eq(h.input[0], "{\"q\":[1,2]}");
	hand_close(&h);
	penstock__event__free_unpacked(e, NULL);
}
END_TEST

/* It is accepted and in the log, and has no ticket: whoever asks again under its key, later too,
 * asks for the same. */
START_TEST(delayed)
{
	struct order o;
	int64_t at = loop_wall_us(w.loop) / 1000 + 3600000;
	char wanted[100];
	order_task(&w, &o, "job-1", "1");
	o.task.not_before_ms = at;
	o.task.deadline_ms = 5000;
	struct answer a = world_ask(&w, &o);
	ck_assert(a.accepted && !a.duplicate);
	Penstock__Event *e = world_last(&w, a.channel, NULL);
	snprintf(wanted, sizeof(wanted), "\"priority\":0,\"not_before\":%lld,\"deadline_at\":%lld}",
		 (long long)at, (long long)at + 5000);
	ck_assert_ptr_nonnull(memmem(e->data.data, e->data.len, wanted, strlen(wanted)));
	penstock__event__free_unpacked(e, NULL);
	struct hand h;
	hand_open(&h, &w);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 0);
	order_task(&w, &o, "job-1", "1");
	o.task.not_before_ms = at;
	struct answer b = world_ask(&w, &o);
	ck_assert(b.accepted && b.duplicate);
	ck_assert_uint_eq(b.offset, a.offset);
	order_task(&w, &o, "job-1", "1");
	o.task.not_before_ms = at + 1;
	ck_assert_str_eq(world_ask(&w, &o).code, "conflict");
	order_task(&w, &o, "job-1", "1");
	ck_assert_str_eq(world_ask(&w, &o).code, "conflict");
	ck_assert_int_eq(h.n, 0);
	hand_close(&h);
}
END_TEST

START_TEST(delayed_until_now)
{
	struct order o;
	int64_t now = loop_wall_us(w.loop) / 1000;
	order_task(&w, &o, "job-1", "1");
	o.task.not_before_ms = now - 1;
	struct answer a = world_ask(&w, &o);
	ck_assert(a.accepted);
	Penstock__Event *e = world_last(&w, a.channel, NULL);
	ck_assert_ptr_null(memmem(e->data.data, e->data.len, "not_before", 10));
	penstock__event__free_unpacked(e, NULL);
	struct hand h;
	hand_open(&h, &w);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 1);
	hand_close(&h);
	order_task(&w, &o, "job-2", "1");
	o.task.not_before_ms = now + w.conf.delay_max_ms + 60000;
	ck_assert_str_eq(world_ask(&w, &o).code, "bad_request");
}
END_TEST

START_TEST(no_deadline_no_key)
{
	struct answer a = world_task(&w, "", "1"), b = world_task(&w, "", "1");
	ck_assert(a.accepted && b.accepted && !b.duplicate);
	ck_assert_str_ne(a.task, b.task);
	Penstock__Event *e = world_last(&w, a.channel, NULL);
	ck_assert_ptr_null(memmem(e->data.data, e->data.len, "deadline_at", 11));
	ck_assert_str_ne(e->key, "");
	penstock__event__free_unpacked(e, NULL);
}
END_TEST

START_TEST(repeat)
{
	struct answer a = world_task(&w, "k", "1");
	for (int i = 0; i < 2; i++) {
		struct answer b = world_task(&w, "k", "1"), c = world_task(&w, "k", "2");
		ck_assert(b.accepted && b.duplicate);
		ck_assert_str_eq(b.task, a.task);
		ck_assert_str_eq(b.event_id, a.event_id);
		ck_assert_str_eq(b.channel, a.channel);
		ck_assert_uint_eq(b.offset, a.offset);
		ck_assert_str_eq(c.code, "conflict");
		/* The second round asks the stream. */
		recent_clear(w.router[0]->recent);
	}
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
}
END_TEST

START_TEST(repeat_after_the_end)
{
	struct answer a = world_task(&w, "k", "1");
	ck_assert_int_eq(world_transition(&w, a.task, "task.completed", a.offset), BUS_OK);
	recent_clear(w.router[0]->recent);
	struct answer b = world_task(&w, "k", "1");
	ck_assert(b.accepted && b.duplicate);
	ck_assert_uint_eq(b.offset, a.offset);
}
END_TEST

/* The stream has the task's last events alone; the broker still knows where the first one was. */
START_TEST(repeat_of_what_is_half_trimmed)
{
	struct answer a = world_task(&w, "k", "1");
	ck_assert_int_eq(world_transition(&w, a.task, "task.completed", a.offset), BUS_OK);
	world_trim(&w, a.offset + 1);
	recent_clear(w.router[0]->recent);
	struct answer b = world_task(&w, "k", "1");
	ck_assert(b.accepted && b.duplicate);
	ck_assert_uint_eq(b.offset, a.offset);
}
END_TEST

START_TEST(two_at_once_two_routers)
{
	world_router(&w, 1);
	world_faults(&w, (struct fake_faults){.delay_min_us = 100, .delay_max_us = 5000});
	for (int i = 0; i < 20; i++) {
		char key[16];
		struct order x, y;
		struct answer a, b;
		snprintf(key, sizeof(key), "race-%d", i);
		order_task(&w, &x, key, "1");
		order_task(&w, &y, key, i % 2 ? "1" : "2");
		world_send_to(&w, 0, &x, &a);
		world_send_to(&w, 1, &y, &b);
		world_until(&w, &a.came);
		world_until(&w, &b.came);
		if (i % 2) {
			ck_assert(a.accepted && b.accepted);
			ck_assert_int_eq(a.duplicate + b.duplicate, 1);
			ck_assert_str_eq(a.task, b.task);
		} else {
			ck_assert_int_eq(a.accepted + b.accepted, 1);
			ck_assert_str_eq(a.accepted ? b.code : a.code, "conflict");
		}
		ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), (uint64_t)i + 1);
	}
}
END_TEST

START_TEST(no_pipeline)
{
	struct order o;
	order_task(&w, &o, "k", "1");
	o.task.pipeline = (char *)"unheard";
	ck_assert_str_eq(world_ask(&w, &o).code, "not_found");
}
END_TEST

/* --- when the broker does not take it -------------------------------------------------------- */

START_TEST(queue_full)
{
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1);
	struct answer a = world_task(&w, "k", "1");
	ck_assert_str_eq(a.code, "overloaded");
	ck_assert(a.temporary);
	ck_assert_uint_gt(a.retry_after_ms, 0);
	/* The log has it already; a repeat is not told that it runs. */
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
	ck_assert_str_eq(world_task(&w, "k", "1").code, "overloaded");
	ck_assert_str_eq(world_task(&w, "k", "2").code, "conflict");
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1 << 20);
	/* Room again: the ticket follows without the client, */
	struct hand h;
	hand_open(&h, &w);
	world_run(&w, 10000000);
	ck_assert_int_eq(h.n, 1);
	ck_assert_int_gt(metric_get(w.router[0]->stats.ticket_retries), 0);
	/* and its repeat is answered. */
	ck_assert(world_task(&w, "k", "1").duplicate);
	ck_assert_uint_eq(router_inflight(w.router[0]), 0);
	hand_close(&h);
}
END_TEST

/* The router dies between the log and the queue: the client's repeat queues it. */
START_TEST(queue_full_and_crash)
{
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1);
	ck_assert_str_eq(world_task(&w, "k", "1").code, "overloaded");
	world_crash(&w, 0);
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1 << 20);
	world_router(&w, 0);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 0);
	struct answer a = world_task(&w, "k", "1");
	ck_assert(a.accepted && a.duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
}
END_TEST

/* The queue took it, the log did not: the worker will write the event; the client comes back. */
START_TEST(log_full)
{
	world_bound(&w, STREAM_EVENTS, "pen.evt.>", false, 1);
	ck_assert_str_eq(world_task(&w, "k", "1").code, "overloaded");
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
	world_bound(&w, STREAM_EVENTS, "pen.evt.>", false, 1 << 20);
	struct answer a = world_task(&w, "k", "1");
	ck_assert(a.accepted && !a.duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
}
END_TEST

START_TEST(lost_acknowledgements)
{
	world_faults(&w, (struct fake_faults){.lose_ack = 1});
	struct answer a = world_task(&w, "k", "1");
	ck_assert_str_eq(a.code, "unavailable");
	world_faults(&w, (struct fake_faults){0});
	a = world_task(&w, "k", "1");
	ck_assert(a.accepted && a.duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
}
END_TEST

START_TEST(faults)
{
	enum { KEYS = 40 };
	world_router(&w, 1);
	world_faults(&w, (struct fake_faults){.lose_core = 0.05,
					      .duplicate_core = 0.05,
					      .lose_ack = 0.1,
					      .lose_store = 0.1,
					      .delay_min_us = 50,
					      .delay_max_us = 3000});
	for (int k = 0; k < KEYS; k++) {
		char key[16];
		bool accepted = false;
		snprintf(key, sizeof(key), "key-%d", k);
		for (int tries = 0; !accepted; tries++) {
			ck_assert_int_lt(tries, 50);
			accepted = world_task(&w, key, "1").accepted;
		}
	}
	world_faults(&w, (struct fake_faults){0});
	world_run(&w, 30000000);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), KEYS);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS) + world_count(&w, STREAM_BACKLOG), KEYS);
	ck_assert_uint_eq(router_inflight(w.router[0]) + router_inflight(w.router[1]), 0);
}
END_TEST

/* --- cancelling ------------------------------------------------------------------------------ */

struct told {
	int n;
	char task[64];
};

static void hear_cancel(void *arg, const struct bus_msg *msg)
{
	struct told *t = arg;
	Penstock__TaskCancel *m = penstock__task_cancel__unpack(NULL, msg->len, msg->data);
	ck_assert_str_eq(m->tenant, "acme");
	strcpy(t->task, m->task);
	t->n++;
	penstock__task_cancel__free_unpacked(m, NULL);
}

START_TEST(cancel)
{
	struct told told = {0};
	struct error err;
	struct bus_sub *sub =
	    bus_subscribe(w.client, SUBJECT_CANCEL, NULL, hear_cancel, &told, &err);
	struct answer a = world_task(&w, "k", "1");
	struct order o;
	order_cancel(&w, &o, a.task);
	o.cmd.principal = (char *)"Zo\xc3\xab \"Z\"";
	struct answer c = world_ask(&w, &o);
	ck_assert(c.accepted && !c.duplicate);
	ck_assert_str_eq(c.task, a.task);
	ck_assert_str_eq(c.channel, a.channel);
	ck_assert_uint_gt(c.offset, a.offset);
	Penstock__Event *e = world_last(&w, a.channel, NULL);
	ck_assert_str_eq(e->type, "task.cancelled");
	ck_assert_str_eq(e->id, c.event_id);
	json_t *data = json_parse((char *)e->data.data, e->data.len, &err);
	ck_assert_str_eq(json_string_value(json_object_get(data, "task")), a.task);
	ck_assert_str_eq(json_string_value(json_object_get(data, "by")), "Zo\xc3\xab \"Z\"");
	json_decref(data);
	penstock__event__free_unpacked(e, NULL);
	world_run(&w, 100000);
	ck_assert_int_eq(told.n, 1);
	ck_assert_str_eq(told.task, a.task);
	/* Again: the same answer, as a repeat; by the very same command: not even that. */
	struct answer d = world_cancel(&w, a.task);
	ck_assert(d.accepted && d.duplicate);
	ck_assert_uint_eq(d.offset, c.offset);
	ck_assert(!world_ask(&w, &o).duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 2);
	bus_unsubscribe(sub);
}
END_TEST

START_TEST(cancel_too_late)
{
	struct answer a = world_task(&w, "k", "1");
	ck_assert_int_eq(world_transition(&w, a.task, "task.completed", a.offset), BUS_OK);
	struct answer c = world_cancel(&w, a.task);
	ck_assert(c.accepted && c.duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 2);
}
END_TEST

/* As the event-store; "": it has no such task. */
static void on_store(void *arg, const struct bus_msg *msg)
{
	const char *row = arg;
	uint8_t buf[256];
	struct error err;
	Penstock__JsonReply reply = PENSTOCK__JSON_REPLY__INIT;
	Penstock__TaskRequest *ask = penstock__task_request__unpack(NULL, msg->len, msg->data);
	ck_assert_str_eq(ask->tenant, "acme");
	ck_assert(id_valid(ask->task));
	penstock__task_request__free_unpacked(ask, NULL);
	if (*row)
		reply.json = (ProtobufCBinaryData){strlen(row), (uint8_t *)row};
	else
		reply.error = (char *)"not_found";
	size_t len = penstock__json_reply__pack(&reply, buf);
	ck_assert_int_eq(bus_publish(w.client, msg->reply, buf, len, &err), 0);
}

static struct bus_sub *store_says(const char *row)
{
	struct error err;
	struct bus_sub *sub =
	    bus_subscribe(w.client, SUBJECT_STORE_TASK, "store", on_store, (void *)row, &err);
	ck_assert_ptr_nonnull(sub);
	return sub;
}

START_TEST(cancel_nothing)
{
	struct id task = id_derive("acme", "task", "never");
	ck_assert_str_eq(world_cancel(&w, "../x").code, "bad_request");
	/* Nobody says that there is none. */
	ck_assert_str_eq(world_cancel(&w, task.text).code, "unavailable");
	store_says("");
	struct answer c = world_cancel(&w, task.text);
	ck_assert_str_eq(c.code, "not_found");
	ck_assert(!c.temporary);
}
END_TEST

/* It has waited for so long that the stream has nothing of it. */
START_TEST(cancel_of_what_was_trimmed)
{
	struct answer a = world_task(&w, "k", "1"), b = world_task(&w, "k2", "1");
	world_trim(&w, b.offset + 1);
	struct bus_sub *sub = store_says("{\"state\":\"parked\",\"offset\":1}");
	struct answer c = world_cancel(&w, a.task);
	ck_assert_msg(c.accepted && !c.duplicate, "%s", c.code);
	Penstock__Event *e = world_last(&w, a.channel, NULL);
	ck_assert_str_eq(e->type, "task.cancelled");
	penstock__event__free_unpacked(e, NULL);
	c = world_cancel(&w, a.task);
	ck_assert(c.accepted && c.duplicate);
	bus_unsubscribe(sub);
	store_says("{\"state\":\"completed\",\"offset\":7}");
	c = world_cancel(&w, b.task);
	ck_assert(c.accepted && c.duplicate);
	ck_assert_uint_eq(c.offset, 7);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
}
END_TEST

/* Against a worker that writes at every possible moment, a step or the end: one of them is last,
 * and a task ends once. */
static void cancel_against(const char *type, int us)
{
	char key[48];
	struct order o;
	struct answer c;
	snprintf(key, sizeof(key), "%s-%d", type, us);
	bool ends = strcmp(type, "task.completed") == 0;
	struct answer a = world_task(&w, key, "1");
	order_cancel(&w, &o, a.task);
	world_send(&w, &o, &c);
	world_run(&w, us);
	enum bus_result step = world_transition(&w, a.task, type, a.offset);
	world_until(&w, &c.came);
	ck_assert(step == BUS_OK || step == BUS_CONFLICT);
	ck_assert_msg(c.accepted, "%s", c.code);
	bool late = ends && step == BUS_OK;
	ck_assert_int_eq(c.duplicate, late);
	uint64_t seq;
	Penstock__Event *e = world_last(&w, a.channel, &seq);
	ck_assert_str_eq(e->type, late ? "task.completed" : "task.cancelled");
	ck_assert_uint_eq(seq, c.offset);
	ck_assert_uint_eq(seq, a.offset + 1 + (step == BUS_OK && !late));
	penstock__event__free_unpacked(e, NULL);
}

START_TEST(cancel_races)
{
	world_faults(&w, (struct fake_faults){.delay_min_us = 200, .delay_max_us = 600});
	for (int us = 0; us < 4000; us += 50) {
		cancel_against("task.started", us);
		cancel_against("task.completed", us);
	}
}
END_TEST

START_TEST(cancel_with_lost_acknowledgements)
{
	struct answer a = world_task(&w, "k", "1");
	world_faults(&w, (struct fake_faults){.lose_ack = 1});
	struct answer c = world_cancel(&w, a.task);
	/* The write was not acknowledged, but the log shows it as ours. */
	ck_assert(c.accepted && !c.duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 2);
}
END_TEST

/* --- windows --------------------------------------------------------------------------------- */

static void submit_many(int from, int n)
{
	for (int i = from; i < from + n; i++) {
		char key[16], input[16];
		snprintf(key, sizeof(key), "key-%d", i);
		snprintf(input, sizeof(input), "%d", i);
		struct answer a = world_task(&w, key, input);
		ck_assert_msg(a.accepted, "%d: %s", i, a.code);
	}
}

static void in_order(const struct hand *h, int n)
{
	ck_assert_int_eq(h->n, n);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(atoi(h->input[i]), i);
}

START_TEST(backlog_in_order)
{
	struct hand h;
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":2,"
			 "\"tasks_queued\":8");
	submit_many(0, 10);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 2);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 8);
	struct answer a = world_task(&w, "one-too-many", "1");
	ck_assert_str_eq(a.code, "rate_limited");
	ck_assert_str_eq(a.limit, "tenant.tasks_queued");
	ck_assert_uint_gt(a.retry_after_ms, 0);
	/* A repeat of one that waits is no new one. */
	ck_assert(world_task(&w, "key-9", "9").duplicate);
	hand_open(&h, &w);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 2);
	ck_assert_int_eq(metric_get(w.router[0]->stats.window[ROUTER_INTERACTIVE]), 2);
	ck_assert_int_eq(metric_get(w.router[0]->stats.backlog[ROUTER_INTERACTIVE]), 8);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_gt(h.n, i);
		hand_end(&h, i, true);
		/* Well before the next look at the counts: the end itself lets the next one in. */
		world_run(&w, 50000);
		in_order(&h, i + 3 < 10 ? i + 3 : 10);
	}
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 0);
	world_run(&w, 3000000);
	ck_assert_ptr_null(
	    router_tenant_find(w.router[0], "acme")->queues[ROUTER_INTERACTIVE].backlog);
	/* Who has no tasks is not looked at again and again. */
	ck_assert_ptr_null(w.router[0]->busy);
	ck_assert_int_eq(metric_get(w.router[0]->stats.window[ROUTER_INTERACTIVE]), 0);
	ck_assert_int_eq(metric_get(w.router[0]->stats.backlog[ROUTER_INTERACTIVE]), 0);
	/* Nothing waits any more: straight to the queue again. */
	ck_assert(world_task(&w, "new", "10").accepted);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 0);
	world_run(&w, 250000);
	in_order(&h, 11);
	ck_assert_ptr_nonnull(w.router[0]->busy);
	ck_assert_int_eq(metric_get(w.router[0]->stats.window[ROUTER_INTERACTIVE]), 1);
	hand_close(&h);
}
END_TEST

START_TEST(lost_ends_are_found)
{
	struct hand h;
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":2");
	submit_many(0, 6);
	hand_open(&h, &w);
	world_run(&w, 100000);
	for (int i = 0; i < 6; i++) {
		hand_end(&h, i, false); /* nobody tells the router */
		world_run(&w, 3000000);
	}
	in_order(&h, 6);
	hand_close(&h);
}
END_TEST

START_TEST(shadow_queues_all)
{
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":1,"
			 "\"tasks_queued\":1,\"mode\":\"shadow\"");
	submit_many(0, 5);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 4);
	ck_assert_int_eq(metric_get(w.router[0]->stats.limited[0][LIMIT_SHADOW]), 3);
}
END_TEST

/* A parked task comes back through the window like any other, once however often it is asked for,
 * and past the broker's memory of its first ticket. */
START_TEST(release_through_the_window)
{
	struct hand h;
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":1,"
			 "\"tasks_queued\":2");
	submit_many(0, 1);
	hand_open(&h, &w);
	world_run(&w, 100000);
	hand_end(&h, 0, true); /* it was parked */
	submit_many(1, 1);
	struct answer a = world_release(&w, h.task[0], 7), b = world_release(&w, h.task[0], 7);
	ck_assert(a.accepted && !a.duplicate);
	ck_assert(b.accepted && b.duplicate);
	ck_assert_str_eq(a.task, h.task[0]);
	ck_assert_uint_eq(a.offset, 7);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 1);
	ck_assert(world_release(&w, id_derive("acme", "task", "x").text, 8).accepted);
	struct answer full = world_release(&w, id_derive("acme", "task", "y").text, 9);
	ck_assert_str_eq(full.code, "rate_limited");
	ck_assert_str_eq(full.limit, "tenant.tasks_queued");
	ck_assert(full.temporary && full.retry_after_ms > 0);
	world_run(&w, 100000);
	hand_end(&h, 1, true);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 3);
	ck_assert_str_eq(h.task[2], h.task[0]);
	ck_assert_str_eq(h.input[2], "1");
	hand_close(&h);
}
END_TEST

START_TEST(release_counts_against_limits)
{
	world_tenant(&w, "\"events_per_s\":1,\"burst\":1");
	struct id task = id_derive("acme", "task", "x");
	ck_assert(world_release(&w, task.text, 7).accepted);
	struct answer no = world_release(&w, task.text, 8);
	ck_assert_str_eq(no.code, "rate_limited");
	ck_assert_str_eq(no.limit, "tenant.events_per_s");
}
END_TEST

START_TEST(release_of_nonsense)
{
	struct order o;
	struct id task = id_derive("acme", "task", "x");
	order_release(&w, &o, task.text, 0);
	ck_assert_str_eq(world_ask(&w, &o).code, "bad_request");
	order_release(&w, &o, "../x", 7);
	ck_assert_str_eq(world_ask(&w, &o).code, "bad_request");
	order_release(&w, &o, task.text, 7);
	o.accepted.tenant = (char *)"other";
	ck_assert_str_eq(world_ask(&w, &o).code, "bad_request");
	order_release(&w, &o, task.text, 7);
	o.release.accepted = NULL;
	ck_assert_str_eq(world_ask(&w, &o).code, "bad_request");
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 0);
}
END_TEST

/* Tasks of the batch pool, by their priority or their pipeline, have a queue and a backlog of their
 * own: those that somebody waits for do not stand behind them. tasks_running and tasks_queued are
 * the tenant's, in whatever pool. */
START_TEST(batch_apart)
{
	struct hand h;
	struct order o;
	char key[16];
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":3,"
			 "\"tasks_queued\":5");
	world_put(&w, "pipeline.nightly.1",
		  "{\"name\":\"nightly\",\"version\":1,\"pool\":\"batch\","
		  "\"stages\":[{\"id\":\"a\",\"kind\":\"transform\"}]}");
	for (int i = 0; i < 7; i++) {
		snprintf(key, sizeof(key), "b-%d", i);
		order_task(&w, &o, key, "1");
		o.task.priority = i == 0 ? 0 : -1;
		if (i == 0)
			o.task.pipeline = (char *)"nightly";
		ck_assert(world_ask(&w, &o).accepted);
	}
	struct router_tenant *t = router_tenant_find(w.router[0], "acme");
	ck_assert_int_eq(t->queues[ROUTER_BATCH].window.ready, 3);
	ck_assert_int_eq(t->queues[ROUTER_BATCH].window.waiting, 4);
	/* tasks_running is used up by the others: it waits, in front of a backlog of its own. */
	ck_assert(world_task(&w, "key-0", "0").accepted);
	ck_assert_int_eq(t->queues[ROUTER_INTERACTIVE].window.waiting, 1);
	ck_assert_str_eq(world_task(&w, "full", "1").limit, "tenant.tasks_queued");
	hand_open(&h, &w);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 0);
	Penstock__TaskEnd end = PENSTOCK__TASK_END__INIT;
	uint8_t buf[256];
	struct error err;
	end.tenant = (char *)"acme";
	end.pool = (char *)POOL_BATCH;
	size_t len = penstock__task_end__pack(&end, buf);
	ck_assert_int_eq(bus_publish(w.client, subject_end(w.part).text, buf, len, &err), 0);
	world_run(&w, 100000);
	ck_assert_int_le(
	    t->queues[ROUTER_BATCH].window.ready + t->queues[ROUTER_INTERACTIVE].window.ready, 3);
	ck_assert_int_eq(window_queued(&t->queues[ROUTER_BATCH].window) +
			     window_queued(&t->queues[ROUTER_INTERACTIVE].window),
			 4);
	hand_close(&h);
}
END_TEST

/* Large tasks use up the window by their tokens, not by their number. */
START_TEST(tokens_count)
{
	struct hand h;
	struct order o;
	char key[16];
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":1000");
	world_put(&w, "pipeline.essay.1",
		  "{\"name\":\"essay\",\"version\":1,\"stages\":[{\"id\":\"a\",\"kind\":"
		  "\"chat\",\"model\":\"m\",\"max_tokens\":1048576}]}");
	for (int i = 0; i < 6; i++) {
		snprintf(key, sizeof(key), "e-%d", i);
		order_task(&w, &o, key, "1");
		o.task.pipeline = (char *)"essay";
		ck_assert(world_ask(&w, &o).accepted);
	}
	/* 2 * 256 places of 8,192 tokens hold four of them. */
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 4);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 2);
	hand_open(&h, &w);
	world_run(&w, 1000000);
	ck_assert_int_eq(h.n, 4);
	ck_assert_uint_eq(h.tokens[0], 1048576);
	hand_end(&h, 0, true);
	world_run(&w, 100000);
	ck_assert_int_eq(h.n, 5);
	hand_end(&h, 1, true);
	world_run(&w, 100000);
	ck_assert_int_eq(h.n, 6);
	hand_close(&h);
}
END_TEST

static struct answer redrive(const char *task, uint64_t seq)
{
	struct order o;
	order_redrive(&w, &o, task, seq);
	return world_ask(&w, &o);
}

/* One event behind the terminal one, however often and by whomever it is asked for. */
START_TEST(redrive_once)
{
	struct answer a = world_task(&w, "k", "1");
	ck_assert_int_eq(world_transition(&w, a.task, "task.failed", a.offset), BUS_OK);
	struct answer b = redrive(a.task, a.offset + 1);
	ck_assert_msg(b.accepted && !b.duplicate, "%s", b.code);
	ck_assert_uint_eq(b.offset, a.offset + 2);
	uint64_t seq;
	Penstock__Event *e = world_last(&w, a.channel, &seq);
	ck_assert_uint_eq(seq, b.offset);
	ck_assert_str_eq(e->type, "task.redriven");
	ck_assert_str_eq(e->id, b.event_id);
	struct error err;
	json_t *data = json_parse((char *)e->data.data, e->data.len, &err);
	ck_assert_str_eq(json_string_value(json_object_get(data, "task")), a.task);
	ck_assert_str_eq(json_string_value(json_object_get(data, "by")), "op \"x\"");
	ck_assert_int_eq(json_integer_value(json_object_get(data, "redrive_gen")), 1);
	json_decref(data);
	penstock__event__free_unpacked(e, NULL);
	struct answer c = redrive(a.task, a.offset + 1);
	ck_assert(c.accepted && c.duplicate);
	ck_assert_uint_eq(c.offset, b.offset);
	/* Another router, and beyond the broker's memory of ids, when the task has moved
	 * on. */
	ck_assert_int_eq(world_transition(&w, a.task, "task.started", b.offset), BUS_OK);
	world_crash(&w, 0);
	world_run(&w, 700000000);
	world_router(&w, 1);
	world_run(&w, 6000000);
	struct answer d = redrive(a.task, a.offset + 1);
	ck_assert_msg(d.accepted && d.duplicate, "%s", d.code);
	ck_assert_uint_eq(d.offset, b.offset);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 4);
}
END_TEST

START_TEST(redrive_of_what_is_none)
{
	struct answer a = world_task(&w, "k", "1");
	ck_assert_int_eq(world_transition(&w, a.task, "task.started", a.offset), BUS_OK);
	ck_assert_str_eq(redrive(a.task, a.offset).code, "conflict");
	ck_assert_str_eq(redrive("../x", 1).code, "bad_request");
	ck_assert_str_eq(redrive(a.task, 0).code, "bad_request");
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 2);
}
END_TEST

/* The stream has nothing of it any more: then its first event there is this one. */
START_TEST(redrive_of_what_was_trimmed)
{
	struct answer a = world_task(&w, "k", "1");
	ck_assert_int_eq(world_transition(&w, a.task, "task.failed", a.offset), BUS_OK);
	world_trim(&w, a.offset + 2);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 0);
	struct answer b = redrive(a.task, a.offset + 1);
	ck_assert_msg(b.accepted && !b.duplicate, "%s", b.code);
	ck_assert_uint_eq(b.offset, a.offset + 2);
	ck_assert(redrive(a.task, a.offset + 1).duplicate);
	ck_assert_uint_eq(world_count(&w, STREAM_EVENTS), 1);
}
END_TEST

/* A router dies with a backlog: the next one reads the counts and goes on, in order. */
START_TEST(backlog_survives)
{
	struct hand h;
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":2");
	submit_many(0, 6);
	world_crash(&w, 0);
	world_router(&w, 1);
	world_run(&w, 6000000);
	/* The old one is forgotten, all is owned. */
	ck_assert_uint_eq(router_parts_owned(w.router[1]), w.conf.parts);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 2);
	submit_many(6, 2);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 2);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 6);
	hand_open(&h, &w);
	world_run(&w, 100000);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_gt(h.n, i);
		hand_end(&h, i, true);
		world_run(&w, 100000);
	}
	in_order(&h, 8);
	hand_close(&h);
}
END_TEST

START_TEST(full_queue_holds_the_backlog)
{
	struct hand h;
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":1");
	submit_many(0, 3);
	hand_open(&h, &w);
	world_run(&w, 100000);
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1);
	hand_end(&h, 0, true);
	world_run(&w, 5000000);
	ck_assert_int_eq(h.n, 1);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 2);
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 1 << 20);
	world_run(&w, 5000000);
	hand_end(&h, 1, true);
	world_run(&w, 5000000);
	in_order(&h, 3);
	hand_close(&h);
}
END_TEST

/* Whatever lies in the backlog that is no ticket is dropped, and what is behind it moves
 * on. */
static void stored(void *arg, const struct bus_ack *ack)
{
	ck_assert_int_eq(ack->result, BUS_OK);
	*(bool *)arg = true;
}

START_TEST(bad_ticket)
{
	struct hand h;
	bool done = false;
	struct subject s = subject_wait(w.part, "acme", POOL_DEFAULT);
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 1000};
	bus_store(w.client, s.text, &opts, "\xff\xff", 2, stored, &done);
	world_until(&w, &done);
	world_run(&w, 3000000);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 0);
	ck_assert_int_eq(metric_get(w.router[0]->stats.bad_tickets), 1);
	submit_many(0, 1);
	hand_open(&h, &w);
	world_run(&w, 3000000);
	in_order(&h, 1);
	hand_close(&h);
}
END_TEST

static void put_at(const char *subject, const void *data, size_t len)
{
	bool done = false;
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 1000};
	bus_store(w.client, subject, &opts, data, len, stored, &done);
	world_until(&w, &done);
}

/* A ticket as the router itself makes it, taken out of the queue. */
static size_t copy_ticket(uint8_t *out, size_t cap, char task[64])
{
	struct hand h;
	submit_many(0, 1);
	hand_open(&h, &w);
	world_run(&w, 100000);
	ck_assert_int_eq(h.n, 1);
	strcpy(task, h.task[0]);
	Penstock__Event accepted = PENSTOCK__EVENT__INIT;
	Penstock__Ticket t = PENSTOCK__TICKET__INIT;
	accepted.data.data = (uint8_t *)"{\"input\":\"stray\"}";
	accepted.data.len = strlen((char *)accepted.data.data);
	t.task = task;
	t.tenant = (char *)"acme";
	t.pool = (char *)POOL_DEFAULT;
	t.accepted = &accepted;
	ck_assert_uint_le(penstock__ticket__get_packed_size(&t), cap);
	hand_end(&h, 0, true);
	hand_close(&h);
	return penstock__ticket__pack(&t, out);
}

/* Under a subject that no tenant's consumer reads: a ticket goes to its tenant's, rubbish
 * goes, and neither counts as the tenant's backlog. */
START_TEST(strays)
{
	struct hand h;
	char task[64];
	uint8_t ticket[512];
	size_t len = copy_ticket(ticket, sizeof(ticket), task);
	struct subject wrong = subject_wait((w.part + 1) % w.conf.parts, "acme", POOL_DEFAULT);
	put_at(wrong.text, ticket, len);
	put_at(wrong.text, "\xff\xff", 2);
	put_at("pen.wait.acme", ticket, len);
	put_at("pen.wait.1.a.b.c", "x", 1);
	put_at("pen.wait.99999.nobody", "", 0);
	hand_open(&h, &w);
	world_run(&w, 30000000);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 0);
	ck_assert_int_eq(metric_get(w.router[0]->stats.bad_tickets), 3);
	ck_assert_int_eq(metric_get(w.router[0]->stats.strays), 2);
	ck_assert_ptr_null(w.router[0]->stray.consumer);
	/* Two tickets of one task that had run already: the queue knows it by its id. */
	ck_assert_int_eq(h.n, 0);
	struct router_tenant *t = router_tenant_find(w.router[0], "acme");
	for (int p = 0; t && p < ROUTER_POOLS; p++)
		ck_assert(t->queues[p].window.waiting == 0 && !t->queues[p].backlog);
	hand_close(&h);
}
END_TEST

/* The task of a ticket that was never anywhere else runs. */
START_TEST(a_stray_task_runs)
{
	struct hand h;
	char task[64];
	uint8_t ticket[512];
	size_t len = copy_ticket(ticket, sizeof(ticket), task);
	struct id other = id_derive("acme", "task", "another");
	for (size_t i = 0; i + ID_LEN <= len; i++)
		if (memcmp(ticket + i, task, ID_LEN) == 0)
			memcpy(ticket + i, other.text, ID_LEN);
	put_at(subject_wait((w.part + 3) % w.conf.parts, "acme", POOL_DEFAULT).text, ticket, len);
	hand_open(&h, &w);
	world_run(&w, 10000000);
	ck_assert_int_eq(h.n, 1);
	ck_assert_str_eq(h.task[0], other.text);
	ck_assert_str_eq(h.input[0], "\"stray\"");
	hand_close(&h);
}
END_TEST

RUN_TESTS_WITH("router: tasks", setup, teardown, submit, delayed, delayed_until_now,
	       no_deadline_no_key, repeat, repeat_after_the_end, repeat_of_what_is_half_trimmed,
	       two_at_once_two_routers, no_pipeline, queue_full, queue_full_and_crash, log_full,
	       lost_acknowledgements, faults, cancel, cancel_too_late, cancel_nothing,
	       cancel_of_what_was_trimmed, cancel_races, cancel_with_lost_acknowledgements,
	       backlog_in_order, lost_ends_are_found, shadow_queues_all, release_through_the_window,
	       release_counts_against_limits, release_of_nonsense, batch_apart, tokens_count,
	       redrive_once, redrive_of_what_is_none, redrive_of_what_was_trimmed, backlog_survives,
	       full_queue_holds_the_backlog, bad_ticket, strays, a_stray_task_runs)
