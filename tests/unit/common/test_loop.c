/* The loop: timers, posts from other threads, descriptors, hooks, signals; real time. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/strbuf.h"
#include "suite.h"

#define DEADLINE_US INT64_C(60000000)

static void too_late(struct timer *timer, void *arg)
{
	(void)timer;
	(void)arg;
	ck_abort_msg("the deadline passed");
}

/* Runs the loop until somebody stops it; a test that waits for ever fails. */
static void run(struct loop *loop)
{
	struct timer deadline;

	timer_init(&deadline, too_late, NULL);
	timer_set(loop, &deadline, DEADLINE_US);
	loop_run(loop);
	timer_cancel(loop, &deadline);
}

static struct loop *new_loop(void)
{
	struct error err = {0};
	struct loop *loop = loop_new(&err);

	ck_assert_msg(loop, "%s", err.msg);
	return loop;
}

/* --- posts ------------------------------------------------------------------------------ */

#define THREADS 4
#define POSTS   20000

struct counter {
	struct loop *loop;
	int next[THREADS];
	int total, wanted;
};

struct message {
	struct loop_post post; /* first */
	struct counter *counter;
	int thread, number;
};

static void on_message(struct loop_post *post)
{
	struct message *m = (struct message *)post;
	struct counter *c = m->counter;

	ck_assert_int_eq(m->number, c->next[m->thread]);
	c->next[m->thread]++;
	if (++c->total == c->wanted)
		loop_stop(c->loop);
	free(m);
}

struct poster {
	struct counter *counter;
	int thread;
};

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < POSTS; i++) {
		struct message *m = xcalloc(1, sizeof(*m));

		*m = (struct message){{.fn = on_message}, p->counter, p->thread, i};
		loop_post(p->counter->loop, &m->post);
	}
	return NULL;
}

START_TEST(posts_of_each_thread_arrive_in_order)
{
	struct loop *loop = new_loop();
	struct counter counter = {.loop = loop, .wanted = THREADS * POSTS};
	struct poster poster[THREADS];
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++) {
		poster[i] = (struct poster){&counter, i};
		pthread_create(&thread[i], NULL, post_all, &poster[i]);
	}
	run(loop);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(counter.next[i], POSTS);
	}
	loop_free(loop);
}
END_TEST

/* One post at a time, each only after the last one ran: every one has to wake the loop, or the test
 * hangs. */
struct pingpong {
	struct loop_post post;
	struct loop *loop;
	_Atomic int ran;
	int reply_fd;
};

static void on_ping(struct loop_post *post)
{
	struct pingpong *p = (struct pingpong *)post;
	uint64_t one = 1;

	atomic_fetch_add(&p->ran, 1);
	ck_assert_int_eq(write(p->reply_fd, &one, sizeof(one)), sizeof(one));
}

static void *ping_all(void *arg)
{
	struct pingpong *p = arg;
	uint64_t got;

	for (int i = 0; i < 2000; i++) {
		loop_post(p->loop, &p->post);
		if (read(p->reply_fd, &got, sizeof(got)) != (ssize_t)sizeof(got))
			break;
	}
	loop_stop(p->loop);
	return NULL;
}

START_TEST(each_post_wakes_a_sleeping_loop)
{
	struct pingpong p = {.post = {.fn = on_ping}, .loop = new_loop()};
	pthread_t thread;

	p.reply_fd = eventfd(0, 0);
	pthread_create(&thread, NULL, ping_all, &p);
	run(p.loop);
	pthread_join(thread, NULL);
	ck_assert_int_eq(atomic_load(&p.ran), 2000);
	close(p.reply_fd);
	loop_free(p.loop);
}
END_TEST

/* A loop that gathers: the first post begins it, a timer ends it, and nobody wakes it meanwhile. */
struct gathering {
	struct loop *loop;
	struct timer timer;
	_Atomic bool soon;
	int left;
};

struct gathered {
	struct loop_post post;
	struct gathering *gathering;
};

static void on_gathered(struct timer *timer, void *arg)
{
	struct gathering *g = arg;

	(void)timer;
	atomic_store(&g->soon, false);
}

static void on_gathered_post(struct loop_post *post)
{
	struct gathering *g = ((struct gathered *)post)->gathering;

	free(post);
	if (!--g->left)
		loop_stop(g->loop);
	if (g->left && !atomic_load(&g->soon)) {
		timer_set(g->loop, &g->timer, 20);
		atomic_store(&g->soon, true);
	}
}

static void *gather_all(void *arg)
{
	struct gathering *g = arg;

	for (int i = 0; i < POSTS; i++) {
		struct gathered *p = xcalloc(1, sizeof(*p));

		*p = (struct gathered){{.fn = on_gathered_post}, g};
		loop_post_for(g->loop, &p->post, &g->soon);
		if (i % 8 == 7)
			usleep(20); /* about as long as it waits: so it often just ends */
	}
	return NULL;
}

START_TEST(no_post_is_left_with_a_loop_that_has_ceased_to_gather)
{
	struct gathering g = {.loop = new_loop(), .left = POSTS};
	pthread_t thread;

	timer_init(&g.timer, on_gathered, &g);
	pthread_create(&thread, NULL, gather_all, &g);
	run(g.loop);
	pthread_join(thread, NULL);
	timer_cancel(g.loop, &g.timer);
	loop_free(g.loop);
}
END_TEST

static int posted_again;

static void post_once_more(struct loop_post *post)
{
	struct message *m = (struct message *)post;

	if (++posted_again < 3)
		loop_post(m->counter->loop, post);
}

START_TEST(a_post_that_posts_waits_for_the_next_turn)
{
	struct counter counter = {.loop = new_loop()};
	struct message m = {{.fn = post_once_more}, &counter, 0, 0};

	posted_again = 0;
	loop_post(counter.loop, &m.post);
	for (int turn = 1; turn <= 3; turn++) {
		loop_turn(counter.loop, DEADLINE_US); /* does not sleep: there is a post */
		ck_assert_int_eq(posted_again, turn);
	}
	loop_free(counter.loop);
}
END_TEST

START_TEST(a_stop_before_the_run_counts)
{
	struct loop *loop = new_loop();

	loop_stop(loop);
	run(loop);
	loop_free(loop);
}
END_TEST

START_TEST(posts_left_over_are_dropped)
{
	struct loop *loop = new_loop();
	struct loop_post post = {.fn = NULL};

	loop_post(loop, &post);
	loop_free(loop);
	loop_free(NULL);
}
END_TEST

/* --- borrowing ---------------------------------------------------------------------------- */

struct borrower {
	struct counter *counter;
	int thread, borrowed;
};

/* As the loop's thread does it. */
static void count(struct counter *c, int thread, int number)
{
	ck_assert_int_eq(c->next[thread], number);
	c->next[thread]++;
	if (++c->total == c->wanted)
		loop_stop(c->loop);
}

static void on_numbered(struct loop_post *post)
{
	struct message *m = (struct message *)post;

	ck_assert(loop_here(m->counter->loop));
	count(m->counter, m->thread, m->number);
	free(m);
}

static void *borrow_or_post(void *arg)
{
	struct borrower *b = arg;
	struct loop *loop = b->counter->loop;

	for (int i = 0; i < POSTS; i++) {
		struct message *m;

		while (i == 0 && !loop_borrow(loop))
			usleep(100);
		if (i == 0 || (i % 3 && loop_borrow(loop))) {
			ck_assert(loop_here(loop));
			count(b->counter, b->thread, i);
			loop_return(loop);
			b->borrowed++;
			continue;
		}
		ck_assert(!loop_here(loop));
		m = xmalloc(sizeof(*m));
		*m = (struct message){{.fn = on_numbered}, b->counter, b->thread, i};
		loop_post(loop, &m->post);
	}
	return NULL;
}

START_TEST(what_one_posts_and_does_himself_keeps_its_order)
{
	struct counter counter = {.loop = new_loop(), .wanted = THREADS * POSTS};
	struct borrower borrower[THREADS];
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++) {
		borrower[i] = (struct borrower){&counter, i, 0};
		pthread_create(&thread[i], NULL, borrow_or_post, &borrower[i]);
	}
	run(counter.loop);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(counter.next[i], POSTS);
		ck_assert_int_gt(borrower[i].borrowed, 0);
	}
	loop_free(counter.loop);
}
END_TEST

struct earlier {
	struct loop *loop;
	struct timer timer;
	struct loop_hook hook;
	pthread_t borrower;
	bool hooked;
};

static void on_earlier(struct timer *timer, void *arg)
{
	struct earlier *e = arg;

	(void)timer;
	ck_assert(!pthread_equal(pthread_self(), e->borrower));
	loop_stop(e->loop);
}

static void on_borrowers_turn(struct loop_hook *hook, void *arg)
{
	struct earlier *e = arg;

	(void)hook;
	e->hooked |= pthread_equal(pthread_self(), e->borrower);
}

static void *arm_earlier(void *arg)
{
	struct earlier *e = arg;

	while (!loop_borrow(e->loop))
		usleep(100);
	e->borrower = pthread_self();
	timer_set(e->loop, &e->timer, 1000);
	loop_return(e->loop);
	return NULL;
}

START_TEST(a_borrower_wakes_it_for_what_it_armed)
{
	struct earlier e = {.loop = new_loop()};
	pthread_t thread;

	timer_init(&e.timer, on_earlier, &e);
	e.hook = (struct loop_hook){.fn = on_borrowers_turn, .arg = &e};
	loop_hook_add(e.loop, &e.hook);
	pthread_create(&thread, NULL, arm_earlier, &e);
	run(e.loop); /* it would sleep until the deadline */
	pthread_join(thread, NULL);
	ck_assert(e.hooked);
	loop_free(e.loop);
}
END_TEST

struct leaver {
	struct earlier e;
	struct loop_io io;
	int fd[2];
	pid_t owner;
};

static void on_left(struct loop_io *io, uint32_t events, void *arg)
{
	(void)io;
	(void)events;
	(void)arg;
	ck_abort_msg("an event of a descriptor that was removed");
}

/* How often a thread has gone to sleep. */
static long sleeps_of(pid_t thread)
{
	char path[64], line[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)thread);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) &&
	       sscanf(line, "voluntary_ctxt_switches: %ld", &n) != 1)
		;
	fclose(f);
	ck_assert_int_ge(n, 0);
	return n;
}

static void *remove_what_has_happened(void *arg)
{
	struct leaver *l = arg;
	long before;

	while (!loop_borrow(l->e.loop))
		usleep(100);
	l->e.borrower = pthread_self();
	before = sleeps_of(l->owner);
	ck_assert_int_eq(write(l->fd[1], "x", 1), 1);
	while (sleeps_of(l->owner) == before) /* until it has the event, and waits for its loop */
		usleep(100);
	loop_io_del(l->e.loop, &l->io);
	timer_set(l->e.loop, &l->e.timer, 1000);
	loop_return(l->e.loop);
	return NULL;
}

START_TEST(a_borrower_may_remove_what_has_happened)
{
	struct leaver l = {.e.loop = new_loop(), .owner = gettid()};
	struct error err = {0};
	pthread_t thread;

	ck_assert_int_eq(pipe(l.fd), 0);
	l.io = (struct loop_io){.fd = l.fd[0], .events = EPOLLIN, .fn = on_left};
	ck_assert_int_eq(loop_io_add(l.e.loop, &l.io, &err), 0);
	timer_init(&l.e.timer, on_earlier, &l.e);
	pthread_create(&thread, NULL, remove_what_has_happened, &l);
	run(l.e.loop);
	pthread_join(thread, NULL);
	close(l.fd[0]);
	close(l.fd[1]);
	loop_free(l.e.loop);
}
END_TEST

START_TEST(who_does_not_wait_is_not_to_be_borrowed)
{
	struct loop *loop = new_loop(), *sim = loop_new_sim(0);

	ck_assert(!loop_borrow(loop));
	loop_turn(loop, 0);
	ck_assert(loop_here(loop));
	ck_assert(!loop_borrow(loop));
	ck_assert(!loop_borrow(sim));
	loop_free(loop);
	loop_free(sim);
}
END_TEST

/* --- timers ----------------------------------------------------------------------------- */

static int order[8], n_order;
static struct loop *timer_loop;

static void note(struct timer *timer, void *arg)
{
	ck_assert(!timer_armed(timer));
	order[n_order++] = (int)(intptr_t)arg;
	if ((intptr_t)arg == 9)
		loop_stop(timer_loop);
}

START_TEST(timers_fire_in_order_and_not_early)
{
	struct loop *loop = timer_loop = new_loop();
	int64_t start = loop_now_us(loop);
	struct timer a, b, c, d;

	n_order = 0;
	timer_init(&a, note, (void *)1);
	timer_init(&b, note, (void *)2);
	timer_init(&c, note, (void *)3);
	timer_init(&d, note, (void *)9);
	timer_set(loop, &d, 3000);
	timer_set(loop, &a, 700);
	timer_set(loop, &b, 300);
	timer_set(loop, &c, 200);
	timer_set(loop, &c, 1500); /* again */
	run(loop);
	ck_assert_int_eq(n_order, 4);
	ck_assert(order[0] == 2 && order[1] == 1 && order[2] == 3 && order[3] == 9);
	ck_assert_int_ge(loop_now_us(loop) - start, 3000);
	loop_free(loop);
}
END_TEST

static void again(struct timer *timer, void *arg)
{
	int *left = arg;

	if (--*left > 0)
		timer_set(timer_loop, timer, 0);
	else
		loop_stop(timer_loop);
}

START_TEST(a_timer_that_arms_itself_lets_the_turn_end)
{
	struct loop *loop = timer_loop = new_loop();
	struct timer timer;
	int left = 100;

	timer_init(&timer, again, &left);
	timer_set(loop, &timer, -5);
	loop_turn(loop, DEADLINE_US);
	ck_assert_int_eq(left, 99);
	run(loop);
	ck_assert_int_eq(left, 0);
	loop_free(loop);
}
END_TEST

START_TEST(a_turn_without_wait_returns)
{
	struct loop *loop = new_loop();
	struct timer timer;

	timer_init(&timer, too_late, NULL);
	timer_set(loop, &timer, DEADLINE_US);
	loop_turn(loop, 0);
	loop_turn(loop, 100);
	timer_cancel(loop, &timer);
	timer_cancel(loop, &timer);
	loop_free(loop);
}
END_TEST

/* --- descriptors ------------------------------------------------------------------------ */

struct pair {
	struct loop *loop;
	struct loop_io io[2];
	int other[2];
	int called;
};

/* Both are ready; whoever runs first removes the other one, whose event is already fetched. */
static void remove_other(struct loop_io *io, uint32_t events, void *arg)
{
	struct pair *p = arg;
	struct loop_io *other = io == &p->io[0] ? &p->io[1] : &p->io[0];

	ck_assert(events & EPOLLIN);
	p->called++;
	loop_io_del(p->loop, other);
	memset(other, 0xff, sizeof(*other)); /* as if it were freed */
	loop_io_del(p->loop, io);
}

START_TEST(a_removed_descriptor_hears_nothing_more)
{
	struct pair p = {.loop = new_loop()};
	struct error err;
	int fd[2];

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
		p.other[i] = fd[1];
		p.io[i] = (struct loop_io){fd[0], EPOLLIN, remove_other, &p};
		ck_assert_int_eq(loop_io_add(p.loop, &p.io[i], &err), 0);
		ck_assert_int_eq(write(fd[1], "x", 1), 1);
	}
	loop_turn(p.loop, DEADLINE_US);
	loop_turn(p.loop, 0);
	ck_assert_int_eq(p.called, 1);
	for (int i = 0; i < 2; i++)
		close(p.other[i]);
	loop_free(p.loop);
}
END_TEST

static void count_events(struct loop_io *io, uint32_t events, void *arg)
{
	uint32_t *seen = arg;

	(void)io;
	*seen = events;
}

START_TEST(events_can_be_changed)
{
	struct loop *loop = new_loop();
	struct error err = {0};
	uint32_t seen = 0;
	struct loop_io io = {-1, EPOLLIN, count_events, &seen};
	int fd[2];

	ck_assert_int_eq(loop_io_add(loop, &io, &err), -1);
	ck_assert_int_eq(err.code, ERR_TRANSIENT);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	io.fd = fd[0];
	ck_assert_int_eq(loop_io_add(loop, &io, &err), 0);
	loop_turn(loop, 0);
	ck_assert_uint_eq(seen, 0);
	ck_assert_int_eq(loop_io_mod(loop, &io, EPOLLIN | EPOLLOUT, &err), 0);
	loop_turn(loop, DEADLINE_US);
	ck_assert_uint_eq(seen, EPOLLOUT);
	ck_assert_int_eq(loop_io_mod(loop, &io, EPOLLIN, &err), 0);
	close(fd[1]);
	seen = 0;
	loop_turn(loop, DEADLINE_US);
	ck_assert(seen & EPOLLIN);
	ck_assert(seen & EPOLLHUP);
	loop_io_del(loop, &io);
	close(fd[0]);
	ck_assert_int_eq(loop_io_mod(loop, &io, EPOLLOUT, &err), -1);
	ck_assert_uint_eq(io.events, EPOLLIN);
	loop_free(loop);
}
END_TEST

/* --- hooks ------------------------------------------------------------------------------ */

struct hooked {
	struct loop *loop;
	struct loop_hook hook;
	struct hooked *removes;
	char name;
	struct strbuf *trace;
};

static void on_hook(struct loop_hook *hook, void *arg)
{
	struct hooked *h = arg;

	ck_assert_ptr_eq(hook, &h->hook);
	strbuf_addc(h->trace, h->name);
	if (h->removes) {
		loop_hook_del(h->loop, &h->removes->hook);
		h->removes = NULL;
	}
}

static void add_mark(struct timer *timer, void *arg)
{
	(void)timer;
	strbuf_addc(arg, 't');
}

START_TEST(hooks_run_after_everything_else)
{
	struct loop *loop = new_loop();
	struct strbuf trace = {0};
	struct hooked h[4];
	struct timer timer;

	for (int i = 0; i < 4; i++) {
		h[i] = (struct hooked){loop, {NULL, on_hook, &h[i]}, NULL, (char)('0' + i), &trace};
		loop_hook_add(loop, &h[i].hook);
	}
	timer_init(&timer, add_mark, &trace);
	timer_set(loop, &timer, 0);
	loop_turn(loop, DEADLINE_US);
	ck_assert_str_eq(strbuf_str(&trace), "t0123");
	strbuf_reset(&trace);
	h[0].removes = &h[0];
	h[1].removes = &h[2];
	loop_turn(loop, 0);
	ck_assert_str_eq(strbuf_str(&trace), "013");
	strbuf_reset(&trace);
	loop_hook_del(loop, &h[0].hook); /* not there: fine */
	loop_turn(loop, 0);
	ck_assert_str_eq(strbuf_str(&trace), "13");
	strbuf_done(&trace);
	loop_free(loop);
}
END_TEST

/* --- signals ---------------------------------------------------------------------------- */

static int last_signal;

static void on_signal(int signo, void *arg)
{
	last_signal = signo;
	loop_stop(arg);
}

START_TEST(signals_arrive_on_the_loop)
{
	struct loop *loop = new_loop();
	struct error err;

	ck_assert_int_eq(loop_signal(loop, SIGUSR1, on_signal, loop, &err), 0);
	ck_assert_int_eq(loop_signal(loop, SIGUSR2, on_signal, loop, &err), 0);
	kill(getpid(), SIGUSR2);
	run(loop);
	ck_assert_int_eq(last_signal, SIGUSR2);
	kill(getpid(), SIGUSR1);
	run(loop);
	ck_assert_int_eq(last_signal, SIGUSR1);
	ck_assert_int_eq(loop_signal(loop, 0, on_signal, loop, &err), -1);
	ck_assert_int_eq(loop_signal(loop, 9999, on_signal, loop, &err), -1);
	loop_free(loop);
}
END_TEST

START_TEST(clocks_are_the_systems)
{
	struct loop *loop = new_loop();
	struct timespec mono, wall;

	loop_turn(loop, 0);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	ck_assert_int_le(loop_now_us(loop), (int64_t)mono.tv_sec * 1000000 + mono.tv_nsec / 1000);
	ck_assert_int_gt(loop_now_us(loop), ((int64_t)mono.tv_sec - 60) * 1000000);
	ck_assert_int_gt(loop_wall_us(loop), ((int64_t)wall.tv_sec - 60) * 1000000);
	loop_free(loop);
}
END_TEST

RUN_TESTS("loop", posts_of_each_thread_arrive_in_order, each_post_wakes_a_sleeping_loop,
	  no_post_is_left_with_a_loop_that_has_ceased_to_gather,
	  a_post_that_posts_waits_for_the_next_turn, a_stop_before_the_run_counts,
	  posts_left_over_are_dropped, what_one_posts_and_does_himself_keeps_its_order,
	  a_borrower_wakes_it_for_what_it_armed, a_borrower_may_remove_what_has_happened,
	  who_does_not_wait_is_not_to_be_borrowed, timers_fire_in_order_and_not_early,
	  a_timer_that_arms_itself_lets_the_turn_end, a_turn_without_wait_returns,
	  a_removed_descriptor_hears_nothing_more, events_can_be_changed,
	  hooks_run_after_everything_else, signals_arrive_on_the_loop, clocks_are_the_systems)
