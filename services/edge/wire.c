#include "services/edge/wire.h"

#include "common/ws.h"

struct reader {
	const uint8_t *p, *end;
};

struct field {
	uint32_t number;
	unsigned type; /* 0 varint, 1 64-bit, 2 bytes, 5 32-bit */
	uint64_t value;
	struct slice bytes;
};

static bool varint(struct reader *r, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
		uint8_t b = *r->p++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*out = v;
			return true;
		}
	}
	return false;
}

/* False at the end and for a broken message; then p is at the end only if all was read. */
static bool next(struct reader *r, struct field *f)
{
	const uint8_t *start = r->p;
	uint64_t key, len;

	f->value = 0;
	f->bytes = (struct slice){NULL, 0};
	if (r->p == r->end)
		return false;
	if (!varint(r, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
		goto broken;
	f->number = (uint32_t)(key >> 3);
	f->type = key & 7;
	switch (f->type) {
	case 0:
		if (!varint(r, &f->value))
			goto broken;
		return true;
	case 1:
	case 5:
		len = f->type == 1 ? 8 : 4;
		break;
	case 2:
		if (!varint(r, &len))
			goto broken;
		break;
	default:
		goto broken;
	}
	if (len > (uint64_t)(r->end - r->p))
		goto broken;
	f->bytes = (struct slice){(const char *)r->p, (size_t)len};
	r->p += len;
	return true;
broken:
	r->p = start;
	return false;
}

bool wire_event(const void *data, size_t len, struct event_view *out)
{
	struct reader r = {data, (const uint8_t *)data + len};
	struct field f;

	*out = (struct event_view){.version = 0};
	while (next(&r, &f)) {
		switch (f.number << 3 | f.type) {
		case 1 << 3 | 2:
			out->id = f.bytes;
			break;
		case 2 << 3 | 2:
			out->tenant = f.bytes;
			break;
		case 3 << 3 | 2:
			out->channel = f.bytes;
			break;
		case 4 << 3 | 2:
			out->type = f.bytes;
			break;
		case 5 << 3 | 0:
			out->version = (uint32_t)f.value;
			break;
		case 6 << 3 | 2:
			out->data = f.bytes;
			break;
		case 7 << 3 | 0:
			out->time_us = (int64_t)f.value;
			break;
		case 8 << 3 | 2:
			out->trace = f.bytes;
			break;
		}
	}
	return r.p == r.end;
}

bool wire_delta(const void *data, size_t len, struct delta_view *out)
{
	struct reader r = {data, (const uint8_t *)data + len};
	struct field f;

	*out = (struct delta_view){.attempt = 0};
	while (next(&r, &f)) {
		switch (f.number << 3 | f.type) {
		case 2 << 3 | 2:
			out->channel = f.bytes;
			break;
		case 3 << 3 | 2:
			out->task = f.bytes;
			break;
		case 4 << 3 | 2:
			out->stage = f.bytes;
			break;
		case 5 << 3 | 0:
			out->attempt = (uint32_t)f.value;
			break;
		case 6 << 3 | 0:
			out->index = (uint32_t)f.value;
			break;
		case 7 << 3 | 2:
			out->data = f.bytes;
			break;
		case 8 << 3 | 0:
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

bool wire_event_fits(const struct event_view *e, const char *tenant, const char *channel)
{
	return slice_is(e->channel, channel) && slice_is(e->tenant, tenant) && e->id.len &&
	       e->data.len && is_text(e->id) && is_text(e->type) && is_text(e->trace) &&
	       is_text(e->data);
}

bool wire_delta_fits(const struct delta_view *d, const char *channel)
{
	return slice_is(d->channel, channel) && is_text(d->task) && is_text(d->stage) &&
	       is_text(d->data);
}
