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

static void say(struct subscriber *s, json_t *message)
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

void subscriber_lost(struct subscriber *s)
{
	if (s->fd < 0)
		return;
	close(s->fd);
	loop_sim_touch(s->cluster->loop);
	s->fd = -1;
	s->node = NULL;
	s->open = s->leaving = s->resuming = false;
	strbuf_reset(&s->in);
	again(s, 500000);
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
	s->node = n;
	cluster_note(s->cluster, "subscriber %d comes to node %d from %llu", s->number, n->number,
		     (unsigned long long)s->pos);
	atomic_fetch_add(&n->edge->connections, 1);
	reactor_accept(n->edge->reactors[0], &(struct newcomer){.fd = pair[1]});
	s->resuming = s->resume != NULL;
	if (s->resume)
		say(s, json_pack("{s:s,s:s}", "op", "connect", "resume", s->resume));
	else
		say(s, json_pack("{s:s,s:s++}", "op", "connect", "token", "pk_", s->tenant,
				 "_secret"));
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
	keep_token(s, frame);
	say(s, ask);
}

static void on_subscribed(struct subscriber *s, const json_t *frame)
{
	if (!json_is_true(json_object_get(frame, "recovered")))
		cluster_fail(s->cluster, "subscriber %d at %llu was not recovered", s->number,
			     (unsigned long long)s->pos);
	snprintf(s->epoch, sizeof(s->epoch), "%s", text(frame, "epoch"));
}

static void on_event(struct subscriber *s, const json_t *frame)
{
	uint64_t offset = number(frame, "offset");

	if (offset <= s->pos || number(frame, "prev") > s->pos) {
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
		say(s, json_pack("{s:s,s:s,s:I}", "op", "ack", "channel", s->channel, "offset",
				 (json_int_t)offset));
}

/* Nothing is trimmed here, so nothing may be missing for good. What is announced as late comes by
 * itself; what the edge gave up is to be asked for again. */
static void on_gap(struct subscriber *s, const json_t *frame)
{
	const char *reason = text(frame, "reason");

	s->cluster->gaps++;
	if (!json_is_true(json_object_get(frame, "replayable")) ||
	    number(frame, "from") != s->pos + 1)
		cluster_fail(s->cluster, "subscriber %d at %llu was told of a loss from %llu (%s)",
			     s->number, (unsigned long long)s->pos,
			     (unsigned long long)number(frame, "from"), reason);
	else if (strcmp(reason, "missed") == 0)
		subscriber_lost(s);
}

static void on_drain(struct subscriber *s)
{
	s->leaving = true;
	s->stays = rng_below(&s->cluster->rng, 2) == 0;
}

/* An edge that goes says so first; else it closes nobody but who is slow or does not answer. */
static void on_close(struct subscriber *s, const char *data, size_t len)
{
	const uint8_t *code = (const uint8_t *)data;
	unsigned said = len < 2 ? 0 : code[0] << 8U | code[1];

	if (said == 4200 && s->open && !s->leaving)
		cluster_fail(s->cluster, "subscriber %d was closed without notice", s->number);
	else if (said == 4200)
		s->cluster->moves++;
	else if (s->leaving || (said != 4102 && said != 4103 && said != 4300))
		cluster_fail(s->cluster, "subscriber %d was closed with %u%s", s->number, said,
			     s->leaving ? " by an edge that drains" : "");
	subscriber_lost(s);
}

/* Away, down, cut off: temporary. What has expired begins anew with the token. */
static void on_error(struct subscriber *s, const json_t *frame)
{
	const char *code = text(frame, "code");

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

	if (strcmp(op, "connected") == 0)
		on_connected(s, frame);
	else if (strcmp(op, "resume") == 0)
		keep_token(s, frame);
	else if (strcmp(op, "subscribed") == 0)
		on_subscribed(s, frame);
	else if (strcmp(op, "event") == 0)
		on_event(s, frame);
	else if (strcmp(op, "gap") == 0)
		on_gap(s, frame);
	else if (strcmp(op, "drain") == 0)
		on_drain(s);
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
	if (s->leaving && loop_now_us(s->cluster->loop) - s->slow_us > 2 * PAUSE_US)
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
	if (s->fd >= 0)
		read_on(s, n > 0);
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
	strbuf_done(&s->in);
}
