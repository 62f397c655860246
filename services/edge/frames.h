/* Every frame that the edge sends, as JSON text (PROTOCOL 2). Pure; threads: any.
 *
 * Each function adds one object to b. id is JSON text as the client sent it, or "" / NULL. An
 * event's data is spliced in as it is: the router accepted it as JSON. */
#ifndef PENSTOCK_EDGE_FRAMES_H
#define PENSTOCK_EDGE_FRAMES_H

#include <stdint.h>

#include "common/strbuf.h"
#include "services/edge/wire.h"

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

void frames_connected(struct strbuf *b, const struct frame_connected *f);
void frames_subscribed(struct strbuf *b, const char *id, const char *channel, const char *epoch,
		       uint64_t offset, bool recovered);
void frames_unsubscribed(struct strbuf *b, const char *id, const char *channel);
/* durable: with offset and prev. */
void frames_event(struct strbuf *b, const struct event_view *e, bool durable, uint64_t offset,
		  uint64_t prev);
void frames_delta(struct strbuf *b, const struct delta_view *d); /* or a reset frame */
void frames_accepted(struct strbuf *b, const char *id, const struct frame_accepted *f);
/* The same object without op and id: the body of HTTP's 202. */
void frames_accepted_body(struct strbuf *b, const struct frame_accepted *f);
void frames_gap(struct strbuf *b, const char *channel, uint64_t from, uint64_t to,
		const char *reason, bool replayable);
void frames_drain(struct strbuf *b, const char *url, int64_t reconnect_after_ms,
		  int64_t deadline_ms, const char *reason);
void frames_error(struct strbuf *b, const char *id, const struct frame_error *f);
void frames_pong(struct strbuf *b, const char *id);

#endif
