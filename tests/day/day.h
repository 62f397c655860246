/* One day of a model that is asked for three times as much as it can give, for an hour, and then
 * for what is normal. In simulated time, with the deciding code as it is: the router's window, the
 * worker's turns, sagas, breakers, budgets and leases, and the control-plane's grantor. What is
 * simulated is the target (server.h), the bus (control.h), the log (a list a task) and the slow
 * path (a timer a task).
 *
 * Threads: one. Units: microseconds of the loop's clock. */
#ifndef PENSTOCK_DAY_DAY_H
#define PENSTOCK_DAY_DAY_H

#include "common/catalog.h"
#include "common/members.h"
#include "common/pipeline.h"
#include "services/orchestrator-worker/target.h"
#include "services/orchestrator-worker/turns.h"
#include "services/router/window.h"
#include "tests/day/control.h"
#include "tests/day/server.h"

#define DAY_TENANTS 2

struct plan {
	const char *name;
	struct server_plan server;
	struct lease_limits limits; /* as they are configured */
	int64_t timeout_ms;
	double per_minute; /* good answers that the target can give */
	int64_t rush;      /* minutes; three times of that is wanted */
	double normal;     /* what is wanted after it, of that */
	int64_t hours;
	size_t workers, slots; /* of each */
};

enum task_state { TASK_WAITS, TASK_RUNS, TASK_RESTS, TASK_DONE, TASK_GAVE_UP };

struct entry { /* of its log */
	uint64_t seq;
	char id[ID_LEN + 1];
	enum saga_type type;
	char *data;
	size_t len;
};

struct task {
	struct task *next;        /* in a queue */
	struct task *after, *pre; /* of all that are not over */
	struct day *day;
	uint64_t number;
	int tenant;
	int64_t accepted_us;
	enum task_state state;
	struct entry *log;
	size_t n;
	struct timer release;
};

struct queue {
	struct task *first, *last;
	size_t n;
};

/* Calls begun in a second: the test's own count. */
struct second {
	int64_t second;
	unsigned first, again;
};

struct day_worker {
	struct day *day;
	char id[24];
	struct worker_stats stats;
	struct metrics *metrics;
	struct lessee *lessee;
	struct targets *targets;
	struct turns *turns;
	struct run *runs;
	size_t held;
	struct second seconds[DAY_TENANTS][16];
};

struct day {
	const struct plan *plan;
	struct loop *loop;
	struct rng rng;
	struct http_client server;
	struct control control;
	struct members members;
	struct catalog *catalog;
	struct pipeline_spec *spec;
	struct day_worker workers[WORKERS_MAX];
	size_t next_worker;
	struct window windows[DAY_TENANTS];
	struct queue backlog[DAY_TENANTS], ready;
	struct task *tasks;
	struct timer arrivals, minutes, feed;
	int64_t start_us, minute;
	uint64_t seq, accepted, done, gave_up, parked, first, again;
	size_t unfinished[MINUTES_MAX]; /* at the end of each minute */
	bool ended;
	char failure[256]; /* the first broken promise */
};

void day_run(struct day *d, const struct plan *plan, uint64_t seed);
void day_fail(struct day *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void day_feed(struct day *d); /* something has moved: on the next turn who can go on does */

/* worker.c */
void worker_open(struct day_worker *w, struct day *d, size_t number);
void worker_close(struct day_worker *w);
bool worker_room(const struct day_worker *w);
void worker_take(struct day_worker *w, struct task *t);
void worker_turns(struct day_worker *w);

/* day.c: the worker has done with it. */
void day_left(struct task *t, enum task_state state, int64_t not_before_ms);

#endif
