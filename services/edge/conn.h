/* One WebSocket connection, or a stream of server-sent events (stream.h): the socket, what came in,
 * what goes out, and its session. Threads: the reactor's. */
#ifndef PENSTOCK_EDGE_CONN_H
#define PENSTOCK_EDGE_CONN_H

#include "services/edge/drain.h"
#include "services/edge/inbox.h"
#include "services/edge/intake.h"
#include "services/edge/reactor.h"
#include "services/edge/topic.h"

#define CONN_HELD_BYTES (256U << 10)

struct call;

struct conn {
	struct loop_io io;
	struct timer timer; /* the earliest of what waits for time */
	struct reactor *reactor;
	struct conn *prev, *next; /* of the reactor's list; next also of the dead */
	struct conn *dirty_next;
	struct session session;
	struct principal *principal;
	char *origin; /* of the page that asks, until it is known who that is; NULL: no browser */
	struct call *stream; /* NULL: a WebSocket */
	struct inbox in;
	struct outq out;
	uint32_t routed;       /* of its commands, on their way through the router: the hub's */
	uint32_t refs;         /* requests under way that point here */
	uint32_t held_bytes;   /* by its links, of frames that wait for a page */
	uint32_t reserved;     /* of the room, for pages under way */
	uint32_t flight_bytes; /* of commands without an answer */
	struct intake intake;
	int64_t give_up_us, drain_us;
	int64_t progress_us; /* while waiting: when the socket last took something */
	uint16_t close_code;
	uint8_t drain;     /* enum drain_state; drain_us is when it goes on, 0: not by time */
	uint8_t next_slot; /* of the links that wait for room, the first one to be asked */
	bool dirty, closed;
	bool direct; /* its last command took the direct road */
	bool close_sent, close_received;
	bool blocked; /* waits for EPOLLOUT */
	bool choked;  /* not read: too much of what it sent waits for answers, or its answers for it
		       */
	bool stalled; /* a link waits for room */
	bool unpacks; /* its messages may be compressed */
	bool starved; /* a page's frame did not fit: the next page when nothing waits any more */
	bool waiting; /* the socket did not take all of what waited for it */
	bool deaf;    /* nothing is read of what it sends: a stream, or it broke RFC 6455 */
};

/* token, origin: owned; NULL: none. */
/* answer: to the handshake, owned, the first that is sent; NULL: it was sent. Where a token came
 * with the handshake it goes out together with what follows from that. */
struct conn *conn_new(struct reactor *r, int fd, char *token, char *origin,
		      const struct ws_terms *terms, struct frame *answer);
/* The options of a socket; one that listens gives them to those that it accepts. */
void conn_set_socket(const struct reactor *r, int fd);
/* What comes while the plane says who it is waits for that: a client need not wait for `connected`.
 */
void conn_input(struct conn *conn, uint8_t *data, size_t len);
void conn_resume_input(struct conn *conn); /* it is known now */
/* An event's or delta's frame; takes its own reference. False: a durable one that has no room;
 * others are dropped then. replay: it comes from the log, into room that was reserved. */
bool conn_deliver(struct conn *conn, struct out_ref *ref, bool replay);
/* Room for a page of the log, in bytes: give it back with conn_unreserve() before the page is
 * delivered. 0: none; link_resume() is called when there is. */
uint32_t conn_reserve(struct conn *conn);
void conn_unreserve(struct conn *conn, uint32_t bytes);
void conn_stall(struct conn *conn); /* link_resume() is called when there is room */
/* A command's bytes are in flight, or back (less than 0). */
void conn_flight(struct conn *conn, int64_t bytes);
/* Carries out what the session decided (reactor's step). */
void conn_apply(struct conn *conn, struct session_step *step);
void conn_close(struct conn *conn, unsigned code, const char *reason);
void conn_drain_at(struct conn *conn, int64_t at_us); /* when conn_drain_step() shall be called */
/* A control frame as it is; takes its own reference. False: no room for it. */
bool conn_send_ref(struct conn *conn, struct out_ref *ref);
/* A control frame; false: no room for it. */
bool conn_send(struct conn *conn, const struct frame_buf *frame);
void conn_flush(struct conn *conn);
/* The same by halves: its first write joins a batch, and conn_sent() hears what came of it;
 * conn_flush() does the rest. False: it has none, or so much that a batch saves nothing. */
bool conn_burst(struct conn *conn, struct sends *sends);
void conn_sent(struct conn *conn, ssize_t result); /* bytes, or -errno */
/* Ends it without further words. */
void conn_abort(struct conn *conn);
void conn_release(struct conn *conn); /* a request that pointed here is through */
void conn_free(struct conn *conn);    /* it was closed, refs is 0 */

/* conn_plane.c: what the session asks of the plane. */
/* Owned; NULL: none. With both, the token is for when the session cannot be resumed. */
void conn_ask_auth(struct conn *conn, char *token, char *resume);
bool conn_renew(struct conn *conn); /* sends a new resume token; false: no room */
void conn_ask_command(struct conn *conn, const struct session_step *step,
		      const struct client_msg *msg);

#endif
