#include "services/control-plane/http.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"

#define IDLE_TIMEOUT_S    30
#define CONNECTION_MEMORY (32 * 1024)
#define DISCARD_MAX       (16L * 1024 * 1024)

/* What is counted by its own status; the rest is "other". */
static const int counted[] = {200, 201, 204, 400, 401, 403, 404, 405,
			      409, 412, 413, 415, 422, 428, 500, 503};
#define N_COUNTED (sizeof(counted) / sizeof(*counted))

struct http {
	struct MHD_Daemon *daemon;
	const struct api *api;
	struct metric *requests[N_COUNTED + 1];
	struct histogram *seconds;
};

/* From the headers to the answer of one request. */
struct exchange {
	struct strbuf body;
	bool too_large;
	int64_t start_us;
};

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void count(struct http *http, const struct exchange *x, int status)
{
	size_t i = 0;
	while (i < N_COUNTED && counted[i] != status)
		i++;
	metric_add(http->requests[i], 1);
	histogram_observe_us(http->seconds, now_us() - x->start_us);
}

static void set(struct MHD_Response *response, const char *name, const char *value)
{
	if (value && *value)
		MHD_add_response_header(response, name, value);
}

static enum MHD_Result answer(struct http *http, struct MHD_Connection *conn, struct exchange *x,
			      struct api_reply *reply)
{
	size_t len;
	char *body = strbuf_detach(&reply->body, &len), number[24];
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(body);
		return MHD_NO;
	}
	if (len)
		set(response, "Content-Type",
		    reply->problem ? "application/problem+json" : "application/json");
	set(response, "ETag", reply->etag);
	set(response, "Location", reply->location);
	set(response, "Allow", reply->allow);
	set(response, "Traceparent", reply->trace);
	set(response, "Cache-Control", "no-store");
	if (reply->status == 401)
		set(response, "WWW-Authenticate", "Bearer realm=\"penstock\"");
	if (reply->retry_after_s) {
		snprintf(number, sizeof(number), "%d", reply->retry_after_s);
		set(response, "Retry-After", number);
	}
	if (reply->published == PUBLISHED_YES && reply->revision) {
		snprintf(number, sizeof(number), "%" PRId64, reply->revision);
		set(response, "Penstock-Config-Revision", number);
	}
	if (reply->published != PUBLISHED_NONE)
		set(response, "Penstock-Published",
		    reply->published == PUBLISHED_YES ? "true" : "false");
	enum MHD_Result rc = MHD_queue_response(conn, (unsigned)reply->status, response);
	MHD_destroy_response(response);
	count(http, x, reply->status);
	return rc;
}

static const char *header(struct MHD_Connection *conn, const char *name)
{
	return MHD_lookup_connection_value(conn, MHD_HEADER_KIND, name);
}

static enum MHD_Result add_param(void *arg, enum MHD_ValueKind kind, const char *name,
				 const char *value)
{
	struct api_request *req = arg;
	(void)kind;
	if (req->n_query == API_QUERY_MAX)
		return MHD_NO;
	req->query[req->n_query++] = (struct api_param){name, value};
	return MHD_YES;
}

static void handle(struct http *http, struct MHD_Connection *conn, const char *method,
		   const char *url, struct exchange *x, struct api_reply *reply)
{
	struct api_request req = {.method = method,
				  .path = url,
				  .authorization = header(conn, "Authorization"),
				  .content_type = header(conn, "Content-Type"),
				  .if_match = header(conn, "If-Match"),
				  .if_none_match = header(conn, "If-None-Match"),
				  .reason = header(conn, "X-Audit-Reason"),
				  .traceparent = header(conn, "Traceparent"),
				  .body = x->body.data,
				  .body_len = x->body.len};
	int n = MHD_get_connection_values(conn, MHD_GET_ARGUMENT_KIND, NULL, NULL);
	if (x->too_large)
		api_refuse(reply, req.traceparent, 413, "too_large", "a body has at most 1 MiB");
	else if (n > API_QUERY_MAX)
		api_refuse(reply, req.traceparent, 400, "bad_request", "too many parameters");
	else if (MHD_get_connection_values(conn, MHD_GET_ARGUMENT_KIND, add_param, &req) == n)
		api_handle(http->api, &req, reply);
}

/* Refused before it is sent: a body that is announced as too large, if the client waits for our
 * word, or if it is too much even to be read and thrown away (an answer in the middle of a body may
 * be lost with the connection). */
static bool refuse_now(struct MHD_Connection *conn)
{
	const char *length = header(conn, "Content-Length");
	long n = !length ? 0 : strlen(length) > 9 ? DISCARD_MAX + 1 : atol(length);
	return n > DISCARD_MAX || (n > API_BODY_MAX && header(conn, "Expect"));
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **state)
{
	struct http *http = arg;
	struct exchange *x = *state;
	struct api_reply reply = {0};
	(void)version;
	if (!x) {
		*state = x = xcalloc(1, sizeof(*x));
		x->start_us = now_us();
		if (!refuse_now(conn))
			return MHD_YES;
		x->too_large = true;
	} else if (*len) {
		/* What comes beyond the bound is read and thrown away, so that the client sees the
		 * answer. */
		x->too_large |= x->body.len + *len > API_BODY_MAX;
		if (!x->too_large)
			strbuf_add(&x->body, data, *len);
		*len = 0;
		return MHD_YES;
	}
	handle(http, conn, method, url, x, &reply);
	enum MHD_Result rc = answer(http, conn, x, &reply);
	api_reply_done(&reply);
	return rc;
}

static void on_completed(void *arg, struct MHD_Connection *conn, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct exchange *x = *state;
	(void)arg;
	(void)conn;
	(void)code;
	if (!x)
		return;
	strbuf_done(&x->body);
	free(x);
	*state = NULL;
}

static void make_metrics(struct http *http, struct metrics *m)
{
	char label[32];
	for (size_t i = 0; i <= N_COUNTED; i++) {
		if (i < N_COUNTED)
			snprintf(label, sizeof(label), "status=\"%d\"", counted[i]);
		else
			strcpy(label, "status=\"other\"");
		http->requests[i] = metrics_counter(m, "penstock_control_requests_total", label,
						    "answers of the operators' API");
	}
	http->seconds = metrics_histogram(m, "penstock_control_request_seconds", NULL,
					  "from a request's headers to its answer");
}

static struct addrinfo *resolve(const char *addr, int port, struct error *err)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
				 .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char text[16];
	snprintf(text, sizeof(text), "%d", port);
	int rc = getaddrinfo(addr, text, &hints, &list);
	if (rc) {
		err_set(err, ERR_FATAL, "PENSTOCK_CONTROL_ADDR: %s", gai_strerror(rc));
		return NULL;
	}
	return list;
}

struct http *http_start(const struct http_conf *conf, struct error *err)
{
	struct addrinfo *at = resolve(conf->addr, conf->port, err);
	if (!at)
		return NULL;
	struct http *http = xcalloc(1, sizeof(*http));
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD;
	if (at->ai_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	http->api = conf->api;
	make_metrics(http, conf->metrics);
	http->daemon = MHD_start_daemon(
	    flags, (uint16_t)conf->port, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR,
	    at->ai_addr, MHD_OPTION_THREAD_POOL_SIZE, conf->threads > 1 ? conf->threads : 0u,
	    MHD_OPTION_CONNECTION_LIMIT, conf->connections, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
	    MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	freeaddrinfo(at);
	if (http->daemon)
		return http;
	err_set(err, ERR_FATAL, "cannot listen on %s:%d: %s", conf->addr, conf->port,
		strerror(errno));
	free(http);
	return NULL;
}

int http_port(const struct http *http)
{
	const union MHD_DaemonInfo *info =
	    MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);
	return info ? info->port : 0;
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	MHD_stop_daemon(http->daemon);
	free(http);
}
