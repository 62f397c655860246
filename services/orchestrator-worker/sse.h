/* Server-sent events, parsed as the bytes come (WHATWG HTML, 9.2.6). Only what a model's stream
 * needs: the data of each event; event names, ids and retry times are skipped.
 *
 * Pure; threads: one owner. Bounded: a line or an event longer than `max` is an error. */
#ifndef WORKER_SSE_H
#define WORKER_SSE_H

#include "common/strbuf.h"

struct sse {
	struct strbuf line, data;
	size_t max;
	int cr;      /* the last byte was a CR: a following LF belongs to it */
	int started; /* a byte order mark may only come first */
};

/* data without its final newline, ends in NUL; borrowed. A return other than 0 stops the parsing.
 */
typedef int sse_fn(void *arg, const char *data, size_t len);

void sse_init(struct sse *s, size_t max);
void sse_done(struct sse *s);
/* -1 if the bound was passed or fn wanted to stop. */
int sse_feed(struct sse *s, const char *bytes, size_t len, sse_fn *fn, void *arg);

#endif
