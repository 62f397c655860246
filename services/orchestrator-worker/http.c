#include "services/orchestrator-worker/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/netaddr.h"
#include "common/strbuf.h"

#define KEEP_CONNECTIONS 256
#define KEEP_HANDLES     64
#define AGENT            "penstock/1"

struct http_call {
	struct http_call *next, *prev;
	struct http_client *client;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	bool dead;    /* cancelled from inside a callback: it is taken down behind it */
	bool stopped; /* by the body's reader */
	bool refused; /* an address that the guard did not let it connect to */
	enum http_failure early;
	http_body_fn *body_fn;
	http_done_fn *done;
	void *arg;
	char error[CURL_ERROR_SIZE];
};

struct http_client {
	struct loop *loop;
	CURLM *multi;
	struct timer timer; /* libcurl's own */
	struct timer reap;  /* calls that could not even start, calls that died inside a callback */
	struct http_call *calls;
	CURL *spare[KEEP_HANDLES];
	size_t n_spare;
	unsigned inside; /* libcurl is on the stack */
	bool guarded;
};

struct watch {
	struct loop_io io;
	struct http_client *client;
};

static void finish_calls(struct http_client *c);

static void drive(struct http_client *c, curl_socket_t fd, int what)
{
	int running;
	c->inside++;
	curl_multi_socket_action(c->multi, fd, what, &running);
	c->inside--;
	finish_calls(c);
}

static void on_timer(struct timer *timer, void *arg)
{
	(void)timer;
	drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
	(void)multi;
	struct http_client *c = arg;
	if (ms < 0)
		timer_cancel(c->loop, &c->timer);
	else
		timer_set(c->loop, &c->timer, (int64_t)ms * 1000);
	return 0;
}

static void on_socket(struct loop_io *io, uint32_t events, void *arg)
{
	struct watch *w = arg;
	int what = ((events & (EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
		   ((events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
		   ((events & EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0);
	drive(w->client, io->fd, what); /* may free w */
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	(void)easy;
	struct http_client *c = arg;
	struct watch *w = socket_arg;
	struct error err;
	if (what == CURL_POLL_REMOVE) {
		if (w != NULL)
			loop_io_del(c->loop, &w->io);
		free(w);
		curl_multi_assign(c->multi, fd, NULL);
		return 0;
	}
	uint32_t events = ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0u) |
			  ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0u);
	if (w != NULL) {
		if (w->io.events != events && loop_io_mod(c->loop, &w->io, events, &err))
			log_at(LOG_ERROR, "http socket", LOG_S("error", err.msg));
		return 0;
	}
	w = xcalloc(1, sizeof(*w));
	w->client = c;
	w->io = (struct loop_io){.fd = fd, .events = events, .fn = on_socket, .arg = w};
	if (loop_io_add(c->loop, &w->io, &err)) {
		log_at(LOG_ERROR, "http socket", LOG_S("error", err.msg));
		free(w);
		return -1;
	}
	curl_multi_assign(c->multi, fd, w);
	return 0;
}

/* --- ends of calls ------------------------------------------------------------------------- */

static void call_free(struct http_call *call)
{
	struct http_client *c = call->client;
	*(call->prev != NULL ? &call->prev->next : &c->calls) = call->next;
	if (call->next != NULL)
		call->next->prev = call->prev;
	curl_multi_remove_handle(c->multi, call->easy);
	if (c->n_spare < KEEP_HANDLES) {
		curl_easy_reset(call->easy);
		c->spare[c->n_spare++] = call->easy;
	} else {
		curl_easy_cleanup(call->easy);
	}
	curl_slist_free_all(call->headers);
	free(call->body);
	free(call);
}

static enum http_failure failure_of(const struct http_call *call, CURLcode code)
{
	if (call->stopped)
		return HTTP_STOPPED;
	if (call->refused && code == CURLE_COULDNT_CONNECT)
		return HTTP_REFUSED;
	switch (code) {
	case CURLE_OK:
		return HTTP_DONE;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_SSL_CONNECT_ERROR:
		return HTTP_CONNECT;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_BAD_FUNCTION_ARGUMENT:
	case CURLE_PEER_FAILED_VERIFICATION:
		return HTTP_BAD;
	case CURLE_OPERATION_TIMEDOUT: {
		curl_off_t connected =
		    0; /* the only timeout that libcurl was given is the connection's */
		curl_easy_getinfo(call->easy, CURLINFO_CONNECT_TIME_T, &connected);
		return connected == 0 ? HTTP_CONNECT : HTTP_BROKEN;
	}
	default:
		return HTTP_BROKEN;
	}
}

static void complete(struct http_call *call, CURLcode code)
{
	struct http_result result = {.failure = failure_of(call, code), .words = call->error};
	char error[CURL_ERROR_SIZE];
	memcpy(error, call->error, sizeof(error));
	result.words = result.failure == HTTP_REFUSED ? "no public address"
		       : error[0] != '\0'             ? error
						      : curl_easy_strerror(code);
	curl_off_t wait = 0;
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &result.status);
	if (curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0)
		result.retry_after_ms = (wait < 86400 ? (int64_t)wait : 86400) * 1000;
	http_done_fn *done = call->dead ? NULL : call->done;
	void *arg = call->arg;
	call_free(call);
	if (done != NULL)
		done(arg, &result);
}

static void finish_calls(struct http_client *c)
{
	if (c->inside > 0)
		return;
	int left;
	for (CURLMsg *msg; (msg = curl_multi_info_read(c->multi, &left)) != NULL;) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		struct http_call *call = NULL;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		complete(call, msg->data.result);
	}
}

static void on_reap(struct timer *timer, void *arg)
{
	(void)timer;
	struct http_client *c = arg;
	for (struct http_call *call = c->calls, *next; call != NULL; call = next) {
		next = call->next;
		if (call->dead)
			call_free(call);
	}
	for (struct http_call *call = c->calls; call != NULL;) {
		if (call->early != HTTP_BAD) {
			call = call->next;
			continue;
		}
		struct http_result result = {.failure = HTTP_BAD, .words = "bad request"};
		http_done_fn *done = call->done;
		void *done_arg = call->arg;
		call_free(call);
		done(done_arg, &result);
		call = c->calls; /* anything may have changed */
	}
}

/* --- starting ------------------------------------------------------------------------------ */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct http_call *call = arg;
	if (call->dead)
		return 0;
	long status = 0;
	const char *type = NULL;
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, (char **)&type);
	if (call->body_fn(call->arg, status, type != NULL ? type : "", data, size * n) == 0 &&
	    !call->dead)
		return size * n;
	call->stopped = true;
	return 0;
}

static curl_socket_t open_guarded(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct http_call *call = arg;
	(void)purpose;
	if (netaddr_class(&a->addr, a->addrlen) != NETADDR_PUBLIC) {
		call->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* -1 if libcurl will not have it. */
static int set_up(struct http_call *call, const struct http_request *r)
{
	CURL *e = call->easy;
	for (size_t i = 0; i < r->n_headers; i++)
		call->headers = curl_slist_append(call->headers, r->headers[i]);
	call->headers = curl_slist_append(call->headers, "Expect:"); /* no 100-continue */
	curl_easy_setopt(e, CURLOPT_PRIVATE, call);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->error);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_USERAGENT, AGENT);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)r->connect_ms);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
	if (call->client->guarded) {
		curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_guarded);
		curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, call);
	}
	if (r->body != NULL) {
		call->body = xmalloc(r->len + 1);
		memcpy(call->body, r->body, r->len);
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->body);
	}
	if (strcmp(r->method, "HEAD") == 0)
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	else
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
	if (curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
	    curl_easy_setopt(e, CURLOPT_URL, r->url) != CURLE_OK)
		return -1;
	return curl_multi_add_handle(call->client->multi, e) == CURLM_OK ? 0 : -1;
}

struct http_call *http_start(struct http_client *c, const struct http_request *request,
			     http_body_fn *body, http_done_fn *done, void *arg)
{
	struct http_call *call = xcalloc(1, sizeof(*call));
	*call = (struct http_call){
	    .client = c, .body_fn = body, .done = done, .arg = arg, .next = c->calls};
	if (c->calls != NULL)
		c->calls->prev = call;
	c->calls = call;
	call->easy = c->n_spare > 0 ? c->spare[--c->n_spare] : curl_easy_init();
	if (call->easy == NULL)
		abort(); /* out of memory, as everywhere */
	if (set_up(call, request) != 0) {
		call->early = HTTP_BAD;
		timer_set(c->loop, &c->reap, 0);
	}
	return call;
}

void http_cancel(struct http_call *call)
{
	if (call->client->inside == 0) {
		call_free(call);
		return;
	}
	call->dead = true;
	timer_set(call->client->loop, &call->client->reap, 0);
}

struct http_client *http_client_new(struct loop *loop, bool guarded, struct error *err)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		err_set(err, ERR_FATAL, "libcurl does not start");
		return NULL;
	}
	struct http_client *c = xcalloc(1, sizeof(*c));
	c->loop = loop;
	c->guarded = guarded;
	timer_init(&c->timer, on_timer, c);
	timer_init(&c->reap, on_reap, c);
	c->multi = curl_multi_init();
	if (c->multi == NULL)
		abort();
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, want_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)KEEP_CONNECTIONS);
	return c;
}

void http_client_free(struct http_client *c)
{
	if (c == NULL)
		return;
	while (c->calls != NULL)
		call_free(c->calls);
	for (size_t i = 0; i < c->n_spare; i++)
		curl_easy_cleanup(c->spare[i]);
	curl_multi_cleanup(c->multi);
	timer_cancel(c->loop, &c->timer);
	timer_cancel(c->loop, &c->reap);
	free(c);
	curl_global_cleanup();
}
