/* What this edge may let pass of a tenant's events without asking the router for each
 * (services/router/share.h). Pure.
 *
 *   none ──ask──► asking ──granted──► spending ──used up, or its time is over──► none
 *                    └───── nothing now, or no answer: not before next_ask_us ────┘
 *
 * A lease is void from the moment that the next one is asked for, because the question says what
 * was used of it. It is asked for only when something has to pass, and for the second time within a
 * second, so a tenant that is silent or nearly so costs nothing, and as much is wanted as the last
 * one shows to be needed. Its time counts from the question, so it ends here before it does there.
 * Threads: one owner. */
#ifndef PENSTOCK_EDGE_LEASE_H
#define PENSTOCK_EDGE_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lease {                           /* zeroed: none */
	uint64_t id;                     /* 0: none */
	int64_t events, bytes;           /* left */
	int64_t events_used, bytes_used; /* of the last one */
	int64_t asked_us, expires_us, next_ask_us;
	int64_t seen_us;  /* the last event, by whichever road */
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

/* One event of so many bytes. False: not by this lease; then lease_ask(). */
bool lease_spend(struct lease *l, int64_t bytes, int64_t now_us);
/* After lease_spend() said no. Shall the router be asked now? Then *q is the question, and
 * lease_answered() is due. */
bool lease_ask(struct lease *l, int64_t bytes, int64_t now_us, struct lease_question *q);
/* NULL: no answer, or none that can be read. */
void lease_answered(struct lease *l, const struct lease_grant *g, int64_t now_us);
/* A LeaseReply, bounded. False: it cannot be read. */
bool lease_read(const void *data, size_t len, struct lease_grant *g);

#endif
