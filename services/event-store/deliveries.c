#include "services/event-store/deliveries.h"

#include <string.h>

#include "common/ids.h"
#include "common/pg.h"

static const char *const state_names[] = {"none",    "missed", "spilled",
					  "pending", "sent",   "acknowledged"};
#define N_STATES (sizeof(state_names) / sizeof(state_names[0]))

enum delivery_state deliveries_judge(const struct delivery_view *v, uint64_t offset,
				     int64_t time_us, const char **why)
{
	bool over = v->closed_us || v->silent;

	*why = NULL;
	if (v->from >= offset)
		return DELIVERY_NONE;
	if (v->missed) {
		*why = "gap";
		return DELIVERY_MISSED;
	}
	if (v->sent >= offset)
		return v->acked >= offset ? DELIVERY_ACKNOWLEDGED : DELIVERY_SENT;
	if (!over)
		return v->spilled ? DELIVERY_SPILLED : DELIVERY_PENDING;
	/* Who unsubscribed did not want it any more. */
	if (v->closed_us && !v->close_code)
		return DELIVERY_NONE;
	if (v->spilled)
		*why = "slow";
	else if (!v->closed_us)
		*why = "edge_lost";
	else
		*why = v->closed_us <= time_us ? "absent" : "closed";
	return DELIVERY_MISSED;
}

/* --- PostgreSQL --------------------------------------------------------------------------------
 */

static const char event_sql[] =
    "SELECT tenant, channel, type, epoch, seq, (extract(epoch FROM time) * 1000000)::int8"
    " FROM events WHERE event_id = $1::uuid AND ($2 = '' OR tenant = $2) ORDER BY time LIMIT 1";

enum { E_TENANT, E_CHANNEL, E_TYPE, E_EPOCH, E_SEQ, E_TIME };

/* Also those that were lost so shortly before the event that their session could still come back
 * for it. */
static const char links_sql[] =
    "SELECT r.session, r.edge, r.principal, r.from_offset,"
    " greatest(r.sent, CASE WHEN r.level AND r.closed_at IS NULL THEN p.pos END), r.acked,"
    " r.spilled @> $4::int8, r.missed @> $4::int8,"
    " (extract(epoch FROM r.opened_at) * 1000000)::int8,"
    " (extract(epoch FROM r.closed_at) * 1000000)::int8, r.close_code,"
    " r.closed_at IS NULL AND coalesce(e.seen_at, r.updated_at)"
    "  < now() - (3 * coalesce(e.period_ms, 0) + 10000) * interval '1 ms',"
    " (extract(epoch FROM r.acked_at) * 1000000)::int8"
    " FROM receipts r LEFT JOIN receipt_positions p USING (tenant, channel, epoch, edge, run,"
    " reactor) LEFT JOIN receipt_edges e USING (edge, run)"
    " WHERE r.tenant = $1 AND r.channel = $2 AND r.epoch = $3::int8 AND r.from_offset < $4::int8"
    " AND (r.closed_at IS NULL OR r.closed_at >= to_timestamp($5::int8 / 1e6)"
    "  - coalesce(e.resume_ms, 0) * interval '1 ms')"
    " ORDER BY r.session, r.opened_at LIMIT 1001";

enum {
	L_SESSION,
	L_EDGE,
	L_PRINCIPAL,
	L_FROM,
	L_SENT,
	L_ACKED,
	L_SPILLED,
	L_MISSED,
	L_OPENED,
	L_CLOSED,
	L_CODE,
	L_SILENT,
	L_ACKED_AT
};

static struct delivery_view view_of(const PGresult *res, int row)
{
	return (struct delivery_view){.from = (uint64_t)pg_int(res, row, L_FROM),
				      .sent = (uint64_t)pg_int(res, row, L_SENT),
				      .acked = (uint64_t)pg_int(res, row, L_ACKED),
				      .spilled = pg_bool(res, row, L_SPILLED),
				      .missed = pg_bool(res, row, L_MISSED),
				      .opened_us = pg_int(res, row, L_OPENED),
				      .closed_us = pg_int(res, row, L_CLOSED),
				      .close_code = (unsigned)pg_int(res, row, L_CODE),
				      .silent = pg_bool(res, row, L_SILENT)};
}

static json_t *time_json(int64_t us)
{
	char text[TIME_LEN + 1];

	time_format(us, text);
	return json_string(text);
}

static json_t *socket_doc(const PGresult *res, int row, const struct delivery_view *v,
			  enum delivery_state state, const char *why)
{
	json_t *doc = json_pack(
	    "{s:s, s:s, s:s, s:s, s:o, s:I, s:I}", "session", pg_text(res, row, L_SESSION), "state",
	    state_names[state], "edge", pg_text(res, row, L_EDGE), "principal",
	    pg_text(res, row, L_PRINCIPAL), "subscribed_at", time_json(v->opened_us), "sent_to",
	    (json_int_t)v->sent, "acked_to", (json_int_t)v->acked);

	if (why)
		json_object_set_new(doc, "reason", json_string(why));
	if (pg_text(res, row, L_ACKED_AT))
		json_object_set_new(doc, "acked_at", time_json(pg_int(res, row, L_ACKED_AT)));
	if (v->closed_us) {
		json_object_set_new(doc, "closed_at", time_json(v->closed_us));
		json_object_set_new(doc, "close_code", json_integer(v->close_code));
	}
	return doc;
}

struct tally {
	json_t *list;
	int64_t counts[N_STATES];
	/* The session that is being looked at; its rows follow each other. */
	json_t *best;
	enum delivery_state state;
	bool spilled, acked;
	int sockets;
};

static void end_session(struct tally *t)
{
	if (!t->best)
		return;
	json_object_set_new(t->best, "acknowledged", json_boolean(t->acked));
	json_object_set_new(t->best, "spilled", json_boolean(t->spilled));
	json_object_set_new(t->best, "sockets", json_integer(t->sockets));
	json_array_append_new(t->list, t->best);
	t->counts[t->state]++;
	t->best = NULL;
	t->spilled = t->acked = false;
	t->sockets = 0;
}

static void add_socket(struct tally *t, const PGresult *res, int row, uint64_t offset,
		       int64_t time_us)
{
	const struct delivery_view v = view_of(res, row);
	const char *session = pg_text(res, row, L_SESSION), *why;
	enum delivery_state state = deliveries_judge(&v, offset, time_us, &why);

	if (state == DELIVERY_NONE)
		return;
	if (t->best && strcmp(json_string_value(json_object_get(t->best, "session")), session) != 0)
		end_session(t);
	if (!t->best || state >= t->state) {
		json_decref(t->best);
		t->best = socket_doc(res, row, &v, state, why);
		t->state = state;
	}
	t->spilled |= v.spilled;
	t->acked |= v.acked >= offset;
	t->sockets++;
}

static json_t *document(const PGresult *event, const PGresult *links, const char *id)
{
	uint64_t offset = (uint64_t)pg_int(event, 0, E_SEQ);
	int64_t time_us = pg_int(event, 0, E_TIME);
	int rows = PQntuples(links);
	struct tally t = {.list = json_array()};
	json_t *counts = json_object();

	for (int row = 0; row < rows && row < STORE_DELIVERIES_MAX; row++)
		add_socket(&t, links, row, offset, time_us);
	end_session(&t);
	for (size_t i = DELIVERY_MISSED; i < N_STATES; i++)
		json_object_set_new(counts, state_names[i], json_integer(t.counts[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:b}", "event_id", id,
			 "tenant", pg_text(event, 0, E_TENANT), "channel",
			 pg_text(event, 0, E_CHANNEL), "type", pg_text(event, 0, E_TYPE), "offset",
			 (json_int_t)offset, "epoch", (json_int_t)pg_int(event, 0, E_EPOCH), "time",
			 time_json(time_us), "deliveries", t.list, "counts", counts, "truncated",
			 rows > STORE_DELIVERIES_MAX);
}

int store_deliveries(PGconn *conn, const char *id, const char *tenant, json_t **out,
		     struct error *err)
{
	PGresult *event = pg_query(conn, event_sql, 2, (const char *[]){id, tenant}, err), *links;

	*out = NULL;
	if (!event)
		return -1;
	if (!PQntuples(event)) {
		PQclear(event);
		return 0;
	}
	links = pg_query(conn, links_sql, 5,
			 (const char *[]){pg_text(event, 0, E_TENANT), pg_text(event, 0, E_CHANNEL),
					  pg_text(event, 0, E_EPOCH), pg_text(event, 0, E_SEQ),
					  pg_text(event, 0, E_TIME)},
			 err);
	if (links)
		*out = document(event, links, id);
	PQclear(event);
	PQclear(links);
	return links ? 0 : -1;
}
