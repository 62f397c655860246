#include "services/edge/inbox.h"

#define NO_CODE 1005 /* RFC 6455, 7.1.5: reserved for "no code was given" */

void inbox_done(struct inbox *in)
{
	strbuf_done(&in->rest);
	strbuf_done(&in->message);
	in->open = in->packed = false;
}

void inbox_start(struct inbox *in, struct inbox_cursor *cur, uint8_t *data, size_t len)
{
	if (in->rest.len) {
		strbuf_add(&in->rest, data, len);
		data = (uint8_t *)in->rest.data;
		len = in->rest.len;
	}
	*cur = (struct inbox_cursor){data, data + len};
}

void inbox_end(struct inbox *in, struct inbox_cursor *cur)
{
	size_t left = (size_t)(cur->end - cur->p);

	if (in->rest.len) {
		if (left)
			strbuf_consume(&in->rest, in->rest.len - left);
		else
			strbuf_done(&in->rest);
	} else if (left) {
		strbuf_add(&in->rest, cur->p, left);
	}
}

static bool bad(struct inbox_event *event, unsigned code)
{
	*event = (struct inbox_event){.kind = INBOX_BAD, .code = code};
	return true;
}

static bool utf8(const uint8_t *data, size_t len)
{
	uint32_t state = 0;

	return ws_utf8(&state, data, len) && state == 0;
}

static bool control(const struct ws_frame *f, const uint8_t *payload, struct inbox_event *event)
{
	*event = (struct inbox_event){.data = payload, .len = (size_t)f->len};
	if (f->opcode != WS_CLOSE) {
		event->kind = f->opcode == WS_PING ? INBOX_PING : INBOX_PONG;
		return true;
	}
	event->kind = INBOX_CLOSE;
	event->code = NO_CODE;
	if (f->len == 1)
		return bad(event, 1002);
	if (f->len >= 2) {
		event->code = (unsigned)payload[0] << 8 | payload[1];
		if (!ws_close_code_valid(event->code))
			return bad(event, 1002);
		if (!utf8(payload + 2, (size_t)f->len - 2))
			return bad(event, 1007);
	}
	return true;
}

/* A message is complete: is it what it must be? */
static bool message(const struct inbox *in, const struct inbox_rules *rules, bool checked,
		    struct inbox_event *event)
{
	struct slice plain;

	if (in->packed) {
		switch (
		    deflater_unpack(rules->deflater, event->data, event->len, rules->max, &plain)) {
		case UNPACKED:
			event->grown = plain.len > event->len ? plain.len - event->len : 0;
			event->data = (const uint8_t *)plain.p;
			event->len = plain.len;
			break;
		case UNPACKED_BAD:
			return bad(event, 1007);
		case UNPACKED_LONG:
			return bad(event, 1009);
		}
	}
	if (rules->opcode == WS_TEXT && !checked && !utf8(event->data, event->len))
		return bad(event, 1007);
	return true;
}

/* false: a fragment that does not end a message. */
static bool fragment(struct inbox *in, const struct ws_frame *f, const uint8_t *payload,
		     const struct inbox_rules *rules, struct inbox_event *event)
{
	bool text = rules->opcode == WS_TEXT && !in->packed;

	if (in->message.len + f->len > rules->max)
		return bad(event, 1009);
	if (text && !ws_utf8(&in->utf8, payload, (size_t)f->len))
		return bad(event, 1007);
	strbuf_add(&in->message, payload, (size_t)f->len);
	in->open = !f->fin;
	if (!f->fin)
		return false;
	if (text && in->utf8)
		return bad(event, 1007);
	event->data = (const uint8_t *)strbuf_str(&in->message);
	event->len = in->message.len;
	return message(in, rules, text, event);
}

/* A fragment or a whole message; false: a fragment that does not end one. */
static bool data(struct inbox *in, const struct ws_frame *f, const uint8_t *payload,
		 const struct inbox_rules *rules, struct inbox_event *event)
{
	*event =
	    (struct inbox_event){.kind = INBOX_MESSAGE, .data = payload, .len = (size_t)f->len};
	if ((f->opcode == WS_CONTINUATION) != in->open)
		return bad(event, 1002);
	if (f->opcode == WS_CONTINUATION)
		return fragment(in, f, payload, rules, event);
	if (f->opcode != rules->opcode)
		return bad(event, 1003); /* the subprotocol says which */
	in->packed = f->rsv1;
	in->utf8 = 0;
	return f->fin ? message(in, rules, false, event) : fragment(in, f, payload, rules, event);
}

bool inbox_next(struct inbox *in, struct inbox_cursor *cur, const struct inbox_rules *rules,
		struct inbox_event *event)
{
	if (!in->open && in->message.cap)
		strbuf_done(&in->message); /* the message of the previous call */
	for (;;) {
		struct ws_frame f;
		uint8_t *payload;

		if (cur->p == cur->end)
			return false;
		switch (ws_parse(cur->p, (size_t)(cur->end - cur->p), true, rules->deflater != NULL,
				 rules->max, &f)) {
		case WS_OK:
			break;
		case WS_MORE:
			return false;
		case WS_PROTOCOL:
			return bad(event, 1002);
		case WS_TOO_LARGE:
			return bad(event, 1009);
		}
		if ((uint64_t)(cur->end - cur->p) - f.header_len < f.len)
			return false;
		payload = cur->p + f.header_len;
		cur->p = payload + f.len;
		ws_mask(payload, (size_t)f.len, f.mask, 0);
		if (f.opcode & 8)
			return control(&f, payload, event);
		if (data(in, &f, payload, rules, event))
			return true;
	}
}
