/* A reactor: one thread with an epoll loop that serves its share of the sockets.
 *
 * It owns its connections, its topics (the local side of a channel: who of its connections
 * subscribes) and its principals; nobody else touches them. All connections' frames of a turn go
 * out at the turn's end, one write for each connection. Threads: reactor_new/free by the assembling
 * thread, reactor_accept/deliver/… by any (they post). */
#ifndef PENSTOCK_EDGE_REACTOR_H
#define PENSTOCK_EDGE_REACTOR_H

#include <pthread.h>

#include "common/rng.h"
#include "services/edge/hub.h"
#include "services/edge/outq.h"
#include "services/edge/table.h"

struct conn;

struct tally { /* counted without atomics, told to the metrics once a turn */
	int64_t frames_in, frames_out, bytes_in, bytes_out, writes, deliveries;
};

struct reactor {
	struct edge *edge;
	struct loop *loop;
	struct loop_hook hook;
	pthread_t thread;
	bool running;
	unsigned index;
	struct rng rng;

	struct conn *conns; /* all, doubly linked */
	size_t n_conns;
	struct conn *dirty; /* have something to write */
	struct conn *dead;  /* to be freed when nobody looks at them any more */
	struct table topics, principals;
	struct out_pool pool;
	struct tally tally;
	bool draining, stopped;

	/* Scratch of the message that is being worked on. */
	uint8_t *buffer;
	struct session_step step;
	struct client_msg msg;
	struct strbuf text;

	_Atomic int64_t mailbox; /* deliveries posted and not taken yet */
};

struct reactor *reactor_new(struct edge *edge, unsigned index, struct error *err);
int reactor_start(struct reactor *r, struct error *err) MUST_CHECK;
void reactor_free(struct reactor *r); /* stopped or never started; NULL is fine */

/* --- any thread */
/* An upgraded socket (owned from now on), the token that came with it (owned; NULL: none) and what
 * followed the handshake (copied). */
void reactor_accept(struct reactor *r, int fd, char *token, const void *extra, size_t extra_len);
void reactor_deliver(struct batch *batch); /* owned */
/* Whoever has this key, or belongs to this tenant (the other one NULL), is closed with code; 0:
 * only what the key may do has changed. */
void reactor_revoke(struct reactor *r, const char *tenant, const char *key, unsigned code,
		    unsigned scopes, int64_t expires_us);
/* url: where the clients shall go; copied. */
void reactor_drain(struct reactor *r, int64_t window_ms, const char *url);
/* Closes all sockets, then calls stopped(arg) on the hub's loop. */
void reactor_stop(struct reactor *r, void (*stopped)(void *arg), void *arg);
/* Afterwards: frees what is left, ends the thread and waits for it. */
void reactor_join(struct reactor *r);

/* --- the reactor's thread */
/* One more reference on who this is. */
struct principal *reactor_principal(struct reactor *r, const struct auth_identity *who);
void reactor_principal_drop(struct reactor *r, struct principal *p); /* NULL is fine */

#define READ_BUFFER 65536

#endif
