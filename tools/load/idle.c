/* Mode idle: N subscribed connections that do nothing, in any dialect, held until standard input
 * ends, so that somebody can look at the servers meanwhile. Says {"ready":N,…} when all are there.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tools/load/load.h"
#include "tools/load/watch.h"

struct state {
	struct load *load;
	uint64_t subscribed;
	int64_t start_us, open_us, ready_us;
	struct loop_io input;
	bool reading;
	struct hist opened, subscribed_at; /* from the beginning of a connection */
	struct watch watch;
	struct usage before, after;
};

/* Several of one connection: different ones. */
static void place_nth(const struct client *c, int64_t i, struct place *p)
{
	const struct state *s = c->arg;
	int64_t channel = (c->index + i * 7919) % s->load->opt->channels;

	p->publishes = false;
	p->token = (unsigned)channel % s->load->opt->n_tokens;
	snprintf(p->channel, sizeof(p->channel), "idle.%s.%lld", s->load->run, (long long)channel);
}

static void place_of(const struct client *c, struct place *p)
{
	place_nth(c, 0, p);
}

static void ready(struct state *s, const struct client *c)
{
	const struct options *o = s->load->opt;

	hist_add(&s->subscribed_at, load_clock_us() - c->start_us);
	if (++s->subscribed != (uint64_t)(s->load->pool.n * o->subscriptions))
		return;
	s->ready_us = load_clock_us();
	watch_read(&s->watch, &s->after);
	printf("{\"ready\":%u}\n", s->load->pool.n);
	fflush(stdout);
}

static void on_open(struct client *c)
{
	struct state *s = c->arg;
	const struct options *o = s->load->opt;

	hist_add(&s->opened, load_clock_us() - c->start_us);
	if (c->pool->open == c->pool->n)
		s->open_us = load_clock_us();
	for (int64_t i = 0; i < o->subscriptions; i++) {
		struct place place;

		place_nth(c, i, &place);
		if (!o->dialect->subscribe(c, &place))
			ready(s, c);
	}
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	struct heard h;

	for (size_t n; len && c->state == CLIENT_OPEN; text += n, len -= n) {
		n = s->load->opt->dialect->read(c, text, len, &h);
		if (h.what == SAID_READY) {
			ready(s, c);
		} else if (h.what == SAID_REFUSED || h.what == SAID_BAD) {
			errors_count(&s->load->errors,
				     h.what == SAID_BAD ? "not understood" : h.code);
			s->load->failed = true;
			loop_stop(s->load->loop);
		}
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
		    "\"connections_per_s\":%.1f,\"ready_s\":%.3f,\"open_ms\":",
		    s->load->pool.n, s->load->pool.open, (unsigned long long)s->subscribed, opened,
		    opened > 0 ? s->load->pool.n / opened : 0,
		    (double)(s->ready_us - s->start_us) / 1e6);
	hist_write(&s->opened, b);
	strbuf_adds(b, ",\"subscribed_ms\":");
	hist_write(&s->subscribed_at, b);
	strbuf_adds(b, ",\"cpu_s\":");
	watch_write_cpu(&s->watch, &s->before, &s->after, b);
	strbuf_adds(b, ",\"bytes\":");
	watch_write_bytes(&s->watch, &s->before, &s->after, b);
	strbuf_adds(b, ",\"errors\":");
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
}

int idle_run(struct load *load, struct error *err)
{
	static const struct client_events events = {
	    .open = on_open, .text = on_text, .closed = on_closed, .place = place_of};
	struct state s = {.load = load};

	s.input =
	    (struct loop_io){.fd = STDIN_FILENO, .events = EPOLLIN, .fn = on_input, .arg = &s};
	if (watch_init(&s.watch, load->opt->watch, err) != 0 ||
	    pool_init(&load->pool, load->loop, load->opt, (unsigned)load->opt->connections, &events,
		      err) != 0)
		return -1;
	s.reading = loop_io_add(load->loop, &s.input, err) == 0;
	if (!s.reading) {
		pool_done(&load->pool);
		return err_wrap(err, "standard input must be a pipe or a terminal");
	}
	for (unsigned i = 0; i < load->pool.n; i++)
		load->pool.list[i].arg = &s;
	s.start_us = load_clock_us();
	watch_read(&s.watch, &s.before);
	pool_connect(&load->pool);
	loop_run(load->loop);
	report(&s);
	loop_io_del(load->loop, &s.input);
	pool_done(&load->pool);
	return 0;
}
