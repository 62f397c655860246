/* A reactor: one thread with an epoll loop that serves its share of the sockets.
 *
 * It owns its connections, its topics (the local side of a channel: who of its connections
 * subscribes) and its principals; nobody else touches them but who has borrowed its loop while it
 * sleeps (docs/decisions/0043). All connections' frames of a turn go out at the turn's end, one
 * write for each connection, and many writes by one system call where the kernel can (sends.h).
 * Threads: reactor_new/free by the assembling thread, reactor_accept/deliver/… by any (they post).
 */
#ifndef PENSTOCK_EDGE_REACTOR_H
#define PENSTOCK_EDGE_REACTOR_H

#include <pthread.h>

#include "common/rng.h"
#include "services/edge/deflate.h"
#include "services/edge/drain.h"
#include "services/edge/gate.h"
#include "services/edge/gather.h"
#include "services/edge/hub.h"
#include "services/edge/known.h"
#include "services/edge/outq.h"
#include "services/edge/receipts.h"
#include "services/edge/sends.h"
#include "services/edge/table.h"
#include "services/edge/terms.h"

struct conn;

struct tally { /* counted without atomics, told to the metrics once a turn */
	int64_t frames_in, frames_out, bytes_in, bytes_out, writes, batches, deliveries;
	int64_t lent;   /* channels' frames delivered on another reactor's thread */
	int64_t queued; /* what was added to the sockets' queues, less what left them */
};

struct reactor {
	struct edge *edge;
	struct loop *loop;
	struct loop_hook hook;
	struct gate gate;
	pthread_t thread;
	bool running;
	unsigned index;
	struct rng rng;

	struct conn *conns;     /* all, doubly linked */
	_Atomic size_t n_conns; /* any thread reads it */
	struct conn *dirty;     /* have something to write */
	struct conn *dead;      /* to be freed when nobody looks at them any more */
	struct table topics, principals;
	struct known known;
	struct out_pool pool;
	struct sends *sends;      /* NULL: a system call for each write */
	struct deflater deflater; /* of all its connections */
	struct tally tally;
	struct gather gather; /* of what is dirty */
	struct timer gathered;
	struct receipts receipts;
	bool draining, stopped, no_streams;
	struct session_conf session;
	char epoch[EPOCH_LEN + 1]; /* "": nobody may come in yet */
	uint64_t epoch_number;     /* the same */
	struct drain_node *drains; /* plans in force (drain.h) */

	/* Scratch of the message that is being worked on. */
	uint8_t *buffer;
	struct session_step step;
	struct client_msg msg;
	struct strbuf text;

	_Atomic int64_t mailbox; /* deliveries posted and not taken yet */
};

/* A socket that is a WebSocket from now on, and counted as one in edge->connections. */
struct newcomer {
	int fd;               /* owned */
	char *token, *origin; /* that came with the handshake; owned; NULL: none */
	struct ws_terms terms;
	struct strbuf answer; /* to the handshake, if it is still to be sent; owned */
	struct strbuf input;  /* what followed the handshake and was read with it; owned */
};

struct reactor *reactor_new(struct edge *edge, unsigned index, struct error *err);
int reactor_start(struct reactor *r, struct error *err) MUST_CHECK;
void reactor_free(struct reactor *r); /* stopped or never started; NULL is fine */
/* reactor_accept() at once; the reactor's thread. */
void reactor_take(struct reactor *r, struct newcomer *n);

/* --- any thread */
/* Takes what n owns. */
void reactor_accept(struct reactor *r, const struct newcomer *n);
static inline size_t reactor_conns(struct reactor *r)
{
	return atomic_load_explicit(&r->n_conns, memory_order_relaxed);
}
/* Who has the hub's loop; batch is owned. While the reactor sleeps and the batch is for *sockets at
 * most, it is done on the caller's thread, which costs less than to wake the reactor's, and
 * *sockets is less by them. */
void reactor_deliver(struct batch *batch, size_t *sockets);
/* The log's life; when it changes, everybody is closed with 4301. epoch is copied. */
void reactor_epoch(struct reactor *r, const char *epoch);
void reactor_cut_off(struct reactor *r); /* the bus is away */
/* Closes all sockets, then calls stopped(arg) on the hub's loop. */
void reactor_stop(struct reactor *r, void (*stopped)(void *arg), void *arg);
/* Afterwards: frees what is left, ends the thread and waits for it. */
void reactor_join(struct reactor *r);

#define READ_BUFFER 65536

#endif
