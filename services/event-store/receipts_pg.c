#include "services/event-store/receipts_pg.h"

#include "common/pg.h"

#define STEP_ROWS 20000 /* removed in one statement, so that none is long */
#define STEPS_MAX 200

static const char stage_sql[] =
    "SET synchronous_commit = on; SET jit = off; SET statement_timeout = '60s';"
    "SET lock_timeout = '10s';"
    "CREATE TEMP TABLE IF NOT EXISTS stage_receipts (LIKE receipts, n bigint NOT NULL)"
    " ON COMMIT DELETE ROWS;"
    "ALTER TABLE stage_receipts ALTER spilled TYPE text, ALTER missed TYPE text;"
    "CREATE TEMP TABLE IF NOT EXISTS stage_positions (LIKE receipt_positions)"
    " ON COMMIT DELETE ROWS";

#define LINK_COLUMNS                                                                               \
	"tenant, channel, epoch, session, opened_at, edge, run, reactor, principal, from_offset,"  \
	" sent, level, acked, spilled, missed, updated_at, closed_at, close_code"
#define N_LINK_COLUMNS 19

static const char copy_links_sql[] =
    "COPY stage_receipts (" LINK_COLUMNS ", n) FROM STDIN (FORMAT binary)";
/* What a batch says of one subscription is made one row first. Its newest state counts, also if
 * another event-store has stored it before an older one; ranges add up, and nothing that was
 * reached is taken back. */
static const char links_sql[] =
    "INSERT INTO receipts AS r (" LINK_COLUMNS ", acked_at)"
    " SELECT DISTINCT ON (tenant, channel, epoch, session, opened_at)"
    "  tenant, channel, epoch, session, opened_at, edge, run, reactor, principal, from_offset,"
    "  max(sent) OVER mine, level, max(acked) OVER mine,"
    "  range_agg(spilled::int8multirange) OVER mine, range_agg(missed::int8multirange) OVER mine,"
    "  updated_at, closed_at, close_code, CASE WHEN acked > 0 THEN updated_at END"
    " FROM stage_receipts"
    " WINDOW mine AS (PARTITION BY tenant, channel, epoch, session, opened_at)"
    " ORDER BY tenant, channel, epoch, session, opened_at, updated_at DESC, n DESC"
    " ON CONFLICT (tenant, channel, epoch, session, opened_at) DO UPDATE SET"
    "  sent = greatest(r.sent, excluded.sent),"
    "  level = CASE WHEN excluded.updated_at >= r.updated_at THEN excluded.level ELSE r.level END,"
    "  acked_at = CASE WHEN excluded.acked > r.acked THEN excluded.updated_at ELSE r.acked_at END,"
    "  acked = greatest(r.acked, excluded.acked),"
    "  spilled = receipt_ranges(r.spilled, excluded.spilled),"
    "  missed = receipt_ranges(r.missed, excluded.missed),"
    "  updated_at = greatest(r.updated_at, excluded.updated_at),"
    "  closed_at = coalesce(r.closed_at, excluded.closed_at),"
    "  close_code = greatest(r.close_code, excluded.close_code)";
static const char copy_positions_sql[] = "COPY stage_positions (tenant, channel, epoch, edge, run,"
					 " reactor, pos, at) FROM STDIN (FORMAT binary)";
static const char positions_sql[] =
    "INSERT INTO receipt_positions AS p (tenant, channel, epoch, edge, run, reactor, pos, at)"
    " SELECT tenant, channel, epoch, edge, run, reactor, max(pos), max(at) FROM stage_positions"
    " GROUP BY tenant, channel, epoch, edge, run, reactor"
    " ON CONFLICT (tenant, channel, epoch, edge, run, reactor) DO UPDATE SET"
    "  pos = greatest(p.pos, excluded.pos), at = greatest(p.at, excluded.at)";
static const char edge_sql[] =
    "INSERT INTO receipt_edges AS e (edge, run, seen_at, period_ms, resume_ms)"
    " VALUES ($1, $2, to_timestamp($3::int8 / 1e6), $4, $5)"
    " ON CONFLICT (edge, run) DO UPDATE SET seen_at = greatest(e.seen_at, excluded.seen_at),"
    "  period_ms = excluded.period_ms, resume_ms = excluded.resume_ms";

int store_receipts_prepare(PGconn *conn, struct error *err)
{
	return pg_exec(conn, stage_sql, err);
}

/* As a multirange's text: {[5,9],[12,12]} */
static void copy_ranges(struct strbuf *b, struct strbuf *text, Penstock__OffsetRange *const *r,
			size_t n)
{
	strbuf_reset(text);
	strbuf_addc(text, '{');
	for (size_t i = 0; i < n; i++)
		strbuf_addf(text, "%s[%llu,%llu]", i ? "," : "", (unsigned long long)r[i]->from,
			    (unsigned long long)r[i]->to);
	strbuf_addc(text, '}');
	pg_copy_text(b, text->data);
}

static void add_link(struct strbuf *b, struct strbuf *text, const Penstock__Receipts *m,
		     const Penstock__LinkReceipt *l, int64_t n)
{
	pg_copy_row(b, N_LINK_COLUMNS);
	pg_copy_text(b, l->tenant);
	pg_copy_text(b, l->channel);
	pg_copy_int8(b, (int64_t)m->epoch);
	pg_copy_text(b, l->session);
	pg_copy_time(b, l->opened_us);
	pg_copy_text(b, m->edge);
	pg_copy_int8(b, m->run_us);
	pg_copy_int4(b, (int32_t)m->reactor);
	pg_copy_text(b, l->principal);
	pg_copy_int8(b, (int64_t)l->from);
	pg_copy_int8(b, (int64_t)l->sent);
	pg_copy_bool(b, l->level);
	pg_copy_int8(b, (int64_t)l->acked);
	copy_ranges(b, text, l->spilled, l->n_spilled);
	copy_ranges(b, text, l->missed, l->n_missed);
	pg_copy_time(b, m->time_us);
	if (l->closed_us)
		pg_copy_time(b, l->closed_us);
	else
		pg_copy_null(b);
	pg_copy_int4(b, (int32_t)l->close_code);
	pg_copy_int8(b, n);
}

static int write_links(PGconn *conn, Penstock__Receipts *const *msgs, size_t n, struct error *err)
{
	struct strbuf b = {0}, text = {0};
	int64_t rows = 0;
	int rc = 0;

	pg_copy_begin(&b);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < msgs[i]->n_links; k++)
			add_link(&b, &text, msgs[i], msgs[i]->links[k], rows++);
	if (rows && (pg_copy_send(conn, copy_links_sql, &b, err) ||
		     pg_run(conn, links_sql, 0, NULL, NULL, err)))
		rc = -1;
	strbuf_done(&b);
	strbuf_done(&text);
	return rc;
}

static int write_positions(PGconn *conn, Penstock__Receipts *const *msgs, size_t n,
			   struct error *err)
{
	struct strbuf b = {0};
	bool any = false;
	int rc = 0;

	pg_copy_begin(&b);
	for (size_t i = 0; i < n; i++) {
		const Penstock__Receipts *m = msgs[i];

		for (size_t k = 0; k < m->n_positions; k++) {
			pg_copy_row(&b, 8);
			pg_copy_text(&b, m->positions[k]->tenant);
			pg_copy_text(&b, m->positions[k]->channel);
			pg_copy_int8(&b, (int64_t)m->epoch);
			pg_copy_text(&b, m->edge);
			pg_copy_int8(&b, m->run_us);
			pg_copy_int4(&b, (int32_t)m->reactor);
			pg_copy_int8(&b, (int64_t)m->positions[k]->offset);
			pg_copy_time(&b, m->time_us);
			any = true;
		}
	}
	if (any && (pg_copy_send(conn, copy_positions_sql, &b, err) ||
		    pg_run(conn, positions_sql, 0, NULL, NULL, err)))
		rc = -1;
	strbuf_done(&b);
	return rc;
}

static int write_edges(PGconn *conn, Penstock__Receipts *const *msgs, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		const Penstock__Receipts *m = msgs[i];
		struct pg_int8 run = pg_int8(m->run_us), time = pg_int8(m->time_us),
			       period = pg_int8(m->period_ms), resume = pg_int8(m->resume_ms);

		if (pg_run(conn, edge_sql, 5,
			   (const char *[]){m->edge, run.text, time.text, period.text, resume.text},
			   NULL, err))
			return -1;
	}
	return 0;
}

int store_receipts_write(PGconn *conn, Penstock__Receipts *const *msgs, size_t n, struct error *err)
{
	if (pg_exec(conn, "BEGIN", err) || write_links(conn, msgs, n, err) ||
	    write_positions(conn, msgs, n, err) || write_edges(conn, msgs, n, err) ||
	    pg_exec(conn, "COMMIT", err)) {
		pg_rollback(conn);
		return -1;
	}
	return 0;
}

static const char *const expire_sql[] = {
    "DELETE FROM receipts WHERE ctid = ANY(ARRAY(SELECT ctid FROM receipts WHERE opened_at < now()"
    " - $1::int8 * interval '1 day' AND updated_at < now() - $1::int8 * interval '1 day'"
    " LIMIT $2::int8))",
    "DELETE FROM receipt_positions WHERE ctid = ANY(ARRAY(SELECT ctid FROM receipt_positions"
    " WHERE at < now() - $1::int8 * interval '1 day' LIMIT $2::int8))",
    "DELETE FROM receipt_edges WHERE ctid = ANY(ARRAY(SELECT ctid FROM receipt_edges"
    " WHERE seen_at < now() - $1::int8 * interval '1 day' LIMIT $2::int8))",
};

int store_receipts_maintain(PGconn *conn, int retention_days, struct error *err)
{
	struct pg_int8 days = pg_int8(retention_days), step = pg_int8(STEP_ROWS);
	int64_t gone = STEP_ROWS;

	for (size_t i = 0; i < sizeof(expire_sql) / sizeof(expire_sql[0]); i++) {
		for (int k = 0; k < STEPS_MAX && gone == STEP_ROWS; k++)
			if (pg_run(conn, expire_sql[i], 2, (const char *[]){days.text, step.text},
				   &gone, err))
				return -1;
		gone = STEP_ROWS;
	}
	return 0;
}
