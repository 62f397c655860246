/* As in ids.c: the low-level SHA1_* calls, for the sake of their speed. */
#define OPENSSL_API_COMPAT 10100
#include "common/ws.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

static bool opcode_known(unsigned opcode)
{
	return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

/* 5.2: the shortest form that holds the length, and never the top bit of the 64-bit form. */
static enum ws_result read_length(const uint8_t *data, size_t len, struct ws_frame *frame)
{
	size_t bytes = frame->len == 126 ? 2 : frame->len == 127 ? 8 : 0;
	uint64_t v = 0;

	if (!bytes)
		return WS_OK;
	frame->header_len += bytes;
	if (len < 2 + bytes)
		return WS_MORE;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | data[2 + i];
	if (bytes == 2 ? v < 126 : v <= UINT16_MAX || v >> 63)
		return WS_PROTOCOL;
	frame->len = v;
	return WS_OK;
}

enum ws_result ws_parse(const uint8_t *data, size_t len, bool from_client, bool allow_rsv1,
			uint64_t max, struct ws_frame *frame)
{
	enum ws_result result;
	unsigned opcode;
	bool control;

	if (len < 1)
		return WS_MORE;
	opcode = data[0] & 0x0f;
	control = opcode >= WS_CLOSE;
	frame->fin = data[0] & 0x80;
	frame->rsv1 = data[0] & 0x40;
	frame->opcode = (enum ws_opcode)opcode;
	/* What the first byte says wrong needs no second one. Rsv1 marks the first frame of a
	 * compressed data message (RFC 7692, 6.1), never a control frame or a continuation. */
	if (!opcode_known(opcode) || (data[0] & 0x30) || (control && !frame->fin) ||
	    (frame->rsv1 && (!allow_rsv1 || control || opcode == WS_CONTINUATION)))
		return WS_PROTOCOL;
	if (len < 2)
		return WS_MORE;
	frame->masked = data[1] & 0x80;
	frame->len = data[1] & 0x7f;
	frame->header_len = 2;
	if (frame->masked != from_client || (control && frame->len > 125))
		return WS_PROTOCOL;
	if ((result = read_length(data, len, frame)) != WS_OK)
		return result;
	if (frame->len > max)
		return WS_TOO_LARGE;
	if (frame->masked) {
		if (len < frame->header_len + 4)
			return WS_MORE;
		memcpy(frame->mask, data + frame->header_len, 4);
		frame->header_len += 4;
	}
	return WS_OK;
}

void ws_mask(uint8_t *data, size_t len, const uint8_t mask[4], size_t offset)
{
	uint8_t turned[8];
	uint64_t key, word;
	size_t i = 0;

	for (size_t k = 0; k < 8; k++)
		turned[k] = mask[(offset + k) & 3];
	memcpy(&key, turned, 8);
	/* Eight bytes at a time through memcpy: no alignment demanded, and compilers make vectors
	 * of it. */
	for (; i + 8 <= len; i += 8) {
		memcpy(&word, data + i, 8);
		word ^= key;
		memcpy(data + i, &word, 8);
	}
	for (; i < len; i++)
		data[i] ^= turned[i & 7];
}

size_t ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t len,
		 const uint8_t *mask)
{
	size_t n = 2;
	int bytes = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

	out[0] = (uint8_t)(0x80 | opcode);
	out[1] = (uint8_t)((mask ? 0x80 : 0) | (bytes == 0 ? len : bytes == 2 ? 126 : 127));
	while (bytes--)
		out[n++] = (uint8_t)(len >> (8 * bytes));
	if (mask) {
		memcpy(out + n, mask, 4);
		n += 4;
	}
	return n;
}

/* The state holds what is still to come of a sequence: bits 0-1 how many continuation bytes, bits
 * 8-15 and 16-23 the least and the greatest value of the next one. RFC 3629, section 4: only the
 * second byte has a range of its own, which keeps out overlong forms, surrogates, and what lies
 * above U+10FFFF. */
static inline uint32_t expect(unsigned more, unsigned least, unsigned greatest)
{
	return more | least << 8 | greatest << 16;
}

static uint32_t lead(uint8_t c)
{
	if (c < 0xc2 || c > 0xf4)
		return 0;
	if (c < 0xe0)
		return expect(1, 0x80, 0xbf);
	if (c < 0xf0)
		return expect(2, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf);
	return expect(3, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf);
}

bool ws_utf8(uint32_t *state, const uint8_t *data, size_t len)
{
	uint32_t s = *state;
	size_t i = 0;

	while (i < len) {
		uint64_t word;

		if (s == 0) {
			while (i + 8 <= len) {
				memcpy(&word, data + i, 8);
				if (word & UINT64_C(0x8080808080808080))
					break;
				i += 8;
			}
			while (i < len && data[i] < 0x80)
				i++;
			if (i == len)
				break;
			if ((s = lead(data[i++])) == 0)
				return false;
			continue;
		}
		uint8_t c = data[i++];

		if (c < ((s >> 8) & 0xff) || c > (s >> 16))
			return false;
		s = (s & 3) > 1 ? expect((s & 3) - 1, 0x80, 0xbf) : 0;
	}
	*state = s;
	return true;
}

/* 7.4.1 and the registry: 1004 is reserved, 1005, 1006 and 1015 must not be sent; 1012-1014 were
 * registered later; 3000-3999 libraries, 4000-4999 private. */
bool ws_close_code_valid(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

void ws_accept(const char *key, char out[29])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[SHA_DIGEST_LENGTH];
	unsigned char text[128];
	SHA_CTX ctx;
	size_t n = strnlen(key, sizeof(text) - sizeof(guid)); /* a real key has 24 bytes */

	memcpy(text, key, n);
	memcpy(text + n, guid, sizeof(guid) - 1);
	SHA1_Init(&ctx);
	SHA1_Update(&ctx, text, n + sizeof(guid) - 1);
	SHA1_Final(digest, &ctx);
	EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}
