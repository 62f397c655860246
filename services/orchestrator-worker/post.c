#include "services/orchestrator-worker/post.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "proto/hook.pb-c.h"

#define CONNECT_MS 10000
#define TIMEOUT_MS 60000 /* at most, whatever is asked */
#define READ_MAX   65536 /* of an answer, which nobody looks at */

enum { END_ANSWERED, END_FAILED, END_BUSY, ENDS };

struct post {
	struct post *next, *prev;
	struct posts *posts;
	struct http_call *call;
	struct timer timer;
	char *reply;
	size_t read;
};

struct posts {
	struct bus *bus;
	struct loop *loop;
	struct http_client *open, *guarded;
	struct bus_sub *sub;
	struct post *list;
	size_t n;
	struct metric *m_ends[ENDS], *m_running;
};

static void answer(struct posts *p, const char *reply, Penstock__HookAnswer *a)
{
	uint8_t room[1024]; /* error is at most half of that */
	struct error err;
	size_t len = penstock__hook_answer__pack(a, room);
	metric_add(p->m_ends[a->busy ? END_BUSY : a->status ? END_ANSWERED : END_FAILED], 1);
	if (bus_publish(p->bus, reply, room, len, &err))
		log_at(LOG_WARN, "hook not answered for", LOG_S("error", err.msg));
}

static void post_free(struct post *post)
{
	struct posts *p = post->posts;
	*(post->prev ? &post->prev->next : &p->list) = post->next;
	if (post->next)
		post->next->prev = post->prev;
	timer_cancel(p->loop, &post->timer);
	metric_set(p->m_running, (int64_t)--p->n);
	free(post->reply);
	free(post);
}

static void fail(struct post *post, const char *words)
{
	char error[512];
	Penstock__HookAnswer a = PENSTOCK__HOOK_ANSWER__INIT;
	size_t n = strlen(words);
	n = n < sizeof(error) - 1 ? n : sizeof(error) - 1;
	memcpy(error, words, n);
	error[n] = '\0';
	for (char *c = error; *c; c++) /* protobuf's text is UTF-8 */
		if (*c < ' ' || *c > '~')
			*c = '?';
	a.error = error;
	answer(post->posts, post->reply, &a);
}

static int on_body(void *arg, long status, const char *type, const char *data, size_t len)
{
	struct post *post = arg;
	(void)status;
	(void)type;
	(void)data;
	post->read += len;
	return post->read > READ_MAX;
}

static void on_done(void *arg, const struct http_result *result)
{
	struct post *post = arg;
	/* An answer that says more than anybody reads is one. */
	bool answered = result->failure == HTTP_DONE || result->failure == HTTP_STOPPED;
	if (answered && result->status > 0) {
		Penstock__HookAnswer a = PENSTOCK__HOOK_ANSWER__INIT;
		a.status = (uint32_t)result->status;
		a.retry_after_ms = (uint64_t)result->retry_after_ms;
		answer(post->posts, post->reply, &a);
	} else {
		fail(post, result->words);
	}
	post_free(post);
}

static void on_timeout(struct timer *timer, void *arg)
{
	struct post *post = arg;
	(void)timer;
	http_cancel(post->call);
	fail(post, "no answer in time");
	post_free(post);
}

static void start(struct posts *p, const char *reply, const Penstock__HookPost *m)
{
	struct post *post = xcalloc(1, sizeof(*post));
	int64_t ms = m->timeout_ms < TIMEOUT_MS ? m->timeout_ms : TIMEOUT_MS;
	struct http_request request = {.method = "POST",
				       .url = m->url,
				       .headers = (const char *const *)m->headers,
				       .n_headers = m->n_headers,
				       .body = m->body.data,
				       .len = m->body.len,
				       .connect_ms = ms < CONNECT_MS ? ms : CONNECT_MS};
	*post = (struct post){.posts = p, .reply = xstrdup(reply), .next = p->list};
	if (p->list)
		p->list->prev = post;
	p->list = post;
	metric_set(p->m_running, (int64_t)++p->n);
	timer_init(&post->timer, on_timeout, post);
	timer_set(p->loop, &post->timer, ms * 1000);
	post->call =
	    http_start(m->allow_private ? p->open : p->guarded, &request, on_body, on_done, post);
}

static void on_post(void *arg, const struct bus_msg *msg)
{
	struct posts *p = arg;
	Penstock__HookPost *m = penstock__hook_post__unpack(NULL, msg->len, msg->data);
	if (!m || !msg->reply) {
		log_at(LOG_WARN, "a hook's delivery that cannot be read");
	} else if (p->n >= POSTS_MAX) {
		Penstock__HookAnswer a = PENSTOCK__HOOK_ANSWER__INIT;
		a.busy = true;
		answer(p, msg->reply, &a);
	} else {
		start(p, msg->reply, m);
	}
	if (m)
		penstock__hook_post__free_unpacked(m, NULL);
}

static int subscribe(struct posts *p, struct error *err)
{
	p->sub = bus_subscribe(p->bus, SUBJECT_HOOK_POST, "workers", on_post, p, err);
	return p->sub ? 0 : -1;
}

struct posts *posts_start(struct bus *bus, struct loop *loop, struct http_client *open,
			  struct http_client *guarded, struct metrics *metrics, struct error *err)
{
	static const char *const ends[ENDS] = {"result=\"answered\"", "result=\"failed\"",
					       "result=\"busy\""};
	struct posts *p = xcalloc(1, sizeof(*p));
	*p = (struct posts){.bus = bus, .loop = loop, .open = open, .guarded = guarded};
	for (int i = 0; i < ENDS; i++)
		p->m_ends[i] = metrics_counter(metrics, "penstock_worker_hook_posts_total", ends[i],
					       "Requests of outgoing webhooks");
	p->m_running = metrics_gauge(metrics, "penstock_worker_hook_posts", NULL,
				     "Requests of outgoing webhooks under way");
	if (!subscribe(p, err))
		return p;
	free(p);
	return NULL;
}

void posts_drain(struct posts *p)
{
	if (p)
		bus_drain(p->sub);
}

int posts_undrain(struct posts *p, struct error *err)
{
	bus_unsubscribe(p->sub);
	return subscribe(p, err);
}

void posts_free(struct posts *p)
{
	if (!p)
		return;
	bus_unsubscribe(p->sub);
	while (p->list) {
		http_cancel(p->list->call);
		post_free(p->list);
	}
	free(p);
}
