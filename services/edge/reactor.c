#include "services/edge/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "services/edge/conn.h"
#include "services/edge/topic.h"

/* --- the turn's end ----------------------------------------------------------------------- */

static void tell_metrics(struct reactor *r)
{
	struct stats *s = &r->edge->stats;
	struct tally *t = &r->tally;

	if (!(t->frames_in | t->bytes_in | t->writes | t->deliveries))
		return;
	metric_add(s->frames_in, t->frames_in);
	metric_add(s->frames_out, t->frames_out);
	metric_add(s->bytes_in, t->bytes_in);
	metric_add(s->bytes_out, t->bytes_out);
	metric_add(s->writes, t->writes);
	metric_add(s->deliveries, t->deliveries);
	*t = (struct tally){0};
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

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	struct reactor *r = arg;

	(void)hook;
	while (r->dirty) {
		struct conn *c = r->dirty;

		r->dirty = c->dirty_next;
		c->dirty = false;
		conn_flush(c);
	}
	bury(r);
	tell_metrics(r);
}

/* --- mail --------------------------------------------------------------------------------- */

struct arrival {
	struct loop_post post;
	struct reactor *reactor;
	int fd;
	char *token;
	size_t len;
	uint8_t extra[];
};

static void on_arrival(struct loop_post *post)
{
	struct arrival *a = (struct arrival *)post;
	struct reactor *r = a->reactor;
	struct conn *c = conn_new(r, a->fd, a->token);

	if (c && a->len)
		conn_input(c, a->extra, a->len);
	if (c && !c->closed && r->draining)
		conn_close(c, CLOSE_DRAIN, "drain");
	free(a);
}

void reactor_accept(struct reactor *r, int fd, char *token, const void *extra, size_t extra_len)
{
	struct arrival *a = xmalloc(sizeof(*a) + extra_len);

	*a = (struct arrival){
	    .post.fn = on_arrival, .reactor = r, .fd = fd, .token = token, .len = extra_len};
	if (extra_len)
		memcpy(a->extra, extra, extra_len);
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

void reactor_deliver(struct batch *batch)
{
	batch->post.fn = on_batch;
	loop_post(batch->reactor->loop, &batch->post);
}

struct revocation {
	struct loop_post post;
	struct reactor *reactor;
	bool by_key;
	unsigned code, scopes;
	int64_t expires_us;
	char name[TENANT_MAX + 1];
};

static void end_session(struct conn *c, unsigned code)
{
	struct session_step *step = &c->reactor->step;
	bool tenant = code == CLOSE_TENANT;

	session_step_reset(step);
	if (c->session.state != SESSION_CLOSING)
		frames_error(
		    &step->text, NULL,
		    &(struct frame_error){.code = tenant ? "forbidden" : "unauthenticated",
					  .message = tenant ? "the tenant is suspended"
							    : "the token is not valid any more",
					  .scope = tenant ? "tenant" : NULL});
	session_close(&c->session, code, tenant ? "tenant disabled" : "token", step);
	conn_apply(c, step);
}

static void on_revocation(struct loop_post *post)
{
	struct revocation *v = (struct revocation *)post;
	struct conn *next;

	for (struct conn *c = v->reactor->conns; c; c = next) {
		struct principal *p = c->principal;

		next = c->next;
		if (!p || strcmp(v->by_key ? p->id : p->tenant, v->name))
			continue;
		if (v->code) {
			end_session(c, v->code);
		} else if (v->by_key) {
			p->scopes = v->scopes;
			p->expires_us = v->expires_us;
		}
	}
	free(v);
}

void reactor_revoke(struct reactor *r, const char *tenant, const char *key, unsigned code,
		    unsigned scopes, int64_t expires_us)
{
	struct revocation *v = xcalloc(1, sizeof(*v));

	v->post.fn = on_revocation;
	v->reactor = r;
	v->by_key = key != NULL;
	v->code = code;
	v->scopes = scopes;
	v->expires_us = expires_us;
	strncpy(v->name, key ? key : tenant, sizeof(v->name) - 1);
	loop_post(r->loop, &v->post);
}

struct farewell {
	struct loop_post post;
	struct reactor *reactor;
	int64_t window_ms;
	char url[];
};

static void on_drain(struct loop_post *post)
{
	struct farewell *f = (struct farewell *)post;
	struct conn *next;

	f->reactor->draining = true;
	for (struct conn *c = f->reactor->conns; c; c = next) {
		next = c->next;
		conn_drain(c, f->window_ms, f->url);
	}
	free(f);
}

void reactor_drain(struct reactor *r, int64_t window_ms, const char *url)
{
	struct farewell *f = xmalloc(sizeof(*f) + strlen(url) + 1);

	*f = (struct farewell){.post.fn = on_drain, .reactor = r, .window_ms = window_ms};
	memcpy(f->url, url, strlen(url) + 1);
	loop_post(r->loop, &f->post);
}

/* --- principals --------------------------------------------------------------------------- */

static bool same_principal(const void *item, const void *key)
{
	const struct principal *p = item;
	const struct auth_identity *who = key;

	return !strcmp(p->id, who->id) && !strcmp(p->tenant, who->tenant);
}

struct principal *reactor_principal(struct reactor *r, const struct auth_identity *who)
{
	uint64_t hash = table_hash2(who->tenant, who->id);
	struct principal *p = table_find(&r->principals, hash, same_principal, who);

	if (!p) {
		p = xcalloc(1, sizeof(*p));
		memcpy(p->tenant, who->tenant, sizeof(p->tenant));
		memcpy(p->id, who->id, sizeof(p->id));
		table_add(&r->principals, hash, p);
	}
	p->scopes = who->scopes;
	p->expires_us = who->expires_us;
	p->refs++;
	return p;
}

void reactor_principal_drop(struct reactor *r, struct principal *p)
{
	if (!p || --p->refs)
		return;
	table_remove(&r->principals, table_hash2(p->tenant, p->id), p);
	free(p);
}

/* --- life --------------------------------------------------------------------------------- */

struct reactor *reactor_new(struct edge *edge, unsigned index, struct error *err)
{
	struct reactor *r = xcalloc(1, sizeof(*r));

	r->edge = edge;
	r->index = index;
	r->loop = loop_new(err);
	if (!r->loop) {
		free(r);
		return NULL;
	}
	r->buffer = xmalloc(READ_BUFFER);
	rng_seed_os(&r->rng);
	r->hook = (struct loop_hook){.fn = on_turn_end, .arg = r};
	loop_hook_add(r->loop, &r->hook);
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
	int rc = pthread_create(&r->thread, NULL, run, r);

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
	loop_free(r->loop);
	table_done(&r->topics);
	table_done(&r->principals);
	out_pool_done(&r->pool);
	session_step_done(&r->step);
	strbuf_done(&r->text);
	free(r->buffer);
	free(r);
}
