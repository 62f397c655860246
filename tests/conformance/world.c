#include "tests/conformance/world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/bus_fake.h"
#include "common/bus_nats.h"

#define DEADLINE_US INT64_C(10000000)

const struct factory *factory;
const char *nats_url;

/* --- the fake ----------------------------------------------------------------------------------
 */

static void fake_init(struct world *w)
{
	struct fake_faults faults = {.delay_min_us = 50, .delay_max_us = 400};

	w->loop = loop_new_sim(INT64_C(1700000000000000));
	w->broker = fake_broker_new(w->loop, 7);
	fake_broker_faults(w->broker, &faults);
}

static struct bus *fake_open(struct world *w, const char *name)
{
	return bus_fake_open(w->broker, name);
}

static void fake_down(struct world *w)
{
	fake_broker_set_up(w->broker, false);
}

static void fake_up(struct world *w)
{
	fake_broker_set_up(w->broker, true);
}

static void fake_done(struct world *w)
{
	fake_broker_free(w->broker);
}

const struct factory fake_factory = {"fake", fake_init, fake_open, fake_down, fake_up, fake_done};

/* --- nats-server -------------------------------------------------------------------------------
 */

static void nats_init(struct world *w)
{
	struct error err;

	w->loop = loop_new(&err);
	ck_assert(w->loop);
	if (w->own_server)
		nats_server_start(&w->server);
}

static struct bus *nats_open(struct world *w, const char *name)
{
	struct bus_nats_conf conf = {.url = nats_url, .name = name};
	struct error err = {0};
	char own[64];
	struct bus *bus;

	if (w->own_server) {
		snprintf(own, sizeof(own), "nats://127.0.0.1:%d", w->server.port);
		conf.url = own;
	}
	bus = bus_nats_open(w->loop, &conf, &err);
	ck_assert_msg(bus, "%s", err.msg);
	return bus;
}

static void nats_down(struct world *w)
{
	nats_server_kill(&w->server);
}

static void nats_up(struct world *w)
{
	nats_server_restart(&w->server);
}

static void nats_done(struct world *w)
{
	bus_nats_shutdown();
	if (w->own_server)
		nats_server_remove(&w->server);
}

const struct factory nats_factory = {"nats", nats_init, nats_open, nats_down, nats_up, nats_done};

/* --- a world -----------------------------------------------------------------------------------
 */

static void open_world(struct world *w, bool own_server)
{
	static unsigned count;

	memset(w, 0, sizeof(*w));
	w->own_server = own_server;
	snprintf(w->prefix, sizeof(w->prefix), "t%d_%u", (int)getpid(), ++count);
	factory->init(w);
	w->bus = factory->open(w, "one");
	w->other = factory->open(w, "two");
	for (int64_t end = loop_now_us(w->loop) + DEADLINE_US;
	     !bus_connected(w->bus) || !bus_connected(w->other);) {
		loop_turn(w->loop, 10000);
		ck_assert_msg(loop_now_us(w->loop) < end, "not connected");
	}
}

void world_open(struct world *w)
{
	open_world(w, false);
}

void world_open_own(struct world *w)
{
	open_world(w, true);
}

void world_close(struct world *w)
{
	bus_free(w->bus);
	bus_free(w->other);
	factory->done(w);
	loop_free(w->loop);
}

static void turn(struct world *w, int64_t end)
{
	if (w->broker)
		loop_sim_step(w->loop, end);
	else
		loop_turn(w->loop, 10000);
}

void world_until(struct world *w, const int *n, int least)
{
	int64_t end = loop_now_us(w->loop) + DEADLINE_US;

	while (*n < least && loop_now_us(w->loop) < end)
		turn(w, end);
	ck_assert_msg(*n >= least, "waited for %d, got %d", least, *n);
}

const char *world_subject(const struct world *w, const char *rest)
{
	static char ring[16][160];
	static unsigned at;
	char *out = ring[at++ % 16];

	snprintf(out, sizeof(ring[0]), "%s.%s", w->prefix, rest);
	return out;
}

static void echo(void *arg, const struct bus_msg *msg)
{
	struct world *w = arg;
	struct error err;

	ck_assert_int_eq(bus_publish(w->other, msg->reply, msg->data, msg->len, &err), 0);
}

/* There and back twice over both nodes: what the first message set off travels before the last. */
void world_fence(struct world *w)
{
	struct error err;
	struct bus_sub *sub;
	char subject[64];

	/* Not in the test's stream, and a new one each time: the broker may not know yet that the
	 * last one's subscription ended. */
	snprintf(subject, sizeof(subject), "fence_%s_%d", w->prefix, ++w->fences);
	sub = bus_subscribe(w->other, subject, NULL, echo, w, &err);

	for (int i = 0; i < 3; i++) {
		struct note note = {0};

		/* The other node's subscription may come to the broker after the first request. */
		do {
			note.n = 0;
			bus_request(w->bus, subject, "", 0, 5000, note_answer, &note);
			world_until(w, &note.n, 1);
		} while (note.result == BUS_UNAVAILABLE);
		ck_assert_int_eq(note.result, BUS_OK);
	}
	bus_unsubscribe(sub);
}

void world_stream(struct world *w, struct bus_stream_conf conf)
{
	struct note note = {0};

	if (!conf.name)
		conf.name = w->prefix;
	if (!conf.subject)
		conf.subject = world_subject(w, ">");
	conf.replicas = 1;
	bus_stream_ensure(w->bus, &conf, note_done, &note);
	world_until(w, &note.n, 1);
	ck_assert_msg(note.result == BUS_OK, "%s: %s", bus_result_name(note.result),
		      bus_error_text(w->bus));
}

struct bus_ack world_store(struct world *w, const char *rest, const char *id, int64_t expect,
			   const char *data)
{
	struct bus_store_opts opts = {.msg_id = id, .expect_last_seq = expect, .timeout_ms = 5000};
	struct note note = {0};

	bus_store(w->bus, world_subject(w, rest), &opts, data, strlen(data), note_ack, &note);
	ck_assert_int_eq(note.n, 0); /* never from inside the call */
	world_until(w, &note.n, 1);
	return note.ack;
}

/* --- notes -------------------------------------------------------------------------------------
 */

static void copy(struct note *note, const struct bus_msg *msg)
{
	snprintf(note->subject, sizeof(note->subject), "%s", msg->subject);
	snprintf(note->data, sizeof(note->data), "%.*s", (int)msg->len, (const char *)msg->data);
	snprintf(note->stream, sizeof(note->stream), "%s", msg->stream);
	snprintf(note->reply, sizeof(note->reply), "%s", msg->reply ? msg->reply : "");
	note->seq = msg->seq;
	note->prev = msg->prev;
	note->time_us = msg->time_us;
	note->delivered = msg->delivered;
	if (note->n < 64)
		note->seqs[note->n] = msg->seq;
}

void note_msg(void *arg, const struct bus_msg *msg)
{
	struct note *note = arg;

	copy(note, msg);
	note->n++;
}

void note_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct note *note = arg;

	ck_assert((result == BUS_OK) == (msg != NULL));
	if (msg)
		copy(note, msg);
	note->result = result;
	note->n++;
}

void note_done(void *arg, enum bus_result result)
{
	struct note *note = arg;

	note->result = result;
	note->n++;
}

void note_ack(void *arg, const struct bus_ack *ack)
{
	struct note *note = arg;

	note->ack = *ack;
	note->result = ack->result;
	note->n++;
}

void note_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct note *note = arg;

	note->result = result;
	ck_assert((result == BUS_OK) == (info != NULL));
	if (info) {
		note->info = *info;
		for (size_t i = 0; i < info->n_subjects && i < 64; i++)
			note->seqs[i] = info->subjects[i].msgs;
		if (info->n_subjects)
			snprintf(note->subject, sizeof(note->subject), "%s",
				 info->subjects[0].subject);
	}
	note->n++;
}

void note_claim(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct note *note = arg;

	ck_assert_int_lt(note->n, 64);
	copy(note, msg);
	note->claims[note->n++] = claim;
}
