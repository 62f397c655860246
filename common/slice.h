/* A piece of somebody else's text: pointer and length, no terminator, never owned. */
#ifndef PENSTOCK_SLICE_H
#define PENSTOCK_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *p; /* NULL: absent, where that can be */
	size_t len;
};

static inline struct slice slice_of(const char *text)
{
	return (struct slice){text, strlen(text)};
}

static inline bool slice_is(struct slice s, const char *text)
{
	size_t n = strlen(text);

	return s.p && s.len == n && memcmp(s.p, text, n) == 0;
}

/* Copies into out with a NUL; false if it does not fit or has a NUL inside. */
static inline bool slice_copy(struct slice s, char *out, size_t cap)
{
	if (s.len >= cap || (s.len && memchr(s.p, 0, s.len)))
		return false;
	if (s.len)
		memcpy(out, s.p, s.len);
	out[s.len] = 0;
	return true;
}

#endif
