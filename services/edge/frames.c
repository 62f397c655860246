#include "services/edge/frames.h"

#include <assert.h>

#include "common/ids.h"
#include "common/pbwire.h"
#include "services/edge/jscan.h"

#define LIT(b, text) strbuf_add((b), (text), sizeof(text) - 1)

/* The oneof of ServerFrame in proto/client.proto. */
enum server_op {
	SERVER_CONNECTED = 2,
	SERVER_SUBSCRIBED = 3,
	SERVER_UNSUBSCRIBED = 4,
	SERVER_EVENT = 5,
	SERVER_DELTA = 6,
	SERVER_RESET = 7,
	SERVER_ACCEPTED = 8,
	SERVER_GAP = 9,
	SERVER_DRAIN = 10,
	SERVER_ERROR = 11,
	SERVER_PONG = 12,
	SERVER_RESUME = 13,
};

#define EVENT_DATA 9 /* Event.data */

/* --- one member in both encodings --------------------------------------------------------- */

/* number: of the field in proto/client.proto. What is its default value there is not written in
 * protobuf, in JSON every member is. */
#define MEMBER(kind, out, number, name, value)                                                     \
	add_##kind((out), (number), ",\"" name "\":", sizeof(name) + 3, (value))

static void digits(struct strbuf *b, uint64_t v)
{
	char text[20];
	size_t i = sizeof(text);

	do
		text[--i] = (char)('0' + v % 10);
	while (v /= 10);
	strbuf_add(b, text + i, sizeof(text) - i);
}

static void add_u64(struct frame_buf *out, unsigned number, const char *key, size_t len, uint64_t v)
{
	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_u64(&out->b, number, v);
		return;
	}
	strbuf_add(&out->b, key, len);
	digits(&out->b, v);
}

static void add_bool(struct frame_buf *out, unsigned number, const char *key, size_t len, bool v)
{
	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_u64(&out->b, number, v);
		return;
	}
	strbuf_add(&out->b, key, len);
	strbuf_adds(&out->b, v ? "true" : "false");
}

static void add_slice(struct frame_buf *out, unsigned number, const char *key, size_t len,
		      struct slice s)
{
	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_bytes(&out->b, number, s.p, s.len);
		return;
	}
	strbuf_add(&out->b, key, len);
	strbuf_add_jsonn(&out->b, s.len ? s.p : "", s.len);
}

static void add_text(struct frame_buf *out, unsigned number, const char *key, size_t len,
		     const char *text)
{
	add_slice(out, number, key, len, slice_of(text ? text : ""));
}

/* BEGIN … members … end() */
#define BEGIN(out, op, id) begin((out), "{\"op\":\"" op "\"", sizeof(op) + 7, (id))

static void begin(struct frame_buf *out, const char *op, size_t len, const char *id)
{
	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_bytes(&out->b, 1, id, id ? strlen(id) : 0);
		out->body = out->b.len;
		return;
	}
	strbuf_add(&out->b, op, len);
	if (id && *id) {
		LIT(&out->b, ",\"id\":");
		strbuf_adds(&out->b, id);
	}
}

static void end(struct frame_buf *out, enum server_op op)
{
	if (out->encoding == ENCODING_PROTOBUF)
		pb_wrap(&out->b, out->body, op, 0);
	else
		strbuf_addc(&out->b, '}');
}

/* --- frames ------------------------------------------------------------------------------- */

static void add_limits(struct frame_buf *out, const struct frame_limits *l)
{
	struct strbuf *b = &out->b;
	size_t at = b->len;

	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_u64(b, 1, (uint64_t)l->frame_bytes);
		pb_add_u64(b, 2, (uint64_t)l->task_bytes);
		pb_add_u64(b, 3, (uint64_t)l->subscriptions);
		pb_add_u64(b, 4, (uint64_t)l->in_flight);
		pb_wrap(b, at, 7, 0);
		return;
	}
	strbuf_addf(
	    b,
	    ",\"limits\":{\"frame_bytes\":%lld,\"task_input_bytes\":%lld,\"subscriptions\":%lld,"
	    "\"commands_in_flight\":%lld}",
	    (long long)l->frame_bytes, (long long)l->task_bytes, (long long)l->subscriptions,
	    (long long)l->in_flight);
}

void frames_connected(struct frame_buf *out, const struct frame_connected *f)
{
	BEGIN(out, "connected", NULL);
	MEMBER(text, out, 1, "session", f->session);
	MEMBER(text, out, 2, "tenant", f->tenant);
	MEMBER(text, out, 3, "edge", f->edge);
	MEMBER(text, out, 4, "resume", f->resume);
	MEMBER(u64, out, 5, "resume_ttl_ms", (uint64_t)f->resume_ttl_ms);
	MEMBER(u64, out, 6, "ping_ms", (uint64_t)f->ping_ms);
	add_limits(out, &f->limits);
	end(out, SERVER_CONNECTED);
}

void frames_resume(struct frame_buf *out, const char *token, int64_t ttl_ms)
{
	BEGIN(out, "resume", NULL);
	MEMBER(text, out, 1, "resume", token);
	MEMBER(u64, out, 2, "resume_ttl_ms", (uint64_t)ttl_ms);
	end(out, SERVER_RESUME);
}

void frames_subscribed(struct frame_buf *out, const char *id, const char *channel,
		       const char *epoch, uint64_t offset, bool recovered)
{
	BEGIN(out, "subscribed", id);
	MEMBER(text, out, 1, "channel", channel);
	MEMBER(text, out, 2, "epoch", epoch);
	MEMBER(u64, out, 3, "offset", offset);
	MEMBER(bool, out, 4, "recovered", recovered);
	end(out, SERVER_SUBSCRIBED);
}

void frames_unsubscribed(struct frame_buf *out, const char *id, const char *channel)
{
	BEGIN(out, "unsubscribed", id);
	MEMBER(text, out, 1, "channel", channel);
	end(out, SERVER_UNSUBSCRIBED);
}

/* Data is what is long: nothing is moved once it is written. */
static void end_event(struct frame_buf *out, struct slice data)
{
	static const char null[] = "null";

	if (!data.len)
		data = (struct slice){null, sizeof(null) - 1};
	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_head(&out->b, EVENT_DATA, data.len);
		pb_wrap(&out->b, out->body, SERVER_EVENT, data.len);
		strbuf_add(&out->b, data.p, data.len);
	} else {
		LIT(&out->b, ",\"data\":");
		strbuf_add(&out->b, data.p, data.len);
		strbuf_addc(&out->b, '}');
	}
}

void frames_event(struct frame_buf *out, const struct event_view *e, bool durable, uint64_t offset,
		  uint64_t prev)
{
	char time[TIME_LEN + 1];

	time_format(e->time_us, time);
	strbuf_reserve(&out->b, e->data.len + 512);
	BEGIN(out, "event", NULL);
	MEMBER(slice, out, 1, "channel", e->channel);
	MEMBER(slice, out, 2, "type", e->type);
	MEMBER(u64, out, 3, "version", e->version);
	MEMBER(slice, out, 4, "event_id", e->id);
	MEMBER(slice, out, 5, "time", ((struct slice){time, TIME_LEN}));
	MEMBER(slice, out, 6, "trace", e->trace);
	if (durable) {
		MEMBER(u64, out, 7, "offset", offset);
		MEMBER(u64, out, 8, "prev", prev);
	}
	if (e->replay.len)
		MEMBER(slice, out, 10, "replay", e->replay);
	end_event(out, e->data);
}

void frames_delta(struct frame_buf *out, const struct delta_view *d)
{
	if (d->reset)
		BEGIN(out, "reset", NULL);
	else
		BEGIN(out, "delta", NULL);
	MEMBER(slice, out, 1, "channel", d->channel);
	MEMBER(slice, out, 2, "task", d->task);
	MEMBER(slice, out, 3, "stage", d->stage);
	MEMBER(u64, out, 4, "attempt", d->attempt);
	if (!d->reset) {
		MEMBER(u64, out, 5, "index", d->index);
		MEMBER(slice, out, 6, "data", d->data);
	}
	end(out, d->reset ? SERVER_RESET : SERVER_DELTA);
}

static void add_accepted(struct frame_buf *out, const struct frame_accepted *f)
{
	MEMBER(text, out, 1, "event_id", f->event_id);
	MEMBER(text, out, 2, "channel", f->channel);
	MEMBER(u64, out, 3, "offset", f->offset);
	MEMBER(bool, out, 4, "duplicate", f->duplicate);
	if (f->task && *f->task)
		MEMBER(text, out, 5, "task", f->task);
}

void frames_accepted(struct frame_buf *out, const char *id, const struct frame_accepted *f)
{
	BEGIN(out, "accepted", id);
	add_accepted(out, f);
	end(out, SERVER_ACCEPTED);
}

void frames_accepted_body(struct strbuf *b, const struct frame_accepted *f)
{
	struct frame_buf out = {.b = *b, .encoding = ENCODING_JSON};
	size_t at = b->len;

	add_accepted(&out, f);
	out.b.data[at] = '{'; /* instead of the first comma */
	strbuf_addc(&out.b, '}');
	*b = out.b;
}

void frames_gap(struct frame_buf *out, const char *channel, uint64_t from, uint64_t to,
		const char *reason, bool replayable)
{
	BEGIN(out, "gap", NULL);
	MEMBER(text, out, 1, "channel", channel);
	MEMBER(u64, out, 2, "from", from);
	MEMBER(u64, out, 3, "to", to);
	MEMBER(text, out, 4, "reason", reason);
	MEMBER(bool, out, 5, "replayable", replayable);
	end(out, SERVER_GAP);
}

void frames_drain(struct frame_buf *out, const char *url, int64_t reconnect_after_ms,
		  int64_t deadline_ms, const char *reason)
{
	BEGIN(out, "drain", NULL);
	MEMBER(text, out, 1, "url", url);
	MEMBER(u64, out, 2, "reconnect_after_ms", (uint64_t)reconnect_after_ms);
	MEMBER(u64, out, 3, "deadline_ms", (uint64_t)deadline_ms);
	MEMBER(text, out, 4, "reason", reason);
	end(out, SERVER_DRAIN);
}

static void add_details(struct frame_buf *out, const char *limit)
{
	struct strbuf details = {0};

	LIT(&details, "{\"limit\":");
	strbuf_add_json(&details, limit);
	strbuf_addc(&details, '}');
	if (out->encoding == ENCODING_PROTOBUF) {
		pb_add_bytes(&out->b, 6, details.data, details.len);
	} else {
		LIT(&out->b, ",\"details\":");
		strbuf_add(&out->b, details.data, details.len);
	}
	strbuf_done(&details);
}

void frames_error(struct frame_buf *out, const char *id, const struct frame_error *f)
{
	BEGIN(out, "error", id);
	MEMBER(text, out, 1, "code", f->code);
	MEMBER(text, out, 2, "message", f->message);
	MEMBER(text, out, 3, "scope", f->scope && *f->scope ? f->scope : "connection");
	MEMBER(bool, out, 4, "temporary", f->temporary);
	if (f->retry_after_ms)
		MEMBER(u64, out, 5, "retry_after_ms", f->retry_after_ms);
	if (f->limit && *f->limit)
		add_details(out, f->limit);
	end(out, SERVER_ERROR);
}

void frames_pong(struct frame_buf *out, const char *id)
{
	BEGIN(out, "pong", id);
	end(out, SERVER_PONG);
}

/* --- from JSON to protobuf ---------------------------------------------------------------- */

#define MEMBERS_MAX 16

enum kind { TEXT, NUMBER };

struct known {
	const char *name;
	unsigned number;
	enum kind kind;
};

static const struct known event_members[] = {
    {"channel", 1, TEXT}, {"type", 2, TEXT},  {"version", 3, NUMBER}, {"event_id", 4, TEXT},
    {"time", 5, TEXT},    {"trace", 6, TEXT}, {"offset", 7, NUMBER},  {"prev", 8, NUMBER},
    {"replay", 10, TEXT}, {NULL, 0, TEXT}};
static const struct known delta_members[] = {
    {"channel", 1, TEXT}, {"task", 2, TEXT}, {"stage", 3, TEXT}, {"attempt", 4, NUMBER},
    {"index", 5, NUMBER}, {"data", 6, TEXT}, {NULL, 0, TEXT}};

static void add_known(struct frame_buf *out, const struct known *k, const struct jmember *m)
{
	struct slice text = {m->value.p + 1, m->value.len - 2};
	struct strbuf plain = {0};
	int64_t v;

	if (k->kind == NUMBER) {
		if (jscan_int(m, &v))
			pb_add_u64(&out->b, k->number, (uint64_t)v);
	} else if (!memchr(text.p, '\\', text.len)) {
		pb_add_bytes(&out->b, k->number, text.p, text.len);
	} else {
		jscan_unescape(&plain, text);
		pb_add_bytes(&out->b, k->number, plain.data, plain.len);
		strbuf_done(&plain);
	}
}

static void add_members(struct frame_buf *out, struct slice json, const struct known *known)
{
	struct jmember m[MEMBERS_MAX];
	struct error err;
	size_t n;

	/* A NUL in a delta's text is a complaint, but no obstacle. */
	if (jscan_object(json.p, json.len, m, MEMBERS_MAX, &n, &err))
		assert(n > 0);
	for (size_t i = 0; i < n; i++)
		for (const struct known *k = known; k->name; k++)
			if (slice_is(m[i].key, k->name))
				add_known(out, k, &m[i]);
}

static bool begins(struct slice s, const char *with)
{
	return s.len > strlen(with) && !memcmp(s.p, with, strlen(with));
}

/* All in front of the data is flat, and no string has an unescaped quote in it: the first match is
 * the member. */
static void from_event(struct frame_buf *out, struct slice json)
{
	static const char data[] = ",\"data\":";
	const char *at = memmem(json.p, json.len, data, sizeof(data) - 1);
	struct strbuf front = {0};

	assert(at);
	strbuf_add(&front, json.p, (size_t)(at - json.p));
	strbuf_addc(&front, '}');
	add_members(out, (struct slice){front.data, front.len}, event_members);
	strbuf_done(&front);
	at += sizeof(data) - 1;
	end_event(out, (struct slice){at, (size_t)(json.p + json.len - 1 - at)});
}

void frames_protobuf(struct frame_buf *out, struct slice json)
{
	bool reset = begins(json, "{\"op\":\"reset\"");

	out->encoding = ENCODING_PROTOBUF;
	strbuf_reserve(&out->b, json.len);
	begin(out, NULL, 0, NULL);
	if (begins(json, "{\"op\":\"event\"")) {
		from_event(out, json);
		return;
	}
	add_members(out, json, delta_members);
	end(out, reset ? SERVER_RESET : SERVER_DELTA);
}
