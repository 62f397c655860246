#include "tools/load/dialect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/pbwire.h"
#include "proto/client.pb-c.h"
#include "tools/load/load.h"

#define HANDSHAKE                                                                                  \
	"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"               \
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static bool begins(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && memcmp(text, with, n) == 0;
}

static void refused(struct heard *h, const char *code)
{
	h->what = SAID_REFUSED;
	snprintf(h->code, sizeof(h->code), "%s", code);
}

/* --- Penstock ----------------------------------------------------------------------------- */

#define UNANSWERED 240 /* of 256 commands of one connection */

static void add_request(struct strbuf *out, const char *host, const char *port, const char *token,
			const char *encoding)
{
	strbuf_addf(out,
		    "GET /v1/ws HTTP/1.1\r\nHost: %s:%s\r\n" HANDSHAKE
		    "Sec-WebSocket-Protocol: penstock.v1.%s\r\n",
		    host, port, encoding);
	if (token)
		strbuf_addf(out, "Authorization: Bearer %s\r\n", token);
	strbuf_adds(out, "\r\n");
}

static void penstock_request(struct strbuf *out, const char *host, const char *port,
			     const char *token, const struct place *place)
{
	(void)place;
	add_request(out, host, port, token, "json");
}

static bool penstock_greeting(const char *text, size_t len)
{
	return scan_has(text, len, "\"op\":\"connected\"");
}

static bool penstock_subscribe(struct client *c, const struct place *place)
{
	char text[256];
	int n;

	if (place->publishes)
		return false;
	n = snprintf(text, sizeof(text), "{\"op\":\"subscribe\",\"id\":0,\"channel\":\"%s\"}",
		     place->channel);
	client_send(c, text, (size_t)n);
	return true;
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
	*h = (struct heard){SAID_OTHER, text, len, ""};
	if (begins(text, len, "{\"op\":\"event\"")) {
		h->what = SAID_EVENT;
	} else if (begins(text, len, "{\"op\":\"accepted\"")) {
		h->what = SAID_ANSWER;
	} else if (begins(text, len, "{\"op\":\"subscribed\"")) {
		h->what = SAID_READY;
	} else if (begins(text, len, "{\"op\":\"gap\"")) {
		refused(h, "gap");
	} else if (begins(text, len, "{\"op\":\"error\"")) {
		refused(h, "error");
		(void)scan_text(text, len, "\"code\":\"", h->code, sizeof(h->code));
	}
	return len;
}

/* --- Penstock in protobuf ------------------------------------------------------------------- */

#define OP(name) PENSTOCK__V1__SERVER_FRAME__OP_##name

static void protobuf_request(struct strbuf *out, const char *host, const char *port,
			     const char *token, const struct place *place)
{
	(void)place;
	add_request(out, host, port, token, "protobuf");
}

/* A ServerFrame's op, the last of its fields, without a tree: they come by the million. */
static bool server_op(const char *text, size_t len, struct pb_field *op)
{
	struct pb_reader r = pb_reader(text, len);
	struct pb_field f;

	op->type = PB_VARINT;
	while (pb_next(&r, &f))
		*op = f;
	return r.p == r.end && op->type == PB_BYTES;
}

static bool protobuf_greeting(const char *text, size_t len)
{
	struct pb_field op;

	return server_op(text, len, &op) && op.number == OP(CONNECTED);
}

static void send_frame(struct client *c, const Penstock__V1__ClientFrame *frame)
{
	size_t len = penstock__v1__client_frame__get_packed_size(frame);
	uint8_t *bytes = xmalloc(len);

	penstock__v1__client_frame__pack(frame, bytes);
	client_send(c, (const char *)bytes, len);
	free(bytes);
}

static bool protobuf_subscribe(struct client *c, const struct place *place)
{
	Penstock__V1__Subscribe subscribe = PENSTOCK__V1__SUBSCRIBE__INIT;
	Penstock__V1__ClientFrame frame = PENSTOCK__V1__CLIENT_FRAME__INIT;

	if (place->publishes)
		return false;
	subscribe.channel = (char *)(uintptr_t)place->channel;
	frame.id = (char *)(uintptr_t) "0";
	frame.op_case = PENSTOCK__V1__CLIENT_FRAME__OP_SUBSCRIBE;
	frame.subscribe = &subscribe;
	send_frame(c, &frame);
	return true;
}

static void protobuf_publish(struct client *c, const char *channel, const char *type,
			     const char *payload, size_t len)
{
	Penstock__V1__Publish publish = PENSTOCK__V1__PUBLISH__INIT;
	Penstock__V1__ClientFrame frame = PENSTOCK__V1__CLIENT_FRAME__INIT;

	publish.channel = (char *)(uintptr_t)channel;
	publish.type = (char *)(uintptr_t)type;
	publish.data = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)payload};
	frame.id = (char *)(uintptr_t) "1";
	frame.op_case = PENSTOCK__V1__CLIENT_FRAME__OP_PUBLISH;
	frame.publish = &publish;
	send_frame(c, &frame);
}

static void read_error(const struct pb_field *op, struct heard *h)
{
	Penstock__V1__Error *error =
	    penstock__v1__error__unpack(NULL, op->bytes.len, (const uint8_t *)op->bytes.p);

	refused(h, error ? error->code : "error");
	penstock__v1__error__free_unpacked(error, NULL);
}

static size_t protobuf_read(struct client *c, const char *text, size_t len, struct heard *h)
{
	struct pb_field op;

	(void)c;
	*h = (struct heard){SAID_OTHER, text, len, ""};
	if (!server_op(text, len, &op))
		h->what = SAID_BAD;
	else if (op.number == OP(EVENT))
		h->what = SAID_EVENT;
	else if (op.number == OP(ACCEPTED))
		h->what = SAID_ANSWER;
	else if (op.number == OP(SUBSCRIBED))
		h->what = SAID_READY;
	else if (op.number == OP(GAP))
		refused(h, "gap");
	else if (op.number == OP(ERROR))
		read_error(&op, h);
	return len ? len : 1;
}

/* --- nchan -------------------------------------------------------------------------------- */

static void nchan_request(struct strbuf *out, const char *host, const char *port, const char *token,
			  const struct place *place)
{
	(void)token;
	strbuf_addf(out, "GET /%s/%s HTTP/1.1\r\nHost: %s:%s\r\n" HANDSHAKE "\r\n",
		    place->publishes ? "pub" : "sub", place->channel, host, port);
}

static bool nchan_subscribe(struct client *c, const struct place *place)
{
	(void)c;
	(void)place;
	return false;
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
	*h = (struct heard){SAID_ANSWER, text, len, ""};
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

static bool nats_subscribe(struct client *c, const struct place *place)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\n");

	if (!place->publishes)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "SUB %s 1\r\n", place->channel);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "PING\r\n");
	client_send(c, text, (size_t)n);
	return true; /* by PONG */
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
	*h = (struct heard){SAID_BAD, text, len, ""};
	if (line + 4 > len || n > len - line - 4)
		return len; /* nats-server ends frames with messages */
	*h = (struct heard){SAID_EVENT, text + line + 2, n, ""};
	return line + 2 + n + 2;
}

static size_t nats_read(struct client *c, const char *text, size_t len, struct heard *h)
{
	const char *end = memchr(text, '\r', len);
	size_t line = end ? (size_t)(end - text) : len;

	*h = (struct heard){SAID_OTHER, text, line, ""};
	if (line + 2 > len) {
		h->what = SAID_BAD;
		return len;
	}
	if (begins(text, line, "MSG "))
		return nats_message(text, line, len, h);
	if (begins(text, line, "PONG"))
		h->what = SAID_READY;
	else if (begins(text, line, "-ERR"))
		refused(h, "refused");
	else if (begins(text, line, "PING"))
		client_send(c, "PONG\r\n", 6);
	return line + 2;
}

/* ------------------------------------------------------------------------------------------ */

const struct dialect dialect_penstock = {
    .name = "penstock",
    .opcode = WS_TEXT,
    .unanswered_max = UNANSWERED,
    .request = penstock_request,
    .greeting = penstock_greeting,
    .subscribe = penstock_subscribe,
    .publish = penstock_publish,
    .read = penstock_read,
};
const struct dialect dialect_protobuf = {
    .name = "penstock-protobuf",
    .opcode = WS_BINARY,
    .unanswered_max = UNANSWERED,
    .request = protobuf_request,
    .greeting = protobuf_greeting,
    .subscribe = protobuf_subscribe,
    .publish = protobuf_publish,
    .read = protobuf_read,
};
const struct dialect dialect_nchan = {
    .name = "nchan",
    .opcode = WS_TEXT,
    .request = nchan_request,
    .subscribe = nchan_subscribe,
    .publish = nchan_publish,
    .read = nchan_read,
};
const struct dialect dialect_nats = {
    .name = "nats",
    .opcode = WS_BINARY,
    .request = nats_request,
    .greeting = nats_greeting,
    .subscribe = nats_subscribe,
    .publish = nats_publish,
    .read = nats_read,
};

const struct dialect *dialect_named(const char *name)
{
	static const struct dialect *const all[] = {&dialect_penstock, &dialect_protobuf,
						    &dialect_nchan, &dialect_nats};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}
