#include "services/edge/gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "services/edge/conn.h"
#include "services/edge/handshake.h"
#include "services/edge/http.h"

#define BACKLOG  4096
#define A_TURN   64   /* connections that are accepted in one turn */
#define HEAD_MAX 8192 /* bytes that are looked at */
_Static_assert(2 * HEAD_MAX <= READ_BUFFER, "take() reads behind the head");
#define SILENT_S  1      /* so long the kernel keeps a connection that sends nothing to itself */
#define SCARCE_US 100000 /* no descriptor was to be had: until it is tried again */
#define RESERVE   64 /* descriptors that are not for clients: the brokers, the admin port, … */
#define IMBALANCE 16 /* connections that a reactor may have more than another */

/* --- one connection ----------------------------------------------------------------------- */

static struct reactor *lightest(struct reactor *mine)
{
	struct edge *edge = mine->edge;
	struct reactor *best = mine;

	for (unsigned i = 0; i < edge->n_reactors; i++)
		if (reactor_conns(edge->reactors[i]) < reactor_conns(best))
			best = edge->reactors[i];
	return reactor_conns(best) + IMBALANCE < reactor_conns(mine) ? best : mine;
}

bool gate_refuses(struct edge *edge, struct client_error *why)
{
	if (atomic_load(&edge->draining))
		return client_refuse(why, "unavailable", "this edge is draining");
	if (!atomic_load(&edge->serving))
		return client_refuse(why, "unavailable", "this edge is not ready");
	if (atomic_load(&edge->connections) >= edge->conf->connections)
		return client_refuse(why, "overloaded",
				     "this edge has as many connections as it may have");
	return false;
}

/* Is it one for a reactor? Then its head is read, and it is theirs. */
static bool take(struct reactor *r, int fd, char *head, size_t len)
{
	struct handshake h = {.may_deflate = r->edge->conf->deflate};
	struct client_error why;
	struct reactor *to = lightest(r);
	struct newcomer n;
	size_t used = handshake_read(head, len, &h);

	if (!used || handshake_check(&h, &why) || gate_refuses(r->edge, &why))
		return false;
	if (h.authorization && atomic_load(&r->edge->drains_tenants))
		return false; /* whose it is has to be known first (http_ws.c) */
	/* There it was a moment ago. head stays as it is: h's texts are in it. */
	if (recv(fd, head + HEAD_MAX, used, 0) != (ssize_t)used) {
		close(fd);
		return true;
	}
	n = (struct newcomer){.fd = fd,
			      .token = auth_token(h.authorization, NULL),
			      .origin = auth_origin(h.origin),
			      .terms = h.terms};
	handshake_answer(&h, &n.answer);
	metric_add(r->edge->stats.http[1], 1);
	atomic_fetch_add(&r->edge->connections, 1);
	if (to == r)
		reactor_take(r, &n);
	else
		reactor_accept(to, &n);
	return true;
}

static void let_in(struct reactor *r, int fd, const struct sockaddr_storage *addr, socklen_t len)
{
	char *head = (char *)r->buffer; /* and as much again behind it, for take() */
	ssize_t n = recv(fd, head, HEAD_MAX, MSG_PEEK | MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close(fd); /* gone again */
	else if (n < 0 || !take(r, fd, head, (size_t)n))
		http_take(r->edge->http, fd, addr, len);
}

/* A descriptor beyond those that clients may have. They are given out from the lowest, so its
 * number says how many there are. What is not read is not in the way of the answer. */
static void turn_away(struct reactor *r, int fd)
{
	static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
				     "Content-Length: 0\r\nConnection: close\r\n\r\n";

	(void)recv(fd, r->buffer, READ_BUFFER, MSG_DONTWAIT);
	(void)send(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
	metric_add(r->edge->stats.turned_away, 1);
}

/* The limit may be changed while the process runs. */
static int first_reserved(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	return (int)limit.rlim_cur - RESERVE;
}

/* --- the port ----------------------------------------------------------------------------- */

static void pause_a_moment(struct gate *g)
{
	if (!g->scarce)
		log_at(LOG_WARN, "cannot accept connections now", LOG_S("error", strerror(errno)));
	g->scarce = true;
	metric_add(g->reactor->edge->stats.accept_failures, 1);
	if (!loop_io_mod(g->reactor->loop, &g->io, 0, NULL))
		timer_set(g->reactor->loop, &g->again, SCARCE_US);
}

static void on_again(struct timer *timer, void *arg)
{
	struct gate *g = arg;

	if (loop_io_mod(g->reactor->loop, &g->io, EPOLLIN, NULL))
		timer_set(g->reactor->loop, timer, SCARCE_US);
}

static void on_io(struct loop_io *io, uint32_t events, void *arg)
{
	struct gate *g = arg;
	int reserved = first_reserved();

	(void)events;
	for (unsigned i = 0; i < A_TURN; i++) {
		struct sockaddr_storage addr;
		socklen_t len = sizeof(addr);
		int fd =
		    accept4(io->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			g->scarce = false;
			if (fd < reserved)
				let_in(g->reactor, fd, &addr, len);
			else
				turn_away(g->reactor, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			pause_a_moment(g);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

struct opening {
	struct loop_post post;
	struct reactor *reactor;
	int fd;
};

static void on_open(struct loop_post *post)
{
	struct opening *o = (struct opening *)post;
	struct gate *g = &o->reactor->gate;
	struct error err = {0};

	g->reactor = o->reactor;
	g->io = (struct loop_io){.fd = o->fd, .events = EPOLLIN, .fn = on_io, .arg = g};
	timer_init(&g->again, on_again, g);
	g->open = !loop_io_add(o->reactor->loop, &g->io, &err);
	if (!g->open) {
		log_at(LOG_ERROR, "cannot listen", LOG_S("error", err.msg));
		close(o->fd);
	}
	free(o);
}

static void gate_open(struct reactor *r, int fd)
{
	struct opening *o = xmalloc(sizeof(*o));

	*o = (struct opening){.post.fn = on_open, .reactor = r, .fd = fd};
	loop_post(r->loop, &o->post);
}

void gate_close(struct gate *g)
{
	if (!g->open)
		return;
	g->open = false;
	timer_cancel(g->reactor->loop, &g->again);
	loop_io_del(g->reactor->loop, &g->io);
	close(g->io.fd);
}

/* --- sockets ------------------------------------------------------------------------------ */

static int in_use(const struct edge_conf *conf, struct error *err)
{
	return err_set(err, ERR_FATAL, "cannot listen on %s:%lld: %s", conf->addr,
		       (long long)conf->port, strerror(errno));
}

static int bound(const struct sockaddr_in *addr, bool shared)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if ((shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one))) ||
	    bind(fd, (const struct sockaddr *)addr, sizeof(*addr))) {
		int why = errno;

		close(fd);
		errno = why;
		return -1;
	}
	return fd;
}

/* A port that may be shared could be another process's: one that may not be finds that out. */
static bool is_free(const struct sockaddr_in *addr)
{
	int fd = bound(addr, false);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

/* What is set here goes on in each connection's socket. A connection is told of when its request
 * comes, so that it is there to be looked at. */
static int listening(struct reactor *r, const struct sockaddr_in *addr)
{
	int silent_s = SILENT_S, fd = bound(addr, r->edge->n_reactors > 1);

	if (fd < 0)
		return -1;
	conn_set_socket(r, fd);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &silent_s, sizeof(silent_s));
	if (listen(fd, BACKLOG)) {
		int why = errno;

		close(fd);
		errno = why;
		return -1;
	}
	return fd;
}

int gates_listen(struct edge *edge, struct error *err)
{
	const struct edge_conf *conf = edge->conf;
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)conf->port)};
	socklen_t len = sizeof(addr);

	if (inet_pton(AF_INET, conf->addr, &addr.sin_addr) != 1)
		return err_set(err, ERR_FATAL, "PENSTOCK_EDGE_ADDR: %s is no IPv4 address",
			       conf->addr);
	if (conf->port && !is_free(&addr))
		return in_use(conf, err);
	for (unsigned i = 0; i < edge->n_reactors; i++) {
		int fd = listening(edge->reactors[i], &addr);

		if (fd < 0 || getsockname(fd, (struct sockaddr *)&addr, &len)) /* of port 0 */
			return in_use(conf, err);
		gate_open(edge->reactors[i], fd);
	}
	return ntohs(addr.sin_port);
}
