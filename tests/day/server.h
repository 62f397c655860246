/* The simulated target: what is called through services/orchestrator-worker/http.h ends here.
 *
 * It has places that work on a call each, a queue before them, and a limit of calls a minute beyond
 * which it answers 429. It never learns that a caller has hung up: what was cut is worked on to its
 * end all the same, and is lost work. That is how targets under load collapse, so it is what this
 * one does. It keeps its own counts. Threads: one. Units: microseconds of the loop's clock. */
#ifndef PENSTOCK_DAY_SERVER_H
#define PENSTOCK_DAY_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"
#include "common/rng.h"
#include "services/orchestrator-worker/http.h"

#define MINUTE_US   INT64_C(60000000)
#define MINUTES_MAX (24 * 60 + 1)

enum trouble {
	TROUBLE_HANGS,   /* what it works on ends when this is over */
	TROUBLE_FAILS,   /* a call in three ends with 503 */
	TROUBLE_REFUSES, /* no connection */
	TROUBLE_SHARED,  /* somebody else takes a third of its calls a minute */
};

struct server_plan {
	int64_t rpm; /* 0: none */
	size_t places;
	int64_t work_us;     /* of a call, on average; a fifth more or less */
	unsigned fail_every; /* one in so many calls ends with 503 */
	struct {
		enum trouble what;
		int64_t from, to; /* minutes; 0, 0: none */
	} troubles[2];
};

struct server_counts {
	uint64_t calls, refused, limited, worked, wasted;
	uint64_t good[MINUTES_MAX]; /* answers that somebody still waited for, by minute */
	size_t most_open;           /* calls at once */
	size_t most_a_minute;       /* calls in any 60 s, of ours */
};

struct http_client {
	struct loop *loop;
	struct rng *rng;
	struct server_plan plan;
	struct server_counts counts;
	int64_t start_us;
	struct http_call *calls, *first, *last; /* all; those that wait for a place */
	size_t open, busy;
	int64_t *times; /* of the calls in the last minute: a ring */
	size_t times_at, times_n, times_cap;
};

void server_init(struct http_client *s, struct loop *loop, struct rng *rng,
		 const struct server_plan *plan);
void server_done(struct http_client *s);

#endif
