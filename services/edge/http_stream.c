/* GET /v1/channels/{channel}/stream: server-sent events. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/log.h"
#include "common/names.h"
#include "services/edge/http.h"
#include "services/edge/sse.h"
#include "services/edge/stream.h"

/* A browser that reconnects sends the address as it was at first: the id it has seen says more. */
static int read_stream(struct call *c)
{
	const char *id = call_header(c, "Last-Event-ID"), *after = call_query(c, "after");

	c->auth.socket = !c->head;
	if (!name_valid_channel(c->param))
		return client_refuse(&c->why, "bad_request", "no valid channel name");
	c->msg = (struct client_msg){.op = OP_SUBSCRIBE};
	memcpy(c->msg.channel, c->param, sizeof(c->msg.channel));
	if (id && *id)
		sse_read_id(id, &c->msg);
	else if (after && sse_read_after(after, &c->msg))
		return client_refuse(&c->why, "bad_request",
				     "after must be an offset, or <epoch>:<offset>");
	return 0;
}

/* False: answered already. */
static bool has_room(struct call *c)
{
	struct edge *edge = call_edge(c);
	const char *code = NULL, *why = NULL;

	if (atomic_load(&edge->draining)) {
		code = "unavailable";
		why = "this edge is draining";
	} else if (atomic_load(&edge->connections) >= edge->conf->connections) {
		code = "overloaded";
		why = "this edge has as many connections as it may have";
	} else if (atomic_load(&edge->streams) >= edge->conf->streams) {
		code = "overloaded";
		why = "this edge has as many streams as it may have";
	}
	if (code)
		call_refuse(c, code, why);
	return !code;
}

static int socket_of(const struct call *c)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info ? fcntl(info->connect_fd, F_DUPFD_CLOEXEC, 0) : -1;
}

static void run_stream(struct call *c)
{
	struct edge *edge = call_edge(c);
	int fd;

	if (!has_room(c) || call_drained(c))
		return;
	if (c->head) {
		call_answer(c, MHD_HTTP_OK, SSE_TYPE);
		return;
	}
	if (c->msg.has_after && c->msg.offset && !c->msg.after_epoch[0])
		memcpy(c->msg.after_epoch, edge->epoch, sizeof(c->msg.after_epoch));
	fd = socket_of(c);
	if (fd < 0) {
		log_at(LOG_ERROR, "cannot take over a connection", LOG_S("error", strerror(errno)));
		call_refuse(c, "unavailable", "the connection cannot be served");
		return;
	}
	atomic_fetch_add(&edge->connections, 1);
	atomic_fetch_add(&edge->streams, 1);
	stream_accept(edge->reactors[atomic_fetch_add(&edge->next_reactor, 1) % edge->n_reactors],
		      c, fd);
}

const struct route http_routes_stream[] = {
    {"GET", "/v1/channels/{}/stream", read_stream, run_stream, SCOPE_SUBSCRIBE},
    {NULL, NULL, NULL, NULL, 0},
};
