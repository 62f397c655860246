#include "services/edge/handshake.h"

#include <string.h>
#include <strings.h>

#include "common/ws.h"

#define SUBPROTOCOLS "penstock.v1.json and penstock.v1.protobuf"

/* --- what it must say --------------------------------------------------------------------- */

/* Is word one of the comma separated tokens? */
static bool has_token(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (list && *list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, " \t,");
		if (n == len && !strncasecmp(list, word, n))
			return true;
		list += n;
	}
	return false;
}

/* 16 bytes in base64 (4.1): 22 characters and two equals signs. */
static bool valid_key(const char *key)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return key && strlen(key) == 24 && strspn(key, alphabet) == 22 && !strcmp(key + 22, "==");
}

bool handshake_header(struct handshake *h, const char *name, const char *value)
{
	const struct {
		const char *name, **place;
	} once[] = {
	    {"Upgrade", &h->upgrade},
	    {"Connection", &h->connection},
	    {"Sec-WebSocket-Version", &h->version},
	    {"Sec-WebSocket-Key", &h->key},
	    {"Authorization", &h->authorization},
	    {"Origin", &h->origin},
	};

	if (!strcasecmp(name, "Sec-WebSocket-Protocol")) {
		h->any_protocol = true;
		terms_protocol(&h->terms, value);
		return true;
	}
	if (!strcasecmp(name, "Sec-WebSocket-Extensions")) {
		if (h->may_deflate)
			terms_extensions(&h->terms, value);
		return true;
	}
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++) {
		if (strcasecmp(name, once[i].name) != 0)
			continue;
		if (*once[i].place)
			return false;
		*once[i].place = value;
	}
	return true;
}

int handshake_check(const struct handshake *h, struct client_error *why)
{
	if (!has_token(h->upgrade, "websocket") || !has_token(h->connection, "upgrade"))
		return client_refuse(why, "upgrade_required", "this is the door for WebSockets");
	if (!h->version || strcmp(h->version, "13") != 0)
		return client_refuse(why, "upgrade_required", "only version 13 is spoken");
	if (!valid_key(h->key))
		return client_refuse(why, "bad_request", "Sec-WebSocket-Key is not valid");
	if (h->any_protocol && !h->terms.named)
		return client_refuse(why, "bad_request", "the subprotocols are " SUBPROTOCOLS);
	return 0;
}

/* --- a plain one -------------------------------------------------------------------------- */

/* RFC 9110, 5.6.2. */
static bool is_token(const char *p, size_t len)
{
	static const char chars[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz";

	for (size_t i = 0; i < len; i++)
		if (!p[i] || !strchr(chars, p[i]))
			return false;
	return len != 0;
}

static bool is_visible(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((p[i] < ' ' && p[i] != '\t') || p[i] > '~')
			return false;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* What has, or asks for, more than the head. */
static bool is_of_a_body(const char *name)
{
	return !strcasecmp(name, "Content-Length") || !strcasecmp(name, "Transfer-Encoding") ||
	       !strcasecmp(name, "Expect");
}

/* The line [p, end), without its end, becomes two strings. */
static bool take_line(char *p, char *end, struct handshake *h, unsigned *hosts)
{
	char *colon = memchr(p, ':', (size_t)(end - p)), *value;

	if (!colon || !is_token(p, (size_t)(colon - p)) ||
	    !is_visible(colon, (size_t)(end - colon)))
		return false;
	value = colon + 1;
	while (value < end && is_blank(*value))
		value++;
	while (end > value && is_blank(end[-1]))
		end--;
	*colon = *end = 0;
	*hosts += !strcasecmp(p, "Host");
	return !is_of_a_body(p) && handshake_header(h, p, value);
}

size_t handshake_read(char *data, size_t len, struct handshake *h)
{
	static const char first[] = "GET " HANDSHAKE_PATH " HTTP/1.1\r\n";
	char *end = memmem(data, len, "\r\n\r\n", 4), *p = data + sizeof(first) - 1;
	unsigned hosts = 0;

	if (!end || len < sizeof(first) - 1 || memcmp(data, first, sizeof(first) - 1) != 0)
		return 0;
	end += 2;
	while (p < end) {
		char *next = memchr(p, '\r', (size_t)(end - p));

		if (next[1] != '\n' || !take_line(p, next, h, &hosts))
			return 0;
		p = next + 2;
	}
	return hosts == 1 ? (size_t)(end + 2 - data) : 0;
}

void handshake_answer(const struct handshake *h, struct strbuf *out)
{
	char accept[29];

	ws_accept(h->key, accept);
	strbuf_adds(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			 "Connection: Upgrade\r\nSec-WebSocket-Accept: ");
	strbuf_adds(out, accept);
	if (h->terms.named) {
		strbuf_adds(out, "\r\nSec-WebSocket-Protocol: ");
		strbuf_adds(out, terms_protocol_name(&h->terms));
	}
	if (h->terms.deflate) {
		strbuf_adds(out, "\r\nSec-WebSocket-Extensions: ");
		terms_add_extensions(&h->terms, out);
	}
	strbuf_adds(out, "\r\n\r\n");
}
