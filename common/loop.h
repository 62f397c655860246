/* The event loop: file descriptors (epoll), timers, posts from other threads, signals.
 *
 * One thread runs a loop; only that thread calls the functions below, except loop_post(),
 * loop_post_for(), loop_borrow() and loop_stop(), which any thread may call. The loop keeps none of
 * the structures passed to it: they are the caller's, linked in while armed, and must outlive that
 * (cancel before freeing). Callbacks may arm, cancel and free anything, their own structure
 * included.
 *
 * A simulated loop (loop_new_sim) has a clock that only moves to the next timer: everything that
 * needs just a loop and a bus runs in a test with simulated time. Its descriptors must be such that
 * only this process makes them ready (socket pairs), and whoever does says so: what is ready comes
 * before time moves on.
 * Units: microseconds. */
#ifndef PENSTOCK_LOOP_H
#define PENSTOCK_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct loop;

struct loop *loop_new(struct error *err);
struct loop *loop_new_sim(int64_t start_wall_us);
/* NULL is fine; nothing may still be armed but posts, which are dropped. */
void loop_free(struct loop *loop);

/* Runs until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Runs what is due, waits at most wait_us for the first thing (0: not at all). */
void loop_turn(struct loop *loop, int64_t wait_us);
/* Simulated loop: runs posts and ready descriptors, or else moves the clock to the next timer;
 * false when there is none or the next one lies after until_us (then the clock is moved to
 * until_us). */
bool loop_sim_step(struct loop *loop, int64_t until_us);
/* Simulated loop: one of its descriptors may have become ready (without a call every step would
 * have to ask the system). */
void loop_sim_touch(struct loop *loop);

int64_t loop_now_us(const struct loop *loop);   /* monotonic, read once a turn */
int64_t loop_clock_us(const struct loop *loop); /* the same, as it is now */
int64_t loop_wall_us(const struct loop *loop);  /* UTC since 1970, read once a turn */

struct timer {
	int64_t at_us;
	size_t pos; /* place in the heap + 1; 0: not armed */
	void (*fn)(struct timer *timer, void *arg);
	void *arg;
};

void timer_init(struct timer *timer, void (*fn)(struct timer *timer, void *arg), void *arg);
/* Arms or re-arms: fires once, delay_us from now (never in the same turn's past). */
void timer_set(struct loop *loop, struct timer *timer, int64_t delay_us);
void timer_cancel(struct loop *loop, struct timer *timer); /* not armed is fine */
static inline bool timer_armed(const struct timer *timer)
{
	return timer->pos != 0;
}

struct loop_io {
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT, … (level-triggered unless EPOLLET is given) */
	void (*fn)(struct loop_io *io, uint32_t events, void *arg);
	void *arg;
};

int loop_io_add(struct loop *loop, struct loop_io *io, struct error *err) MUST_CHECK;
int loop_io_mod(struct loop *loop, struct loop_io *io, uint32_t events,
		struct error *err) MUST_CHECK;
/* Events already fetched for it in this turn are not delivered any more. Does not close the fd. */
void loop_io_del(struct loop *loop, struct loop_io *io);

/* A message to the loop's thread, embedded in what it carries; fn runs once on the loop's thread
 * and owns it from then on. Posts of one thread arrive in their order. */
struct loop_post {
	struct loop_post *next;
	void (*fn)(struct loop_post *post);
};

void loop_post(struct loop *loop, struct loop_post *post);
/* The same, but the loop is not woken for it while *soon, which is for its thread to set when it
 * has armed a timer, and to clear when that fires or is cancelled: it is found then. */
void loop_post_for(struct loop *loop, struct loop_post *post, const _Atomic bool *soon);

/* Another thread does a turn's work itself instead of waking the loop's for it: while the loop
 * waits and nothing was posted to it, it is kept from going on, and the borrower may do all that
 * only its thread may. False: it is at work, or has mail; then post. So whatever one thread posts
 * and does by borrowing happens in that order. Not for long, and not twice at a time. */
bool loop_borrow(struct loop *loop);
void loop_return(struct loop *loop); /* the turn ends: its hooks run here */
/* Is the caller the loop's thread, or its borrower? False before its first turn. */
bool loop_here(const struct loop *loop);

/* Called at the end of each turn, after all callbacks: the place to write what the turn gathered.
 */
struct loop_hook {
	struct loop_hook *next;
	void (*fn)(struct loop_hook *hook, void *arg);
	void *arg;
};

void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_del(struct loop *loop, struct loop_hook *hook);

/* Blocks the signal for the process (call before any thread starts) and delivers it on the loop. */
int loop_signal(struct loop *loop, int signo, void (*fn)(int signo, void *arg), void *arg,
		struct error *err) MUST_CHECK;

#endif
