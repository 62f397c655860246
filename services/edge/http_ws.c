/* GET /v1/ws, the WebSocket handshake (RFC 6455, 4.2), and GET /v1/locate. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/ws.h"
#include "services/edge/http.h"
#include "services/edge/reactor.h"

#define SUBPROTOCOLS "penstock.v1.json and penstock.v1.protobuf"

/* Is word one of the comma separated tokens? */
static bool has_token(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (list && *list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, " \t,");
		if (n == len && !strncasecmp(list, word, n))
			return true;
		list += n;
	}
	return false;
}

/* 16 bytes in base64 (4.1): 22 characters and two equals signs. */
static bool valid_key(const char *key)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return key && strlen(key) == 24 && strspn(key, alphabet) == 22 && !strcmp(key + 22, "==");
}

struct offers {
	bool any_protocol;
	bool may_deflate;
	struct ws_terms *terms;
};

static enum MHD_Result look_at_offer(void *cls, enum MHD_ValueKind kind, const char *key,
				     const char *value)
{
	struct offers *o = cls;

	(void)kind;
	if (value && !strcasecmp(key, "Sec-WebSocket-Protocol")) {
		o->any_protocol = true;
		terms_protocol(o->terms, value);
	} else if (value && o->may_deflate && !strcasecmp(key, "Sec-WebSocket-Extensions")) {
		terms_extensions(o->terms, value);
	}
	return MHD_YES;
}

static int check_handshake(struct call *c)
{
	struct edge *edge = call_edge(c);
	struct offers offers = {.may_deflate = edge->conf->deflate, .terms = &c->terms};
	const char *version = call_header(c, "Sec-WebSocket-Version");

	if (c->head || !has_token(call_header(c, "Upgrade"), "websocket") ||
	    !has_token(call_header(c, "Connection"), "upgrade"))
		return client_refuse(&c->why, "upgrade_required",
				     "this is the door for WebSockets");
	if (!version || strcmp(version, "13"))
		return client_refuse(&c->why, "upgrade_required", "only version 13 is spoken");
	if (!valid_key(call_header(c, "Sec-WebSocket-Key")))
		return client_refuse(&c->why, "bad_request", "Sec-WebSocket-Key is not valid");
	MHD_get_connection_values(c->connection, MHD_HEADER_KIND, look_at_offer, &offers);
	if (offers.any_protocol && !c->terms.named)
		return client_refuse(&c->why, "bad_request", "the subprotocols are " SUBPROTOCOLS);
	if (atomic_load(&edge->draining))
		return client_refuse(&c->why, "unavailable", "this edge is draining");
	if (!atomic_load(&edge->serving))
		return client_refuse(&c->why, "unavailable", "this edge is not ready");
	if (atomic_load(&edge->connections) >= edge->conf->connections)
		return client_refuse(&c->why, "overloaded",
				     "this edge has as many connections as it may have");
	return 0;
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

		(void)fcntl(fd, F_SETFL, O_NONBLOCK);
		atomic_fetch_add(&edge->connections, 1);
		reactor_accept(edge->reactors[i], fd, c->token, c->origin, &c->terms, extra,
			       extra_len);
		c->token = c->origin = NULL;
	}
	MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
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
    {"GET", "/v1/ws", read_ws, run_ws, 0},
    {"GET", "/v1/locate", read_locate, run_locate, 0},
    {NULL, NULL, NULL, NULL, 0},
};
