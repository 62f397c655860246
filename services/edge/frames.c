#include "services/edge/frames.h"

#include <stdio.h>

#include "common/ids.h"

#define LIT(b, text) strbuf_add((b), (text), sizeof(text) - 1)

static void add_u64(struct strbuf *b, uint64_t v)
{
	char text[20];
	size_t i = sizeof(text);

	do
		text[--i] = (char)('0' + v % 10);
	while (v /= 10);
	strbuf_add(b, text + i, sizeof(text) - i);
}

static void add_slice(struct strbuf *b, struct slice s)
{
	strbuf_add_jsonn(b, s.len ? s.p : "", s.len);
}

static void add_id(struct strbuf *b, const char *id)
{
	if (!id || !*id)
		return;
	LIT(b, ",\"id\":");
	strbuf_adds(b, id);
}

static void add_bool(struct strbuf *b, bool v)
{
	strbuf_adds(b, v ? "true" : "false");
}

void frames_connected(struct strbuf *b, const struct frame_connected *f)
{
	LIT(b, "{\"op\":\"connected\",\"session\":");
	strbuf_add_json(b, f->session);
	LIT(b, ",\"tenant\":");
	strbuf_add_json(b, f->tenant);
	LIT(b, ",\"edge\":");
	strbuf_add_json(b, f->edge);
	LIT(b, ",\"resume\":");
	strbuf_add_json(b, f->resume);
	strbuf_addf(b, ",\"resume_ttl_ms\":%lld,\"ping_ms\":%lld", (long long)f->resume_ttl_ms,
		    (long long)f->ping_ms);
	strbuf_addf(
	    b,
	    ",\"limits\":{\"frame_bytes\":%lld,\"task_input_bytes\":%lld,\"subscriptions\":%lld,"
	    "\"commands_in_flight\":%lld}}",
	    (long long)f->limits.frame_bytes, (long long)f->limits.task_bytes,
	    (long long)f->limits.subscriptions, (long long)f->limits.in_flight);
}

void frames_subscribed(struct strbuf *b, const char *id, const char *channel, const char *epoch,
		       uint64_t offset, bool recovered)
{
	LIT(b, "{\"op\":\"subscribed\"");
	add_id(b, id);
	LIT(b, ",\"channel\":");
	strbuf_add_json(b, channel);
	LIT(b, ",\"epoch\":");
	strbuf_add_json(b, epoch);
	LIT(b, ",\"offset\":");
	add_u64(b, offset);
	LIT(b, ",\"recovered\":");
	add_bool(b, recovered);
	LIT(b, "}");
}

void frames_unsubscribed(struct strbuf *b, const char *id, const char *channel)
{
	LIT(b, "{\"op\":\"unsubscribed\"");
	add_id(b, id);
	LIT(b, ",\"channel\":");
	strbuf_add_json(b, channel);
	LIT(b, "}");
}

void frames_event(struct strbuf *b, const struct event_view *e, bool durable, uint64_t offset,
		  uint64_t prev)
{
	char time[TIME_LEN + 1];

	time_format(e->time_us, time);
	strbuf_reserve(b, e->data.len + 512);
	LIT(b, "{\"op\":\"event\",\"channel\":");
	add_slice(b, e->channel);
	LIT(b, ",\"type\":");
	add_slice(b, e->type);
	LIT(b, ",\"version\":");
	add_u64(b, e->version);
	LIT(b, ",\"event_id\":");
	add_slice(b, e->id);
	LIT(b, ",\"time\":\"");
	strbuf_adds(b, time);
	LIT(b, "\",\"trace\":");
	add_slice(b, e->trace);
	if (durable) {
		LIT(b, ",\"offset\":");
		add_u64(b, offset);
		LIT(b, ",\"prev\":");
		add_u64(b, prev);
	}
	LIT(b, ",\"data\":");
	if (e->data.len)
		strbuf_add(b, e->data.p, e->data.len);
	else
		LIT(b, "null");
	LIT(b, "}");
}

void frames_delta(struct strbuf *b, const struct delta_view *d)
{
	LIT(b, "{\"op\":\"");
	strbuf_adds(b, d->reset ? "reset" : "delta");
	LIT(b, "\",\"channel\":");
	add_slice(b, d->channel);
	LIT(b, ",\"task\":");
	add_slice(b, d->task);
	LIT(b, ",\"stage\":");
	add_slice(b, d->stage);
	LIT(b, ",\"attempt\":");
	add_u64(b, d->attempt);
	if (!d->reset) {
		LIT(b, ",\"index\":");
		add_u64(b, d->index);
		LIT(b, ",\"data\":");
		add_slice(b, d->data);
	}
	LIT(b, "}");
}

static void add_accepted(struct strbuf *b, const struct frame_accepted *f)
{
	LIT(b, "\"event_id\":");
	strbuf_add_json(b, f->event_id);
	LIT(b, ",\"channel\":");
	strbuf_add_json(b, f->channel);
	LIT(b, ",\"offset\":");
	add_u64(b, f->offset);
	LIT(b, ",\"duplicate\":");
	add_bool(b, f->duplicate);
	if (f->task && *f->task) {
		LIT(b, ",\"task\":");
		strbuf_add_json(b, f->task);
	}
	LIT(b, "}");
}

void frames_accepted(struct strbuf *b, const char *id, const struct frame_accepted *f)
{
	LIT(b, "{\"op\":\"accepted\"");
	add_id(b, id);
	LIT(b, ",");
	add_accepted(b, f);
}

void frames_accepted_body(struct strbuf *b, const struct frame_accepted *f)
{
	LIT(b, "{");
	add_accepted(b, f);
}

void frames_gap(struct strbuf *b, const char *channel, uint64_t from, uint64_t to,
		const char *reason, bool replayable)
{
	LIT(b, "{\"op\":\"gap\",\"channel\":");
	strbuf_add_json(b, channel);
	LIT(b, ",\"from\":");
	add_u64(b, from);
	LIT(b, ",\"to\":");
	add_u64(b, to);
	LIT(b, ",\"reason\":");
	strbuf_add_json(b, reason);
	LIT(b, ",\"replayable\":");
	add_bool(b, replayable);
	LIT(b, "}");
}

void frames_drain(struct strbuf *b, const char *url, int64_t reconnect_after_ms,
		  int64_t deadline_ms, const char *reason)
{
	LIT(b, "{\"op\":\"drain\",\"url\":");
	strbuf_add_json(b, url);
	strbuf_addf(b, ",\"reconnect_after_ms\":%lld,\"deadline_ms\":%lld,\"reason\":",
		    (long long)reconnect_after_ms, (long long)deadline_ms);
	strbuf_add_json(b, reason);
	LIT(b, "}");
}

void frames_error(struct strbuf *b, const char *id, const struct frame_error *f)
{
	LIT(b, "{\"op\":\"error\"");
	add_id(b, id);
	LIT(b, ",\"code\":");
	strbuf_add_json(b, f->code);
	LIT(b, ",\"message\":");
	strbuf_add_json(b, f->message);
	LIT(b, ",\"scope\":");
	strbuf_add_json(b, f->scope && *f->scope ? f->scope : "connection");
	LIT(b, ",\"temporary\":");
	add_bool(b, f->temporary);
	if (f->retry_after_ms) {
		LIT(b, ",\"retry_after_ms\":");
		add_u64(b, f->retry_after_ms);
	}
	if (f->limit && *f->limit) {
		LIT(b, ",\"details\":{\"limit\":");
		strbuf_add_json(b, f->limit);
		LIT(b, "}");
	}
	LIT(b, "}");
}

void frames_pong(struct strbuf *b, const char *id)
{
	LIT(b, "{\"op\":\"pong\"");
	add_id(b, id);
	LIT(b, "}");
}
