/* Mode events: P publishers, S subscribers on C channels.
 *
 *      connect ──all open──► subscribe ──all answered──► warm up ──► run ──time over──► drain ──►
 * report
 *
 * Each message carries its time, its publisher and that publisher's number, so a subscriber sees
 * what is late, lost or twice: messages of one publisher on one channel arrive in their order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/load.h"

#define TICK_US     1000
#define RING        4096 /* send times of what is not answered yet, a publisher */
#define PADDING_MAX 60000

struct publisher {
	uint64_t n; /* messages sent; numbers count from 1 */
	uint32_t in_flight;
	int64_t sent_us[RING];
};

struct state {
	struct load *load;
	enum { CONNECT, SUBSCRIBE, WARM, RUN, DRAIN } phase;
	struct publisher *pubs;
	uint64_t *last; /* [subscriber][publisher]: number of the newest message */
	unsigned n_pubs, n_subs, n_channels, subscribed;
	struct timer tick, end;
	int64_t start_us, stop_us, last_progress_us;
	double owed; /* paced: messages that are due */
	int64_t owed_at_us;
	unsigned next_pub;
	uint64_t published, accepted, duplicates_said, throttled, in_flight;
	uint64_t expected, delivered, missing, repeated;
	uint64_t warm_expected, warm_delivered;
	struct hist accept, deliver;
	char *padding;
	struct strbuf frame;
};

static unsigned subscribers_of(const struct state *s, unsigned channel)
{
	return s->n_subs / s->n_channels + (channel < s->n_subs % s->n_channels);
}

static void publish(struct state *s, unsigned index)
{
	struct publisher *p = &s->pubs[index];
	struct strbuf *b = &s->frame;
	const char *run = s->load->run;
	uint64_t n = ++p->n;
	int64_t now = load_clock_us();

	strbuf_reset(b);
	strbuf_addf(b,
		    "{\"op\":\"publish\",\"id\":%llu,\"channel\":\"load.%s.%u\",\"type\":\"%s\",",
		    (unsigned long long)n, run, index % s->n_channels, s->load->opt->type);
	if (s->load->opt->keys)
		strbuf_addf(b, "\"key\":\"%s-%u-%llu\",", run, index, (unsigned long long)n);
	strbuf_addf(b, "\"data\":{\"t\":%lld,\"p\":%u,\"n\":%llu,\"w\":%d,\"x\":\"%s\"}}",
		    (long long)now, index, (unsigned long long)n, s->phase == WARM, s->padding);
	p->sent_us[n % RING] = now;
	p->in_flight++;
	s->in_flight++;
	if (s->phase == RUN)
		s->published++;
	client_send(&s->load->pool.list[index], b->data, b->len);
}

/* Without a rate every publisher keeps its window full; with one, what is due is dealt out in turn.
 */
static void publish_due(struct state *s)
{
	const struct options *o = s->load->opt;
	int64_t now = load_clock_us();
	unsigned busy = 0;

	if (s->phase != WARM && s->phase != RUN)
		return;
	if (o->rate == 0) {
		for (unsigned i = 0; i < s->n_pubs; i++)
			while (s->pubs[i].in_flight < o->window)
				publish(s, i);
		return;
	}
	s->owed += (double)(now - s->owed_at_us) * (double)o->rate / 1e6;
	s->owed_at_us = now;
	while (s->owed >= 1 && busy < s->n_pubs) {
		unsigned i = s->next_pub++ % s->n_pubs;

		if (s->pubs[i].in_flight >= o->window) {
			busy++;
			continue;
		}
		busy = 0;
		publish(s, i);
		s->owed -= 1;
	}
	if (s->owed >= 1) { /* all windows are full: the rate is not reached, and that is said */
		s->throttled += (uint64_t)s->owed;
		s->owed -= (double)(uint64_t)s->owed;
	}
}

static void begin(struct state *s)
{
	s->phase = s->load->opt->warmup > 0 ? WARM : RUN;
	s->owed_at_us = s->start_us = load_clock_us();
	timer_set(s->load->loop, &s->end,
		  (s->phase == WARM ? s->load->opt->warmup : s->load->opt->seconds) * 1000000);
	timer_set(s->load->loop, &s->tick, TICK_US);
	publish_due(s);
}

static bool all_there(const struct state *s)
{
	return s->in_flight == 0 && s->delivered >= s->expected &&
	       s->warm_delivered >= s->warm_expected;
}

static void on_end(struct timer *timer, void *arg)
{
	struct state *s = arg;

	if (s->phase == WARM) {
		s->phase = RUN;
		s->start_us = load_clock_us();
		timer_set(s->load->loop, timer, s->load->opt->seconds * 1000000);
	} else if (s->phase == RUN) {
		s->phase = DRAIN;
		s->stop_us = s->last_progress_us = load_clock_us();
		timer_set(s->load->loop, timer, 1000);
	} else if (all_there(s) ||
		   load_clock_us() - s->last_progress_us > s->load->opt->quiet_s * 1000000) {
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

static void on_open(struct client *c)
{
	struct state *s = c->arg;
	struct pool *pool = c->pool;

	if (pool->open < pool->n || s->phase != CONNECT)
		return;
	s->phase = SUBSCRIBE;
	for (unsigned j = 0; j < s->n_subs; j++) {
		strbuf_reset(&s->frame);
		strbuf_addf(&s->frame, "{\"op\":\"subscribe\",\"id\":0,\"channel\":\"load.%s.%u\"}",
			    s->load->run, j % s->n_channels);
		client_send(&pool->list[s->n_pubs + j], s->frame.data, s->frame.len);
	}
	if (s->n_subs == 0)
		begin(s);
}

static void on_answer(struct state *s, struct client *c, const char *text, size_t len,
		      bool accepted)
{
	struct publisher *p = &s->pubs[c->index];
	int64_t n = scan_int(text, len, "\"id\":"), now = load_clock_us();
	char code[32];

	if (c->index >= s->n_pubs || n <= 0)
		return;
	p->in_flight--;
	s->in_flight--;
	s->last_progress_us = now;
	if (!accepted) {
		errors_count(&s->load->errors,
			     scan_text(text, len, "\"code\":\"", code, sizeof(code)) ? code : "?");
	} else if (p->sent_us[n % RING] >= s->start_us && s->phase >= RUN) {
		s->accepted++;
		s->expected += subscribers_of(s, c->index % s->n_channels);
		s->duplicates_said += scan_has(text, len, "\"duplicate\":true");
		hist_add(&s->accept, now - p->sent_us[n % RING]);
	} else {
		s->warm_expected += subscribers_of(s, c->index % s->n_channels);
	}
	if (s->load->opt->rate == 0)
		publish_due(s);
}

static void on_event(struct state *s, struct client *c, const char *text, size_t len)
{
	int64_t now = load_clock_us(), t = scan_int(text, len, "\"t\":"),
		p = scan_int(text, len, "\"p\":"), n = scan_int(text, len, "\"n\":");
	uint64_t *last;

	if (c->index < s->n_pubs || t < 0 || p < 0 || p >= s->n_pubs || n < 0)
		return;
	last = &s->last[(size_t)(c->index - s->n_pubs) * s->n_pubs + (size_t)p];
	s->last_progress_us = now;
	if ((uint64_t)n <= *last) {
		s->repeated++;
		return;
	}
	s->missing += (uint64_t)n - *last - 1;
	*last = (uint64_t)n;
	if (t < s->start_us || s->phase < RUN) {
		s->warm_delivered++;
		return;
	}
	s->delivered++;
	hist_add(&s->deliver, now - t);
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	size_t head = len < 160 ? len : 160; /* op comes early in a frame, data late */

	if (scan_has(text, head, "\"op\":\"event\""))
		on_event(s, c, text, len);
	else if (scan_has(text, head, "\"op\":\"accepted\""))
		on_answer(s, c, text, len, true);
	else if (scan_has(text, head, "\"op\":\"error\""))
		on_answer(s, c, text, len, false);
	else if (scan_has(text, head, "\"op\":\"gap\""))
		errors_count(&s->load->errors, "gap");
	else if (scan_has(text, head, "\"op\":\"subscribed\"") && ++s->subscribed == s->n_subs)
		begin(s);
}

static void on_closed(struct client *c, const char *why)
{
	struct state *s = c->arg;

	errors_count(&s->load->errors, why);
	s->load->failed = true;
	loop_stop(s->load->loop);
}

static void report(struct state *s)
{
	struct strbuf *b = &s->load->report;
	double seconds = (double)(s->stop_us - s->start_us) / 1e6;

	strbuf_addf(
	    b,
	    "{\"publishers\":%u,\"subscribers\":%u,\"channels\":%u,\"seconds\":%.3f,\"published\":%"
	    "llu,"
	    "\"accepted\":%llu,\"duplicates_answered\":%llu,\"throttled\":%llu,\"expected\":%llu,"
	    "\"delivered\":%llu,"
	    "\"lost\":%lld,\"missing_in_order\":%llu,\"repeated\":%llu,\"accepted_per_s\":%.1f,"
	    "\"delivered_per_s\":%.1f,\"bytes_in\":%llu,\"bytes_out\":%llu,\"accept_ms\":",
	    s->n_pubs, s->n_subs, s->n_channels, seconds, (unsigned long long)s->published,
	    (unsigned long long)s->accepted, (unsigned long long)s->duplicates_said,
	    (unsigned long long)s->throttled, (unsigned long long)s->expected,
	    (unsigned long long)s->delivered, (long long)(s->expected - s->delivered),
	    (unsigned long long)s->missing, (unsigned long long)s->repeated,
	    (double)s->accepted / seconds, (double)s->delivered / seconds,
	    (unsigned long long)s->load->pool.bytes_in,
	    (unsigned long long)s->load->pool.bytes_out);
	hist_write(&s->accept, b);
	strbuf_adds(b, ",\"deliver_ms\":");
	hist_write(&s->deliver, b);
	strbuf_adds(b, ",\"errors\":");
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
}

int events_run(struct load *load, struct error *err)
{
	static const struct client_events events = {
	    .open = on_open, .text = on_text, .closed = on_closed};
	const struct options *o = load->opt;
	struct state *s;
	int rc = -1;

	if (o->publishers == 0 || o->window > RING || o->size > PADDING_MAX)
		return err_set(err, ERR_REJECTED, "a publisher, window at most %d, size at most %d",
			       RING, PADDING_MAX);
	s = xcalloc(1, sizeof(*s));
	s->load = load;
	s->n_pubs = (unsigned)o->publishers;
	s->n_subs = (unsigned)o->subscribers;
	s->n_channels = (unsigned)o->channels;
	s->pubs = xcalloc(s->n_pubs, sizeof(*s->pubs));
	s->last = xcalloc((size_t)s->n_pubs * (s->n_subs + 1), sizeof(*s->last));
	s->padding = xcalloc(1, (size_t)o->size + 1);
	memset(s->padding, 'x', (size_t)o->size);
	timer_init(&s->tick, on_tick, s);
	timer_init(&s->end, on_end, s);
	if (pool_init(&load->pool, load->loop, o, s->n_pubs + s->n_subs, &events, err) == 0) {
		for (unsigned i = 0; i < load->pool.n; i++)
			load->pool.list[i].arg = s;
		pool_connect(&load->pool);
		loop_run(load->loop);
		if (s->stop_us == 0)
			s->stop_us = load_clock_us();
		report(s);
		rc = 0;
	}
	timer_cancel(load->loop, &s->tick);
	timer_cancel(load->loop, &s->end);
	pool_done(&load->pool);
	strbuf_done(&s->frame);
	free(s->padding);
	free(s->last);
	free(s->pubs);
	free(s);
	return rc;
}
