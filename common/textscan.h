/* Scanning text eight bytes at a time. Pure, inline; used by the JSON reader and writers.
 *
 * The "has a byte less than n" and "has a zero byte" tests are from Warren, Hacker's Delight, 6-1:
 * exact as a yes or no for the whole word. */
#ifndef PENSTOCK_TEXTSCAN_H
#define PENSTOCK_TEXTSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TEXTSCAN_ONES  (UINT64_C(0x0101010101010101))
#define TEXTSCAN_HIGHS (UINT64_C(0x8080808080808080))

/* Bytes that RFC 8259, section 7, does not let stand in a string: below 0x20, '"' and '\\'. */
static inline bool textscan_plain_byte(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

static inline bool textscan_plain_word(uint64_t w)
{
	uint64_t quote = w ^ (TEXTSCAN_ONES * '"');
	uint64_t slash = w ^ (TEXTSCAN_ONES * '\\');
	uint64_t hit = ((w - TEXTSCAN_ONES * 0x20) & ~w) | ((quote - TEXTSCAN_ONES) & ~quote) |
		       ((slash - TEXTSCAN_ONES) & ~slash);

	return !(hit & TEXTSCAN_HIGHS);
}

/* Length of the run at the front that stands in a JSON string as it is. *high gets a bit above 0x7f
 * for each byte that is not ASCII (and may be NULL). */
static inline size_t textscan_plain(const char *text, size_t len, uint64_t *high)
{
	uint64_t seen = 0;
	size_t i = 0;

	for (uint64_t w; i + 8 <= len; i += 8) {
		memcpy(&w, text + i, 8);
		if (!textscan_plain_word(w))
			break;
		seen |= w;
	}
	for (; i < len && textscan_plain_byte((unsigned char)text[i]); i++)
		seen |= (unsigned char)text[i];
	if (high)
		*high |= seen & TEXTSCAN_HIGHS;
	return i;
}

#endif
