#include "common/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/strbuf.h"

#define EVENTS_A_TURN 256
#define FOREVER       INT64_MAX
/* Going to sleep and being woken costs more than this: shorter waits are spent awake. */
#define SHORTEST_SLEEP_US 5
/* How late the kernel may be with a timer; its default of 50 us is long beside our batches. */
#define TIMER_SLACK_NS 5000

/* A slot of the timer heap. The key is kept beside the pointer, so that sifting does not touch the
 * timers themselves; seq makes equal times fire in the order they were set. */
struct slot {
	int64_t at_us;
	uint64_t seq;
	struct timer *timer;
};

struct handler {
	void (*fn)(int signo, void *arg);
	void *arg;
};

struct loop {
	bool sim, touched; /* touched: a simulated one's descriptors may be ready */
	int64_t now_us, wall_us;

	struct slot *heap; /* 4-ary */
	size_t n_timers, cap_timers;
	uint64_t timer_seq;

	struct loop_hook *hooks;
	struct loop_hook *next_hook; /* the one after the one that runs */

	int epoll_fd;
	struct epoll_event events[EVENTS_A_TURN];
	int n_events, at_event; /* the part of events that is still to be delivered */

	struct loop_io signal_io; /* fd -1: no signal is handled */
	sigset_t signals;
	struct handler handler[NSIG];

	/* What other threads touch, on a cache line of its own. */
	_Alignas(64) _Atomic(struct loop_post *) posts; /* newest first */
	_Atomic bool sleeping;
	_Atomic bool stopped;
	int wake_fd;
	sem_t idle;               /* up while it waits: whoever takes it down has the loop */
	_Atomic pthread_t runner; /* who has it */
	pthread_t thread;         /* whose it is */
	int64_t wakes_us;         /* while it waits: until then at most */
	bool borrowed;
	/* What borrowers removed while it waited: the system may have given out events for them. */
	struct loop_io **gone;
	size_t n_gone, cap_gone;
};

/* --- clock ------------------------------------------------------------------------------ */

static int64_t clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void read_clocks(struct loop *loop)
{
	if (loop->sim)
		return;
	loop->now_us = clock_us(CLOCK_MONOTONIC);
	loop->wall_us = clock_us(CLOCK_REALTIME);
}

static void move_clock(struct loop *loop, int64_t to_us)
{
	if (to_us <= loop->now_us)
		return;
	loop->wall_us += to_us - loop->now_us;
	loop->now_us = to_us;
}

int64_t loop_now_us(const struct loop *loop)
{
	return loop->now_us;
}

int64_t loop_clock_us(const struct loop *loop)
{
	return loop->sim ? loop->now_us : clock_us(CLOCK_MONOTONIC);
}

int64_t loop_wall_us(const struct loop *loop)
{
	return loop->wall_us;
}

/* --- timers ----------------------------------------------------------------------------- */

static inline bool before(const struct slot *a, const struct slot *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->seq < b->seq);
}

static inline void place(struct loop *loop, size_t i, struct slot slot)
{
	loop->heap[i] = slot;
	slot.timer->pos = i + 1;
}

static void sift_up(struct loop *loop, size_t i, struct slot slot)
{
	while (i > 0) {
		size_t parent = (i - 1) / 4;

		if (!before(&slot, &loop->heap[parent]))
			break;
		place(loop, i, loop->heap[parent]);
		i = parent;
	}
	place(loop, i, slot);
}

static void sift_down(struct loop *loop, size_t i, struct slot slot)
{
	for (;;) {
		size_t first = 4 * i + 1;
		size_t end = first + 4 < loop->n_timers ? first + 4 : loop->n_timers;
		size_t least = first;

		if (first >= loop->n_timers)
			break;
		for (size_t c = first + 1; c < end; c++)
			if (before(&loop->heap[c], &loop->heap[least]))
				least = c;
		if (!before(&loop->heap[least], &slot))
			break;
		place(loop, i, loop->heap[least]);
		i = least;
	}
	place(loop, i, slot);
}

/* Puts slot where i is, up or down as its key demands. */
static void sift(struct loop *loop, size_t i, struct slot slot)
{
	if (i > 0 && before(&slot, &loop->heap[(i - 1) / 4]))
		sift_up(loop, i, slot);
	else
		sift_down(loop, i, slot);
}

void timer_init(struct timer *timer, void (*fn)(struct timer *timer, void *arg), void *arg)
{
	*timer = (struct timer){.fn = fn, .arg = arg};
}

void timer_set(struct loop *loop, struct timer *timer, int64_t delay_us)
{
	struct slot slot = {.seq = loop->timer_seq++, .timer = timer};

	/* At least one microsecond ahead: a timer that arms itself must not keep this turn from
	 * ending. */
	if (delay_us < 1)
		delay_us = 1;
	slot.at_us = delay_us > FOREVER - loop->now_us ? FOREVER : loop->now_us + delay_us;
	timer->at_us = slot.at_us;
	if (timer->pos) {
		sift(loop, timer->pos - 1, slot);
		return;
	}
	if (loop->n_timers == loop->cap_timers) {
		loop->cap_timers = loop->cap_timers ? 2 * loop->cap_timers : 64;
		loop->heap = xrealloc(loop->heap, loop->cap_timers * sizeof(*loop->heap));
	}
	sift_up(loop, loop->n_timers++, slot);
}

void timer_cancel(struct loop *loop, struct timer *timer)
{
	size_t i = timer->pos - 1;

	if (!timer->pos)
		return;
	timer->pos = 0;
	if (i != --loop->n_timers)
		sift(loop, i, loop->heap[loop->n_timers]);
}

static void run_timers(struct loop *loop)
{
	while (loop->n_timers && loop->heap[0].at_us <= loop->now_us) {
		struct timer *timer = loop->heap[0].timer;

		timer_cancel(loop, timer);
		timer->fn(timer, timer->arg);
	}
}

/* --- posts ------------------------------------------------------------------------------ */

static void wake(struct loop *loop)
{
	uint64_t one = 1;

	if (loop->wake_fd < 0)
		return;
	/* The counter is never read: the descriptor is watched edge-triggered, so each write is an
	 * event, and 2^64 wake-ups do not happen. */
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The loop says `sleeping`, then looks at the posts once more; a poster adds its post, then looks
 * at `sleeping`. With sequentially consistent operations at least one of them sees the other
 * (Dekker), and only the poster that ends the sleep pays for the system call. */
static void post_add(struct loop *loop, struct loop_post *post)
{
	struct loop_post *head = atomic_load_explicit(&loop->posts, memory_order_relaxed);

	do
		post->next = head;
	while (!atomic_compare_exchange_weak(&loop->posts, &head, post));
}

static void rouse(struct loop *loop)
{
	if (atomic_load(&loop->sleeping) && atomic_exchange(&loop->sleeping, false))
		wake(loop);
}

void loop_post(struct loop *loop, struct loop_post *post)
{
	post_add(loop, post);
	rouse(loop);
}

/* Dekker again: if it still sees `soon`, the loop looks at its posts after it has cleared that. */
void loop_post_for(struct loop *loop, struct loop_post *post, const _Atomic bool *soon)
{
	post_add(loop, post);
	if (!atomic_load(soon))
		rouse(loop);
}

/* Runs what was posted so far; what these post waits for the next turn. */
static bool run_posts(struct loop *loop)
{
	struct loop_post *newest, *next;
	struct loop_post *oldest = NULL;

	if (!atomic_load_explicit(&loop->posts, memory_order_relaxed))
		return false;
	newest = atomic_exchange(&loop->posts, NULL);
	for (; newest; newest = next) {
		next = newest->next;
		newest->next = oldest;
		oldest = newest;
	}
	for (; oldest; oldest = next) {
		next = oldest->next; /* fn owns the post and may free it */
		oldest->fn(oldest);
	}
	return true;
}

/* --- descriptors ------------------------------------------------------------------------ */

static int control(struct loop *loop, int op, struct loop_io *io, struct error *err)
{
	struct epoll_event ev = {.events = io->events, .data.ptr = io};

	if (loop->epoll_fd < 0) /* a simulated one: made when there is need */
		loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(loop->epoll_fd, op, io->fd, &ev))
		return err_set(err, ERR_TRANSIENT, "epoll_ctl: %s", strerror(errno));
	loop->touched = true;
	return 0;
}

int loop_io_add(struct loop *loop, struct loop_io *io, struct error *err)
{
	return control(loop, EPOLL_CTL_ADD, io, err);
}

int loop_io_mod(struct loop *loop, struct loop_io *io, uint32_t events, struct error *err)
{
	uint32_t old = io->events;

	if (events == old)
		return 0;
	io->events = events;
	if (control(loop, EPOLL_CTL_MOD, io, err)) {
		io->events = old;
		return -1;
	}
	return 0;
}

static void forget_events(struct loop *loop, const struct loop_io *io, int from, int to)
{
	for (int i = from; i < to; i++)
		if (loop->events[i].data.ptr == io)
			loop->events[i].data.ptr = NULL;
}

static void note_gone(struct loop *loop, struct loop_io *io)
{
	if (loop->n_gone == loop->cap_gone) {
		loop->cap_gone = loop->cap_gone ? 2 * loop->cap_gone : 16;
		loop->gone = xrealloc(loop->gone, loop->cap_gone * sizeof(*loop->gone));
	}
	loop->gone[loop->n_gone++] = io;
}

void loop_io_del(struct loop *loop, struct loop_io *io)
{
	/* Fails only if the descriptor is closed already, and then it is gone from the set as well.
	 */
	(void)control(loop, EPOLL_CTL_DEL, io, NULL);
	if (loop->borrowed)
		note_gone(loop, io);
	else
		forget_events(loop, io, loop->at_event, loop->n_events);
}

static void run_events(struct loop *loop)
{
	while (loop->at_event < loop->n_events) {
		struct epoll_event *ev = &loop->events[loop->at_event++];
		struct loop_io *io = ev->data.ptr;

		if (io)
			io->fn(io, ev->events, io->arg);
	}
	loop->at_event = loop->n_events = 0;
}

/* Microseconds matter: batching timers are shorter than epoll_wait's millisecond. */
static int wait_events(struct loop *loop, int64_t wait_us)
{
	struct timespec t = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
	int n;

	n = epoll_pwait2(loop->epoll_fd, loop->events, EVENTS_A_TURN,
			 wait_us == FOREVER ? NULL : &t, NULL);
	if (n < 0 && (errno == ENOSYS || errno == EPERM)) { /* before Linux 5.11, or filtered */
		int64_t ms = wait_us / 1000 + (wait_us % 1000 != 0);

		n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_A_TURN,
			       wait_us == FOREVER ? -1 : (int)(ms > 60000 ? 60000 : ms));
	}
	return n < 0 ? 0 : n; /* EINTR: an early turn does no harm */
}

/* --- hooks ------------------------------------------------------------------------------ */

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
	struct loop_hook **link = &loop->hooks;

	while (*link)
		link = &(*link)->next;
	hook->next = NULL;
	*link = hook;
}

void loop_hook_del(struct loop *loop, struct loop_hook *hook)
{
	struct loop_hook **link = &loop->hooks;

	while (*link && *link != hook)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = hook->next;
	if (loop->next_hook == hook)
		loop->next_hook = hook->next;
}

static void run_hooks(struct loop *loop)
{
	struct loop_hook *hook = loop->hooks;

	for (; hook; hook = loop->next_hook) {
		loop->next_hook = hook->next;
		hook->fn(hook, hook->arg);
	}
	loop->next_hook = NULL;
}

/* --- signals ---------------------------------------------------------------------------- */

static void on_signal(struct loop_io *io, uint32_t events, void *arg)
{
	struct loop *loop = arg;
	struct signalfd_siginfo info;

	(void)events;
	while (read(io->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		struct handler *h = &loop->handler[info.ssi_signo % NSIG];

		if (h->fn)
			h->fn((int)info.ssi_signo, h->arg);
	}
}

int loop_signal(struct loop *loop, int signo, void (*fn)(int signo, void *arg), void *arg,
		struct error *err)
{
	bool first = loop->signal_io.fd < 0;
	sigset_t with;
	int fd, rc;

	if (loop->sim || signo < 1 || signo >= NSIG)
		return err_set(err, ERR_FATAL, "no such signal on this loop: %d", signo);
	with = loop->signals;
	sigaddset(&with, signo);
	if ((rc = pthread_sigmask(SIG_BLOCK, &with, NULL)))
		return err_set(err, ERR_FATAL, "pthread_sigmask: %s", strerror(rc));
	fd = signalfd(loop->signal_io.fd, &with, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_FATAL, "signalfd: %s", strerror(errno));
	if (first) {
		loop->signal_io =
		    (struct loop_io){.fd = fd, .events = EPOLLIN, .fn = on_signal, .arg = loop};
		if (loop_io_add(loop, &loop->signal_io, err)) {
			close(fd);
			loop->signal_io.fd = -1;
			return -1;
		}
	}
	loop->signals = with;
	loop->handler[signo] = (struct handler){fn, arg};
	return 0;
}

/* --- life and turns --------------------------------------------------------------------- */

static struct loop *loop_alloc(void)
{
	void *p = NULL;
	struct loop *loop;

	if (posix_memalign(&p, _Alignof(struct loop), sizeof(*loop)))
		abort();
	loop = memset(p, 0, sizeof(*loop));
	loop->epoll_fd = loop->wake_fd = loop->signal_io.fd = -1;
	sem_init(&loop->idle, 0, 0);
	sigemptyset(&loop->signals);
	return loop;
}

struct loop *loop_new(struct error *err)
{
	struct loop *loop = loop_alloc();
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev)) {
		err_set(err, ERR_FATAL, "cannot make a loop: %s", strerror(errno));
		loop_free(loop);
		return NULL;
	}
	read_clocks(loop);
	return loop;
}

struct loop *loop_new_sim(int64_t start_wall_us)
{
	struct loop *loop = loop_alloc();

	loop->sim = true;
	loop->wall_us = start_wall_us;
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert(loop->n_timers == 0);
	if (loop->signal_io.fd >= 0)
		close(loop->signal_io.fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	sem_destroy(&loop->idle);
	free(loop->heap);
	free(loop->gone);
	free(loop);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopped, true);
	wake(loop);
}

static int64_t until_first_timer(const struct loop *loop)
{
	int64_t at_us, left;

	if (!loop->n_timers)
		return FOREVER;
	at_us = loop->heap[0].at_us;
	left = at_us - clock_us(CLOCK_MONOTONIC);
	if (left >= SHORTEST_SLEEP_US)
		return left;
	while (left > 0)
		left = at_us - clock_us(CLOCK_MONOTONIC);
	return 0;
}

/* --- borrowing ---------------------------------------------------------------------------- */

bool loop_borrow(struct loop *loop)
{
	if (loop->sim || sem_trywait(&loop->idle))
		return false;
	if (atomic_load(&loop->posts)) {
		sem_post(&loop->idle);
		return false;
	}
	loop->borrowed = true;
	atomic_store_explicit(&loop->runner, pthread_self(), memory_order_relaxed);
	read_clocks(loop);
	return true;
}

void loop_return(struct loop *loop)
{
	bool late;

	run_hooks(loop);
	late = loop->n_timers && loop->heap[0].at_us < loop->wakes_us;
	if (late)
		loop->wakes_us = loop->heap[0].at_us; /* it is woken once */
	atomic_store_explicit(&loop->runner, loop->thread, memory_order_relaxed);
	loop->borrowed = false;
	sem_post(&loop->idle);
	if (late)
		wake(loop);
}

bool loop_here(const struct loop *loop)
{
	return pthread_equal(atomic_load_explicit(&loop->runner, memory_order_relaxed),
			     pthread_self());
}

/* Waits, and may be borrowed meanwhile. */
static int lend(struct loop *loop, int64_t wait_us)
{
	int n;

	loop->wakes_us = wait_us == FOREVER ? FOREVER : clock_us(CLOCK_MONOTONIC) + wait_us;
	sem_post(&loop->idle);
	n = wait_events(loop, wait_us);
	while (sem_wait(&loop->idle) && errno == EINTR)
		;
	while (loop->n_gone)
		forget_events(loop, loop->gone[--loop->n_gone], 0, n);
	return n;
}

/* --- turns ---------------------------------------------------------------------------------- */

static void turn(struct loop *loop, int64_t wait_us)
{
	loop->thread = pthread_self();
	atomic_store_explicit(&loop->runner, loop->thread, memory_order_relaxed);
	if (wait_us > 0) {
		int64_t first_us = until_first_timer(loop);

		if (first_us < wait_us)
			wait_us = first_us;
	}
	if (wait_us > 0) {
		atomic_store(&loop->sleeping, true);
		if (atomic_load(&loop->posts) || atomic_load(&loop->stopped))
			wait_us = 0;
	}
	loop->at_event = 0;
	loop->n_events = wait_us > 0 ? lend(loop, wait_us) : wait_events(loop, 0);
	atomic_store_explicit(&loop->sleeping, false, memory_order_relaxed);
	read_clocks(loop);
	run_posts(loop);
	run_events(loop);
	run_timers(loop);
	run_hooks(loop);
}

void loop_turn(struct loop *loop, int64_t wait_us)
{
	if (loop->sim)
		loop_sim_step(loop, loop->now_us + wait_us);
	else
		turn(loop, wait_us);
}

/* A simulated loop also ends when nothing is left to do: nothing could ever happen again. */
void loop_run(struct loop *loop)
{
	if (!loop->sim)
		(void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	while (!atomic_load(&loop->stopped)) {
		if (!loop->sim)
			turn(loop, FOREVER);
		else if (!loop_sim_step(loop, FOREVER))
			break;
	}
	atomic_store(&loop->stopped, false);
}

void loop_sim_touch(struct loop *loop)
{
	loop->touched = loop->epoll_fd >= 0;
}

static bool run_ready(struct loop *loop)
{
	if (!loop->touched)
		return false;
	loop->at_event = 0;
	loop->n_events = wait_events(loop, 0);
	if (!loop->n_events) {
		loop->touched = false;
		return false;
	}
	run_events(loop);
	return true;
}

bool loop_sim_step(struct loop *loop, int64_t until_us)
{
	assert(loop->sim);
	if (!run_posts(loop) && !run_ready(loop)) {
		if (!loop->n_timers || loop->heap[0].at_us > until_us) {
			if (until_us != FOREVER)
				move_clock(loop, until_us);
			return false;
		}
		move_clock(loop, loop->heap[0].at_us);
		run_timers(loop);
	}
	run_hooks(loop);
	return true;
}
