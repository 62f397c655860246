#include "tests/unit/orchestrator-worker/cluster.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "common/topology.h"
#include "proto/event.pb-c.h"
#include "proto/task.pb-c.h"

#define START_US INT64_C(1700000000000000)
#define PARTS    16

/* --- the executor -------------------------------------------------------------------------- */

static void job_free(struct fake_job *job)
{
	struct fake_job **at = &job->ex->jobs;
	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	job->ex->running--;
	timer_cancel(job->ex->c->loop, &job->timer);
	free(job->output);
	free(job);
}

static void job_end(struct fake_job *job, const struct saga_outcome *outcome)
{
	exec_done_fn *done = job->done;
	void *arg = job->arg;
	char *output = job->output;
	job->output = NULL;
	job_free(job);
	done(arg, outcome);
	free(output);
}

static void on_time(struct timer *timer, void *arg)
{
	struct fake_job *job = arg;
	struct cluster *c = job->ex->c;
	if (job->text != NULL && job->pieces < c->text_pieces) {
		job->text(job->arg, "word ", 5);
		job->pieces++;
		timer_set(c->loop, timer, c->call_us / (c->text_pieces + 1));
		return;
	}
	struct saga_outcome outcome = {.latency_ms = -1, .first_token_ms = -1};
	if (job->output == NULL) { /* a call, not a program */
		c->running--;
		if (c->calls_fail > 0) {
			c->calls_fail--;
			outcome.class = OUTCOME_RETRY;
			outcome.reason = "upstream_error";
			outcome.message = "HTTP 503";
			job_end(job, &outcome);
			return;
		}
		job->output = xstrdup("\"called\"");
	}
	outcome.text = job->output;
	outcome.len = strlen(job->output);
	outcome.has_usage = c->call_tokens > 0;
	outcome.usage.total_tokens = c->call_tokens;
	job_end(job, &outcome);
}

static struct fake_job *job_new(struct executor *base, exec_done_fn *done, void *arg)
{
	struct fake_executor *ex = base->impl;
	struct fake_job *job = xcalloc(1, sizeof(*job));
	*job = (struct fake_job){.next = ex->jobs, .ex = ex, .done = done, .arg = arg};
	ex->jobs = job;
	ex->running++;
	timer_init(&job->timer, on_time, job);
	return job;
}

static void *transform(struct executor *base, const char *tenant, const char *program,
		       const char *document, size_t len, exec_done_fn *done, void *arg)
{
	struct fake_job *job = job_new(base, done, arg);
	struct strbuf b = {0};
	ck_assert_str_eq(tenant, "acme");
	ck_assert_uint_eq(strlen(document), len);
	strbuf_add_json(&b, program);
	job->output = strbuf_detach(&b, NULL);
	timer_set(job->ex->c->loop, &job->timer, 100);
	return job;
}

static void *chat(struct executor *base, const struct exec_call *call, exec_text_fn *text,
		  exec_done_fn *done, void *arg)
{
	struct fake_job *job = job_new(base, done, arg);
	struct cluster *c = job->ex->c;
	ck_assert_str_eq(call->tenant, "acme");
	c->calls++;
	if (++c->running > c->most_running)
		c->most_running = c->running;
	job->text = text;
	if (c->call_us >= 0)
		timer_set(c->loop, &job->timer, c->call_us / (c->text_pieces + 1));
	return job;
}

static void *http(struct executor *base, const struct exec_call *call, exec_done_fn *done,
		  void *arg)
{
	return chat(base, call, NULL, done, arg);
}

static void cancel(struct executor *base, void *handle)
{
	struct fake_executor *ex = base->impl;
	struct fake_job *job = handle;
	if (job->output == NULL)
		ex->c->running--;
	ex->c->cancelled++;
	job_free(job);
}

/* --- the cluster --------------------------------------------------------------------------- */

static void on_streams(void *arg, uint64_t epoch)
{
	(void)epoch;
	((struct cluster *)arg)->streams = true;
}

static void on_end(void *arg, const struct bus_msg *msg)
{
	struct cluster *c = arg;
	Penstock__TaskEnd *end = penstock__task_end__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(end);
	ck_assert_uint_eq(end->tokens, CLUSTER_TOKENS);
	c->ends++;
	c->end_charge = end->charge;
	c->end_used = end->used;
	penstock__task_end__free_unpacked(end, NULL);
}

static void on_delta(void *arg, const struct bus_msg *msg)
{
	struct cluster *c = arg;
	if (strcmp(msg->stream, STREAM_DELTAS) != 0)
		return;
	Penstock__Delta *d = penstock__delta__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(d);
	if (d->reset) {
		c->resets++;
	} else {
		ck_assert(d->index == 0 || d->index == c->last_index + 1);
		c->last_index = d->index;
		c->deltas++;
		strbuf_adds(&c->delta_text, d->data);
	}
	penstock__delta__free_unpacked(d, NULL);
}

void cluster_run(struct cluster *c, int64_t ms)
{
	int64_t until = loop_now_us(c->loop) + ms * 1000;
	while (loop_sim_step(c->loop, until))
		;
}

void cluster_init(struct cluster *c)
{
	struct topology_conf conf = {.replicas = 1};
	struct error err;
	memset(c, 0, sizeof(*c));
	c->slots = 10;
	c->call_us = 10000;
	c->loop = loop_new_sim(START_US);
	c->broker = fake_broker_new(c->loop, 11);
	c->metrics = metrics_new();
	worker_stats_init(&c->stats, c->metrics);
	c->catalog = catalog_new();
	c->client = bus_fake_open(c->broker, "client");
	c->topology = topology_start(c->client, c->loop, &conf, on_streams, c);
	ck_assert_ptr_nonnull(bus_subscribe(c->client, "pen.ctl.end.*", NULL, on_end, c, &err));
	ck_assert_ptr_nonnull(bus_subscribe(c->client, "pen.live.>", NULL, on_delta, c, &err));
	cluster_run(c, 1000);
	ck_assert(c->streams);
}

void cluster_worker(struct cluster *c, int i, const char *name)
{
	struct node *n = &c->nodes[i];
	struct error err = {0};
	n->bus = bus_fake_open(c->broker, name);
	n->ex = (struct fake_executor){.c = c,
				       .base = {.impl = &n->ex,
						.transform = transform,
						.chat = chat,
						.http = http,
						.cancel = cancel}};
	struct worker_conf conf = {.instance = name,
				   .pool = POOL_DEFAULT,
				   .parts = PARTS,
				   .slots = c->slots,
				   .seed = (uint64_t)i + 1,
				   .output_max = 100000,
				   .document_max = 100000,
				   .deltas_in_flight = 100};
	n->worker = worker_start(c->loop, n->bus, c->catalog, &n->ex.base, &c->stats, &conf, &err);
	ck_assert_msg(n->worker != NULL, "%s", err.msg);
}

void cluster_crash(struct cluster *c, int i)
{
	struct node *n = &c->nodes[i];
	if (n->worker == NULL)
		return;
	worker_free(n->worker);
	bus_free(n->bus);
	ck_assert_uint_eq(n->ex.running, 0);
	n->worker = NULL;
}

void cluster_done(struct cluster *c)
{
	for (int i = 0; i < CLUSTER_WORKERS; i++)
		cluster_crash(c, i);
	topology_stop(c->topology);
	bus_free(c->client);
	fake_broker_free(c->broker);
	catalog_stop(c->catalog);
	metrics_free(c->metrics);
	loop_free(c->loop);
	strbuf_done(&c->delta_text);
}

void cluster_pipeline(struct cluster *c, const char *name, const char *stages)
{
	struct strbuf b = {0};
	struct error err = {0};
	char key[80];
	strbuf_addf(&b, "{\"name\":\"%s\",\"version\":1,\"stages\":%s}", name, stages);
	for (size_t i = 0; i < b.len; i++)
		if (b.data[i] == '\'')
			b.data[i] = '"';
	snprintf(key, sizeof(key), "pipeline.%s.1", name);
	ck_assert_msg(catalog_put(c->catalog, key, b.data, b.len, &err) == 0, "%s", err.msg);
	strbuf_done(&b);
}

/* --- tasks --------------------------------------------------------------------------------- */

static const char *task_id(unsigned n)
{
	static char id[ID_LEN + 1];
	snprintf(id, sizeof(id), "0f0f0f0f-0000-8000-8000-%012x", n);
	return id;
}

static struct subject subject_of(unsigned n)
{
	char channel[CHANNEL_MAX + 1];
	task_channel(task_id(n), channel);
	return subject_evt(part_of("acme", PARTS), "acme", channel);
}

static void fill_accepted(struct cluster *c, unsigned n, Penstock__Event *e, char id[ID_LEN + 1],
			  char channel[CHANNEL_MAX + 1], char data[200])
{
	*e = (Penstock__Event)PENSTOCK__EVENT__INIT;
	snprintf(id, ID_LEN + 1, "0a0a0a0a-0000-8000-8000-%012x", n);
	task_channel(task_id(n), channel);
	snprintf(data, 200, "{\"task\":\"%s\",\"input\":{\"n\":%u},\"priority\":0}", task_id(n), n);
	e->id = id;
	e->tenant = (char *)"acme";
	e->channel = channel;
	e->type = (char *)"task.accepted";
	e->version = 1;
	e->data.data = (uint8_t *)data;
	e->data.len = strlen(data);
	e->time_us = loop_wall_us(c->loop);
}

static void stored(void *arg, const struct bus_ack *ack)
{
	ck_assert_int_eq(ack->result, BUS_OK);
	*(bool *)arg = true;
}

static void store(struct cluster *c, const char *subject, int64_t expect, const void *data,
		  size_t len)
{
	bool done = false;
	struct bus_store_opts opts = {.expect_last_seq = expect, .timeout_ms = 1000};
	bus_store(c->client, subject, &opts, data, len, stored, &done);
	while (!done)
		ck_assert(loop_sim_step(c->loop, INT64_MAX));
}

static void store_event(struct cluster *c, unsigned n, const Penstock__Event *e, int64_t expect)
{
	uint8_t buf[1000];
	struct subject subject = subject_of(n);
	size_t len = penstock__event__pack(e, buf);
	store(c, subject.text, expect, buf, len);
}

void cluster_ticket(struct cluster *c, unsigned n, const char *pipeline)
{
	cluster_release(c, n, pipeline, 0);
}

void cluster_release(struct cluster *c, unsigned n, const char *pipeline, uint64_t behind)
{
	Penstock__Ticket ticket = PENSTOCK__TICKET__INIT;
	Penstock__Event e;
	char id[ID_LEN + 1], channel[CHANNEL_MAX + 1], data[200];
	uint8_t buf[1000];
	fill_accepted(c, n, &e, id, channel, data);
	ticket.task = (char *)task_id(n);
	ticket.tenant = (char *)"acme";
	ticket.pipeline = (char *)pipeline;
	ticket.version = 1;
	ticket.accepted = &e;
	ticket.pool = (char *)POOL_DEFAULT;
	ticket.behind = behind;
	ticket.tokens = CLUSTER_TOKENS;
	ticket.charge = CLUSTER_CHARGE;
	struct subject subject = subject_task(POOL_DEFAULT, "acme");
	size_t len = penstock__ticket__pack(&ticket, buf);
	store(c, subject.text, -1, buf, len);
}

const char *cluster_submit(struct cluster *c, unsigned n, const char *pipeline, bool event)
{
	Penstock__Event e;
	char id[ID_LEN + 1], channel[CHANNEL_MAX + 1], data[200];
	fill_accepted(c, n, &e, id, channel, data);
	if (event)
		store_event(c, n, &e, 0);
	cluster_ticket(c, n, pipeline);
	return task_id(n);
}

void cluster_append(struct cluster *c, unsigned n, const char *type, const char *data)
{
	Penstock__Event e;
	char id[ID_LEN + 1], channel[CHANNEL_MAX + 1], unused[200];
	fill_accepted(c, n, &e, id, channel, unused);
	id[0] = 'c';
	e.type = (char *)type;
	e.data.data = (uint8_t *)data;
	e.data.len = strlen(data);
	store_event(c, n, &e, -1);
}

struct reading {
	bool done, found;
	uint64_t seq;
	char type[64];
	char *data;
};

static void on_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct reading *reading = arg;
	reading->done = true;
	reading->found = result == BUS_OK;
	if (result != BUS_OK)
		return;
	Penstock__Event *e = penstock__event__unpack(NULL, msg->len, msg->data);
	reading->seq = msg->seq;
	snprintf(reading->type, sizeof(reading->type), "%s", e->type);
	free(reading->data);
	reading->data = xstrndup((char *)e->data.data, e->data.len);
	penstock__event__free_unpacked(e, NULL);
}

const char *cluster_types(struct cluster *c, unsigned n)
{
	static char out[4000];
	struct reading reading = {0};
	struct subject subject = subject_of(n);
	out[0] = '\0';
	do {
		reading.done = false;
		bus_get_next(c->client, STREAM_EVENTS, subject.text, reading.seq + 1, on_read,
			     &reading);
		while (!reading.done)
			ck_assert(loop_sim_step(c->loop, INT64_MAX));
		size_t len = strlen(out);
		if (reading.found)
			snprintf(out + len, sizeof(out) - len, "%s%s", len > 0 ? " " : "",
				 reading.type + strlen("task."));
	} while (reading.found);
	free(reading.data);
	return out;
}

static struct reading last(struct cluster *c, unsigned n)
{
	struct reading reading = {0};
	struct subject subject = subject_of(n);
	bus_get_last(c->client, STREAM_EVENTS, subject.text, on_read, &reading);
	while (!reading.done)
		ck_assert(loop_sim_step(c->loop, INT64_MAX));
	return reading;
}

void cluster_until(struct cluster *c, unsigned n, const char *type)
{
	int64_t until = loop_now_us(c->loop) + INT64_C(120000000);
	for (;;) {
		struct reading reading = last(c, n);
		bool there = reading.found && strcmp(reading.type + 5, type) == 0;
		free(reading.data);
		if (there)
			break;
		ck_assert_msg(loop_now_us(c->loop) < until, "task %u: %s", n, cluster_types(c, n));
		cluster_run(c, 10);
	}
	cluster_run(c, 100); /* what comes behind it */
}

const char *cluster_data(struct cluster *c, unsigned n)
{
	static char out[4000];
	struct reading reading = last(c, n);
	snprintf(out, sizeof(out), "%s", reading.data != NULL ? reading.data : "");
	free(reading.data);
	return out;
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	ck_assert_int_eq(result, BUS_OK);
	*(int64_t *)arg = (int64_t)info->msgs;
}

uint64_t cluster_tickets(struct cluster *c)
{
	int64_t n = -1;
	bus_stream_info(c->client, STREAM_TASKS, NULL, on_info, &n);
	while (n < 0)
		ck_assert(loop_sim_step(c->loop, INT64_MAX));
	return (uint64_t)n;
}
