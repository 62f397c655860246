/* Mode resume: N clients come back at once, each --behind events behind on a channel of its own.
 *
 *      the clients connect by key, keep their resume tokens and leave ──► behind + 1 events are
 * published on each channel ──► the clients resume their sessions, subscribe after the first
 * ──► each has the rest, in order ──► report
 *
 * A pool for each step: the crowd; the publishers, who learn where the first events lie and of
 * which epoch they are; the crowd again. Penstock only: nobody else has a log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/load.h"
#include "tools/load/watch.h"

#define PUBLISHERS 16
#define EPOCH_MAX  64
#define TOKEN_MAX  4800

struct place_in_log {
	uint64_t first, last; /* offsets: the first event's, the newest one that the client has */
	unsigned events;
	int64_t open_us;
	char *token; /* to resume with */
	char session[40];
};

struct state {
	struct load *load;
	struct place_in_log *channels;
	unsigned n, published, accepted, in_flight, back;
	char epoch[EPOCH_MAX];
	int64_t start_us, open_us, done_us, progress_us;
	struct hist connected; /* from the handshake's answer to `connected` */
	struct hist caught_up; /* from `connected` to the last event */
	struct timer tick;
	struct watch watch;
	struct usage before, after;
	struct strbuf frame;
};

static unsigned total(const struct state *s)
{
	return s->n * (unsigned)(s->load->opt->behind + 1);
}

static void failed(struct state *s, const char *text, size_t len)
{
	char code[32];

	errors_count(&s->load->errors,
		     scan_text(text, len, "\"code\":\"", code, sizeof(code)) ? code : "gap");
	s->load->failed = true;
}

/* --- sessions begin ------------------------------------------------------------------------ */

static void on_first_greeting(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	struct place_in_log *ch = &s->channels[c->index];
	char token[TOKEN_MAX];

	s->progress_us = c->pool->read_us;
	if (scan_text(text, len, "\"resume\":\"", token, sizeof(token)) &&
	    scan_text(text, len, "\"session\":\"", ch->session, sizeof(ch->session)))
		ch->token = xstrdup(token);
	else
		failed(s, text, len);
}

static void on_first(struct client *c)
{
	if (c->pool->open == c->pool->n)
		loop_stop(c->pool->loop);
}

static void on_first_text(struct client *c, const char *text, size_t len)
{
	if (scan_has(text, len, "\"op\":\"error\""))
		failed(c->arg, text, len);
}

/* --- the log is written ------------------------------------------------------------------- */

/* Event k goes to channel k % n, and that channel's events all through one publisher: in order. */
static void publish_more(struct state *s)
{
	struct pool *p = &s->load->pool;

	while (s->published < total(s) && s->in_flight < PUBLISHERS * s->load->opt->window) {
		unsigned k = s->published++, channel = k % s->n;

		strbuf_reset(&s->frame);
		strbuf_addf(&s->frame,
			    "{\"op\":\"publish\",\"id\":%u,\"channel\":\"resume.%s.%u\",\"type\":"
			    "\"%s\",\"data\":%u}",
			    k, s->load->run, channel, s->load->opt->type, k / s->n);
		s->in_flight++;
		client_send(&p->list[channel % PUBLISHERS], s->frame.data, s->frame.len);
	}
}

static void on_publisher(struct client *c)
{
	struct state *s = c->arg;

	if (c->pool->open < c->pool->n)
		return;
	strbuf_reset(&s->frame);
	strbuf_addf(&s->frame, "{\"op\":\"subscribe\",\"id\":0,\"channel\":\"resume.%s.epoch\"}",
		    s->load->run);
	client_send(c, s->frame.data, s->frame.len);
	publish_more(s);
}

static void on_publisher_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;

	s->progress_us = c->pool->read_us;
	if (scan_has(text, len, "\"op\":\"subscribed\"")) {
		(void)scan_text(text, len, "\"epoch\":\"", s->epoch, sizeof(s->epoch));
	} else if (scan_has(text, len, "\"op\":\"accepted\"")) {
		int64_t k = scan_int(text, len, "\"id\":");

		s->in_flight--;
		s->accepted++;
		if (k >= 0 && k < s->n)
			s->channels[k].first = (uint64_t)scan_int(text, len, "\"offset\":");
		publish_more(s);
	} else if (scan_has(text, len, "\"op\":\"error\"")) {
		failed(s, text, len);
		loop_stop(s->load->loop);
	}
	if (s->accepted == total(s) && *s->epoch)
		loop_stop(s->load->loop);
}

/* --- the crowd comes back ------------------------------------------------------------------- */

static void on_hello(struct client *c)
{
	struct state *s = c->arg;
	struct place_in_log *ch = &s->channels[c->index];

	ch->open_us = c->pool->read_us;
	strbuf_reset(&s->frame);
	strbuf_addf(&s->frame, "{\"op\":\"connect\",\"resume\":\"%s\"}", ch->token);
	client_send(c, s->frame.data, s->frame.len);
}

static void on_back_greeting(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	struct place_in_log *ch = &s->channels[c->index];
	char session[sizeof(ch->session)];

	hist_add(&s->connected, c->pool->read_us - ch->open_us);
	if (!scan_text(text, len, "\"session\":\"", session, sizeof(session)) ||
	    strcmp(session, ch->session) != 0)
		errors_count(&s->load->errors, "another session");
}

static void on_back(struct client *c)
{
	struct state *s = c->arg;
	struct place_in_log *ch = &s->channels[c->index];

	ch->last = ch->first;
	ch->open_us = c->pool->read_us;
	if (c->pool->open == c->pool->n)
		s->open_us = ch->open_us;
	strbuf_reset(&s->frame);
	strbuf_addf(&s->frame,
		    "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"resume.%s.%u\",\"after\":"
		    "{\"epoch\":\"%s\",\"offset\":%llu}}",
		    s->load->run, c->index, s->epoch, (unsigned long long)ch->first);
	client_send(c, s->frame.data, s->frame.len);
}

static void on_back_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	struct place_in_log *ch = &s->channels[c->index];

	s->progress_us = c->pool->read_us;
	if (scan_has(text, len, "\"op\":\"event\"")) {
		uint64_t offset = (uint64_t)scan_int(text, len, "\"offset\":");

		if ((uint64_t)scan_int(text, len, "\"prev\":") != ch->last)
			errors_count(&s->load->errors, "a hole");
		ch->last = offset;
		if (++ch->events != s->load->opt->behind)
			return;
		hist_add(&s->caught_up, c->pool->read_us - ch->open_us);
		if (++s->back < s->n)
			return;
		s->done_us = c->pool->read_us;
		loop_stop(s->load->loop);
	} else if (scan_has(text, len, "\"op\":\"error\"") ||
		   scan_has(text, len, "\"op\":\"gap\"") ||
		   scan_has(text, len, "\"recovered\":false")) {
		failed(s, text, len);
	}
}

/* --- life --------------------------------------------------------------------------------- */

static void on_closed(struct client *c, const char *why)
{
	struct state *s = c->arg;

	errors_count(&s->load->errors, why);
	s->load->failed = true;
	loop_stop(s->load->loop);
}

static void on_tick(struct timer *timer, void *arg)
{
	struct state *s = arg;

	if (load_clock_us() - s->progress_us > s->load->opt->quiet_s * 1000000) {
		errors_count(&s->load->errors, "no progress");
		s->load->failed = true;
		loop_stop(s->load->loop);
		return;
	}
	timer_set(s->load->loop, timer, 100000);
}

static int crowd(struct state *s, unsigned n, const struct client_events *events, struct error *err)
{
	struct load *load = s->load;

	if (pool_init(&load->pool, load->loop, load->opt, n, events, err) != 0)
		return -1;
	for (unsigned i = 0; i < n; i++)
		load->pool.list[i].arg = s;
	s->progress_us = s->start_us = load_clock_us();
	timer_set(load->loop, &s->tick, 100000);
	pool_connect(&load->pool);
	loop_run(load->loop);
	timer_cancel(load->loop, &s->tick);
	pool_done(&load->pool);
	return 0;
}

static void report(struct state *s)
{
	struct strbuf *b = &s->load->report;
	int64_t end = s->done_us ? s->done_us : load_clock_us();

	strbuf_addf(b,
		    "{\"connections\":%u,\"behind\":%lld,\"caught_up\":%u,\"all_open_s\":%.3f,"
		    "\"all_caught_up_s\":%.3f,\"connected_ms\":",
		    s->n, (long long)s->load->opt->behind, s->back,
		    (double)(s->open_us - s->start_us) / 1e6, (double)(end - s->start_us) / 1e6);
	hist_write(&s->connected, b);
	strbuf_adds(b, ",\"caught_up_ms\":");
	hist_write(&s->caught_up, b);
	strbuf_adds(b, ",\"cpu_s\":");
	watch_write_cpu(&s->watch, &s->before, &s->after, b);
	strbuf_adds(b, ",\"errors\":");
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
}

int resume_run(struct load *load, struct error *err)
{
	static const struct client_events firsts = {
	    .open = on_first,
	    .text = on_first_text,
	    .closed = on_closed,
	    .greeted = on_first_greeting,
	};
	static const struct client_events publishers = {
	    .open = on_publisher, .text = on_publisher_text, .closed = on_closed};
	static const struct client_events clients = {
	    .open = on_back,
	    .text = on_back_text,
	    .closed = on_closed,
	    .hello = on_hello,
	    .greeted = on_back_greeting,
	};
	struct state *s = xcalloc(1, sizeof(*s));
	int rc = -1;

	s->load = load;
	s->n = (unsigned)load->opt->connections;
	s->channels = xcalloc(s->n, sizeof(*s->channels));
	timer_init(&s->tick, on_tick, s);
	if (watch_init(&s->watch, load->opt->watch, err) == 0)
		rc = crowd(s, s->n, &firsts, err);
	if (rc == 0 && !load->failed)
		rc = crowd(s, PUBLISHERS, &publishers, err);
	if (rc == 0 && !load->failed) {
		watch_read(&s->watch, &s->before);
		rc = crowd(s, s->n, &clients, err);
		watch_read(&s->watch, &s->after);
	}
	if (rc == 0)
		report(s);
	load->failed = load->failed || s->back < s->n;
	strbuf_done(&s->frame);
	for (unsigned i = 0; i < s->n; i++)
		free(s->channels[i].token);
	free(s->channels);
	free(s);
	return rc;
}
