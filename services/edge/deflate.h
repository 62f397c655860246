/* permessage-deflate's messages (RFC 7692), without context takeover on either side: each one is
 * compressed by itself, so an event is compressed once for all who want it, and nothing is kept for
 * a connection. Threads: one owner; a reactor has one for all of its connections. zlib's memory
 * (about 200 KiB) is taken at the first use. */
#ifndef PENSTOCK_EDGE_DEFLATE_H
#define PENSTOCK_EDGE_DEFLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/slice.h"
#include "common/strbuf.h"

struct deflater { /* zeroed, but for level and threshold: ready */
	int level;
	uint32_t threshold;          /* bytes of a message from which on it is worth trying */
	struct z_stream_s *out, *in; /* zlib's; NULL: not used yet */
	struct strbuf message;       /* what was unpacked last */
	/* Bytes of messages, both ways; the owner takes them for his metrics. */
	int64_t plain_out, packed_out, plain_in, packed_in;
};

void deflater_done(struct deflater *d);
/* Writes the payload of a compressed message into out; 0: it does not fit into cap bytes. */
size_t deflater_pack(struct deflater *d, const void *data, size_t len, void *out, size_t cap);

enum unpacked {
	UNPACKED,
	UNPACKED_BAD,  /* not DEFLATE, or not to its end */
	UNPACKED_LONG, /* more than max bytes: what is beyond was not unpacked */
};

/* *out is valid until the next call. */
enum unpacked deflater_unpack(struct deflater *d, const void *data, size_t len, size_t max,
			      struct slice *out);

#endif
