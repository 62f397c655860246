#include "services/event-store/hooks_pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "common/strbuf.h"
#include "common/webhook.h"
#include "proto/hook.pb-c.h"

#define WINDOW 2000   /* offsets that one look takes: at most so many rows more in a queue */
#define QUEUE  "1000" /* of a hook; what is full waits in the log */
#define DEAD   "1000" /* deliveries that failed for good, then the hook is disabled */
#define GROUPS "32"   /* places in the log, of all hooks, that one round looks on from */
/* A hook is given up only behind so many failures in succession, however long they took. */
#define FAILURES "5"

int hooks_pg_any(PGconn *conn, bool *any, struct error *err)
{
	PGresult *res = pg_query(conn, "SELECT EXISTS (SELECT 1 FROM hook_states)", 0, NULL, err);
	if (!res)
		return -1;
	*any = pg_bool(res, 0, 0);
	PQclear(res);
	return 0;
}

int hooks_pg_take_over(PGconn *conn, struct error *err)
{
	return pg_exec(
	    conn, "UPDATE hook_deliveries SET sending = false, due_at = now() WHERE sending", err);
}

/* --- from the log into the queues ------------------------------------------------------------- */

/* Hooks that are at the same place go on together: those that keep up are one group, and one look
 * at the log serves them all. */
static const char groups_sql[] =
    "SELECT h.epoch, h.position, coalesce(p.seq, 0),"
    "  (SELECT min(q.epoch) FROM store_position q WHERE q.epoch > h.epoch)"
    " FROM (SELECT DISTINCT epoch, position FROM hook_states WHERE enabled) h"
    " LEFT JOIN store_position p ON p.epoch = h.epoch"
    " WHERE p.seq > h.position OR EXISTS (SELECT 1 FROM store_position q WHERE q.epoch > h.epoch)"
    " ORDER BY random() LIMIT " GROUPS;
/* One statement, so that a queue and its position move together. */
static const char look_sql[] =
    "WITH h AS (UPDATE hook_states s SET position = $3::int8 WHERE enabled AND epoch = $1::int8"
    "   AND position = $2::int8 AND (SELECT count(*) FROM (SELECT 1 FROM hook_deliveries d"
    "   WHERE d.hook = s.hook AND NOT d.dead AND d.replay = '' LIMIT " QUEUE ") q) < " QUEUE
    "   RETURNING hook, tenant, channels, types),"
    " i AS (INSERT INTO hook_deliveries (hook, epoch, seq, time)"
    "  SELECT h.hook, e.epoch, e.seq, e.time FROM events e JOIN h ON h.tenant = e.tenant"
    "  WHERE e.epoch = $1::int8 AND e.seq > $2::int8 AND e.seq <= $3::int8"
    "  AND e.channel ~ h.channels AND e.type ~ h.types ON CONFLICT DO NOTHING)"
    " SELECT FROM h";
static const char next_life_sql[] = "UPDATE hook_states SET epoch = $3::int8, position = 0"
				    " WHERE enabled AND epoch = $1::int8 AND position = $2::int8";

int hooks_pg_scan(PGconn *conn, bool *more, struct error *err)
{
	PGresult *res = pg_query(conn, groups_sql, 0, NULL, err);
	int rc = res ? 0 : -1;
	*more = false;
	for (int i = 0; res && i < PQntuples(res) && !rc; i++) {
		int64_t from = pg_int(res, i, 1), end = pg_int(res, i, 2);
		bool same = end > from;
		int64_t to = end - from > WINDOW ? from + WINDOW : end;
		struct pg_int8 upto = pg_int8(same ? to : pg_int(res, i, 3));
		int64_t rows = 0;
		rc = pg_run(conn, same ? look_sql : next_life_sql, 3,
			    (const char *[]){pg_text(res, i, 0), pg_text(res, i, 1), upto.text},
			    &rows, err);
		/* A full queue's place comes again each time: no reason to hurry. */
		*more = *more || (rows > 0 && (!same || to < end));
	}
	PQclear(res);
	return rc;
}

/* --- replays --------------------------------------------------------------------------------- */

/* The rate is kept as that of replays to channels (replay_pg.c); a queue that is full of replayed
 * events takes no more of them. */
static const char replay_sql[] =
    "WITH spare AS (SELECT id, mark, floor(extract(epoch FROM now() - mark) * per_s)::int AS n"
    "   FROM (SELECT id, per_s, greatest(mark_at, now() - interval '1 s') AS mark FROM replays x"
    "   WHERE state = 'running' AND hook IS NOT NULL AND (SELECT count(*) FROM (SELECT 1"
    "    FROM hook_deliveries d WHERE d.hook = x.hook AND d.replay <> '' LIMIT " QUEUE
    ") q) < " QUEUE " ORDER BY created_at LIMIT 16) running),"
    " r AS (SELECT x.id, x.hook, x.tenant, x.channel, x.epoch, x.position AS from_seq, x.until_seq "
    "AS to_seq,"
    "  spare.n, spare.mark FROM replays x JOIN spare USING (id)"
    "  WHERE spare.n > 0 FOR UPDATE OF x),"
    " e AS (SELECT r.id, r.hook, e.epoch, e.seq, e.time FROM r CROSS JOIN LATERAL (SELECT *"
    "  FROM events WHERE tenant = r.tenant AND channel = r.channel AND epoch = r.epoch"
    "  AND seq > r.from_seq AND seq <= r.to_seq ORDER BY seq LIMIT r.n) e),"
    " i AS (INSERT INTO hook_deliveries (hook, epoch, seq, time, replay)"
    "  SELECT hook, epoch, seq, time, id::text FROM e ON CONFLICT DO NOTHING),"
    " m AS (SELECT id, max(seq) AS seq, count(*)::int AS n FROM e GROUP BY id)"
    " UPDATE replays x SET position = m.seq, sent = x.sent + m.n,"
    "  mark_at = r.mark + interval '1 s' * (m.n / x.per_s::float8)"
    " FROM m JOIN r USING (id) WHERE x.id = m.id";

int hooks_pg_replay(PGconn *conn, struct error *err)
{
	return pg_run(conn, replay_sql, 0, NULL, NULL, err);
}

/* --- handing out ------------------------------------------------------------------------------ */

/* Hooks with something in their queue are stepped through by the index; each gives its own first
 * ones, as many as it, its tenant and all together have places left, and of these the firsts of all
 * hooks come before the seconds of any. */
static const char take_sql[] =
    "WITH RECURSIVE w AS ("
    "  (SELECT hook FROM hook_deliveries WHERE NOT dead ORDER BY hook LIMIT 1)"
    "  UNION ALL SELECT (SELECT d.hook FROM hook_deliveries d WHERE NOT d.dead AND d.hook > w.hook"
    "   ORDER BY d.hook LIMIT 1) FROM w WHERE w.hook IS NOT NULL),"
    " s AS (SELECT h.*, n.n, sum(n.n) OVER (PARTITION BY h.tenant) AS of_tenant"
    "  FROM w JOIN hook_states h USING (hook) CROSS JOIN LATERAL (SELECT count(*) AS n"
    "   FROM hook_deliveries d WHERE d.hook = h.hook AND NOT d.dead AND d.sending"
    "   AND d.due_at > now()) n),"
    " r AS (SELECT s.*, CASE WHEN failures > 0 THEN 1 ELSE concurrent END - n AS room FROM s"
    "  JOIN control.tenants t ON t.id = s.tenant AND t.doc->>'status' = 'active'"
    "  WHERE enabled AND (resume_at IS NULL OR resume_at <= now())),"
    " c AS (SELECT d.*, r.tenant, r.of_tenant, row_number() OVER (PARTITION BY r.tenant"
    "   ORDER BY d.turn, d.due_at) AS tenants FROM r CROSS JOIN LATERAL (SELECT q.hook, q.epoch,"
    "   q.seq, q.replay, q.due_at, row_number() OVER (ORDER BY q.due_at, q.epoch, q.seq) AS turn"
    "   FROM hook_deliveries q WHERE q.hook = r.hook AND NOT q.dead AND q.due_at <= now()"
    "   ORDER BY q.due_at, q.epoch, q.seq LIMIT greatest(r.room, 0)) d),"
    " p AS (SELECT * FROM c WHERE tenants + of_tenant <= $2::int8 ORDER BY turn, due_at"
    "  LIMIT $1::int8),"
    " u AS (UPDATE hook_deliveries d SET sending = true, due_at = now() + interval '1 ms' *"
    "   (coalesce((k.doc->>'timeout_ms')::int8, 0) + $3::int8) FROM p JOIN control.hooks k"
    "   ON k.id = p.hook WHERE d.hook = p.hook AND d.epoch = p.epoch AND d.seq = p.seq"
    "   AND d.replay = p.replay RETURNING d.hook, d.epoch, d.seq, d.replay, d.time, d.attempts,"
    "   k.doc, k.secret, CASE WHEN k.previous_until > now() THEN k.previous_secret END AS old,"
    "   p.turn, p.due_at)"
    " SELECT u.hook, u.epoch, u.seq, u.replay, u.doc->>'url', u.doc->>'timeout_ms',"
    "  coalesce(u.doc->>'allow_private', 'false') = 'true', u.secret, u.old, e.event_id, e.type,"
    "  e.channel, e.version, (extract(epoch FROM e.time) * 1000000)::int8, e.data, e.trace"
    " FROM u LEFT JOIN events e ON e.epoch = u.epoch AND e.seq = u.seq AND e.time = u.time"
    " ORDER BY u.turn, u.due_at";
static const char expire_sql[] =
    "WITH gone AS (DELETE FROM hook_deliveries WHERE hook = $1 AND epoch = $2::int8"
    "  AND seq = $3::int8 AND replay = $4 RETURNING hook)"
    " UPDATE hook_states s SET expired = expired + 1 FROM gone WHERE s.hook = gone.hook";

/* What is signed and sent: the same bytes each time. */
static void put_body(struct strbuf *b, const PGresult *res, int row)
{
	char time[TIME_LEN + 1];
	json_t *head = json_object();
	time_format(pg_int(res, row, 13), time);
	json_object_set_new(head, "type", json_string(pg_text(res, row, 10)));
	json_object_set_new(head, "timestamp", json_string(time));
	json_object_set_new(head, "channel", json_string(pg_text(res, row, 11)));
	json_object_set_new(head, "version", json_integer(pg_int(res, row, 12)));
	json_object_set_new(head, "offset", json_integer(pg_int(res, row, 2)));
	json_object_set_new(head, "event_id", json_string(pg_text(res, row, 9)));
	json_add(b, head);
	json_decref(head);
	b->len--; /* the brace */
	strbuf_addf(b, ",\"data\":%s}", pg_text(res, row, 14));
}

static void put_signatures(struct strbuf *b, const PGresult *res, int row, const char *now_s,
			   const struct strbuf *body)
{
	struct webhook_message m = {
	    .id = pg_text(res, row, 9), .timestamp = now_s, .body = body->data, .len = body->len};
	char one[WEBHOOK_SIGNED_LEN + 1];
	strbuf_adds(b, "webhook-signature:");
	for (int col = 7; col <= 8; col++)
		if (pg_text(res, row, col) && webhook_sign(pg_text(res, row, col), &m, one))
			strbuf_addf(b, " %s", one);
}

static void pack(struct hook_delivery *d, const PGresult *res, int row, int64_t now_us)
{
	struct strbuf body = {0}, signature = {0};
	char id[64], at[64], trace[80], replay[80], now_s[24];
	snprintf(now_s, sizeof(now_s), "%lld", (long long)(now_us / 1000000));
	snprintf(id, sizeof(id), "webhook-id: %s", pg_text(res, row, 9));
	snprintf(at, sizeof(at), "webhook-timestamp: %s", now_s);
	put_body(&body, res, row);
	put_signatures(&signature, res, row, now_s, &body);
	char *headers[6] = {(char *)"Content-Type: application/json", id, at, signature.data};
	Penstock__HookPost m = PENSTOCK__HOOK_POST__INIT;
	m.n_headers = 4;
	if (pg_text(res, row, 15)[0]) {
		snprintf(trace, sizeof(trace), "traceparent: %s", pg_text(res, row, 15));
		headers[m.n_headers++] = trace;
	}
	if (d->replay[0]) {
		snprintf(replay, sizeof(replay), "penstock-replay: %s", d->replay);
		headers[m.n_headers++] = replay;
	}
	m.url = (char *)pg_text(res, row, 4); /* protobuf-c has no const; nothing writes there */
	m.headers = headers;
	m.body.data = (uint8_t *)body.data;
	m.body.len = body.len;
	m.timeout_ms = (uint32_t)d->timeout_ms;
	m.allow_private = pg_bool(res, row, 6);
	d->post = xmalloc(penstock__hook_post__get_packed_size(&m));
	d->len = penstock__hook_post__pack(&m, d->post);
	strbuf_done(&body);
	strbuf_done(&signature);
}

int hooks_pg_take(PGconn *conn, size_t max, int64_t now_us, struct hook_delivery **list, size_t *n,
		  struct error *err)
{
	struct pg_int8 limit = pg_int8((int64_t)max), tenant = pg_int8(HOOKS_TENANT_IN_FLIGHT),
		       lease = pg_int8(HOOKS_LEASE_S * 1000);
	int rc = 0;
	*n = 0;
	PGresult *res =
	    pg_query(conn, take_sql, 3, (const char *[]){limit.text, tenant.text, lease.text}, err);
	if (!res)
		return -1;
	for (int row = 0; row < PQntuples(res) && !rc; row++) {
		if (!pg_text(res, row, 9)) {
			rc = pg_run(conn, expire_sql, 4,
				    (const char *[]){pg_text(res, row, 0), pg_text(res, row, 1),
						     pg_text(res, row, 2), pg_text(res, row, 3)},
				    NULL, err);
			continue;
		}
		struct hook_delivery *d = xcalloc(1, sizeof(*d));
		snprintf(d->hook, sizeof(d->hook), "%s", pg_text(res, row, 0));
		snprintf(d->epoch, sizeof(d->epoch), "%s", pg_text(res, row, 1));
		snprintf(d->seq, sizeof(d->seq), "%s", pg_text(res, row, 2));
		snprintf(d->replay, sizeof(d->replay), "%s", pg_text(res, row, 3));
		d->timeout_ms = (int)pg_int(res, row, 5);
		pack(d, res, row, now_us);
		d->next = *list;
		*list = d;
		++*n;
	}
	PQclear(res);
	return rc;
}

/* --- what became of them ---------------------------------------------------------------------- */

#define THIS "hook = $1 AND epoch = $2::int8 AND seq = $3::int8 AND replay = $4"
static const char done_sql[] =
    "WITH gone AS (DELETE FROM hook_deliveries WHERE " THIS " RETURNING hook)"
    " UPDATE hook_states s SET failures = 0, failing_since = NULL, resume_at = NULL,"
    "  delivered = delivered + 1, last_at = now(), last_status = $5::int4, last_error = NULL"
    " FROM gone WHERE s.hook = gone.hook";
static const char untried_sql[] =
    "UPDATE hook_deliveries SET sending = false, due_at = now() + interval '1 s' WHERE " THIS;
/* Full jitter under min(max, initial * 2^attempts), on top of what the other side said, of which it
 * is a tenth at most then. The whole hook waits likewise, by its failures in succession, a minute
 * at most: a dead endpoint is asked now and then, by one delivery. */
static const char failed_sql[] =
    "WITH k AS (SELECT id, (doc->'retry'->>'max_attempts')::int8 AS most,"
    "  (doc->'retry'->>'initial_ms')::float8 AS initial, (doc->'retry'->>'max_ms')::float8 AS cap"
    "  FROM control.hooks WHERE id = $1),"
    " d AS (UPDATE hook_deliveries d SET sending = false, attempts = attempts + 1, error = $7,"
    "  dead = attempts + 1 >= k.most, due_at = now() + interval '1 ms' * greatest("
    "   $6::int8 * (1 + 0.1 * random()),"
    "   random() * least(k.cap, k.initial * power(2, least(attempts, 40))))"
    "  FROM k WHERE d.hook = $1 AND d.epoch = $2::int8 AND d.seq = $3::int8 AND d.replay = $4"
    "  RETURNING d.hook)"
    " UPDATE hook_states s SET failures = failures + 1,"
    "  failing_since = coalesce(failing_since, now()), resume_at = now() + interval '1 ms' *"
    "   greatest($6::int8, random() * least(60000, k.cap, k.initial * power(2, least(failures, "
    "40)))),"
    "  last_at = now(), last_status = nullif($5::int4, 0), last_error = $7"
    " FROM d, k WHERE s.hook = d.hook";
/* Gone says that nobody will be there any more; else it takes time and failures, or too many
 * deliveries that nothing becomes of. */
static const char disable_sql[] =
    "WITH off AS (UPDATE hook_states s SET enabled = false, disabled_at = now(), told = false,"
    "  disabled = disabled + 1, reason = w.reason FROM (SELECT CASE WHEN $2::int4 = 410 THEN 'gone'"
    "   WHEN h.failures >= " FAILURES " AND h.failing_since + interval '1 s' *"
    "    (k.doc->>'disable_after_s')::int8 <= now() THEN 'failing'"
    "   WHEN h.failures > 0 AND (SELECT count(*) FROM (SELECT 1 FROM hook_deliveries d"
    "    WHERE d.hook = h.hook AND d.dead LIMIT " DEAD ") q) >= " DEAD " THEN 'dead_letters' END"
    "   AS reason FROM hook_states h JOIN control.hooks k ON k.id = h.hook WHERE h.hook = $1) w"
    "  WHERE s.hook = $1 AND s.enabled AND w.reason IS NOT NULL RETURNING s.*)"
    " INSERT INTO control.audit (actor, role, action, resource, tenant, before, after, reason)"
    " SELECT 'event-store', 'system', 'hook.disable', 'tenants/' || tenant || '/hooks/' || hook,"
    "  tenant, '{\"enabled\":true}', json_build_object('enabled', false, 'reason', reason,"
    "  'failures', failures, 'last_error', last_error), reason FROM off";

int hooks_pg_note(PGconn *conn, const struct hook_delivery *d, bool *disabled, struct error *err)
{
	char status[16];
	struct pg_int8 wait = pg_int8(d->retry_after_ms);
	int64_t rows = 0;
	snprintf(status, sizeof(status), "%u", d->status);
	const char *values[] = {d->hook, d->epoch, d->seq, d->replay, status, wait.text, d->error};
	*disabled = false;
	if (!d->tried)
		return pg_run(conn, untried_sql, 4, values, NULL, err);
	if (d->status >= 200 && d->status < 300)
		return pg_run(conn, done_sql, 5, values, NULL, err);
	if (pg_run(conn, failed_sql, 7, values, NULL, err) ||
	    pg_run(conn, disable_sql, 2, (const char *[]){d->hook, status}, &rows, err))
		return -1;
	*disabled = rows > 0;
	return 0;
}

int hooks_pg_untold(PGconn *conn, struct hook_ended *e, struct error *err)
{
	*e = (struct hook_ended){0};
	PGresult *res =
	    pg_query(conn,
		     "SELECT s.hook, s.tenant, s.disabled, json_build_object('hook', s.hook, 'url',"
		     "  k.doc->>'url', 'reason', s.reason, 'failures', s.failures, 'last_status',"
		     "  s.last_status, 'last_error', s.last_error) FROM hook_states s"
		     " JOIN control.hooks k ON k.id = s.hook WHERE NOT s.told LIMIT 1",
		     0, NULL, err);
	if (!res)
		return -1;
	if (PQntuples(res)) {
		snprintf(e->hook, sizeof(e->hook), "%s", pg_text(res, 0, 0));
		snprintf(e->tenant, sizeof(e->tenant), "%s", pg_text(res, 0, 1));
		e->times = (int)pg_int(res, 0, 2);
		e->data = xstrdup(pg_text(res, 0, 3));
	}
	PQclear(res);
	return 0;
}

int hooks_pg_told(PGconn *conn, const struct hook_ended *e, struct error *err)
{
	struct pg_int8 times = pg_int8(e->times);
	return pg_run(conn,
		      "UPDATE hook_states SET told = true WHERE hook = $1 AND disabled = $2::int4",
		      2, (const char *[]){e->hook, times.text}, NULL, err);
}
