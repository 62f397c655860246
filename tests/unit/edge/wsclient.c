#include "tests/unit/edge/wsclient.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/ws.h"

#define IO_MS 10000

int64_t ws_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool wsclient_dial(struct wsclient *c, int port, int rcvbuf)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = IO_MS / 1000};

	*c = (struct wsclient){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (rcvbuf)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(c->fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return true;
	wsclient_done(c);
	return false;
}

bool wsclient_raw(struct wsclient *c, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* More bytes into c->in; 1, 0 at the end, -1 for nothing until the deadline. */
static int more(struct wsclient *c, int64_t deadline_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	int64_t left = deadline_ms - ws_now_ms();
	char buffer[16384];
	ssize_t n;

	if (poll(&p, 1, left < 0 ? 0 : (int)left) <= 0)
		return -1;
	n = recv(c->fd, buffer, sizeof(buffer), 0);
	if (n <= 0)
		return 0;
	strbuf_add(&c->in, buffer, (size_t)n);
	return 1;
}

bool wsclient_upgrade(struct wsclient *c, const char *token)
{
	struct strbuf b = {0};
	bool ok;

	strbuf_adds(&b, "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
			"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
			"Sec-WebSocket-Protocol: penstock.v1.json\r\n");
	if (token)
		strbuf_addf(&b, "Authorization: Bearer %s\r\n", token);
	strbuf_adds(&b, "\r\n");
	ok = wsclient_raw(c, b.data, b.len);
	strbuf_done(&b);
	return ok && wsclient_upgraded(c);
}

bool wsclient_upgraded(struct wsclient *c)
{
	int64_t deadline = ws_now_ms() + IO_MS;
	const char *end;

	while (!(end = strstr(strbuf_str(&c->in), "\r\n\r\n")))
		if (more(c, deadline) != 1)
			return false;
	if (strncmp(c->in.data, "HTTP/1.1 101", 12))
		return false;
	strbuf_consume(&c->in, (size_t)(end + 4 - c->in.data));
	return true;
}

static void add_frame(struct strbuf *b, enum ws_opcode opcode, const void *data, size_t len)
{
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	uint8_t head[WS_HEADER_MAX];
	size_t at;

	strbuf_add(b, head, ws_header(head, opcode, len, mask));
	at = b->len;
	if (len)
		strbuf_add(b, data, len);
	ws_mask((uint8_t *)b->data + at, len, mask, 0);
}

static bool send_frame(struct wsclient *c, enum ws_opcode opcode, const void *data, size_t len)
{
	struct strbuf b = {0};
	bool ok;

	add_frame(&b, opcode, data, len);
	ok = wsclient_raw(c, b.data, b.len);
	strbuf_done(&b);
	return ok;
}

void wsclient_add_text(struct strbuf *b, const char *text)
{
	add_frame(b, WS_TEXT, text, strlen(text));
}

bool wsclient_text(struct wsclient *c, const char *text)
{
	return send_frame(c, WS_TEXT, text, strlen(text));
}

bool wsclient_close_frame(struct wsclient *c, unsigned code)
{
	const uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	return send_frame(c, WS_CLOSE, payload, sizeof(payload));
}

enum ws_got wsclient_next(struct wsclient *c, int64_t deadline_ms, struct strbuf *text,
			  unsigned *code)
{
	for (;;) {
		struct ws_frame f;
		const char *payload;
		int rc;

		if (ws_parse((const uint8_t *)strbuf_str(&c->in), c->in.len, false, false, 1 << 24,
			     &f) == WS_OK &&
		    c->in.len - f.header_len >= f.len) {
			payload = c->in.data + f.header_len;
			if (f.opcode == WS_TEXT) {
				strbuf_reset(text);
				strbuf_add(text, payload, (size_t)f.len);
			} else if (f.opcode == WS_CLOSE && f.len >= 2) {
				*code = (unsigned)(uint8_t)payload[0] << 8 | (uint8_t)payload[1];
			} else if (f.opcode == WS_PING) {
				(void)send_frame(c, WS_PONG, payload, (size_t)f.len);
			}
			strbuf_consume(&c->in, f.header_len + (size_t)f.len);
			if (f.opcode == WS_TEXT)
				return WS_GOT_TEXT;
			if (f.opcode == WS_CLOSE)
				return WS_GOT_CLOSE;
			continue;
		}
		rc = more(c, deadline_ms);
		if (rc <= 0)
			return rc == 0 ? WS_GOT_END : WS_GOT_NOTHING;
	}
}

void wsclient_reset(struct wsclient *c)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	wsclient_done(c);
}

void wsclient_done(struct wsclient *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	strbuf_done(&c->in);
}
