/* The protobuf wire format, read without copying and written without a tree: for the messages that
 * pass by the ten thousands. Everything else goes through protobuf-c. Pure; threads: any. */
#ifndef PENSTOCK_PBWIRE_H
#define PENSTOCK_PBWIRE_H

#include <stdint.h>

#include "common/slice.h"
#include "common/strbuf.h"

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_reader {
	const uint8_t *p, *end;
};

struct pb_field {
	uint32_t number;
	unsigned type; /* enum pb_type */
	uint64_t value;
	struct slice bytes; /* points into the message; also of the fixed ones */
};

static inline struct pb_reader pb_reader(const void *data, size_t len)
{
	return (struct pb_reader){data, (const uint8_t *)data + len};
}

/* False at the end, and for what is not the wire format; then p is at the end only if all was read.
 * Groups are not the wire format: proto3 has none. */
bool pb_next(struct pb_reader *r, struct pb_field *f);

/* A default value adds nothing. number is at most 15. */
void pb_add_u64(struct strbuf *b, unsigned number, uint64_t v);
void pb_add_bytes(struct strbuf *b, unsigned number, const void *data, size_t len);
/* Makes a message of what was added behind at; it adds also if it is empty. more: of the message's
 * bytes, the caller adds so many afterwards. */
void pb_wrap(struct strbuf *b, size_t at, unsigned number, size_t more);
/* The field's head; the caller adds its len bytes. */
void pb_add_head(struct strbuf *b, unsigned number, size_t len);

#endif
