/* How many of a tenant's tasks may be in the ready queue of a pool or running, and who waits in the
 * backlog.
 *
 * Pure: counts in, decisions out (DESIGN 5, docs/decisions/0025). A ticket takes a place of the
 * window, and as many tokens as it is estimated to need, when it is sent to TASKS, and gives them
 * back when the task ends. What finds no place goes to BACKLOG, in order: as long as a tenant has
 * anything there, everything new of his goes behind it. The counts are beliefs: the streams' own
 * numbers correct them every few seconds and after a take-over. Where a race between the two leaves
 * a doubt the count errs upwards (a place stays empty until the next look), never downwards. The
 * streams count tickets, not tokens: a ticket that was not seen is taken for one of the mean size.
 * Threads: one owner. Units: tickets, tokens, microseconds of the loop's clock. */
#ifndef PENSTOCK_ROUTER_WINDOW_H
#define PENSTOCK_ROUTER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_TOKENS_MAX INT64_C(1000000000) /* of one ticket */

struct window {
	bool known;           /* the streams were asked at least once */
	int64_t ready;        /* tickets in TASKS, waiting or running */
	int64_t sending;      /* on their way to TASKS, not acknowledged yet */
	int64_t waiting;      /* tickets in BACKLOG, those that are being moved included */
	int64_t parking;      /* on their way to BACKLOG, not acknowledged yet */
	int64_t moving;       /* taken from BACKLOG, on their way to TASKS */
	int64_t ready_tokens; /* of those in TASKS */
	int64_t going_tokens; /* of those that are sent or moved there */
	int64_t mean_tokens;  /* of the last tickets that were seen */
	int64_t new_ready; /* became ready, or began to wait, since the streams were asked last */
	int64_t new_waiting;
	/* how fast the backlog gets shorter, for window_retry_ms() */
	int64_t asked_us, left, refused;
	int64_t period_us, period_left; /* of the last whole period; 0: none yet */
};

struct window_size {
	int64_t tasks, tokens;
};

enum window_place {
	WINDOW_READY,   /* to TASKS */
	WINDOW_BACKLOG, /* to BACKLOG */
	WINDOW_FULL,    /* the tenant's tasks_queued is reached: refuse */
};

/* W = clamp(2 * slots * weight / weights, 1, tasks_running); weights is the sum over the tenants
 * that have tasks now (with all weights 1: their number). Its tokens: slot_tokens for each place
 * that the tenant would have without tasks_running. */
struct window_size window_size(int64_t slots, int64_t weight, int64_t weights,
			       int64_t tasks_running, int64_t slot_tokens);

/* A ticket fits while neither places nor tokens are used up: the last one may exceed the tokens, so
 * that one larger than the whole window runs as well. */
enum window_place window_place(const struct window *w, struct window_size size,
			       int64_t tasks_queued);

/* A ticket goes to `place` (not WINDOW_FULL), and its end: stored is false for a duplicate too. */
void window_send(struct window *w, enum window_place place, int64_t tokens);
void window_sent(struct window *w, enum window_place place, int64_t tokens, bool stored);

/* Tickets in TASKS, running, or on their way there; in the backlog, or on their way there. */
int64_t window_taken(const struct window *w);
int64_t window_queued(const struct window *w);

/* How many more the backlog's consumer may deliver now. */
int64_t window_credit(const struct window *w, struct window_size size);
/* One was delivered, and its end: moved (stored in TASKS and taken off BACKLOG) or not. duplicate:
 * TASKS had it already, so it takes no new place. */
void window_move(struct window *w, int64_t tokens);
void window_moved(struct window *w, int64_t tokens, bool moved, bool duplicate);

/* A task of this tenant ended. */
void window_end(struct window *w, int64_t tokens);

/* Around a look at the streams: ask, then the counts that came back. */
void window_ask(struct window *w, int64_t now_us);
void window_told(struct window *w, int64_t tasks, int64_t backlog);

/* One was refused because the backlog is full: when to come again, as fast as it got shorter of
 * late, behind those that were refused before. */
int64_t window_retry_ms(struct window *w);

/* Has tasks anywhere, so counts among the active ones. */
bool window_busy(const struct window *w);

#endif
