/* What the files of the worker's shell share. Private to worker*.c. */
#ifndef WORKER_WORKER_IMPL_H
#define WORKER_WORKER_IMPL_H

#include "common/names.h"
#include "proto/event.pb-c.h"
#include "proto/task.pb-c.h"
#include "services/orchestrator-worker/delta.h"
#include "services/orchestrator-worker/saga.h"
#include "services/orchestrator-worker/turns.h"
#include "services/orchestrator-worker/worker.h"

#define TASK_BUCKETS 1024

enum { POOLS_OF_A_WORKER = 2 };

/* A ready queue that it serves, with slots of its own: neither pool can take the other's. */
struct worker_pool {
	const char *name;
	unsigned slots;
	size_t held; /* unfinished tasks: that run, and that wait for a slot */
	struct turns *turns;
	struct bus_consumer *consumer;
};

struct worker_task;

/* What the executor does for a task at the moment: an input, a call, or the output. */
struct worker_job {
	struct worker_task *task;
	size_t stage;
	unsigned attempt;
	void *job;                      /* NULL: nothing */
	struct worker_publish *publish; /* likewise */
	struct delta_stream *deltas;
};

/* Reading of a channel. */
struct worker_load {
	uint64_t after;                    /* what is known already */
	uint64_t next;                     /* stream sequence to read on from */
	uint64_t until;                    /* last one of the stream */
	uint64_t store_after, store_until; /* what the event-store is asked for; until 0: all */
	bool begun, active;
	unsigned tries;
};

struct worker_task {
	struct turn turn;                /* first: a turn is its task */
	struct worker_task *next, *prev; /* all of them */
	struct worker_task *same;        /* in its bucket */
	struct worker *w;
	char *tenant, *task;
	size_t pool;     /* in worker.pools */
	uint64_t tokens; /* this and charge: as its ticket says */
	uint64_t charge;
	bool repeated; /* the ticket was here or elsewhere before */
	char channel[CHANNEL_MAX + 1];
	unsigned part;
	struct subject subject;
	void *ticket; /* as it came, for the accepted event in it */
	size_t ticket_len;
	char trace[TRACE_LEN + 1];
	unsigned depth; /* of its task.accepted */
	struct bus_claim *claim;
	uint64_t claim_seq;
	int64_t stored_us;
	uint64_t beat_seq; /* what the log ended in at the last heartbeat */
	struct saga saga;
	struct worker_load load;
	struct timer timer;                /* the saga's */
	struct timer load_timer;           /* reading again */
	struct worker_job *inputs, *calls; /* one a stage; inputs[n]: the output */
	size_t n;
	unsigned waits; /* answers of the bus that are still to come */
	int64_t write_us;
	int64_t wake_at; /* that the timer is set for, 0: none */
	bool finished;
};

struct spec_entry {
	struct spec_entry *next;
	char *name;
	unsigned version;
	struct pipeline_spec *spec;
};

struct worker {
	struct loop *loop;
	struct bus *bus;
	const struct catalog *catalog;
	struct executor *ex;
	struct worker_stats *stats;
	struct worker_conf conf;
	char *instance, *pool;
	struct worker_pool pools[POOLS_OF_A_WORKER];
	size_t n_pools;
	struct rng rng;
	struct deltas *deltas;
	struct bus_sub *cancels;
	struct worker_task *tasks, *buckets[TASK_BUCKETS];
	size_t held; /* of all pools */
	struct loop_hook hook;
	bool credit_changed;
	struct timer progress, grace;
	struct spec_entry *specs;
	size_t n_specs;
	struct strbuf document, packed; /* scratch */
	/* stopping: for good; drained: until it is taken back; hurried: what runs is handed off at
	 * once. */
	bool stopping, drained, hurried;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct timer tell_stopped;
};

/* worker_load.c */
void worker_load_start(struct worker_task *t, uint64_t after);
/* worker_write.c */
void worker_write(struct worker_task *t);
void worker_say_end(struct worker_task *t);
/* worker_task.c */
struct worker_task *worker_task_new(struct worker *w, const Penstock__Ticket *ticket,
				    const struct bus_msg *msg, struct bus_claim *claim,
				    struct pipeline_spec *spec);
struct worker_task *worker_task_find(const struct worker *w, const char *tenant, const char *task);
/* Carries out what the saga wants, until it wants nothing. May end the task; it is freed when the
 * bus has nothing more to say to it. */
void worker_task_step(struct worker_task *t);
void worker_task_finish(struct worker_task *t, enum saga_verdict verdict, int delay_ms);
void worker_task_release(struct worker_task *t); /* an answer of the bus came */
void worker_task_free(struct worker_task *t);
int64_t worker_now_ms(const struct worker *w);
/* worker_publish.c */
/* done is called once, on a later turn, unless it is cancelled (NULL is fine). */
struct worker_publish *worker_publish(struct worker *w, unsigned part, const struct exec_call *call,
				      exec_done_fn *done, void *arg);
void worker_publish_cancel(struct worker_publish *p);
/* worker.c */
bool worker_leaves(const struct worker *w); /* takes nothing more */
void worker_task_ended(struct worker *w);
void worker_show_held(struct worker *w);
/* worker_spec.c */
/* NULL: there is no such pipeline. Borrowed. */
struct pipeline_spec *worker_spec(struct worker *w, const char *name, unsigned version);
void worker_spec_forget(struct worker *w);

#endif
