/* Outgoing webhooks in PostgreSQL (sql/0030, docs/decisions/0027): what matches goes from the log
 * into each hook's queue, what is due is handed out, and what became of it is noted. Blocks;
 * threads: the connection's owner. */
#ifndef PENSTOCK_EVENT_STORE_HOOKS_PG_H
#define PENSTOCK_EVENT_STORE_HOOKS_PG_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/ids.h"
#include "common/names.h"

#define HOOKS_IN_FLIGHT        512
#define HOOKS_TENANT_IN_FLIGHT 64
#define HOOKS_LEASE_S          30 /* besides its own timeout: then it is handed out again */

struct hook_delivery {
	struct hook_delivery *next;
	char hook[TENANT_MAX + 1];
	char epoch[24], seq[24], replay[ID_LEN + 1]; /* its key, as text */
	void *post;                                  /* a packed HookPost; owned */
	size_t len;
	int timeout_ms;
	/* What became of it. */
	bool tried; /* the request was made, as far as anybody knows */
	unsigned status;
	int64_t retry_after_ms;
	char error[256];
};

/* A hook that was disabled by itself, for the event that tells it. */
struct hook_ended {
	char hook[TENANT_MAX + 1], tenant[TENANT_MAX + 1];
	int times;
	char *data; /* JSON; owned */
};

/* *any: there are hooks at all. */
int hooks_pg_any(PGconn *conn, bool *any, struct error *err) MUST_CHECK;
/* What another event-store handed out is handed out again at once: this one leads now. */
int hooks_pg_take_over(PGconn *conn, struct error *err) MUST_CHECK;
/* Looks at more of the log. *more: there is more than one look takes. */
int hooks_pg_scan(PGconn *conn, bool *more, struct error *err) MUST_CHECK;
/* Replays to hooks: into their queues what the rates allow now. */
int hooks_pg_replay(PGconn *conn, struct error *err) MUST_CHECK;
/* Hands out what is due, at most max, the hooks in turn, signed for now_us; adds to *list. *n: how
 * many. */
int hooks_pg_take(PGconn *conn, size_t max, int64_t now_us, struct hook_delivery **list, size_t *n,
		  struct error *err) MUST_CHECK;
/* *disabled: the hook is given up, and its tenant must be told. */
int hooks_pg_note(PGconn *conn, const struct hook_delivery *d, bool *disabled,
		  struct error *err) MUST_CHECK;
/* One that is to be told of; ->data NULL: none. */
int hooks_pg_untold(PGconn *conn, struct hook_ended *e, struct error *err) MUST_CHECK;
int hooks_pg_told(PGconn *conn, const struct hook_ended *e, struct error *err) MUST_CHECK;

#endif
