/* Who is alive: every process puts a heartbeat into the bucket pen_members, everybody watches.
 *
 * A member is gone when it says so (clean stop) or after MEMBER_TTL_MS without a heartbeat, by the
 * watcher's own clock. A document that does not name the service and the id of its key is nobody's:
 * ignored, and counted. Ownership is rendezvous hashing (Thaler and Ravishankar, 1998): highest
 * XXH3(member, part) wins, so a change of members moves only the parts it must. Threads: the bus's
 * loop. */
#ifndef PENSTOCK_MEMBERS_H
#define PENSTOCK_MEMBERS_H

#include <jansson.h>

#include "common/bus.h"
#include "common/metrics.h"

#define MEMBER_BEAT_MS 1000
#define MEMBER_TTL_MS  4000

struct members;

struct member {
	const char *service; /* edge, router, worker, store, control */
	const char *id;
	const json_t *doc; /* what the member said of itself: url, region, slots, … */
};

/* self_doc: members of this process's own entry besides service and id (stolen reference, may be
 * NULL). self_service NULL: only watches. changed is called after each change of the set or of a
 * document. */
struct members *members_start(struct bus *bus, struct loop *loop, const char *self_service,
			      const char *self_id, json_t *self_doc, void (*changed)(void *arg),
			      void *arg, struct error *err);
/* Says good-bye (the entry is deleted) and stops; NULL is fine. */
void members_stop(struct members *m);
/* Counts what is refused as penstock_members_refused_total. */
void members_count_into(struct members *m, struct metrics *metrics);
/* Replaces this process's document (stolen) and tells it at once. */
void members_update(struct members *m, json_t *self_doc);
/* From now on each beat asks for the document (it is stolen): for what changes all the time. */
void members_describe(struct members *m, json_t *(*describe)(void *arg), void *arg);
/* The first view is complete (the bucket was read once). */
bool members_known(const struct members *m);
size_t members_count(const struct members *m, const char *service);
/* fn for each live member of the service (NULL: of all). */
void members_each(const struct members *m, const char *service,
		  void (*fn)(void *arg, const struct member *member), void *arg);
/* It says of itself that it takes up nothing new: its state is "draining" or "drained". */
bool member_leaves(const struct member *member);
/* The owner of a part among the live members of a service; NULL if there is none. */
const char *members_owner(const struct members *m, const char *service, unsigned part);

/* Pure: index of the winner among n ids, or -1 for n = 0. */
int rendezvous(const char *const *ids, size_t n, const char *what);

#endif
