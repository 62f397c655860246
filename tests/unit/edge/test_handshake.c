/* The handshake: what it must say, and which requests a reactor takes by itself. */
#include <string.h>

#include "services/edge/handshake.h"
#include "tests/unit/common/suite.h"

#define GET  "GET /v1/ws HTTP/1.1\r\n"
#define HOST "Host: edge.example\r\n"
#define KEY  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UP   "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY
#define END  "\r\n"

static size_t read_text(const char *text, struct handshake *h, char *copy)
{
	size_t len = strlen(text);

	memcpy(copy, text, len);
	return handshake_read(copy, len, h);
}

START_TEST(a_plain_one_is_taken)
{
	struct handshake h = {.may_deflate = true};
	struct client_error why;
	struct strbuf out = {0};
	char copy[1024];
	const char *head = GET HOST
	    "upgrade:\twebsocket  \r\nConnection: keep-alive, Upgrade\r\n" KEY
	    "SEC-WEBSOCKET-VERSION:13\r\nAuthorization: Bearer pk_a_b\r\n"
	    "Origin: https://a.example\r\nX-Empty:\r\n"
	    "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: penstock.v1.protobuf\r\n"
	    "Sec-WebSocket-Extensions: permessage-deflate\r\n" END;
	struct strbuf text = {0};

	strbuf_adds(&text, head);
	strbuf_adds(&text, "\x81\x85 and a frame right behind it\r\n\r\n");
	ck_assert_uint_eq(read_text(strbuf_str(&text), &h, copy), strlen(head));
	ck_assert_int_eq(handshake_check(&h, &why), 0);
	ck_assert_str_eq(h.upgrade, "websocket");
	ck_assert_str_eq(h.authorization, "Bearer pk_a_b");
	ck_assert_str_eq(h.origin, "https://a.example");
	handshake_answer(&h, &out);
	/* The accept of RFC 6455, 1.3. */
	ck_assert_str_eq(strbuf_str(&out),
			 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			 "Connection: Upgrade\r\n"
			 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
			 "Sec-WebSocket-Protocol: penstock.v1.protobuf\r\n"
			 "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;"
			 " client_no_context_takeover\r\n\r\n");
	strbuf_done(&text);
	strbuf_done(&out);
}
END_TEST

START_TEST(whatever_else_is_left_alone)
{
	static const char *const others[] = {
	    "",
	    GET,
	    GET END,
	    GET UP END,                             /* no Host */
	    GET HOST HOST UP END,                   /* two of them */
	    GET HOST UP,                            /* not whole */
	    GET HOST UP "\r",                       /* nor this */
	    "POST /v1/ws HTTP/1.1\r\n" HOST UP END, /* another method */
	    "GET /v1/ws HTTP/1.0\r\n" HOST UP END,  /* another version */
	    "GET /v1/ws?access_token=a HTTP/1.1\r\n" HOST UP END,
	    "GET /v1/wsx HTTP/1.1\r\n" HOST UP END,
	    "GET  /v1/ws HTTP/1.1\r\n" HOST UP END,
	    "\r\n" GET HOST UP END,
	    "GET /v1/ws HTTP/1.1\n" HOST UP END, /* a bare line feed */
	    GET "Host: a\nX: b\r\n" UP END,
	    GET "Host: a\rX: b\r\n" UP END,   /* a bare carriage return */
	    GET HOST UP "X: a\r\n b\r\n" END, /* a folded line */
	    GET HOST UP " X: a\r\n" END,
	    GET HOST UP "X : a\r\n" END, /* a blank before the colon */
	    GET HOST UP ": a\r\n" END,
	    GET HOST UP "X\r\n" END,
	    GET HOST UP "X: \x01\r\n" END, /* neither visible nor a blank */
	    GET HOST UP "X: \xc3\xa4\r\n" END,
	    GET HOST UP "X: \x7f\r\n" END,
	    GET HOST UP "X\xc3: a\r\n" END,
	    GET HOST UP KEY END, /* what can be there once */
	    GET HOST UP "Connection: close\r\n" END,
	    GET HOST UP "Upgrade: h2c\r\n" END,
	    GET HOST UP "Origin: a\r\nOrigin: b\r\n" END,
	    GET HOST UP "Authorization: Bearer a\r\nauthorization: Bearer b\r\n" END,
	    GET HOST UP "Sec-WebSocket-Version: 8\r\n" END,
	    GET HOST UP "Content-Length: 0\r\n" END, /* what has a body */
	    GET HOST UP "Transfer-Encoding: chunked\r\n" END,
	    GET HOST UP "expect: 100-continue\r\n" END,
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		struct handshake h = {0};
		char copy[1024];

		ck_assert_msg(read_text(others[i], &h, copy) == 0, "%s", others[i]);
	}
}
END_TEST

START_TEST(a_zero_byte_ends_nothing)
{
	static const char text[] = GET HOST UP "X: a\0b\r\n" END;
	struct handshake h = {0};
	char copy[sizeof(text)];

	memcpy(copy, text, sizeof(text));
	ck_assert_uint_eq(handshake_read(copy, sizeof(text) - 1, &h), 0);
}
END_TEST

START_TEST(it_says_why_it_is_none)
{
	static const struct {
		const char *upgrade, *connection, *version, *key, *protocol, *code; /* NULL: good */
	} t[] = {
	    {"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ==", NULL, NULL},
	    {"h2c, WebSocket", "close,upgrade", "13",
	     "dGhlIHNhbXBsZSBub25jZQ==", "penstock.v1.json", NULL},
	    {NULL, "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ==", NULL, "upgrade_required"},
	    {"websockets", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ==", NULL, "upgrade_required"},
	    {"websocket", NULL, "13", "dGhlIHNhbXBsZSBub25jZQ==", NULL, "upgrade_required"},
	    {"websocket", "Upgrade", NULL, "dGhlIHNhbXBsZSBub25jZQ==", NULL, "upgrade_required"},
	    {"websocket", "Upgrade", "8", "dGhlIHNhbXBsZSBub25jZQ==", NULL, "upgrade_required"},
	    {"websocket", "Upgrade", "13", NULL, NULL, "bad_request"},
	    {"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ", NULL, "bad_request"},
	    {"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZ===", NULL, "bad_request"},
	    {"websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ==", "chat", "bad_request"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct handshake h = {0};
		struct client_error why = {0};
		const char *const headers[][2] = {{"Upgrade", t[i].upgrade},
						  {"Connection", t[i].connection},
						  {"Sec-WebSocket-Version", t[i].version},
						  {"Sec-WebSocket-Key", t[i].key},
						  {"Sec-WebSocket-Protocol", t[i].protocol}};

		for (size_t k = 0; k < 5; k++)
			if (headers[k][1])
				ck_assert(handshake_header(&h, headers[k][0], headers[k][1]));
		ck_assert_int_eq(handshake_check(&h, &why), t[i].code ? -1 : 0);
		if (t[i].code)
			ck_assert_str_eq(why.code, t[i].code);
	}
}
END_TEST

RUN_TESTS("edge: handshake", a_plain_one_is_taken, whatever_else_is_left_alone,
	  a_zero_byte_ends_nothing, it_says_why_it_is_none)
