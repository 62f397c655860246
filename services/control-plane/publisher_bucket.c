/* The whole bucket against PostgreSQL. */
#include <stdlib.h>

#include "common/log.h"
#include "common/names.h"
#include "services/control-plane/publisher_int.h"
#include "services/control-plane/registry.h"
#include "services/control-plane/snapshot.h"

struct repair {
	struct publisher *p;
	struct bridge_entry entries[PUBLISHER_BATCH];
	size_t n, done;
};

static int flush_repair(struct repair *r, struct error *err)
{
	size_t n = r->n;
	r->n = 0;
	if (bridge_put(r->p->conf.bridge, BUCKET_CONFIG, r->entries, n, PUBLISHER_PUT_MS, NULL) < n)
		return err_set(err, ERR_TRANSIENT, "the bucket %s did not acknowledge",
			       BUCKET_CONFIG);
	r->done += n;
	return 0;
}

/* key and document must live until the next flush. */
static int repair(struct repair *r, const char *key, const char *document, struct error *err)
{
	r->entries[r->n++] = (struct bridge_entry){key, document};
	return r->n == PUBLISHER_BATCH ? flush_repair(r, err) : 0;
}

static int repair_all(struct repair *r, json_t *wanted, char **present, struct error *err)
{
	struct mirror *mirror = r->p->conf.mirror;
	const char *key;
	json_t *text;
	for (char **k = present; *k; k++)
		if (registry_key_known(*k) && !json_object_get(wanted, *k) &&
		    repair(r, *k, NULL, err))
			return -1;
	json_object_foreach(
	    wanted, key,
	    text) if (!mirror_has(mirror, key, json_string_value(text), json_string_length(text)) &&
		      repair(r, key, json_string_value(text), err)) return -1;
	return flush_repair(r, err);
}

/* The snapshot is read after the list of keys: a key that is in the bucket was committed before, so
 * one that is not in the snapshot is really gone. Only this thread publishes, so nothing newer than
 * the snapshot is overwritten: it is still in the outbox. */
int bucket_reconcile(struct publisher *p, struct error *err)
{
	struct repair r = {.p = p};
	int64_t start = publisher_now_ms();
	atomic_store(&p->told, false);
	char **present = mirror_keys(p->conf.mirror);
	json_t *wanted = snapshot_read(p->conn, err);
	int rc = wanted ? repair_all(&r, wanted, present, err) : -1;
	if (r.done)
		log_at(LOG_INFO, "bucket repaired", LOG_S("bucket", BUCKET_CONFIG),
		       LOG_I("keys", r.done), LOG_I("documents", json_object_size(wanted)),
		       LOG_I("ms", publisher_now_ms() - start));
	metric_add(p->m_reconciles, 1);
	metric_add(p->m_repaired, (int64_t)r.done);
	for (char **k = present; *k; k++)
		free(*k);
	free(present);
	json_decref(wanted);
	if (rc)
		atomic_store(&p->told, true);
	else
		p->reconciled_ms = publisher_now_ms();
	return rc;
}

/* The bucket itself may be gone, with the broker's data. */
int bucket_ensure(struct publisher *p, struct error *err)
{
	enum bus_result made =
	    bridge_ensure(p->conf.bridge, BUCKET_CONFIG, p->conf.replicas, PUBLISHER_PUT_MS);
	if (made != BUS_OK)
		return err_set(err, ERR_TRANSIENT, "the bucket %s cannot be made: %s",
			       BUCKET_CONFIG, bus_result_name(made));
	return 0;
}
