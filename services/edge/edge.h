/* One edge: the hub's loop, the reactors' threads, the HTTP daemon, put together and taken apart.
 *
 * edge_open() starts everything but the hub, whose loop edge_run() runs on the caller's thread
 * until a stop was asked for (SIGTERM, SIGINT or edge_stop()) and done: leave the ring, refuse
 * upgrades, send the sockets elsewhere (drain.h), finish HTTP requests. A second one hurries.
 * Threads: as each call says. */
#ifndef PENSTOCK_EDGE_EDGE_H
#define PENSTOCK_EDGE_EDGE_H

#include <stdatomic.h>

#include "common/admin.h"
#include "common/bus.h"
#include "services/edge/config.h"
#include "services/edge/session.h"
#include "services/edge/stats.h"
#include "services/edge/usage.h"

struct hub;
struct http;
struct reactor;

struct edge {
	struct edge_conf *conf;
	struct loop *shared; /* everything runs on this loop, without threads; NULL: a process */
	uint64_t seed;       /* with shared */
	struct metrics *metrics;
	struct stats stats;
	struct admin *admin;
	struct hub *hub;
	struct http *http;
	int port; /* the clients' */
	struct reactor **reactors;
	unsigned n_reactors;
	_Atomic unsigned next_reactor;
	_Atomic bool
	    draining; /* out of the ring, no upgrades: it stops, or the operators want it */
	_Atomic bool
	    drains_tenants;      /* some tenant is drained here: who comes is asked whose he is */
	_Atomic unsigned stops;  /* how often edge_stop() was called */
	_Atomic int connections; /* upgraded, or streams, and not closed yet */
	_Atomic int streams;     /* of these, those that libmicrohttpd still has a request of */
	_Atomic int commands;    /* without an answer */
	char *url;
	char epoch[EPOCH_LEN + 1]; /* the hub's */
	int64_t started_us;        /* UTC */
	_Atomic bool ready;
	_Atomic bool serving; /* was ready once: the configuration is known */
	char resume_key[65];
	unsigned reported; /* reactors that have told their last receipts; the hub's thread */
	unsigned stopped;  /* reactors that closed their sockets; the hub's thread */
	struct session_conf session;
	struct usage usage; /* the hub's; outlives the sockets */
};

/* How the bus is opened: bus_nats_open() with the configuration, or a test's own. */
typedef struct bus *edge_bus_fn(struct loop *loop, const struct edge_conf *conf,
				struct metrics *metrics, struct error *err);

/* conf is borrowed until edge_free(). */
struct edge *edge_open(struct edge_conf *conf, edge_bus_fn *open_bus, struct error *err);
/* The same for a simulated cluster: hub and reactors on one loop, no HTTP and no admin port;
 * sockets come by reactor_accept(). edge_free() turns the loop. */
struct edge *edge_open_on(struct loop *loop, uint64_t seed, struct edge_conf *conf,
			  edge_bus_fn *open_bus, struct error *err);
/* Runs until the stop is complete. Called by the thread that called edge_open(). */
void edge_run(struct edge *edge);
void edge_stop(struct edge *edge); /* any thread; again is fine */
void edge_free(struct edge *edge); /* after edge_run(), or instead of it; NULL is fine */
int edge_port(const struct edge *edge);
struct loop *edge_loop(struct edge *edge); /* the hub's */

/* Counts a command on its way; false: as many as may be are in flight. */
bool edge_command_begin(struct edge *edge);
void edge_command_end(struct edge *edge);

#endif
