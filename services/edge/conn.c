#include "services/edge/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "services/edge/link.h"

#define VECTORS          64
#define ENVELOPE         4096     /* of a task message around its input */
#define WINDOW_US        100000   /* over which the rate of messages is bounded */
#define GOOD_BYE_US      2000000  /* for the client's half of the closing handshake */
#define GOOD_BYE_SLOW_US 10000000 /* the same where much is on its way before the close frame */
#define DRAIN_RECHECK_US 50000    /* whether commands under way are answered */

static void on_io(struct loop_io *io, uint32_t events, void *arg);
static void on_timer(struct timer *timer, void *arg);

/* --- time --------------------------------------------------------------------------------- */

/* Lazily: a timer that fires too early only looks and is armed again. */
static void arm(struct conn *c)
{
	int64_t now = loop_now_us(c->reactor->loop), due = c->session.due_us;

	if (c->closed)
		return;
	if (c->paused && c->window_us + WINDOW_US < due)
		due = c->window_us + WINDOW_US;
	if (c->give_up_us && c->give_up_us < due)
		due = c->give_up_us;
	if (c->drain_us && c->drain_us < due)
		due = c->drain_us;
	if (due == INT64_MAX || (timer_armed(&c->timer) && c->timer.at_us <= due))
		return;
	timer_set(c->reactor->loop, &c->timer, due - now);
}

/* --- what is watched ---------------------------------------------------------------------- */

static void watch(struct conn *c)
{
	bool reads = !c->paused && c->session.state != SESSION_CHECKING;
	uint32_t events = (reads ? EPOLLIN : 0) | (c->blocked ? EPOLLOUT : 0);

	if (!c->closed && loop_io_mod(c->reactor->loop, &c->io, events, NULL))
		conn_abort(c);
}

static void mark_dirty(struct conn *c)
{
	if (c->dirty || c->closed)
		return;
	c->dirty = true;
	c->dirty_next = c->reactor->dirty;
	c->reactor->dirty = c;
}

/* --- out ---------------------------------------------------------------------------------- */

static bool push(struct conn *c, struct out_ref *ref)
{
	const struct edge_conf *conf = c->reactor->edge->conf;
	const struct outq_bounds bounds = {(uint32_t)conf->out_soft_bytes,
					   (uint32_t)conf->out_hard_bytes};

	switch (outq_push(&c->out, &bounds, ref)) {
	case OUTQ_QUEUED:
		break;
	case OUTQ_DROPPED:
		metric_add(c->reactor->edge->stats.dropped[DROP_SLOW], 1);
		return true;
	case OUTQ_FULL:
		return false;
	}
	if (!c->blocked)
		mark_dirty(c);
	return true;
}

void conn_deliver(struct conn *c, struct out_ref *ref)
{
	if (c->close_sent || c->closed)
		return;
	if (push(c, ref))
		c->reactor->tally.deliveries++;
	else
		conn_close(c, CLOSE_SLOW, "too slow");
}

bool conn_has_room(struct conn *c)
{
	if (c->out.data_bytes < (uint32_t)c->reactor->edge->conf->out_soft_bytes / 2)
		return true;
	c->stalled = true;
	return false;
}

static bool send_control(struct conn *c, enum ws_opcode opcode, const void *data, size_t len)
{
	struct out_pool *pool = &c->reactor->pool;
	struct out_ref *ref;
	bool queued;

	if (c->closed || c->close_sent)
		return true;
	ref = out_ref_new(pool, frame_new(FRAME_CONTROL, opcode, data, len));
	queued = push(c, ref);
	out_ref_drop(pool, ref);
	return queued;
}

static void send_close(struct conn *c, unsigned code, const char *reason)
{
	char payload[125];
	size_t n = 0, len = strlen(reason);

	if (c->close_sent || c->closed)
		return;
	if (code != 1005) {
		payload[0] = (char)(code >> 8);
		payload[1] = (char)code;
		len = len > sizeof(payload) - 2 ? sizeof(payload) - 2 : len;
		memcpy(payload + 2, reason, len);
		n = 2 + len;
	}
	if (code == CLOSE_SLOW)
		outq_cut(&c->out, &c->reactor->pool);
	if (!send_control(c, WS_CLOSE, payload, n)) {
		outq_cut(&c->out, &c->reactor->pool);
		(void)send_control(c, WS_CLOSE, payload, n);
	}
	c->close_sent = true;
	if (!c->close_code)
		c->close_code = (uint16_t)code;
	c->give_up_us =
	    loop_now_us(c->reactor->loop) + (code == CLOSE_SLOW ? GOOD_BYE_SLOW_US : GOOD_BYE_US);
	arm(c);
}

void conn_close(struct conn *c, unsigned code, const char *reason)
{
	c->session.state = SESSION_CLOSING;
	c->session.due_us = INT64_MAX;
	send_close(c, code, reason);
}

static bool write_some(struct conn *c)
{
	struct iovec iov[VECTORS];
	struct msghdr msg = {.msg_iov = iov};
	size_t before = c->out.n;
	ssize_t n;

	msg.msg_iovlen = (size_t)outq_vectors(&c->out, iov, VECTORS);
	do
		n = sendmsg(c->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	c->reactor->tally.writes++;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		c->blocked = true;
		watch(c);
		return false;
	}
	if (n < 0) {
		conn_abort(c);
		return false;
	}
	outq_written(&c->out, &c->reactor->pool, (size_t)n);
	c->reactor->tally.bytes_out += n;
	c->reactor->tally.frames_out += (int64_t)(before - c->out.n);
	return true;
}

static void resume_links(struct conn *c)
{
	c->stalled = false;
	for (unsigned i = 0; i < c->session.n_slots && !c->closed; i++)
		if (c->session.subs[i].state != SUB_FREE)
			link_resume(c->session.subs[i].link);
}

void conn_flush(struct conn *c)
{
	if (c->closed || c->blocked)
		return;
	while (c->out.n)
		if (!write_some(c))
			return;
	if (c->close_sent && c->close_received)
		conn_abort(c); /* both halves of the handshake are done: the server ends the
				  connection (7.1.1) */
	else if (c->stalled)
		resume_links(c);
}

/* --- in ----------------------------------------------------------------------------------- */

/* Reading stops for the rest of the window: the kernel's buffer fills, and then the client's. */
static void count_message(struct conn *c)
{
	int64_t now = loop_now_us(c->reactor->loop);

	c->reactor->tally.frames_in++;
	if (now - c->window_us >= WINDOW_US) {
		c->window_us = now;
		c->window_n = 0;
	}
	if (++c->window_n * (1000000 / WINDOW_US) <= c->reactor->edge->conf->rate || c->paused)
		return;
	c->paused = true;
	metric_add(c->reactor->edge->stats.paused, 1);
	watch(c);
	arm(c);
}

static void on_text(struct conn *c, const struct inbox_event *event)
{
	struct reactor *r = c->reactor;
	struct client_msg *msg = &r->msg;
	struct client_error why;
	int rc;

	count_message(c);
	if (c->session.state == SESSION_CLOSING)
		return;
	rc = client_msg_parse((const char *)event->data, event->len, msg, &why);
	session_step_reset(&r->step);
	if (event->len > (size_t)r->edge->conf->frame_bytes && msg->op != OP_TASK)
		session_too_large(&c->session, msg->id, &r->step);
	else if (rc)
		session_refused(&c->session, msg, &why, &r->step);
	else
		session_message(&c->session, msg, &r->step);
	conn_apply(c, &r->step);
}

static void on_peer_close(struct conn *c, unsigned code)
{
	c->close_received = true;
	if (!c->close_sent) {
		c->close_code = (uint16_t)code;
		c->session.state = SESSION_CLOSING;
		c->session.due_us = INT64_MAX;
		send_close(c, code, "");
	}
	mark_dirty(c);
}

static void on_bad(struct conn *c, unsigned code)
{
	struct session_step *step = &c->reactor->step;

	session_step_reset(step);
	if (code == CLOSE_TOO_LARGE)
		session_too_large(&c->session, "", step);
	else
		session_close(&c->session, code, "RFC 6455", step);
	conn_apply(c, step);
	c->deaf = true; /* what follows cannot be understood any more */
}

static void on_event(struct conn *c, const struct inbox_event *event)
{
	switch (event->kind) {
	case INBOX_TEXT:
		on_text(c, event);
		break;
	case INBOX_PING:
		if (!send_control(c, WS_PONG, event->data, event->len))
			conn_close(c, CLOSE_SLOW, "too slow");
		break;
	case INBOX_PONG:
		session_pong(&c->session, loop_now_us(c->reactor->loop));
		break;
	case INBOX_CLOSE:
		on_peer_close(c, event->code);
		break;
	case INBOX_BAD:
		on_bad(c, event->code);
		break;
	}
}

void conn_input(struct conn *c, uint8_t *data, size_t len)
{
	struct inbox_cursor cur;
	struct inbox_event event;
	size_t max = (size_t)c->reactor->edge->conf->task_bytes + ENVELOPE;

	if (c->deaf || c->close_received)
		return;
	inbox_start(&c->in, &cur, data, len);
	while (!c->closed && !c->deaf && !c->close_received &&
	       c->session.state != SESSION_CHECKING && inbox_next(&c->in, &cur, max, &event))
		on_event(c, &event);
	if (c->deaf || c->close_received)
		inbox_done(&c->in);
	else if (!c->closed)
		inbox_end(&c->in, &cur);
	watch(c);
}

void conn_resume_input(struct conn *c)
{
	watch(c);
	if (!c->closed && c->in.rest.len)
		conn_input(c, c->reactor->buffer, 0);
}

static void read_some(struct conn *c)
{
	struct reactor *r = c->reactor;
	ssize_t n = recv(c->io.fd, r->buffer, READ_BUFFER, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_abort(c);
		return;
	}
	r->tally.bytes_in += n;
	conn_input(c, r->buffer, (size_t)n);
}

static void on_io(struct loop_io *io, uint32_t events, void *arg)
{
	struct conn *c = arg;

	(void)io;
	if (events & EPOLLIN)
		read_some(c);
	else if (events & (EPOLLERR | EPOLLHUP))
		conn_abort(c);
	if (!c->closed && (events & EPOLLOUT)) {
		c->blocked = false;
		watch(c);
		mark_dirty(c);
	}
}

/* --- the session's decisions --------------------------------------------------------------- */

static void apply_ask(struct conn *c, struct session_step *step)
{
	struct reactor *r = c->reactor;
	unsigned slot = step->slot;

	switch (step->ask) {
	case ASK_NONE:
		break;
	case ASK_AUTH:
		conn_ask_auth(c, xstrndup(r->msg.token.p, r->msg.token.len));
		break;
	case ASK_SUBSCRIBE:
		link_subscribe(topic_get(r, c->session.principal->tenant, r->msg.channel), c, slot,
			       &r->msg);
		break;
	case ASK_UNSUBSCRIBE:
		link_end(c->session.subs[slot].link);
		session_ended(&c->session, slot);
		break;
	case ASK_TASK:
		/* The subscription goes to the hub before the command does, so nothing of the task
		 * is missed. */
		if (step->new_sub)
			link_task(topic_get(r, c->session.principal->tenant, step->channel), c,
				  slot);
		conn_ask_command(c, step, &r->msg);
		break;
	case ASK_PUBLISH:
	case ASK_CANCEL:
		conn_ask_command(c, step, &r->msg);
		break;
	}
}

void conn_apply(struct conn *c, struct session_step *step)
{
	unsigned code = step->close;
	const char *reason = step->reason;
	bool fits = true;

	if (step->text.len)
		fits = send_control(c, WS_TEXT, step->text.data, step->text.len);
	if (step->text2.len)
		fits &= send_control(c, WS_TEXT, step->text2.data, step->text2.len);
	if (step->ping)
		fits &= send_control(c, WS_PING, NULL, 0);
	/* May use the step for what it answers at once: nothing is read from it afterwards. */
	if (!c->closed)
		apply_ask(c, step);
	if (code)
		send_close(c, code, reason);
	else if (!fits)
		conn_close(c, CLOSE_SLOW, "too slow");
	arm(c);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct conn *c = arg;
	struct reactor *r = c->reactor;
	int64_t now = loop_now_us(r->loop);

	(void)timer;
	if (c->give_up_us && now >= c->give_up_us) {
		conn_abort(c);
		return;
	}
	if (c->paused && now >= c->window_us + WINDOW_US) {
		c->paused = false;
		watch(c);
	}
	if (c->drain_us && now >= c->drain_us) {
		c->drain_us = c->session.in_flight && !c->close_sent ? now + DRAIN_RECHECK_US : 0;
		if (!c->drain_us)
			conn_close(c, CLOSE_DRAIN, "drain");
	}
	session_step_reset(&r->step);
	session_tick(&c->session, now, loop_wall_us(r->loop), &r->step);
	conn_apply(c, &r->step);
}

void conn_drain(struct conn *c, int64_t window_ms, const char *url)
{
	struct reactor *r = c->reactor;
	int64_t spread_us = window_ms * 1000 / 2;

	session_step_reset(&r->step);
	session_drain(&c->session, url, (int64_t)rng_below(&r->rng, 1000), window_ms, &r->step);
	conn_apply(c, &r->step);
	c->drain_us = loop_now_us(r->loop) + 1 +
		      (spread_us ? (int64_t)rng_below(&r->rng, (uint64_t)spread_us) : 0);
	arm(c);
}

/* --- life --------------------------------------------------------------------------------- */

static void list(struct conn *c)
{
	struct reactor *r = c->reactor;

	c->next = r->conns;
	if (r->conns)
		r->conns->prev = c;
	r->conns = c;
	r->n_conns++;
}

static void unlist(struct conn *c)
{
	struct reactor *r = c->reactor;

	if (c->prev)
		c->prev->next = c->next;
	else
		r->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	r->n_conns--;
}

/* Frames go out when they are written; and what a client does not read stays here, where the bounds
 * see it and ephemeral frames can still be dropped, instead of in megabytes of the kernel's.
 */
static void set_socket(const struct reactor *r, int fd)
{
	int one = 1, unsent = (int)r->edge->conf->out_soft_bytes / 2;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

struct conn *conn_new(struct reactor *r, int fd, char *token)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	struct id id = id_new(&r->rng, loop_wall_us(r->loop));
	int64_t now = loop_now_us(r->loop);

	c->reactor = r;
	c->io = (struct loop_io){.fd = fd, .events = EPOLLIN, .fn = on_io, .arg = c};
	timer_init(&c->timer, on_timer, c);
	c->window_us = now;
	session_init(&c->session, &r->edge->session, &id, token != NULL, now);
	set_socket(r, fd);
	list(c);
	metric_add(r->edge->stats.connections, 1);
	metric_add(r->edge->stats.opened, 1);
	if (loop_io_add(r->loop, &c->io, NULL)) {
		free(token);
		conn_abort(c);
		return NULL;
	}
	arm(c);
	if (token)
		conn_ask_auth(c, token);
	watch(c);
	return c->closed ? NULL : c;
}

void conn_abort(struct conn *c)
{
	struct reactor *r = c->reactor;

	if (c->closed)
		return;
	c->closed = true;
	c->session.state = SESSION_CLOSING;
	timer_cancel(r->loop, &c->timer);
	loop_io_del(r->loop, &c->io);
	close(c->io.fd);
	for (unsigned i = 0; i < c->session.n_slots; i++) {
		if (c->session.subs[i].state == SUB_FREE)
			continue;
		link_end(c->session.subs[i].link);
		session_ended(&c->session, i);
	}
	outq_done(&c->out, &r->pool);
	unlist(c);
	atomic_fetch_sub(&r->edge->connections, 1);
	metric_add(r->edge->stats.connections, -1);
	stats_closed(&r->edge->stats, c->close_code);
	if (!c->refs) {
		c->next = r->dead;
		r->dead = c;
	}
}

void conn_release(struct conn *c)
{
	if (--c->refs || !c->closed)
		return;
	c->next = c->reactor->dead;
	c->reactor->dead = c;
}

void conn_free(struct conn *c)
{
	assert(c->closed && !c->refs && !c->dirty);
	inbox_done(&c->in);
	session_done(&c->session);
	reactor_principal_drop(c->reactor, c->principal);
	free(c);
}
