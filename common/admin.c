#include "common/admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

/* Probes and scrapers: few, and none may hold the port for others. */
#define ADMIN_CONNECTIONS 64
#define ADMIN_TIMEOUT_S   10
#define ADMIN_MEMORY      8192 /* bytes a connection, request headers included */

struct admin {
	struct MHD_Daemon *daemon;
	struct metrics *metrics;
	pthread_mutex_t lock; /* of ready and reason */
	bool ready;
	char reason[256];
};

static enum MHD_Result answer(struct MHD_Connection *conn, unsigned status, const char *type,
			      struct strbuf *body)
{
	size_t len;
	char *data = strbuf_detach(body, &len);
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!response) {
		free(data);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *conn, unsigned status, const char *text)
{
	struct strbuf body = {0};

	strbuf_addf(&body, "%s\n", text);
	return answer(conn, status, "text/plain; charset=utf-8", &body);
}

static enum MHD_Result answer_ready(struct admin *admin, struct MHD_Connection *conn)
{
	char reason[sizeof(admin->reason)];
	bool ready;

	pthread_mutex_lock(&admin->lock);
	ready = admin->ready;
	memcpy(reason, admin->reason, sizeof(reason));
	pthread_mutex_unlock(&admin->lock);
	return ready ? answer_text(conn, MHD_HTTP_OK, "ready")
		     : answer_text(conn, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
}

static enum MHD_Result answer_metrics(struct admin *admin, struct MHD_Connection *conn)
{
	struct strbuf body = {0};

	metrics_text(admin->metrics, &body);
	metrics_process_text(&body);
	return answer(conn, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* The library calls this first with the headers, then for each piece of a body, then at its end.
 * Only the last call may be answered without closing the connection, and a body is nothing we want.
 */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_len, void **state)
{
	struct admin *admin = arg;

	(void)version;
	(void)upload;
	if (!*state) {
		*state = admin;
		return MHD_YES;
	}
	if (*upload_len) {
		*upload_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_text(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
	if (!strcmp(url, "/livez"))
		return answer_text(conn, MHD_HTTP_OK, "ok");
	if (!strcmp(url, "/readyz"))
		return answer_ready(admin, conn);
	if (!strcmp(url, "/metrics"))
		return answer_metrics(admin, conn);
	return answer_text(conn, MHD_HTTP_NOT_FOUND, "/livez, /readyz, /metrics");
}

static int parse_addr(const char *addr, int port, struct sockaddr_storage *out, bool *ipv6)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	*ipv6 = false;
	if (inet_pton(AF_INET, addr, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return 0;
	}
	if (inet_pton(AF_INET6, addr, &v6->sin6_addr) != 1)
		return -1;
	*ipv6 = true;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	return 0;
}

struct admin *admin_start(const char *addr, int port, struct metrics *metrics, struct error *err)
{
	struct sockaddr_storage where;
	struct admin *admin;
	bool ipv6;

	if (port < 0 || port > 65535 || parse_addr(addr, port, &where, &ipv6)) {
		err_set(err, ERR_FATAL, "admin port: bad address %.100s port %d", addr, port);
		return NULL;
	}
	admin = xcalloc(1, sizeof(*admin));
	admin->metrics = metrics;
	pthread_mutex_init(&admin->lock, NULL);
	snprintf(admin->reason, sizeof(admin->reason), "starting");
	errno = 0;
	admin->daemon = MHD_start_daemon(
	    MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | (ipv6 ? MHD_USE_IPv6 : 0),
	    (uint16_t)port, NULL, NULL, on_request, admin, MHD_OPTION_SOCK_ADDR, &where,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)ADMIN_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)ADMIN_MEMORY,
	    MHD_OPTION_END);
	if (!admin->daemon) {
		err_set(err, ERR_FATAL, "admin port: cannot listen on %.100s port %d: %s", addr,
			port, errno ? strerror(errno) : "unknown reason");
		admin_stop(admin);
		return NULL;
	}
	return admin;
}

int admin_port(const struct admin *admin)
{
	const union MHD_DaemonInfo *info =
	    MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_BIND_PORT);

	return info ? info->port : 0;
}

void admin_ready(struct admin *admin, bool ready, const char *reason)
{
	pthread_mutex_lock(&admin->lock);
	admin->ready = ready;
	snprintf(admin->reason, sizeof(admin->reason), "%s", reason ? reason : "not ready");
	pthread_mutex_unlock(&admin->lock);
}

void admin_stop(struct admin *admin)
{
	if (!admin)
		return;
	if (admin->daemon)
		MHD_stop_daemon(admin->daemon);
	pthread_mutex_destroy(&admin->lock);
	free(admin);
}
