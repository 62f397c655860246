#include "services/edge/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "services/edge/conn.h"
#include "services/edge/topic.h"

#define BATCH_MIN 4 /* fewer writes go out one by one */

/* --- the turn's end ----------------------------------------------------------------------- */

static void tell_deflated(struct stats *s, struct deflater *d)
{
	if (!(d->packed_out | d->packed_in))
		return;
	metric_add(s->deflate[DEFLATE_PLAIN_OUT], d->plain_out);
	metric_add(s->deflate[DEFLATE_PACKED_OUT], d->packed_out);
	metric_add(s->deflate[DEFLATE_PLAIN_IN], d->plain_in);
	metric_add(s->deflate[DEFLATE_PACKED_IN], d->packed_in);
	d->plain_out = d->packed_out = d->plain_in = d->packed_in = 0;
}

static void tell_metrics(struct reactor *r)
{
	struct stats *s = &r->edge->stats;
	struct tally *t = &r->tally;

	if (!(t->frames_in | t->bytes_in | t->writes | t->deliveries | t->queued))
		return;
	metric_add(s->frames_in, t->frames_in);
	metric_add(s->frames_out, t->frames_out);
	metric_add(s->bytes_in, t->bytes_in);
	metric_add(s->bytes_out, t->bytes_out);
	metric_add(s->writes, t->writes);
	metric_add(s->batches, t->batches);
	metric_add(s->deliveries, t->deliveries);
	metric_add(s->lent, t->lent);
	metric_add(s->out_bytes, t->queued);
	*t = (struct tally){0};
	tell_deflated(s, &r->deflater);
}

static void bury(struct reactor *r)
{
	struct conn *c, *next;

	c = r->dead;
	r->dead = NULL;
	for (; c; c = next) {
		next = c->next;
		conn_free(c);
	}
}

static struct conn *next_dirty(struct reactor *r)
{
	struct conn *c = r->dirty;

	r->dirty = c->dirty_next;
	c->dirty = false;
	return c;
}

static bool worth_a_batch(const struct reactor *r)
{
	const struct conn *c = r->dirty;

	for (unsigned i = 1; c && i < BATCH_MIN; i++)
		c = c->dirty_next;
	return r->sends && c;
}

static void on_sent(void *who, ssize_t result)
{
	conn_sent(who, result);
}

static void flush_batch(struct reactor *r)
{
	struct conn *batch[SENDS_MAX];
	unsigned n = 0, writes = 0;

	while (r->dirty && n < SENDS_MAX) {
		batch[n] = next_dirty(r);
		writes += conn_burst(batch[n++], r->sends);
	}
	r->tally.batches += writes > 0;
	if (writes && !sends_go(r->sends, on_sent)) {
		log_at(LOG_WARN, "io_uring failed, every write is a call of its own from now on");
		sends_free(r->sends);
		r->sends = NULL;
	}
	for (unsigned i = 0; i < n; i++)
		conn_flush(batch[i]);
}

static void flush(struct reactor *r)
{
	int64_t writes = r->tally.writes, frames = r->tally.frames_out;

	while (r->dirty) {
		if (worth_a_batch(r))
			flush_batch(r);
		else
			conn_flush(next_dirty(r));
	}
	gather_wrote(&r->gather, r->tally.writes - writes, r->tally.frames_out - frames,
		     loop_now_us(r->loop), loop_clock_us(r->loop));
}

/* Not where somebody died: he is in the list still, and is about to be freed. */
static bool gathers(struct reactor *r)
{
	int64_t left_us = gather_left_us(&r->gather, loop_now_us(r->loop));

	if (!left_us || r->dead || r->stopped)
		return false;
	if (!timer_armed(&r->gathered))
		timer_set(r->loop, &r->gathered, left_us);
	return true;
}

static void on_gathered(struct timer *timer, void *arg)
{
	(void)timer; /* the turn's end does it */
	(void)arg;
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	struct reactor *r = arg;

	(void)hook;
	/* A turn without writes leaves the pause as it is. */
	if (r->dirty && !gathers(r))
		flush(r);
	receipts_turn_end(r);
	bury(r);
	tell_metrics(r);
}

/* --- mail --------------------------------------------------------------------------------- */

struct arrival {
	struct loop_post post;
	struct reactor *reactor;
	struct newcomer n;
};

void reactor_take(struct reactor *r, struct newcomer *n)
{
	struct frame *answer = NULL;
	struct conn *c;

	if (n->answer.len)
		answer = frame_new_raw(FRAME_CONTROL, n->answer.data, n->answer.len);
	else /* it comes from libmicrohttpd, which has its own wishes */
		conn_set_socket(r, n->fd);
	c = conn_new(r, n->fd, n->token, n->origin, &n->terms, answer);
	if (c && n->input.len)
		conn_input(c, (uint8_t *)n->input.data, n->input.len);
	if (c && !c->closed && r->draining)
		conn_close(c, CLOSE_DRAIN, "drain");
	strbuf_done(&n->answer);
	strbuf_done(&n->input);
}

static void on_arrival(struct loop_post *post)
{
	struct arrival *a = (struct arrival *)post;

	reactor_take(a->reactor, &a->n);
	free(a);
}

void reactor_accept(struct reactor *r, const struct newcomer *n)
{
	struct arrival *a = xmalloc(sizeof(*a));

	*a = (struct arrival){.post.fn = on_arrival, .reactor = r, .n = *n};
	loop_post(r->loop, &a->post);
}

static void on_batch(struct loop_post *post)
{
	struct batch *b = (struct batch *)post;
	struct reactor *r = b->reactor;

	for (size_t i = 0; i < b->n; i++)
		topic_live(b->items[i].topic, b->items[i].frame);
	atomic_fetch_sub_explicit(&r->mailbox, (int64_t)b->n, memory_order_relaxed);
	free(b);
}

static size_t sockets_of(const struct batch *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		n += b->items[i].topic->n;
	return n;
}

/* Only with its loop it can be seen how many subscribe. */
static bool deliver_here(struct batch *b, size_t *sockets)
{
	struct reactor *r = b->reactor;
	size_t n;
	bool few;

	if (!*sockets || !loop_borrow(r->loop))
		return false;
	n = sockets_of(b);
	few = n <= *sockets;
	if (few) {
		*sockets -= n;
		r->tally.lent += (int64_t)b->n;
		on_batch(&b->post);
	}
	loop_return(r->loop);
	return few;
}

void reactor_deliver(struct batch *batch, size_t *sockets)
{
	if (deliver_here(batch, sockets))
		return;
	batch->post.fn = on_batch;
	loop_post(batch->reactor->loop, &batch->post);
}

/* --- the log's life ------------------------------------------------------------------------- */

struct epoch_post {
	struct loop_post post;
	struct reactor *reactor;
	char epoch[EPOCH_LEN + 1];
};

static void on_epoch(struct loop_post *post)
{
	struct epoch_post *e = (struct epoch_post *)post;
	struct reactor *r = e->reactor;
	bool changed = *r->epoch != 0;
	struct topic *t;
	struct conn *next;

	memcpy(r->epoch, e->epoch, sizeof(r->epoch));
	(void)epoch_parse(r->epoch, &r->epoch_number);
	free(e);
	if (!changed)
		return;
	for (size_t at = 0; (t = table_next(&r->topics, &at));)
		topic_renew(t);
	for (struct conn *c = r->conns; c; c = next) {
		next = c->next;
		conn_close(c, CLOSE_EPOCH, "epoch changed");
	}
}

void reactor_epoch(struct reactor *r, const char *epoch)
{
	struct epoch_post *e = xcalloc(1, sizeof(*e));

	e->post.fn = on_epoch;
	e->reactor = r;
	memcpy(e->epoch, epoch, strlen(epoch));
	loop_post(r->loop, &e->post);
}

struct cut_off_post {
	struct loop_post post;
	struct reactor *reactor;
};

static void on_cut_off(struct loop_post *post)
{
	struct reactor *r = ((struct cut_off_post *)post)->reactor;
	struct topic *t;

	free(post);
	for (size_t at = 0; (t = table_next(&r->topics, &at));)
		topic_cut_off(t);
}

void reactor_cut_off(struct reactor *r)
{
	struct cut_off_post *c = xmalloc(sizeof(*c));

	*c = (struct cut_off_post){.post.fn = on_cut_off, .reactor = r};
	loop_post(r->loop, &c->post);
}

/* --- life --------------------------------------------------------------------------------- */

/* Said once for all reactors. */
static struct sends *new_sends(const struct reactor *r)
{
	struct sends *sends = NULL;
	struct error why = {.msg = "switched off"};

	if (r->edge->conf->io_uring)
		sends = sends_new(&why);
	if (!r->index)
		log_at(LOG_INFO, sends ? "writes by io_uring" : "writes without io_uring",
		       LOG_S("reason", sends ? NULL : why.msg));
	return sends;
}

struct reactor *reactor_new(struct edge *edge, unsigned index, struct error *err)
{
	struct reactor *r = xcalloc(1, sizeof(*r));

	r->edge = edge;
	r->index = index;
	r->session = edge->session;
	r->session.epoch = r->epoch;
	r->loop = edge->shared ? edge->shared : loop_new(err);
	if (!r->loop) {
		free(r);
		return NULL;
	}
	r->buffer = xmalloc(READ_BUFFER);
	r->sends = new_sends(r);
	r->deflater.level = (int)edge->conf->deflate_level;
	r->deflater.threshold = (uint32_t)edge->conf->deflate_bytes;
	if (edge->shared)
		rng_seed(&r->rng, edge->seed + index + 1);
	else
		rng_seed_os(&r->rng);
	r->hook = (struct loop_hook){.fn = on_turn_end, .arg = r};
	loop_hook_add(r->loop, &r->hook);
	timer_init(&r->gathered, on_gathered, r);
	receipts_start(r);
	return r;
}

static void *run(void *arg)
{
	struct reactor *r = arg;

	loop_run(r->loop);
	return NULL;
}

int reactor_start(struct reactor *r, struct error *err)
{
	int rc = r->edge->shared ? 0 : pthread_create(&r->thread, NULL, run, r);

	if (rc)
		return err_set(err, ERR_FATAL, "pthread_create: %s", strerror(rc));
	r->running = true;
	return 0;
}

struct stop_post {
	struct loop_post post;
	struct reactor *reactor;
	void (*stopped)(void *arg);
	void *arg;
};

static void tell_stopped(struct loop_post *post)
{
	struct stop_post *s = (struct stop_post *)post;

	s->stopped(s->arg);
	free(s);
}

static void on_stop(struct loop_post *post)
{
	struct stop_post *s = (struct stop_post *)post;
	struct reactor *r = s->reactor;

	r->stopped = true;
	gate_close(&r->gate);
	while (r->conns)
		conn_abort(r->conns);
	s->post.fn = tell_stopped;
	loop_post(hub_loop(r->edge->hub), &s->post);
}

void reactor_stop(struct reactor *r, void (*stopped)(void *arg), void *arg)
{
	struct stop_post *s = xmalloc(sizeof(*s));

	*s = (struct stop_post){.post.fn = on_stop, .reactor = r, .stopped = stopped, .arg = arg};
	loop_post(r->loop, &s->post);
}

struct end_post {
	struct loop_post post;
	struct reactor *reactor;
};

/* All requests are answered by now, so nothing points at a connection or topic any more. */
static void on_end(struct loop_post *post)
{
	struct end_post *e = (struct end_post *)post;
	struct reactor *r = e->reactor;
	size_t at = 0;
	struct topic *t;

	while ((t = table_next(&r->topics, &at))) {
		topic_free(t);
		at = 0;
	}
	if (r->edge->shared)
		r->running = false;
	else
		loop_stop(r->loop);
	free(e);
}

void reactor_join(struct reactor *r)
{
	struct end_post *e;

	if (!r->running)
		return;
	e = xmalloc(sizeof(*e));
	*e = (struct end_post){.post.fn = on_end, .reactor = r};
	loop_post(r->loop, &e->post);
	while (r->edge->shared && r->running)
		loop_turn(r->loop, 0);
	if (r->running)
		pthread_join(r->thread, NULL);
	r->running = false;
}

void reactor_free(struct reactor *r)
{
	if (!r)
		return;
	assert(!r->running && !r->n_conns);
	bury(r);
	loop_hook_del(r->loop, &r->hook);
	timer_cancel(r->loop, &r->gathered);
	receipts_done(r);
	if (!r->edge->shared)
		loop_free(r->loop);
	reactor_drains_free(r);
	table_done(&r->topics);
	table_done(&r->principals);
	out_pool_done(&r->pool);
	session_step_done(&r->step);
	strbuf_done(&r->text);
	deflater_done(&r->deflater);
	sends_free(r->sends);
	free(r->buffer);
	free(r);
}
