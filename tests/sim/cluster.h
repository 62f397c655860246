/* A whole cluster in one process: a broker with faults, routers, workers and event-stores over one
 * database, and clients that want something of them, all on one simulated loop and from one seed.
 *
 * Threads: one. Every node has its own bus, catalog and metrics, as a process has; crashing one
 * frees it at whatever moment the seed chose. */
#ifndef PENSTOCK_SIM_CLUSTER_H
#define PENSTOCK_SIM_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bus_fake.h"
#include "common/catalog.h"
#include "common/members.h"
#include "common/topology.h"
#include "services/control-plane/granting.h"
#include "services/edge/edge.h"
#include "services/event-store/ingest.h"
#include "services/orchestrator-worker/worker.h"
#include "services/router/router.h"
#include "tests/day/server.h"
#include "tests/sim/fake_exec.h"
#include "tests/sim/memdb.h"
#include "tests/sim/subscriber.h"

#define SIM_ROUTERS  2
#define SIM_WORKERS  2
#define SIM_STORES   2
#define SIM_CONTROLS 2
#define SIM_EDGES    2
#define SIM_NODES    (SIM_ROUTERS + SIM_WORKERS + SIM_STORES + SIM_CONTROLS + SIM_EDGES)
#define SIM_CLIENTS  8
#define SIM_OPS      12 /* of each client */
#define SIM_PARTS    4
#define SIM_SLOTS    4  /* of each worker */
#define SIM_RPM      40 /* of the model, and its calls at once */
#define SIM_AT_ONCE  2
#define SIM_RATE     20 /* of acme, a second */
#define SIM_BURST    20
#define SIM_EVERY    4 /* seeds: a run in which old keys come again, one with a short memory */
#define SIM_CHANGES  256
#define SIM_DEDUPE_S 300 /* so long the broker knows an id */

enum node_kind { NODE_ROUTER, NODE_WORKER, NODE_STORE, NODE_CONTROL, NODE_EDGE };

/* One life of an edge. It is taken apart only between two runs of the loop, for that turns the loop
 * itself; a dead one is cut off from the broker and from its clients until then. */
struct edge_life {
	struct edge_conf conf; /* first */
	struct node *node;
	struct edge *edge;
	struct bus *bus;        /* the edge's */
	struct edge_life *next; /* of the dead */
};

struct node {
	struct cluster *cluster;
	enum node_kind kind;
	int number, lives; /* each life is an instance of its own */
	bool up, started, cut;
	bool leaving; /* a worker: it hands off */
	struct bus *bus;
	struct catalog *catalog;
	struct metrics *metrics;
	struct router *router;
	struct members *members; /* a worker's, a control-plane's */
	struct granting *granting;
	struct lessee *lessee;
	struct targets *targets;
	struct worker_stats worker_stats;
	struct worker *worker;
	struct fake_exec exec;
	struct ingest *ingest;
	struct store_sink *sink;
	struct timer slow;      /* an event-store's slow path */
	struct bus_sub *replay; /* … and what it answers of the log */
	struct store_trim *trim;
	bool asking;
	uint64_t asked_seq;
	struct edge *edge;      /* of life */
	struct edge_life *life; /* an edge's */
	struct timer restart, heal, leave;
	/* An edge's drain of the one tenant. */
	bool draining;
	bool told;    /* the document that was written last is there for certain */
	bool certain; /* … and so was the one before */
	int64_t drain_us;
	struct timer undrain;
	int64_t disturbed_us; /* when it last started, crashed, was cut off or came back */
};

/* What a client was promised. */
struct promise {
	char event_id[40], task[40];
	uint64_t offset;
};

enum op_kind { WANT_EVENT, WANT_TASK };

struct op {
	enum op_kind kind;
	char key[32];
	int payload;
	int64_t delay_ms,
	    not_before_ms; /* of a task that is to wait; the second from its first try */
	bool accepted;
	bool archived; /* … as far as anybody can say: its event is not there to be compared with */
	struct promise promise;
};

struct client {
	struct cluster *cluster;
	int number;
	const char *tenant;
	char channel[32];
	struct bus *bus;
	struct timer timer;
	struct op ops[SIM_OPS];
	int at;    /* the operation that is under way */
	int asked; /* answers that are still to come for it */
	int tries;
	bool accepted; /* … and at least one of them was a yes */
	int probe;     /* >= 0: repeats this earlier operation instead */
	bool clash;    /* … with another payload */
	uint64_t commands;
};

struct cluster {
	uint64_t seed;
	bool verbose;
	struct loop *loop;
	struct rng rng;
	struct fake_broker *broker;
	struct bus *bus; /* an observer's, without faults of its own node */
	struct topology *topology;
	uint64_t epoch;
	struct memdb db;
	struct http_client model; /* "m": what the workers call by their leases */
	struct node nodes[SIM_NODES];
	struct client clients[SIM_CLIENTS];
	struct subscriber readers[SIM_READERS];
	struct edge_life *dead;
	bool healed;                /* no more faults, everybody reads as fast as he can */
	bool late;                  /* what was accepted is older than anybody remembers */
	bool lossy;                 /* the broker loses live messages while the connection holds */
	bool doubles;               /* … or delivers some of them twice */
	bool trims;                 /* the stream keeps seconds, the database not much more */
	bool steady;                /* nothing happens to a router */
	struct members *members;    /* as the observer sees them */
	char owners[SIM_PARTS][32]; /* of the parts */
	int64_t changes[SIM_CHANGES]; /* since 1970: when parts may have gone to another router */
	size_t n_changes;
	const char *mover; /* the tenant that edges are drained for alone */
	int64_t outage_us; /* when the broker last went or came */
	struct timer chaos, db_up, broker_up, forget;
	uint64_t late_repeats; /* old keys that came again; messages that were made of them */
	uint64_t late_messages, late_publishes;
	uint64_t released; /* tickets of parked and delayed tasks */
	uint64_t calls, crashes, cuts, outages, drains, tenant_drains, hand_offs;
	uint64_t expired; /* … of which something is not kept any more */
	uint64_t gaps, resumes, moves, spills, repairs; /* what the subscribers and edges saw */
	uint64_t direct, limited;  /* pulses by the direct road; what was held against the limit */
	int looking;               /* answers to come */
	uint64_t last_seq, queued; /* of EVENTS; tickets in TASKS and BACKLOG, by the last look */
	char waiting[128];         /* what kept it from being settled, by the last look */
	char failure[512];         /* the first broken promise; empty: none */
};

void cluster_start(struct cluster *c, uint64_t seed, bool verbose);
void cluster_stop(struct cluster *c);
void cluster_run(struct cluster *c, int64_t us);
void cluster_heal(struct cluster *c); /* ends all faults and brings everybody back */
/* Looks at the streams (takes simulated time). */
void cluster_look(struct cluster *c);

/* faults.c: what is armed later. */
void faults_init(struct cluster *c);
void faults_init_node(struct node *n);

void node_start(struct node *n);
/* Parts may go to another router, or have gone. */
void routers_change(struct cluster *c);
/* Something happened to it, or to the broker, that makes it late for the news. */
void node_disturbed(struct node *n);
bool node_calm(const struct node *n, int64_t since_us);
/* An edge takes leave of its clients, a worker of its tasks, then it goes. */
void node_drain(struct node *n);
void node_bury(struct cluster *c); /* the dead edges; not from inside the loop */
void node_crash(struct node *n);

/* leases.c: who grants the model's capacity, and how a worker comes by it. */
void control_start(struct node *n, const char *name);
void control_end(struct node *n);
void leases_start(struct node *n, const char *name);
void leases_end(struct node *n);
void model_open(struct cluster *c);

/* slow.c: an event-store's part that lets parked tasks go on. */
void slow_start(struct node *n);
void slow_end(struct node *n);

/* archive.c: an event-store's part that trims the stream and answers for what is gone from it. The
 * last one after its bus. */
void archive_start(struct node *n);
void archive_end(struct node *n);
void archive_free(struct node *n);

void client_start(struct client *cl, struct cluster *c, int number);
void client_stop(struct client *cl);
/* Repeats one of its operations, with all that it said then. */
void client_repeat(struct client *cl);
bool client_idle(const struct client *cl);

/* Nothing is under way any more: all clients are served, all tasks ended, all is stored. */
bool check_settled(struct cluster *c);
/* DESIGN 9.1 to 9.3. Sets c->failure. */
void check_promises(struct cluster *c);

/* pulse.c: ephemeral events. DESIGN 9.6 for what passed; then what arrives when all is healed. */
void check_limit(struct cluster *c);
void check_pulses(struct cluster *c);

/* DESIGN 9.1 once more, when all is over: keys are repeated that neither the broker nor any router
 * remembers. Behind check_promises(). */
void check_late_keys(struct cluster *c);

/* Records the first failure. */
void cluster_fail(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cluster_note(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
