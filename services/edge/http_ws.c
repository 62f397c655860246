/* GET /v1/ws, the WebSocket handshake (RFC 6455, 4.2), and GET /v1/locate. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/ws.h"
#include "services/edge/gate.h"
#include "services/edge/handshake.h"
#include "services/edge/http.h"
#include "services/edge/reactor.h"

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name,
				   const char *value)
{
	(void)kind;
	if (value) /* of those that can be there once the first one counts */
		(void)handshake_header(cls, name, value);
	return MHD_YES;
}

/* The socket is doubled and goes to a reactor; closing libmicrohttpd's own makes it forget the
 * connection and all its memory at once, and does not end the TCP connection. */
static void on_upgrade(void *cls, struct MHD_Connection *connection, void *state, const char *extra,
		       size_t extra_len, MHD_socket sock, struct MHD_UpgradeResponseHandle *handle)
{
	struct call *c = cls;
	struct edge *edge = call_edge(c);
	int fd = fcntl(sock, F_DUPFD_CLOEXEC, 0);

	(void)connection;
	(void)state;
	if (fd < 0) {
		log_at(LOG_ERROR, "cannot take over a connection", LOG_S("error", strerror(errno)));
	} else {
		unsigned i = atomic_fetch_add(&edge->next_reactor, 1) % edge->n_reactors;
		struct newcomer n = {
		    .fd = fd, .token = c->token, .origin = c->origin, .terms = c->terms};

		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		strbuf_add(&n.input, extra, extra_len);
		atomic_fetch_add(&edge->connections, 1);
		reactor_accept(edge->reactors[i], &n);
		c->token = c->origin = NULL;
	}
	MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static int check_handshake(struct call *c)
{
	struct edge *edge = call_edge(c);
	struct handshake h = {.may_deflate = edge->conf->deflate};

	MHD_get_connection_values(c->connection, MHD_HEADER_KIND, take_header, &h);
	if (c->head)
		h.upgrade = NULL;
	c->terms = h.terms;
	return handshake_check(&h, &c->why) || gate_refuses(edge, &c->why);
}

static void upgrade(struct call *c)
{
	struct strbuf extensions = {0};
	char accept[29];

	c->token = call_token(c);
	c->origin = call_origin(c);
	ws_accept(call_header(c, "Sec-WebSocket-Key"), accept);
	c->upgrade = MHD_create_response_for_upgrade(on_upgrade, c);
	MHD_add_response_header(c->upgrade, "Upgrade", "websocket");
	MHD_add_response_header(c->upgrade, "Sec-WebSocket-Accept", accept);
	if (c->terms.named)
		MHD_add_response_header(c->upgrade, "Sec-WebSocket-Protocol",
					terms_protocol_name(&c->terms));
	if (c->terms.deflate) {
		terms_add_extensions(&c->terms, &extensions);
		MHD_add_response_header(c->upgrade, "Sec-WebSocket-Extensions",
					strbuf_str(&extensions));
		strbuf_done(&extensions);
	}
	call_reply(c, MHD_HTTP_SWITCHING_PROTOCOLS);
}

/* Whose socket it will be is the reactor's question, later. The door asks it only while it matters
 * here, where the token is there already. */
static int read_ws(struct call *c)
{
	char *token;

	if (check_handshake(c)) {
		call_refuse(c, c->why.code, c->why.message);
		return -1;
	}
	token = atomic_load(&call_edge(c)->drains_tenants) ? call_token(c) : NULL;
	if (!token)
		upgrade(c);
	else
		explicit_bzero(token, strlen(token));
	free(token);
	c->anybody = true; /* who is not let in is told so on his socket, as ever */
	return 0;
}

bool call_drained(struct call *c)
{
	if (!hub_drained_here(call_edge(c)->hub, c->auth.who.tenant))
		return false;
	call_refuse(c, "unavailable", "this edge is draining for this tenant");
	return true;
}

static void run_ws(struct call *c)
{
	if (c->auth.result != AUTH_OK || !call_drained(c))
		upgrade(c);
}

static void say_edge(struct call *c, const char *id, const char *url, const char *region)
{
	strbuf_reset(&c->body);
	strbuf_adds(&c->body, "{\"edge\":");
	strbuf_add_json(&c->body, id);
	strbuf_adds(&c->body, ",\"url\":");
	strbuf_add_json(&c->body, url);
	strbuf_adds(&c->body, ",\"region\":");
	strbuf_add_json(&c->body, region);
	strbuf_addc(&c->body, '}');
	call_reply(c, MHD_HTTP_OK);
}

/* Without a token nobody's edge is asked for: this one answers for itself. */
static int read_locate(struct call *c)
{
	const struct edge *edge = call_edge(c);
	char *token = call_token(c);

	if (token)
		explicit_bzero(token, strlen(token));
	else
		say_edge(c, edge->conf->common.instance, edge->url, edge->conf->region);
	free(token);
	return 0;
}

static void run_locate(struct call *c)
{
	const struct ring_edge *e = hub_shard_here(call_edge(c)->hub, c->auth.who.tenant);

	if (e)
		say_edge(c, e->id, e->url, e->region);
	else
		call_refuse(c, "unavailable", "no edge takes new clients");
}

const struct route http_routes_ws[] = {
    {"GET", HANDSHAKE_PATH, read_ws, run_ws, 0},
    {"GET", "/v1/locate", read_locate, run_locate, 0},
    {NULL, NULL, NULL, NULL, 0},
};
