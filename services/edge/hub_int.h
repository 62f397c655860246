/* The hub's inside, for hub.c, channel.c and plane.c. Threads: the hub's. */
#ifndef PENSTOCK_EDGE_HUB_INT_H
#define PENSTOCK_EDGE_HUB_INT_H

#include "common/catalog.h"
#include "common/members.h"
#include "common/topology.h"
#include "services/edge/hub.h"
#include "services/edge/reactor.h"
#include "services/edge/table.h"
#include "services/edge/topic.h"

/* A channel with subscribers in at least one reactor, and its subscription on the bus. */
struct channel {
	struct hub *hub;
	uint64_t hash;
	unsigned part;
	struct bus_sub *sub;
	size_t index; /* in hub->channels */
	unsigned n_topics;
	bool behind; /* in hub->behind */
	struct channel *next_behind;
	char *channel;
	char *tenant;
	struct slot {
		struct topic *topic; /* NULL: no subscriber there */
		uint64_t lost; /* newest durable event that its mailbox had no room for; 0: none */
	} slots[];             /* by reactor */
};

/* A request that waits for the bus: so that each is answered also when the bus goes. */
struct pending {
	struct pending *prev, *next;
	struct hub *hub;
	struct request *request;
	void (*fail)(struct request *request);
};

struct locating;

struct hub {
	struct edge *edge;
	struct loop *loop;
	struct loop_hook hook;
	struct bus *bus; /* NULL: stopped */
	struct topology *topology;
	struct catalog *catalog;
	struct members *members;
	bool topology_ready, was_connected;
	uint64_t epoch;
	uint64_t first_seq; /* of EVENTS, as of a moment ago */
	bool first_seq_known;
	struct timer refresh; /* of first_seq */
	struct timer resweep;

	struct table table;        /* channels by name */
	struct channel **channels; /* the same, by number */
	size_t n_channels, cap_channels;
	struct channel *behind;
	struct batch **outbox; /* by reactor; NULL: nothing in it */
	size_t sweep_at;       /* channels below are still to be checked after a reconnect */
	unsigned sweeping;     /* checks under way */
	bool sweep_failed;

	struct pending *pending;
	struct locating *locating;
	struct strbuf text;
};

/* channel.c */
void channel_attach(struct hub *hub, struct topic *topic);
void channel_detach(struct hub *hub, struct topic *topic);
void channel_turn_end(struct hub *hub); /* posts what the turn gathered */
/* The connection to the bus was gone: find out for each channel whether something was missed. */
void channel_sweep(struct hub *hub);
void channels_free(struct hub *hub);
/* An event of the log as a frame; one reference. */
struct frame *channel_frame(struct hub *hub, const struct event_view *e, uint64_t offset,
			    uint64_t prev);

/* plane.c */
typedef void located_fn(void *arg, bool ok, uint64_t last);
void plane_locate(struct hub *hub, unsigned part, const char *tenant, const char *channel,
		  located_fn *fn, void *arg);
void plane_refresh(struct hub *hub);
void plane_abandon(struct hub *hub); /* the bus is gone: answers all that waits for it */

#endif
