#include "services/edge/deflate.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#define WINDOW     15
#define MEM_LEVEL  5 /* a hash table of 8 KiB, cleared for each message; 8 would be 64 */
#define FIRST_STEP 16384

/* RFC 7692, 7.2.1: what a flush ends with is not sent. */
static const uint8_t tail[4] = {0, 0, 0xff, 0xff};

void deflater_done(struct deflater *d)
{
	if (d->out)
		deflateEnd(d->out);
	if (d->in)
		inflateEnd(d->in);
	free(d->out);
	free(d->in);
	d->out = d->in = NULL;
	strbuf_done(&d->message);
}

/* Both abort only where there is no memory, as xmalloc() does. */
static z_stream *packing(struct deflater *d)
{
	int rc;

	if (d->out) {
		rc = deflateReset(d->out);
	} else {
		d->out = xcalloc(1, sizeof(*d->out));
		rc = deflateInit2(d->out, d->level, Z_DEFLATED, -WINDOW, MEM_LEVEL,
				  Z_DEFAULT_STRATEGY);
	}
	if (rc != Z_OK)
		abort();
	return d->out;
}

static void begin_unpacking(struct deflater *d)
{
	int rc;

	if (d->in) {
		rc = inflateReset(d->in);
	} else {
		d->in = xcalloc(1, sizeof(*d->in));
		rc = inflateInit2(d->in, -WINDOW);
	}
	if (rc != Z_OK)
		abort();
}

size_t deflater_pack(struct deflater *d, const void *data, size_t len, void *out, size_t cap)
{
	z_stream *z = packing(d);
	size_t n;

	z->next_in = (Bytef *)(uintptr_t)data;
	z->avail_in = (uInt)len;
	z->next_out = out;
	z->avail_out = (uInt)cap;
	/* Room left over says that the flush is complete (zlib.h). */
	if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in || !z->avail_out)
		return 0;
	n = cap - z->avail_out;
	assert(n > sizeof(tail) && !memcmp((uint8_t *)out + n - sizeof(tail), tail, sizeof(tail)));
	d->plain_out += (int64_t)len;
	d->packed_out += (int64_t)(n - sizeof(tail));
	return n - sizeof(tail);
}

/* Room for more, but one byte beyond max at the most. */
static void make_room(struct strbuf *b, size_t max, z_stream *z)
{
	size_t step = b->len < FIRST_STEP ? FIRST_STEP : b->len;

	step = step > max + 1 - b->len ? max + 1 - b->len : step;
	strbuf_reserve(b, step);
	z->next_out = (Bytef *)b->data + b->len;
	z->avail_out = (uInt)step;
}

/* All of this piece. */
static enum unpacked feed(struct deflater *d, const void *data, size_t len, size_t max, bool *ended)
{
	struct strbuf *b = &d->message;
	z_stream *z = d->in;

	z->next_in = (Bytef *)(uintptr_t)data;
	z->avail_in = (uInt)len;
	for (;;) {
		int rc;

		make_room(b, max, z);
		rc = inflate(z, Z_SYNC_FLUSH);
		b->len = (size_t)((char *)z->next_out - b->data);
		if (b->len > max)
			return UNPACKED_LONG;
		*ended = rc == Z_STREAM_END;
		/* A last block may stand inside (7.2.3.4); what follows is a new stream. */
		if (*ended && z->avail_in && inflateReset(z) == Z_OK)
			continue;
		if (*ended || (rc == Z_BUF_ERROR && !z->avail_in))
			return UNPACKED;
		if (rc != Z_OK)
			return UNPACKED_BAD;
		if (!z->avail_in && z->avail_out)
			return UNPACKED;
	}
}

enum unpacked deflater_unpack(struct deflater *d, const void *data, size_t len, size_t max,
			      struct slice *out)
{
	bool ended = false;
	enum unpacked rc;

	begin_unpacking(d);
	strbuf_reset(&d->message);
	rc = feed(d, data, len, max, &ended);
	if (rc == UNPACKED && !ended) {
		rc = feed(d, tail, sizeof(tail), max, &ended);
		/* 128: it stands behind a block (zlib.h, inflate()). */
		if (rc == UNPACKED && !ended && !(d->in->data_type & 128))
			rc = UNPACKED_BAD;
	}
	if (rc != UNPACKED)
		return rc;
	d->plain_in += (int64_t)d->message.len;
	d->packed_in += (int64_t)len;
	*out = (struct slice){strbuf_str(&d->message), d->message.len};
	return UNPACKED;
}
