/* WebSocket frames (RFC 6455): a pure codec for both sides. No I/O, no allocation.
 *
 * The edge, the load generator and the operators' command use it. Threads: any, one owner a
 * decoder. */
#ifndef PENSTOCK_WS_H
#define PENSTOCK_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_opcode {
	WS_CONTINUATION = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

struct ws_frame {
	bool fin;
	bool rsv1;
	enum ws_opcode opcode;
	bool masked;
	uint8_t mask[4];
	uint64_t len;      /* of the payload */
	size_t header_len; /* bytes before the payload */
};

enum ws_result {
	WS_OK,
	WS_MORE,      /* the header is not complete yet */
	WS_PROTOCOL,  /* RFC 6455 forbids it: close 1002 */
	WS_TOO_LARGE, /* payload longer than max: close 1009 */
};

/* Reads one frame header from the front of data. from_client: a mask is demanded (5.1), else
 * forbidden. Checks reserved bits (rsv1 allowed only if allow_rsv1), opcodes, control frames' size
 * and fragmentation (5.5), the minimal length encoding (5.2), and max. */
enum ws_result ws_parse(const uint8_t *data, size_t len, bool from_client, bool allow_rsv1,
			uint64_t max, struct ws_frame *frame);

/* XORs len bytes in place; offset is the payload offset of the first one. */
void ws_mask(uint8_t *data, size_t len, const uint8_t mask[4], size_t offset);

#define WS_HEADER_MAX 14
/* Writes a frame header (fin set) and returns its length. mask NULL: a server's frame. */
size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t len,
		 const uint8_t *mask);

/* Incremental UTF-8 check (RFC 3629): start with *state = 0; a text is complete and valid if the
 * last call returned true and *state is 0. */
bool ws_utf8(uint32_t *state, const uint8_t *data, size_t len);

/* Close codes that may appear on the wire (7.4). */
bool ws_close_code_valid(unsigned code);

/* Sec-WebSocket-Accept of a Sec-WebSocket-Key (4.2.2). */
void ws_accept(const char *key, char out[29]);

#endif
