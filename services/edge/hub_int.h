/* The hub's inside, for hub.c, channel.c and plane.c. Threads: the hub's. */
#ifndef PENSTOCK_EDGE_HUB_INT_H
#define PENSTOCK_EDGE_HUB_INT_H

#include "common/catalog.h"
#include "common/gcra.h"
#include "common/members.h"
#include "common/topology.h"
#include "services/edge/frames.h"
#include "services/edge/hub.h"
#include "services/edge/pace.h"
#include "services/edge/reactor.h"
#include "services/edge/surge.h"
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

#define DOOR_TURN 8 /* signatures of JWTs that a turn checks: a millisecond or so */

/* Those whose signature is still to be checked (door.c). */
struct door {
	struct loop_post post; /* on its way while there are any */
	struct hub *hub;
	struct auth_request *first, *last;
	unsigned checked; /* in this turn */
};

struct hub {
	struct edge *edge;
	struct loop *loop;
	struct loop_hook hook;
	struct bus *bus; /* NULL: stopped */
	struct topology *topology;
	struct catalog *catalog;
	struct members *members;
	struct ring ring; /* shard.c */
	unsigned stops;   /* drain.c: how often a stop was asked for */
	bool drained;     /* the operators want it */
	struct drain_times drain_times;
	json_t *drained_tenants; /* what the operators want for single ones; NULL: none */
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
	bool borrowed;         /* by a reactor, which may do others' small work as well */
	size_t sweep_at;       /* channels below are still to be checked after a reconnect */
	unsigned sweeping;     /* checks under way */
	bool sweep_failed;

	struct surge surge;
	_Atomic bool holds; /* in a surge, while surge_timer is armed; any thread may read it */
	struct loop_post *held, **held_end; /* new channels that wait for the others of a surge */
	struct timer surge_timer;

	struct door door;
	pthread_mutex_t rates_lock;
	struct gcra connects, resumes; /* of sockets that come in; under the lock */
	struct rng rng;

	struct bus_sub *disconnect_sub, *roll_sub;
	struct timer usage_timer; /* usage_bus.c */
	struct bus_sub *usage_sub;
	int64_t usage_all_us; /* when the others were last told everything */
	bool usage_asked;     /* somebody wants to know everything */

	struct pace pace;      /* pages of logs to be read */
	int64_t store_away_us; /* until then the event-store is not asked for what the stream has */

	struct receipts_mail *receipts,
	    *receipts_last;            /* wait for the bus; the first is on its way */
	_Atomic size_t receipts_bytes; /* also of those that come to it */
	struct timer receipts_retry;
	bool receipts_busy;

	struct table leases; /* direct.c: by tenant */
	size_t leases_at;    /* looked for idle ones up to there */
	struct strbuf direct;

	struct pending *pending;
	struct locating *locating;
	struct frame_buf text;
};

void hub_update_ready(struct hub *hub); /* something that /readyz depends on has changed */

/* hub.c: what is known of EVENTS from now on. */
void hub_saw_stream(struct hub *hub, const struct bus_stream_info *info);

/* door.c */
void door_turn_end(struct hub *hub);

/* hub.c: in a surge post waits for the others, and then fn has it; false: it is to go now. */
bool hub_hold(struct hub *hub, struct loop_post *post, void (*fn)(struct loop_post *post));
/* What waits goes now: before whatever must not overtake it. */
void hub_release(struct hub *hub);

/* channel.c */
void channel_attach(struct hub *hub, struct topic *topic);
void channel_detach(struct hub *hub, struct topic *topic);
void channel_turn_end(struct hub *hub); /* posts what the turn gathered */
/* An ephemeral event of a client here, for those who subscribe here. */
void channel_direct(struct hub *hub, const char *tenant, const char *channel,
		    const struct event_view *e);
/* The connection to the bus was gone: find out for each channel whether something was missed. */
void channel_sweep(struct hub *hub);
void channels_free(struct hub *hub);
/* A delta or reset as a frame; NULL: it is none of this channel. One reference. */
struct frame *channel_delta(struct hub *hub, const struct delta_view *d, const char *channel,
			    uint64_t seq);
/* An event of the log as a frame; one reference. hash: of its tenant and channel. */
struct frame *channel_frame(struct hub *hub, const struct event_view *e, uint64_t hash,
			    uint64_t offset, uint64_t prev);

/* plane.c */
struct pending *pending_new(struct hub *hub, struct request *request,
			    void (*fail)(struct request *request));
struct request *pending_end(struct pending *p); /* frees p; the request is to be answered */
/* real: `last` is an event's offset. Else the stream has nothing of the channel, and that is where
 * the stream begins; unless it was to be fresh, a moment ago. */
typedef void located_fn(void *arg, bool ok, uint64_t last, bool real);
void plane_locate(struct hub *hub, unsigned part, const char *tenant, const char *channel,
		  bool fresh, located_fn *fn, void *arg);
void plane_refresh(struct hub *hub);
void plane_abandon(struct hub *hub); /* the bus is gone: answers all that waits for it */

/* fetch.c */
/* A ReplayReply as it came from the bus: its events, as far as the page has room for them. False:
 * it says nothing that can be used. */
bool fetch_take_page(struct fetch_request *f, const void *data, size_t len, uint64_t epoch);
/* Turns of the tenants to read from the bus. False: too many wait, or there is no bus. */
bool turn_take(struct hub *hub, const char *tenant, struct turn *turn);
void turn_end(struct hub *hub);
void turns_abandon(struct hub *hub); /* what waits for one */

#endif
