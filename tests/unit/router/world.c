#include "tests/unit/router/world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/topology.h"

#define START_US  INT64_C(1700000000000000)
#define MINUTE_US INT64_C(60000000)

void world_run(struct world *w, int64_t us)
{
	int64_t until = loop_now_us(w->loop) + us;
	while (loop_sim_step(w->loop, until))
		;
}

void world_until(struct world *w, const bool *flag)
{
	int64_t until = loop_now_us(w->loop) + MINUTE_US;
	while (!*flag && loop_sim_step(w->loop, until))
		;
	ck_assert_msg(*flag, "it did not happen within a minute");
}

void world_put(struct world *w, const char *key, const char *doc)
{
	struct error err = {0};
	ck_assert_msg(catalog_put(w->catalog, key, doc, doc ? strlen(doc) : 0, &err) == 0, "%s: %s",
		      key, err.msg);
}

void world_tenant(struct world *w, const char *limits)
{
	char doc[512];
	snprintf(doc, sizeof(doc),
		 "{\"id\":\"acme\",\"name\":\"Acme\",\"region\":\"local\",\"class\":\"standard\","
		 "\"status\":\"active\",\"weight\":1,\"limits\":{%s}}",
		 limits);
	world_put(w, "tenant.acme", doc);
}

static void streams(void *arg, uint64_t epoch)
{
	struct world *w = arg;
	w->epoch = epoch;
}

void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->loop = loop_new_sim(START_US);
	w->broker = fake_broker_new(w->loop, 42);
	w->metrics = metrics_new();
	w->catalog = catalog_new();
	w->client = bus_fake_open(w->broker, "client");
	world_tenant(w, "\"events_per_s\":100000,\"burst\":100000");
	world_put(w, "type.acme.note",
		  "{\"tenant\":\"acme\",\"type\":\"note\",\"class\":\"durable\",\"latest\":1,"
		  "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}");
	world_put(w, "type.acme.cursor",
		  "{\"tenant\":\"acme\",\"type\":\"cursor\",\"class\":\"ephemeral\",\"latest\":1,"
		  "\"versions\":{\"1\":{\"state\":\"active\",\"schema\":{}}}}");
	world_put(
	    w, "pipeline.summary.2",
	    "{\"name\":\"summary\",\"version\":2,\"stages\":[{\"id\":\"a\",\"kind\":\"transform\","
	    "\"input\":\".\"}],\"output\":\".\"}");
	struct topology_conf conf = {.replicas = 1};
	w->topology = topology_start(w->client, w->loop, &conf, streams, w);
	world_run(w, 1000000);
	ck_assert_uint_ne(w->epoch, 0);
	router_conf_init(&w->conf);
	w->conf.metrics = w->metrics;
	w->part = part_of("acme", w->conf.parts);
}

void world_done(struct world *w)
{
	for (int i = 0; i < WORLD_ROUTERS; i++)
		world_crash(w, i);
	topology_stop(w->topology);
	bus_free(w->client);
	fake_broker_free(w->broker);
	catalog_stop(w->catalog);
	metrics_free(w->metrics);
	loop_free(w->loop);
}

void world_join(struct world *w, int i)
{
	static const char *const names[WORLD_ROUTERS] = {"router-a", "router-b"};
	struct error err = {0};
	w->bus[i] = bus_fake_open(w->broker, names[i]);
	w->conf.instance = names[i];
	w->conf.epoch = w->epoch;
	w->conf.seed = (uint64_t)i + 1;
	w->router[i] = router_start(w->loop, w->bus[i], w->catalog, &w->conf, &err);
	ck_assert_msg(w->router[i] != NULL, "%s", err.msg);
	int64_t until = loop_now_us(w->loop) + MINUTE_US;
	while (router_parts_owned(w->router[i]) == 0 && loop_sim_step(w->loop, until))
		;
	ck_assert_uint_gt(router_parts_owned(w->router[i]), 0);
}

void world_router(struct world *w, int i)
{
	world_join(w, i);
	world_run(w, 100000);
}

void world_crash(struct world *w, int i)
{
	if (!w->router[i])
		return;
	bus_fake_partition(w->bus[i], true);
	router_close(w->router[i]);
	bus_free(w->bus[i]);
	router_free(w->router[i]);
	w->router[i] = NULL;
	w->bus[i] = NULL;
}

void world_faults(struct world *w, struct fake_faults faults)
{
	fake_broker_faults(w->broker, &faults);
}

static void is_done(void *arg, enum bus_result result)
{
	ck_assert_int_eq(result, BUS_OK);
	*(bool *)arg = true;
}

void world_bound(struct world *w, const char *stream, const char *subject, bool work_queue,
		 int64_t max_bytes)
{
	struct bus_stream_conf conf = {.name = stream,
				       .subject = subject,
				       .republish = work_queue ? NULL : "pen.live.>",
				       .work_queue = work_queue,
				       .discard_new = true,
				       .max_bytes = max_bytes,
				       .dedupe_ms = 600000,
				       .replicas = 1};
	bool done = false;
	bus_stream_ensure(w->client, &conf, is_done, &done);
	world_until(w, &done);
}

/* --- orders ---------------------------------------------------------------------------------- */

static void order_init(struct world *w, struct order *o)
{
	memset(o, 0, sizeof(*o));
	penstock__command__init(&o->cmd);
	penstock__publish__init(&o->publish);
	penstock__submit_task__init(&o->task);
	penstock__cancel_task__init(&o->cancel);
	penstock__release_task__init(&o->release);
	penstock__redrive_task__init(&o->redrive);
	snprintf(o->id, sizeof(o->id), "command-%d", ++w->commands);
	o->cmd.id = o->id;
	o->cmd.tenant = (char *)"acme";
	o->cmd.session = (char *)"session-1";
	o->cmd.principal = (char *)"key-1";
	o->cmd.depth = 2;
	o->cmd.trace = (char *)"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
	o->cmd.edge = (char *)"edge-1";
}

void order_publish(struct world *w, struct order *o, const char *key, const char *data)
{
	order_init(w, o);
	o->publish.channel = (char *)"room.1";
	o->publish.type = (char *)"note";
	o->publish.key = (char *)key;
	o->publish.data.data = (uint8_t *)data;
	o->publish.data.len = strlen(data);
	o->cmd.body_case = PENSTOCK__COMMAND__BODY_PUBLISH;
	o->cmd.publish = &o->publish;
}

void order_task(struct world *w, struct order *o, const char *key, const char *input)
{
	order_init(w, o);
	o->task.pipeline = (char *)"summary";
	o->task.key = (char *)key;
	o->task.input.data = (uint8_t *)input;
	o->task.input.len = strlen(input);
	o->cmd.body_case = PENSTOCK__COMMAND__BODY_TASK;
	o->cmd.task = &o->task;
}

void order_cancel(struct world *w, struct order *o, const char *task)
{
	order_init(w, o);
	o->cancel.task = (char *)task;
	o->cmd.body_case = PENSTOCK__COMMAND__BODY_CANCEL;
	o->cmd.cancel = &o->cancel;
}

void order_release(struct world *w, struct order *o, const char *task, uint64_t seq)
{
	order_init(w, o);
	penstock__event__init(&o->accepted);
	o->accepted.id = (char *)task;
	o->accepted.tenant = (char *)"acme";
	o->accepted.type = (char *)"task.accepted";
	o->accepted.data.data = (uint8_t *)"{\"input\":1}";
	o->accepted.data.len = strlen("{\"input\":1}");
	o->release.task = (char *)task;
	o->release.seq = seq;
	o->release.pipeline = (char *)"summary";
	o->release.version = 2;
	o->release.accepted = &o->accepted;
	o->cmd.body_case = PENSTOCK__COMMAND__BODY_RELEASE;
	o->cmd.release = &o->release;
}

void order_redrive(struct world *w, struct order *o, const char *task, uint64_t seq)
{
	order_init(w, o);
	o->redrive.task = (char *)task;
	o->redrive.seq = seq;
	o->redrive.redrive_gen = 1;
	o->redrive.by = (char *)"op \"x\"";
	o->cmd.body_case = PENSTOCK__COMMAND__BODY_REDRIVE;
	o->cmd.redrive = &o->redrive;
}

static void fill_accepted(struct answer *a, const Penstock__Accepted *m)
{
	a->accepted = true;
	snprintf(a->event_id, sizeof(a->event_id), "%s", m->event_id);
	snprintf(a->channel, sizeof(a->channel), "%s", m->channel);
	snprintf(a->task, sizeof(a->task), "%s", m->task);
	a->offset = m->offset;
	a->epoch = m->epoch;
	a->duplicate = m->duplicate;
}

static void answered(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct answer *a = arg;
	ck_assert_msg(!a->came, "answered twice");
	a->came = true;
	a->result = result;
	if (result != BUS_OK)
		return;
	Penstock__Reply *r = penstock__reply__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(r);
	if (r->body_case == PENSTOCK__REPLY__BODY_ACCEPTED) {
		fill_accepted(a, r->accepted);
	} else {
		ck_assert_int_eq(r->body_case, PENSTOCK__REPLY__BODY_REFUSED);
		snprintf(a->code, sizeof(a->code), "%s", r->refused->code);
		snprintf(a->scope, sizeof(a->scope), "%s", r->refused->scope);
		snprintf(a->limit, sizeof(a->limit), "%s", r->refused->limit);
		a->temporary = r->refused->temporary;
		a->retry_after_ms = r->refused->retry_after_ms;
	}
	a->leases = r->lease != NULL;
	if (r->lease) {
		a->leased = r->lease->events;
		a->lease = r->lease->id;
	}
	penstock__reply__free_unpacked(r, NULL);
}

void world_send(struct world *w, const struct order *o, struct answer *a)
{
	uint8_t buf[4096];
	memset(a, 0, sizeof(*a));
	ck_assert_uint_le(penstock__command__get_packed_size(&o->cmd), sizeof(buf));
	size_t len = penstock__command__pack(&o->cmd, buf);
	struct subject s = subject_cmd(w->part);
	bus_request(w->client, s.text, buf, len, 10000, answered, a);
}

static void inbox(void *arg, const struct bus_msg *msg)
{
	answered(arg, BUS_OK, msg);
}

void world_send_to(struct world *w, int router, const struct order *o, struct answer *a)
{
	uint8_t buf[4096];
	char reply[64];
	struct error err;
	memset(a, 0, sizeof(*a));
	snprintf(reply, sizeof(reply), "test.reply.%s", o->id);
	/* The subscription ends with the client's bus. */
	ck_assert_ptr_nonnull(bus_subscribe(w->client, reply, NULL, inbox, a, &err));
	size_t len = penstock__command__pack(&o->cmd, buf);
	router_command(w->router[router], w->part, reply, buf, len);
}

struct answer world_ask(struct world *w, const struct order *o)
{
	struct answer a;
	world_send(w, o, &a);
	world_until(w, &a.came);
	return a;
}

struct answer world_publish(struct world *w, const char *key, const char *data)
{
	struct order o;
	order_publish(w, &o, key, data);
	return world_ask(w, &o);
}

struct answer world_task(struct world *w, const char *key, const char *input)
{
	struct order o;
	order_task(w, &o, key, input);
	return world_ask(w, &o);
}

struct answer world_release(struct world *w, const char *task, uint64_t seq)
{
	struct order o;
	order_release(w, &o, task, seq);
	return world_ask(w, &o);
}

struct answer world_cancel(struct world *w, const char *task)
{
	struct order o;
	order_cancel(w, &o, task);
	return world_ask(w, &o);
}

/* --- looks at the streams -------------------------------------------------------------------- */

struct counting {
	bool done;
	uint64_t msgs;
};

static void counted(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct counting *c = arg;
	ck_assert_int_eq(result, BUS_OK);
	c->msgs = info->msgs;
	c->done = true;
}

static void trimmed(void *arg, enum bus_result result)
{
	ck_assert_int_eq(result, BUS_OK);
	*(bool *)arg = true;
}

void world_trim(struct world *w, uint64_t seq)
{
	bool done = false;
	bus_stream_trim(w->client, STREAM_EVENTS, seq, trimmed, &done);
	world_until(w, &done);
}

uint64_t world_count(struct world *w, const char *stream)
{
	struct counting c = {0};
	bus_stream_info(w->client, stream, NULL, counted, &c);
	world_until(w, &c.done);
	return c.msgs;
}

struct reading {
	bool done;
	Penstock__Event *event;
	uint64_t seq;
};

static void was_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct reading *r = arg;
	r->done = true;
	if (result != BUS_OK)
		return;
	r->event = penstock__event__unpack(NULL, msg->len, msg->data);
	r->seq = msg->seq;
	ck_assert_ptr_nonnull(r->event);
}

Penstock__Event *world_last(struct world *w, const char *channel, uint64_t *seq)
{
	struct reading r = {0};
	struct subject s = subject_evt(w->part, "acme", channel);
	bus_get_last(w->client, STREAM_EVENTS, s.text, was_read, &r);
	world_until(w, &r.done);
	if (seq)
		*seq = r.seq;
	return r.event;
}

Penstock__Event *world_at(struct world *w, uint64_t seq)
{
	struct reading r = {0};
	bus_get(w->client, STREAM_EVENTS, seq, was_read, &r);
	world_until(w, &r.done);
	return r.event;
}

struct writing {
	bool done;
	enum bus_result result;
};

static void was_written(void *arg, const struct bus_ack *ack)
{
	struct writing *x = arg;
	x->done = true;
	x->result = ack->result;
}

enum bus_result world_transition(struct world *w, const char *task, const char *type,
				 uint64_t expect_last_seq)
{
	struct writing x = {0};
	uint8_t buf[1024];
	char channel[CHANNEL_MAX + 1];
	task_channel(task, channel);
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	ev.id = (char *)"";
	ev.tenant = (char *)"acme";
	ev.channel = channel;
	ev.type = (char *)type;
	ev.data.data = (uint8_t *)"{}";
	ev.data.len = 2;
	size_t len = penstock__event__pack(&ev, buf);
	struct subject s = subject_evt(w->part, "acme", channel);
	struct bus_store_opts opts = {.expect_last_seq = (int64_t)expect_last_seq,
				      .timeout_ms = 1000};
	bus_store(w->client, s.text, &opts, buf, len, was_written, &x);
	world_until(w, &x.done);
	return x.result;
}
