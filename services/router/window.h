/* How many of a tenant's tasks may be in the ready queue or running, and who waits in the backlog.
 *
 * Pure: counts in, decisions out (DESIGN 5). A ticket takes a place of the window when it is sent
 * to TASKS and gives it back when the task ends. What finds no place goes to BACKLOG, in order: as
 * long as a tenant has anything there, everything new of his goes behind it. The counts are
 * beliefs: the streams' own numbers correct them every few seconds and after a take-over. Where a
 * race between the two leaves a doubt the count errs upwards (a place stays empty until the next
 * look), never downwards. Threads: one owner. */
#ifndef PENSTOCK_ROUTER_WINDOW_H
#define PENSTOCK_ROUTER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct window {
	bool known;        /* the streams were asked at least once */
	int64_t ready;     /* tickets in TASKS, waiting or running */
	int64_t sending;   /* on their way to TASKS, not acknowledged yet */
	int64_t waiting;   /* tickets in BACKLOG, those that are being moved included */
	int64_t parking;   /* on their way to BACKLOG, not acknowledged yet */
	int64_t moving;    /* taken from BACKLOG, on their way to TASKS */
	int64_t new_ready; /* became ready, or began to wait, since the streams were asked last */
	int64_t new_waiting;
};

enum window_place {
	WINDOW_READY,   /* to TASKS */
	WINDOW_BACKLOG, /* to BACKLOG */
	WINDOW_FULL,    /* the tenant's tasks_queued is reached: refuse */
};

/* W = clamp(2 * slots * weight / weights, 1, tasks_running); weights is the sum over the tenants
 * that have tasks now (with all weights 1: their number). */
int64_t window_size(int64_t slots, int64_t weight, int64_t weights, int64_t tasks_running);

enum window_place window_place(const struct window *w, int64_t size, int64_t tasks_queued);

/* A ticket goes to `place` (not WINDOW_FULL), and its end: stored is false for a duplicate too. */
void window_send(struct window *w, enum window_place place);
void window_sent(struct window *w, enum window_place place, bool stored);

/* How many more the backlog's consumer may deliver now. */
int64_t window_credit(const struct window *w, int64_t size);
/* One was delivered, and its end: moved (stored in TASKS and taken off BACKLOG) or not. duplicate:
 * TASKS had it already, so it takes no new place. */
void window_move(struct window *w);
void window_moved(struct window *w, bool moved, bool duplicate);

/* A task of this tenant ended. */
void window_end(struct window *w);

/* Around a look at the streams: ask, then the counts that came back. */
void window_ask(struct window *w);
void window_told(struct window *w, int64_t tasks, int64_t backlog);

/* Has tasks anywhere, so counts among the active ones. */
bool window_busy(const struct window *w);

#endif
