#include "tools/modelsim/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/strbuf.h"

#define HEADER_MAX (16 * 1024)
#define BODY_MAX   (8 * 1024 * 1024)
#define UNSENT_MAX (1024 * 1024)

struct http_conn {
	struct http_server *server;
	struct loop_io io;
	struct strbuf in, out;
	size_t sent; /* of out */
	struct http_conn *next, *prev;
	struct http_conn *next_dirty;
	bool dirty, dead;
	bool busy; /* a request is with the handler */
	bool in_handler;
	bool continued; /* 100 Continue was sent for the request at the front */
	bool last;      /* close when all is sent */
	void (*closed)(void *arg);
	void *closed_arg;
};

struct http_server {
	struct loop *loop;
	struct loop_io io;
	struct loop_hook hook;
	int port;
	uint64_t n;
	struct http_conn *conns, *dirty, *graves;
	http_handler_fn *handler;
	void *arg;
};

/* Freed when the turn ends: a caller up the stack may still look at it. */
static void conn_kill(struct http_conn *c)
{
	struct http_server *s = c->server;

	if (c->dead)
		return;
	c->dead = true;
	loop_io_del(s->loop, &c->io);
	close(c->io.fd);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->next = s->graves;
	s->graves = c;
	s->n--;
	if (c->busy && c->closed)
		c->closed(c->closed_arg);
	c->closed = NULL;
}

static void conn_touch(struct http_conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = c->server->dirty;
	c->server->dirty = c;
}

static void conn_flush(struct http_conn *c)
{
	while (c->sent < c->out.len) {
		ssize_t n =
		    send(c->io.fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			conn_kill(c);
			return;
		}
		c->sent += (size_t)n;
	}
	if (c->out.len - c->sent > UNSENT_MAX || (c->last && !c->busy && c->sent == c->out.len)) {
		conn_kill(c);
		return;
	}
	if (c->sent == c->out.len) {
		strbuf_reset(&c->out);
		c->sent = 0;
	}
	if (loop_io_mod(c->server->loop, &c->io,
			EPOLLIN | EPOLLRDHUP | (c->out.len > 0 ? EPOLLOUT : 0), NULL) != 0)
		conn_kill(c);
}

static void on_turn_end(struct loop_hook *hook, void *arg)
{
	struct http_server *s = arg;

	(void)hook;
	while (s->dirty) {
		struct http_conn *c = s->dirty;

		s->dirty = c->next_dirty;
		c->dirty = false;
		if (!c->dead)
			conn_flush(c);
	}
	while (s->graves) {
		struct http_conn *c = s->graves;

		s->graves = c->next;
		strbuf_done(&c->in);
		strbuf_done(&c->out);
		free(c);
	}
}

static const char *status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	default:
		return "Status";
	}
}

static void add_head(struct http_conn *c, int status)
{
	strbuf_addf(&c->out, "HTTP/1.1 %d %s\r\n", status, status_text(status));
	if (c->last)
		strbuf_adds(&c->out, "Connection: close\r\n");
}

static void conn_process(struct http_conn *c);

static void answered(struct http_conn *c)
{
	c->busy = false;
	c->closed = NULL;
	conn_touch(c);
	if (!c->in_handler)
		conn_process(c); /* the next request may have been waiting */
}

void http_reply(struct http_conn *c, int status, const char *extra, const char *body, size_t len)
{
	add_head(c, status);
	strbuf_addf(&c->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", len,
		    extra ? extra : "");
	strbuf_add(&c->out, body, len);
	answered(c);
}

void http_stream_begin(struct http_conn *c)
{
	add_head(c, 200);
	strbuf_adds(&c->out, "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n");
	conn_touch(c);
}

void http_stream_add(struct http_conn *c, const char *data, size_t len)
{
	strbuf_addf(&c->out, "%zx\r\n", len);
	strbuf_add(&c->out, data, len);
	strbuf_adds(&c->out, "\r\n");
	conn_touch(c);
}

void http_stream_end(struct http_conn *c)
{
	strbuf_adds(&c->out, "0\r\n\r\n");
	answered(c);
}

void http_cut(struct http_conn *c)
{
	c->last = true;
	c->busy = false;
	c->closed = NULL;
	conn_touch(c);
}

void http_on_closed(struct http_conn *c, void (*fn)(void *arg), void *arg)
{
	c->closed = fn;
	c->closed_arg = arg;
}

static bool find_header(const char *headers, const char *name, const char **value, size_t *len)
{
	size_t n = strlen(name);

	for (const char *line = headers; line && *line;
	     line = strstr(line, "\r\n"), line = line ? line + 2 : NULL) {
		if (strncasecmp(line, name, n) != 0 || line[n] != ':')
			continue;
		*value = line + n + 1;
		*value += strspn(*value, " \t");
		*len = strcspn(*value, "\r\n");
		return true;
	}
	return false;
}

bool http_header(const struct http_req *req, const char *name, char *out, size_t size)
{
	const char *value;
	size_t len;

	if (!find_header(req->headers, name, &value, &len))
		return false;
	if (len > size - 1)
		len = size - 1;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}

static void refuse(struct http_conn *c, int status, const char *message)
{
	struct strbuf body = {0};

	strbuf_addf(
	    &body,
	    "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"code\":null}}",
	    message);
	c->last = true;
	c->in_handler = true; /* nothing behind it is read any more */
	http_reply(c, status, NULL, body.data, body.len);
	strbuf_done(&body);
	strbuf_reset(&c->in);
}

/* Length of the body, or -1 after having refused the request. */
static long body_length(struct http_conn *c, const char *headers)
{
	const char *value;
	size_t len;
	char *end;
	unsigned long n;

	if (find_header(headers, "Transfer-Encoding", &value, &len)) {
		refuse(c, 411, "send Content-Length");
		return -1;
	}
	if (!find_header(headers, "Content-Length", &value, &len))
		return 0;
	n = strtoul(value, &end, 10);
	if (end == value || *value == '-' || n > BODY_MAX) {
		refuse(c, 413, "the body is too large");
		return -1;
	}
	return (long)n;
}

/* Hands the request at the front of the buffer to the handler; false if it is not whole yet or is
 * bad. */
static bool take_request(struct http_conn *c)
{
	struct http_req req = {0};
	char *end, *line_end, *path, *query, *version, saved;
	const char *value;
	size_t head, len;
	long body;

	if (c->in.len == 0)
		return false;
	end = strstr(c->in.data, "\r\n\r\n");
	if (!end) {
		if (c->in.len > HEADER_MAX || strlen(c->in.data) < c->in.len)
			refuse(c, 431, "bad header");
		return false;
	}
	head = (size_t)(end + 4 - c->in.data);
	line_end = strstr(c->in.data, "\r\n");
	if (head > HEADER_MAX) {
		refuse(c, 431, "the header is too large");
		return false;
	}
	body = body_length(c, line_end + 2);
	if (body < 0)
		return false;
	if (c->in.len < head + (size_t)body) {
		if (!c->continued && find_header(line_end + 2, "Expect", &value, &len)) {
			strbuf_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
			c->continued = true;
			conn_touch(c);
		}
		return false;
	}
	c->continued = false;
	path = memchr(c->in.data, ' ', (size_t)(line_end - c->in.data));
	version = path ? memchr(path + 1, ' ', (size_t)(line_end - path - 1)) : NULL;
	if (!version || strncmp(version + 1, "HTTP/1.1", 8) != 0) {
		refuse(c, 400, "bad request line");
		return false;
	}
	if (find_header(line_end + 2, "Connection", &value, &len) && len == 5 &&
	    strncasecmp(value, "close", 5) == 0)
		c->last = true;
	*path++ = '\0';
	*version = '\0';
	query = strchr(path, '?');
	if (query)
		*query++ = '\0';
	end[2] = '\0';
	req = (struct http_req){.method = c->in.data,
				.path = path,
				.query = query ? query : "",
				.headers = line_end + 2,
				.body = c->in.data + head,
				.body_len = (size_t)body};
	saved = c->in.data[head + (size_t)body];
	c->in.data[head + (size_t)body] = '\0';
	c->busy = true;
	c->in_handler = true;
	c->server->handler(c->server->arg, c, &req);
	c->in_handler = false;
	c->in.data[head + (size_t)body] = saved;
	strbuf_consume(&c->in, head + (size_t)body);
	if (c->in.len == 0)
		strbuf_done(&c->in);
	return true;
}

static void conn_process(struct http_conn *c)
{
	while (!c->dead && !c->busy && !c->last && take_request(c))
		;
}

static void on_conn(struct loop_io *io, uint32_t events, void *arg)
{
	struct http_conn *c = arg;
	char buf[65536];

	if (events & EPOLLOUT)
		conn_touch(c);
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		ssize_t n = recv(io->fd, buf, sizeof(buf), 0);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			conn_kill(c);
			return;
		}
		if (n > 0 && c->in.len > BODY_MAX + HEADER_MAX) {
			conn_kill(c); /* pipelines more than it may while an answer is under way */
			return;
		}
		if (n > 0)
			strbuf_add(&c->in, buf, (size_t)n);
		if (!c->busy)
			conn_process(c);
	}
}

static void on_accept(struct loop_io *io, uint32_t events, void *arg)
{
	struct http_server *s = arg;
	int fd, one = 1;

	(void)events;
	while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct http_conn *c = xcalloc(1, sizeof(*c));

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c->server = s;
		c->io = (struct loop_io){
		    .fd = fd, .events = EPOLLIN | EPOLLRDHUP, .fn = on_conn, .arg = c};
		if (loop_io_add(s->loop, &c->io, NULL) != 0) {
			close(fd);
			free(c);
			continue;
		}
		c->next = s->conns;
		if (s->conns)
			s->conns->prev = c;
		s->conns = c;
		s->n++;
	}
}

struct http_server *http_open(struct loop *loop, const char *addr, int port,
			      http_handler_fn *handler, void *arg, struct error *err)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof(sa);
	struct http_server *s = xcalloc(1, sizeof(*s));
	int one = 1;

	s->loop = loop;
	s->handler = handler;
	s->arg = arg;
	s->io = (struct loop_io){.events = EPOLLIN, .fn = on_accept, .arg = s};
	s->io.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(s->io.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (inet_pton(AF_INET, addr, &sa.sin_addr) != 1 ||
	    bind(s->io.fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 ||
	    listen(s->io.fd, 4096) != 0 ||
	    getsockname(s->io.fd, (struct sockaddr *)&sa, &len) != 0) {
		err_set(err, ERR_FATAL, "cannot listen on %s:%d: %s", addr, port, strerror(errno));
		close(s->io.fd);
		free(s);
		return NULL;
	}
	s->port = ntohs(sa.sin_port);
	s->hook = (struct loop_hook){.fn = on_turn_end, .arg = s};
	if (loop_io_add(loop, &s->io, err) != 0) {
		close(s->io.fd);
		free(s);
		return NULL;
	}
	loop_hook_add(loop, &s->hook);
	return s;
}

int http_port(const struct http_server *s)
{
	return s->port;
}

uint64_t http_connections(const struct http_server *s)
{
	return s->n;
}

void http_close(struct http_server *s)
{
	if (!s)
		return;
	loop_io_del(s->loop, &s->io);
	close(s->io.fd);
	while (s->conns)
		conn_kill(s->conns);
	on_turn_end(&s->hook, s);
	loop_hook_del(s->loop, &s->hook);
	free(s);
}
