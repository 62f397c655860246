/* POST /v1/events and GET /v1/channels/{channel}/events. */
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "common/ws.h"
#include "services/edge/http.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000

static bool valid_utf8(const struct strbuf *b)
{
	uint32_t state = 0;

	return ws_utf8(&state, (const uint8_t *)strbuf_str(b), b->len) && state == 0;
}

static int read_event(struct call *c)
{
	if (!valid_utf8(&c->body))
		return client_refuse(&c->why, "bad_request", "the body is not UTF-8");
	if (c->body.len > (size_t)call_edge(c)->conf->frame_bytes)
		return client_refuse(&c->why, "too_large", "an event is at most %lld bytes",
				     (long long)call_edge(c)->conf->frame_bytes);
	return client_msg_body(strbuf_str(&c->body), c->body.len, OP_PUBLISH,
			       call_header(c, "Idempotency-Key"), &c->msg, &c->why);
}

static void run_event(struct call *c)
{
	call_command(c, COMMAND_PUBLISH);
}

/* --- history ------------------------------------------------------------------------------ */

static int read_number(const struct call *c, const char *name, int64_t min, int64_t max,
		       int64_t *out)
{
	const char *text = call_query(c, name);
	char *end;

	if (!text)
		return 0;
	if (*text < '0' || *text > '9' || strlen(text) > 19)
		return -1;
	*out = strtoll(text, &end, 10);
	return *end || *out < min || *out > max ? -1 : 0;
}

static int read_history(struct call *c)
{
	int64_t after = 0;

	c->limit = LIMIT_DEFAULT;
	if (!name_valid_channel(c->param))
		return client_refuse(&c->why, "bad_request", "no valid channel name");
	if (read_number(c, "after", 0, INT64_MAX, &after))
		return client_refuse(&c->why, "bad_request", "after must be an offset");
	if (read_number(c, "limit", 1, LIMIT_MAX, &c->limit))
		return client_refuse(&c->why, "bad_request", "limit must be from 1 to %d",
				     LIMIT_MAX);
	c->after = (uint64_t)after;
	return 0;
}

static void next_page(struct call *c);

static void on_page(struct request *base)
{
	struct call *c = base->arg;
	struct fetch_request *f = c->fetch;
	bool more = f->more, failed = f->failed;

	for (unsigned i = 0; i < f->n; i++) {
		struct frame *frame = f->frames[i];

		if (c->listed++)
			strbuf_addc(&c->body, ',');
		strbuf_add(&c->body, frame->data + frame->header, frame->len - frame->header);
		c->after = frame->offset;
		frame_unref(frame);
	}
	free(f);
	c->fetch = NULL;
	if (failed) {
		call_refuse(c, "unavailable", "the channel's log cannot be read now");
	} else if (more && c->listed < c->limit) {
		next_page(c);
	} else {
		strbuf_addf(&c->body, "],\"more\":%s}", more ? "true" : "false");
		call_reply(c, MHD_HTTP_OK);
	}
}

static void next_page(struct call *c)
{
	struct fetch_request *f = xcalloc(1, sizeof(*f));
	int64_t left = c->limit - c->listed;

	c->fetch = f;
	f->base.done = on_page;
	f->base.arg = c;
	f->part = part_of(c->auth.who.tenant, (unsigned)call_edge(c)->conf->common.parts);
	memcpy(f->tenant, c->auth.who.tenant, sizeof(f->tenant));
	memcpy(f->channel, c->param, sizeof(f->channel));
	f->after = c->after;
	f->limit = left > PAGE_MAX ? PAGE_MAX : (unsigned)left;
	hub_fetch_here(call_edge(c)->hub, f);
}

static void run_history(struct call *c)
{
	strbuf_reset(&c->body);
	strbuf_addf(&c->body, "{\"epoch\":\"%s\",\"events\":[", call_edge(c)->epoch);
	next_page(c);
}

const struct route http_routes_events[] = {
    {"POST", "/v1/events", read_event, run_event, SCOPE_PUBLISH},
    {"GET", "/v1/channels/{}/events", read_history, run_history, SCOPE_SUBSCRIBE},
    {NULL, NULL, NULL, NULL, 0},
};
