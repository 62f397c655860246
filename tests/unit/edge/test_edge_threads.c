/* A whole edge with a real nats-server, and clients that come, talk and vanish while others
 * listen. Under SAN=thread it shows races, under SAN=address what outlives its owner. */
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "common/bus_nats.h"
#include "common/log.h"
#include "common/names.h"
#include "services/edge/edge.h"
#include "tests/unit/common/nats_server.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/edge/plane.h"
#include "tests/unit/edge/wsclient.h"

#define LISTENERS 3
#define CHURNERS  4
#define ROUNDS    25
#define WAIT_MS   60000

static struct nats_server nats;
static struct plane plane;
static struct edge_conf conf;
static pthread_t edge_thread;
static sem_t may_free;
static _Atomic(struct edge *) edge;
static _Atomic int port;
static _Atomic bool finish, edge_failed;

/* A thread cannot fail a test of Check: the first complaint is kept for the main thread. */
static pthread_mutex_t complaint_lock = PTHREAD_MUTEX_INITIALIZER;
static char complaint[400];

__attribute__((format(printf, 1, 2))) static void complain(const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&complaint_lock);
	va_start(ap, fmt);
	if (!*complaint)
		vsnprintf(complaint, sizeof(complaint), fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&complaint_lock);
}

static void no_complaint(void)
{
	pthread_mutex_lock(&complaint_lock);
	ck_assert_msg(!*complaint, "%s", complaint);
	pthread_mutex_unlock(&complaint_lock);
}

/* --- the edge ----------------------------------------------------------------------------- */

static struct bus *open_nats(struct loop *loop, const struct edge_conf *c, struct metrics *metrics,
			     struct error *err)
{
	const struct bus_nats_conf b = {
	    .url = c->common.nats_url, .name = "edge", .no_echo = true, .metrics = metrics};

	return bus_nats_open(loop, &b, err);
}

static void *run_edge(void *arg)
{
	struct error err = {0};
	struct edge *e = edge_open(&conf, open_nats, &err);

	(void)arg;
	if (!e) {
		complain("edge: %s", err.msg);
		atomic_store(&edge_failed, true);
		return NULL;
	}
	atomic_store(&port, edge_port(e));
	atomic_store(&edge, e);
	edge_run(e);
	sem_wait(&may_free);
	edge_free(e);
	return NULL;
}

static bool until(bool (*so)(void))
{
	for (int64_t end = ws_now_ms() + WAIT_MS; ws_now_ms() < end; poll(NULL, 0, 5))
		if (so())
			return true;
	return false;
}

static bool is_ready(void)
{
	struct edge *e = atomic_load(&edge);

	return atomic_load(&edge_failed) || (e && atomic_load(&e->ready));
}

static bool nothing_in_flight(void)
{
	return atomic_load(&atomic_load(&edge)->commands) == 0;
}

static void start(const char *const *settings)
{
	char url[64];
	struct error err = {0};

	signal(SIGPIPE, SIG_IGN);
	sem_init(&may_free, 0, 0);
	log_init("edge", "edge-test", LOG_ERROR);
	nats_server_start(&nats);
	plane_start(&plane, nats.port);
	snprintf(url, sizeof(url), "nats://127.0.0.1:%d", nats.port);
	setenv("PENSTOCK_NATS_URL", url, 1);
	setenv("PENSTOCK_INSTANCE", "edge-test", 1);
	setenv("PENSTOCK_EDGE_PORT", "0", 1);
	setenv("PENSTOCK_EDGE_REACTORS", "3", 1);
	setenv("PENSTOCK_EDGE_HTTP_THREADS", "2", 1);
	setenv("PENSTOCK_EDGE_DRAIN_MS", "500", 1);
	setenv("PENSTOCK_EDGE_DRAIN_SPREAD_MS", "500", 1);
	for (; settings && *settings; settings += 2)
		setenv(settings[0], settings[1], 1);
	ck_assert_msg(env_load("PENSTOCK_EDGE_", edge_settings, edge_n_settings, &conf, &err) == 0,
		      "%s", err.msg);
	ck_assert_int_eq(pthread_create(&edge_thread, NULL, run_edge, NULL), 0);
	ck_assert_msg(until(is_ready), "the edge does not become ready");
	no_complaint();
}

/* Asks it to stop and waits; ends everything. */
static void stop(void)
{
	edge_stop(atomic_load(&edge));
	sem_post(&may_free); /* not before the call above is through */
	pthread_join(edge_thread, NULL);
	plane_stop(&plane);
	bus_nats_shutdown();
	nats_server_remove(&nats);
	env_done(edge_settings, edge_n_settings, &conf);
	no_complaint();
}

/* --- clients ------------------------------------------------------------------------------ */

static bool say(struct wsclient *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool say(struct wsclient *c, const char *fmt, ...)
{
	struct strbuf b = {0};
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	strbuf_vaddf(&b, fmt, ap);
	va_end(ap);
	ok = wsclient_text(c, strbuf_str(&b));
	strbuf_done(&b);
	return ok;
}

static const char *text_of(const json_t *m, const char *name)
{
	const char *text = json_string_value(json_object_get(m, name));

	return text ? text : "";
}

static uint64_t number_of(const json_t *m, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(m, name));
}

/* The next message as JSON (owned), or NULL at the end or at the deadline. */
static json_t *hear(struct wsclient *c, int64_t wait_ms, unsigned *code)
{
	struct strbuf text = {0};
	json_t *m = NULL;
	enum ws_got got = wsclient_next(c, ws_now_ms() + wait_ms, &text, code);

	if (got == WS_GOT_TEXT) {
		m = json_loadb(text.data, text.len, 0, NULL);
		if (!m)
			complain("no JSON: %.*s", (int)text.len, text.data);
	}
	strbuf_done(&text);
	return m;
}

/* Reads on until a message with this op comes; counts events that come before. */
static json_t *hear_op(struct wsclient *c, const char *op, int *events)
{
	for (int64_t end = ws_now_ms() + WAIT_MS; ws_now_ms() < end;) {
		unsigned code = 0;
		json_t *m = hear(c, WAIT_MS, &code);

		if (!m)
			return NULL;
		if (!strcmp(text_of(m, "op"), op))
			return m;
		if (events && !strcmp(text_of(m, "op"), "event"))
			++*events;
		json_decref(m);
	}
	return NULL;
}

/* By the header or by the first frame. */
static bool come_in(struct wsclient *c, bool header, int rcvbuf)
{
	json_t *m;

	if (!wsclient_dial(c, atomic_load(&port), rcvbuf))
		return false;
	if (!wsclient_upgrade(c, header ? PLANE_TOKEN : NULL) ||
	    (!header && !say(c, "{\"op\":\"connect\",\"token\":\"" PLANE_TOKEN "\"}"))) {
		wsclient_done(c);
		return false;
	}
	m = hear_op(c, "connected", NULL);
	json_decref(m);
	if (!m)
		wsclient_done(c);
	return m != NULL;
}

/* --- listeners: every durable event once, in order, without a hole -------------------------- */

struct listener {
	pthread_t thread;
	_Atomic bool listening, level;
	uint64_t last[PLANE_CHANNELS];
	_Atomic int64_t n[PLANE_CHANNELS];
	bool drained;
	unsigned code;
};

static void on_event(struct listener *l, const json_t *m)
{
	uint64_t offset = number_of(m, "offset"), prev = number_of(m, "prev");
	int room;

	if (sscanf(text_of(m, "channel"), "room.%d", &room) != 1)
		return; /* ephemeral: may be lost, and has no offset */
	if (offset <= l->last[room])
		complain("room.%d: %ld after %ld", room, (long)offset, (long)l->last[room]);
	if (prev > l->last[room])
		complain("room.%d: a hole from %ld to %ld", room, (long)l->last[room], (long)prev);
	l->last[room] = offset;
	atomic_fetch_add(&l->n[room], 1);
}

static bool has_all(const struct listener *l)
{
	for (int i = 0; i < PLANE_CHANNELS; i++)
		if (atomic_load(&l->n[i]) != atomic_load(&plane.stored[i]))
			return false;
	return true;
}

static void *listen_on(void *arg)
{
	struct listener *l = arg;
	struct wsclient c;
	int64_t end = ws_now_ms() + WAIT_MS;

	if (!come_in(&c, true, 0)) {
		complain("a listener cannot come in");
		atomic_store(&l->listening, true);
		return NULL;
	}
	say(&c, "{\"op\":\"subscribe\",\"id\":9,\"channel\":\"eph.0\"}");
	for (int i = 0; i < PLANE_CHANNELS; i++) {
		json_t *m;

		say(&c, "{\"op\":\"subscribe\",\"id\":%d,\"channel\":\"room.%d\"}", i, i);
		m = hear_op(&c, "subscribed", NULL);
		if (!m)
			complain("a listener is not subscribed");
		json_decref(m);
	}
	json_decref(hear_op(&c, "subscribed", NULL)); /* the fourth of four */
	atomic_store(&l->listening, true);
	while (ws_now_ms() < end) {
		json_t *m = hear(&c, 50, &l->code);

		if (m && !strcmp(text_of(m, "op"), "event"))
			on_event(l, m);
		else if (m && !strcmp(text_of(m, "op"), "drain"))
			l->drained = true;
		json_decref(m);
		if (l->code)
			break;
		if (!m && atomic_load(&finish) && has_all(l))
			atomic_store(&l->level, true);
	}
	if (!atomic_load(&l->level))
		complain("a listener got %ld of %ld", (long)atomic_load(&l->n[0]),
			 (long)atomic_load(&plane.stored[0]));
	if (l->code)
		wsclient_close_frame(&c, l->code);
	wsclient_done(&c);
	return NULL;
}

static struct listener listeners[LISTENERS];

static bool all_listen(void)
{
	for (int i = 0; i < LISTENERS; i++)
		if (!atomic_load(&listeners[i].listening))
			return false;
	return true;
}

static bool all_level(void)
{
	for (int i = 0; i < LISTENERS; i++)
		if (!atomic_load(&listeners[i].level))
			return false;
	return true;
}

/* --- churners: come, talk and vanish ------------------------------------------------------- */

enum farewell { RESET, UNREAD, HALF_A_FRAME, CLOSE_FRAME, HALF_A_HANDSHAKE, NONSENSE, FAREWELLS };

static void vanish(struct wsclient *c, enum farewell how)
{
	struct strbuf text = {0};
	unsigned code = 0;

	switch (how) {
	case RESET:
		wsclient_reset(c);
		return;
	case HALF_A_FRAME:
		wsclient_raw(c, "\x81\xfe\x01\x00\x01\x02\x03\x04{\"op\"", 13);
		break;
	case CLOSE_FRAME:
		wsclient_close_frame(c, 1000);
		while (wsclient_next(c, ws_now_ms() + WAIT_MS, &text, &code) == WS_GOT_TEXT)
			;
		if (code != 1000)
			complain("the closing handshake ended with %u", code);
		break;
	case NONSENSE: /* waits to be thrown out */
		wsclient_raw(c, "\x81\x01x", 3);
		while (wsclient_next(c, ws_now_ms() + WAIT_MS, &text, &code) == WS_GOT_TEXT)
			;
		if (code != 1002)
			complain("a frame without a mask ended with %u", code);
		break;
	case UNREAD:
	case HALF_A_HANDSHAKE:
	case FAREWELLS:
		break;
	}
	strbuf_done(&text);
	wsclient_done(c);
}

static void one_visit(struct rng *rng, unsigned round)
{
	struct wsclient c;
	enum farewell how = (enum farewell)rng_below(rng, FAREWELLS);
	int room = (int)rng_below(rng, PLANE_CHANNELS), n = 1 + (int)rng_below(rng, 8);

	if (how == HALF_A_HANDSHAKE) {
		if (!wsclient_dial(&c, atomic_load(&port), 0))
			return;
		wsclient_raw(&c, "GET /v1/ws HTTP/1.1\r\nUpgrade: webs", 34);
		wsclient_done(&c);
		return;
	}
	if (!come_in(&c, rng_below(rng, 2), 0)) {
		complain("a client cannot come in");
		return;
	}
	/* From the beginning, from now on, or a task that nobody serves. */
	if (round % 3 == 0)
		say(&c,
		    "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"room.%d\",\"after\":{\"offset\":"
		    "0}}",
		    room);
	else if (round % 3 == 1)
		say(&c, "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"room.%d\"}", room);
	else
		say(&c, "{\"op\":\"task\",\"id\":1,\"pipeline\":\"p\",\"key\":\"k%u\",\"input\":1}",
		    round);
	for (int i = 0; i < n; i++) {
		say(&c,
		    "{\"op\":\"publish\",\"id\":\"p%d\",\"channel\":\"room.%d\",\"type\":\"note\","
		    "\"data\":{\"n\":%d}}",
		    i, room, i);
		say(&c,
		    "{\"op\":\"publish\",\"id\":\"e%d\",\"channel\":\"eph.0\",\"type\":\"note\","
		    "\"data\":{}}",
		    i);
	}
	if (rng_below(rng, 2)) { /* half of them wait for an answer */
		json_t *m = hear_op(&c, "accepted", NULL);

		if (!m)
			complain("a publish is not answered");
		json_decref(m);
	}
	vanish(&c, how);
}

static void *churn(void *arg)
{
	struct rng rng;

	rng_seed(&rng, 1 + (uint64_t)(uintptr_t)arg);
	for (unsigned i = 0; i < ROUNDS; i++)
		one_visit(&rng, i);
	return NULL;
}

static int64_t count_of(enum drop_reason reason)
{
	return metric_get(atomic_load(&edge)->stats.dropped[reason]);
}

static bool all_have_all(void)
{
	for (int i = 0; i < LISTENERS; i++)
		for (int room = 0; room < PLANE_CHANNELS; room++)
			if (atomic_load(&listeners[i].n[room]) != atomic_load(&plane.stored[room]))
				return false;
	return true;
}

/* So much at once that a reactor's mailbox overflows: the log has what is lost there, also where
 * no later event shows that one is missing. */
static void bursts(void)
{
	for (int round = 0; round < 200 && (round < 20 || !count_of(DROP_MAILBOX)); round++) {
		struct strbuf all = {0};
		struct wsclient c;

		for (int i = 0; i < 60 + round; i++)
			wsclient_add_text(&all, "{\"op\":\"publish\",\"id\":1,\"channel\":"
						"\"room.0\",\"type\":\"note\",\"data\":1}");
		ck_assert(come_in(&c, true, 0));
		ck_assert(wsclient_raw(&c, all.data, all.len));
		strbuf_done(&all);
		for (int i = 0; i < 60 + round; i++) {
			json_t *m = hear_op(&c, "accepted", NULL);

			ck_assert(m);
			json_decref(m);
		}
		wsclient_done(&c);
		ck_assert_msg(until(all_have_all), "not everybody got everything of round %d",
			      round);
	}
	ck_assert_int_gt(count_of(DROP_MAILBOX), 0);
}

START_TEST(clients_come_and_go)
{
	/* Small enough that the paths for what does not fit are taken, too. */
	static const char *const small[] = {"PENSTOCK_EDGE_MAILBOX",
					    "16",
					    "PENSTOCK_EDGE_LINGER_MS",
					    "20",
					    "PENSTOCK_EDGE_DRAIN_MS",
					    "1000",
					    "PENSTOCK_EDGE_PING_MS",
					    "3000",
					    "PENSTOCK_EDGE_PONG_MS",
					    "2999",
					    "PENSTOCK_EDGE_COMMAND_MS",
					    "30000",
					    NULL};
	pthread_t churners[CHURNERS];

	start(small);
	for (int i = 0; i < LISTENERS; i++)
		pthread_create(&listeners[i].thread, NULL, listen_on, &listeners[i]);
	ck_assert(until(all_listen));
	for (uintptr_t i = 0; i < CHURNERS; i++)
		pthread_create(&churners[i], NULL, churn, (void *)i);
	for (int i = 0; i < CHURNERS; i++)
		pthread_join(churners[i], NULL);
	ck_assert_msg(until(nothing_in_flight), "commands are never answered");
	bursts();
	atomic_store(&finish, true);
	bool level = until(all_level);
	no_complaint();
	ck_assert_msg(level, "not everybody got everything");
	for (int i = 0; i < PLANE_CHANNELS; i++)
		ck_assert_int_gt(atomic_load(&plane.stored[i]), 0);
	stop();
	for (int i = 0; i < LISTENERS; i++) {
		pthread_join(listeners[i].thread, NULL);
		ck_assert(listeners[i].drained);
		ck_assert_uint_eq(listeners[i].code, CLOSE_DRAIN);
	}
	no_complaint();
}
END_TEST

/* --- the direct road: everybody hears the same order ---------------------------------------- */

#define TALKERS 4
#define PULSES  200

struct hearer {
	pthread_t thread;
	_Atomic bool subscribed;
	int n, order[TALKERS * PULSES], next[TALKERS];
};

static void *hear_pulses(void *arg)
{
	struct hearer *h = arg;
	struct wsclient c;
	unsigned code = 0;
	json_t *m;

	if (!come_in(&c, true, 0)) {
		complain("a hearer cannot come in");
		return NULL;
	}
	say(&c, "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"eph.order\"}");
	json_decref(hear_op(&c, "subscribed", NULL));
	atomic_store(&h->subscribed, true);
	while (h->n < TALKERS * PULSES && (m = hear(&c, WAIT_MS, &code))) {
		if (!strcmp(text_of(m, "op"), "event")) {
			int number = (int)number_of(m, "data"), talker = number / PULSES;

			if (talker >= TALKERS || number % PULSES != h->next[talker]++)
				complain("pulse %d out of its order", number);
			h->order[h->n++] = number;
		}
		json_decref(m);
	}
	wsclient_done(&c);
	return NULL;
}

/* One at a time: the next may go the road at once when the last one did. */
static void *pulse(void *arg)
{
	struct wsclient c;

	if (!come_in(&c, true, 0)) {
		complain("a talker cannot come in");
		return NULL;
	}
	for (int i = 0; i < PULSES; i++) {
		json_t *m;

		say(&c,
		    "{\"op\":\"publish\",\"id\":1,\"channel\":\"eph.order\",\"type\":\"pulse\","
		    "\"data\":%d}",
		    (int)(uintptr_t)arg * PULSES + i);
		m = hear_op(&c, "accepted", NULL);
		if (!m)
			complain("a pulse is not answered");
		json_decref(m);
	}
	wsclient_done(&c);
	return NULL;
}

/* Subscribes and vanishes, again and again: whoever writes to it finds it gone. */
static void *visit(void *arg)
{
	(void)arg;
	while (!atomic_load(&finish)) {
		struct wsclient c;

		if (!come_in(&c, true, 0)) {
			complain("a visitor cannot come in");
			return NULL;
		}
		say(&c, "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"eph.order\"}");
		json_decref(hear_op(&c, "event", NULL));
		wsclient_reset(&c);
	}
	return NULL;
}

static struct hearer hearers[LISTENERS];

static bool all_hear(void)
{
	for (int i = 0; i < LISTENERS; i++)
		if (!atomic_load(&hearers[i].subscribed))
			return false;
	return true;
}

START_TEST(the_direct_road_has_one_order)
{
	pthread_t talkers[TALKERS], visitor;
	struct stats *stats;

	start(NULL);
	stats = &atomic_load(&edge)->stats;
	for (int i = 0; i < LISTENERS; i++)
		pthread_create(&hearers[i].thread, NULL, hear_pulses, &hearers[i]);
	ck_assert(until(all_hear));
	pthread_create(&visitor, NULL, visit, NULL);
	for (uintptr_t i = 0; i < TALKERS; i++)
		pthread_create(&talkers[i], NULL, pulse, (void *)i);
	for (int i = 0; i < TALKERS; i++)
		pthread_join(talkers[i], NULL);
	for (int i = 0; i < LISTENERS; i++)
		pthread_join(hearers[i].thread, NULL);
	atomic_store(&finish, true);
	for (int i = 0; i < LISTENERS; i++) {
		ck_assert_int_eq(hearers[i].n, TALKERS * PULSES);
		ck_assert_mem_eq(hearers[i].order, hearers[0].order, sizeof(hearers[0].order));
	}
	ck_assert_int_gt(metric_get(stats->direct), TALKERS * PULSES / 2);
	ck_assert_int_gt(metric_get(stats->lent), 0);
	stop();
	pthread_join(visitor, NULL);
	no_complaint();
}
END_TEST

/* --- stop in the middle of it ---------------------------------------------------------------- */

static _Atomic int talking;

static void *talk_until_the_end(void *arg)
{
	struct wsclient c;
	bool told = false;

	while (come_in(&c, true, 0)) {
		unsigned code = 0;

		if (!told)
			atomic_fetch_add(&talking, 1);
		told = true;
		say(&c, "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"room.%d\"}",
		    (int)((uintptr_t)arg % PLANE_CHANNELS));
		for (int i = 0; i < 20 && !code; i++) {
			if (!say(&c,
				 "{\"op\":\"publish\",\"id\":1,\"channel\":\"room.%d\",\"type\":"
				 "\"note\",\"data\":1}",
				 (int)((uintptr_t)arg % PLANE_CHANNELS)))
				break;
			json_decref(hear(&c, 20, &code));
		}
		wsclient_done(&c);
	}
	return NULL;
}

static bool all_talk(void)
{
	return atomic_load(&talking) == CHURNERS;
}

START_TEST(stops_amid_the_traffic)
{
	static const char *const quick[] = {"PENSTOCK_EDGE_DRAIN_MS", "200", NULL};
	pthread_t threads[CHURNERS];
	int64_t began;

	start(quick);
	for (uintptr_t i = 0; i < CHURNERS; i++)
		pthread_create(&threads[i], NULL, talk_until_the_end, (void *)i);
	ck_assert(until(all_talk));
	began = ws_now_ms();
	stop();
	ck_assert_int_lt(ws_now_ms() - began, 10000);
	for (int i = 0; i < CHURNERS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* --- too slow -------------------------------------------------------------------------------- */

static bool slow_is_closed(void)
{
	return metric_get(atomic_load(&edge)->stats.closed[CLOSED_4102]) == 1;
}

static char *large_publish(const char *channel)
{
	struct strbuf b = {0};

	strbuf_addf(&b,
		    "{\"op\":\"publish\",\"id\":1,\"channel\":\"%s\",\"type\":\"note\",\"data\":\"",
		    channel);
	for (int i = 0; i < 16000; i++)
		strbuf_addc(&b, 'x');
	strbuf_adds(&b, "\"}");
	return strbuf_detach(&b, NULL);
}

/* Publishes and waits for the answer, so that it is the slow one that is behind. */
static void publish_large(struct wsclient *c, const char *text)
{
	json_t *m;

	ck_assert(wsclient_text(c, text));
	m = hear_op(c, "accepted", NULL);
	ck_assert(m);
	json_decref(m);
}

static int64_t spilled(void)
{
	return metric_get(atomic_load(&edge)->stats.spilled);
}

static bool nothing_waits(void)
{
	return metric_get(atomic_load(&edge)->stats.out_bytes) == 0;
}

static void follow(struct wsclient *c, const char *channel)
{
	json_t *m;

	say(c, "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"%s\"}", channel);
	m = hear_op(c, "subscribed", NULL);
	ck_assert(m);
	json_decref(m);
}

/* Publishes until the slow one's events are spilled, and then some more. */
static int publish_until_spilled(struct wsclient *c, const char *text)
{
	int64_t before = spilled();
	int n = 0;

	for (; n < 2000 && spilled() < before + 100; n++)
		publish_large(c, text);
	ck_assert_int_ge(spilled(), before + 100);
	return n;
}

/* Reads n events of room.0: each once and in order, and what was spilled behind a gap frame that
 * says from where to where. */
static void reads_all(struct wsclient *c, int n)
{
	uint64_t last = 0, to = 0;
	unsigned code = 0;

	while (n) {
		json_t *m = hear(c, WAIT_MS, &code);

		ck_assert_msg(m, "closed with %u, %d to come", code, n);
		if (!strcmp(text_of(m, "op"), "gap")) {
			ck_assert_str_eq(text_of(m, "reason"), "slow_consumer");
			ck_assert(json_is_true(json_object_get(m, "replayable")));
			ck_assert_uint_eq(number_of(m, "from"), last + 1);
			to = number_of(m, "to");
			ck_assert_uint_gt(to, last);
		} else if (!strcmp(text_of(m, "channel"), "room.0")) {
			ck_assert_uint_gt(number_of(m, "offset"), last);
			ck_assert(!last || number_of(m, "prev") == last);
			last = number_of(m, "offset");
			n--;
		}
		json_decref(m);
	}
	ck_assert_uint_gt(to, 0);
	ck_assert_uint_ge(last, to);
}

START_TEST(a_slow_socket_is_spilled)
{
	static const char *const small[] = {"PENSTOCK_EDGE_DRAIN_MS", "100", NULL};
	struct wsclient slow, fast;
	char *ephemeral = large_publish("eph.0"), *durable = large_publish("room.0");
	int n;

	start(small);
	ck_assert(come_in(&slow, true, 4096) && come_in(&fast, true, 0));
	follow(&slow, "room.0");
	follow(&slow, "eph.0");
	/* Ephemeral events are dropped and counted; the socket stays. */
	for (int i = 0; i < 2000 && !count_of(DROP_SLOW); i++)
		publish_large(&fast, ephemeral);
	ck_assert_int_gt(count_of(DROP_SLOW), 0);
	n = publish_until_spilled(&fast, durable);
	ck_assert_int_le(metric_get(atomic_load(&edge)->stats.out_bytes), 256 << 10);
	/* It reads again: all of them; and then it is live. */
	reads_all(&slow, n);
	ck_assert(until(nothing_waits));
	publish_large(&fast, durable);
	json_decref(hear_op(&slow, "event", NULL));
	/* And once more. */
	n = publish_until_spilled(&fast, durable);
	reads_all(&slow, n);
	ck_assert_int_eq(metric_get(atomic_load(&edge)->stats.spills), 2);
	ck_assert(!slow_is_closed());
	wsclient_done(&slow);
	wsclient_done(&fast);
	free(ephemeral);
	free(durable);
	stop();
}
END_TEST

START_TEST(a_socket_that_takes_nothing_is_cut_off)
{
	static const char *const quick[] = {"PENSTOCK_EDGE_SLOW_MS",
					    "500",
					    "PENSTOCK_EDGE_PING_MS",
					    "300",
					    "PENSTOCK_EDGE_PONG_MS",
					    "200",
					    "PENSTOCK_EDGE_DRAIN_MS",
					    "100",
					    NULL};
	struct wsclient slow, fast;
	char *durable = large_publish("room.0");
	unsigned code = 0;
	int events = 0;

	start(quick);
	ck_assert(come_in(&slow, true, 4096) && come_in(&fast, true, 0));
	follow(&slow, "room.0");
	publish_until_spilled(&fast, durable);
	for (int64_t end = ws_now_ms() + WAIT_MS; ws_now_ms() < end;) {
		/* The other one goes on: no ping of it stays without a pong. */
		json_decref(hear(&fast, 20, &code));
		if (metric_get(atomic_load(&edge)->stats.slow_closed[SLOW_IDLE]))
			break;
	}
	ck_assert_uint_eq(code, 0);
	/* What had begun to go out, then the close. */
	for (json_t *m; (m = hear(&slow, WAIT_MS, &code)); json_decref(m))
		events += !strcmp(text_of(m, "op"), "event");
	ck_assert_uint_eq(code, CLOSE_SLOW);
	ck_assert_int_gt(events, 0);
	wsclient_close_frame(&slow, CLOSE_SLOW);
	ck_assert(until(slow_is_closed));
	ck_assert(until(nothing_waits));
	wsclient_done(&slow);
	wsclient_done(&fast);
	free(durable);
	stop();
}
END_TEST

RUN_TESTS("edge: threads", clients_come_and_go, the_direct_road_has_one_order,
	  stops_amid_the_traffic, a_slow_socket_is_spilled, a_socket_that_takes_nothing_is_cut_off)
