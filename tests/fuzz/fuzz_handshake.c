/* What a stranger sends first to the clients' port: only what is whole and plain is taken, by as
 * many bytes as its head has, and the answer is one head whatever was asked for. */
/* links: services/edge */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "services/edge/auth.h"
#include "services/edge/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_inside(const char *text, const char *data, size_t len)
{
	assert(!text || (text > data && text + strlen(text) < data + len));
}

/* RFC 9112, 2.2, 5: lines that end in CRLF, without folding, of visible characters. */
static void is_plain(const uint8_t *head, size_t len)
{
	assert(!memcmp(head, "GET " HANDSHAKE_PATH " HTTP/1.1\r\n", 21));
	assert(!memcmp(head + len - 4, "\r\n\r\n", 4));
	for (size_t i = 0; i < len; i++) {
		if (head[i] == '\r')
			assert(head[i + 1] == '\n');
		else if (head[i] == '\n')
			assert(head[i - 1] == '\r' &&
			       (i + 1 == len || !strchr(" \t", head[i + 1])));
		else
			assert(head[i] == '\t' || (head[i] >= ' ' && head[i] <= '~'));
	}
	assert(memmem(head, len, "\r\n\r\n", 4) == head + len - 4);
}

static void answer(const struct handshake *h)
{
	struct client_error why;
	struct strbuf out = {0};
	char *token, *origin;

	if (handshake_check(h, &why))
		return;
	handshake_answer(h, &out);
	assert(out.len > 4 && !strncmp(out.data, "HTTP/1.1 101 ", 13));
	is_inside(out.data + 13, out.data, out.len + 1);
	assert(strstr(out.data, "\r\n\r\n") == out.data + out.len - 4);
	strbuf_done(&out);
	token = auth_token(h->authorization, NULL);
	origin = auth_origin(h->origin);
	assert(!token || strlen(token) <= TOKEN_MAX);
	assert(!origin || strlen(origin) <= ORIGIN_MAX);
	free(token);
	free(origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct handshake h = {.may_deflate = true};
	char *copy = malloc(size ? size : 1); /* just so long: what reads on is seen */
	size_t len;

	if (size)
		memcpy(copy, data, size);
	len = handshake_read(copy, size, &h);
	assert(len <= size);
	if (len) {
		is_plain(data, len);
		is_inside(h.upgrade, copy, len);
		is_inside(h.connection, copy, len);
		is_inside(h.version, copy, len);
		is_inside(h.key, copy, len);
		is_inside(h.authorization, copy, len);
		is_inside(h.origin, copy, len);
		answer(&h);
	}
	free(copy);
	return 0;
}
