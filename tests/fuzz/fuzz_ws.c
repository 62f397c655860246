/* Any bytes from a socket: the same events whatever pieces they come in, never more kept than a
 * message, never more unpacked. And what is packed here, unpacks there. The first byte seeds the
 * pieces, and says whether the connection is binary and whether it is compressed; the rest is what
 * the client sends. */
/* links: services/edge */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "common/ws.h"
#include "services/edge/inbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MAX 4096

static struct deflater deflater = {.level = 1}, own = {.level = 1};
static struct inbox_rules rules;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void note(struct strbuf *log, const struct inbox_event *e)
{
	uint8_t head[3] = {(uint8_t)e->kind, (uint8_t)(e->code >> 8), (uint8_t)e->code};

	strbuf_add(log, head, sizeof(head));
	strbuf_add(log, &e->len, sizeof(e->len));
	strbuf_add(log, e->len ? (const void *)e->data : "", e->len);
}

static void judge(const struct inbox_event *e)
{
	uint32_t state = 0;

	switch (e->kind) {
	case INBOX_MESSAGE:
		must(e->len <= MAX);
		if (rules.opcode == WS_TEXT)
			must(ws_utf8(&state, e->data, e->len) && state == 0);
		break;
	case INBOX_PING:
	case INBOX_PONG:
		must(e->len <= 125);
		break;
	case INBOX_CLOSE:
		must(e->len <= 125 && (e->code == 1005 || ws_close_code_valid(e->code)));
		break;
	case INBOX_BAD:
		must(e->code == 1002 || e->code == 1003 || e->code == 1007 || e->code == 1009);
		break;
	}
}

/* As the connection does: until something is wrong, or the peer says good-bye. */
static void feed(const uint8_t *data, size_t len, struct rng *rng, struct strbuf *log)
{
	struct inbox in = {0};
	struct inbox_cursor cur;
	struct inbox_event e;
	bool over = false;

	for (size_t at = 0; at < len && !over;) {
		size_t n = rng ? 1 + rng_below(rng, rng_below(rng, 4) ? 8 : 300) : len;
		uint8_t *piece;

		n = n > len - at ? len - at : n;
		piece = xmemdup(data + at, n);
		inbox_start(&in, &cur, piece, n);
		while (!over && inbox_next(&in, &cur, &rules, &e)) {
			judge(&e);
			note(log, &e);
			over = e.kind == INBOX_BAD || e.kind == INBOX_CLOSE;
		}
		if (!over) {
			inbox_end(&in, &cur);
			must(in.rest.len < MAX + WS_HEADER_MAX && in.message.len <= MAX);
			must(deflater.message.len <= MAX + 1);
		}
		free(piece);
		at += n;
	}
	inbox_done(&in);
}

/* A header that is complete is read the same with more behind it, and never with less. */
static void header(const uint8_t *data, size_t len)
{
	struct ws_frame f, g;
	enum ws_result whole = ws_parse(data, len, true, false, MAX, &f);

	if (whole != WS_OK)
		return;
	must(f.len <= MAX && f.header_len <= len && f.masked);
	for (size_t n = 0; n < f.header_len; n++)
		must(ws_parse(data, n, true, false, MAX, &g) == WS_MORE);
	must(ws_parse(data, f.header_len, true, false, MAX, &g) == WS_OK && g.len == f.len);
}

static void round_trip(const uint8_t *data, size_t len)
{
	uint8_t *out = xmalloc(len + 64);
	size_t n = deflater_pack(&own, data, len, out, len + 64);
	struct slice back;

	must(n > 0);
	must(deflater_unpack(&own, out, n, len, &back) == UNPACKED);
	must(back.len == len && !memcmp(back.p, data, len));
	if (len)
		must(deflater_unpack(&own, out, n, len - 1, &back) == UNPACKED_LONG);
	/* Without room for all of it, nothing is claimed. */
	must(deflater_pack(&own, data, len, out, n + 3) == 0);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct strbuf whole = {0}, pieces = {0};
	struct rng rng;

	if (!len)
		return 0;
	rng_seed(&rng, data[0]);
	rules = (struct inbox_rules){.max = MAX,
				     .opcode = data[0] & 0x40 ? WS_BINARY : WS_TEXT,
				     .deflater = data[0] & 0x80 ? &deflater : NULL};
	round_trip(data + 1, len - 1);
	header(data + 1, len - 1);
	feed(data + 1, len - 1, NULL, &whole);
	feed(data + 1, len - 1, &rng, &pieces);
	must(whole.len == pieces.len &&
	     (!whole.len || !memcmp(whole.data, pieces.data, whole.len)));
	strbuf_done(&whole);
	strbuf_done(&pieces);
	return 0;
}
