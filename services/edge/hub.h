/* The hub: the one thread that talks to the bus. Configuration, members, one subscription for each
 * channel that has local subscribers; each live message is decoded once, encoded once and posted
 * once to each reactor that wants it.
 *
 * Threads: hub_…() that take a request or a topic may be called by any thread and post; the rest is
 * the hub's own, or a reactor's that has borrowed its loop while it sleeps (docs/decisions/0039).
 */
#ifndef PENSTOCK_EDGE_HUB_H
#define PENSTOCK_EDGE_HUB_H

#include "services/edge/edge.h"
#include "services/edge/request.h"
#include "services/edge/ring.h"

struct topic;

/* One frame for one reactor's subscribers of a channel. */
struct delivery {
	struct topic *topic;
	struct frame *frame; /* one reference */
};

/* All that a turn of the hub gathered for a reactor. */
struct batch {
	struct loop_post post;
	struct reactor *reactor;
	size_t n, cap;
	struct delivery items[];
};

struct hub *hub_open(struct edge *edge, edge_bus_fn *open_bus, struct error *err);
int hub_start(struct hub *hub, struct error *err) MUST_CHECK; /* when the reactors are there */
struct loop *hub_loop(struct hub *hub);
void hub_free(struct hub *hub); /* all reactors have stopped; NULL is fine */

/* --- any thread */
void hub_auth(struct hub *hub, struct auth_request *r);
/* Any thread: may one more socket come in, of r->usage's tenant? Sets r->result; AUTH_OK: it is
 * counted, else r->usage and r->who are given up. */
void door_admit(struct hub *hub, struct auth_request *r, int64_t now_us, struct rng *rng);
void hub_command(struct hub *hub, struct command_request *r);
/* By the direct road, on the caller's thread and without waking the hub's. False: it cannot be;
 * then hub_command(). */
bool hub_command_at_once(struct hub *hub, struct command_request *r);
void hub_locate(struct hub *hub, struct locate_request *r);
void hub_fetch(struct hub *hub, struct fetch_request *r);
void hub_task(struct hub *hub, struct task_request *r);
void hub_shard(struct hub *hub, struct shard_request *r);
/* The topic gets live frames from now on, and topic_located(); until hub_detach() is answered by
 * topic_detached(). In a surge it and hub_locate() wait a moment for others (surge.h), and go
 * before any command. */
void hub_attach(struct hub *hub, struct topic *topic);
void hub_detach(struct hub *hub, struct topic *topic);

/* --- the hub's thread, for requests that go on there (HTTP) */
void hub_command_here(struct hub *hub, struct command_request *r);
void hub_fetch_here(struct hub *hub, struct fetch_request *r);
void hub_task_here(struct hub *hub, struct task_request *r);
/* The tenant's edge; NULL: none takes anybody. Valid until the next turn. */
const struct ring_edge *hub_shard_here(struct hub *hub, const char *tenant);
/* drain.h: must this tenant's new socket go to another edge? */
bool hub_drained_here(struct hub *hub, const char *tenant);
/* The stop: out of the ring, and the sockets' drain begins; again: everybody goes at once. Later:
 * no member any more, the bus is flushed and closed, whatever waits for it is answered by
 * "unavailable", and so is all that is asked from then on. */
void hub_leave(struct hub *hub);
void hub_hang_up(struct hub *hub);

#endif
