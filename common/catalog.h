/* The configuration as every service sees it: tenants, keys, signing keys, event types, models,
 * pipelines.
 *
 * Built from the bucket pen_config by watch (the documents are in docs/internals.md), so a service
 * starts and runs while PostgreSQL and the control-plane are down. A document that does not parse
 * is logged and the previous one stays in force. Threads: the bus's loop; pointers are valid until
 * the next turn of the loop. */
#ifndef PENSTOCK_CATALOG_H
#define PENSTOCK_CATALOG_H

#include <jansson.h>

#include "common/bus.h"
#include "common/metrics.h"
#include "common/permit.h"
#include "common/signing.h"

enum event_class { CLASS_EPHEMERAL, CLASS_STREAM, CLASS_DURABLE };
enum limit_mode { LIMIT_ENFORCE, LIMIT_SHADOW };

struct tenant_limits {
	int64_t events_per_s, burst, bytes_per_s;
	int64_t connections, subscriptions;
	int64_t tasks_running, tasks_queued;
	int64_t tokens_per_min;
	enum limit_mode mode;
};

struct tenant {
	const char *id, *name, *region;
	bool active, synthetic;
	int64_t weight;        /* share of the workers against other tenants, from 1 */
	const json_t *origins; /* texts: the web pages that may connect; NULL: all */
	struct tenant_limits limits;
};

enum scope { SCOPE_PUBLISH = 1, SCOPE_SUBSCRIBE = 2, SCOPE_TASK = 4 };

struct api_key {
	const char *id, *tenant;
	const char *hash;      /* hex SHA-256 of the secret */
	unsigned scopes;       /* enum scope */
	int64_t expires_us;    /* 0: never */
	struct permit *permit; /* NULL: all that the scopes allow; permit_ref() to keep it */
	bool active;
};

/* What a tenant's JSON Web Tokens are signed with. */
struct signing_key {
	const char *id, *tenant;
	enum sign_alg alg;
	int64_t expires_us; /* 0: never */
	bool active;
	struct verifier *verifier; /* NULL unless active */
};

struct event_type {
	const char *tenant, *type;
	enum event_class class;
	unsigned latest;        /* newest active version */
	const json_t *versions; /* {"1": {"state": "active", "schema": {...}}} */
};

struct model {
	const char *name, *kind; /* openai, anthropic, http */
	const char *url, *model, *secret_env;
	int64_t rpm, tpm, concurrent; /* 0: no limit of that kind */
	/* What all workers together may do while nobody grants leases; -1: lease_terms.h decides.
	 */
	int64_t safe_rpm, safe_tpm, safe_concurrent;
	int64_t timeout_ms, first_token_timeout_ms;
	const json_t *fallbacks;
	uint64_t route; /* a digest of who is called and as whom: kind, url, model, secret_env */
};

struct pipeline {
	const char *name;
	unsigned version;
	const json_t *doc;     /* {"stages": […], "output": "jq", "triggers": …} */
	bool batch;            /* its tasks belong to the pool for work that nobody waits for */
	int64_t answer_tokens; /* as in pipeline.h */
	unsigned model_calls;
};

/* An inbound hook: what its sender signs, and the pipeline that its calls start. */
struct hook {
	const char *id, *tenant, *pipeline;
	const char *secret; /* common/webhook.h */
	/* While it is changed: the one before, good until then; NULL: none. */
	const char *previous;
	int64_t previous_until_ms; /* UTC */
	int32_t priority;
};

/* How an edge is drained: over spread_ms its clients are told to go, each is closed notice_ms after
 * it was told. -1: as the edge itself is set. */
struct drain_times {
	int64_t notice_ms, spread_ms;
};

/* What the operators want of an edge. */
struct edge_drains {
	const char *id;
	bool drained; /* for everybody */
	struct drain_times times;
	const json_t *tenants; /* drained for these alone: {"acme": {…}}; may be NULL */
};

/* What the operators want of a worker. */
struct worker_drain {
	const char *id;
	bool drained;
	int64_t grace_ms; /* -1: as the worker itself is set */
};

struct catalog;

/* ready is called once, when the bucket was read for the first time; changed (may be NULL) after
 * each change with its key ("tenant.acme"). */
struct catalog *catalog_start(struct bus *bus, struct loop *loop, void (*ready)(void *arg),
			      void (*changed)(void *arg, const char *key), void *arg,
			      struct error *err);
void catalog_stop(struct catalog *c); /* NULL is fine */
/* The gauge penstock_config_revision: the newest revision of the bucket that this catalog has, and
 * whose changes were told. A document that is refused counts as well. To be called in the turn of
 * catalog_start(); m lives longer. */
void catalog_count_into(struct catalog *c, struct metrics *m);
bool catalog_ready(const struct catalog *c);

/* All return NULL for what is not there. */
const struct tenant *catalog_tenant(const struct catalog *c, const char *id);
const struct api_key *catalog_key(const struct catalog *c, const char *id);
const struct signing_key *catalog_signing(const struct catalog *c, const char *tenant,
					  const char *id);
const struct event_type *catalog_type(const struct catalog *c, const char *tenant,
				      const char *type);
const struct model *catalog_model(const struct catalog *c, const char *name);
/* version 0: the newest. */
const struct pipeline *catalog_pipeline(const struct catalog *c, const char *name,
					unsigned version);
const struct hook *catalog_hook(const struct catalog *c, const char *id);
const struct edge_drains *catalog_edge(const struct catalog *c, const char *id);
const struct worker_drain *catalog_worker(const struct catalog *c, const char *id);
/* The edge is drained for this tenant alone; times may be NULL. */
bool edge_drains_tenant(const struct edge_drains *e, const char *tenant, struct drain_times *times);
/* The version to be sent where `version` was asked for (0: the newest): only what is active or
 * deprecated can be. 0: there is no such one. */
unsigned event_type_version(const struct event_type *type, unsigned version);
void catalog_each_tenant(const struct catalog *c, void (*fn)(void *arg, const struct tenant *t),
			 void *arg);

void catalog_each_model(const struct catalog *c, void (*fn)(void *arg, const struct model *m),
			void *arg);

/* For tests and the simulation: a catalog without a bus, fed by hand with the same documents.
 * data NULL deletes. -1 for a document that is refused. */
struct catalog *catalog_new(void);
int catalog_put(struct catalog *c, const char *key, const char *data, size_t len,
		struct error *err) MUST_CHECK;

#endif
