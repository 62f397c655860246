#include "common/strbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/textscan.h"

static void *must(void *p)
{
	if (!p) {
		static const char text[] = "penstock: out of memory\n";

		fwrite(text, 1, sizeof(text) - 1, stderr);
		abort();
	}
	return p;
}

/* Zero bytes are asked for as one, so that NULL always means failure. */
void *xmalloc(size_t n)
{
	return must(malloc(n ? n : 1));
}

void *xcalloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
	return must(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
	return xmemdup(s, strlen(s) + 1);
}

char *xstrndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *copy = xmalloc(len + 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

void *xmemdup(const void *p, size_t n)
{
	void *copy = xmalloc(n);

	if (n)
		memcpy(copy, p, n);
	return copy;
}

void strbuf_done(struct strbuf *b)
{
	if (!b)
		return;
	free(b->data);
	*b = (struct strbuf){0};
}

void strbuf_reset(struct strbuf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = '\0';
}

static void grow(struct strbuf *b, size_t extra)
{
	size_t need = b->len + extra + 1;
	size_t cap = b->cap ? b->cap + b->cap / 2 : 64;

	if (need <= extra)
		must(NULL);
	if (cap < need)
		cap = need;
	b->data = xrealloc(b->data, cap);
	b->cap = cap;
}

/* Room for `extra` bytes and the NUL. */
static inline char *room(struct strbuf *b, size_t extra)
{
	if (b->cap - b->len <= extra)
		grow(b, extra);
	return b->data + b->len;
}

void strbuf_reserve(struct strbuf *b, size_t extra)
{
	room(b, extra)[0] = '\0';
}

void strbuf_add(struct strbuf *b, const void *data, size_t len)
{
	char *to = room(b, len);

	if (len)
		memcpy(to, data, len);
	to[len] = '\0';
	b->len += len;
}

void strbuf_adds(struct strbuf *b, const char *text)
{
	strbuf_add(b, text, strlen(text));
}

void strbuf_addc(struct strbuf *b, char c)
{
	char *to = room(b, 1);

	to[0] = c;
	to[1] = '\0';
	b->len++;
}

void strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	room(b, 0);
	n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, ap);
	if (n < 0) {
		b->data[b->len] = '\0';
	} else {
		if ((size_t)n >= b->cap - b->len) {
			room(b, (size_t)n);
			vsnprintf(b->data + b->len, b->cap - b->len, fmt, again);
		}
		b->len += (size_t)n;
	}
	va_end(again);
}

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	strbuf_vaddf(b, fmt, ap);
	va_end(ap);
}

static void add_escaped(struct strbuf *b, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	/* Index: control character; 0 where only \u00XX will do. */
	static const char shortcut[0x20] = {
	    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	char out[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

	if (c == '"' || c == '\\')
		out[1] = (char)c;
	else if (shortcut[c])
		out[1] = shortcut[c];
	strbuf_add(b, out, out[1] == 'u' ? 6 : 2);
}

void strbuf_add_jsonn(struct strbuf *b, const char *text, size_t len)
{
	strbuf_reserve(b, len + 2);
	strbuf_addc(b, '"');
	for (size_t i = 0; i < len;) {
		size_t run = textscan_plain(text + i, len - i, NULL);

		strbuf_add(b, text + i, run);
		i += run;
		if (i < len)
			add_escaped(b, (unsigned char)text[i++]);
	}
	strbuf_addc(b, '"');
}

void strbuf_add_json(struct strbuf *b, const char *text)
{
	if (text)
		strbuf_add_jsonn(b, text, strlen(text));
	else
		strbuf_add(b, "null", 4);
}

void strbuf_consume(struct strbuf *b, size_t len)
{
	if (len > b->len)
		len = b->len;
	if (!len)
		return;
	b->len -= len;
	memmove(b->data, b->data + len, b->len + 1);
}

char *strbuf_detach(struct strbuf *b, size_t *len)
{
	char *text;

	room(b, 0)[0] = '\0';
	text = b->data;
	if (len)
		*len = b->len;
	*b = (struct strbuf){0};
	return text;
}

const char *strbuf_str(const struct strbuf *b)
{
	return b->data ? b->data : "";
}
