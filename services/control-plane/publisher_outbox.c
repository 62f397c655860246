/* From the outbox into the bucket, in order. */
#include <inttypes.h>

#include "common/names.h"
#include "common/pg.h"
#include "common/strbuf.h"
#include "services/control-plane/publisher_int.h"

int outbox_count(struct publisher *p, struct error *err)
{
	PGresult *res = pg_query(p->conn,
				 "SELECT count(*) FROM control.config_outbox"
				 " WHERE published_at IS NULL",
				 0, NULL, err);
	if (!res)
		return -1;
	metric_set(p->m_depth, pg_int(res, 0, 0));
	PQclear(res);
	return 0;
}

/* Marks the first n rows of a batch: in one statement with the news for the other control-planes.
 */
static int mark(struct publisher *p, const PGresult *rows, const uint64_t *revisions, size_t n,
		struct error *err)
{
	struct strbuf ids = {0}, numbers = {0};
	for (size_t i = 0; i < n; i++) {
		strbuf_addf(&ids, "%c%s", i ? ',' : '{', pg_text(rows, (int)i, 0));
		strbuf_addf(&numbers, "%c%" PRIu64, i ? ',' : '{', revisions[i]);
	}
	strbuf_addc(&ids, '}');
	strbuf_addc(&numbers, '}');
	PGresult *res =
	    pg_query(p->conn,
		     "UPDATE control.config_outbox AS o SET published_at = clock_timestamp(),"
		     " revision = nullif(a.revision, 0)"
		     " FROM unnest($1::bigint[], $2::bigint[]) AS a (id, revision)"
		     " WHERE o.id = a.id"
		     " RETURNING (extract(epoch FROM published_at - created_at) * 1000000)::int8,"
		     " pg_notify('penstock_published', '')",
		     2, (const char *[]){strbuf_str(&ids), strbuf_str(&numbers)}, err);
	strbuf_done(&ids);
	strbuf_done(&numbers);
	if (!res)
		return -1;
	for (int i = 0; i < PQntuples(res); i++)
		histogram_observe_us(p->m_latency, pg_int(res, i, 0));
	metric_add(p->m_published, PQntuples(res));
	PQclear(res);
	publisher_tell(p);
	return 0;
}

/* One batch. 1: there may be more; 0: all is out; -1: try again later. */
static int drain_batch(struct publisher *p, struct error *err)
{
	struct bridge_entry entries[PUBLISHER_BATCH];
	uint64_t revisions[PUBLISHER_BATCH];
	struct pg_int8 limit = pg_int8(PUBLISHER_BATCH);
	PGresult *rows = pg_query(p->conn,
				  "SELECT id, key, document FROM control.config_outbox"
				  " WHERE published_at IS NULL ORDER BY id LIMIT $1",
				  1, (const char *[]){limit.text}, err);
	if (!rows)
		return -1;
	size_t n = (size_t)PQntuples(rows);
	for (size_t i = 0; i < n; i++)
		entries[i] =
		    (struct bridge_entry){pg_text(rows, (int)i, 1), pg_text(rows, (int)i, 2)};
	size_t good =
	    bridge_put(p->conf.bridge, BUCKET_CONFIG, entries, n, PUBLISHER_PUT_MS, revisions);
	int rc = n == PUBLISHER_BATCH;
	if (good && mark(p, rows, revisions, good, err))
		rc = -1;
	PQclear(rows);
	/* Those behind the first failure are sent again too, so the last word on a key is the
	 * newest. */
	if (good < n && rc >= 0) {
		metric_add(p->m_failed, (int64_t)(n - good));
		rc =
		    err_set(err, ERR_TRANSIENT, "the bucket %s did not acknowledge", BUCKET_CONFIG);
	}
	return rc;
}

int outbox_drain(struct publisher *p, struct error *err)
{
	int rc;
	while ((rc = drain_batch(p, err)) > 0 && !atomic_load(&p->stopping))
		;
	return rc < 0 ? -1 : 0;
}

int outbox_prune(struct publisher *p, struct error *err)
{
	p->pruned_ms = publisher_now_ms();
	return pg_run(p->conn,
		      "DELETE FROM control.config_outbox WHERE id IN (SELECT id"
		      " FROM control.config_outbox WHERE published_at < now() - interval '1 day'"
		      " LIMIT 10000)",
		      0, NULL, NULL, err);
}
