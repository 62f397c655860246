#include "tools/load/dialect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/load.h"

#define HANDSHAKE                                                                                  \
	"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"               \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static bool begins(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && memcmp(text, with, n) == 0;
}

/* --- Penstock ----------------------------------------------------------------------------- */

static void penstock_request(struct strbuf *out, const char *host, const char *port,
			     const char *token, const struct place *place)
{
	(void)place;
	strbuf_addf(out,
		    "GET /v1/ws HTTP/1.1\r\nHost: %s:%s\r\n" HANDSHAKE
		    "Sec-WebSocket-Protocol: penstock.v1.json\r\n",
		    host, port);
	if (token)
		strbuf_addf(out, "Authorization: Bearer %s\r\n", token);
	strbuf_adds(out, "\r\n");
}

static bool penstock_greeting(const char *text, size_t len)
{
	return scan_has(text, len, "\"op\":\"connected\"");
}

static void penstock_subscribe(struct client *c, const struct place *place)
{
	char text[256];
	int n;

	if (place->publishes)
		return;
	n = snprintf(text, sizeof(text), "{\"op\":\"subscribe\",\"id\":0,\"channel\":\"%s\"}",
		     place->channel);
	client_send(c, text, (size_t)n);
}

static void penstock_publish(struct client *c, const char *channel, const char *type,
			     const char *payload, size_t len)
{
	char text[1024];
	int n = snprintf(
	    text, sizeof(text),
	    "{\"op\":\"publish\",\"id\":1,\"channel\":\"%s\",\"type\":\"%s\",\"data\":%.*s}",
	    channel, type, (int)len, payload);

	client_send(c, text, (size_t)n);
}

static size_t penstock_read(struct client *c, const char *text, size_t len, struct heard *h)
{
	(void)c;
	*h = (struct heard){SAID_OTHER, text, len};
	if (begins(text, len, "{\"op\":\"event\""))
		h->what = SAID_EVENT;
	else if (begins(text, len, "{\"op\":\"accepted\""))
		h->what = SAID_ANSWER;
	else if (begins(text, len, "{\"op\":\"subscribed\""))
		h->what = SAID_READY;
	else if (begins(text, len, "{\"op\":\"error\"") || begins(text, len, "{\"op\":\"gap\""))
		h->what = SAID_REFUSED;
	return len;
}

/* --- nchan -------------------------------------------------------------------------------- */

static void nchan_request(struct strbuf *out, const char *host, const char *port, const char *token,
			  const struct place *place)
{
	(void)token;
	strbuf_addf(out, "GET /%s/%s HTTP/1.1\r\nHost: %s:%s\r\n" HANDSHAKE "\r\n",
		    place->publishes ? "pub" : "sub", place->channel, host, port);
}

static void nchan_subscribe(struct client *c, const struct place *place)
{
	(void)c;
	(void)place;
}

static void nchan_publish(struct client *c, const char *channel, const char *type,
			  const char *payload, size_t len)
{
	(void)channel;
	(void)type;
	client_send(c, payload, len);
}

static size_t nchan_read(struct client *c, const char *text, size_t len, struct heard *h)
{
	(void)c;
	*h = (struct heard){SAID_ANSWER, text, len};
	if (begins(text, len, "{\"t\":"))
		h->what = SAID_EVENT;
	return len ? len : 1;
}

/* --- NATS --------------------------------------------------------------------------------- */

static void nats_request(struct strbuf *out, const char *host, const char *port, const char *token,
			 const struct place *place)
{
	(void)token;
	(void)place;
	strbuf_addf(out, "GET / HTTP/1.1\r\nHost: %s:%s\r\n" HANDSHAKE "\r\n", host, port);
}

static bool nats_greeting(const char *text, size_t len)
{
	return begins(text, len, "INFO ");
}

static void nats_subscribe(struct client *c, const struct place *place)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\n");

	if (!place->publishes)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "SUB %s 1\r\n", place->channel);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "PING\r\n");
	client_send(c, text, (size_t)n);
}

static void nats_publish(struct client *c, const char *channel, const char *type,
			 const char *payload, size_t len)
{
	char text[1024];
	int n =
	    snprintf(text, sizeof(text), "PUB %s %zu\r\n%.*s\r\n", channel, len, (int)len, payload);

	(void)type;
	client_send(c, text, (size_t)n);
}

/* MSG <subject> <sid> [reply] <bytes>: its payload and the line's end follow. */
static size_t nats_message(const char *text, size_t line, size_t len, struct heard *h)
{
	const char *at = text + line;
	size_t n;

	while (at > text && at[-1] != ' ')
		at--;
	n = (size_t)strtoul(at, NULL, 10);
	*h = (struct heard){SAID_BAD, text, len};
	if (line + 4 > len || n > len - line - 4)
		return len; /* nats-server ends frames with messages */
	*h = (struct heard){SAID_EVENT, text + line + 2, n};
	return line + 2 + n + 2;
}

static size_t nats_read(struct client *c, const char *text, size_t len, struct heard *h)
{
	const char *end = memchr(text, '\r', len);
	size_t line = end ? (size_t)(end - text) : len;

	*h = (struct heard){SAID_OTHER, text, line};
	if (line + 2 > len) {
		h->what = SAID_BAD;
		return len;
	}
	if (begins(text, line, "MSG "))
		return nats_message(text, line, len, h);
	if (begins(text, line, "PONG"))
		h->what = SAID_READY;
	else if (begins(text, line, "-ERR"))
		h->what = SAID_REFUSED;
	else if (begins(text, line, "PING"))
		client_send(c, "PONG\r\n", 6);
	return line + 2;
}

/* ------------------------------------------------------------------------------------------ */

const struct dialect dialect_penstock = {"penstock",       WS_TEXT,           true,
					 penstock_request, penstock_greeting, penstock_subscribe,
					 penstock_publish, penstock_read};
const struct dialect dialect_nchan = {"nchan", WS_TEXT,         false,         nchan_request,
				      NULL,    nchan_subscribe, nchan_publish, nchan_read};
const struct dialect dialect_nats = {"nats",        WS_BINARY,      true,         nats_request,
				     nats_greeting, nats_subscribe, nats_publish, nats_read};

const struct dialect *dialect_named(const char *name)
{
	static const struct dialect *const all[] = {&dialect_penstock, &dialect_nchan,
						    &dialect_nats};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
