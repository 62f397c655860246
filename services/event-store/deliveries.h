/* Who was given one event: every session that was subscribed to its channel then, and what became
 * of the event there, from the receipts of its sockets (sql/0003).
 *
 * Threads: the connection's owner; deliveries_judge() is pure. */
#ifndef PENSTOCK_EVENT_STORE_DELIVERIES_H
#define PENSTOCK_EVENT_STORE_DELIVERIES_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

#define STORE_DELIVERIES_MAX 1000 /* subscriptions */

/* In the order of what is the last word: of a session's sockets the best one counts. */
enum delivery_state {
	DELIVERY_NONE,   /* it was not there for this event */
	DELIVERY_MISSED, /* and will not get it on this socket any more */
	DELIVERY_SPILLED,
	DELIVERY_PENDING,
	DELIVERY_SENT,
	DELIVERY_ACKNOWLEDGED,
};

struct delivery_view {              /* one subscription */
	uint64_t from, sent, acked; /* sent: with its channel's position, if that counts */
	bool spilled, missed;       /* the event is in such a range */
	int64_t opened_us, closed_us;
	unsigned close_code;
	bool silent; /* its edge has said nothing for long, and so will never close it */
};

/* *why: of MISSED, a word: gap (its log could not be read), slow, absent (the socket was lost
 * before the event), closed (after it), edge_lost. */
enum delivery_state deliveries_judge(const struct delivery_view *v, uint64_t offset,
				     int64_t time_us, const char **why);

/* tenant "": any. *out: the document, owned by the caller, or NULL if no stored event has this id.
 * {event_id, tenant, channel, type, offset, epoch, time, deliveries: [{session, state, reason?,
 * acknowledged, spilled, sockets, edge, principal, subscribed_at, sent_to, acked_to, acked_at?,
 * closed_at?, close_code?}], counts: {<state>: n}, truncated}; times are RFC 3339. What is said of
 * a session is that of the socket on which the event went furthest. */
int store_deliveries(PGconn *conn, const char *id, const char *tenant, json_t **out,
		     struct error *err) MUST_CHECK;

#endif
