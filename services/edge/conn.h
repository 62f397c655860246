/* One WebSocket connection: the socket, what came in, what goes out, and its session. Threads: the
 * reactor's. */
#ifndef PENSTOCK_EDGE_CONN_H
#define PENSTOCK_EDGE_CONN_H

#include "services/edge/inbox.h"
#include "services/edge/reactor.h"
#include "services/edge/topic.h"

struct conn {
	struct loop_io io;
	struct timer timer; /* the earliest of what waits for time */
	struct reactor *reactor;
	struct conn *prev, *next; /* of the reactor's list; next also of the dead */
	struct conn *dirty_next;
	struct session session;
	struct principal *principal;
	struct inbox in;
	struct outq out;
	uint32_t refs;     /* requests under way that point here */
	uint32_t window_n; /* messages since window_us */
	int64_t window_us, give_up_us, drain_us;
	uint16_t close_code;
	bool dirty, closed;
	bool close_sent, close_received;
	bool blocked; /* waits for EPOLLOUT */
	bool paused;  /* not read: it sends too fast */
	bool stalled; /* a link waits for room */
	bool deaf;    /* broke RFC 6455: nothing more is read of what it sends */
};

struct conn *conn_new(struct reactor *r, int fd, char *token);
/* What comes while the plane says who it is waits for that: a client need not wait for `connected`.
 */
void conn_input(struct conn *conn, uint8_t *data, size_t len);
void conn_resume_input(struct conn *conn); /* it is known now */
/* An event's or delta's frame; takes its own reference. */
void conn_deliver(struct conn *conn, struct out_ref *ref);
/* Room for more pages of history? If not, link_resume() is called when there is. */
bool conn_has_room(struct conn *conn);
/* Carries out what the session decided (reactor's step). */
void conn_apply(struct conn *conn, struct session_step *step);
void conn_close(struct conn *conn, unsigned code, const char *reason);
void conn_drain(struct conn *conn, int64_t window_ms, const char *url);
void conn_flush(struct conn *conn);
/* Ends it without further words. */
void conn_abort(struct conn *conn);
void conn_release(struct conn *conn); /* a request that pointed here is through */
void conn_free(struct conn *conn);    /* it was closed, refs is 0 */

/* conn_plane.c: what the session asks of the plane. */
void conn_ask_auth(struct conn *conn, char *token); /* owned */
void conn_ask_command(struct conn *conn, const struct session_step *step,
		      const struct client_msg *msg);

#endif
