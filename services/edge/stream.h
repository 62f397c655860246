/* A connection that is a stream of server-sent events: the answer to a GET that does not end.
 *
 * libmicrohttpd gives a socket away only for an answer of 101, so the request stays with it,
 * suspended, and a reactor writes to the socket (a duplicate) meanwhile. To the reactor it is a
 * struct conn as every other: topics, history, bounds, spilling and draining are the same; its
 * frames are events (sse.h), it has no closing handshake, and nothing is read of what it sends.
 * When it ends, libmicrohttpd gets the request back and closes the socket. Threads: the reactor's,
 * but for stream_accept(). */
#ifndef PENSTOCK_EDGE_STREAM_H
#define PENSTOCK_EDGE_STREAM_H

#include "services/edge/conn.h"

struct call;

/* Any thread. The call is authenticated, waits for its answer and is handed over, fd (owned) is its
 * socket's duplicate. */
void stream_accept(struct reactor *r, struct call *call, int fd);
/* Ends all streams, now and from now on: libmicrohttpd is about to stop. Any thread. */
void streams_end(struct reactor *r);

/* A control frame of RFC 6455 as the stream has it; NULL: it has none. */
struct frame *stream_control(const struct conn *c, enum ws_opcode opcode, const void *data,
			     size_t len);
/* The socket is closed. */
void stream_over(struct conn *c);

#endif
