#include "services/event-store/receipts_pg.h"

#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "common/strbuf.h"

#define STEP_ROWS 20000 /* removed in one statement, so that none is long */
#define STEPS_MAX 200

static const char stage_sql[] =
    "SET synchronous_commit = on; SET jit = off; SET statement_timeout = '60s';"
    "SET lock_timeout = '10s';"
    "CREATE TEMP TABLE IF NOT EXISTS stage_receipts (LIKE receipts) ON COMMIT DELETE ROWS;"
    "ALTER TABLE stage_receipts ALTER spilled TYPE text, ALTER missed TYPE text;"
    "CREATE TEMP TABLE IF NOT EXISTS stage_positions (LIKE receipt_positions)"
    " ON COMMIT DELETE ROWS";

#define LINK_COLUMNS                                                                               \
	"tenant, channel, epoch, session, opened_at, edge, run, reactor, principal, from_offset,"  \
	" sent, level, acked, acked_at, spilled, missed, updated_at, closed_at, close_code"
#define N_LINK_COLUMNS 19

static const char copy_links_sql[] =
    "COPY stage_receipts (" LINK_COLUMNS ") FROM STDIN (FORMAT binary)";
/* Its newest state counts, also if another event-store has stored it before an older one; ranges
 * add up, and nothing that was reached is taken back. */
static const char links_sql[] =
    "INSERT INTO receipts AS r (" LINK_COLUMNS ")"
    " SELECT tenant, channel, epoch, session, opened_at, edge, run, reactor, principal,"
    "  from_offset, sent, level, acked, acked_at, spilled::int8multirange, missed::int8multirange,"
    "  updated_at, closed_at, close_code FROM stage_receipts"
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

/* --- what a batch says of one subscription is made one row -------------------------------------
 */

struct said {
	const Penstock__Receipts *in;
	const Penstock__LinkReceipt *link;
	size_t n; /* of equally old ones the later one counts */
};

static int order(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int by_subscription(const struct said *a, const struct said *b)
{
	int c = strcmp(a->link->channel, b->link->channel);

	c = c ? c : strcmp(a->link->tenant, b->link->tenant);
	c = c ? c : strcmp(a->link->session, b->link->session);
	c = c ? c : order(a->link->opened_us, b->link->opened_us);
	return c ? c : order((int64_t)a->in->epoch, (int64_t)b->in->epoch);
}

static int by_subscription_and_age(const void *pa, const void *pb)
{
	const struct said *a = pa, *b = pb;
	int c = by_subscription(a, b);

	c = c ? c : order(a->in->time_us, b->in->time_us);
	return c ? c : order((int64_t)a->n, (int64_t)b->n);
}

/* As a multirange's text, which need not be in order nor without overlaps: {[5,9],[12,12]} */
static void add_ranges(struct strbuf *text, Penstock__OffsetRange *const *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		strbuf_addf(text, "%c[%llu,%llu]", text->len ? ',' : '{',
			    (unsigned long long)r[i]->from, (unsigned long long)r[i]->to);
}

static void copy_ranges(struct strbuf *b, struct strbuf *text)
{
	if (!text->len)
		strbuf_addc(text, '{');
	strbuf_addc(text, '}');
	pg_copy_bytes(b, text->data, text->len);
}

static void copy_time(struct strbuf *b, int64_t us)
{
	if (us)
		pg_copy_time(b, us);
	else
		pg_copy_null(b);
}

/* All that was said of one subscription, the oldest first. */
static void add_row(struct strbuf *b, struct strbuf text[2], const struct said *said, size_t n)
{
	const Penstock__Receipts *m = said[n - 1].in;
	const Penstock__LinkReceipt *newest = said[n - 1].link;
	uint64_t sent = 0, acked = 0;

	strbuf_reset(&text[0]);
	strbuf_reset(&text[1]);
	for (size_t i = 0; i < n; i++) {
		const Penstock__LinkReceipt *l = said[i].link;
		sent = l->sent > sent ? l->sent : sent;
		acked = l->acked > acked ? l->acked : acked;
		add_ranges(&text[0], l->spilled, l->n_spilled);
		add_ranges(&text[1], l->missed, l->n_missed);
	}
	pg_copy_row(b, N_LINK_COLUMNS);
	pg_copy_text(b, newest->tenant);
	pg_copy_text(b, newest->channel);
	pg_copy_int8(b, (int64_t)m->epoch);
	pg_copy_text(b, newest->session);
	pg_copy_time(b, newest->opened_us);
	pg_copy_text(b, m->edge);
	pg_copy_int8(b, m->run_us);
	pg_copy_int4(b, (int32_t)m->reactor);
	pg_copy_text(b, newest->principal);
	pg_copy_int8(b, (int64_t)newest->from);
	pg_copy_int8(b, (int64_t)sent);
	pg_copy_bool(b, newest->level);
	pg_copy_int8(b, (int64_t)acked);
	copy_time(b, newest->acked ? m->time_us : 0);
	copy_ranges(b, &text[0]);
	copy_ranges(b, &text[1]);
	pg_copy_time(b, m->time_us);
	copy_time(b, newest->closed_us);
	pg_copy_int4(b, (int32_t)newest->close_code);
}

static size_t collect(struct said *said, Penstock__Receipts *const *msgs, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < msgs[i]->n_links; k++, count++)
			if (said)
				said[count] = (struct said){msgs[i], msgs[i]->links[k], count};
	return count;
}

static int write_links(PGconn *conn, Penstock__Receipts *const *msgs, size_t n, struct error *err)
{
	struct strbuf b = {0}, text[2] = {{0}, {0}};
	size_t count = collect(NULL, msgs, n), first = 0;

	if (!count)
		return 0;
	struct said *said = xcalloc(count, sizeof(*said));
	collect(said, msgs, n);
	qsort(said, count, sizeof(*said), by_subscription_and_age);
	pg_copy_begin(&b);
	for (size_t i = 1; i <= count; i++) {
		if (i < count && by_subscription(&said[first], &said[i]) == 0)
			continue;
		add_row(&b, text, &said[first], i - first);
		first = i;
	}
	int rc = pg_copy_send(conn, copy_links_sql, &b, err) ||
			 pg_run(conn, links_sql, 0, NULL, NULL, err)
		     ? -1
		     : 0;
	free(said);
	strbuf_done(&b);
	strbuf_done(&text[0]);
	strbuf_done(&text[1]);
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
