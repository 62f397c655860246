/* Mode roam: subscribers and publishers that go where the edges send them, and lose nothing.
 *
 *      connect, subscribe ──all there──► run (edges drain, stop, die, come back) ──time over──► all
 *      that was accepted has arrived ──► report
 *
 * A client that is told to `drain` goes to the edge that it was told, when it was told (every
 * fourth one waits for the close); one that was closed goes there at once, one that was lost to the
 * next edge with a growing pause. A subscriber continues after the offset that it has; each event
 * must come once, on top of the one before (`prev`). A publisher repeats under their keys whatever
 * was not answered. Penstock only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/load.h"

#define EDGES_MAX  16
#define WINDOW_MAX 64
#define TICK_US    2000
#define SETTLE_US  100000
#define PAUSE_US   50000 /* before the first try somewhere else; doubled up to … */
#define PAUSES_MAX 5
#define POLL_US    10000 /* whether a publisher that was told to go has all its answers */
#define WAITS      4     /* one of so many */
#define EPOCH_MAX  64

struct roamer {
	struct client *client;
	struct timer timer; /* when to go */
	const char *next;   /* port of the edge it was told to go to; NULL: it was not told */
	unsigned edge, tries;
	int64_t away_us; /* since when it has no subscription; 0: it has one */
	/* a subscriber */
	bool placed; /* knows where it stands */
	uint64_t last, events;
	/* a publisher */
	uint64_t sent; /* numbers count from 1 */
	uint64_t open[WINDOW_MAX];
	unsigned n_open;
	int64_t hold_us; /* refused for now: not before */
};

struct state {
	struct load *load;
	enum { GATHER, RUN, SETTLE } phase;
	struct roamer *list; /* publishers, then subscribers */
	unsigned n_pubs, n, n_channels, n_edges, there;
	char *urls, *ports[EDGES_MAX];
	uint64_t *accepted; /* of each channel */
	uint64_t published, all_accepted, duplicates, throttled, delivered, repeated, holes,
	    not_recovered, gaps, told, moved, closed_4200;
	char epoch[EPOCH_MAX];
	struct timer tick, end;
	int64_t start_us, stop_us, progress_us, owed_at_us;
	double owed;
	unsigned turn;
	struct hist away; /* from the last socket's end to the new subscription */
	struct strbuf frame;
};

static unsigned channel_of(const struct state *s, unsigned index)
{
	return (index < s->n_pubs ? index : index - s->n_pubs) % s->n_channels;
}

/* --- publishing --------------------------------------------------------------------------- */

static void send_event(struct state *s, unsigned index, uint64_t n)
{
	struct strbuf *b = &s->frame;

	strbuf_reset(b);
	strbuf_addf(b,
		    "{\"op\":\"publish\",\"id\":%llu,\"channel\":\"roam.%s.%u\",\"type\":\"%s\","
		    "\"key\":\"%s-%u-%llu\",\"data\":{\"p\":%u,\"n\":%llu}}",
		    (unsigned long long)n, s->load->run, channel_of(s, index), s->load->opt->type,
		    s->load->run, index, (unsigned long long)n, index, (unsigned long long)n);
	client_send(s->list[index].client, b->data, b->len);
}

static bool may_publish(const struct state *s, const struct roamer *r, int64_t now)
{
	return r->client->state == CLIENT_OPEN && !r->next && now >= r->hold_us &&
	       r->n_open < (unsigned)s->load->opt->window;
}

static void publish_due(struct state *s)
{
	int64_t now = load_clock_us();

	s->owed += (double)(now - s->owed_at_us) * (double)s->load->opt->rate / 1e6;
	s->owed_at_us = now;
	for (unsigned busy = 0; s->owed >= 1 && busy < s->n_pubs;) {
		unsigned i = s->turn++ % s->n_pubs;
		struct roamer *r = &s->list[i];

		if (!may_publish(s, r, now)) {
			busy++;
			continue;
		}
		busy = 0;
		s->owed -= 1;
		s->published++;
		r->open[r->n_open++] = ++r->sent;
		send_event(s, i, r->sent);
	}
	if (s->owed >= 1) { /* all publishers are on their way somewhere */
		s->throttled += (uint64_t)s->owed;
		s->owed -= (double)(uint64_t)s->owed;
	}
}

static void repeat_open(struct state *s, struct roamer *r)
{
	for (unsigned i = 0; i < r->n_open; i++)
		send_event(s, r->client->index, r->open[i]);
}

static void on_accepted(struct state *s, struct roamer *r, const char *text, size_t len)
{
	int64_t n = scan_int(text, len, "\"id\":");

	for (unsigned i = 0; i < r->n_open; i++) {
		if (r->open[i] != (uint64_t)n)
			continue;
		r->open[i] = r->open[--r->n_open];
		s->accepted[channel_of(s, r->client->index)]++;
		s->all_accepted++;
		s->duplicates += scan_has(text, len, "\"duplicate\":true");
		s->progress_us = r->client->pool->read_us;
		return;
	}
}

/* --- subscribing -------------------------------------------------------------------------- */

static void subscribe(struct state *s, struct roamer *r)
{
	struct strbuf *b = &s->frame;

	strbuf_reset(b);
	strbuf_addf(b, "{\"op\":\"subscribe\",\"id\":0,\"channel\":\"roam.%s.%u\"", s->load->run,
		    channel_of(s, r->client->index));
	if (r->placed)
		strbuf_addf(b, ",\"after\":{\"epoch\":\"%s\",\"offset\":%llu}", s->epoch,
			    (unsigned long long)r->last);
	strbuf_addc(b, '}');
	client_send(r->client, b->data, b->len);
}

static void begin(struct state *s)
{
	s->phase = RUN;
	s->start_us = s->progress_us = s->owed_at_us = load_clock_us();
	timer_set(s->load->loop, &s->tick, TICK_US);
	timer_set(s->load->loop, &s->end, s->load->opt->seconds * 1000000);
	printf("{\"ready\":%u}\n", s->n); /* whoever started us may drain edges now */
	fflush(stdout);
}

static void arrived(struct state *s, struct roamer *r)
{
	r->tries = 0;
	if (r->away_us) {
		hist_add(&s->away, load_clock_us() - r->away_us);
		s->moved++;
	}
	r->away_us = 0;
	if (s->phase == GATHER && ++s->there == s->n)
		begin(s);
}

static void on_subscribed(struct state *s, struct roamer *r, const char *text, size_t len)
{
	if (r->placed && !scan_has(text, len, "\"recovered\":true"))
		s->not_recovered++;
	if (!r->placed)
		r->last = (uint64_t)scan_int(text, len, "\"offset\":");
	r->placed = true;
	(void)scan_text(text, len, "\"epoch\":\"", s->epoch, sizeof(s->epoch));
	arrived(s, r);
}

/* The first one's `prev` may lie before the position that the subscription began with. */
static void on_event(struct state *s, struct roamer *r, const char *text, size_t len)
{
	uint64_t offset = (uint64_t)scan_int(text, len, "\"offset\":"),
		 prev = (uint64_t)scan_int(text, len, "\"prev\":");

	if (offset <= r->last) {
		s->repeated++;
		return;
	}
	s->holes += r->events ? prev != r->last : prev > r->last;
	r->last = offset;
	r->events++;
	s->delivered++;
	s->progress_us = r->client->pool->read_us;
}

/* --- moving ------------------------------------------------------------------------------- */

/* Told to go: the timer runs when. */
static void on_drain(struct state *s, struct roamer *r, const char *text, size_t len)
{
	char url[256], *colon;
	int64_t after_ms = scan_int(text, len, "\"reconnect_after_ms\":");

	s->told++;
	r->next = s->ports[(r->edge + 1) % s->n_edges];
	if (scan_text(text, len, "\"url\":\"", url, sizeof(url)) && (colon = strrchr(url, ':')))
		for (unsigned i = 0; i < s->n_edges; i++)
			if (!strcmp(colon + 1, s->ports[i]))
				r->next = s->ports[i];
	if (r->client->index % WAITS != WAITS - 1)
		timer_set(s->load->loop, &r->timer, after_ms * 1000);
}

static void go(struct state *s, struct roamer *r)
{
	struct client *c = r->client;
	struct error err;

	if (r->next) {
		for (unsigned i = 0; i < s->n_edges; i++)
			if (s->ports[i] == r->next)
				r->edge = i;
	} else {
		r->edge = (r->edge + 1) % s->n_edges;
	}
	r->next = NULL;
	if (client_again(c, s->ports[r->edge], &err) == 0)
		return;
	errors_count(&s->load->errors, err.msg);
	timer_set(s->load->loop, &r->timer, PAUSE_US << r->tries);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct client *c = arg;
	struct state *s = c->arg;
	struct roamer *r = &s->list[c->index];

	/* A publisher waits for its answers: the edge closes it soon enough. */
	if (c->state == CLIENT_OPEN && r->n_open) {
		timer_set(s->load->loop, timer, POLL_US);
		return;
	}
	if (c->state != CLIENT_CLOSED) {
		r->away_us = load_clock_us();
		client_leave(c);
	}
	go(s, r);
}

static void on_closed(struct client *c, const char *why)
{
	struct state *s = c->arg;
	struct roamer *r = &s->list[c->index];
	int64_t pause = 0;

	if (!r->away_us)
		r->away_us = load_clock_us();
	if (!strcmp(why, "close 4200"))
		s->closed_4200++;
	else
		errors_count(&s->load->errors, why);
	if (!r->next) {
		pause = (PAUSE_US << r->tries) / 2;
		pause += (int64_t)rng_below(&c->pool->rng, (uint64_t)pause);
		r->tries += r->tries < PAUSES_MAX;
	}
	timer_set(s->load->loop, &r->timer, pause);
}

/* --- what comes --------------------------------------------------------------------------- */

static void on_open(struct client *c)
{
	struct state *s = c->arg;
	struct roamer *r = &s->list[c->index];

	if (c->index >= s->n_pubs) {
		subscribe(s, r);
		return;
	}
	arrived(s, r);
	repeat_open(s, r);
}

static void on_error(struct state *s, struct roamer *r, const char *text, size_t len)
{
	char code[32];
	int64_t after_ms = scan_int(text, len, "\"retry_after_ms\":");

	errors_count(&s->load->errors,
		     scan_text(text, len, "\"code\":\"", code, sizeof(code)) ? code : "?");
	if (!scan_has(text, len, "\"temporary\":true")) {
		s->load->failed = true;
		loop_stop(s->load->loop);
	} else if (r->client->index < s->n_pubs) {
		/* on_tick() repeats it. */
		r->hold_us = load_clock_us() + (after_ms > 0 ? after_ms : 100) * 1000;
	} else {
		timer_set(s->load->loop, &r->timer, (after_ms > 0 ? after_ms : 100) * 1000);
	}
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	struct roamer *r = &s->list[c->index];
	size_t head = len < 160 ? len : 160; /* op comes early in a frame, data late */

	if (scan_has(text, head, "\"op\":\"event\""))
		on_event(s, r, text, len);
	else if (scan_has(text, head, "\"op\":\"accepted\""))
		on_accepted(s, r, text, len);
	else if (scan_has(text, head, "\"op\":\"subscribed\""))
		on_subscribed(s, r, text, len);
	else if (scan_has(text, head, "\"op\":\"drain\""))
		on_drain(s, r, text, len);
	else if (scan_has(text, head, "\"op\":\"error\""))
		on_error(s, r, text, len);
	else if (scan_has(text, head, "\"op\":\"gap\""))
		s->gaps++;
}

/* --- time --------------------------------------------------------------------------------- */

static void on_tick(struct timer *timer, void *arg)
{
	struct state *s = arg;
	int64_t now = load_clock_us();

	for (unsigned i = 0; i < s->n_pubs; i++) {
		struct roamer *r = &s->list[i];

		if (!r->hold_us || now < r->hold_us)
			continue;
		r->hold_us = 0;
		if (r->client->state == CLIENT_OPEN)
			repeat_open(s, r);
	}
	if (s->phase == RUN)
		publish_due(s);
	timer_set(s->load->loop, timer, TICK_US);
}

static bool all_there(const struct state *s)
{
	for (unsigned i = 0; i < s->n_pubs; i++)
		if (s->list[i].n_open)
			return false;
	for (unsigned i = s->n_pubs; i < s->n; i++)
		if (s->list[i].events < s->accepted[channel_of(s, i)])
			return false;
	return true;
}

static void on_end(struct timer *timer, void *arg)
{
	struct state *s = arg;

	if (s->phase == RUN) {
		s->phase = SETTLE;
		s->stop_us = s->progress_us = load_clock_us();
	}
	if (all_there(s) || load_clock_us() - s->progress_us > s->load->opt->quiet_s * 1000000)
		loop_stop(s->load->loop);
	else
		timer_set(s->load->loop, timer, SETTLE_US);
}

/* --- life --------------------------------------------------------------------------------- */

static uint64_t report(struct state *s)
{
	struct strbuf *b = &s->load->report;
	uint64_t expected = 0, behind = 0, unanswered = 0;

	for (unsigned i = 0; i < s->n_pubs; i++)
		unanswered += s->list[i].n_open;
	for (unsigned i = s->n_pubs; i < s->n; i++) {
		uint64_t want = s->accepted[channel_of(s, i)];

		expected += want;
		behind += s->list[i].events != want;
	}
	strbuf_addf(
	    b,
	    "{\"publishers\":%u,\"subscribers\":%u,\"channels\":%u,\"edges\":%u,"
	    "\"seconds\":%.3f,\"published\":%llu,\"accepted\":%llu,\"unanswered\":%llu,"
	    "\"duplicates_answered\":%llu,\"throttled\":%llu,\"expected\":%llu,"
	    "\"delivered\":%llu,\"subscribers_behind\":%llu,\"repeated\":%llu,\"holes\":%llu,"
	    "\"not_recovered\":%llu,\"gaps\":%llu,\"told\":%llu,\"moved\":%llu,"
	    "\"closed_4200\":%llu,\"away_ms\":",
	    s->n_pubs, s->n - s->n_pubs, s->n_channels, s->n_edges,
	    (double)(s->stop_us - s->start_us) / 1e6, (unsigned long long)s->published,
	    (unsigned long long)s->all_accepted, (unsigned long long)unanswered,
	    (unsigned long long)s->duplicates, (unsigned long long)s->throttled,
	    (unsigned long long)expected, (unsigned long long)s->delivered,
	    (unsigned long long)behind, (unsigned long long)s->repeated,
	    (unsigned long long)s->holes, (unsigned long long)s->not_recovered,
	    (unsigned long long)s->gaps, (unsigned long long)s->told, (unsigned long long)s->moved,
	    (unsigned long long)s->closed_4200);
	hist_write(&s->away, b);
	strbuf_adds(b, ",\"errors\":");
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
	return behind + unanswered + s->repeated + s->holes + s->not_recovered;
}

/* http://host:port,http://host:port, all of one host. */
static int read_edges(struct state *s, struct error *err)
{
	const struct options *o = s->load->opt;
	char *save = NULL;

	s->urls = xstrdup(o->edges ? o->edges : o->url);
	for (char *url = strtok_r(s->urls, ",", &save); url; url = strtok_r(NULL, ",", &save)) {
		char *colon = strrchr(url, ':');

		if (s->n_edges == EDGES_MAX || !colon || colon[1] < '0' || colon[1] > '9')
			return err_set(err, ERR_REJECTED,
				       "--edges: at most %d of http://address:port", EDGES_MAX);
		colon[1 + strspn(colon + 1, "0123456789")] = '\0';
		s->ports[s->n_edges++] = colon + 1;
	}
	return 0;
}

static void prepare(struct state *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct client *c = &s->load->pool.list[i];
		struct roamer *r = &s->list[i];

		c->arg = s;
		r->client = c;
		r->edge = i % s->n_edges;
		c->port = s->ports[r->edge];
		timer_init(&r->timer, on_timer, c);
	}
}

int roam_run(struct load *load, struct error *err)
{
	static const struct client_events events = {
	    .open = on_open, .text = on_text, .closed = on_closed};
	const struct options *o = load->opt;
	struct state *s = xcalloc(1, sizeof(*s));
	int rc = -1;

	s->load = load;
	s->n_pubs = (unsigned)o->publishers;
	s->n = s->n_pubs + (unsigned)o->subscribers;
	s->n_channels = (unsigned)o->channels;
	s->list = xcalloc(s->n, sizeof(*s->list));
	s->accepted = xcalloc(s->n_channels, sizeof(*s->accepted));
	timer_init(&s->tick, on_tick, s);
	timer_init(&s->end, on_end, s);
	if (o->window > WINDOW_MAX || o->rate < 1 || s->n == 0)
		err_set(err, ERR_REJECTED, "a rate, a window up to %d, and somebody, are needed",
			WINDOW_MAX);
	else if (read_edges(s, err) == 0)
		rc = pool_init(&load->pool, load->loop, o, s->n, &events, err);
	if (rc == 0) {
		prepare(s);
		pool_connect(&load->pool);
		loop_run(load->loop);
		load->failed |= report(s) > 0 || s->phase != SETTLE;
		for (unsigned i = 0; i < s->n; i++)
			timer_cancel(load->loop, &s->list[i].timer);
		pool_done(&load->pool);
	}
	timer_cancel(load->loop, &s->tick);
	timer_cancel(load->loop, &s->end);
	strbuf_done(&s->frame);
	free(s->urls);
	free(s->accepted);
	free(s->list);
	free(s);
	return rc;
}
