/* The one string builder: a growable byte buffer that always ends in NUL (not counted in len).
 *
 * Zeroed storage is an empty buffer. Allocation failure aborts: a process that cannot get a few
 * bytes cannot keep a promise either. Threads: a buffer belongs to its owner. */
#ifndef PENSTOCK_STRBUF_H
#define PENSTOCK_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

struct strbuf {
	char *data; /* NULL while nothing was added */
	size_t len, cap;
};

void strbuf_done(struct strbuf *b);  /* frees; NULL and zeroed are fine; leaves it empty */
void strbuf_reset(struct strbuf *b); /* len = 0, keeps the storage */
void strbuf_reserve(struct strbuf *b, size_t extra);
void strbuf_add(struct strbuf *b, const void *data, size_t len);
void strbuf_adds(struct strbuf *b, const char *text);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_vaddf(struct strbuf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Adds text as a JSON string, quotes included. Text must be UTF-8. text == NULL adds null. */
void strbuf_add_json(struct strbuf *b, const char *text);
void strbuf_add_jsonn(struct strbuf *b, const char *text, size_t len);
/* Removes `len` bytes from the front. */
void strbuf_consume(struct strbuf *b, size_t len);
/* You own the returned text (free()); the buffer is empty afterwards. Never NULL. */
char *strbuf_detach(struct strbuf *b, size_t *len);
const char *strbuf_str(const struct strbuf *b); /* never NULL */

/* malloc family that aborts on failure; sizes from outside are bounded before they come here. */
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n);

#endif
