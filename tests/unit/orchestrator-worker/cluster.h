/* Workers on a fake broker and simulated time, with an executor that does what the test says. */
#ifndef TEST_WORKER_CLUSTER_H
#define TEST_WORKER_CLUSTER_H

#include "common/bus_fake.h"
#include "services/orchestrator-worker/worker.h"

#define CLUSTER_WORKERS 2
#define CLUSTER_TOKENS  1000 /* these two: of each ticket */
#define CLUSTER_CHARGE  77

struct fake_job {
	struct fake_job *next;
	struct fake_executor *ex;
	struct timer timer;
	exec_text_fn *text;
	exec_done_fn *done;
	void *arg;
	char *output;
	unsigned pieces;
};

struct fake_executor {
	struct executor base;
	struct cluster *c;
	struct fake_job *jobs;
	unsigned running;
};

struct cluster {
	struct loop *loop;
	struct fake_broker *broker;
	struct bus *client;
	struct topology *topology;
	struct catalog *catalog;
	struct metrics *metrics;
	struct worker_stats stats;
	bool streams;
	unsigned slots;
	struct node {
		struct bus *bus;
		struct worker *worker;
		struct fake_executor ex;
	} nodes[CLUSTER_WORKERS];
	/* What the executors do. */
	int64_t call_us;      /* a call takes so long; -1: for ever */
	unsigned calls_fail;  /* so many calls from now on fail, retryable */
	int64_t call_tokens;  /* a call says that it took so many; 0: says nothing */
	unsigned text_pieces; /* of a chat, spread over its time */
	unsigned calls, cancelled, most_running, running;
	/* What was seen on the bus. */
	unsigned ends, deltas, resets;
	uint64_t end_charge, end_used; /* of the last end */
	uint32_t last_index;
	struct strbuf delta_text;
};

void cluster_init(struct cluster *c);
void cluster_done(struct cluster *c);
void cluster_worker(struct cluster *c, int i, const char *name);
/* As by SIGKILL: its claims run out. */
void cluster_crash(struct cluster *c, int i);
void cluster_run(struct cluster *c, int64_t ms);
/* doc with ' for ". */
void cluster_pipeline(struct cluster *c, const char *name, const char *stages);
/* Stores a ticket, and the accepted event before it unless late; returns the task's id (static
 * storage). */
const char *cluster_submit(struct cluster *c, unsigned n, const char *pipeline, bool event);
void cluster_ticket(struct cluster *c, unsigned n, const char *pipeline); /* the ticket alone */
/* … that lets it go on behind this event */
void cluster_release(struct cluster *c, unsigned n, const char *pipeline, uint64_t behind);
void cluster_append(struct cluster *c, unsigned n, const char *type, const char *data);
/* The channel's types without "task.", joined by spaces; static storage. */
const char *cluster_types(struct cluster *c, unsigned n);
/* Runs until the channel of task n ends with that type, a minute at most. */
void cluster_until(struct cluster *c, unsigned n, const char *type);
const char *cluster_data(struct cluster *c, unsigned n); /* of the last event */
uint64_t cluster_tickets(struct cluster *c);             /* that are still in TASKS */

#endif
