/* A blocking WebSocket client of the edge (RFC 6455, penstock.v1.json), over common/ws.h. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/ws.h"
#include "tools/penstock/cli.h"

#define FRAME_MAX ((uint64_t)8 << 20)
#define OPEN_MS   10000

struct cli_socket {
	int fd;
	struct strbuf in;      /* bytes not yet taken */
	struct strbuf message; /* pieces of a fragmented one */
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int write_all(int fd, const void *data, size_t len, struct error *err)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, ERR_TRANSIENT, "cannot send: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* More bytes into s->in, by the deadline (-1: none). */
static int fill(struct cli_socket *s, int64_t deadline, struct error *err)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	char buf[16384];
	ssize_t n;

	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - now_ms();
		int rc;

		if (deadline >= 0 && left <= 0)
			return err_set(err, ERR_TRANSIENT, "no answer in time");
		rc = poll(&p, 1, (int)left);
		if (rc > 0)
			break;
		if (rc < 0 && errno != EINTR)
			return err_set(err, ERR_FATAL, "poll: %s", strerror(errno));
	}
	n = recv(s->fd, buf, sizeof(buf), 0);
	if (n <= 0)
		return err_set(err, ERR_FATAL, "the edge closed the connection");
	strbuf_add(&s->in, buf, (size_t)n);
	return 0;
}

static int dial(const char *edge, struct strbuf *host, struct error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *a;
	const char *p = strncmp(edge, "http://", 7) == 0 ? edge + 7 : NULL;
	char name[256], *port;
	int fd = -1, rc;

	if (!p)
		return err_set(err, ERR_REJECTED,
			       "%s: only http:// URLs of an edge are supported here", edge);
	strbuf_add(host, p, strcspn(p, "/"));
	if (host->len == 0 || host->len >= sizeof(name))
		return err_set(err, ERR_REJECTED, "%s is no URL of an edge", edge);
	memcpy(name, host->data, host->len + 1);
	port = strrchr(name, ':');
	if (port)
		*port++ = 0;
	if ((rc = getaddrinfo(name, port ? port : "80", &hints, &list)) != 0)
		return err_set(err, ERR_TRANSIENT, "%s: %s", name, gai_strerror(rc));
	for (a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	return fd >= 0 ? fd : err_set(err, ERR_TRANSIENT, "%s: %s", edge, strerror(errno));
}

static int handshake(struct cli_socket *s, const char *host, const char *token, struct error *err)
{
	char nonce[32], accept[29];
	struct strbuf ask = {0};
	int64_t deadline = now_ms() + OPEN_MS;
	char *end;
	int rc;

	/* 4.1: base64 of 16 random bytes; secret_random writes the URL's alphabet. */
	secret_random(16, nonce);
	for (char *p = nonce; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	strbuf_addf(
	    &ask,
	    "GET /v1/ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	    "Sec-WebSocket-Key: %s==\r\nSec-WebSocket-Version: 13\r\n"
	    "Sec-WebSocket-Protocol: penstock.v1.json\r\nAuthorization: Bearer %s\r\n\r\n",
	    host, nonce, token);
	strcat(nonce, "==");
	ws_accept(nonce, accept);
	rc = write_all(s->fd, ask.data, ask.len, err);
	strbuf_done(&ask);
	while (rc == 0 && !strstr(strbuf_str(&s->in), "\r\n\r\n"))
		rc = s->in.len > 16384 ? err_set(err, ERR_REJECTED, "no answer of HTTP")
				       : fill(s, deadline, err);
	if (rc != 0)
		return rc;
	end = strstr(s->in.data, "\r\n\r\n");
	if (strncmp(s->in.data, "HTTP/1.1 101", 12) != 0)
		return err_set(err, ERR_REJECTED, "the edge refused: %.*s",
			       (int)strcspn(s->in.data, "\r\n"), s->in.data);
	if (!strstr(s->in.data, accept))
		return err_set(err, ERR_REJECTED, "the edge's handshake is wrong");
	strbuf_consume(&s->in, (size_t)(end + 4 - s->in.data));
	return 0;
}

struct cli_socket *cli_socket_open(const char *edge, const char *token, struct error *err)
{
	struct cli_socket *s = xcalloc(1, sizeof(*s));
	struct strbuf host = {0};
	json_t *hello = NULL;

	s->fd = dial(edge, &host, err);
	if (s->fd >= 0 && handshake(s, host.data, token, err) == 0)
		hello = cli_socket_read(s, OPEN_MS, err);
	strbuf_done(&host);
	if (hello && strcmp(json_string_value(json_object_get(hello, "op"))
				? json_string_value(json_object_get(hello, "op"))
				: "",
			    "connected") != 0) {
		err_set(err, ERR_REJECTED, "%s: %s",
			json_string_value(json_object_get(hello, "code")),
			json_string_value(json_object_get(hello, "message")));
		json_decref(hello);
		hello = NULL;
	}
	if (!hello) {
		cli_socket_close(s);
		return NULL;
	}
	json_decref(hello);
	return s;
}

static int send_frame(struct cli_socket *s, enum ws_opcode op, const void *data, size_t len,
		      struct error *err)
{
	uint8_t head[WS_HEADER_MAX], mask[4];
	struct strbuf out = {0};
	size_t n;
	int rc;

	/* Section 5.3 asks for unpredictable masks. */
	if (getrandom(mask, sizeof(mask), 0) != (ssize_t)sizeof(mask))
		return err_set(err, ERR_FATAL, "getrandom: %s", strerror(errno));
	n = ws_header(head, op, len, mask);
	strbuf_add(&out, head, n);
	strbuf_add(&out, data, len);
	ws_mask((uint8_t *)out.data + n, len, mask, 0);
	rc = write_all(s->fd, out.data, out.len, err);
	strbuf_done(&out);
	return rc;
}

void cli_socket_close(struct cli_socket *s)
{
	static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xFF};

	if (!s)
		return;
	if (s->fd >= 0) {
		(void)send_frame(s, WS_CLOSE, normal, sizeof(normal), NULL);
		close(s->fd);
	}
	strbuf_done(&s->in);
	strbuf_done(&s->message);
	free(s);
}

int cli_socket_send(struct cli_socket *s, const json_t *frame, struct error *err)
{
	size_t len;
	char *text = json_text(frame, &len);
	int rc = send_frame(s, WS_TEXT, text, len, err);

	free(text);
	return rc;
}

/* One whole frame is at the front of s->in: deals with it. 1: s->message is a complete message. */
static int take(struct cli_socket *s, const struct ws_frame *f, struct error *err)
{
	const char *payload = s->in.data + f->header_len;
	int rc = 0;

	if (f->opcode == WS_PING)
		rc = send_frame(s, WS_PONG, payload, (size_t)f->len, err);
	else if (f->opcode == WS_CLOSE && f->len >= 2)
		rc = err_set(err, ERR_FATAL, "closed by the edge: %d %.*s",
			     (unsigned char)payload[0] << 8 | (unsigned char)payload[1],
			     (int)f->len - 2, payload + 2);
	else if (f->opcode == WS_CLOSE)
		rc = err_set(err, ERR_FATAL, "closed by the edge");
	else if (f->opcode != WS_PONG) {
		strbuf_add(&s->message, payload, (size_t)f->len);
		rc = f->fin ? 1 : 0;
	}
	strbuf_consume(&s->in, f->header_len + (size_t)f->len);
	return rc;
}

json_t *cli_socket_read(struct cli_socket *s, int timeout_ms, struct error *err)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;

	for (;;) {
		struct ws_frame f;
		enum ws_result r =
		    ws_parse((const uint8_t *)s->in.data, s->in.len, false, false, FRAME_MAX, &f);
		json_t *doc;
		int rc;

		if (r == WS_PROTOCOL || r == WS_TOO_LARGE) {
			err_set(err, ERR_FATAL, "the edge sent a frame that is none");
			return NULL;
		}
		if (r == WS_MORE || s->in.len - f.header_len < f.len) {
			if (fill(s, deadline, err) != 0)
				return NULL;
			continue;
		}
		rc = take(s, &f, err);
		if (rc < 0)
			return NULL;
		if (rc == 0)
			continue;
		doc = json_parse(strbuf_str(&s->message), s->message.len, err);
		strbuf_reset(&s->message);
		return doc;
	}
}
