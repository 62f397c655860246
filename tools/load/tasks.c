/* Mode tasks: submits tasks and follows each to its end.
 *
 *      submitted ──accepted──► (task.stage.started) ──► (first delta) ──► task.completed | failed |
 * cancelled | expired
 *
 * A task's events may come before the answer to its command: what is known of a task is gathered
 * under its id. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/ids.h"
#include "tools/load/load.h"

#define TICK_US 1000

struct record { /* of one task; zeroed: a free place */
	uint64_t id;
	int64_t sent_us, started_us, text_us, done_us; /* -1: counted */
	bool completed;
};

struct submitter {
	uint32_t running; /* submitted and not ended */
};

struct state {
	struct load *load;
	struct submitter *conns;
	struct record *table; /* open addressing; grown at half */
	size_t mask, used;
	int64_t *sent; /* by number of the command */
	size_t sent_cap;
	uint64_t submitted, answered, accepted, refused, started, completed, ended_badly;
	struct timer tick, end;
	int64_t start_us, last_accepted_us, last_done_us, last_progress_us;
	double owed;
	int64_t owed_at_us;
	uint64_t throttled;
	unsigned next;
	bool over, told;
	struct hist accept, first_stage, first_text, done;
	struct strbuf frame;
};

static struct record *record_of(struct state *s, const char *task)
{
	uint64_t id = XXH3_64bits(task, strlen(task)) | 1;
	size_t at;

	if (!s->table || s->used * 2 > s->mask) {
		struct record *old = s->table;
		size_t n = s->table ? s->mask + 1 : 0;

		s->mask = n ? n * 2 - 1 : 4095;
		s->table = xcalloc(s->mask + 1, sizeof(*s->table));
		for (size_t i = 0; i < n; i++) {
			if (!old[i].id)
				continue;
			for (at = old[i].id & s->mask; s->table[at].id; at = (at + 1) & s->mask)
				;
			s->table[at] = old[i];
		}
		free(old);
	}
	for (at = id & s->mask; s->table[at].id && s->table[at].id != id; at = (at + 1) & s->mask)
		;
	if (!s->table[at].id) {
		s->table[at].id = id;
		s->used++;
	}
	return &s->table[at];
}

static bool may_submit(const struct state *s)
{
	return !s->over &&
	       (s->load->opt->count == 0 || s->submitted < (uint64_t)s->load->opt->count);
}

static void submit(struct state *s, unsigned index)
{
	const struct options *o = s->load->opt;
	struct strbuf *b = &s->frame;
	uint64_t n = s->submitted++;

	if (n == s->sent_cap) {
		s->sent_cap = s->sent_cap ? s->sent_cap * 2 : 4096;
		s->sent = xrealloc(s->sent, s->sent_cap * sizeof(*s->sent));
	}
	strbuf_reset(b);
	strbuf_addf(
	    b, "{\"op\":\"task\",\"id\":%llu,\"pipeline\":\"%s\",\"key\":\"%s-%llu\",\"input\":%s}",
	    (unsigned long long)n, o->pipeline, s->load->run, (unsigned long long)n, o->input);
	s->sent[n] = load_clock_us();
	s->conns[index].running++;
	client_send(&s->load->pool.list[index], b->data, b->len);
}

static void submit_due(struct state *s)
{
	const struct options *o = s->load->opt;
	int64_t now = load_clock_us();
	unsigned busy = 0, n = s->load->pool.n;

	if (o->rate > 0) {
		s->owed += (double)(now - s->owed_at_us) * (double)o->rate / 1e6;
		s->owed_at_us = now;
	} else {
		s->owed = 1e9;
	}
	while (may_submit(s) && s->owed >= 1 && busy < n) {
		unsigned i = s->next++ % n;

		if (s->conns[i].running >= o->window) {
			busy++;
			continue;
		}
		busy = 0;
		submit(s, i);
		s->owed -= 1;
	}
	if (o->rate > 0 && s->owed >= 1) {
		s->throttled += (uint64_t)s->owed;
		s->owed -= (double)(uint64_t)s->owed;
	}
}

static void on_open(struct client *c)
{
	struct state *s = c->arg;

	if (c->pool->open < c->pool->n || s->start_us)
		return;
	s->start_us = s->owed_at_us = s->last_progress_us = load_clock_us();
	if (s->load->opt->count == 0)
		timer_set(s->load->loop, &s->end, s->load->opt->seconds * 1000000);
	timer_set(s->load->loop, &s->tick, TICK_US);
	submit_due(s);
}

static void finished(struct state *s)
{
	bool no_more = !may_submit(s), all = s->answered == s->submitted;

	if (no_more && all &&
	    !s->told) { /* bench/run.py waits for it before it starts the workers */
		s->told = true;
		printf("{\"accepted\":%llu}\n", (unsigned long long)s->accepted);
		fflush(stdout);
	}
	if (no_more && all && s->completed + s->ended_badly >= s->accepted)
		loop_stop(s->load->loop);
}

/* Both the command's time and the events are known, in whichever order they came. */
static void settle(struct state *s, struct record *r)
{
	if (r->sent_us == 0)
		return;
	if (r->started_us > 0) {
		hist_add(&s->first_stage, r->started_us - r->sent_us);
		s->started++;
		r->started_us = -1;
	}
	if (r->text_us > 0) {
		hist_add(&s->first_text, r->text_us - r->sent_us);
		r->text_us = -1;
	}
	if (r->done_us > 0) {
		if (r->completed)
			hist_add(&s->done, r->done_us - r->sent_us);
		r->done_us = -1;
	}
}

static void on_answer(struct state *s, struct client *c, const char *text, size_t len,
		      bool accepted)
{
	int64_t n = scan_int(text, len, "\"id\":"), now = load_clock_us();
	char task[ID_LEN + 1], code[32];
	struct record *r;

	if (n < 0 || (uint64_t)n >= s->submitted) /* the answer to an unsubscribe */
		return;
	s->answered++;
	s->last_progress_us = now;
	if (accepted && scan_text(text, len, "\"task\":\"", task, sizeof(task))) {
		s->accepted++;
		s->last_accepted_us = now;
		hist_add(&s->accept, now - s->sent[n]);
		r = record_of(s, task);
		r->sent_us = s->sent[n];
		settle(s, r);
	} else {
		s->refused++;
		s->conns[c->index].running--;
		errors_count(&s->load->errors,
			     scan_text(text, len, "\"code\":\"", code, sizeof(code)) ? code : "?");
	}
	finished(s);
}

static void unsubscribe(struct state *s, struct client *c, const char *task)
{
	strbuf_reset(&s->frame);
	strbuf_addf(&s->frame, "{\"op\":\"unsubscribe\",\"id\":\"u\",\"channel\":\"task.%s\"}",
		    task);
	client_send(c, s->frame.data, s->frame.len);
}

static void on_event(struct state *s, struct client *c, const char *text, size_t len)
{
	int64_t now = load_clock_us();
	char task[ID_LEN + 1], type[64];
	struct record *r;

	if (!scan_text(text, len, "\"channel\":\"task.", task, sizeof(task)) ||
	    !scan_text(text, len, "\"type\":\"task.", type, sizeof(type)))
		return;
	s->last_progress_us = now;
	r = record_of(s, task);
	if (strcmp(type, "stage.started") == 0) {
		if (r->started_us == 0)
			r->started_us = now;
	} else if (strcmp(type, "completed") == 0 || strcmp(type, "failed") == 0 ||
		   strcmp(type, "cancelled") == 0 || strcmp(type, "expired") == 0) {
		if (r->done_us != 0) {
			errors_count(&s->load->errors, "ended twice");
			return;
		}
		r->done_us = s->last_done_us = now;
		r->completed = strcmp(type, "completed") == 0;
		s->completed += r->completed;
		s->ended_badly += !r->completed;
		s->conns[c->index].running--;
		unsubscribe(s, c, task);
		if (s->load->opt->rate == 0)
			submit_due(s);
	}
	settle(s, r);
	finished(s);
}

static void on_delta(struct state *s, const char *text, size_t len)
{
	char task[ID_LEN + 1];
	struct record *r;

	s->last_progress_us = load_clock_us();
	if (!scan_text(text, len, "\"task\":\"", task, sizeof(task)))
		return;
	r = record_of(s, task);
	if (r->text_us == 0)
		r->text_us = s->last_progress_us;
	settle(s, r);
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct state *s = c->arg;
	size_t head = len < 160 ? len : 160;

	if (scan_has(text, head, "\"op\":\"event\""))
		on_event(s, c, text, len);
	else if (scan_has(text, head, "\"op\":\"delta\""))
		on_delta(s, text, len);
	else if (scan_has(text, head, "\"op\":\"accepted\""))
		on_answer(s, c, text, len, true);
	else if (scan_has(text, head, "\"op\":\"error\""))
		on_answer(s, c, text, len, false);
	else if (scan_has(text, head, "\"op\":\"gap\""))
		errors_count(&s->load->errors, "gap");
}

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

	submit_due(s);
	if (load_clock_us() - s->last_progress_us > s->load->opt->quiet_s * 1000000) {
		errors_count(&s->load->errors, "no progress");
		s->load->failed = true;
		loop_stop(s->load->loop);
		return;
	}
	timer_set(s->load->loop, timer, TICK_US);
}

static void on_end(struct timer *timer, void *arg)
{
	struct state *s = arg;

	(void)timer;
	s->over = true;
	finished(s);
}

static void report(struct state *s)
{
	struct strbuf *b = &s->load->report;
	double all = (double)(s->last_done_us - s->start_us) / 1e6;
	int64_t since_done = load_clock_us() - s->last_done_us;

	strbuf_addf(b,
		    "{\"connections\":%u,\"submitted\":%llu,\"accepted\":%llu,\"refused\":%llu,"
		    "\"completed\":%llu,"
		    "\"ended_badly\":%llu,\"throttled\":%llu,\"submit_s\":%.3f,\"total_s\":%.3f,"
		    "\"tasks_per_s\":%.1f,"
		    "\"last_done_unix\":%.6f,\"accept_ms\":",
		    s->load->pool.n, (unsigned long long)s->submitted,
		    (unsigned long long)s->accepted, (unsigned long long)s->refused,
		    (unsigned long long)s->completed, (unsigned long long)s->ended_badly,
		    (unsigned long long)s->throttled,
		    (double)(s->last_accepted_us - s->start_us) / 1e6, all,
		    all > 0 ? (double)s->completed / all : 0,
		    (double)(loop_wall_us(s->load->loop) - since_done) / 1e6);
	hist_write(&s->accept, b);
	strbuf_adds(b, ",\"first_stage_ms\":");
	hist_write(&s->first_stage, b);
	strbuf_adds(b, ",\"first_text_ms\":");
	hist_write(&s->first_text, b);
	strbuf_adds(b, ",\"done_ms\":");
	hist_write(&s->done, b);
	strbuf_adds(b, ",\"errors\":");
	errors_write(&s->load->errors, b);
	strbuf_addc(b, '}');
}

int tasks_run(struct load *load, struct error *err)
{
	static const struct client_events events = {
	    .open = on_open, .text = on_text, .closed = on_closed};
	const struct options *o = load->opt;
	struct state s = {.load = load};
	unsigned n = (unsigned)o->connections;
	int rc = -1;

	/* Each running task is a subscription of its connection, and those are bounded. */
	if (o->rate == 0 && o->count > 0 && n < (o->count + o->window - 1) / o->window)
		n = (unsigned)((o->count + o->window - 1) / o->window);
	s.conns = xcalloc(n, sizeof(*s.conns));
	timer_init(&s.tick, on_tick, &s);
	timer_init(&s.end, on_end, &s);
	if (pool_init(&load->pool, load->loop, o, n, &events, err) == 0) {
		for (unsigned i = 0; i < n; i++)
			load->pool.list[i].arg = &s;
		pool_connect(&load->pool);
		loop_run(load->loop);
		report(&s);
		load->failed = load->failed || s.completed < s.accepted;
		rc = 0;
	}
	timer_cancel(load->loop, &s.tick);
	timer_cancel(load->loop, &s.end);
	pool_done(&load->pool);
	strbuf_done(&s.frame);
	free(s.sent);
	free(s.table);
	free(s.conns);
	return rc;
}
