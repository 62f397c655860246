/* A small HTTP/1.1 server on one loop, for answers that take their time: no thread per request, and
 * the handler learns at once when the client has gone.
 *
 * Threads: the loop's. Bounds: header 16 KiB, body 8 MiB (413), 1 MiB of unsent answer a connection
 * (then it is cut: the client does not read), connections by the descriptor limit. Bodies need
 * Content-Length (411). */
#ifndef MODELSIM_HTTP_H
#define MODELSIM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"

struct http_server;
struct http_conn;

struct http_req { /* borrowed for the call of the handler */
	const char *method, *path, *query;
	const char *body; /* ends in NUL */
	size_t body_len;
	const char *headers; /* raw lines, for http_header */
};

/* Must answer, now or later, with exactly one http_reply, http_stream_end or http_cut, unless told
 * by the closed callback that there is nobody left. */
typedef void http_handler_fn(void *arg, struct http_conn *conn, const struct http_req *req);

/* port 0: any, see http_port. NULL and *err on failure. */
struct http_server *http_open(struct loop *loop, const char *addr, int port,
			      http_handler_fn *handler, void *arg, struct error *err);
int http_port(const struct http_server *server);
void http_close(
    struct http_server *server); /* closes all connections; closed callbacks run. NULL is fine */
uint64_t http_connections(const struct http_server *server);

/* Value of a header copied to out (at most size - 1 bytes); false if it is not there. */
bool http_header(const struct http_req *req, const char *name, char *out, size_t size);

/* The client went away before the answer was whole; conn is invalid from then on. */
void http_on_closed(struct http_conn *conn, void (*fn)(void *arg), void *arg);
/* extra: further header lines, each ending in \r\n, or NULL. */
void http_reply(struct http_conn *conn, int status, const char *extra, const char *body,
		size_t len);
/* An answer in pieces (text/event-stream). */
void http_stream_begin(struct http_conn *conn);
void http_stream_add(struct http_conn *conn, const char *data, size_t len);
void http_stream_end(struct http_conn *conn);
/* Sends what was added and drops the connection in the middle of the answer. */
void http_cut(struct http_conn *conn);

#endif
