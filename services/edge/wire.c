#include "services/edge/wire.h"

#include "common/pbwire.h"
#include "common/textscan.h"
#include "common/ws.h"
#include "services/edge/jscan.h"

bool wire_event(const void *data, size_t len, struct event_view *out)
{
	struct pb_reader r = pb_reader(data, len);
	struct pb_field f;

	*out = (struct event_view){.version = 0};
	while (pb_next(&r, &f)) {
		switch (f.number << 3 | f.type) {
		case 1 << 3 | PB_BYTES:
			out->id = f.bytes;
			break;
		case 2 << 3 | PB_BYTES:
			out->tenant = f.bytes;
			break;
		case 3 << 3 | PB_BYTES:
			out->channel = f.bytes;
			break;
		case 4 << 3 | PB_BYTES:
			out->type = f.bytes;
			break;
		case 5 << 3 | PB_VARINT:
			out->version = (uint32_t)f.value;
			break;
		case 6 << 3 | PB_BYTES:
			out->data = f.bytes;
			break;
		case 7 << 3 | PB_VARINT:
			out->time_us = (int64_t)f.value;
			break;
		case 8 << 3 | PB_BYTES:
			out->trace = f.bytes;
			break;
		case 15 << 3 | PB_BYTES:
			out->replay = f.bytes;
			break;
		}
	}
	return r.p == r.end;
}

bool wire_delta(const void *data, size_t len, struct delta_view *out)
{
	struct pb_reader r = pb_reader(data, len);
	struct pb_field f;

	*out = (struct delta_view){.attempt = 0};
	while (pb_next(&r, &f)) {
		switch (f.number << 3 | f.type) {
		case 2 << 3 | PB_BYTES:
			out->channel = f.bytes;
			break;
		case 3 << 3 | PB_BYTES:
			out->task = f.bytes;
			break;
		case 4 << 3 | PB_BYTES:
			out->stage = f.bytes;
			break;
		case 5 << 3 | PB_VARINT:
			out->attempt = (uint32_t)f.value;
			break;
		case 6 << 3 | PB_VARINT:
			out->index = (uint32_t)f.value;
			break;
		case 7 << 3 | PB_BYTES:
			out->data = f.bytes;
			break;
		case 8 << 3 | PB_VARINT:
			out->reset = f.value != 0;
			break;
		}
	}
	return r.p == r.end;
}

static bool is_text(struct slice s)
{
	uint32_t state = 0;

	return s.len == 0 || (ws_utf8(&state, (const uint8_t *)s.p, s.len) && state == 0);
}

static bool is_json(struct slice s)
{
	bool ascii;

	return jscan_valid(s.p, s.len, &ascii) && (ascii || is_text(s));
}

/* A name or an id: text that stands in JSON as it is. */
static bool is_plain(struct slice s)
{
	uint64_t high = 0;

	return textscan_plain(s.p, s.len, &high) == s.len && (!high || is_text(s));
}

bool wire_event_fits(const struct event_view *e, const char *tenant, const char *channel)
{
	return slice_is(e->channel, channel) && slice_is(e->tenant, tenant) && e->id.len &&
	       is_plain(e->id) && is_plain(e->type) && is_plain(e->trace) && is_plain(e->replay) &&
	       is_json(e->data);
}

bool wire_delta_fits(const struct delta_view *d, const char *channel)
{
	return slice_is(d->channel, channel) && is_plain(d->task) && is_plain(d->stage) &&
	       is_text(d->data);
}

/* --- commands, and the events that the edge itself makes of them --------------------------- */

static bool read_publish(struct slice s, struct command_view *out)
{
	struct pb_reader r = pb_reader(s.p, s.len);
	struct pb_field f;

	while (pb_next(&r, &f)) {
		switch (f.number << 3 | f.type) {
		case 1 << 3 | PB_BYTES:
			out->channel = f.bytes;
			break;
		case 2 << 3 | PB_BYTES:
			out->type = f.bytes;
			break;
		case 3 << 3 | PB_VARINT:
			out->version = (uint32_t)f.value;
			break;
		case 4 << 3 | PB_BYTES:
			out->key = f.bytes;
			break;
		case 5 << 3 | PB_BYTES:
			out->data = f.bytes;
			break;
		}
	}
	return r.p == r.end;
}

bool wire_command(const void *data, size_t len, struct command_view *out)
{
	struct pb_reader r = pb_reader(data, len);
	struct slice publish = {NULL, 0};
	struct pb_field f;

	*out = (struct command_view){.version = 0};
	while (pb_next(&r, &f)) {
		switch (f.number << 3 | f.type) {
		case 1 << 3 | PB_BYTES:
			out->id = f.bytes;
			break;
		case 2 << 3 | PB_BYTES:
			out->tenant = f.bytes;
			break;
		case 3 << 3 | PB_BYTES:
			out->session = f.bytes;
			break;
		case 4 << 3 | PB_BYTES:
			out->principal = f.bytes;
			break;
		case 5 << 3 | PB_BYTES:
			out->trace = f.bytes;
			break;
		case 10 << 3 | PB_BYTES:
			publish = f.bytes;
			break;
		}
	}
	return r.p == r.end && publish.p && read_publish(publish, out);
}

void wire_add_event(struct strbuf *b, const struct event_view *e, const struct command_view *from)
{
	pb_add_bytes(b, 1, e->id.p, e->id.len);
	pb_add_bytes(b, 2, e->tenant.p, e->tenant.len);
	pb_add_bytes(b, 3, e->channel.p, e->channel.len);
	pb_add_bytes(b, 4, e->type.p, e->type.len);
	pb_add_u64(b, 5, e->version);
	pb_add_bytes(b, 6, e->data.p, e->data.len);
	pb_add_u64(b, 7, (uint64_t)e->time_us);
	pb_add_bytes(b, 8, e->trace.p, e->trace.len);
	pb_add_bytes(b, 9, from->key.p, from->key.len);
	pb_add_bytes(b, 11, from->session.p, from->session.len);
	pb_add_bytes(b, 13, from->id.p, from->id.len);
	pb_add_bytes(b, 14, from->principal.p, from->principal.len);
}
