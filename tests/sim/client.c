/* A client: does its operations one after the other, repeats each with the same key until it is
 * answered for good, sends some of them twice at once, and repeats old ones, with the same payload
 * and with another. Some of its tasks are not to begin before a time. */
#include <stdio.h>
#include <string.h>

#include "common/names.h"
#include "proto/command.pb-c.h"
#include "tests/sim/cluster.h"

#define TIMEOUT_MS   5000
#define DELAY_MAX_MS 6000
#define PAD_MAX      600 /* so that a channel's events fill a slow subscriber's queue */

static void answered(void *arg, enum bus_result result, const struct bus_msg *msg);

static struct op *current(struct client *cl)
{
	return &cl->ops[cl->probe >= 0 ? cl->probe : cl->at];
}

static void send_once(struct client *cl)
{
	struct op *op = current(cl);
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	Penstock__Publish publish = PENSTOCK__PUBLISH__INIT;
	Penstock__SubmitTask task = PENSTOCK__SUBMIT_TASK__INIT;
	struct subject subject = subject_cmd(part_of(cl->tenant, SIM_PARTS));
	char id[64], data[PAD_MAX + 64], pad[PAD_MAX];
	uint8_t buf[PAD_MAX + 1024];

	snprintf(id, sizeof(id), "c%d-%llu", cl->number, (unsigned long long)++cl->commands);
	memset(pad, '.', sizeof(pad));
	snprintf(data, sizeof(data), "{\"n\":%d,\"pad\":\"%.*s\"}",
		 op->payload + (cl->clash ? 1000 : 0),
		 op->kind == WANT_EVENT ? op->payload * 97 % PAD_MAX : 0, pad);
	cmd.id = id;
	cmd.tenant = (char *)cl->tenant;
	if (op->kind == WANT_EVENT) {
		publish.channel = cl->channel;
		publish.type = (char *)"note";
		publish.key = (char *)op->key;
		publish.data = (ProtobufCBinaryData){strlen(data), (uint8_t *)data};
		cmd.body_case = PENSTOCK__COMMAND__BODY_PUBLISH;
		cmd.publish = &publish;
	} else {
		if (op->delay_ms && !op->not_before_ms)
			op->not_before_ms = loop_wall_us(cl->cluster->loop) / 1000 + op->delay_ms;
		task.not_before_ms = op->not_before_ms;
		task.pipeline = (char *)"diamond";
		task.key = (char *)op->key;
		task.input = (ProtobufCBinaryData){strlen(data), (uint8_t *)data};
		cmd.body_case = PENSTOCK__COMMAND__BODY_TASK;
		cmd.task = &task;
	}
	cl->cluster->late_publishes += cl->cluster->late && op->kind == WANT_EVENT;
	cl->asked++;
	bus_request(cl->bus, subject.text, buf, penstock__command__pack(&cmd, buf), TIMEOUT_MS,
		    answered, cl);
}

static void send(struct client *cl)
{
	struct rng *rng = &cl->cluster->rng;

	cl->tries++;
	send_once(cl);
	if (rng_below(rng, 4) == 0)
		send_once(cl); /* the same key at the same time */
}

static void again(struct client *cl, int64_t after_ms)
{
	int64_t jitter_us = (int64_t)rng_below(&cl->cluster->rng, 300000);

	timer_set(cl->cluster->loop, &cl->timer, after_ms * 1000 + jitter_us);
}

/* A live message that the broker loses without losing the connection is found out by the channel's
 * next one: then the last operation waits for the end of the faults. */
static void on_timer(struct timer *timer, void *arg)
{
	struct client *cl = arg;
	const struct cluster *c = cl->cluster;

	(void)timer;
	if (c->lossy && !c->healed && cl->probe < 0 && cl->at == SIM_OPS - 1)
		again(cl, 1000);
	else
		send(cl);
}

/* The operation is over: the next one, or an old one once more. */
static void next(struct client *cl)
{
	struct rng *rng = &cl->cluster->rng;

	if (cl->probe < 0)
		cl->at++;
	cl->probe = -1;
	cl->clash = false;
	cl->accepted = false;
	cl->tries = 0;
	if (cl->at > 0 && !cl->cluster->late && !cl->cluster->trims && rng_below(rng, 4) == 0) {
		cl->probe = (int)rng_below(rng, (uint64_t)cl->at);
		cl->clash = rng_below(rng, 3) == 0;
	}
	if (cl->at < SIM_OPS || cl->probe >= 0)
		again(cl, 20);
}

static void on_accepted(struct client *cl, const Penstock__Accepted *a)
{
	struct op *op = current(cl);

	if (cl->clash) {
		cluster_fail(cl->cluster, "key %s was accepted with another payload (event %s)",
			     op->key, a->event_id);
		return;
	}
	if (op->accepted) {
		/* Late, it is another message of the stream: of the same event. */
		bool moved = op->promise.offset != a->offset &&
			     !(cl->cluster->late && op->kind == WANT_EVENT);

		if (strcmp(op->promise.event_id, a->event_id) != 0 || moved)
			cluster_fail(cl->cluster, "key %s is event %s at %llu, and then %s at %llu",
				     op->key, op->promise.event_id,
				     (unsigned long long)op->promise.offset, a->event_id,
				     (unsigned long long)a->offset);
		return;
	}
	op->accepted = true;
	snprintf(op->promise.event_id, sizeof(op->promise.event_id), "%s", a->event_id);
	snprintf(op->promise.task, sizeof(op->promise.task), "%s", a->task);
	op->promise.offset = a->offset;
}

static int64_t on_refused(struct client *cl, const Penstock__Refused *r)
{
	if (r->temporary)
		return r->retry_after_ms ? r->retry_after_ms : 1;
	if (cl->clash && strcmp(r->code, "conflict") == 0)
		cl->accepted = true;
	else if (cl->cluster->trims && strcmp(r->code, "conflict") == 0 &&
		 strstr(r->message, "archived"))
		cl->accepted = current(cl)->archived = true;
	else
		cluster_fail(cl->cluster, "key %s was refused for good: %s %s", current(cl)->key,
			     r->code, r->message);
	return 0;
}

static void answered(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct client *cl = arg;
	Penstock__Reply *reply = NULL;
	int64_t retry_ms = 100;

	cl->asked--;
	if (result == BUS_OK)
		reply = penstock__reply__unpack(NULL, msg->len, msg->data);
	if (reply && reply->body_case == PENSTOCK__REPLY__BODY_ACCEPTED) {
		on_accepted(cl, reply->accepted);
		cl->accepted = true;
	} else if (reply && reply->body_case == PENSTOCK__REPLY__BODY_REFUSED) {
		retry_ms = on_refused(cl, reply->refused);
	} else if (result == BUS_OK) {
		cluster_fail(cl->cluster, "an answer that is none");
	}
	if (reply)
		penstock__reply__free_unpacked(reply, NULL);
	if (cl->asked > 0 || cl->cluster->failure[0])
		return;
	if (cl->accepted)
		next(cl);
	else
		again(cl, retry_ms);
}

void client_start(struct client *cl, struct cluster *c, int number)
{
	struct rng *rng = &c->rng;
	char name[16];

	*cl = (struct client){.cluster = c, .number = number, .probe = -1};
	/* A stream that keeps seconds is too short for what may come again of a task or a key. */
	cl->tenant = number % 2 ? "acme" : "globex";
	/* Two clients share a channel: order is promised to each of them. */
	snprintf(cl->channel, sizeof(cl->channel), "room.%d", number / 4);
	snprintf(name, sizeof(name), "client-%d", number);
	cl->bus = bus_fake_open(c->broker, name);
	timer_init(&cl->timer, on_timer, cl);
	for (int i = 0; i < SIM_OPS; i++) {
		struct op *op = &cl->ops[i];

		op->kind =
		    i < SIM_OPS - 1 && rng_below(rng, 3) == 0 && !c->trims ? WANT_TASK : WANT_EVENT;
		op->payload = i;
		if (op->kind == WANT_TASK && rng_below(rng, 3) == 0)
			op->delay_ms = 1 + (int64_t)rng_below(rng, DELAY_MAX_MS);
		snprintf(op->key, sizeof(op->key), "k-%d-%d", number, i);
	}
	again(cl, (int64_t)rng_below(rng, 2000));
}

void client_repeat(struct client *cl)
{
	cl->probe = (int)rng_below(&cl->cluster->rng, SIM_OPS);
	cl->cluster->late_repeats++;
	again(cl, 20);
}

void client_stop(struct client *cl)
{
	timer_cancel(cl->cluster->loop, &cl->timer);
	bus_free(cl->bus);
}

bool client_idle(const struct client *cl)
{
	return cl->at >= SIM_OPS && cl->asked == 0 && !timer_armed(&cl->timer);
}
