#include "services/orchestrator-worker/delta.h"

#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "proto/event.pb-c.h"

#define STORE_TIMEOUT_MS 2000
#define TRIES            3

struct deltas {
	struct bus *bus;
	struct loop *loop;
	struct worker_stats *stats;
	unsigned in_flight, in_flight_max;
	struct flight *flights;
};

/* A write that is not acknowledged yet. */
struct flight {
	struct flight *next, *prev;
	struct deltas *deltas;
	struct subject subject;
	unsigned tries;
	size_t len;
	uint8_t data[];
};

struct delta_stream {
	struct deltas *deltas;
	struct subject subject;
	char channel[CHANNEL_MAX + 1];
	char *tenant, *task, *stage, *trace;
	unsigned attempt;
	uint32_t index;
	bool begun;
	struct strbuf text;
	struct timer roll;
};

/* --- flights ------------------------------------------------------------------------------- */

static void on_ack(void *arg, const struct bus_ack *ack);

static void fly(struct flight *f)
{
	struct bus_store_opts opts = {.expect_last_seq = -1, .timeout_ms = STORE_TIMEOUT_MS};
	f->tries++;
	bus_store(f->deltas->bus, f->subject.text, &opts, f->data, f->len, on_ack, f);
}

static void land(struct flight *f)
{
	struct deltas *d = f->deltas;
	*(f->prev != NULL ? &f->prev->next : &d->flights) = f->next;
	if (f->next != NULL)
		f->next->prev = f->prev;
	metric_set(d->stats->deltas_in_flight, --d->in_flight);
	free(f);
}

static void on_ack(void *arg, const struct bus_ack *ack)
{
	struct flight *f = arg;
	if (ack->result != BUS_OK) {
		if (ack->result != BUS_REJECTED && f->tries < TRIES) {
			fly(f);
			return;
		}
		metric_add(f->deltas->stats->deltas_lost, 1);
	}
	land(f);
}

static void send(struct delta_stream *s, bool reset)
{
	struct deltas *d = s->deltas;
	Penstock__Delta msg = PENSTOCK__DELTA__INIT;
	msg.tenant = s->tenant;
	msg.channel = s->channel;
	msg.task = s->task;
	msg.stage = s->stage;
	msg.attempt = s->attempt;
	msg.trace = s->trace;
	msg.time_us = loop_wall_us(d->loop);
	msg.reset = reset;
	if (!reset) {
		msg.index = s->index++;
		msg.data = (char *)strbuf_str(&s->text);
	}
	size_t len = penstock__delta__get_packed_size(&msg);
	struct flight *f = xmalloc(sizeof(*f) + len);
	*f = (struct flight){.deltas = d, .subject = s->subject, .len = len, .next = d->flights};
	if (d->flights != NULL)
		d->flights->prev = f;
	d->flights = f;
	penstock__delta__pack(&msg, f->data);
	metric_set(d->stats->deltas_in_flight, ++d->in_flight);
	metric_add(d->stats->deltas, 1);
	strbuf_reset(&s->text);
	fly(f);
}

/* --- streams ------------------------------------------------------------------------------- */

static void roll(struct delta_stream *s)
{
	if (s->text.len == 0)
		return;
	if (s->deltas->in_flight >= s->deltas->in_flight_max && s->text.len < DELTA_PIECE_MAX)
		metric_add(s->deltas->stats->deltas_held, 1);
	else
		send(s, false);
	timer_set(s->deltas->loop, &s->roll, DELTA_ROLL_MS * 1000);
}

static void on_roll(struct timer *timer, void *arg)
{
	(void)timer;
	roll(arg);
}

struct delta_stream *delta_open(struct deltas *d, const struct delta_of *of)
{
	struct delta_stream *s = xcalloc(1, sizeof(*s));
	s->deltas = d;
	task_channel(of->task, s->channel);
	s->subject = subject_dlt(of->part, of->tenant, s->channel);
	s->tenant = xstrdup(of->tenant);
	s->task = xstrdup(of->task);
	s->stage = xstrdup(of->stage);
	s->trace = xstrdup(of->trace);
	s->attempt = of->attempt;
	timer_init(&s->roll, on_roll, s);
	if (s->attempt > 1)
		send(s, true);
	return s;
}

void delta_text(struct delta_stream *s, const char *text, size_t len)
{
	strbuf_add(&s->text, text, len);
	if (!timer_armed(&s->roll) || s->text.len >= DELTA_PIECE_MAX)
		roll(s);
}

void delta_close(struct delta_stream *s, bool drop)
{
	if (s == NULL)
		return;
	if (!drop && s->text.len > 0)
		send(s, false);
	timer_cancel(s->deltas->loop, &s->roll);
	strbuf_done(&s->text);
	free(s->tenant);
	free(s->task);
	free(s->stage);
	free(s->trace);
	free(s);
}

struct deltas *deltas_new(struct bus *bus, struct loop *loop, struct worker_stats *stats,
			  unsigned in_flight_max)
{
	struct deltas *d = xcalloc(1, sizeof(*d));
	*d = (struct deltas){
	    .bus = bus, .loop = loop, .stats = stats, .in_flight_max = in_flight_max};
	return d;
}

void deltas_free(struct deltas *d)
{
	if (d == NULL)
		return;
	for (struct flight *f; (f = d->flights) != NULL;) {
		d->flights = f->next;
		free(f);
	}
	free(d);
}
