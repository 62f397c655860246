/* From bytes to messages: frames of a client (RFC 6455) taken apart and put together, in whatever
 * splits they come.
 *
 * Checks masking, fragmentation with control frames between (5.4), the bound on a message, UTF-8 of
 * text (8.1; of an uncompressed one with each fragment) and of close reasons, close codes (7.4).
 * Unpacks compressed messages (RFC 7692), and no further than to the bound. Pure; threads: one
 * owner. Nothing is allocated while no frame or message is incomplete.
 *
 *     inbox_start(&in, &cur, bytes, n);
 *     while (inbox_next(&in, &cur, &rules, &event)) …
 *     inbox_end(&in, &cur); */
#ifndef PENSTOCK_EDGE_INBOX_H
#define PENSTOCK_EDGE_INBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "common/ws.h"
#include "services/edge/deflate.h"

struct inbox {                 /* zeroed: empty */
	struct strbuf rest;    /* an incomplete frame */
	struct strbuf message; /* the fragments so far, as they came */
	uint32_t utf8;         /* ws_utf8()'s state behind them */
	bool open;             /* a fragmented message is under way */
	bool packed;           /* it is compressed */
};

struct inbox_rules {
	size_t max;                /* bytes of a message, unpacked */
	enum ws_opcode opcode;     /* of messages: WS_TEXT or WS_BINARY */
	struct deflater *deflater; /* NULL: compression was not agreed on */
};

struct inbox_cursor {
	uint8_t *p, *end;
};

enum inbox_kind {
	INBOX_MESSAGE,
	INBOX_PING,
	INBOX_PONG,
	INBOX_CLOSE, /* code: the peer's, 1005 if it gave none */
	INBOX_BAD,   /* code: close with it; nothing more is to be read */
};

struct inbox_event {
	enum inbox_kind kind;
	const uint8_t *data; /* unmasked, unpacked; valid until the next call */
	size_t len;
	size_t grown; /* bytes that unpacking added to what came */
	unsigned code;
};

/* The bytes are unmasked in place. */
void inbox_start(struct inbox *in, struct inbox_cursor *cur, uint8_t *data, size_t len);
bool inbox_next(struct inbox *in, struct inbox_cursor *cur, const struct inbox_rules *rules,
		struct inbox_event *event);
/* Keeps what is incomplete. Not to be called after INBOX_BAD: inbox_done() then. */
void inbox_end(struct inbox *in, struct inbox_cursor *cur);
void inbox_done(struct inbox *in);

#endif
