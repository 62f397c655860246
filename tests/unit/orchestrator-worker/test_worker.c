/* The worker's shell on a fake broker: the life of a task, with crashes, repeats, cancels and a
 * clean stop. */
#include <string.h>

#include "common/names.h"
#include "proto/store.pb-c.h"
#include "proto/task.pb-c.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/orchestrator-worker/cluster.h"

#define STEPS                                                                                      \
	"[{'id':'a','kind':'transform','input':'.'},"                                              \
	"{'id':'b','kind':'transform','needs':['a'],'input':'.stages.a'}]"
#define CHAT "[{'id':'a','kind':'chat','model':'m'}]"

static struct cluster c;

static void setup(void)
{
	cluster_init(&c);
	cluster_pipeline(&c, "steps", STEPS);
	cluster_pipeline(&c, "chat", CHAT);
}

static void teardown(void)
{
	cluster_done(&c);
}

START_TEST(straight)
{
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "steps", true);
	cluster_until(&c, 1, "completed");
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started stage.completed "
					       "stage.started stage.completed completed");
	ck_assert_ptr_nonnull(strstr(cluster_data(&c, 1), "\"output\":\".stages.a\""));
	ck_assert_uint_eq(cluster_tickets(&c), 0);
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_uint_eq(worker_running(c.nodes[0].worker), 0);
	ck_assert_int_eq(metric_get(c.stats.tasks[RESULT_COMPLETED]), 1);
	ck_assert_int_eq(metric_get(c.stats.transitions), 6);
}
END_TEST

START_TEST(ticket_without_event)
{
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "steps", false);
	cluster_until(&c, 1, "completed");
	ck_assert_int_eq(strncmp(cluster_types(&c, 1), "accepted started", 16), 0);
}
END_TEST

START_TEST(many_at_once)
{
	c.slots = 50;
	cluster_worker(&c, 0, "w1");
	for (unsigned n = 1; n <= 200; n++)
		cluster_submit(&c, n, "chat", true);
	for (unsigned n = 1; n <= 200; n++)
		cluster_until(&c, n, "completed");
	ck_assert_uint_le(c.most_running, 50);
	ck_assert_uint_eq(c.calls, 200);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
}
END_TEST

/* Slots bound what runs; one is left for another tenant (turns.h). The rest is held, as far as
 * there is room. */
START_TEST(slots)
{
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	for (unsigned n = 1; n <= 45; n++)
		cluster_submit(&c, n, "chat", true);
	cluster_run(&c, 5000);
	ck_assert_uint_eq(worker_running(c.nodes[0].worker), 9);
	ck_assert_uint_eq(c.calls, 9);
	ck_assert_int_eq(metric_get(c.stats.slots_used), 9);
	ck_assert_int_eq(metric_get(c.stats.tickets_waiting), 21);
	cluster_run(&c, 25000); /* past two heartbeats */
	ck_assert_uint_eq(c.calls, 9);
	ck_assert_int_eq(metric_get(c.stats.tickets_waiting), 21);
}
END_TEST

START_TEST(crash_and_take_over)
{
	c.call_us = -1;
	cluster_pipeline(&c, "two",
			 "[{'id':'a','kind':'transform','input':'.'},"
			 "{'id':'b','kind':'chat','model':'m','needs':['a']}]");
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "two", true);
	cluster_run(&c, 1000);
	ck_assert_uint_eq(c.calls, 1);
	cluster_crash(&c, 0);
	c.call_us = 1000;
	cluster_worker(&c, 1, "w2");
	cluster_until(&c, 1, "completed");
	ck_assert_str_eq(cluster_types(&c, 1),
			 "accepted started stage.started stage.completed stage.started started "
			 "stage.started stage.completed completed");
	ck_assert_uint_eq(c.calls, 2);
	ck_assert_uint_eq(c.resets, 1); /* the second attempt voids the first one's text */
	ck_assert_uint_eq(cluster_tickets(&c), 0);
}
END_TEST

/* A worker that was cut off long enough comes back: its late write is refused, unless its heartbeat
 * has told it before, and the claim of the other stays. */
START_TEST(partitioned_and_fenced)
{
	c.call_us = 60000000;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	bus_fake_partition(c.nodes[0].bus, true);
	cluster_run(&c, 20000);
	c.call_us = 80000000;
	cluster_worker(&c, 1, "w2");
	cluster_run(&c, 25000); /* ack_wait is over: w2 has it */
	ck_assert_uint_eq(c.calls, 2);
	bus_fake_partition(c.nodes[0].bus, false);
	cluster_until(&c, 1, "completed");
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started started "
					       "stage.started stage.completed completed");
	ck_assert_ptr_nonnull(strstr(cluster_data(&c, 1), "\"output\":\"called\""));
	ck_assert_uint_eq(worker_running(c.nodes[0].worker), 0);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
	ck_assert_int_ge(metric_get(c.stats.fenced) + c.cancelled, 1);
}
END_TEST

/* Long calls keep their claim. */
START_TEST(progress)
{
	c.call_us = INT64_C(100000000);
	cluster_worker(&c, 0, "w1");
	cluster_worker(&c, 1, "w2");
	cluster_submit(&c, 1, "chat", true);
	cluster_until(&c, 1, "completed");
	ck_assert_uint_eq(c.calls, 1);
}
END_TEST

START_TEST(second_ticket)
{
	c.call_us = 5000000;
	cluster_worker(&c, 0, "w1");
	cluster_worker(&c, 1, "w2");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	for (int i = 0; i < 6; i++) /* some to each */
		cluster_ticket(&c, 1, "chat");
	cluster_run(&c, 1000);
	ck_assert_uint_eq(cluster_tickets(&c), 1);
	cluster_until(&c, 1, "completed");
	cluster_ticket(&c, 1, "chat"); /* when all is over */
	cluster_run(&c, 1000);
	ck_assert_uint_eq(c.calls, 1);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
	ck_assert_int_eq(metric_get(c.stats.tasks[RESULT_REPEAT]), 6);
}
END_TEST

static void cancel_task(const char *task)
{
	Penstock__TaskCancel cancel = PENSTOCK__TASK_CANCEL__INIT;
	uint8_t buf[200];
	struct error err;
	cancel.tenant = (char *)"acme";
	cancel.task = (char *)task;
	size_t len = penstock__task_cancel__pack(&cancel, buf);
	ck_assert_int_eq(bus_publish(c.client, SUBJECT_CANCEL, buf, len, &err), 0);
}

START_TEST(cancelled)
{
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	const char *task = cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	cancel_task(task); /* without a word in the log: not believed */
	cluster_run(&c, 1000);
	ck_assert_uint_eq(c.cancelled, 0);
	cluster_append(&c, 1, "task.cancelled", "{}");
	cancel_task(task);
	cluster_run(&c, 1000);
	ck_assert_uint_eq(c.cancelled, 1);
	ck_assert_uint_eq(worker_running(c.nodes[0].worker), 0);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started cancelled");
}
END_TEST

START_TEST(tells_what_was_used)
{
	c.call_tokens = 30;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_until(&c, 1, "completed");
	cluster_run(&c, 100);
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_uint_eq(c.end_charge, CLUSTER_CHARGE);
	ck_assert_uint_eq(c.end_used, 30);
	cluster_append(&c, 2, "task.cancelled", "{}"); /* before anybody has taken it up */
	cluster_ticket(&c, 2, "chat");
	cluster_run(&c, 1000);
	ck_assert_uint_eq(c.ends, 2);
	ck_assert_uint_eq(c.end_charge, CLUSTER_CHARGE);
	ck_assert_uint_eq(c.end_used, 0);
}
END_TEST

/* Whoever had the ticket before may have said the end, and what was used: nothing is settled twice.
 */
START_TEST(tells_what_was_used_once)
{
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	cluster_crash(&c, 0);
	cluster_append(&c, 1, "task.cancelled", "{}");
	cluster_worker(&c, 1, "w2");
	while (c.ends == 0)
		cluster_run(&c, 1000);
	ck_assert_uint_eq(c.end_charge, 0);
}
END_TEST

/* The word of it was lost: the heartbeat looks. */
START_TEST(cancelled_unheard)
{
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	cluster_append(&c, 1, "task.cancelled", "{}");
	cluster_run(&c, 2 * WORKER_ACK_WAIT_MS / 3 + 1000);
	ck_assert_uint_eq(c.cancelled, 1);
	ck_assert_uint_eq(worker_running(c.nodes[0].worker), 0);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
}
END_TEST

START_TEST(retried)
{
	c.calls_fail = 2;
	c.text_pieces = 2;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_until(&c, 1, "completed");
	ck_assert_uint_eq(c.calls, 3);
	ck_assert_uint_eq(c.resets, 2);
	ck_assert_str_eq(cluster_types(&c, 1),
			 "accepted started stage.started stage.failed stage.started stage.failed "
			 "stage.started stage.completed completed");
	ck_assert_int_eq(metric_get(c.stats.retries), 2);
}
END_TEST

/* 100 words in 1 s: the first at once, then one piece each 40 ms; all of it before the completion.
 */
START_TEST(rolled_up)
{
	c.call_us = 1010000;
	c.text_pieces = 100;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_until(&c, 1, "completed");
	ck_assert_uint_eq(c.delta_text.len, 500);
	ck_assert_uint_ge(c.deltas, 24);
	ck_assert_uint_le(c.deltas, 28);
	ck_assert_uint_eq(c.last_index, c.deltas - 1);
	ck_assert_int_eq(metric_get(c.stats.deltas_in_flight), 0);
}
END_TEST

static void on_stopped(void *arg)
{
	*(bool *)arg = true;
}

START_TEST(stops_clean)
{
	bool stopped = false;
	c.call_us = 2000000;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	worker_stop(c.nodes[0].worker, 8000, on_stopped, &stopped);
	cluster_submit(&c, 2, "chat", true);
	cluster_run(&c, 500);
	ck_assert(!stopped);
	cluster_run(&c, 1000);
	ck_assert(stopped);
	cluster_until(&c, 1, "completed");
	ck_assert_str_eq(cluster_types(&c, 2), "accepted");
	cluster_worker(&c, 1, "w2"); /* takes the other one at once */
	cluster_run(&c, 3000);
	cluster_until(&c, 2, "completed");
}
END_TEST

START_TEST(stops_after_its_grace)
{
	bool stopped = false;
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	worker_stop(c.nodes[0].worker, 3000, on_stopped, &stopped);
	cluster_run(&c, 2900);
	ck_assert(!stopped);
	cluster_run(&c, 200);
	ck_assert(stopped);
	ck_assert_uint_eq(c.cancelled, 1);
	c.call_us = 1000;
	cluster_worker(&c, 1, "w2");
	cluster_run(&c, 2000); /* at once: it was given back, not left to run out */
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started handed_off "
					       "started stage.started stage.completed completed");
}
END_TEST

/* The second signal: the operator does not want to wait. */
START_TEST(stops_at_once_when_told_twice)
{
	bool stopped = false;
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	worker_stop(c.nodes[0].worker, 120000, on_stopped, &stopped);
	cluster_run(&c, 5000);
	ck_assert(!stopped);
	worker_stop(c.nodes[0].worker, 120000, on_stopped, &stopped);
	cluster_run(&c, 100);
	ck_assert(stopped);
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started handed_off");
}
END_TEST

/* By an operator: as a stop, but it can be taken back. */
START_TEST(drained_and_taken_back)
{
	bool drained = false;
	const char *why;
	struct error err;
	c.call_us = 2000000;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	worker_drain(c.nodes[0].worker, 8000, on_stopped, &drained);
	ck_assert(!worker_ready(c.nodes[0].worker, &why));
	cluster_submit(&c, 2, "chat", true);
	cluster_run(&c, 500);
	ck_assert(!drained);
	ck_assert_uint_eq(worker_held(c.nodes[0].worker), 1);
	cluster_run(&c, 1000);
	ck_assert(drained);
	cluster_until(&c, 1, "completed");
	cluster_run(&c, 20000); /* its grace is over meanwhile */
	ck_assert_str_eq(cluster_types(&c, 2), "accepted");
	ck_assert(!worker_undrain(c.nodes[0].worker, &err));
	ck_assert(worker_ready(c.nodes[0].worker, &why));
	cluster_run(&c, 3000);
	cluster_until(&c, 2, "completed");
	/* And it can be stopped while it is drained. */
	drained = false;
	worker_drain(c.nodes[0].worker, 8000, on_stopped, &drained);
	cluster_run(&c, 100);
	ck_assert(drained);
	bool stopped = false;
	worker_stop(c.nodes[0].worker, 8000, on_stopped, &stopped);
	cluster_run(&c, 100);
	ck_assert(stopped);
	ck_assert(!worker_undrain(c.nodes[0].worker, &err));
	ck_assert(!worker_ready(c.nodes[0].worker, &why));
}
END_TEST

START_TEST(taken_back_while_it_drains)
{
	bool drained = false;
	struct error err;
	c.call_us = -1;
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "chat", true);
	cluster_run(&c, 1000);
	worker_drain(c.nodes[0].worker, 120000, on_stopped, &drained);
	cluster_run(&c, 1000);
	worker_drain(c.nodes[0].worker, 500, on_stopped, &drained); /* a shorter grace */
	cluster_run(&c, 400);
	ck_assert(!drained);
	ck_assert(!worker_undrain(c.nodes[0].worker, &err));
	cluster_run(&c, 5000);
	ck_assert(!drained);
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started");
	worker_drain(c.nodes[0].worker, 500, on_stopped, &drained);
	c.call_us = 1000;
	cluster_run(&c, 600);
	ck_assert(drained);
	ck_assert_str_eq(cluster_types(&c, 1), "accepted started stage.started handed_off");
	ck_assert(!worker_undrain(c.nodes[0].worker, &err));
	cluster_until(&c, 1, "completed");
}
END_TEST

START_TEST(unknown_pipeline)
{
	cluster_worker(&c, 0, "w1");
	cluster_submit(&c, 1, "later", true);
	cluster_run(&c, 1500);
	cluster_pipeline(&c, "later", STEPS); /* the catalog was behind */
	cluster_until(&c, 1, "completed");
	cluster_submit(&c, 2, "never", true);
	cluster_until(&c, 2, "failed");
	ck_assert_ptr_nonnull(strstr(cluster_data(&c, 2), "unknown_pipeline"));
}
END_TEST

START_TEST(bad_ticket)
{
	struct subject subject = subject_task(POOL_DEFAULT, "acme");
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 1000};
	cluster_worker(&c, 0, "w1");
	bus_store(c.client, subject.text, &opts, "\xff\xff\xff", 3, NULL, NULL);
	bus_store(c.client, subject.text, &opts, "", 0, NULL, NULL);
	cluster_run(&c, 1000);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
}
END_TEST

/* --- an old ticket whose channel was trimmed ------------------------------------------------ */

struct archive {
	unsigned asked;
	bool silent;
};

static void reply_event(Penstock__StoredEvent *s, Penstock__Event *e, uint64_t seq,
			const char *type, const char *data)
{
	*s = (Penstock__StoredEvent)PENSTOCK__STORED_EVENT__INIT;
	*e = (Penstock__Event)PENSTOCK__EVENT__INIT;
	s->offset = seq;
	s->event = e;
	e->id = (char *)type;
	e->type = (char *)type;
	e->data.data = (uint8_t *)data;
	e->data.len = strlen(data);
}

/* As the event-store: two pages. */
static void on_replay(void *arg, const struct bus_msg *msg)
{
	struct archive *archive = arg;
	Penstock__StoredEvent stored[3], *list[3] = {&stored[0], &stored[1], &stored[2]};
	Penstock__Event events[3];
	Penstock__ReplayReply reply = PENSTOCK__REPLAY_REPLY__INIT;
	Penstock__ReplayRequest *ask = penstock__replay_request__unpack(NULL, msg->len, msg->data);
	uint8_t buf[2000];
	struct error err;
	archive->asked++;
	reply_event(&stored[0], &events[0], 3, "task.accepted", "{\"input\":1}");
	reply_event(&stored[1], &events[1], 5, "task.started", "{\"claim\":0,\"run\":4}");
	reply_event(&stored[2], &events[2], 8, "task.stage.completed",
		    "{\"stage\":\"a\",\"output\":\"old\"}");
	reply.events = ask->after == 0 ? list : list + 2;
	reply.n_events = ask->after == 0 ? 2 : ask->after < 8 ? 1 : 0;
	reply.more = ask->after == 0;
	penstock__replay_request__free_unpacked(ask, NULL);
	size_t len = penstock__replay_reply__pack(&reply, buf);
	if (!archive->silent)
		ck_assert_int_eq(bus_publish(c.client, msg->reply, buf, len, &err), 0);
}

START_TEST(trimmed)
{
	struct archive archive = {0};
	struct error err;
	cluster_pipeline(&c, "two",
			 "[{'id':'a','kind':'transform','input':'.'},"
			 "{'id':'b','kind':'http','needs':['a']}]");
	ck_assert_ptr_nonnull(
	    bus_subscribe(c.client, SUBJECT_STORE_REPLAY, "store", on_replay, &archive, &err));
	cluster_ticket(&c, 1, "two");
	cluster_run(&c, 70000); /* older than what the log keeps for sure */
	cluster_worker(&c, 0, "w1");
	cluster_until(&c, 1, "completed");
	ck_assert_uint_eq(archive.asked, 2);
	ck_assert_str_eq(cluster_types(&c, 1), "started stage.started stage.completed completed");
}
END_TEST

static void on_delayed(void *arg, const struct bus_msg *msg)
{
	Penstock__StoredEvent stored, *list[1] = {&stored};
	Penstock__Event event;
	Penstock__ReplayReply reply = PENSTOCK__REPLAY_REPLY__INIT;
	Penstock__ReplayRequest *ask = penstock__replay_request__unpack(NULL, msg->len, msg->data);
	uint8_t buf[2000];
	struct error err;
	(void)arg;
	reply_event(&stored, &event, 3, "task.accepted", "{\"input\":1,\"not_before\":1000}");
	reply.events = list;
	reply.n_events = ask->after < 3 ? 1 : 0;
	penstock__replay_request__free_unpacked(ask, NULL);
	size_t len = penstock__replay_reply__pack(&reply, buf);
	ck_assert_int_eq(bus_publish(c.client, msg->reply, buf, len, &err), 0);
}

/* A task was delayed for so long that the stream has nothing of it: its first ticket says that
 * there was something. */
START_TEST(trimmed_while_it_was_delayed)
{
	struct error err;
	cluster_pipeline(&c, "one", "[{'id':'a','kind':'http'}]");
	ck_assert_ptr_nonnull(
	    bus_subscribe(c.client, SUBJECT_STORE_REPLAY, "store", on_delayed, NULL, &err));
	cluster_worker(&c, 0, "w1");
	cluster_release(&c, 1, "one", 3);
	cluster_run(&c, 5000);
	ck_assert_str_eq(cluster_types(&c, 1), "started stage.started stage.completed completed");
}
END_TEST

START_TEST(trimmed_in_the_middle)
{
	struct archive archive = {0};
	struct error err;
	cluster_pipeline(&c, "two",
			 "[{'id':'a','kind':'transform','input':'.'},"
			 "{'id':'b','kind':'http','needs':['a']}]");
	ck_assert_ptr_nonnull(
	    bus_subscribe(c.client, SUBJECT_STORE_REPLAY, "store", on_replay, &archive, &err));
	for (unsigned n = 10; n < 20; n++) /* so that the sequence is beyond the archive's */
		cluster_append(&c, n, "task.accepted", "{}");
	cluster_append(&c, 1, "task.stage.started", "{\"stage\":\"b\",\"attempt\":3}");
	cluster_ticket(&c, 1, "two");
	cluster_worker(&c, 0, "w1");
	cluster_until(&c, 1, "completed");
	ck_assert_str_eq(cluster_types(&c, 1),
			 "stage.started started stage.started stage.completed completed");
}
END_TEST

START_TEST(archive_away)
{
	struct archive archive = {.silent = true};
	struct error err;
	ck_assert_ptr_nonnull(
	    bus_subscribe(c.client, SUBJECT_STORE_REPLAY, "store", on_replay, &archive, &err));
	cluster_ticket(&c, 1, "steps");
	cluster_run(&c, 70000);
	cluster_worker(&c, 0, "w1");
	cluster_run(&c, 60000);
	ck_assert_str_eq(cluster_types(&c, 1), ""); /* nothing is begun anew on a guess */
	ck_assert_uint_eq(cluster_tickets(&c), 1);
	ck_assert_int_ge(metric_get(c.stats.tasks[RESULT_HANDED_BACK]), 1);
	archive.silent = false;
	cluster_until(&c, 1, "completed");
}
END_TEST

/* --- a bad day ----------------------------------------------------------------------------- */

/* Lost and repeated messages, lost acknowledgements, a broker that goes away: everything ends, each
 * stage once. */
START_TEST(faults)
{
	struct fake_faults bad = {.lose_core = 0.05,
				  .duplicate_core = 0.05,
				  .lose_ack = 0.05,
				  .lose_store = 0.05,
				  .redeliver = 0.05,
				  .delay_min_us = 100,
				  .delay_max_us = 5000};
	struct fake_faults none = {0};
	for (unsigned n = 1; n <= 40; n++)
		cluster_submit(&c, n, n % 2 ? "chat" : "steps", true);
	fake_broker_faults(c.broker, &bad);
	cluster_worker(&c, 0, "w1");
	cluster_worker(&c, 1, "w2");
	cluster_run(&c, 300);
	fake_broker_set_up(c.broker, false);
	cluster_run(&c, 3000);
	fake_broker_set_up(c.broker, true);
	cluster_run(&c, 60000);
	fake_broker_faults(c.broker, &none);
	for (unsigned n = 1; n <= 40; n++) {
		cluster_until(&c, n, "completed");
		const char *types = cluster_types(&c, n);
		unsigned completed = 0;
		for (const char *p = types; (p = strstr(p, "stage.completed")) != NULL; p++)
			completed++;
		ck_assert_msg(completed == (n % 2 ? 1 : 2), "%u: %s", n, types);
	}
	cluster_run(&c, 60000);
	ck_assert_uint_eq(cluster_tickets(&c), 0);
}
END_TEST

RUN_TESTS_WITH("worker", setup, teardown, straight, ticket_without_event, many_at_once, slots,
	       crash_and_take_over, partitioned_and_fenced, progress, second_ticket, cancelled,
	       tells_what_was_used, tells_what_was_used_once, cancelled_unheard, retried, rolled_up,
	       stops_clean, stops_after_its_grace, stops_at_once_when_told_twice,
	       drained_and_taken_back, taken_back_while_it_drains, unknown_pipeline, bad_ticket,
	       trimmed, trimmed_while_it_was_delayed, trimmed_in_the_middle, archive_away, faults)
