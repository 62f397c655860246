/* A whole edge with a real nats-server: what comes right behind the handshake, and plain HTTP from
 * many connections at once (under SAN=thread: who has a request when). */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "common/bus_nats.h"
#include "common/log.h"
#include "services/edge/edge.h"
#include "services/edge/hub_int.h"
#include "tests/unit/common/nats_server.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/edge/plane.h"
#include "tests/unit/edge/wsclient.h"

#define WAIT_MS  30000
#define CALLERS  4
#define REQUESTS 150

static struct nats_server nats;
static struct plane plane;
static struct edge_conf conf;
static pthread_t edge_thread;
static sem_t may_free;
static _Atomic(struct edge *) edge;
static _Atomic bool failed;
static int port;

static struct bus *open_nats(struct loop *loop, const struct edge_conf *c, struct metrics *metrics,
			     struct error *err)
{
	const struct bus_nats_conf b = {
	    .url = c->common.nats_url, .name = "edge", .metrics = metrics};

	return bus_nats_open(loop, &b, err);
}

static void *run_edge(void *arg)
{
	struct error err = {0};
	struct edge *e = edge_open(&conf, open_nats, &err);

	(void)arg;
	atomic_store(&failed, !e);
	if (!e)
		return NULL;
	atomic_store(&edge, e);
	edge_run(e);
	sem_wait(&may_free);
	edge_free(e);
	return NULL;
}

static bool is_ready(void)
{
	struct edge *e = atomic_load(&edge);

	return atomic_load(&failed) || (e && atomic_load(&e->ready));
}

static void start(void)
{
	char url[64];
	struct error err = {0};
	int64_t end = ws_now_ms() + WAIT_MS;

	signal(SIGPIPE, SIG_IGN);
	sem_init(&may_free, 0, 0);
	log_init("edge", "edge-test", LOG_ERROR);
	nats_server_start(&nats);
	plane_start(&plane, nats.port);
	snprintf(url, sizeof(url), "nats://127.0.0.1:%d", nats.port);
	setenv("PENSTOCK_NATS_URL", url, 1);
	setenv("PENSTOCK_INSTANCE", "edge-test", 1);
	setenv("PENSTOCK_EDGE_PORT", "0", 1);
	setenv("PENSTOCK_EDGE_HTTP_THREADS", "2", 1);
	setenv("PENSTOCK_EDGE_REACTORS", "2", 1);
	setenv("PENSTOCK_EDGE_DRAIN_MS", "200", 1);
	setenv("PENSTOCK_EDGE_DRAIN_SPREAD_MS", "200", 1);
	ck_assert_msg(env_load("PENSTOCK_EDGE_", edge_settings, edge_n_settings, &conf, &err) == 0,
		      "%s", err.msg);
	ck_assert_int_eq(pthread_create(&edge_thread, NULL, run_edge, NULL), 0);
	while (!is_ready() && ws_now_ms() < end)
		poll(NULL, 0, 5);
	ck_assert_msg(!atomic_load(&failed) && is_ready(), "the edge does not become ready");
	port = edge_port(atomic_load(&edge));
}

static void stop(void)
{
	edge_stop(atomic_load(&edge));
	sem_post(&may_free); /* not before the call above is through */
	pthread_join(edge_thread, NULL);
	plane_stop(&plane);
	bus_nats_shutdown();
	nats_server_remove(&nats);
	env_done(edge_settings, edge_n_settings, &conf);
}

/* --- right behind the handshake ----------------------------------------------------------- */

static bool next_is(struct wsclient *c, const char *op)
{
	struct strbuf text = {0};
	unsigned code = 0;
	bool ok = wsclient_next(c, ws_now_ms() + WAIT_MS, &text, &code) == WS_GOT_TEXT &&
		  strstr(strbuf_str(&text), op);

	if (!ok)
		printf("not %s but %s, code %u\n", op, strbuf_str(&text), code);
	strbuf_done(&text);
	return ok;
}

/* Whoever has sent a token need not wait for `connected`: the answers come in order. */
START_TEST(messages_may_follow_the_token_at_once)
{
	start();
	for (int i = 0; i < 40; i++) {
		struct wsclient c;

		ck_assert(wsclient_dial(&c, port, 0));
		ck_assert(wsclient_upgrade(&c, i % 2 ? PLANE_TOKEN : NULL));
		if (i % 2 == 0)
			ck_assert(wsclient_text(&c, "{\"op\":\"connect\",\"token\":\"" PLANE_TOKEN
						    "\"}"));
		ck_assert(
		    wsclient_text(&c, "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"room.0\"}"));
		ck_assert(next_is(&c, "\"op\":\"connected\""));
		ck_assert(next_is(&c, "\"op\":\"subscribed\""));
		wsclient_done(&c);
	}
	stop();
}
END_TEST

/* --- tokens ------------------------------------------------------------------------------- */

#define TOKENS 50

static sem_t held, go, all_answered;
static unsigned n_answered, passed_after;

static void hold(struct loop_post *post)
{
	(void)post;
	sem_post(&held);
	sem_wait(&go);
}

static void token_answered(struct request *r)
{
	struct auth_request *a = (struct auth_request *)r;

	ck_assert_int_eq(a->result, AUTH_BAD);
	if (++n_answered == TOKENS)
		sem_post(&all_answered);
}

static void other_answered(struct request *r)
{
	(void)r;
	passed_after = n_answered;
}

/* Whoever sends tokens whose signatures have to be checked delays only those who do the same: what
 * else the hub has to do waits for a few of them. */
START_TEST(signatures_do_not_hold_up_the_rest)
{
	static struct auth_request tokens[TOKENS];
	static struct shard_request other;
	struct loop_post first = {.fn = hold};
	struct hub *hub;

	start();
	hub = atomic_load(&edge)->hub;
	sem_init(&held, 0, 0);
	sem_init(&go, 0, 0);
	sem_init(&all_answered, 0, 0);
	loop_post(hub_loop(hub), &first);
	sem_wait(&held);
	for (int i = 0; i < TOKENS; i++) {
		tokens[i].base.done = token_answered;
		tokens[i].token = xstrdup("e30.e30.e30");
		hub_auth(hub, &tokens[i]);
	}
	other.base.done = other_answered;
	strcpy(other.tenant, "demo");
	hub_shard(hub, &other);
	sem_post(&go);
	sem_wait(&all_answered);
	ck_assert_uint_gt(passed_after, 0);
	ck_assert_uint_le(passed_after, DOOR_TURN);
	free(other.url);
	stop();
}
END_TEST

/* --- HTTP --------------------------------------------------------------------------------- */

struct caller {
	pthread_t thread;
	int answers[6]; /* by the first digit of the status */
	int more;       /* bytes that nobody asked for */
};

/* One request and one answer on a connection that stays open; its status, 0 if there is none. */
static int ask(struct wsclient *c, const char *request)
{
	int64_t deadline = ws_now_ms() + WAIT_MS;
	int status = 0;

	if (!wsclient_raw(c, request, strlen(request)))
		return 0;
	while (ws_now_ms() < deadline) {
		const char *text = strbuf_str(&c->in);
		const char *end = strstr(text, "\r\n\r\n"),
			   *length = strstr(text, "Content-Length: ");
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		char buffer[4096];
		ssize_t n;

		if (end && length && length < end) {
			size_t all = (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10);

			if (c->in.len >= all) {
				sscanf(text, "HTTP/1.1 %d", &status);
				strbuf_consume(&c->in, all);
				return status;
			}
		}
		if (poll(&p, 1, 1000) <= 0)
			continue;
		n = recv(c->fd, buffer, sizeof(buffer), 0);
		if (n <= 0)
			return 0;
		strbuf_add(&c->in, buffer, (size_t)n);
	}
	return 0;
}

static void *call(void *arg)
{
	static const char publish[] =
	    "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " PLANE_TOKEN
	    "\r\nContent-Type: application/json\r\nContent-Length: 44\r\n\r\n"
	    "{\"channel\":\"room.0\",\"type\":\"note\",\"data\":17}";
	static const char history[] =
	    "GET /v1/channels/room.0/events?limit=3 HTTP/1.1\r\nHost: x\r\n"
	    "Authorization: Bearer " PLANE_TOKEN "\r\n\r\n";
	/* Answered by the hub's thread at once: the shortest way back. */
	static const char nobody[] = "GET /v1/channels/room.0/events HTTP/1.1\r\nHost: x\r\n"
				     "Authorization: Bearer pk_no_body\r\n\r\n";
	static const char *const requests[] = {nobody, publish, nobody, history};
	struct caller *caller = arg;
	struct wsclient c;

	if (!wsclient_dial(&c, port, 0))
		return NULL;
	for (int i = 0; i < REQUESTS; i++)
		caller->answers[ask(&c, requests[i % 4]) / 100 % 6]++;
	caller->more = (int)c.in.len;
	wsclient_done(&c);
	return NULL;
}

START_TEST(each_request_has_one_answer)
{
	struct caller callers[CALLERS] = {0};
	int good = 0, refused = 0;

	start();
	for (int i = 0; i < CALLERS; i++)
		ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(callers[i].thread, NULL);
		good += callers[i].answers[2];
		refused += callers[i].answers[4];
		ck_assert_int_eq(callers[i].more, 0);
	}
	ck_assert_int_eq(refused, CALLERS * REQUESTS / 2);
	ck_assert_int_eq(good, CALLERS * REQUESTS / 2);
	stop();
}
END_TEST

/* --- who takes the handshake -------------------------------------------------------------- */

#define UPGRADE                                                                                    \
	" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                    \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

static int64_t upgrades_of_libmicrohttpd(void)
{
	return (int64_t)atomic_load(&atomic_load(&edge)->next_reactor);
}

#define OTHERS 64

/* What was accepted before is accepted in its turn: once both reactors have taken a connection that
 * came later, it is out of the queue. */
static void others_come(struct wsclient *others, size_t *n)
{
	struct edge *e = atomic_load(&edge);

	while (!reactor_conns(e->reactors[0]) || !reactor_conns(e->reactors[1])) {
		ck_assert_uint_lt(*n, OTHERS);
		ck_assert(wsclient_dial(&others[*n], port, 0));
		ck_assert(wsclient_upgrade(&others[(*n)++], NULL));
	}
}

static void is_let_in(struct wsclient *c, int64_t before, int64_t theirs)
{
	ck_assert(wsclient_upgraded(c));
	ck_assert(next_is(c, "\"op\":\"connected\""));
	ck_assert_int_eq(upgrades_of_libmicrohttpd() - before, theirs);
	wsclient_done(c);
}

/* Whole and plain, it is a reactor's; else libmicrohttpd finds it as it came. Both let in. */
START_TEST(a_handshake_is_a_reactors_or_libmicrohttpds)
{
	static const char begun[] = "GET /v1/ws" UPGRADE "X: a\r\nAuthorization: ",
			  rest[] = "Bearer " PLANE_TOKEN "\r\n\r\n";
	static const char plain[] =
	    "GET /v1/ws" UPGRADE "Authorization: Bearer " PLANE_TOKEN "\r\n\r\n",
			  query[] = "GET /v1/ws?access_token=" PLANE_TOKEN UPGRADE "\r\n";
	struct wsclient c, others[OTHERS];
	size_t n = 0;

	start();
	ck_assert(wsclient_dial(&c, port, 0));
	ck_assert(wsclient_raw(&c, begun, sizeof(begun) - 1));
	others_come(others, &n);
	ck_assert(wsclient_raw(&c, rest, sizeof(rest) - 1));
	is_let_in(&c, 0, 1);
	ck_assert(wsclient_dial(&c, port, 0));
	ck_assert(wsclient_raw(&c, plain, sizeof(plain) - 1));
	is_let_in(&c, 1, 0);
	ck_assert(wsclient_dial(&c, port, 0));
	ck_assert(wsclient_raw(&c, query, sizeof(query) - 1));
	is_let_in(&c, 1, 1);
	while (n)
		wsclient_done(&others[--n]);
	stop();
}
END_TEST

/* A reactor that has many more connections than another gives it what it accepts. */
START_TEST(connections_go_where_there_are_few)
{
	struct wsclient c[20];
	struct edge *e;

	start();
	e = atomic_load(&edge);
	atomic_fetch_add(&e->reactors[0]->n_conns, 1000);
	for (size_t i = 0; i < 20; i++) {
		ck_assert(wsclient_dial(&c[i], port, 0));
		ck_assert(wsclient_upgrade(&c[i], PLANE_TOKEN));
		ck_assert(next_is(&c[i], "\"op\":\"connected\""));
	}
	ck_assert_uint_eq(reactor_conns(e->reactors[0]), 1000);
	ck_assert_uint_eq(reactor_conns(e->reactors[1]), 20);
	atomic_fetch_sub(&e->reactors[0]->n_conns, 1000);
	for (size_t i = 0; i < 20; i++)
		wsclient_done(&c[i]);
	stop();
}
END_TEST

/* The reactors share the port with each other, and with nobody else. */
START_TEST(the_port_is_one_edges)
{
	struct edge_conf other;
	struct error err = {0};

	start();
	other = conf;
	other.port = port;
	ck_assert_ptr_null(edge_open(&other, open_nats, &err));
	ck_assert_msg(strstr(err.msg, "cannot listen"), "%s", err.msg);
	stop();
}
END_TEST

RUN_TESTS("edge: doors", a_handshake_is_a_reactors_or_libmicrohttpds,
	  connections_go_where_there_are_few, the_port_is_one_edges,
	  messages_may_follow_the_token_at_once, signatures_do_not_hold_up_the_rest,
	  each_request_has_one_answer)
