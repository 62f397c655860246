/* HTTP calls on the loop: libcurl's multi interface over epoll and the loop's timers. No thread per
 * call, connections are kept and used again.
 *
 * Only http and https, no redirects, no proxy from the environment. Timeouts are the caller's
 * business (it knows what it waits for), but for the connection's own.
 *
 * A guarded client reaches public addresses only (common/netaddr.h). Each address is looked at when
 * the socket to it is made, behind the resolver: no name can mean one address when it is checked
 * and another one when it is used. Threads: the loop's. */
#ifndef WORKER_HTTP_H
#define WORKER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"

struct http_client;
struct http_call;

struct http_request {
	const char *method, *url;
	const char *const *headers; /* "Name: value", n of them; not logged */
	size_t n_headers;
	const void *body; /* NULL: none */
	size_t len;
	int64_t connect_ms;
};

enum http_failure {
	HTTP_DONE,    /* there is an answer, whole */
	HTTP_CONNECT, /* no connection: nothing was asked */
	HTTP_BROKEN,  /* the connection broke on the way: unknown whether it was done */
	HTTP_BAD,     /* the request itself can never be sent: the URL, a header */
	HTTP_STOPPED, /* on_body wanted no more */
	HTTP_REFUSED, /* guarded, and none of its addresses is public: nothing was asked */
};

struct http_result {
	enum http_failure failure;
	long status;
	int64_t retry_after_ms; /* also when it was said as a date; 0: not said */
	const char *words;      /* of a failure */
};

/* A piece of the body; status is known. Other than 0: stop. Borrowed. */
typedef int http_body_fn(void *arg, long status, const char *content_type, const char *data,
			 size_t len);
typedef void http_done_fn(void *arg, const struct http_result *result);

/* Clients share no connections: what an open one has connected, a guarded one cannot use. */
struct http_client *http_client_new(struct loop *loop, bool guarded, struct error *err);
void http_client_free(struct http_client *client); /* cancels its calls; NULL is fine */
/* done is called once, never from inside, unless the call is cancelled. Everything is copied. */
struct http_call *http_start(struct http_client *client, const struct http_request *request,
			     http_body_fn *body, http_done_fn *done, void *arg);
/* Also from inside its own callbacks (not from done: then it is over). */
void http_cancel(struct http_call *call);

#endif
