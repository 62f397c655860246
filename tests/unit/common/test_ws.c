/* RFC 6455 frames: the examples of its section 5.7, and each rule of a header. */
#include <string.h>

#include "common/rng.h"
#include "common/ws.h"
#include "suite.h"

#define MAX 65536

struct header_case {
	const char *what;
	uint8_t bytes[16];
	size_t len;
	bool from_client, rsv1_ok;
	enum ws_result result;
	uint64_t payload;
	size_t header;
};

static const struct header_case header_cases[] = {
    /* 5.7 */
    {"unmasked Hello", {0x81, 0x05, 'H'}, 3, false, false, WS_OK, 5, 2},
    {"masked Hello", {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f}, 7, true, false, WS_OK, 5, 6},
    {"first fragment", {0x01, 0x03}, 2, false, false, WS_OK, 3, 2},
    {"last fragment", {0x80, 0x02}, 2, false, false, WS_OK, 2, 2},
    {"unmasked ping", {0x89, 0x05}, 2, false, false, WS_OK, 5, 2},
    {"masked pong", {0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d}, 6, true, false, WS_OK, 5, 6},
    {"256 bytes binary", {0x82, 0x7e, 0x01, 0x00}, 4, false, false, WS_OK, 256, 4},
    {"64 KiB binary", {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}, 10, false, false, WS_OK, 65536, 10},
    /* pieces */
    {"nothing", {0}, 0, true, false, WS_MORE, 0, 0},
    {"one byte", {0x81}, 1, true, false, WS_MORE, 0, 0},
    {"no mask yet", {0x81, 0x85, 1, 2, 3}, 5, true, false, WS_MORE, 0, 0},
    {"half a length", {0x82, 0x7e, 0x01}, 3, false, false, WS_MORE, 0, 0},
    {"part of a long length", {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0}, 9, false, false, WS_MORE, 0, 0},
    /* 5.1: masks */
    {"client without a mask", {0x81, 0x05}, 2, true, false, WS_PROTOCOL, 0, 0},
    {"server with a mask", {0x81, 0x85, 1, 2, 3, 4}, 6, false, false, WS_PROTOCOL, 0, 0},
    /* 5.2: reserved bits, opcodes, lengths */
    {"rsv1", {0xc1, 0x05}, 2, false, false, WS_PROTOCOL, 0, 0},
    {"rsv1 agreed", {0xc1, 0x05}, 2, false, true, WS_OK, 5, 2},
    {"rsv1 on a continuation", {0xc0, 0x05}, 2, false, true, WS_PROTOCOL, 0, 0},
    {"rsv1 on a ping", {0xc9, 0x05}, 2, false, true, WS_PROTOCOL, 0, 0},
    {"rsv2", {0xa1, 0x05}, 2, false, true, WS_PROTOCOL, 0, 0},
    {"rsv3 in the first byte", {0x91}, 1, false, true, WS_PROTOCOL, 0, 0},
    {"opcode 3", {0x83, 0x00}, 2, false, false, WS_PROTOCOL, 0, 0},
    {"opcode 7", {0x87, 0x00}, 2, false, false, WS_PROTOCOL, 0, 0},
    {"opcode 11", {0x8b, 0x00}, 2, false, false, WS_PROTOCOL, 0, 0},
    {"opcode 15", {0x8f, 0x00}, 2, false, false, WS_PROTOCOL, 0, 0},
    {"125 in two bytes", {0x82, 0x7e, 0x00, 0x7d}, 4, false, false, WS_PROTOCOL, 0, 0},
    {"126 in two bytes", {0x82, 0x7e, 0x00, 0x7e}, 4, false, false, WS_OK, 126, 4},
    {"65535 in eight",
     {0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
     10,
     false,
     false,
     WS_PROTOCOL,
     0,
     0},
    {"top bit", {0x82, 0x7f, 0x80, 0, 0, 0, 0, 1, 0, 0}, 10, false, false, WS_PROTOCOL, 0, 0},
    {"too large", {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 1}, 10, false, false, WS_TOO_LARGE, 0, 0},
    {"too large before its mask",
     {0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0},
     10,
     true,
     false,
     WS_TOO_LARGE,
     0,
     0},
    /* 5.5: control frames */
    {"fragmented ping", {0x09, 0x00}, 2, false, false, WS_PROTOCOL, 0, 0},
    {"fragmented close", {0x08}, 1, false, false, WS_PROTOCOL, 0, 0},
    {"126 bytes of ping", {0x89, 0x7e, 0x00, 0x7e}, 4, false, false, WS_PROTOCOL, 0, 0},
    {"125 bytes of close", {0x88, 0x7d}, 2, false, false, WS_OK, 125, 2},
    {"long ping in its second byte", {0x89, 0x7f}, 2, false, false, WS_PROTOCOL, 0, 0},
};

START_TEST(headers)
{
	for (size_t i = 0; i < sizeof(header_cases) / sizeof(*header_cases); i++) {
		const struct header_case *c = &header_cases[i];
		struct ws_frame frame;
		enum ws_result result =
		    ws_parse(c->bytes, c->len, c->from_client, c->rsv1_ok, MAX, &frame);

		ck_assert_msg(result == c->result, "%s: %d", c->what, (int)result);
		if (result != WS_OK)
			continue;
		ck_assert_msg(frame.len == c->payload && frame.header_len == c->header, "%s",
			      c->what);
		ck_assert_int_eq(frame.fin, c->bytes[0] >> 7);
		ck_assert_int_eq(frame.rsv1, (c->bytes[0] >> 6) & 1);
		ck_assert_int_eq(frame.opcode, c->bytes[0] & 15);
		ck_assert_int_eq(frame.masked, c->from_client);
	}
}
END_TEST

START_TEST(headers_come_back)
{
	static const uint64_t lens[] = {0, 1, 125, 126, 127, 65535, 65536, UINT64_C(1) << 40};
	static const uint8_t mask[4] = {1, 2, 3, 4};

	for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		for (int masked = 0; masked < 2; masked++) {
			uint8_t out[WS_HEADER_MAX];
			size_t n = ws_header(out, WS_BINARY, lens[i], masked ? mask : NULL);
			struct ws_frame frame;

			ck_assert_uint_le(n, WS_HEADER_MAX);
			for (size_t cut = 0; cut < n; cut++)
				ck_assert_int_eq(
				    ws_parse(out, cut, masked, false, UINT64_MAX, &frame), WS_MORE);
			ck_assert_int_eq(ws_parse(out, n, masked, false, UINT64_MAX, &frame),
					 WS_OK);
			ck_assert(frame.fin && frame.opcode == WS_BINARY && frame.len == lens[i]);
			ck_assert_uint_eq(frame.header_len, n);
			if (masked)
				ck_assert_mem_eq(frame.mask, mask, 4);
		}
	}
}
END_TEST

START_TEST(mask_of_the_rfc)
{
	uint8_t data[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};

	ws_mask(data, sizeof(data), (const uint8_t[]){0x37, 0xfa, 0x21, 0x3d}, 0);
	ck_assert_mem_eq(data, "Hello", 5);
}
END_TEST

/* Whole or in pieces, at each alignment, as the RFC's byte-wise formula says. */
START_TEST(mask_in_pieces)
{
	static const uint8_t mask[4] = {0xde, 0xad, 0xbe, 0xef};
	uint8_t data[200], expected[200];
	struct rng rng;

	rng_seed(&rng, 1);
	for (int round = 0; round < 2000; round++) {
		size_t start = rng_below(&rng, 9);
		size_t len = rng_below(&rng, sizeof(data) - start);

		for (size_t i = 0; i < sizeof(data); i++)
			expected[i] = data[i] = (uint8_t)rng_next(&rng);
		for (size_t i = 0; i < len; i++)
			expected[start + i] ^= mask[i % 4];
		for (size_t at = 0; at < len;) {
			size_t piece = 1 + rng_below(&rng, len - at);

			ws_mask(data + start + at, piece, mask, at);
			at += piece;
		}
		ck_assert_mem_eq(data, expected, sizeof(data));
	}
}
END_TEST

static bool utf8(const char *text, size_t len)
{
	uint32_t state = 0;

	return ws_utf8(&state, (const uint8_t *)text, len) && state == 0;
}

START_TEST(utf8_table)
{
	static const char *const good[] = {
	    "",
	    "ascii only, longer than a word",
	    "\xc2\x80",
	    "\xdf\xbf",
	    "\xe0\xa0\x80",
	    "\xed\x9f\xbf",
	    "\xee\x80\x80",
	    "\xef\xbf\xbf",
	    "\xf0\x90\x80\x80",
	    "\xf4\x8f\xbf\xbf",
	    "mixed \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 12345678",
	};
	static const char *const bad[] = {
	    "\x80",
	    "\xbf",
	    "\xc0\x80",
	    "\xc1\xbf",
	    "\xc2",
	    "\xc2x",
	    "\xe0\x9f\xbf",
	    "\xe0\xa0",
	    "\xed\xa0\x80",
	    "\xed\xbf\xbf",
	    "\xf0\x8f\xbf\xbf",
	    "\xf4\x90\x80\x80",
	    "\xf5\x80\x80\x80",
	    "\xff",
	    "12345678\xfe",
	    "1234567\xc3",
	    "\xf0\x90\x80",
	    "\xe2\x82\xc0",
	    "\xc3\xa9\xa9",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		ck_assert_msg(utf8(good[i], strlen(good[i])), "good %zu", i);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!utf8(bad[i], strlen(bad[i])), "bad %zu", i);
	ck_assert(utf8("a\0b", 3));
}
END_TEST

/* RFC 3629 by arithmetic: decode, then look at what came out. */
static bool reference(const uint8_t *p, size_t n)
{
	while (n) {
		unsigned more = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : 3;
		uint32_t c = more == 0 ? *p : *p & (0x3fu >> more);
		static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

		if ((more == 3 && *p >> 3 != 30) || n <= more)
			return false;
		for (unsigned i = 1; i <= more; i++) {
			if (p[i] >> 6 != 2)
				return false;
			c = c << 6 | (p[i] & 0x3f);
		}
		if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
		p += more + 1;
		n -= more + 1;
	}
	return true;
}

START_TEST(utf8_against_arithmetic)
{
	/* Bytes at the borders of all ranges. */
	static const uint8_t border[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
					 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
					 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
	size_t n = sizeof(border), total = n * n * n * n;

	for (size_t i = 0; i < total; i++) {
		uint8_t p[4] = {border[i % n], border[i / n % n], border[i / n / n % n],
				border[i / n / n / n]};

		if (utf8((const char *)p, 4) != reference(p, 4))
			ck_abort_msg("%02x %02x %02x %02x", p[0], p[1], p[2], p[3]);
	}
}
END_TEST

START_TEST(utf8_in_pieces)
{
	static const char text[] = "\xf0\x9f\x98\x80 gr\xc3\xbc\xc3\x9f \xe2\x82\xac 12345678901";

	for (size_t cut = 0; cut < sizeof(text); cut++) {
		const uint8_t *p = (const uint8_t *)text;
		uint32_t state = 0;

		ck_assert(ws_utf8(&state, p, cut));
		ck_assert_int_eq(state == 0, cut == sizeof(text) - 1 || (p[cut] & 0xc0) != 0x80);
		ck_assert(ws_utf8(&state, p + cut, sizeof(text) - 1 - cut));
		ck_assert_uint_eq(state, 0);
	}
}
END_TEST

START_TEST(close_codes)
{
	static const unsigned good[] = {1000, 1001, 1002, 1003, 1007, 1011,
					1014, 3000, 4000, 4102, 4999};
	static const unsigned bad[] = {0,    999,  1004, 1005, 1006, 1015,
				       1016, 2000, 2999, 5000, 65535};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		ck_assert_msg(ws_close_code_valid(good[i]), "%u", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!ws_close_code_valid(bad[i]), "%u", bad[i]);
}
END_TEST

START_TEST(accept_key)
{
	char out[29], many[1000];

	ws_accept("dGhlIHNhbXBsZSBub25jZQ==", out); /* 1.3 */
	ck_assert_str_eq(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	memset(many, 'k', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	ws_accept(many, out);
	ck_assert_uint_eq(strlen(out), 28);
}
END_TEST

RUN_TESTS("ws", headers, headers_come_back, mask_of_the_rfc, mask_in_pieces, utf8_table,
	  utf8_against_arithmetic, utf8_in_pieces, close_codes, accept_key)
