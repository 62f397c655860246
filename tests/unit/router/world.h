/* A router's surroundings in one simulated process: loop, broker, configuration, a client that
 * asks. */
#ifndef PENSTOCK_TEST_ROUTER_WORLD_H
#define PENSTOCK_TEST_ROUTER_WORLD_H

#include "common/bus_fake.h"
#include "services/router/impl.h"

#define WORLD_ROUTERS 2

struct answer {
	bool came;
	bool accepted;
	enum bus_result result; /* of the request; BUS_OK if an answer came */
	/* accepted */
	char event_id[64], channel[CHANNEL_MAX + 1], task[64];
	uint64_t offset, epoch;
	bool duplicate;
	/* refused */
	char code[32], scope[16], limit[64];
	bool temporary;
	uint32_t retry_after_ms;
	/* either: a lease was asked for, and this is it */
	bool leases;
	uint64_t leased, lease; /* events; its id */
};

struct world {
	struct loop *loop;
	struct fake_broker *broker;
	struct metrics *metrics;
	struct catalog *catalog;
	struct bus *client;
	struct topology *topology;
	uint64_t epoch;
	struct router_conf conf; /* of the next router */
	struct bus *bus[WORLD_ROUTERS];
	struct router *router[WORLD_ROUTERS];
	unsigned part; /* of "acme" */
	int commands;
};

/* No router runs yet. */
void world_init(struct world *w);
void world_done(struct world *w);
void world_run(struct world *w, int64_t us);
/* Runs until *flag, at most a simulated minute; fails the test otherwise. */
void world_until(struct world *w, const bool *flag);
void world_put(struct world *w, const char *key, const char *doc);
void world_tenant(struct world *w, const char *limits); /* acme's limits, JSON members */
/* Starts router i and runs until it owns something. */
void world_join(struct world *w, int i);
/* … and until all have heard of it. */
void world_router(struct world *w, int i);
void world_crash(struct world *w, int i);
void world_faults(struct world *w, struct fake_faults faults);
/* Sets a stream's bound. */
void world_bound(struct world *w, const char *stream, const char *subject, bool work_queue,
		 int64_t max_bytes);

/* A command of acme; fields may be changed before it is sent. */
struct order {
	Penstock__Command cmd;
	Penstock__Publish publish;
	Penstock__SubmitTask task;
	Penstock__CancelTask cancel;
	Penstock__ReleaseTask release;
	Penstock__Event accepted;
	Penstock__RedriveTask redrive;
	char id[32];
};
void order_publish(struct world *w, struct order *o, const char *key, const char *data);
void order_task(struct world *w, struct order *o, const char *key, const char *input);
/* accepted: as if it were in the log. */
void order_release(struct world *w, struct order *o, const char *task, uint64_t seq);
void order_redrive(struct world *w, struct order *o, const char *task, uint64_t seq);
void order_cancel(struct world *w, struct order *o, const char *task);

/* Sends it; a is filled in when the answer comes (world_until(w, &a->came)). */
void world_send(struct world *w, const struct order *o, struct answer *a);
/* The same to this router, past the subjects. */
void world_send_to(struct world *w, int router, const struct order *o, struct answer *a);
struct answer world_ask(struct world *w, const struct order *o);
struct answer world_publish(struct world *w, const char *key, const char *data);
struct answer world_task(struct world *w, const char *key, const char *input);
struct answer world_cancel(struct world *w, const char *task);
struct answer world_release(struct world *w, const char *task, uint64_t seq);

/* Removes everything below seq from EVENTS. */
void world_trim(struct world *w, uint64_t seq);
uint64_t world_count(struct world *w, const char *stream);
/* The last event of a channel of acme, or the one at a sequence; owned (free_unpacked). NULL: none.
 */
Penstock__Event *world_last(struct world *w, const char *channel, uint64_t *seq);
Penstock__Event *world_at(struct world *w, uint64_t seq);
/* Writes a transition as a worker would; the broker's verdict. */
enum bus_result world_transition(struct world *w, const char *task, const char *type,
				 uint64_t expect_last_seq);

#endif
