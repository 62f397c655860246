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

struct client;
struct pool;

struct client_events {
	void (*open)(struct client *c); /* `connected` has arrived */
	void (*text)(struct client *c, const char *text, size_t len);
	void (*closed)(struct client *c, const char *why); /* c stays valid; nothing more comes */
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
	unsigned index; /* in pool->list */
	void *arg;      /* the caller's */
};

struct pool {
	struct loop *loop;
	struct loop_hook hook;
	struct client *list;
	unsigned n, started, open, closed;
	unsigned connecting_max; /* at a time */
	const struct client_events *events;
	struct client *dirty;
	struct rng rng;
	const char *host, *port, *token;
	uint64_t bytes_in, bytes_out;
	char *buf; /* shared: a client has storage of its own only for half a frame */
};

/* url http://host:port (IPv4); host, port and token point into what the caller keeps. */
int pool_init(struct pool *pool, struct loop *loop, char *url, const char *token, unsigned n,
	      const struct client_events *events, struct error *err) MUST_CHECK;
/* Starts as many connections as may be under way; called again as they open. */
void pool_connect(struct pool *pool);
void pool_done(struct pool *pool);

void client_send(struct client *c, const char *text, size_t len);

/* --- reading frames without parsing them whole --------------------------------------------- */

/* The integer behind "name": (quotes and colon included in name), -1 if it is not there. */
int64_t scan_int(const char *text, size_t len, const char *name);
bool scan_has(const char *text, size_t len, const char *what);
/* The text behind name, up to its closing quote. */
bool scan_text(const char *text, size_t len, const char *name, char *out, size_t size);

#endif
