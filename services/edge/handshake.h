/* What a request for a WebSocket says, and whether it may have one (RFC 6455, 4.2.1).
 *
 * It is read by libmicrohttpd, or by handshake_read(), which takes only what is whole and plain:
 * everything else is left to libmicrohttpd, unread (docs/decisions/0035). Pure; threads: any. */
#ifndef PENSTOCK_EDGE_HANDSHAKE_H
#define PENSTOCK_EDGE_HANDSHAKE_H

#include "services/edge/client_msg.h"
#include "services/edge/terms.h"

#define HANDSHAKE_PATH "/v1/ws"

struct handshake {        /* zeroed: nothing was said */
	bool may_deflate; /* the caller's */
	/* Borrowed; NULL: not there. */
	const char *upgrade, *connection, *version, *key, *authorization, *origin;
	bool any_protocol; /* subprotocols were named */
	struct ws_terms terms;
};

/* One header, in their order; value is borrowed. False: a second one of those that can be there
 * once, which changes nothing. */
bool handshake_header(struct handshake *h, const char *name, const char *value);
/* All headers were there: 0, or -1 and why it may have none. */
int handshake_check(const struct handshake *h, struct client_error *why);
/* Reads the head of a request at the beginning of data, and returns its length. 0: not whole, or
 * not plain: GET of HANDSHAKE_PATH by HTTP/1.1, one Host, headers of visible ASCII on a line each,
 * none of struct handshake's twice, no body. data is changed; h's texts are in it. */
size_t handshake_read(char *data, size_t len, struct handshake *h);
/* The answer of 101, whole. */
void handshake_answer(const struct handshake *h, struct strbuf *out);

#endif
