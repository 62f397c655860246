/* Mode fanout: S subscribers spread over C channels, a publisher for each channel, in any dialect.
 *
 *      connect ──all open──► subscribe ──all answered──► warm up ──► run ──time over──► drain ──►
 * report
 *
 * A message is --size bytes of JSON that begin with its time and its number on its channel. CPU of
 * the watched processes is taken over the run alone and stands beside the deliveries that were read
 * in it, whenever they were sent. Without a rate the window bounds what is sent and not delivered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/load.h"
#include "tools/load/watch.h"

#define TICK_US     1000
#define PAYLOAD_MAX 900
#define STALLED_US  1000000 /* without a rate: what is not delivered by then is lost */
#define SIZE_MIN    64

struct state {
	struct load *load;
	enum { CONNECT, WARM, RUN, DRAIN } phase;
	unsigned n_pubs, n_subs, n_channels, ready;
	uint64_t *sent; /* by channel: number of the newest message; counts from 1 */
	uint64_t *warm; /* by channel: the last of the warm-up */
	uint64_t *last; /* by subscriber: number of the newest message that it has */
	struct timer tick, end;
	int64_t connect_us, open_us, ready_us, start_us, stop_us, last_progress_us;
	double owed; /* paced: messages that are due */
	int64_t owed_at_us;
	unsigned next_channel;
	uint64_t published, throttled;
	uint64_t asked, answered; /* warm-up included; refusals are answers too */
	uint64_t out;             /* deliveries expected and not yet made, warm-up included */
	uint64_t expected, delivered, in_run, repeated;
	struct hist deliver;
	struct watch watch;
	struct usage at_connect, at_ready, at_start, at_stop;
	size_t stamp; /* where the payload began in the last event */
};

static unsigned subscribers_of(const struct state *s, unsigned channel)
{
	return s->n_subs / s->n_channels + (channel < s->n_subs % s->n_channels);
}

static void place_of(const struct client *c, struct place *p)
{
	const struct state *s = c->arg;
	unsigned channel = (c->index < s->n_pubs ? c->index : c->index - s->n_pubs) % s->n_channels;

	p->publishes = c->index < s->n_pubs;
	p->token = channel % s->load->opt->n_tokens;
	snprintf(p->channel, sizeof(p->channel), "load.%s.%u", s->load->run, channel);
}

/* --- out ---------------------------------------------------------------------------------- */

static void publish(struct state *s, unsigned channel)
{
	const struct options *o = s->load->opt;
	/* Publishers come first; without them, so does each channel's first subscriber. */
	struct client *c = &s->load->pool.list[channel];
	char text[PAYLOAD_MAX + 1];
	struct place place;
	int n;

	n = snprintf(text, sizeof(text), "{\"t\":%lld,\"n\":%llu,\"x\":\"",
		     (long long)load_clock_us(), (unsigned long long)++s->sent[channel]);
	memset(text + n, 'x', (size_t)o->size - (size_t)n - 2);
	memcpy(text + o->size - 2, "\"}", 2);
	place_of(c, &place);
	o->dialect->publish(c, place.channel, o->type, text, (size_t)o->size);
	s->asked++;
	s->out += subscribers_of(s, channel);
	if (s->phase == RUN) {
		s->published++;
		s->expected += subscribers_of(s, channel);
	}
}

static bool may_ask(const struct state *s)
{
	uint64_t max = s->load->opt->dialect->unanswered_max;

	return !max || s->asked - s->answered < max * s->n_channels;
}

static bool room(const struct state *s)
{
	return may_ask(s) && s->out * s->n_channels <= (uint64_t)s->load->opt->window * s->n_subs;
}

static void publish_due(struct state *s)
{
	const struct options *o = s->load->opt;
	int64_t now = load_clock_us();

	if (s->phase != WARM && s->phase != RUN)
		return;
	if (o->rate > 0) {
		s->owed += (double)(now - s->owed_at_us) * (double)o->rate / 1e6;
		s->owed_at_us = now;
	} else {
		if (now - s->last_progress_us > STALLED_US)
			s->out = 0;
		s->owed = 1e9;
	}
	while (s->owed >= 1 && room(s)) {
		publish(s, s->next_channel++ % s->n_channels);
		s->owed -= 1;
	}
	if (o->rate > 0 && s->owed >= 1) { /* the rate is not reached, and that is said */
		s->throttled += (uint64_t)s->owed;
		s->owed -= (double)(uint64_t)s->owed;
	}
}

/* --- phases ------------------------------------------------------------------------------- */

static void start_run(struct state *s)
{
	s->phase = RUN;
	memcpy(s->warm, s->sent, s->n_channels * sizeof(*s->warm));
	s->start_us = load_clock_us();
	watch_read(&s->watch, &s->at_start);
	timer_set(s->load->loop, &s->end, s->load->opt->seconds * 1000000);
}

static void begin(struct state *s)
{
	const struct options *o = s->load->opt;

	s->ready_us = s->owed_at_us = s->last_progress_us = load_clock_us();
	watch_read(&s->watch, &s->at_ready);
	timer_set(s->load->loop, &s->tick, TICK_US);
	s->phase = WARM;
	if (o->warmup > 0)
		timer_set(s->load->loop, &s->end, o->warmup * 1000000);
	else
		start_run(s);
}

static void on_end(struct timer *timer, void *arg)
{
	struct state *s = arg;
	int64_t now = load_clock_us();

	if (s->phase == WARM) {
		start_run(s);
	} else if (s->phase == RUN) {
		watch_read(&s->watch, &s->at_stop);
		s->phase = DRAIN;
		s->stop_us = s->last_progress_us = now;
		timer_set(s->load->loop, timer, 1000);
	} else if (s->delivered >= s->expected ||
		   now - s->last_progress_us > s->load->opt->quiet_s * 1000000) {
		loop_stop(s->load->loop);
	} else {
		timer_set(s->load->loop, timer, 20000);
	}
}

static void on_tick(struct timer *timer, void *arg)
{
	struct state *s = arg;

	publish_due(s);
	if (s->phase == WARM || s->phase == RUN)
		timer_set(s->load->loop, timer, TICK_US);
}

static void ready(struct state *s)
{
	if (++s->ready == s->load->pool.n)
		begin(s);
}

static void on_open(struct client *c)
{
	struct state *s = c->arg;
	struct place place;

	if (c->pool->open == c->pool->n)
		s->open_us = load_clock_us();
	place_of(c, &place);
	if (!s->load->opt->dialect->subscribe(c, &place))
		ready(s);
}

/* --- in ----------------------------------------------------------------------------------- */

/* The payload begins at the same place in nearly all events of a run. */
static const char *find_payload(struct state *s, const char *text, size_t len)
{
	static const char mark[] = "{\"t\":";
	const char *at;

	if (s->stamp + SIZE_MIN <= len && memcmp(text + s->stamp, mark, sizeof(mark) - 1) == 0)
		return text + s->stamp;
	at = memmem(text, len, mark, sizeof(mark) - 1);
	if (at)
		s->stamp = (size_t)(at - text);
	return at;
}

static void on_event(struct state *s, struct client *c, const char *text, size_t len)
{
	const char *at = find_payload(s, text, len);
	size_t left = at ? (size_t)(text + len - at) : 0, head = left < SIZE_MIN ? left : SIZE_MIN;
	int64_t t = at ? scan_int(at, head, "\"t\":") : -1,
		n = at ? scan_int(at, head, "\"n\":") : -1;
	uint64_t *last;

	if (c->index < s->n_pubs || t < 0 || n < 0) {
		errors_count(&s->load->errors, "an event that nobody sent");
		return;
	}
	last = &s->last[c->index - s->n_pubs];
	s->last_progress_us = c->pool->read_us;
	if ((uint64_t)n <= *last) {
		s->repeated++;
		return;
	}
	*last = (uint64_t)n;
	s->out -= s->out > 0;
	s->in_run += s->phase == RUN;
	if (s->phase < RUN || (uint64_t)n <= s->warm[(c->index - s->n_pubs) % s->n_channels])
		return;
	s->delivered++;
	hist_add(&s->deliver, c->pool->read_us - t);
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	const struct dialect *d = s->load->opt->dialect;
	struct heard h;

	for (size_t n; len && c->state == CLIENT_OPEN; text += n, len -= n) {
		n = d->read(c, text, len, &h);
		if (h.what == SAID_EVENT)
			on_event(s, c, h.text, h.len);
		else if (h.what == SAID_READY)
			ready(s);
		else if (h.what == SAID_ANSWER)
			s->answered++;
		else if (h.what == SAID_REFUSED) {
			s->answered++;
			errors_count(&s->load->errors, h.code);
		} else if (h.what == SAID_BAD)
			errors_count(&s->load->errors, "not understood");
	}
}

static void on_closed(struct client *c, const char *why)
{
	struct state *s = c->arg;

	errors_count(&s->load->errors, why);
	s->load->failed = true;
	loop_stop(s->load->loop);
}

/* --- report ------------------------------------------------------------------------------- */

static void report(struct state *s)
{
	struct strbuf *b = &s->load->report;
	double seconds = (double)(s->stop_us - s->start_us) / 1e6;
	double connect_s = (double)(s->open_us - s->connect_us) / 1e6;

	strbuf_addf(b,
		    "{\"dialect\":\"%s\",\"publishers\":%u,\"subscribers\":%u,\"channels\":%u,"
		    "\"seconds\":%.3f,\"published\":%llu,\"throttled\":%llu,\"expected\":%llu,"
		    "\"delivered\":%llu,\"lost\":%lld,\"repeated\":%llu,\"answered\":%llu,"
		    "\"in_run\":%llu,\"delivered_per_s\":%.1f,\"connections_per_s\":%.1f,"
		    "\"ready_s\":%.3f,\"bytes_in\":%llu,\"deliver_ms\":",
		    s->load->opt->dialect->name, s->n_pubs, s->n_subs, s->n_channels, seconds,
		    (unsigned long long)s->published, (unsigned long long)s->throttled,
		    (unsigned long long)s->expected, (unsigned long long)s->delivered,
		    (long long)(s->expected - s->delivered), (unsigned long long)s->repeated,
		    (unsigned long long)s->answered, (unsigned long long)s->in_run,
		    seconds > 0 ? (double)s->in_run / seconds : 0,
		    connect_s > 0 ? s->load->pool.n / connect_s : 0,
		    (double)(s->ready_us - s->connect_us) / 1e6,
		    (unsigned long long)s->load->pool.bytes_in);
	hist_write(&s->deliver, b);
	strbuf_adds(b, ",\"cpu_s\":");
	watch_write_cpu(&s->watch, &s->at_start, &s->at_stop, b);
	strbuf_adds(b, ",\"connect_cpu_s\":");
	watch_write_cpu(&s->watch, &s->at_connect, &s->at_ready, b);
	strbuf_adds(b, ",\"errors\":");
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
}

static void run(struct state *s)
{
	struct load *load = s->load;

	for (unsigned i = 0; i < load->pool.n; i++)
		load->pool.list[i].arg = s;
	s->connect_us = load_clock_us();
	watch_read(&s->watch, &s->at_connect);
	pool_connect(&load->pool);
	loop_run(load->loop);
	if (s->stop_us == 0)
		s->stop_us = load_clock_us();
	report(s);
	load->failed = load->failed || s->phase != DRAIN;
}

int fanout_run(struct load *load, struct error *err)
{
	static const struct client_events events = {
	    .open = on_open, .text = on_text, .closed = on_closed, .place = place_of};
	const struct options *o = load->opt;
	struct state *s;
	int rc = -1;

	if (o->size < SIZE_MIN || o->size > PAYLOAD_MAX)
		return err_set(err, ERR_REJECTED, "size is %d to %d", SIZE_MIN, PAYLOAD_MAX);
	if (o->publishers == 0 && o->subscribers < o->channels)
		return err_set(err, ERR_REJECTED, "a channel without subscribers has no publisher");
	s = xcalloc(1, sizeof(*s));
	s->load = load;
	s->n_channels = (unsigned)o->channels;
	s->n_pubs = o->publishers ? s->n_channels : 0;
	s->n_subs = (unsigned)o->subscribers;
	s->sent = xcalloc(s->n_channels, sizeof(*s->sent));
	s->warm = xcalloc(s->n_channels, sizeof(*s->warm));
	s->last = xcalloc(s->n_subs + 1, sizeof(*s->last));
	timer_init(&s->tick, on_tick, s);
	timer_init(&s->end, on_end, s);
	if (watch_init(&s->watch, o->watch, err) == 0 &&
	    pool_init(&load->pool, load->loop, o, s->n_pubs + s->n_subs, &events, err) == 0) {
		run(s);
		rc = 0;
	}
	timer_cancel(load->loop, &s->tick);
	timer_cancel(load->loop, &s->end);
	pool_done(&load->pool);
	free(s->sent);
	free(s->warm);
	free(s->last);
	free(s);
	return rc;
}
