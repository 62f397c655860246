#include "services/event-store/query_pg.h"

#include <stdlib.h>
#include <string.h>

#include "common/pg.h"
#include "common/strbuf.h"
#include "services/event-store/task_rows.h"

/* Protobuf's tags and lengths around one event in a page. */
#define ENVELOPE 48
/* What a row's columns besides data come to, roughly: only for cutting the page in SQL already. */
#define ROW_ROUGHLY "400"

#define CHANNEL "tenant = $1 AND channel = $2 AND epoch = $3::int8"

/* Before the rows: whatever is at or below this position is visible to the statements after it. */
static const char place_sql[] =
    "SELECT (SELECT seq FROM store_position WHERE epoch = $3::int8),"
    " (SELECT min(seq) FROM events WHERE " CHANNEL "),"
    " (SELECT max(seq) FROM events WHERE " CHANNEL " AND seq <= $4::int8),"
    " (SELECT min(seq) FROM events WHERE epoch = $3::int8)";
/* `before`: bytes in the rows in front; octet_length of a long value does not read it. */
static const char page_sql[] =
    "SELECT seq, event_id, type, version, data, (extract(epoch FROM time) * 1000000)::int8, trace,"
    " key, digest, session, router, command, principal, total, depth FROM ("
    "  SELECT *, count(*) OVER () AS total, sum(octet_length(data) + " ROW_ROUGHLY
    ") OVER (ORDER BY seq) - octet_length(data) - " ROW_ROUGHLY " AS before FROM ("
    "   SELECT * FROM events WHERE " CHANNEL " AND seq > $4::int8 AND seq <= $5::int8"
    "   ORDER BY seq LIMIT $6::int8) AS rows) AS sized WHERE before < $7::int8 ORDER BY seq";
static const char task_sql[] =
    "SELECT (SELECT seq FROM store_position WHERE epoch = $2::int8), " STORE_TASK_COLUMNS
    " FROM (SELECT 1) AS one LEFT JOIN tasks ON task = $1";

int store_query_prepare(PGconn *conn, struct error *err)
{
	static const char *const statements[][2] = {
	    {"place", place_sql}, {"page", page_sql}, {"task", task_sql}};

	/* Generic plans: planning over a month of partitions costs more than running. */
	if (pg_exec(conn,
		    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET "
		    "statement_timeout = '5s';"
		    "SET default_transaction_read_only = on",
		    err))
		return -1;
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		if (pg_prepare(conn, statements[i][0], statements[i][1], err))
			return -1;
	return 0;
}

/* --- pages -------------------------------------------------------------------------------------
 */

static size_t room(const struct store_page *page)
{
	return page->max_bytes ? page->max_bytes : STORE_PAGE_BYTES;
}

bool store_page_add(struct store_page *page, uint64_t seq, Penstock__Event *event, size_t limit)
{
	size_t size = penstock__event__get_packed_size(event) + ENVELOPE;

	/* The first one always fits: no event is as large as a message. */
	if (page->n >= limit || (page->n && page->bytes + size > room(page))) {
		page->more = true;
		penstock__event__free_unpacked(event, NULL);
		return false;
	}
	if (page->n == page->cap) {
		page->cap = page->cap ? page->cap * 2 : 32;
		page->events = xrealloc(page->events, page->cap * sizeof(*page->events));
	}
	Penstock__StoredEvent *stored = xmalloc(sizeof(*stored));
	penstock__stored_event__init(stored);
	stored->offset = seq;
	stored->prev = page->n ? page->events[page->n - 1]->offset : page->before;
	stored->event = event;
	page->events[page->n++] = stored;
	page->bytes += size;
	return true;
}

void store_page_done(struct store_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		penstock__stored_event__free_unpacked(page->events[i], NULL);
	free(page->events);
	*page = (struct store_page){0};
}

static Penstock__Event *event_of(const PGresult *res, int row, const char *tenant,
				 const char *channel)
{
	Penstock__Event *e = xmalloc(sizeof(*e));
	const char *data = pg_text(res, row, 4);
	size_t len = (size_t)PQgetlength(res, row, 4);

	penstock__event__init(e);
	e->id = xstrdup(pg_text(res, row, 1));
	e->tenant = xstrdup(tenant);
	e->channel = xstrdup(channel);
	e->type = xstrdup(pg_text(res, row, 2));
	e->version = (uint32_t)pg_int(res, row, 3);
	e->data.len = len;
	e->data.data = len ? xmemdup(data, len) : NULL;
	e->time_us = pg_int(res, row, 5);
	e->trace = xstrdup(pg_text(res, row, 6));
	e->key = xstrdup(pg_text(res, row, 7));
	e->digest = (uint64_t)pg_int(res, row, 8);
	e->session = xstrdup(pg_text(res, row, 9));
	e->router = xstrdup(pg_text(res, row, 10));
	e->command = xstrdup(pg_text(res, row, 11));
	e->principal = xstrdup(pg_text(res, row, 12));
	e->depth = (uint32_t)pg_int(res, row, 14);
	return e;
}

int store_query_page(PGconn *conn, uint64_t epoch, const char *tenant, const char *channel,
		     uint64_t after, uint64_t until, size_t limit, struct store_page *page,
		     struct error *err)
{
	uint64_t last = until && until < INT64_MAX ? until : INT64_MAX;
	struct pg_int8 e = pg_int8((int64_t)epoch), a = pg_int8((int64_t)after);
	/* One more than is wanted tells whether there is more. */
	struct pg_int8 u = pg_int8((int64_t)last), l = pg_int8((int64_t)limit + 1);
	struct pg_int8 b = pg_int8((int64_t)room(page));
	const char *values[] = {tenant, channel, e.text, a.text, u.text, l.text, b.text};

	PGresult *res = pg_execute(conn, "place", 4, values, err);
	if (!res)
		return -1;
	page->position = (uint64_t)pg_int(res, 0, 0);
	page->earliest = (uint64_t)pg_int(res, 0, 1);
	page->before = (uint64_t)pg_int(res, 0, 2);
	page->kept_from = pg_text(res, 0, 3) ? (uint64_t)pg_int(res, 0, 3) : page->position + 1;
	PQclear(res);
	res = pg_execute(conn, "page", 7, values, err);
	if (!res)
		return -1;
	int rows = PQntuples(res);
	for (int row = 0; row < rows && !page->more; row++)
		store_page_add(page, (uint64_t)pg_int(res, row, 0),
			       event_of(res, row, tenant, channel), limit);
	if (rows && pg_int(res, 0, 13) > rows)
		page->more = true;
	PQclear(res);
	return 0;
}

int store_query_task(PGconn *conn, uint64_t epoch, const char *id, struct project_task *task,
		     uint64_t *position, struct error *err)
{
	struct pg_int8 e = pg_int8((int64_t)epoch);
	PGresult *res = pg_execute(conn, "task", 2, (const char *[]){id, e.text}, err);

	if (!res)
		return -1;
	*position = (uint64_t)pg_int(res, 0, 0);
	if (pg_text(res, 0, 1))
		store_task_from_row_at(task, res, 0, 1);
	PQclear(res);
	return 0;
}
