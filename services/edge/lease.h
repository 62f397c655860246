/* What this edge may let pass of a tenant's events without asking the router for each
 * (services/router/share.h). Pure.
 *
 *   none ──ask──► granted ──its time is over──► none
 *                 │  ▲ three quarters used, or of its time: ask for the next one,
 *                 └──┘ and go on with this one until the answer
 *
 * A question says what was used of the lease that it was asked under; the answer is a lease that
 * takes over what is left of that one, so what passed meanwhile counts to the new one. Without an
 * answer the old one goes on to its end. It is asked for only when something has to pass. Where an
 * event has to go to the router anyway, for there is no lease, the question rides along and costs
 * next to nothing; one of its own is not worth it for who sends less than an event a minute. As
 * much is wanted as lasts for two seconds; a little more, for four minutes at most, by who needs
 * few, so that a question is rare beside the events. Its time counts from the question, so it ends
 * here before it does there. Threads: one owner. */
#ifndef PENSTOCK_EDGE_LEASE_H
#define PENSTOCK_EDGE_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_RARE_US INT64_C(60000000) /* between two events of who does not renew it */

struct Penstock__LeaseReply;

struct lease {                           /* zeroed: none */
	uint64_t id;                     /* 0: none */
	int64_t events, bytes;           /* granted */
	int64_t events_used, bytes_used; /* of it */
	int64_t events_told, bytes_told; /* … as the question under way says */
	int64_t from_us, renew_us, expires_us;
	int64_t asked_us, next_ask_us;
	int64_t seen_us;  /* the last event, by whichever road; 0: none yet */
	int64_t data_max; /* bytes of one event's data */
	bool asking;
};

struct lease_question {
	uint64_t last;
	int64_t events_used, bytes_used, events_wanted, bytes_wanted;
};

struct lease_grant {
	uint64_t id;
	int64_t events, bytes, data_max; /* events 0: nothing now */
	int64_t ttl_ms, retry_ms;
};

/* One event of so many bytes. False: not by this lease. After each, lease_ask(). */
bool lease_spend(struct lease *l, int64_t bytes, int64_t now_us);
/* After lease_spend(), and what it said. Shall the router be asked now? Then *q is the question,
 * and lease_answered() is due. */
bool lease_ask(struct lease *l, bool spent, int64_t bytes, int64_t now_us,
	       struct lease_question *q);
/* NULL: no answer, or none that can be read. */
void lease_answered(struct lease *l, const struct lease_grant *g, int64_t now_us);
/* The tenant's limits are these now: no more than they let pass at once is left of it. 0: none. */
void lease_limits(struct lease *l, int64_t events_per_s, int64_t burst, int64_t bytes_per_s);
/* Nothing is lost when it is forgotten. */
bool lease_idle(const struct lease *l, int64_t now_us);
/* What an answer says, bounded. */
struct lease_grant lease_grant(const struct Penstock__LeaseReply *reply);

#endif
