/* Thousands of WebSocket clients on one loop.
 *
 * What a client sends goes out at the end of the loop's turn, in one write. Threads: the loop's. */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "tools/load/dialect.h"

struct client;
struct options;
struct pool;

struct client_events {
	void (*open)(struct client *c); /* greeted; with Penstock: `connected` has arrived */
	void (*text)(struct client *c, const char *text, size_t len);
	void (*closed)(struct client *c, const char *why); /* c stays valid; nothing more comes */
	/* Where this client belongs; NULL: the dialect's handshake need not know. */
	void (*place)(const struct client *c, struct place *place);
	/* Both may be NULL. With hello no token is in the handshake: it says who comes. greeted
	 * has the greeting's text, just before open. */
	void (*hello)(struct client *c);
	void (*greeted)(struct client *c, const char *text, size_t len);
};

struct client {
	struct pool *pool;
	struct loop_io io;
	struct strbuf in, out;
	size_t sent;
	struct client *next_dirty;
	bool dirty;
	enum {
		CLIENT_CONNECTING,
		CLIENT_UPGRADING,
		CLIENT_GREETING,
		CLIENT_OPEN,
		CLIENT_CLOSED
	} state;
	unsigned index;   /* in pool->list */
	int64_t start_us; /* of the connection's set-up */
	const char *port; /* the pool's, or the caller's */
	void *arg;        /* the caller's */
};

struct pool {
	struct loop *loop;
	struct loop_hook hook;
	struct client *list;
	unsigned n, started, open, closed;
	unsigned connecting_max; /* at a time */
	uint32_t src; /* 127.x: the first of the source addresses; 0: whichever the kernel takes */
	const struct client_events *events;
	struct client *dirty;
	struct rng rng;
	const struct options *opt;
	const struct dialect *dialect;
	char *url; /* host and port point into it */
	const char *host, *port;
	int64_t read_us; /* load_clock_us() of what is being delivered */
	uint64_t bytes_in, bytes_out;
	char *buf; /* shared: a client has storage of its own only for half a frame */
};

/* To the options' URL, with their tokens and in their dialect; they must outlive it. */
int pool_init(struct pool *pool, struct loop *loop, const struct options *opt, unsigned n,
	      const struct client_events *events, struct error *err) MUST_CHECK;
/* Starts as many connections as may be under way; called again as they open. */
void pool_connect(struct pool *pool);
void pool_done(struct pool *pool);

/* Ends it without telling the caller. */
void client_leave(struct client *c);
/* One that is closed connects anew; not from closed(). port: kept. */
int client_again(struct client *c, const char *port, struct error *err) MUST_CHECK;
void client_send(struct client *c, const char *text, size_t len);

/* --- reading frames without parsing them whole --------------------------------------------- */

/* The integer behind "name": (quotes and colon included in name), -1 if it is not there. */
int64_t scan_int(const char *text, size_t len, const char *name);
bool scan_has(const char *text, size_t len, const char *what);
/* The text behind name, up to its closing quote. */
bool scan_text(const char *text, size_t len, const char *name, char *out, size_t size);

#endif
