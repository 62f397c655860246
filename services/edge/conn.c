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

#include "services/edge/forms.h"
#include "services/edge/link.h"
#include "services/edge/principal.h"
#include "services/edge/stream.h"

#define VECTORS          64
#define ENVELOPE         4096     /* of a task message around its input */
#define GOOD_BYE_US      2000000  /* for the client's half of the closing handshake */
#define GOOD_BYE_SLOW_US 10000000 /* the same where much is on its way before the close frame */

static void on_io(struct loop_io *io, uint32_t events, void *arg);
static void on_timer(struct timer *timer, void *arg);

/* --- time --------------------------------------------------------------------------------- */

static int64_t slow_us(const struct conn *c)
{
	return c->reactor->edge->conf->slow_ms * 1000;
}

/* Lazily: a timer that fires too early only looks and is armed again. */
static void arm(struct conn *c)
{
	int64_t now = loop_now_us(c->reactor->loop), due = session_due_us(&c->session);

	if (c->closed)
		return;
	if (c->intake.until_us && c->intake.until_us < due)
		due = c->intake.until_us;
	if (c->give_up_us && c->give_up_us < due)
		due = c->give_up_us;
	if (c->drain_us && c->drain_us < due)
		due = c->drain_us;
	if (c->waiting && !c->close_sent && c->progress_us + slow_us(c) < due)
		due = c->progress_us + slow_us(c);
	if (due == INT64_MAX || (timer_armed(&c->timer) && c->timer.at_us <= due))
		return;
	timer_set(c->reactor->loop, &c->timer, due - now);
}

/* --- what is watched ---------------------------------------------------------------------- */

static bool reads(const struct conn *c)
{
	bool leaving = c->drain == DRAIN_LEAVING && !c->close_sent;
	bool choked = c->choked && !c->close_sent; /* the client's close frame is wanted */

	return !c->intake.until_us && !choked && !leaving && c->session.state != SESSION_CHECKING;
}

static void watch_for(struct conn *c, uint32_t events)
{
	if (!c->closed && loop_io_mod(c->reactor->loop, &c->io, events, NULL))
		conn_abort(c);
}

/* What shall not be read goes on being watched until something comes (on_io()): mostly nothing
 * does before it may be read again, and two system calls are saved. */
static void watch(struct conn *c)
{
	watch_for(c, (reads(c) ? EPOLLIN : c->io.events & EPOLLIN) | (c->blocked ? EPOLLOUT : 0));
}

/* Nothing more is read while the plane has not answered what was, or the client does not read the
 * answers: the kernel's buffer fills, and then the client's. On again at half of that. */
static void choke(struct conn *c)
{
	const struct edge_conf *conf = c->reactor->edge->conf;
	int64_t flight = conf->in_flight_bytes, control = conf->out_soft_bytes;
	bool was = c->choked;

	if (was) {
		flight /= 2;
		control /= 2;
	}
	c->choked = c->flight_bytes > flight || c->out.control_bytes > control;
	if (c->choked == was)
		return;
	if (c->choked)
		metric_add(c->reactor->edge->stats.paused, 1);
	watch(c);
}

void conn_flight(struct conn *c, int64_t bytes)
{
	c->flight_bytes = (uint32_t)(c->flight_bytes + bytes);
	if (!c->closed)
		choke(c);
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

static uint32_t queued(const struct conn *c)
{
	return c->out.data_bytes + c->out.control_bytes;
}

static bool queue(struct conn *c, struct out_ref *ref, bool replay)
{
	const struct edge_conf *conf = c->reactor->edge->conf;
	uint32_t hard = (uint32_t)conf->out_hard_bytes, before;
	struct outq_bounds bounds = {(uint32_t)conf->out_soft_bytes, hard};

	bounds.hard = hard > c->held_bytes ? hard - c->held_bytes : 0;
	if (replay)
		bounds.soft = bounds.hard;
	before = queued(c);
	if (outq_push(&c->out, &bounds, ref) != OUTQ_QUEUED)
		return false;
	c->reactor->tally.queued += queued(c) - before;
	return true;
}

static bool push(struct conn *c, struct out_ref *ref, bool replay)
{
	if (!queue(c, ref, replay))
		return false;
	gather_waits(&c->reactor->gather, queued(c));
	if (!c->blocked)
		mark_dirty(c);
	return true;
}

bool conn_deliver(struct conn *c, struct out_ref *ref, bool replay)
{
	if (c->close_sent || c->closed)
		return true;
	if (c->stream)
		frame_event(ref->frame, c->reactor->epoch);
	else if (c->out.form)
		frame_form(ref->frame, outq_form(&c->out, ref->frame), &c->reactor->deflater);
	if (push(c, ref, replay)) {
		c->reactor->tally.deliveries++;
		return true;
	}
	if (ref->frame->kind == FRAME_DURABLE) {
		c->starved |= replay;
		return false;
	}
	metric_add(c->reactor->edge->stats.dropped[DROP_SLOW], 1);
	return true;
}

void conn_stall(struct conn *c)
{
	c->stalled = true;
}

/* A quarter of the soft bound at a time, and half of it in all: so live frames keep some room while
 * others of the connection's channels are read from the log. */
static uint32_t room(const struct conn *c)
{
	uint32_t soft = (uint32_t)c->reactor->edge->conf->out_soft_bytes, page = soft / 4;

	if (c->closed || c->close_sent)
		return 0;
	if (c->starved && c->out.n)
		return 0;
	return c->out.data_bytes + c->reserved + page <= soft / 2 ? page : 0;
}

uint32_t conn_reserve(struct conn *c)
{
	uint32_t page = room(c);

	c->reserved += page;
	if (page)
		c->starved = false;
	else
		c->stalled = true;
	return page;
}

void conn_unreserve(struct conn *c, uint32_t bytes)
{
	c->reserved -= bytes;
	if (c->stalled)
		mark_dirty(c);
}

static void too_slow(struct conn *c)
{
	metric_add(c->reactor->edge->stats.slow_closed[SLOW_FULL], 1);
	conn_close(c, CLOSE_SLOW, "too slow");
}

bool conn_send_ref(struct conn *c, struct out_ref *ref)
{
	return push(c, ref, false);
}

static bool send_control(struct conn *c, enum ws_opcode opcode, const void *data, size_t len)
{
	struct out_pool *pool = &c->reactor->pool;
	struct frame *frame;
	struct out_ref *ref;
	bool fits;

	if (c->closed || c->close_sent)
		return true;
	frame = c->stream ? stream_control(c, opcode, data, len)
			  : frame_new(FRAME_CONTROL, opcode, data, len);
	if (!frame)
		return true;
	ref = out_ref_new(pool, frame);
	fits = push(c, ref, false);
	out_ref_drop(pool, ref);
	return fits;
}

static void greet(struct conn *c, struct frame *answer)
{
	struct out_ref *ref = out_ref_new(&c->reactor->pool, answer);

	if (c->session.state == SESSION_CHECKING)
		(void)queue(c, ref, false); /* nothing else is queued, so it has room */
	else
		(void)push(c, ref, false);
	out_ref_drop(&c->reactor->pool, ref);
}

static void cut(struct conn *c)
{
	uint32_t before = queued(c);

	outq_cut(&c->out, &c->reactor->pool);
	c->reactor->tally.queued -= before - queued(c);
}

bool conn_send(struct conn *c, const struct frame_buf *frame)
{
	enum ws_opcode opcode = frame->encoding == ENCODING_JSON ? WS_TEXT : WS_BINARY;

	return send_control(c, opcode, frame->b.data, frame->b.len);
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
	receipts_closing(c, code == CLOSE_SLOW);
	if (code == CLOSE_SLOW)
		cut(c);
	/* It may come back, and has perhaps not read for long. */
	bool back = c->principal && (code / 100 == 41 || code / 100 == 42);
	if (back)
		(void)conn_renew(c);
	if (!send_control(c, WS_CLOSE, payload, n)) {
		receipts_closing(c, true);
		cut(c);
		if (back) /* the token went with the rest */
			(void)conn_renew(c);
		(void)send_control(c, WS_CLOSE, payload, n);
	}
	c->close_sent = true;
	if (c->stream) { /* its end is the connection's */
		c->close_received = true;
		mark_dirty(c);
	}
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

/* The socket takes nothing more for now. */
static void blocked(struct conn *c)
{
	c->blocked = true;
	if (!c->waiting) {
		c->progress_us = loop_now_us(c->reactor->loop);
		receipts_mark_all(c);
	}
	c->waiting = true;
	watch(c);
	arm(c);
}

static void taken(struct conn *c, size_t n)
{
	size_t before = c->out.n;
	uint32_t bytes = queued(c);

	outq_written(&c->out, &c->reactor->pool, n);
	c->reactor->tally.bytes_out += (int64_t)n;
	c->reactor->tally.frames_out += (int64_t)(before - c->out.n);
	c->reactor->tally.queued -= bytes - queued(c);
	if (c->choked) {
		choke(c);
		watch(c); /* a close frame may have gone out */
	}
	if (c->waiting) {
		c->progress_us = loop_now_us(c->reactor->loop);
		receipts_mark_all(c);
	}
	c->waiting &= c->out.n != 0;
}

void conn_sent(struct conn *c, ssize_t result)
{
	if (result == -EINTR)
		return;
	c->reactor->tally.writes++;
	if (result >= 0)
		taken(c, (size_t)result);
	else if (result == -EAGAIN)
		blocked(c);
	else
		conn_abort(c);
}

bool conn_burst(struct conn *c, struct sends *sends)
{
	struct iovec iov[SENDS_VECTORS];

	if (c->closed || c->blocked || !c->out.n || c->out.n > SENDS_VECTORS)
		return false;
	sends_add(sends, c->io.fd, iov, outq_vectors(&c->out, iov, SENDS_VECTORS), c);
	return true;
}

static void write_some(struct conn *c)
{
	struct iovec iov[VECTORS];
	struct msghdr msg = {.msg_iov = iov};
	ssize_t n;

	msg.msg_iovlen = (size_t)outq_vectors(&c->out, iov, VECTORS);
	n = sendmsg(c->io.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	conn_sent(c, n < 0 ? -errno : n);
}

static void resume_links(struct conn *c)
{
	unsigned n = c->session.n_slots, slot = c->next_slot;

	c->stalled = false;
	for (unsigned i = 0; i < n && !c->closed && !c->stalled; i++) {
		slot = (c->next_slot + i) % n;
		if (c->session.subs[slot].state != SUB_FREE)
			link_resume(c->session.subs[slot].link);
	}
	c->next_slot = (uint8_t)slot; /* whoever found no room is the first one next time */
}

void conn_flush(struct conn *c)
{
	while (!c->closed && !c->blocked && c->out.n)
		write_some(c);
	if (c->closed)
		return;
	if (!c->out.n && c->close_sent && c->close_received)
		conn_abort(c); /* both halves of the handshake are done: the server ends the
				  connection (7.1.1) */
	else if (!c->out.n && c->close_sent && c->deaf)
		/* No answer would be understood (7.1.7). Not closed yet, for what was not read
		 * would then take the close frame with it. */
		(void)shutdown(c->io.fd, SHUT_WR);
	else if (c->stalled && room(c))
		resume_links(c);
}

/* --- in ----------------------------------------------------------------------------------- */

static void count_input(struct conn *c, uint32_t messages, uint32_t bytes)
{
	const struct edge_conf *conf = c->reactor->edge->conf;
	const struct intake_rates rates = {conf->rate, conf->rate_bytes};

	if (!intake_count(&c->intake, &rates, messages, bytes, loop_now_us(c->reactor->loop)))
		return;
	metric_add(c->reactor->edge->stats.paused, 1);
	watch(c);
	arm(c);
}

static void on_message(struct conn *c, const struct inbox_event *event)
{
	struct reactor *r = c->reactor;
	struct client_msg *msg = &r->msg;
	struct client_error why;
	int rc;

	c->reactor->tally.frames_in++;
	count_input(c, 1, (uint32_t)event->grown); /* what came was counted as it was read */
	if (c->session.state == SESSION_CLOSING)
		return;
	if (c->session.encoding == ENCODING_PROTOBUF)
		rc = client_pb_parse(event->data, event->len, msg, &why);
	else
		rc = client_msg_parse((const char *)event->data, event->len, msg, &why);
	session_step_reset(&r->step, &c->session);
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

	session_step_reset(step, &c->session);
	if (code == CLOSE_TOO_LARGE)
		session_too_large(&c->session, "", step);
	else if (code == CLOSE_DATA)
		session_wrong_frame(&c->session, step);
	else
		session_close(&c->session, code, "RFC 6455", step);
	conn_apply(c, step);
	c->deaf = true; /* what follows cannot be understood any more */
}

static void on_event(struct conn *c, const struct inbox_event *event)
{
	switch (event->kind) {
	case INBOX_MESSAGE:
		on_message(c, event);
		break;
	case INBOX_PING:
		if (!send_control(c, WS_PONG, event->data, event->len))
			too_slow(c);
		break;
	case INBOX_PONG:
		session_pong(&c->session);
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
	const struct inbox_rules rules = {
	    .max = (size_t)c->reactor->edge->conf->task_bytes + ENVELOPE,
	    .opcode = c->session.encoding == ENCODING_JSON ? WS_TEXT : WS_BINARY,
	    .deflater = c->unpacks ? &c->reactor->deflater : NULL};

	if (c->deaf || c->close_received)
		return;
	inbox_start(&c->in, &cur, data, len);
	while (!c->closed && !c->deaf && !c->close_received &&
	       c->session.state != SESSION_CHECKING && inbox_next(&c->in, &cur, &rules, &event))
		on_event(c, &event);
	if (c->deaf || c->close_received)
		inbox_done(&c->in);
	else if (!c->closed)
		inbox_end(&c->in, &cur);
	choke(c);
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
	count_input(c, 0, (uint32_t)n);
	conn_input(c, r->buffer, (size_t)n);
}

static void on_io(struct loop_io *io, uint32_t events, void *arg)
{
	struct conn *c = arg;

	(void)io;
	if (events & EPOLLIN && !reads(c))
		watch_for(c, c->io.events & ~(uint32_t)EPOLLIN);
	else if (events & EPOLLIN)
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

static char *copy(struct slice text)
{
	return text.len ? xstrndup(text.p, text.len) : NULL;
}

static void apply_ask(struct conn *c, struct session_step *step)
{
	struct reactor *r = c->reactor;
	unsigned slot = step->slot;

	switch (step->ask) {
	case ASK_NONE:
		break;
	case ASK_AUTH:
		conn_ask_auth(c, copy(r->msg.token), copy(r->msg.resume));
		break;
	case ASK_SUBSCRIBE:
		link_subscribe(topic_get(r, c->session.principal->tenant, r->msg.channel), c, slot,
			       &r->msg);
		break;
	case ASK_UNSUBSCRIBE:
		link_end(c->session.subs[slot].link);
		session_ended(&c->session, slot);
		if (c->stream) /* it had one, and the client comes back to have it again */
			conn_close(c, CLOSE_NORMAL, "");
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
	case ASK_ACK:
		if (receipts_ack(c->session.subs[slot].link, r->msg.offset))
			break;
		session_step_reset(step, &c->session);
		session_ack_refused(r->msg.id, step);
		conn_apply(c, step);
		break;
	}
}

void conn_apply(struct conn *c, struct session_step *step)
{
	unsigned code = step->close;
	const char *reason = step->reason;
	bool fits = true;

	if (step->text.b.len)
		fits = conn_send(c, &step->text);
	if (step->text2.b.len)
		fits &= conn_send(c, &step->text2);
	if (step->ping)
		fits &= send_control(c, WS_PING, NULL, 0);
	if (step->ping && c->stream)
		session_pong(&c->session);
	if (step->renew)
		fits &= conn_renew(c);
	/* May use the step for what it answers at once: nothing is read from it afterwards. */
	if (!c->closed)
		apply_ask(c, step);
	if (code)
		send_close(c, code, reason);
	else if (!fits)
		too_slow(c);
	arm(c);
}

/* While frames wait for the socket, so does a ping, and while nothing is read, so does the pong:
 * that it is not there in time says nothing, and another ping goes. Whether there is any progress
 * says more. */
static void check_progress(struct conn *c, int64_t now)
{
	if (now >= c->session.due_us && (c->waiting || c->choked || c->intake.until_us))
		c->session.pong_due = false;
	if (!c->waiting || now < c->progress_us + slow_us(c))
		return;
	metric_add(c->reactor->edge->stats.slow_closed[SLOW_IDLE], 1);
	conn_close(c, CLOSE_SLOW, "no progress");
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
	if (intake_resume(&c->intake, now))
		watch(c);
	if (!c->close_sent)
		check_progress(c, now);
	if (c->drain_us && now >= c->drain_us) {
		conn_drain_step(c, now);
		watch(c);
	}
	session_step_reset(&r->step, &c->session);
	session_tick(&c->session, now, loop_wall_us(r->loop), &r->step);
	conn_apply(c, &r->step);
}

void conn_drain_at(struct conn *c, int64_t at_us)
{
	c->drain_us = at_us;
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
	atomic_fetch_add_explicit(&r->n_conns, 1, memory_order_relaxed);
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
	atomic_fetch_sub_explicit(&r->n_conns, 1, memory_order_relaxed);
}

/* Frames go out when they are written; and what a client does not read stays here, where the bounds
 * see it and ephemeral frames can still be dropped, instead of in megabytes of the kernel's.
 */
void conn_set_socket(const struct reactor *r, int fd)
{
	int one = 1, unsent = (int)r->edge->conf->out_soft_bytes / 2;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

struct conn *conn_new(struct reactor *r, int fd, char *token, char *origin,
		      const struct ws_terms *terms, struct frame *answer)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	struct id id = id_new(&r->rng, loop_wall_us(r->loop));
	int64_t now = loop_now_us(r->loop);

	c->reactor = r;
	c->origin = origin;
	c->io = (struct loop_io){.fd = fd, .events = EPOLLIN, .fn = on_io, .arg = c};
	timer_init(&c->timer, on_timer, c);
	session_init(&c->session, &r->session, &id, token != NULL, now);
	c->session.encoding = terms->encoding;
	c->unpacks = terms->deflate;
	c->out.window_bits = terms->window_bits;
	c->out.form = (terms->encoding == ENCODING_PROTOBUF ? FORM_PROTOBUF : 0) |
		      (terms->deflate ? FORM_DEFLATED : 0);
	if (answer)
		greet(c, answer);
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
		conn_ask_auth(c, token, NULL);
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
	r->tally.queued -= queued(c);
	if (c->principal)
		usage_disconnect(c->principal->usage);
	outq_done(&c->out, &r->pool);
	unlist(c);
	atomic_fetch_sub(&r->edge->connections, 1);
	metric_add(r->edge->stats.connections, -1);
	stats_closed(&r->edge->stats, c->close_code);
	if (c->stream)
		stream_over(c);
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
	principal_drop(c->reactor, c->principal);
	free(c->origin);
	free(c);
}
