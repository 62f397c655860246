#include "tests/sim/subscriber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/names.h"
#include "common/ws.h"
#include "services/edge/reactor.h"
#include "tests/sim/cluster.h"

#define READ_MAX 2048
#define PAUSE_US INT64_C(8000000)

static int64_t some_us(struct subscriber *s, uint64_t most_us)
{
	return 1 + (int64_t)rng_below(&s->cluster->rng, most_us);
}

/* --- out ------------------------------------------------------------------------------------- */

static void send_frame(struct subscriber *s, enum ws_opcode opcode, const void *data, size_t len)
{
	uint8_t frame[1024] = {(uint8_t)(0x80 | opcode)};
	size_t n = 2;

	/* Masked as a client's must be; with zeros, which change nothing. */
	if (len < 126) {
		frame[1] = (uint8_t)(0x80 | len);
	} else {
		frame[1] = 0x80 | 126;
		frame[2] = (uint8_t)(len >> 8);
		frame[3] = (uint8_t)len;
		n = 4;
	}
	n += 4;
	if (s->fd < 0 || len > sizeof(frame) - n)
		return;
	memcpy(frame + n, data, len);
	loop_sim_touch(s->cluster->loop);
	if (send(s->fd, frame, n + len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)(n + len))
		subscriber_lost(s);
}

void subscriber_say(struct subscriber *s, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);

	json_decref(message);
	send_frame(s, WS_TEXT, text, strlen(text));
	free(text);
}

/* --- the connection -------------------------------------------------------------------------- */

static void again(struct subscriber *s, int64_t most_us)
{
	timer_set(s->cluster->loop, &s->timer, some_us(s, (uint64_t)most_us));
}

/* For so long at most; now and then until what it wants is not kept any more. */
static int64_t away_us(struct cluster *c)
{
	return c->trims && !c->healed && rng_below(&c->rng, 4) == 0 ? 2 * PAUSE_US : 500000;
}

void subscriber_lost(struct subscriber *s)
{
	if (s->fd < 0)
		return;
	close(s->fd);
	loop_sim_touch(s->cluster->loop);
	s->fd = -1;
	s->node = NULL;
	s->open = s->subscribed = s->leaving = s->resuming = false;
	strbuf_reset(&s->in);
	again(s, away_us(s->cluster));
}

static struct node *some_edge(struct cluster *c)
{
	size_t first = rng_below(&c->rng, SIM_EDGES);

	for (size_t i = 0; i < SIM_EDGES; i++) {
		struct node *n = &c->nodes[SIM_NODES - SIM_EDGES + (first + i) % SIM_EDGES];

		if (n->up && n->edge && atomic_load(&n->edge->serving) &&
		    !atomic_load(&n->edge->draining))
			return n;
	}
	return NULL;
}

static void connect_somewhere(struct subscriber *s)
{
	struct node *n = some_edge(s->cluster);
	int pair[2], small = 4096;

	if (!n || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair)) {
		again(s, 500000);
		return;
	}
	(void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	s->fd = pair[0];
	s->lives++;
	s->node = n;
	cluster_note(s->cluster, "subscriber %d comes to node %d from %llu", s->number, n->number,
		     (unsigned long long)s->pos);
	atomic_fetch_add(&n->edge->connections, 1);
	reactor_accept(n->edge->reactors[0], &(struct newcomer){.fd = pair[1]});
	s->resuming = s->resume != NULL;
	if (s->resume)
		subscriber_say(s, json_pack("{s:s,s:s}", "op", "connect", "resume", s->resume));
	else
		subscriber_say(s, json_pack("{s:s,s:s++}", "op", "connect", "token", "pk_",
					    s->tenant, "_secret"));
	again(s, 20000);
}

/* --- in -------------------------------------------------------------------------------------- */

static const char *text(const json_t *frame, const char *name)
{
	const char *t = json_string_value(json_object_get(frame, name));

	return t ? t : "";
}

static uint64_t number(const json_t *frame, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(frame, name));
}

static void keep_token(struct subscriber *s, const json_t *frame)
{
	free(s->resume);
	s->resume = xstrdup(text(frame, "resume"));
}

static void on_connected(struct subscriber *s, const json_t *frame)
{
	json_t *ask =
	    json_pack("{s:s,s:s,s:s}", "op", "subscribe", "id", "s", "channel", s->channel);
	json_t *after = json_pack("{s:I}", "offset", (json_int_t)s->pos);

	if (s->epoch[0])
		json_object_set_new(after, "epoch", json_string(s->epoch));
	json_object_set_new(ask, "after", after);
	if (!*text(frame, "session") || s->resuming != !strcmp(s->session, text(frame, "session")))
		cluster_fail(s->cluster, "subscriber %d, of session %s, %s session %s", s->number,
			     s->session, s->resuming ? "resumed" : "began", text(frame, "session"));
	snprintf(s->session, sizeof(s->session), "%s", text(frame, "session"));
	s->cluster->resumes += s->resuming;
	s->open = true;
	s->open_us = loop_now_us(s->cluster->loop);
	keep_token(s, frame);
	subscriber_say(s, ask);
}

static void on_subscribed(struct subscriber *s, const json_t *frame)
{
	s->recovered = json_is_true(json_object_get(frame, "recovered"));
	if (!s->recovered && !s->cluster->trims)
		cluster_fail(s->cluster, "subscriber %d at %llu was not recovered", s->number,
			     (unsigned long long)s->pos);
	s->subscribed = true;
	snprintf(s->epoch, sizeof(s->epoch), "%s", text(frame, "epoch"));
}

/* All of its channel that was there is not kept any more. */
static void lose(struct subscriber *s, uint64_t from, uint64_t to)
{
	const struct memdb *db = &s->cluster->db;

	for (size_t i = 0; i < db->n; i++) {
		const struct memdb_row *row = &db->rows[i];

		if (row->seq < from || row->seq > to || strcmp(row->channel, s->channel) != 0 ||
		    strcmp(row->tenant, s->tenant) != 0)
			continue;
		s->cluster->expired += from > 0;
		if (row->seq >= db->kept_from)
			cluster_fail(s->cluster, "subscriber %d lost %llu, which is kept",
				     s->number, (unsigned long long)row->seq);
	}
	s->lost = xrealloc(s->lost, (s->n_lost + 1) * sizeof(*s->lost));
	s->lost[s->n_lost++] = (struct lost){from, to};
	s->pos = to;
}

static void on_event(struct subscriber *s, const json_t *frame)
{
	uint64_t offset = number(frame, "offset");

	if (!strcmp(text(frame, "type"), "pulse")) {
		pulse_came(s, frame);
		return;
	}
	if (!s->pos && s->cluster->trims)
		lose(s, 0, offset - 1); /* "from the earliest kept" */
	if (offset <= s->pos || !s->recovered ||
	    (number(frame, "prev") > s->pos && !s->cluster->trims)) {
		cluster_fail(s->cluster, "subscriber %d at %llu got %llu with prev %llu", s->number,
			     (unsigned long long)s->pos, (unsigned long long)offset,
			     (unsigned long long)number(frame, "prev"));
		return;
	}
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 16;
		s->seen = xrealloc(s->seen, s->cap * sizeof(*s->seen));
	}
	s->seen[s->n++] = s->pos = offset;
	if (rng_below(&s->cluster->rng, 4) == 0)
		subscriber_say(s, json_pack("{s:s,s:s,s:I}", "op", "ack", "channel", s->channel,
					    "offset", (json_int_t)offset));
}

/* What has expired is nowhere any more. What is announced as late comes by itself; what the edge
 * gave up is to be asked for again. */
static void on_gap(struct subscriber *s, const json_t *frame)
{
	const char *reason = text(frame, "reason");
	uint64_t from = number(frame, "from"), to = number(frame, "to");

	s->cluster->gaps++;
	s->recovered = true;
	/* Where nothing of the channel is, the edge's position may be ahead. */
	if (from <= s->pos || to < from || (from > s->pos + 1 && !s->cluster->trims))
		cluster_fail(s->cluster,
			     "subscriber %d at %llu was told of a gap from %llu to %llu", s->number,
			     (unsigned long long)s->pos, (unsigned long long)from,
			     (unsigned long long)to);
	else if (!strcmp(reason, "expired") && json_is_false(json_object_get(frame, "replayable")))
		lose(s, s->pos ? from : 0, to); /* from 0: "the earliest kept" */
	else if (!json_is_true(json_object_get(frame, "replayable")))
		cluster_fail(s->cluster, "subscriber %d was told of a loss from %llu (%s)",
			     s->number, (unsigned long long)from, reason);
	else if (strcmp(reason, "missed") == 0)
		subscriber_lost(s);
}

static void on_drain(struct subscriber *s, const json_t *frame)
{
	bool all = timer_armed(&s->node->leave), moves = !strcmp(s->tenant, s->cluster->mover);

	if (!all && !moves)
		cluster_fail(s->cluster, "subscriber %d was told to go: %s", s->number,
			     text(frame, "reason"));
	s->leaving = true;
	s->stays = rng_below(&s->cluster->rng, 2) == 0;
}

/* It read nothing for a while not long ago. */
static bool was_asleep(const struct subscriber *s)
{
	return s->slow_us && loop_now_us(s->cluster->loop) - s->slow_us <= 2 * PAUSE_US;
}

/* An edge that goes says so first, though what it says is lost with the rest of a queue that nobody
 * reads; else it closes nobody but who is slow or does not answer. */
static void on_close(struct subscriber *s, const char *data, size_t len)
{
	const uint8_t *code = (const uint8_t *)data;
	unsigned said = len < 2 ? 0 : code[0] << 8U | code[1];

	if (said == 4200 && s->open && !s->leaving && !was_asleep(s))
		cluster_fail(s->cluster, "subscriber %d was closed without notice", s->number);
	else if (said == 4200)
		s->cluster->moves++;
	else if ((said != 4102 && said != 4103 && said != 4300) ||
		 (s->leaving && !(said == 4102 && was_asleep(s))))
		cluster_fail(s->cluster, "subscriber %d was closed with %u%s", s->number, said,
			     s->leaving ? " by an edge that drains" : "");
	subscriber_lost(s);
}

/* Away, down, cut off: temporary. What has expired begins anew with the token. */
static void on_error(struct subscriber *s, const json_t *frame)
{
	const char *code = text(frame, "code");

	if (*text(frame, "id") == 'p') {
		pulse_answered(s, frame, code);
		return;
	}
	if (strcmp(code, "expired") == 0) {
		free(s->resume);
		s->resume = NULL;
	} else if (strcmp(code, "unavailable") != 0 && strcmp(code, "overloaded") != 0) {
		cluster_fail(s->cluster, "subscriber %d got %s: %s", s->number, code,
			     text(frame, "message"));
	}
	subscriber_lost(s);
}

static void on_message(struct subscriber *s, const char *data, size_t len)
{
	json_t *frame = json_loadb(data, len, 0, NULL);
	const char *op = text(frame, "op");

	cluster_note(s->cluster, "subscriber %d at %llu: %.*s", s->number,
		     (unsigned long long)s->pos, (int)len, data);
	if (strcmp(op, "connected") == 0)
		on_connected(s, frame);
	else if (strcmp(op, "resume") == 0)
		keep_token(s, frame);
	else if (strcmp(op, "subscribed") == 0)
		on_subscribed(s, frame);
	else if (strcmp(op, "event") == 0)
		on_event(s, frame);
	else if (strcmp(op, "accepted") == 0)
		pulse_answered(s, frame, NULL);
	else if (strcmp(op, "gap") == 0)
		on_gap(s, frame);
	else if (strcmp(op, "drain") == 0)
		on_drain(s, frame);
	else if (strcmp(op, "error") == 0)
		on_error(s, frame);
	else
		cluster_fail(s->cluster, "subscriber %d got a frame %s", s->number, op);
	json_decref(frame);
}

/* The length of the first frame with its header; 0: not all of it is here. */
static size_t first_frame(const struct strbuf *in, size_t *header, size_t *len)
{
	const uint8_t *p = (const uint8_t *)in->data;

	if (in->len < 2)
		return 0;
	*header = p[1] < 126 ? 2 : p[1] == 126 ? 4 : 10;
	if (in->len < *header)
		return 0;
	*len = p[1] < 126 ? p[1] : 0;
	for (size_t i = 2; i < *header; i++)
		*len = *len << 8 | p[i];
	return in->len - *header >= *len ? *header + *len : 0;
}

static void take_frames(struct subscriber *s)
{
	size_t header, len, whole;

	while (s->fd >= 0 && !s->cluster->failure[0] &&
	       (whole = first_frame(&s->in, &header, &len))) {
		char *data = xmemdup(s->in.data + header, len ? len : 1);
		unsigned opcode = (uint8_t)s->in.data[0] & 15;

		strbuf_consume(&s->in, whole);
		if (opcode == WS_TEXT)
			on_message(s, data, len);
		else if (opcode == WS_PING)
			send_frame(s, WS_PONG, data, len);
		else
			on_close(s, data, len);
		free(data);
	}
}

/* --- its own pace ---------------------------------------------------------------------------- */

/* Its connection ended without a close frame: so does a crashed edge's, and one that has waited
 * long enough for a subscriber that reads nothing. */
static void on_end(struct subscriber *s)
{
	if (s->leaving && !was_asleep(s))
		cluster_fail(s->cluster, "subscriber %d was cut off by an edge that drains",
			     s->number);
	subscriber_lost(s);
}

/* Mostly quick; now and then it reads nothing for seconds, or is away without a word. */
static void read_on(struct subscriber *s, bool more)
{
	struct cluster *c = s->cluster;

	if (c->healed) {
		again(s, more ? 3000 : 100000);
		return;
	}
	if ((s->leaving && !s->stays) || rng_below(&c->rng, 400) == 0) {
		subscriber_lost(s);
		return;
	}
	if (rng_below(&c->rng, 60) == 0) {
		s->slow_us = loop_now_us(c->loop);
		again(s, PAUSE_US);
		return;
	}
	again(s, more ? 3000 : 100000);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct subscriber *s = arg;
	struct rng *rng = &s->cluster->rng;
	char piece[READ_MAX];
	ssize_t n;

	(void)timer;
	if (s->fd < 0) {
		connect_somewhere(s);
		return;
	}
	n = recv(s->fd, piece, s->cluster->healed ? sizeof(piece) : 1 + rng_below(rng, READ_MAX),
		 MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		on_end(s);
		return;
	}
	if (n > 0) {
		loop_sim_touch(s->cluster->loop);
		strbuf_add(&s->in, piece, (size_t)n);
	}
	take_frames(s);
	if (s->subscribed)
		pulse_beat(s);
	if (s->fd >= 0)
		read_on(s, n > 0);
}

bool subscriber_awake(const struct subscriber *s)
{
	return loop_now_us(s->cluster->loop) > s->slow_us + PAUSE_US + 1000000;
}

void subscriber_check_moved(struct subscriber *s, const struct node *edge)
{
	if (s->node == edge && s->open && !s->leaving && !strcmp(s->tenant, s->cluster->mover) &&
	    s->open_us < edge->drain_us && subscriber_awake(s))
		cluster_fail(s->cluster, "subscriber %d was not told that node %d is drained",
			     s->number, edge->number);
}

void subscriber_start(struct subscriber *s, struct cluster *c, int n)
{
	*s = (struct subscriber){.cluster = c, .number = n, .fd = -1};
	s->tenant = n % 2 ? "acme" : "globex";
	snprintf(s->channel, sizeof(s->channel), "room.%d", n / 2 % 2);
	timer_init(&s->timer, on_timer, s);
	again(s, 3000000);
}

void subscriber_stop(struct subscriber *s)
{
	timer_cancel(s->cluster->loop, &s->timer);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(s->resume);
	free(s->seen);
	free(s->pulses);
	free(s->lost);
	strbuf_done(&s->in);
}
