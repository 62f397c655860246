/* What a client and the edge agree on in the WebSocket handshake: the subprotocol, and
 * permessage-deflate (RFC 7692). Pure; threads: any. */
#ifndef PENSTOCK_EDGE_TERMS_H
#define PENSTOCK_EDGE_TERMS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

struct ws_terms {         /* zeroed: JSON, not compressed */
	uint8_t encoding; /* enum encoding */
	bool deflate;
	uint8_t window_bits; /* of what the client can unpack */
	/* For the answer: */
	bool named;                       /* the client asked for a subprotocol, and has it */
	uint8_t server_bits, client_bits; /* 0: not in the offer that was taken */
};

/* One Sec-WebSocket-Protocol header; called for each of them in their order. The first name that is
 * ours counts: it is the one that the client likes best. */
void terms_protocol(struct ws_terms *t, const char *value);
const char *terms_protocol_name(const struct ws_terms *t);
/* One Sec-WebSocket-Extensions header; likewise. The first offer counts that is valid; those that
 * are not, and other extensions, are passed over (RFC 7692, 5.1). */
void terms_extensions(struct ws_terms *t, const char *value);
/* What to answer; t->deflate. Neither side keeps a context: that is always said. */
void terms_add_extensions(const struct ws_terms *t, struct strbuf *b);

#endif
