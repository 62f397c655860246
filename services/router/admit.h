/* Admission: the one door that every command passes (DESIGN 5). Pure.
 *
 * Takes a decoded command, what is known about its tenant, type or pipeline, the tenant's limits'
 * state and the time; says what to do with it. Order: form → tenant → reserved names → type and its
 * class → flags choose the route → size and JSON → limits, always after the flags → (the caller)
 * key → publish. Limits are charged only for what passes everything before them, and not at all for
 * what they refuse. Threads: one owner a state. */
#ifndef PENSTOCK_ROUTER_ADMIT_H
#define PENSTOCK_ROUTER_ADMIT_H

#include "common/catalog.h"
#include "common/gcra.h"
#include "proto/command.pb-c.h"

#define ADMIT_DEBT_MIN 10 /* minutes: the most that is charged to tokens_per_min afterwards */

enum admit_action {
	ADMIT_PUBLISH_DURABLE,
	ADMIT_PUBLISH_EPHEMERAL,
	ADMIT_TASK,
	ADMIT_CANCEL,
	ADMIT_RELEASE,
	ADMIT_REDRIVE,
	ADMIT_REPLAY,
	ADMIT_REFUSE,
};

/* A tenant's limit of commands a second in the terms of draft-ietf-httpapi-ratelimit-headers: in
 * the long run `limit` commands in each window of window_s; `remaining` would pass at once, and
 * after reset_s as many as ever do. */
struct admit_quota {
	int64_t limit; /* 0: there is none */
	int64_t window_s, remaining, reset_s;
};

enum admit_limit { ADMIT_LIMIT_NONE, ADMIT_LIMIT_EVENTS, ADMIT_LIMIT_BYTES, ADMIT_LIMIT_TOKENS };

struct admit_refusal {
	const char *code; /* of the protocol; static text, as all of these */
	const char *message;
	const char *scope; /* connection, channel or tenant */
	bool temporary;
	uint32_t retry_after_ms; /* 0: absent */
	const char *limit;       /* "tenant.events_per_s", or "" */
};

struct admit_facts {
	const struct tenant *tenant;     /* NULL: unknown */
	const struct event_type *type;   /* of a publish; NULL: unknown */
	const struct pipeline *pipeline; /* of a task, in the version asked for; NULL: unknown */
	size_t data_max, input_max;      /* bytes */
	int64_t now_ns;                  /* monotonic */
	int64_t latest_ms;               /* that a task may be wanted at, since 1970 */
};

/* A tenant's limits on this router. Zeroed: fresh. What is leased to edges (share.h) is held back:
 * the buckets are smaller by so much, until it is used or given back. */
struct admit_state {
	struct gcra events, bytes;
	int64_t held_events, held_bytes;
	struct gcra tokens; /* in sixtieths, for its rate is a minute's */
};

struct admit_result {
	enum admit_action action;
	unsigned version;             /* of the event type, or of the pipeline, that was chosen */
	enum admit_limit limited;     /* this limit would refuse (shadow mode), or did */
	struct admit_refusal refusal; /* with ADMIT_REFUSE */
};

/* How much the buckets hold now. */
int64_t admit_burst(const struct tenant_limits *limits, const struct admit_state *state);
int64_t admit_bytes_burst(const struct tenant_limits *limits, const struct admit_state *state);

struct admit_result admit_command(const Penstock__Command *cmd, const struct admit_facts *facts,
				  struct admit_state *state);

/* A ticket is about to be written for a task that is estimated to take so many tokens: charges them
 * to tokens_per_min. False: they are too many now; `res` has the refusal. A minute's worth passes
 * at once; a task of more passes when nothing is owed, and is then paid off. */
bool admit_tokens(const struct tenant_limits *limits, struct admit_state *state, int64_t tokens,
		  int64_t now_ns, struct admit_result *res);
/* So many were used where so many were charged: the difference is given back, or charged. Never
 * more than is owed, and not so much that anybody would wait for more than ADMIT_DEBT_MIN minutes.
 */
void admit_tokens_settle(const struct tenant_limits *limits, struct admit_state *state,
			 int64_t charged, int64_t used, int64_t now_ns);

struct admit_quota admit_quota(const struct tenant_limits *limits, const struct admit_state *state,
			       int64_t now_ns);

/* The refusals that the shell makes itself. */
struct admit_refusal admit_refuse(const char *code, const char *message, const char *scope);
struct admit_refusal admit_refuse_later(const char *code, const char *message,
					uint32_t retry_after_ms, const char *limit);

#endif
