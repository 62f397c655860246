/* The clients' port: plain HTTP and the WebSocket handshake, by libmicrohttpd with its own epoll
 * threads.
 *
 * A request that needs the plane is suspended, goes to the hub's thread (authentication, then what
 * its route does) and is resumed with the answer in it; nothing in libmicrohttpd's threads ever
 * waits. Threads: http_open/close by the assembling thread. */
#ifndef PENSTOCK_EDGE_HTTP_H
#define PENSTOCK_EDGE_HTTP_H

#include <microhttpd.h>

#include "services/edge/client_msg.h"
#include "services/edge/edge.h"
#include "services/edge/hub.h"

struct http;
struct call;

struct http *http_open(struct edge *edge, struct error *err);
int http_port(const struct http *http);
/* Requests that were begun and are not answered yet. */
int http_active(struct http *http);
/* From now on every request is answered by 503 at once. Returns how many still wait for the hub. */
int http_refuse(struct http *http);
void http_close(struct http *http); /* none may wait for the hub; NULL is fine */

/* --- for the routes ------------------------------------------------------------------------ */

struct route {
	const char *method, *path; /* {} stands for one part of the path */
	/* libmicrohttpd's thread: reads the request. -1: refused, c->why says it (but 401 goes
	 * first). */
	int (*read)(struct call *c);
	/* The hub's thread, authenticated: answers now or later by call_…(). NULL: `read` has
	 * answered. */
	void (*run)(struct call *c);
	unsigned scope; /* enum scope that the key needs */
};

extern const struct route http_routes_events[], http_routes_tasks[],
    http_routes_ws[]; /* end in method NULL */

/* One request. libmicrohttpd's thread has it but while it waits for the hub. */
struct call {
	struct http *http;
	struct MHD_Connection *connection;
	const struct route *route;
	char param[CHANNEL_MAX + 1];
	struct strbuf body; /* the request's, then the response's */
	struct client_msg msg;
	struct client_error why;
	bool begun, waiting, bad, answered;
	char trace[TRACE_LEN + 1];
	struct auth_request auth;
	struct command_request command;
	struct task_request task;
	struct fetch_request *fetch;
	uint64_t after;
	int64_t limit, listed;
	/* the answer */
	unsigned status;
	const char *type, *allow;
	uint32_t retry_after_ms;
	struct MHD_Response *upgrade;
	char *token; /* of an upgrade */
};

/* Answers with the body that is in c->body (type application/json). */
void call_reply(struct call *c, unsigned status);
void call_problem(struct call *c, const struct frame_error *e);
void call_refuse(struct call *c, const char *code, const char *message);
struct edge *call_edge(const struct call *c);
/* The hub's thread: sends c->msg as a command and answers with its reply. */
void call_command(struct call *c, enum command_kind kind);
/* A query argument, a header; NULL: none. */
const char *call_query(const struct call *c, const char *name);
const char *call_header(const struct call *c, const char *name);
/* The token of the request: Authorization: Bearer, or access_token. Owned by the caller; NULL:
 * none. */
char *call_token(const struct call *c);

#endif
