#include "services/event-store/replay_pg.h"

#include <stdio.h>
#include <string.h>

#include "common/pg.h"
#include "common/strbuf.h"
#include "proto/command.pb-c.h"
#include "services/event-store/event_input.h"

#define NEXT                                                                                       \
	"tenant = r.tenant AND channel = r.channel AND epoch = r.epoch AND seq > r.position"       \
	" AND seq <= r.until_seq"
static const char finish_sql[] =
    "UPDATE replays r SET state = 'done', finished_at = now() WHERE state = 'running'"
    " AND NOT EXISTS (SELECT 1 FROM events WHERE " NEXT ")";
/* The rate is kept as that of redrives (redrive_pg.c). */
static const char read_sql[] =
    "WITH spare AS (SELECT id, mark, least(floor(extract(epoch FROM now() - mark) * per_s),"
    "   $1::int8)::int AS n FROM (SELECT id, per_s, greatest(mark_at, now() - interval '1 s') AS "
    "mark"
    "   FROM replays WHERE state = 'running' AND hook IS NULL AND tenant <> ALL($2::text[]) ORDER "
    "BY created_at"
    "   LIMIT 16) running),"
    " r AS (UPDATE replays x SET mark_at = spare.mark + interval '1 s' * (spare.n / "
    "x.per_s::float8)"
    "  FROM spare WHERE x.id = spare.id AND spare.n > 0 RETURNING x.*, spare.n)"
    " SELECT r.id, r.tenant, r.target, r.actor, e.seq, e.event_id, e.type, e.version, e.data,"
    "  (extract(epoch FROM e.time) * 1000000)::int8, e.trace, e.channel, r.pipeline, r.epoch, "
    "e.depth"
    " FROM r CROSS JOIN LATERAL (SELECT * FROM events WHERE " NEXT " ORDER BY seq LIMIT r.n) e"
    " LIMIT $1::int8";
/* What was noted before is not counted a second time: the round's other notes may have failed. */
static const char note_sql[] =
    "UPDATE replays r SET position = x.seq, sent = r.sent + x.sent,"
    " refused = r.refused + x.refused, reason = coalesce(x.reason, r.reason)"
    " FROM (VALUES ($1::uuid, $2::int8, $3::int8, $4::int8, $5::text))"
    " AS x(id, seq, sent, refused, reason) WHERE r.id = x.id AND r.position < x.seq";

/* One event is one task of the replay, whoever asks how often. */
static void pack_task(struct release_due *d, const PGresult *res, int row)
{
	char key[KEY_MAX + 1], principal[PRINCIPAL_MAX + 1];
	struct strbuf input = {0};
	snprintf(key, sizeof(key), "replay.%s.%s", d->order, pg_text(res, row, 5));
	snprintf(principal, sizeof(principal), "replay:%s", d->order);
	event_input_add(&input, &(struct event_input){.id = pg_text(res, row, 5),
						      .type = pg_text(res, row, 6),
						      .version = pg_int(res, row, 7),
						      .data = pg_text(res, row, 8),
						      .time_us = pg_int(res, row, 9),
						      .channel = pg_text(res, row, 11),
						      .epoch = (uint64_t)pg_int(res, row, 13),
						      .offset = (int64_t)d->seq,
						      .replay = d->order});
	release_submit(d, "replay",
		       &(struct release_task){.principal = principal,
					      .pipeline = pg_text(res, row, 12),
					      .key = key,
					      .input = input.data,
					      .input_len = input.len,
					      .trace = pg_text(res, row, 10),
					      .depth = (unsigned)pg_int(res, row, 14)});
	strbuf_done(&input);
}

static void pack_event(struct release_due *d, const PGresult *res, int row)
{
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	e.tenant = d->tenant; /* protobuf-c has no const; nothing writes there */
	e.id = (char *)pg_text(res, row, 5);
	e.type = (char *)pg_text(res, row, 6);
	e.version = (uint32_t)pg_int(res, row, 7);
	e.data.data = (uint8_t *)pg_text(res, row, 8);
	e.data.len = strlen(pg_text(res, row, 8));
	e.time_us = pg_int(res, row, 9);
	e.trace = (char *)pg_text(res, row, 10);
	e.replay = d->order;
	Penstock__ReplayEvent replay = PENSTOCK__REPLAY_EVENT__INIT;
	replay.channel = (char *)pg_text(res, row, 2);
	replay.event = &e;
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	cmd.id = d->order;
	cmd.tenant = d->tenant;
	cmd.principal = (char *)pg_text(res, row, 3);
	cmd.body_case = PENSTOCK__COMMAND__BODY_REPLAY;
	cmd.replay = &replay;
	d->command = xmalloc(penstock__command__get_packed_size(&cmd));
	d->len = penstock__command__pack(&cmd, d->command);
}

static void take_row(struct release_due *d, const PGresult *res, int row)
{
	*d = (struct release_due){.kind = SLOW_REPLAY, .seq = (uint64_t)pg_int(res, row, 4)};
	snprintf(d->order, sizeof(d->order), "%s", pg_text(res, row, 0));
	snprintf(d->tenant, sizeof(d->tenant), "%s", pg_text(res, row, 1));
	if (pg_text(res, row, 12))
		pack_task(d, res, row);
	else
		pack_event(d, res, row);
}

int replay_pg_read(PGconn *conn, size_t max, const char *paused, struct release_due *due, size_t *n,
		   struct error *err)
{
	struct pg_int8 limit = pg_int8((int64_t)max);
	*n = 0;
	if (pg_run(conn, finish_sql, 0, NULL, NULL, err))
		return -1;
	PGresult *res = pg_query(conn, read_sql, 2, (const char *[]){limit.text, paused}, err);
	if (!res)
		return -1;
	for (int row = 0; row < PQntuples(res) && *n < max; row++)
		take_row(&due[(*n)++], res, row);
	PQclear(res);
	return 0;
}

/* Those of one replay, from `first` on; *next: behind them. */
static int note_one(PGconn *conn, const struct release_due *due, size_t first, size_t n,
		    size_t *next, struct error *err)
{
	int64_t sent = 0, refused = 0;
	const char *reason = NULL;
	uint64_t seq = 0;
	bool on = true;
	size_t i = first;
	for (; i < n && due[i].kind == SLOW_REPLAY && !strcmp(due[i].order, due[first].order);
	     i++) {
		on = on && due[i].end != RELEASE_NOT_YET;
		if (!on)
			continue;
		seq = due[i].seq;
		sent += due[i].end == RELEASE_DONE;
		if (due[i].end == RELEASE_BAD) {
			refused++;
			reason = due[i].reason;
		}
	}
	*next = i;
	if (!seq)
		return 0;
	struct pg_int8 at = pg_int8((int64_t)seq), good = pg_int8(sent), bad = pg_int8(refused);
	return pg_run(conn, note_sql, 5,
		      (const char *[]){due[first].order, at.text, good.text, bad.text, reason},
		      NULL, err);
}

int replay_pg_note(PGconn *conn, const struct release_due *due, size_t n, struct error *err)
{
	for (size_t i = 0; i < n;) {
		if (due[i].kind != SLOW_REPLAY)
			i++;
		else if (note_one(conn, due, i, n, &i, err))
			return -1;
	}
	return 0;
}
