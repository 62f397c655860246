/* Mode idle: N subscribed connections that do nothing, held until standard input ends, so that
 * somebody can look at the edge's memory meanwhile. Says {"ready":N} when all are there. */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tools/load/load.h"

struct state {
	struct load *load;
	uint64_t subscribed;
	int64_t start_us, open_us, ready_us;
	struct loop_io input;
	bool reading;
	struct strbuf frame;
};

static void on_open(struct client *c)
{
	struct state *s = c->arg;
	const struct options *o = s->load->opt;

	if (c->pool->open == c->pool->n)
		s->open_us = load_clock_us();
	for (int64_t i = 0; i < o->subscriptions; i++) {
		int64_t channel = (c->index + i * 7919) % o->channels; /* several: different ones */

		strbuf_reset(&s->frame);
		strbuf_addf(&s->frame,
			    "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"idle.%s.%lld\"}",
			    s->load->run, (long long)channel);
		client_send(c, s->frame.data, s->frame.len);
	}
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	char code[32];

	if (scan_has(text, len, "\"op\":\"error\"")) {
		errors_count(&s->load->errors,
			     scan_text(text, len, "\"code\":\"", code, sizeof(code)) ? code : "?");
		s->load->failed = true;
		loop_stop(s->load->loop);
	} else if (scan_has(text, len, "\"op\":\"subscribed\"") &&
		   ++s->subscribed == (uint64_t)(c->pool->n * s->load->opt->subscriptions)) {
		s->ready_us = load_clock_us();
		printf("{\"ready\":%u}\n", c->pool->n);
		fflush(stdout);
	}
}

static void on_closed(struct client *c, const char *why)
{
	struct state *s = c->arg;

	errors_count(&s->load->errors, why);
	s->load->failed = true;
	loop_stop(s->load->loop);
}

static void on_input(struct loop_io *io, uint32_t events, void *arg)
{
	struct state *s = arg;
	char buf[256];

	(void)events;
	if (read(io->fd, buf, sizeof(buf)) <= 0)
		loop_stop(s->load->loop);
}

static void report(struct state *s)
{
	struct strbuf *b = &s->load->report;
	double opened = (double)(s->open_us - s->start_us) / 1e6;

	strbuf_addf(b,
		    "{\"connections\":%u,\"open\":%u,\"subscribed\":%llu,\"open_s\":%.3f,"
		    "\"connections_per_s\":%.1f,"
		    "\"ready_s\":%.3f,\"errors\":",
		    s->load->pool.n, s->load->pool.open, (unsigned long long)s->subscribed, opened,
		    opened > 0 ? s->load->pool.n / opened : 0,
		    (double)(s->ready_us - s->start_us) / 1e6);
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
}

int idle_run(struct load *load, struct error *err)
{
	static const struct client_events events = {on_open, on_text, on_closed};
	struct state s = {.load = load};

	s.input =
	    (struct loop_io){.fd = STDIN_FILENO, .events = EPOLLIN, .fn = on_input, .arg = &s};
	if (pool_init(&load->pool, load->loop, load->opt->url, load->opt->token,
		      (unsigned)load->opt->connections, &events, err) != 0)
		return -1;
	s.reading = loop_io_add(load->loop, &s.input, err) == 0;
	if (!s.reading) {
		pool_done(&load->pool);
		return err_wrap(err, "standard input must be a pipe or a terminal");
	}
	for (unsigned i = 0; i < load->pool.n; i++)
		load->pool.list[i].arg = &s;
	s.start_us = load_clock_us();
	pool_connect(&load->pool);
	loop_run(load->loop);
	report(&s);
	loop_io_del(load->loop, &s.input);
	pool_done(&load->pool);
	strbuf_done(&s.frame);
	return 0;
}
