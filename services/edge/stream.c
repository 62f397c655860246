#include "services/edge/stream.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "services/edge/http.h"
#include "services/edge/principal.h"
#include "services/edge/sse.h"

#define RETRY_MIN_MS    500 /* EventSource has no jitter of its own */
#define RETRY_SPREAD_MS 1500

/* --- frames ------------------------------------------------------------------------------- */

struct frame *stream_control(const struct conn *c, enum ws_opcode opcode, const void *data,
			     size_t len)
{
	struct strbuf b = {0};
	struct frame *f;

	if (opcode == WS_TEXT)
		sse_event(&b, data, len, c->reactor->epoch, 0);
	else if (opcode == WS_PING)
		sse_beat(&b);
	else
		return NULL;
	f = frame_new_raw(FRAME_CONTROL, b.data, b.len);
	strbuf_done(&b);
	return f;
}

/* --- life --------------------------------------------------------------------------------- */

struct stream_mail {
	struct loop_post post;
	struct reactor *reactor;
	struct call *call;
	int fd;
};

static void refuse(struct reactor *r, struct call *call, int fd)
{
	close(fd);
	atomic_fetch_sub(&r->edge->connections, 1);
	atomic_fetch_sub(&r->edge->streams, 1);
	call_refuse(call, "unavailable", "this edge is stopping");
}

static void begin(struct conn *c, struct call *call)
{
	struct reactor *r = c->reactor;
	struct strbuf head = {0};
	struct out_ref *ref;

	sse_head(&head, call->trace, RETRY_MIN_MS + (unsigned)rng_below(&r->rng, RETRY_SPREAD_MS));
	ref = out_ref_new(&r->pool, frame_new_raw(FRAME_CONTROL, head.data, head.len));
	conn_send_ref(c, ref);
	out_ref_drop(&r->pool, ref);
	strbuf_done(&head);
	session_step_reset(&r->step, &c->session);
	r->msg = call->msg;
	session_message(&c->session, &r->msg, &r->step);
	if (r->step.ask == ASK_NONE) /* refused: the step says why */
		session_close(&c->session, CLOSE_NORMAL, "", &r->step);
	conn_apply(c, &r->step);
}

static void on_stream(struct loop_post *post)
{
	struct stream_mail *m = (struct stream_mail *)post;
	struct reactor *r = m->reactor;
	struct call *call = m->call;
	struct conn *c;
	const struct ws_terms terms = {.encoding = ENCODING_JSON};
	int64_t jitter_us = (int64_t)rng_below(&r->rng, (uint64_t)r->edge->conf->ping_ms * 1000);

	if (r->draining || r->no_streams || r->stopped || !*r->epoch) {
		refuse(r, call, m->fd);
	} else if ((c = conn_new(r, m->fd, NULL, NULL, &terms, NULL))) {
		conn_set_socket(r, m->fd);
		c->stream = call;
		c->deaf = true;
		c->out.form = FORM_EVENT;
		c->principal = principal_take(r, &call->auth.who, call->auth.usage);
		call->auth.usage = NULL;
		session_stream(&c->session, c->principal, jitter_us, loop_now_us(r->loop));
		metric_add(r->edge->stats.streams, 1);
		begin(c, call);
		if (!c->closed && r->drains)
			conn_drain_met(c);
	} else { /* and conn_new() has closed its socket and counted it */
		atomic_fetch_sub(&r->edge->streams, 1);
		call_refuse(call, "unavailable", "the connection cannot be served");
	}
	free(m);
}

void stream_accept(struct reactor *r, struct call *call, int fd)
{
	struct stream_mail *m = xmalloc(sizeof(*m));

	*m = (struct stream_mail){.post.fn = on_stream, .reactor = r, .call = call, .fd = fd};
	loop_post(r->loop, &m->post);
}

void stream_over(struct conn *c)
{
	struct call *call = c->stream;

	c->stream = NULL;
	metric_add(c->reactor->edge->stats.streams, -1);
	atomic_fetch_sub(&c->reactor->edge->streams, 1);
	call_streamed(call);
}

struct end_mail {
	struct loop_post post;
	struct reactor *reactor;
};

static void on_end(struct loop_post *post)
{
	struct end_mail *m = (struct end_mail *)post;
	struct conn *next;

	m->reactor->no_streams = true;
	for (struct conn *c = m->reactor->conns; c; c = next) {
		next = c->next;
		if (c->stream)
			conn_abort(c);
	}
	free(m);
}

void streams_end(struct reactor *r)
{
	struct end_mail *m = xmalloc(sizeof(*m));

	*m = (struct end_mail){.post.fn = on_end, .reactor = r};
	loop_post(r->loop, &m->post);
}
