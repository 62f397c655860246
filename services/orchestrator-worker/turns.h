/* Who is next: which of the tickets that a worker holds, and which of the calls that wait for a
 * target.
 *
 * Each place that falls free goes to the tenant that has the fewest running for its weight; among
 * equals, to the one whose turns so far have cost least for its weight; within a tenant, in order,
 * what is `behind` after everything that is not. So who asks for little waits for the next place,
 * not behind what others have put in the queue. A newcomer begins where those who wait are: time in
 * which it did not ask is not saved up.
 *
 * A worker takes more tickets than it has slots. Long tasks may keep a slot for minutes: therefore
 * the last slots (an eighth; none below four) are for whoever has less than the share he would have
 * with one tenant more:
 *
 *     running / weight < slots / (sum of the weights here + 1)
 *
 * A newcomer finds one free, and a lone tenant has all but these.
 *
 * Pure. Threads: one owner. Costs: O(log tenants) a turn. */
#ifndef WORKER_TURNS_H
#define WORKER_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct turns;
struct turns_tenant;

/* Part of whatever waits; zeroed: neither waits nor runs. */
struct turn {
	struct turn *next, *prev;
	struct turns_tenant *of;
	bool running;
};

#define TURNS_UNBOUNDED SIZE_MAX /* somebody else knows how many may run */

struct turns *turns_new(size_t slots);
/* What waits or runs is forgotten. NULL is fine. */
void turns_free(struct turns *t);

/* Waits behind its tenant's others, but before those that are `behind`, if it is not. A weight
 * below 1 is 1; the newest one said of a tenant holds. */
void turns_add(struct turns *t, struct turn *turn, const char *tenant, int64_t weight, bool behind);
/* May one more of the tenant wait, if `max` may in all? The last eighth of the places is for those
 * who have fewer than they would have if all had the same, with one tenant more. */
bool turns_may_wait(struct turns *t, const char *tenant, size_t max);
/* The one that may run now, NULL: none. It waits on until it is started; what its turn costs the
 * tenant is any measure, the same for all. */
struct turn *turns_first(const struct turns *t);
void turns_start(struct turns *t, struct turn *turn, int64_t cost);
/* Both, at a cost of 1. */
struct turn *turns_next(struct turns *t);
/* Ran to its end, or waits no longer. One that does neither is fine. */
void turns_leave(struct turns *t, struct turn *turn);

size_t turns_running(const struct turns *t);
size_t turns_waiting(const struct turns *t);

#endif
