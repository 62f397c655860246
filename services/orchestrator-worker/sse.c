#include "services/orchestrator-worker/sse.h"

#include <string.h>

void sse_init(struct sse *s, size_t max)
{
	*s = (struct sse){.max = max};
}

void sse_done(struct sse *s)
{
	strbuf_done(&s->line);
	strbuf_done(&s->data);
}

static int end_event(struct sse *s, sse_fn *fn, void *arg)
{
	if (s->data.len == 0)
		return 0;
	s->data.data[--s->data.len] = '\0'; /* the newline behind the last line of data */
	int stop = fn(arg, s->data.data, s->data.len);
	strbuf_reset(&s->data);
	return stop != 0 ? -1 : 0;
}

static int end_line(struct sse *s, sse_fn *fn, void *arg)
{
	const char *p = strbuf_str(&s->line);
	size_t len = s->line.len;
	if (!s->started && len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
		p += 3;
		len -= 3;
	}
	s->started = 1;
	if (len == 0) {
		strbuf_reset(&s->line);
		return end_event(s, fn, arg);
	}
	if (len >= 4 && memcmp(p, "data", 4) == 0 && (len == 4 || p[4] == ':')) {
		size_t skip = len == 4 ? 4 : 5;
		skip += skip < len && p[skip] == ' ';
		if (s->data.len + len - skip + 1 > s->max)
			return -1;
		strbuf_add(&s->data, p + skip, len - skip);
		strbuf_addc(&s->data, '\n');
	}
	strbuf_reset(&s->line);
	return 0;
}

int sse_feed(struct sse *s, const char *bytes, size_t len, sse_fn *fn, void *arg)
{
	size_t from = 0;
	for (size_t i = 0; i < len; i++) {
		char c = bytes[i];
		if (c != '\n' && c != '\r') {
			s->cr = 0;
			continue;
		}
		if (c == '\n' && s->cr) { /* i == from: the line ended with the CR */
			s->cr = 0;
			from = i + 1;
			continue;
		}
		s->cr = c == '\r';
		if (s->line.len + i - from > s->max)
			return -1;
		strbuf_add(&s->line, bytes + from, i - from);
		from = i + 1;
		if (end_line(s, fn, arg))
			return -1;
	}
	if (s->line.len + len - from > s->max)
		return -1;
	strbuf_add(&s->line, bytes + from, len - from);
	return 0;
}
