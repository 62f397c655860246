/* Server-sent events (WHATWG HTML, 9.2): the frames of PROTOCOL 2 as the events of a stream.
 *
 * The op becomes the event's name, but for `error`, which is `problem`: browsers use that word for
 * a lost connection. `data` is the frame's JSON. What has a position in the channel's log says it
 * as its id, `<epoch>:<offset>`, and so a browser that reconnects sends it as Last-Event-ID. Pure;
 * threads: any. */
#ifndef PENSTOCK_EDGE_SSE_H
#define PENSTOCK_EDGE_SSE_H

#include "common/strbuf.h"
#include "services/edge/client_msg.h"

#define SSE_TYPE "text/event-stream"

/* The answer's head and how long to wait before coming back. */
void sse_head(struct strbuf *b, const char *trace, unsigned retry_ms);
/* One event. json: a frame as frames.h makes it. offset: its position, 0: it has none, unless it is
 * `subscribed`, which brings its own. */
void sse_event(struct strbuf *b, const char *json, size_t len, const char *epoch, uint64_t offset);
/* A comment: something to send where there is nothing to say. */
void sse_beat(struct strbuf *b);

/* Last-Event-ID as msg's `after`. What is not an id of ours is a position in another log. */
void sse_read_id(const char *text, struct client_msg *msg);
/* ?after=: an offset, of the log as it is now, or an id. -1: neither. */
int sse_read_after(const char *text, struct client_msg *msg);

#endif
