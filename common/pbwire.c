#include "common/pbwire.h"

#include <assert.h>

#define HEAD_MAX 11 /* of a field: its number and type, and a varint */

static bool varint(struct pb_reader *r, uint64_t *out)
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

bool pb_next(struct pb_reader *r, struct pb_field *f)
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
	case PB_VARINT:
		if (!varint(r, &f->value))
			goto broken;
		return true;
	case PB_FIXED64:
	case PB_FIXED32:
		len = f->type == PB_FIXED64 ? 8 : 4;
		break;
	case PB_BYTES:
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

static size_t head(uint8_t out[HEAD_MAX], unsigned number, enum pb_type type, uint64_t v)
{
	size_t n = 0;

	assert(number > 0 && number < 16);
	out[n++] = (uint8_t)(number << 3 | type);
	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

void pb_add_u64(struct strbuf *b, unsigned number, uint64_t v)
{
	uint8_t text[HEAD_MAX];

	if (v)
		strbuf_add(b, text, head(text, number, PB_VARINT, v));
}

void pb_add_head(struct strbuf *b, unsigned number, size_t len)
{
	uint8_t text[HEAD_MAX];

	strbuf_add(b, text, head(text, number, PB_BYTES, len));
}

void pb_add_bytes(struct strbuf *b, unsigned number, const void *data, size_t len)
{
	if (!len)
		return;
	pb_add_head(b, number, len);
	strbuf_add(b, data, len);
}

void pb_wrap(struct strbuf *b, size_t at, unsigned number, size_t more)
{
	uint8_t text[HEAD_MAX];
	size_t len = b->len - at, n = head(text, number, PB_BYTES, len + more);

	strbuf_add(b, text, n); /* room; the bytes are moved behind it */
	memmove(b->data + at + n, b->data + at, len);
	memcpy(b->data + at, text, n);
}
