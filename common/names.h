/* The names on the bus: partitions, subjects, streams, buckets, and what a valid name is.
 * docs/internals.md lists them all. Pure; threads: any. */
#ifndef PENSTOCK_NAMES_H
#define PENSTOCK_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define NAMES_PARTS_DEFAULT 16
#define NAMES_PARTS_MAX     1024
#define TENANT_MAX          64  /* letters, digits, _ - */
#define CHANNEL_MAX         128 /* letters, digits, _ - : . ; no empty token between dots */
#define TYPE_MAX            128 /* as a channel */
#define KEY_MAX             256 /* idempotency key: printable ASCII */
#define PRINCIPAL_MAX       200 /* an API key's id; or "jwt:<kid>:<sub>", which none has: no colon */
#define SUBJECT_MAX         320 /* the longest subject, NUL included */

#define STREAM_EVENTS   "EVENTS"
#define STREAM_DELTAS   "DELTAS"
#define STREAM_TASKS    "TASKS"
#define STREAM_BACKLOG  "BACKLOG"
#define STREAM_RECEIPTS "RECEIPTS"
/* HTTP: how many triggers led to a request, one after the other (decision 0040). */
#define HEADER_DEPTH "penstock-depth"

#define BUCKET_CONFIG  "pen_config"
#define BUCKET_MEMBERS "pen_members"
#define POOL_DEFAULT   "default" /* interactive: somebody waits for it */
#define POOL_BATCH     "batch"

bool name_valid_tenant(const char *text);  /* also for pools, models, pipelines, stages, key ids */
bool name_valid_channel(const char *text); /* also for event types */
bool name_valid_key(const char *text);
bool name_task_channel(const char *text);     /* "task.…" */
bool name_reserved_channel(const char *text); /* "task.…", "hook.…": only the plane writes there */
bool name_reserved_type(const char *text);    /* "task.…" */

/* XXH3-64 of the tenant modulo parts. Fixed for a cluster's life. */
unsigned part_of(const char *tenant, unsigned parts);

struct subject {
	char text[SUBJECT_MAX];
};

/* pen.cmd.<part> */
struct subject subject_cmd(unsigned part);
/* pen.evt.<part>.<tenant>.<channel>; pen.dlt.… and pen.live.… likewise */
struct subject subject_evt(unsigned part, const char *tenant, const char *channel);
struct subject subject_dlt(unsigned part, const char *tenant, const char *channel);
struct subject subject_live(unsigned part, const char *tenant, const char *channel);
/* pen.task.<pool>.<tenant> */
struct subject subject_task(const char *pool, const char *tenant);
/* pen.wait.<part>.<tenant>; of another pool than the default one pen.wait.<part>.<tenant>.<pool> */
struct subject subject_wait(unsigned part, const char *tenant, const char *pool);
/* pen.ctl.end.<part>: a task left the window */
struct subject subject_end(unsigned part);
/* pen.ctl.owner.<part>: answered by the router that owns the part, once it listens for commands */
struct subject subject_owner(unsigned part);
/* pen.lease.events.<part>: a share of a tenant's limits for an edge */
struct subject subject_lease(unsigned part);
/* To all workers: stop this task now (its log already says so). */
#define SUBJECT_CANCEL "pen.ctl.cancel"
/* pen.ctl.<errand>.<edge>: what the operators ask of one edge */
struct subject subject_errand(const char *errand, const char *edge);
#define ERRAND_DISCONNECT "disconnect" /* end this session */
#define ERRAND_SESSIONS   "sessions"   /* who is there? */
/* Workers ask for capacity of the models; the grantor says that it is there. */
#define SUBJECT_LEASE_MODELS "pen.lease.models"
#define SUBJECT_LEASE_BEAT   "pen.lease.beat"
/* Edges tell each other how many sockets and subscriptions their tenants have. */
#define SUBJECT_USAGE            "pen.ctl.usage"
#define SUBJECT_RECEIPTS         "pen.rcpt"
#define SUBJECT_STORE_REPLAY     "pen.store.replay"
#define SUBJECT_STORE_TASK       "pen.store.task"
#define SUBJECT_STORE_TIMELINE   "pen.store.timeline"
#define SUBJECT_STORE_DELIVERIES "pen.store.deliveries"
/* A request of an outgoing webhook, for any worker. */
#define SUBJECT_HOOK_POST "pen.hook.post"

/* Splits pen.<kind>.<part>.<tenant>.<channel>; false if it is no such subject. tenant has room for
 * TENANT_MAX + 1, channel for CHANNEL_MAX + 1. */
bool subject_parse(const char *subject, unsigned *part, char *tenant, char *channel);

/* "task.<id>" of a task id. */
void task_channel(const char *task, char out[CHANNEL_MAX + 1]);

#endif
