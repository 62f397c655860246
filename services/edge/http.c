#include "services/edge/http.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/names.h"
#include "common/rng.h"
#include "common/ws.h"
#include "services/edge/http_peers.h"
#include "services/edge/problem.h"

#define CONNECTION_MEMORY 16384 /* request line and headers */
#define RETRY_S           1     /* where nobody said more */
#define SWEEP_US          500000
#define DEPTH_ENOUGH      100 /* more is as good */

struct http {
	struct edge *edge;
	struct peers peers;
	struct timer sweep;
	pthread_mutex_t taking;    /* http_take() against http_stop() */
	struct MHD_Daemon *daemon; /* NULL: stopped */
	int static_dir;            /* -1: none */
	_Atomic int active;
	pthread_mutex_t lock; /* what is below */
	bool refusing;
	int waiting; /* suspended, at the hub */
	struct rng rng;
};

struct edge *call_edge(const struct call *c)
{
	return c->http->edge;
}

/* --- the answer --------------------------------------------------------------------------- */

static void finish(struct call *c)
{
	c->answered = true;
	if (!c->waiting)
		return;
	c->waiting = false;
	pthread_mutex_lock(&c->http->lock);
	c->http->waiting--;
	pthread_mutex_unlock(&c->http->lock);
	MHD_resume_connection(c->connection); /* c is libmicrohttpd's again */
}

void call_answer(struct call *c, unsigned status, const char *type)
{
	c->status = status;
	c->type = type;
	finish(c);
}

void call_reply(struct call *c, unsigned status)
{
	call_answer(c, status, "application/json");
}

void call_streamed(struct call *c)
{
	c->status = MHD_HTTP_OK;
	c->streamed = true;
	finish(c);
}

void call_problem(struct call *c, const struct frame_error *e)
{
	c->status = problem_status(e->code);
	c->type = "application/problem+json";
	c->retry_after_ms = e->retry_after_ms;
	strbuf_reset(&c->body);
	problem_add(&c->body, c->status, e, c->trace);
	finish(c);
}

void call_refuse(struct call *c, const char *code, const char *message)
{
	struct frame_error e = {.code = code, .message = message};

	if (!strcmp(code, "unavailable") || !strcmp(code, "overloaded")) {
		e.temporary = true;
		e.retry_after_ms = 1000;
	}
	call_problem(c, &e);
}

/* draft-ietf-httpapi-ratelimit-headers-10. */
static void add_quota(const struct call *c, struct MHD_Response *r)
{
	const struct command_quota *q = &c->quota;
	char text[64];

	if (!q->limit)
		return;
	snprintf(text, sizeof(text), "\"tenant\";q=%llu;w=%u", (unsigned long long)q->limit,
		 q->window_s);
	MHD_add_response_header(r, "RateLimit-Policy", text);
	snprintf(text, sizeof(text), "\"tenant\";r=%llu;t=%u", (unsigned long long)q->remaining,
		 q->reset_s);
	MHD_add_response_header(r, "RateLimit", text);
}

static void add_headers(const struct call *c, struct MHD_Response *r)
{
	unsigned retry_s = (c->retry_after_ms + 999) / 1000;
	char text[16];

	if (c->type)
		MHD_add_response_header(r, "Content-Type", c->type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "traceparent", c->trace);
	cors_add(c, r);
	if (*c->allow)
		MHD_add_response_header(r, "Allow", c->allow);
	switch (c->status) {
	case MHD_HTTP_UNAUTHORIZED:
		MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
		break;
	case MHD_HTTP_UNSUPPORTED_MEDIA_TYPE:
		MHD_add_response_header(r, "Accept", "application/json");
		MHD_add_response_header(r, "Accept-Encoding", "identity");
		break;
	case MHD_HTTP_UPGRADE_REQUIRED:
		/* No Upgrade header: libmicrohttpd keeps that for answers of 101. */
		MHD_add_response_header(r, "Sec-WebSocket-Version", "13");
		break;
	case MHD_HTTP_TOO_MANY_REQUESTS:
	case MHD_HTTP_SERVICE_UNAVAILABLE:
		retry_s = retry_s ? retry_s : RETRY_S;
		break;
	}
	if (retry_s) {
		snprintf(text, sizeof(text), "%u", retry_s);
		MHD_add_response_header(r, "Retry-After", text);
	}
	add_quota(c, r);
}

static enum MHD_Result send_answer(struct call *c)
{
	struct MHD_Response *r = c->upgrade;
	enum MHD_Result rc;
	size_t len;
	char *body;

	metric_add(call_edge(c)->stats.http[c->status / 100 % 6], 1);
	if (c->streamed)
		return MHD_NO; /* which closes it */
	if (r) {
		rc = MHD_queue_response(c->connection, MHD_HTTP_SWITCHING_PROTOCOLS, r);
		MHD_destroy_response(r);
		c->upgrade = NULL;
		return rc;
	}
	r = c->file;
	c->file = NULL;
	if (!r) {
		body = strbuf_detach(&c->body, &len);
		r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	}
	add_headers(c, r);
	rc = MHD_queue_response(c->connection, c->status, r);
	MHD_destroy_response(r);
	return rc;
}

/* --- the request -------------------------------------------------------------------------- */

const char *call_query(const struct call *c, const char *name)
{
	return MHD_lookup_connection_value(c->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *call_header(const struct call *c, const char *name)
{
	return MHD_lookup_connection_value(c->connection, MHD_HEADER_KIND, name);
}

char *call_token(const struct call *c)
{
	return auth_token(call_header(c, "Authorization"), call_query(c, "access_token"));
}

/* Does the path fit? What stands for {} is copied to param. */
static bool fits(const char *pattern, const char *path, char *param, size_t cap)
{
	const char *hole = strstr(pattern, "{}");
	size_t before, n;

	if (!hole)
		return !strcmp(pattern, path);
	before = (size_t)(hole - pattern);
	if (strncmp(pattern, path, before))
		return false;
	n = strcspn(path + before, "/");
	if (n == 0 || n >= cap || strcmp(path + before + n, hole + 2))
		return false;
	memcpy(param, path + before, n);
	param[n] = 0;
	return true;
}

/* RFC 9110: HEAD wherever there is GET, 404 for a path that nobody has, 405 with the methods of one
 * that somebody has (15.5.6), and those also for OPTIONS (9.3.7). */
static void no_route(struct call *c, const char *method)
{
	if (!*c->allow) {
		call_refuse(c, "not_found", "there is nothing here");
	} else if (!strcmp(method, "OPTIONS")) {
		c->status = MHD_HTTP_NO_CONTENT;
		c->answered = true;
	} else {
		call_refuse(c, "method_not_allowed", "the path has other methods");
	}
}

static void allow(struct call *c, const char *method)
{
	size_t n = strlen(c->allow);

	snprintf(c->allow + n, sizeof(c->allow) - n, "%s%s%s", n ? ", " : "", method,
		 strcmp(method, "GET") ? "" : ", HEAD");
}

static void find_route(struct call *c, const char *method, const char *path)
{
	static const struct route *const all[] = {http_routes_events, http_routes_tasks,
						  http_routes_stream, http_routes_ws,
						  http_routes_hooks};
	const char *wanted = method;

	c->head = !strcmp(method, "HEAD");
	if (c->head)
		wanted = "GET";
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		for (const struct route *r = all[i]; r->method; r++) {
			if (!fits(r->path, path, c->param, sizeof(c->param)))
				continue;
			if (!strcmp(r->method, wanted)) {
				c->route = r;
				c->allow[0] = 0;
				return;
			}
			allow(c, r->method);
		}
	}
	if (!*c->allow && http_static(c, c->http->static_dir, method, path))
		return;
	no_route(c, method);
}

static struct call *call_new(struct http *http, struct MHD_Connection *connection)
{
	struct call *c = xcalloc(1, sizeof(*c));
	const char *parent;

	c->http = http;
	c->connection = connection;
	parent = call_header(c, "traceparent");
	pthread_mutex_lock(&http->lock);
	trace_child(&http->rng, parent, c->trace);
	pthread_mutex_unlock(&http->lock);
	atomic_fetch_add(&http->active, 1);
	return c;
}

static void call_free(struct call *c)
{
	if (c->upgrade)
		MHD_destroy_response(c->upgrade);
	if (c->file)
		MHD_destroy_response(c->file);
	if (c->token)
		explicit_bzero(c->token, strlen(c->token));
	free(c->token);
	free(c->origin);
	auth_identity_done(&c->auth.who);
	if (c->auth.usage) /* of a stream that has not begun */
		usage_disconnect(c->auth.usage);
	usage_release(c->auth.usage);
	strbuf_done(&c->body);
	atomic_fetch_sub(&c->http->active, 1);
	free(c);
}

/* --- at the hub --------------------------------------------------------------------------- */

/* The patterns of the key or token. */
static bool permitted(const struct call *c)
{
	const struct permit *p = c->auth.who.permit;

	switch (c->route->scope) {
	case SCOPE_SUBSCRIBE:
		return permit_allows(p, PERMIT_SUBSCRIBE, c->param);
	case SCOPE_PUBLISH:
		return permit_allows(p, PERMIT_PUBLISH, c->msg.channel);
	case SCOPE_TASK:
		return c->msg.op != OP_TASK || permit_allows(p, PERMIT_PIPELINE, c->msg.pipeline);
	default:
		return true;
	}
}

static void refuse_stream(struct call *c, bool tenant)
{
	call_problem(c, &(struct frame_error){
			    .code = "overloaded",
			    .message = tenant ? "the tenant has as many connections as it may have"
					      : "too many come at once",
			    .scope = tenant ? "tenant" : NULL,
			    .temporary = true,
			    .retry_after_ms = c->auth.retry_ms,
			    .limit = tenant ? "tenant.connections" : "edge.connects"});
}

static void on_auth(struct request *base)
{
	struct call *c = base->arg;

	if (c->anybody) {
		c->route->run(c);
		return;
	}
	switch (c->auth.result) {
	case AUTH_OK:
		break;
	case AUTH_BAD:
		call_refuse(c, "unauthenticated",
			    c->auth.hook ? "there is no such hook, or the signature is not its own"
					 : "the token is not valid");
		return;
	case AUTH_SUSPENDED:
		call_refuse(c, "forbidden", "the tenant is suspended");
		return;
	case AUTH_ORIGIN:
		call_refuse(c, "forbidden", AUTH_ORIGIN_TEXT);
		return;
	case AUTH_NOT_READY:
		call_refuse(c, "unavailable", "this edge is not ready");
		return;
	case AUTH_BUSY: /* these two only for streams */
	case AUTH_FULL:
		refuse_stream(c, c->auth.result == AUTH_FULL);
		return;
	case AUTH_EXPIRED:
		assert(!"this is for sockets");
		return;
	}
	if (c->bad)
		call_refuse(c, c->why.code, c->why.message);
	else if ((c->auth.who.scopes & c->route->scope) != c->route->scope)
		call_refuse(c, "forbidden", "the key may not do this");
	else if (!permitted(c))
		call_refuse(c, "forbidden", "the token may not do this here");
	else
		c->route->run(c);
}

/* Suspends it and asks the hub who it is. False: the edge is stopping. */
static bool go_to_hub(struct call *c)
{
	bool refusing;

	pthread_mutex_lock(&c->http->lock);
	refusing = c->http->refusing;
	c->http->waiting += !refusing;
	pthread_mutex_unlock(&c->http->lock);
	if (refusing) {
		call_refuse(c, "unavailable", "this edge is stopping");
		return false;
	}
	c->waiting = true;
	c->auth.base.done = on_auth;
	c->auth.base.arg = c;
	c->auth.token = call_token(c);
	c->auth.origin = call_origin(c);
	MHD_suspend_connection(c->connection);
	hub_auth(call_edge(c)->hub, &c->auth);
	return true;
}

static void on_command(struct request *base)
{
	struct call *c = base->arg;
	struct command_answer a;

	edge_command_end(call_edge(c));
	command_answer(c->command.reply, c->command.reply_len, &a);
	c->quota = a.quota;
	free(c->command.data);
	free(c->command.reply);
	strbuf_reset(&c->body);
	if (a.accepted) {
		frames_accepted_body(&c->body, &a.ok);
		command_answer_done(&a);
		call_reply(c, MHD_HTTP_ACCEPTED);
		return;
	}
	/* The texts are needed until the problem is written, and c is not ours once it is. */
	c->answered = false;
	{
		const struct frame_error e = a.refused;

		c->status = problem_status(e.code);
		c->type = "application/problem+json";
		c->retry_after_ms = e.retry_after_ms;
		problem_add(&c->body, c->status, &e, c->trace);
	}
	command_answer_done(&a);
	finish(c);
}

/* As the stage says that posts it, so that a loop of triggers which leads through here ends. A
 * client can only say that its event is deeper than it is: what it loses is its own. */
static unsigned depth_of(const struct call *c)
{
	const char *text = call_header(c, HEADER_DEPTH);
	unsigned n = 0;

	for (; text && *text >= '0' && *text <= '9'; text++)
		n = n < DEPTH_ENOUGH ? 10 * n + (unsigned)(*text - '0') : n;
	return text && !*text ? n : 0;
}

void call_command(struct call *c, enum command_kind kind)
{
	struct edge *edge = call_edge(c);
	struct id id;

	if (!edge_command_begin(edge)) {
		call_refuse(c, "overloaded", "too many commands are under way here");
		return;
	}
	pthread_mutex_lock(&c->http->lock);
	id = id_new(&c->http->rng, loop_wall_us(edge_loop(edge)));
	pthread_mutex_unlock(&c->http->lock);
	c->command.base.done = on_command;
	c->command.base.arg = c;
	c->command.kind = kind;
	c->command.part = part_of(c->auth.who.tenant, (unsigned)edge->conf->common.parts);
	c->command.data = command_pack(&c->msg,
				       &(struct command_from){.id = id.text,
							      .session = "",
							      .tenant = c->auth.who.tenant,
							      .principal = c->auth.who.id,
							      .edge = edge->conf->common.instance,
							      .trace = c->trace,
							      .quota = true,
							      .depth = depth_of(c)},
				       &c->command.len);
	hub_command_here(edge->hub, &c->command);
}

/* --- libmicrohttpd ------------------------------------------------------------------------ */

/* A body without a type is taken for what it must be; one that is encoded cannot be read. */
static bool is_json(const struct call *c)
{
	const char *type = call_header(c, "Content-Type");
	const char *encoding = call_header(c, "Content-Encoding");
	size_t n = type ? strcspn(type, "; \t") : 0;

	return (!type || (n == 16 && !strncasecmp(type, "application/json", n))) &&
	       (!encoding || !*encoding || !strcasecmp(encoding, "identity"));
}

static bool too_long(const struct call *c, size_t more)
{
	const char *length = call_header(c, "Content-Length");
	size_t max = (size_t)call_edge(c)->conf->task_bytes + 4096;

	return c->body.len + more > max || (length && strtoull(length, NULL, 10) > max);
}

/* True: it waits for the hub, and is the hub's: it may be answered already. */
static bool begin(struct call *c)
{
	c->begun = true;
	if (c->body.len && !strcmp(c->route->method, "POST") && !is_json(c)) {
		call_refuse(c, "unsupported_media_type", "the body must be application/json");
		return false;
	}
	c->bad = c->route->read(c) != 0;
	if (!c->answered && c->route->run)
		return go_to_hub(c);
	if (!c->answered)
		call_refuse(c, c->why.code, c->why.message);
	return false;
}

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct peer *peer_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
	    ->socket_context;
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http *http = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context =
		    peer_open(&http->peers,
			      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
				  ->connect_fd,
			      now_us());
		return;
	}
	peer_close(&http->peers, *context);
	*context = NULL;
}

static void on_sweep(struct timer *timer, void *arg)
{
	struct http *http = arg;
	size_t n = peers_sweep(&http->peers, now_us());

	metric_add(http->edge->stats.cut_off, (int64_t)n);
	timer_set(edge_loop(http->edge), timer, SWEEP_US);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *path,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **state)
{
	struct call *c = *state;

	(void)version;
	if (!c) {
		*state = c = call_new(cls, connection);
		peer_wait(&c->http->peers, peer_of(connection), now_us()); /* for the body */
		find_route(c, method, path);
		if (!c->answered && too_long(c, 0))
			call_refuse(c, "too_large", "the body is longer than the limit");
		/* Refused before its body was read: libmicrohttpd ends such a connection after the
		 * answer. */
		return c->answered ? send_answer(c) : MHD_YES;
	}
	if (*len) {
		if (!c->answered && too_long(c, *len))
			call_refuse(c, "too_large", "the body is longer than the limit");
		if (!c->answered)
			strbuf_add(&c->body, data, *len);
		*len = 0;
		return MHD_YES;
	}
	if (!c->begun)
		peer_stop(&c->http->peers, peer_of(connection));
	/* The next call is for the answer: a suspended connection has none before it is resumed. */
	if (!c->begun && !c->answered && begin(c))
		return MHD_YES;
	return send_answer(c);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	struct http *http = cls;
	struct call *c = *state;

	(void)why;
	/* A socket that is a WebSocket's now is watched by its reactor. */
	if (c && c->status != MHD_HTTP_SWITCHING_PROTOCOLS)
		peer_wait(&http->peers, peer_of(connection), now_us());
	if (c)
		call_free(c);
	*state = NULL;
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	(void)cls;
	(void)uri;
	(void)connection;
	return NULL;
}

struct http *http_open(struct edge *edge, struct error *err)
{
	const struct edge_conf *conf = edge->conf;
	struct http *http = xcalloc(1, sizeof(*http));
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_ALLOW_UPGRADE | MHD_USE_NO_LISTEN_SOCKET;

	http->edge = edge;
	pthread_mutex_init(&http->lock, NULL);
	pthread_mutex_init(&http->taking, NULL);
	peers_init(&http->peers, conf->http_timeout_s * 1000000);
	timer_init(&http->sweep, on_sweep, http);
	timer_set(edge_loop(edge), &http->sweep, SWEEP_US);
	rng_seed_os(&http->rng);
	http->static_dir = -1;
	if (*conf->static_dir) {
		http->static_dir = open(conf->static_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (http->static_dir < 0) {
			err_set(err, ERR_FATAL, "PENSTOCK_EDGE_STATIC_DIR: %s: %s",
				conf->static_dir, strerror(errno));
			http_close(http);
			return NULL;
		}
	}
	http->daemon = MHD_start_daemon(
	    flags, 0, NULL, NULL, on_request, http, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http,
	    MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
	    NULL, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)conf->http_timeout_s,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)16384, MHD_OPTION_THREAD_POOL_SIZE,
	    (unsigned)(conf->http_threads > 1 ? conf->http_threads : 0), MHD_OPTION_END);
	if (!http->daemon) {
		err_set(err, ERR_FATAL, "cannot start libmicrohttpd");
		http_close(http);
		return NULL;
	}
	return http;
}

void http_take(struct http *http, int fd, const struct sockaddr_storage *addr, socklen_t len)
{
	pthread_mutex_lock(&http->taking);
	if (http->daemon) /* it closes the socket if it cannot have it */
		(void)MHD_add_connection(http->daemon, fd, (const struct sockaddr *)addr, len);
	else
		close(fd);
	pthread_mutex_unlock(&http->taking);
}

int http_active(struct http *http)
{
	return atomic_load(&http->active);
}

int http_refuse(struct http *http)
{
	int waiting;

	pthread_mutex_lock(&http->lock);
	http->refusing = true;
	waiting = http->waiting;
	pthread_mutex_unlock(&http->lock);
	return waiting;
}

void http_stop(struct http *http)
{
	struct MHD_Daemon *daemon;

	pthread_mutex_lock(&http->taking);
	daemon = http->daemon;
	http->daemon = NULL;
	pthread_mutex_unlock(&http->taking);
	if (daemon)
		MHD_stop_daemon(daemon);
}

void http_close(struct http *http)
{
	if (!http)
		return;
	http_stop(http);
	timer_cancel(edge_loop(http->edge), &http->sweep);
	peers_done(&http->peers);
	if (http->static_dir >= 0)
		close(http->static_dir);
	pthread_mutex_destroy(&http->taking);
	pthread_mutex_destroy(&http->lock);
	free(http);
}
