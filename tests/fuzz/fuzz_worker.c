/* What a worker takes from the bus: tickets in TASKS, events in a task's channel, cancellations,
 * and the event-store's pages, through the worker's real way of reading them, on a broker in
 * memory.
 *
 * The first byte says where the rest comes from. One worker lives for many inputs; a task that the
 * input started goes on to its end with an executor that answers everything with {}. */
/* links: services/orchestrator-worker */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake.h"
#include "common/names.h"
#include "common/topology.h"
#include "proto/task.pb-c.h"
#include "services/orchestrator-worker/worker.h"

#define INPUTS_MAX 1000 /* then a new world: the broker keeps all that is stored */

static struct loop *loop;
static struct fake_broker *broker;
static struct bus *bus, *other; /* the worker's, everybody else's */
static struct catalog *catalog;
static struct metrics *metrics;
static struct worker_stats stats;
static struct worker *worker;
static const uint8_t *page; /* what the event-store answers */
static size_t page_len;
static unsigned inputs;

/* --- an executor that takes a moment and succeeds ------------------------------------------- */

struct job {
	struct timer timer;
	exec_done_fn *done;
	void *arg;
};

static void on_done(struct timer *timer, void *arg)
{
	struct job *job = arg;
	struct saga_outcome out = {
	    .class = OUTCOME_OK, .text = "{}", .len = 2, .latency_ms = -1, .first_token_ms = -1};

	(void)timer;
	job->done(job->arg, &out);
	free(job);
}

static void *start(exec_done_fn *done, void *arg)
{
	struct job *job = malloc(sizeof(*job));

	job->done = done;
	job->arg = arg;
	timer_init(&job->timer, on_done, job);
	timer_set(loop, &job->timer, 10);
	return job;
}

static void *transform(struct executor *ex, const char *tenant, const char *program,
		       const char *document, size_t len, exec_done_fn *done, void *arg)
{
	(void)ex;
	(void)tenant;
	assert(strlen(program) > 0 && document[len] == '\0');
	return start(done, arg);
}

static void *chat(struct executor *ex, const struct exec_call *call, exec_text_fn *text,
		  exec_done_fn *done, void *arg)
{
	(void)ex;
	assert(id_valid(call->task));
	text(arg, "word", 4);
	return start(done, arg);
}

static void *http(struct executor *ex, const struct exec_call *call, exec_done_fn *done, void *arg)
{
	(void)ex;
	assert(id_valid(call->task));
	return start(done, arg);
}

static void cancel(struct executor *ex, void *job)
{
	(void)ex;
	timer_cancel(loop, &((struct job *)job)->timer);
	free(job);
}

static struct executor executor = {NULL, transform, chat, http, cancel};

/* --- the world ------------------------------------------------------------------------------- */

static void on_streams(void *arg, uint64_t epoch)
{
	*(uint64_t *)arg = epoch;
}

static void run(int64_t us)
{
	int64_t until = loop_now_us(loop) + us;

	while (loop_sim_step(loop, until))
		;
}

static void on_replay(void *arg, const struct bus_msg *msg)
{
	struct error err;

	(void)arg;
	if (msg->reply)
		(void)bus_publish(other, msg->reply, page, page_len, &err);
}

static void setup(void)
{
	static const char pipeline[] =
	    "{\"name\":\"p\",\"version\":1,\"stages\":[{\"id\":\"a\",\"kind\":\"transform\","
	    "\"input\":\".\"},{\"id\":\"b\",\"kind\":\"chat\",\"model\":\"m\",\"needs\":[\"a\"],"
	    "\"input\":\".\"}],\"output\":\".\"}";
	struct topology_conf topology = {.replicas = 1};
	struct worker_conf conf = {.instance = "fuzzed",
				   .pool = POOL_DEFAULT,
				   .parts = 16,
				   .slots = 64,
				   .seed = 7,
				   .output_max = 65536,
				   .document_max = 262144,
				   .deltas_in_flight = 64};
	struct error err;
	uint64_t epoch = 0;

	loop = loop_new_sim(INT64_C(1700000000000000));
	broker = fake_broker_new(loop, 1);
	bus = bus_fake_open(broker, "worker");
	other = bus_fake_open(broker, "other");
	catalog = catalog_new();
	int rc = catalog_put(catalog, "pipeline.p.1", pipeline, strlen(pipeline), &err);
	assert(rc == 0);
	(void)rc;
	struct topology *t = topology_start(other, loop, &topology, on_streams, &epoch);
	run(5000000);
	topology_stop(t);
	assert(epoch != 0);
	(void)bus_subscribe(other, SUBJECT_STORE_REPLAY, "store", on_replay, NULL, &err);
	metrics = metrics_new();
	worker_stats_init(&stats, metrics);
	worker = worker_start(loop, bus, catalog, &executor, &stats, &conf, &err);
	assert(worker);
	run(5000000);
}

static void teardown(void)
{
	worker_free(worker);
	bus_free(bus);
	bus_free(other);
	fake_broker_free(broker);
	catalog_stop(catalog);
	metrics_free(metrics);
	loop_free(loop);
	worker = NULL;
	inputs = 0;
}

/* --- inputs ---------------------------------------------------------------------------------- */

static void on_ack(void *arg, const struct bus_ack *ack)
{
	(void)arg;
	(void)ack;
}

static void put(const struct subject *subject, const uint8_t *data, size_t size)
{
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = 1000};

	bus_store(other, subject->text, &opts, data, size, on_ack, NULL);
}

/* A ticket that is in order, as old as the event-store must be asked about, or not. */
static void good_ticket(struct id *id, const char *channel, bool old)
{
	Penstock__Ticket t = PENSTOCK__TICKET__INIT;
	Penstock__Event accepted = PENSTOCK__EVENT__INIT;
	uint8_t packed[512];

	accepted.id = id->text; /* one as good as another */
	accepted.tenant = t.tenant = "acme";
	accepted.channel = (char *)channel;
	accepted.type = "task.accepted";
	accepted.time_us = loop_wall_us(loop) - (old ? INT64_C(3600000000) : 0);
	accepted.data.data = (uint8_t *)"{\"input\":{}}";
	accepted.data.len = 12;
	t.task = id->text;
	t.pipeline = "p";
	t.version = 1;
	t.pool = POOL_DEFAULT;
	t.accepted = &accepted;
	struct subject subject = subject_task(POOL_DEFAULT, "acme");
	put(&subject, packed, penstock__ticket__pack(&t, packed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct subject task = subject_task(POOL_DEFAULT, "acme"), log;
	char name[32], channel[CHANNEL_MAX + 1];
	struct error err;
	struct id id;

	if (size == 0)
		return 0;
	if (worker && ++inputs > INPUTS_MAX)
		teardown();
	if (!worker)
		setup();
	snprintf(name, sizeof(name), "%u", inputs); /* each input's task is a new one */
	id = id_derive("acme", "task", name);
	task_channel(id.text, channel);
	page = data + 1;
	page_len = size - 1;
	switch (*data % 4) {
	case 0:
		put(&task, data + 1, size - 1);
		break;
	case 1:
		good_ticket(&id, channel, false);
		run(5);
		(void)bus_publish(other, SUBJECT_CANCEL, data + 1, size - 1, &err);
		break;
	case 2:
		log = subject_evt(part_of("acme", 16), "acme", channel);
		put(&log, data + 1, size - 1);
		run(10000);
		good_ticket(&id, channel, false);
		break;
	default:
		good_ticket(&id, channel, true);
		break;
	}
	run(100000);
	return 0;
}
