/* Every frame that the edge sends (PROTOCOL 2), in the encoding of the buffer that it is added to.
 * Pure; threads: any.
 *
 * Each function adds one message to b. id is what the client sent, in the same encoding: JSON text,
 * or the text itself in protobuf; "" or NULL: none. An event's data is spliced in as it is: the
 * router accepted it as JSON. */
#ifndef PENSTOCK_EDGE_FRAMES_H
#define PENSTOCK_EDGE_FRAMES_H

#include <stdint.h>

#include "common/strbuf.h"
#include "services/edge/wire.h"

enum encoding {
	ENCODING_JSON,     /* penstock.v1.json */
	ENCODING_PROTOBUF, /* penstock.v1.protobuf: a ServerFrame of proto/client.proto */
};

/* Zeroed: empty, JSON. */
struct frame_buf {
	struct strbuf b;
	enum encoding encoding;
	size_t body; /* where the message under way began */
};

struct frame_limits {
	int64_t frame_bytes, task_bytes, subscriptions, in_flight;
};

struct frame_connected {
	const char *session, *tenant, *edge, *resume;
	int64_t resume_ttl_ms, ping_ms;
	struct frame_limits limits;
};

struct frame_error {
	const char *code, *message;
	const char *scope; /* NULL: connection */
	bool temporary;
	uint32_t retry_after_ms; /* 0: absent */
	const char *limit;       /* whose limit it was; NULL or "": absent */
};

struct frame_accepted {
	const char *event_id, *channel, *task; /* task "" for an event */
	uint64_t offset;
	bool duplicate;
};

void frames_connected(struct frame_buf *b, const struct frame_connected *f);
/* A new resume token in the place of the one before; good for ttl_ms after the socket is lost. */
void frames_resume(struct frame_buf *b, const char *token, int64_t ttl_ms);
void frames_subscribed(struct frame_buf *b, const char *id, const char *channel, const char *epoch,
		       uint64_t offset, bool recovered);
void frames_unsubscribed(struct frame_buf *b, const char *id, const char *channel);
/* durable: with offset and prev. */
void frames_event(struct frame_buf *b, const struct event_view *e, bool durable, uint64_t offset,
		  uint64_t prev);
void frames_delta(struct frame_buf *b, const struct delta_view *d); /* or a reset frame */
void frames_accepted(struct frame_buf *b, const char *id, const struct frame_accepted *f);
/* The same members as a JSON object of their own: the body of HTTP's 202. */
void frames_accepted_body(struct strbuf *b, const struct frame_accepted *f);
void frames_gap(struct frame_buf *b, const char *channel, uint64_t from, uint64_t to,
		const char *reason, bool replayable);
void frames_drain(struct frame_buf *b, const char *url, int64_t reconnect_after_ms,
		  int64_t deadline_ms, const char *reason);
void frames_error(struct frame_buf *b, const char *id, const struct frame_error *f);
void frames_pong(struct frame_buf *b, const char *id);
/* What frames_event() or frames_delta() wrote in JSON, in protobuf. So an event's frame is kept in
 * one form, which all can do with, and the other one is made of it when somebody needs it. */
void frames_protobuf(struct frame_buf *b, struct slice json);

#endif
