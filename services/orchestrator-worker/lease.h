/* A worker's part of a target: its level, its credits, and what it does when there is no grantor.
 * The other side is services/control-plane/lease.h; the terms are common/lease_terms.h.
 *
 * lease_take() is asked before each call. A level (calls at once) holds for a term after the report
 * it answers, credits (calls and tokens) for a second. Without a word from a grantor for
 * LEASE_SILENT_US the worker goes by its part of the target's safe capacity: for the rates at once,
 * for the level when its term is over. Without the bus it starts nothing: what a call brings could
 * not be stored.
 *
 * Pure; times are microseconds of one monotonic clock. Threads: one owner. */
#ifndef WORKER_LEASE_H
#define WORKER_LEASE_H

#include "common/lease_terms.h"
#include "proto/capacity.pb-c.h"

/* What is the same for all targets of this worker. */
struct lease_world {
	bool online;      /* the bus is there */
	int64_t heard_us; /* the last word of a grantor that grants; one that learns does not. The
			   * start, or when the bus came back, if there was none since */
	size_t workers, rank; /* live ones, and the place of this one among them. workers 0: unknown
			       */
};

struct lease_rate {
	double level;
	int64_t at_us; /* 0: not in use */
};

struct lease {
	struct lease_limits limits;
	/* What was granted. */
	int64_t level, level_until_us;
	int64_t calls, tokens, credits_until_us;
	uint64_t heard;
	int64_t retry_us; /* asking again makes no sense before */
	/* Without a grantor. */
	struct lease_rate safe_calls, safe_tokens;
	/* What is done with it. */
	int64_t running; /* calls, and those whose end the target may not have seen yet */
	int64_t held;    /* tokens */
	uint64_t started, settled, good, troubled;
	double first_token_ms;
	double completion, per_byte; /* tokens: how long answers are, how dense the questions */
	bool untold;                 /* something ended that was not reported yet */
	int64_t used_us;             /* when a call was last started or ended */
};

/* What a call holds from lease_take() to lease_settle(). */
struct lease_permit {
	int64_t tokens;
};

enum lease_end {
	LEASE_GOOD,
	LEASE_TROUBLED, /* 429, or too late */
	LEASE_OTHER,
};

void lease_init(struct lease *l);
void lease_set(struct lease *l, const struct lease_limits *limits, int64_t now_us);

/* How many tokens a call will take, at most the target's limit: bytes of the question, and
 * max_tokens of the answer (0: unknown, then as many as answers had lately). */
int64_t lease_estimate(const struct lease *l, size_t bytes, int64_t max_tokens);

/* A call may start now (true, and *permit is to be settled), or not. */
bool lease_take(struct lease *l, const struct lease_world *world, int64_t tokens, int64_t now_us,
		struct lease_permit *permit);
/* The call has ended; with `cut` it was ended from here, and its place stays taken until
 * lease_gone(): the target learns of it later. prompt, completion: as the target said, -1: it did
 * not say, so all that was reserved counts. bytes: of the question. */
void lease_settle(struct lease *l, const struct lease_permit *permit, enum lease_end end, bool cut,
		  size_t bytes, int64_t prompt, int64_t completion, int64_t now_us);
void lease_gone(struct lease *l, int64_t calls);
void lease_first_token(struct lease *l, int64_t ms);

/* There is something to report each second. */
bool lease_in_use(const struct lease *l, int64_t now_us);
/* Fills in *use (but for target, waiting, want and first) and gives up all credits: until the
 * answer comes nothing starts by them. */
void lease_report(struct lease *l, Penstock__LeaseUse *use, int64_t now_us);
/* An answer to the report seq, which was sent at sent_us. */
void lease_granted(struct lease *l, const Penstock__LeaseGrant *grant, uint64_t seq,
		   int64_t sent_us, int64_t now_us);

#endif
