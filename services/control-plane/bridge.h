/* The bus for threads that block: each call is handed over to the loop's thread and waited for,
 * with a deadline.
 *
 * Threads: bridge_new/free on the loop's thread or before it runs; all others from any thread but
 * the loop's. A call whose deadline passes is left behind: what it holds is freed when the loop is
 * done with it. */
#ifndef PENSTOCK_CONTROL_BRIDGE_H
#define PENSTOCK_CONTROL_BRIDGE_H

#include <jansson.h>
#include <stdint.h>

#include "common/bus.h"
#include "common/members.h"
#include "common/strbuf.h"

struct bridge;

/* All borrowed. members may be set later, before the first bridge_members(). */
struct bridge *bridge_new(struct loop *loop, struct bus *bus);
void bridge_free(struct bridge *b); /* after every thread that calls it has ended; NULL is fine */
void bridge_set_members(struct bridge *b, struct members *members);

/* A core request; the answer's bytes are added to answer if the result is BUS_OK. */
enum bus_result bridge_request(struct bridge *b, const char *subject, const void *data, size_t len,
			       int timeout_ms, struct strbuf *answer);

/* Live members of a service (NULL: of all), sorted by service and id; new reference, NULL: no view
 * yet. */
json_t *bridge_members(struct bridge *b, const char *service);

/* A question to every live edge (names.h: subject_errand()): the documents of those that answered,
 * and the ids of those that did not, in time or at all. Both new references; NULL: nobody knows yet
 * who lives. Returns when all have answered. */
json_t *bridge_errand(struct bridge *b, const char *errand, const void *data, size_t len,
		      int timeout_ms, json_t **silent);

struct bridge_entry {
	const char *key, *document; /* document NULL: delete */
};
/* Puts and deletes in this order; how many of them, counted from the first, the bucket
 * acknowledged. revisions (n of them, or NULL) gets their revisions: 0 where nothing was written.
 */
size_t bridge_put(struct bridge *b, const char *bucket, const struct bridge_entry *entries,
		  size_t n, int timeout_ms, uint64_t *revisions);

enum bus_result bridge_ensure(struct bridge *b, const char *bucket, int replicas, int timeout_ms);

#endif
