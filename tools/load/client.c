#include "tools/load/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/load/load.h"

#define BUF_SIZE  (256 * 1024)
#define FRAME_MAX (2 * 1024 * 1024)
/* Local ports of one source address. The kernel looks for a free one from a random place on, and
 * first among every other port: the more of those 14,000 are taken, the longer. With 15,000
 * connections of one address that was half of what the client did. */
#define PORTS_PER_SRC 1000

int64_t scan_int(const char *text, size_t len, const char *name)
{
	size_t n = strlen(name);
	const char *at = memmem(text, len, name, n), *end = text + len;
	int64_t value = 0;

	if (!at)
		return -1;
	for (at += n; at < end && *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (*at - '0');
	return value;
}

bool scan_has(const char *text, size_t len, const char *what)
{
	return memmem(text, len, what, strlen(what)) != NULL;
}

bool scan_text(const char *text, size_t len, const char *name, char *out, size_t size)
{
	size_t n = strlen(name), have;
	const char *at = memmem(text, len, name, n), *end;

	if (!at)
		return false;
	at += n;
	end = memchr(at, '"', (size_t)(text + len - at));
	have = end ? (size_t)(end - at) : 0;
	if (!end || have >= size)
		return false;
	memcpy(out, at, have);
	out[have] = '\0';
	return true;
}

void client_leave(struct client *c)
{
	struct pool *p = c->pool;

	if (c->state == CLIENT_CLOSED)
		return;
	if (c->state == CLIENT_OPEN)
		p->open--;
	c->state = CLIENT_CLOSED;
	p->closed++;
	loop_io_del(p->loop, &c->io);
	close(c->io.fd);
	strbuf_done(&c->in);
	strbuf_done(&c->out);
	c->sent = 0;
}

static void client_close(struct client *c, const char *why)
{
	if (c->state == CLIENT_CLOSED)
		return;
	client_leave(c);
	c->pool->events->closed(c, why);
}

static void client_touch(struct client *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = c->pool->dirty;
	c->pool->dirty = c;
}

static void client_flush(struct client *c)
{
	while (c->sent < c->out.len) {
		ssize_t n =
		    send(c->io.fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			client_close(c, strerror(errno));
			return;
		}
		c->sent += (size_t)n;
		c->pool->bytes_out += (uint64_t)n;
	}
	if (c->sent == c->out.len) {
		strbuf_reset(&c->out);
		c->sent = 0;
	}
	if ((c->out.len > 0) != ((c->io.events & EPOLLOUT) != 0) &&
	    loop_io_mod(c->pool->loop, &c->io, EPOLLIN | (c->out.len > 0 ? EPOLLOUT : 0), NULL) !=
		0)
		client_close(c, "epoll");
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	struct pool *p = arg;

	(void)hook;
	while (p->dirty) {
		struct client *c = p->dirty;

		p->dirty = c->next_dirty;
		c->dirty = false;
		if (c->state != CLIENT_CLOSED && c->state != CLIENT_CONNECTING)
			client_flush(c);
	}
}

static void send_frame(struct client *c, enum ws_opcode opcode, const char *data, size_t len)
{
	uint8_t head[WS_HEADER_MAX], mask[4];
	uint64_t r = rng_next(&c->pool->rng);

	if (c->state == CLIENT_CLOSED)
		return;
	memcpy(mask, &r, 4);
	strbuf_add(&c->out, head, ws_header(head, opcode, len, mask));
	strbuf_add(&c->out, data, len);
	ws_mask((uint8_t *)c->out.data + c->out.len - len, len, mask, 0);
	client_touch(c);
}

void client_send(struct client *c, const char *text, size_t len)
{
	send_frame(c, c->pool->dialect->opcode, text, len);
}

static void opened(struct client *c)
{
	struct pool *p = c->pool;

	c->state = CLIENT_OPEN;
	p->open++;
	p->events->open(c);
	pool_connect(p);
}

static void on_text(struct client *c, const char *text, size_t len)
{
	struct pool *p = c->pool;

	if (c->state == CLIENT_OPEN)
		p->events->text(c, text, len);
	else if (!p->dialect->greeting(text, len))
		client_close(c, "not connected");
	else {
		if (p->events->greeted)
			p->events->greeted(c, text, len);
		opened(c);
	}
}

static void on_frame(struct client *c, const struct ws_frame *f, const char *payload)
{
	char why[64];

	if (f->opcode == c->pool->dialect->opcode && f->fin) {
		on_text(c, payload, (size_t)f->len);
	} else if (f->opcode == WS_PING) {
		send_frame(c, WS_PONG, payload, (size_t)f->len);
	} else if (f->opcode == WS_CLOSE) {
		unsigned code =
		    f->len >= 2 ? (unsigned)(uint8_t)payload[0] << 8 | (uint8_t)payload[1] : 1005;

		snprintf(why, sizeof(why), "close %u", code);
		client_close(c, why);
	} else if (f->opcode != WS_PONG) {
		client_close(c, "an unexpected frame");
	}
}

/* Eats whole frames at the front; the number of bytes eaten. */
static size_t eat(struct client *c, const char *data, size_t len)
{
	size_t at = 0;

	while (c->state == CLIENT_GREETING || c->state == CLIENT_OPEN) {
		struct ws_frame f;
		enum ws_result r =
		    ws_parse((const uint8_t *)data + at, len - at, false, false, FRAME_MAX, &f);

		if (r == WS_MORE || (r == WS_OK && len - at < f.header_len + f.len))
			break;
		if (r != WS_OK) {
			client_close(c, "a bad frame");
			break;
		}
		on_frame(c, &f, data + at + f.header_len);
		at += f.header_len + (size_t)f.len;
	}
	return at;
}

/* The answer to the handshake; false if it is not whole yet. */
static bool take_upgrade(struct client *c)
{
	char *end = strstr(strbuf_str(&c->in), "\r\n\r\n");
	char why[64];

	if (!end)
		return false;
	if (strncmp(c->in.data, "HTTP/1.1 101", 12) != 0) {
		snprintf(why, sizeof(why), "refused: %.30s", c->in.data + 9);
		why[strcspn(why, "\r\n")] = '\0';
		client_close(c, why);
		return false;
	}
	strbuf_consume(&c->in, (size_t)(end + 4 - c->in.data));
	if (!c->pool->dialect->greeting) {
		opened(c);
		return true;
	}
	c->state = CLIENT_GREETING;
	if (c->pool->events->hello)
		c->pool->events->hello(c);
	return true;
}

static void take(struct client *c, const char *data, size_t len)
{
	size_t used;

	c->pool->bytes_in += len;
	if (c->state >= CLIENT_GREETING && c->in.len == 0) {
		used = eat(c, data, len);
		if (c->state != CLIENT_CLOSED && used < len)
			strbuf_add(&c->in, data + used, len - used);
		return;
	}
	strbuf_add(&c->in, data, len);
	if (c->state == CLIENT_UPGRADING && !take_upgrade(c))
		return;
	used = eat(c, strbuf_str(&c->in), c->in.len);
	if (c->state == CLIENT_CLOSED)
		return;
	strbuf_consume(&c->in, used);
	if (c->in.len == 0)
		strbuf_done(&c->in);
}

static void upgrade(struct client *c)
{
	struct pool *p = c->pool;
	struct place place = {0};
	int fault = 0;
	socklen_t size = sizeof(fault);

	getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &fault, &size);
	if (fault) {
		client_close(c, strerror(fault));
		return;
	}
	c->state = CLIENT_UPGRADING;
	if (p->events->place)
		p->events->place(c, &place);
	p->dialect->request(&c->out, p->host, c->port,
			    p->events->hello ? NULL : p->opt->tokens[place.token], &place);
	client_touch(c);
}

static void on_io(struct loop_io *io, uint32_t events, void *arg)
{
	struct client *c = arg;
	ssize_t n;

	if (c->state == CLIENT_CONNECTING) {
		upgrade(c);
		return;
	}
	if (events & EPOLLOUT)
		client_touch(c);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = recv(io->fd, c->pool->buf, BUF_SIZE, 0);
	c->pool->read_us = load_clock_us();
	if (n > 0)
		take(c, c->pool->buf, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		client_close(c, n == 0 ? "end of file" : strerror(errno));
}

static int client_start(struct client *c, struct error *err)
{
	struct pool *p = c->pool;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(c->port))};
	struct sockaddr_in from = {.sin_family = AF_INET};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(err, ERR_FATAL, "socket: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	inet_pton(AF_INET, p->host, &to.sin_addr);
	if (p->src) {
		from.sin_addr.s_addr = htonl(p->src + c->index / PORTS_PER_SRC);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		(void)!bind(fd, (struct sockaddr *)&from, sizeof(from));
	}
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
		close(fd);
		return err_set(err, ERR_TRANSIENT, "connect: %s", strerror(errno));
	}
	c->start_us = load_clock_us();
	c->io = (struct loop_io){.fd = fd, .events = EPOLLIN | EPOLLOUT, .fn = on_io, .arg = c};
	if (loop_io_add(p->loop, &c->io, err) != 0) {
		close(fd);
		return -1;
	}
	return 0;
}

int client_again(struct client *c, const char *port, struct error *err)
{
	c->port = port;
	if (client_start(c, err) != 0)
		return -1;
	c->state = CLIENT_CONNECTING;
	c->pool->closed--;
	return 0;
}

void pool_connect(struct pool *p)
{
	while (p->started < p->n && p->started - p->open - p->closed < p->connecting_max) {
		struct client *c = &p->list[p->started++];
		struct error err;

		if (client_start(c, &err) == 0)
			continue;
		c->state = CLIENT_CLOSED;
		p->closed++;
		p->events->closed(c, err.msg);
	}
}

int pool_init(struct pool *p, struct loop *loop, const struct options *opt, unsigned n,
	      const struct client_events *events, struct error *err)
{
	struct in_addr addr;
	char *colon;

	*p = (struct pool){.loop = loop,
			   .n = n,
			   .events = events,
			   .opt = opt,
			   .dialect = opt->dialect,
			   .connecting_max = (unsigned)opt->connecting};
	if (strncmp(opt->url, "http://", 7) != 0 || !strchr(opt->url + 7, ':'))
		return err_set(err, ERR_REJECTED, "the URL must be http://address:port");
	p->url = xstrdup(opt->url);
	colon = strchr(p->url + 7, ':');
	*colon = '\0';
	p->host = strcmp(p->url + 7, "localhost") == 0 ? "127.0.0.1" : p->url + 7;
	p->port = colon + 1;
	colon[1 + strspn(colon + 1, "0123456789")] = '\0';
	if (inet_pton(AF_INET, p->host, &addr) != 1) {
		err_set(err, ERR_REJECTED, "%s is no IPv4 address", p->host);
		free(p->url);
		return -1;
	}
	rng_seed_os(&p->rng);
	/* Others than an earlier run's, whose server may have closed its connections first: those
	 * are not forgotten for a minute. */
	if (strncmp(p->host, "127.", 4) == 0)
		p->src = 0x7f010000u + (uint32_t)(rng_next(&p->rng) % 0xf00000u);
	p->buf = xmalloc(BUF_SIZE);
	p->list = xcalloc(n, sizeof(*p->list));
	for (unsigned i = 0; i < n; i++) {
		p->list[i].pool = p;
		p->list[i].port = p->port;
		p->list[i].index = i;
	}
	p->hook = (struct loop_hook){.fn = on_turn_end, .arg = p};
	loop_hook_add(loop, &p->hook);
	return 0;
}

/* By a reset: thousands of connections that the kernel keeps for a minute after their end
 * (TIME-WAIT) would be a burden on whatever is measured next. */
static void cut_off(struct client *c)
{
	const struct linger none = {.l_onoff = 1};

	(void)setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(c->io.fd);
}

void pool_done(struct pool *p)
{
	if (!p->list)
		return;
	for (unsigned i = 0; i < p->n; i++) {
		struct client *c = &p->list[i];

		if (i < p->started && c->state != CLIENT_CLOSED) {
			loop_io_del(p->loop, &c->io);
			cut_off(c);
		}
		strbuf_done(&c->in);
		strbuf_done(&c->out);
	}
	loop_hook_del(p->loop, &p->hook);
	free(p->list);
	free(p->buf);
	free(p->url);
	*p = (struct pool){0};
}
