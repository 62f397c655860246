/* How many connections and subscriptions a tenant has, here and on the other edges, against its
 * limits.
 *
 * Each edge counts its own and tells the others twice a second what has changed, and everything
 * every few seconds (usage_bus.c). It lets in while its own count and what the others last told are
 * below the limit: so a tenant may exceed it by what comes in on several edges within one interval,
 * and never by more on one edge. A mode of "shadow" counts and lets in.
 *
 * What it still has of a tenant that is drained away from it is not told: its sockets are about to
 * come to the others, and shall not stand in their own way.
 *
 * A tenant's numbers are one object, shared by its principals. Threads: usage_connect() to
 * usage_release() are any thread's, without locks; the rest is the hub's. */
#ifndef PENSTOCK_EDGE_USAGE_H
#define PENSTOCK_EDGE_USAGE_H

#include <stdatomic.h>

#include "common/catalog.h"
#include "common/metrics.h"
#include "common/names.h"
#include "proto/usage.pb-c.h"
#include "services/edge/table.h"

#define USAGE_TENANTS_MAX 65536 /* of one other edge; more are not counted */
#define USAGE_CHUNK       2000  /* tenants of one message */

enum usage_kind { USAGE_CONNECTIONS, USAGE_SUBSCRIPTIONS, USAGE_N };

struct usage_stats {
	struct metric *refused[USAGE_N][2]; /* enforced, shadow */
	struct metric *tenants;             /* that are known of */
	struct metric *ignored;             /* tenants beyond USAGE_TENANTS_MAX */
};

struct usage_tenant {
	_Atomic uint32_t refs; /* a tenant without is forgotten by usage_report() */
	_Atomic bool shadow;
	_Atomic int64_t here[USAGE_N], others[USAGE_N], limit[USAGE_N];
	const struct usage_stats *stats;
	uint32_t told[USAGE_N]; /* to the others */
	char tenant[TENANT_MAX + 1];
};

struct usage {
	const struct usage_stats *stats;
	char edge[TENANT_MAX + 1]; /* this one */
	uint64_t boot;
	uint32_t round;
	struct table tenants, edges;
	/* Is the tenant drained away from here? NULL: none is. */
	bool (*drained)(void *arg, const char *tenant);
	void *arg;
};

void usage_init(struct usage *u, const char *edge, uint64_t boot, const struct usage_stats *stats);
void usage_done(struct usage *u); /* nobody has a reference any more */

/* --- any thread */
/* One more, if the limit lets it. resumed: its old socket may not be gone yet, so a tenth more is
 * let in. False: refused. */
bool usage_connect(struct usage_tenant *t, bool resumed);
void usage_disconnect(struct usage_tenant *t);
bool usage_subscribe(struct usage_tenant *t); /* t NULL: true */
void usage_unsubscribe(struct usage_tenant *t);
struct usage_tenant *usage_ref(struct usage_tenant *t);
void usage_release(struct usage_tenant *t); /* NULL is fine */

/* --- the hub's thread */
/* One reference. */
struct usage_tenant *usage_take(struct usage *u, const struct tenant *tenant);
/* The tenant's document has changed. */
void usage_limits(struct usage *u, const struct tenant *tenant);

/* What is to be told, message by message: everything, or what has changed since the last time. Also
 * forgets tenants that nobody has any more. */
typedef void usage_tell_fn(void *arg, const Penstock__Usage *message);
void usage_report(struct usage *u, bool everything, bool hello, usage_tell_fn *tell, void *arg);
/* What another edge told. */
void usage_heard(struct usage *u, const Penstock__Usage *message);
/* Edges that are gone take with them what they had. */
void usage_keep(struct usage *u, bool (*lives)(void *arg, const char *edge), void *arg);

#endif
