/* Plain HTTP, and the WebSocket handshakes that the gates (gate.h) leave to it, by libmicrohttpd
 * with its own epoll threads.
 *
 * A request that needs the plane is suspended, goes to the hub's thread (authentication, then what
 * its route does) and is resumed with the answer in it; nothing in libmicrohttpd's threads ever
 * waits. Threads: http_open/close by the assembling thread. */
#ifndef PENSTOCK_EDGE_HTTP_H
#define PENSTOCK_EDGE_HTTP_H

#include <microhttpd.h>

#include "services/edge/client_msg.h"
#include "services/edge/command.h"
#include "services/edge/edge.h"
#include "services/edge/hub.h"
#include "services/edge/terms.h"

struct http;
struct call;

struct http *http_open(struct edge *edge, struct error *err);
/* A connection that was accepted, of which nothing is read yet (owned). Any thread; addr is copied.
 */
void http_take(struct http *http, int fd, const struct sockaddr_storage *addr, socklen_t len);
/* Requests that were begun and are not answered yet. */
int http_active(struct http *http);
/* From now on every request is answered by 503 at once. Returns how many still wait for the hub. */
int http_refuse(struct http *http);
/* No more of it: what http_take() gets is closed. None may wait for the hub; again is fine. */
void http_stop(struct http *http);
void http_close(struct http *http); /* likewise, and nobody calls http_take(); NULL is fine */

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

extern const struct route http_routes_events[], http_routes_tasks[], http_routes_stream[],
    http_routes_ws[], http_routes_hooks[]; /* end in method NULL */

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
	bool streamed; /* the answer was written to the socket by somebody else */
	bool head;     /* the method is HEAD: the route is GET's */
	char trace[TRACE_LEN + 1];
	bool anybody; /* the route runs for those as well whom auth.result does not let in */
	struct auth_request auth;
	struct hook_call hook; /* of /v1/hooks */
	struct command_request command;
	struct task_request task;
	struct fetch_request *fetch;
	uint64_t after;
	int64_t limit, listed;
	/* the answer */
	unsigned status;
	const char *type;
	char allow[48]; /* the methods of the path */
	uint32_t retry_after_ms;
	struct command_quota quota;
	struct MHD_Response *upgrade;
	struct MHD_Response *file; /* instead of the body */
	char *token, *origin;      /* of an upgrade */
	struct ws_terms terms;
};

/* Answers with the body that is in c->body (type application/json). */
void call_reply(struct call *c, unsigned status);
/* The same with another type. */
void call_answer(struct call *c, unsigned status, const char *type);
/* The answer is through, and the connection with it. */
void call_streamed(struct call *c);
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
/* The origin of the page that asks; owned by the caller; NULL: no browser. */
char *call_origin(const struct call *c);
/* http_cors.c: the headers of an answer to another origin. */
void cors_add(const struct call *c, struct MHD_Response *r);
/* http_ws.c: this tenant is drained away from here. The hub's thread; true: refused. */
bool call_drained(struct call *c);
/* The path as a file below dir (http_static.c). False: nothing is answered, for there is none, or
 * there is one and c->allow says what can be done with it. */
bool http_static(struct call *c, int dir, const char *method, const char *path);

#endif
