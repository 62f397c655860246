/* Who may call a target, and how much: the grantor of capacity leases. DESIGN 5.
 *
 * Concurrency is a level that a worker holds for a term. Calls and tokens a minute are credits:
 * they leave a bucket here when they are granted, are used at once and settled by the next report,
 * so that in any 60 s what the target itself counts stays within its limit (trail.h). Tokens are
 * reserved while a call runs and charged as they came back when it has ended. What is scarce is
 * shared max-min fair over the workers' demand: levels by demand, credits by what each got so far.
 *
 * A new grantor learns first: it grants nothing new until every live worker has reported what it
 * holds, or a term has passed, and it takes the minute before its time as used up. A worker that
 * falls silent keeps its level for a term; what it held counts as used.
 *
 * Pure: no clock, no I/O; times are microseconds of one monotonic clock. Threads: one owner. */
#ifndef PENSTOCK_CONTROL_LEASE_H
#define PENSTOCK_CONTROL_LEASE_H

#include "common/lease_terms.h"
#include "proto/capacity.pb-c.h"

#define LEASE_TARGETS_MAX 4096 /* named models */
#define LEASE_HOLDERS_MAX 1024 /* workers at one target */
#define LEASE_LEARN_US    ((int64_t)2000000)

struct grantor;

struct grantor_numbers {
	uint64_t reports, refused; /* refused: of a target or worker that is not taken */
	int64_t targets, holders;
	bool learning;
};

/* It begins to learn. id is copied. After it was cut off from the workers it is no use any more:
 * make a new one. */
struct grantor *grantor_new(const char *id, uint64_t boot, int64_t now_us);
void grantor_free(struct grantor *g); /* NULL is fine */

/* A target and its limits (NULL: it was deleted). fresh: it was made just now, so nobody can have
 * called it before. */
void grantor_target(struct grantor *g, const char *name, const struct lease_limits *limits,
		    bool fresh, int64_t now_us);
/* The live workers, for whom learning waits: first the `stay` whose safe shares are kept free, then
 * those that leave, each sorted by id. ids are copied. */
void grantor_workers(struct grantor *g, const char *const *ids, size_t stay, size_t n,
		     int64_t now_us);

/* A report, answered in *answer, which the caller frees with grantor_answer_done(). The target
 * names in it are borrowed from the report. */
void grantor_report(struct grantor *g, const Penstock__LeaseReport *report, int64_t now_us,
		    Penstock__LeaseAnswer *answer);
void grantor_beat(struct grantor *g, int64_t now_us, Penstock__LeaseAnswer *answer);
void grantor_answer_done(Penstock__LeaseAnswer *answer);

/* Ends learning, and forgets workers whose time is over; once a second. */
void grantor_tick(struct grantor *g, int64_t now_us);
void grantor_numbers(const struct grantor *g, struct grantor_numbers *out);

/* Max-min: what of capacity belongs to `me`, where each of n wants want[i] and had had[i] (NULL:
 * all the same): those who had least come first until they are level. What cannot be divided goes
 * to the first ones. */
int64_t lease_share(const int64_t *want, const int64_t *had, size_t n, size_t me, int64_t capacity);

#endif
