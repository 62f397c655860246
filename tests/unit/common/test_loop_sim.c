/* The simulated loop, and the timer heap against a simple model. */
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/rng.h"
#include "common/strbuf.h"
#include "suite.h"

#define START_WALL INT64_C(1700000000000000)

struct noted {
	struct timer timer;
	struct loop *loop;
	struct strbuf *trace;
	char name;
};

static void note(struct timer *timer, void *arg)
{
	struct noted *n = arg;

	(void)timer;
	strbuf_addf(n->trace, "%c%lld ", n->name, (long long)loop_now_us(n->loop));
}

static void noted_init(struct noted *n, struct loop *loop, struct strbuf *trace, char name)
{
	*n = (struct noted){.loop = loop, .trace = trace, .name = name};
	timer_init(&n->timer, note, n);
}

START_TEST(the_clock_moves_to_the_next_timer)
{
	struct loop *loop = loop_new_sim(START_WALL);
	struct strbuf trace = {0};
	struct noted a, b, c;

	noted_init(&a, loop, &trace, 'a');
	noted_init(&b, loop, &trace, 'b');
	noted_init(&c, loop, &trace, 'c');
	timer_set(loop, &a.timer, 500);
	timer_set(loop, &b.timer, 200);
	timer_set(loop, &c.timer, 500); /* the same time as a, later than a */
	ck_assert_int_eq(loop_now_us(loop), 0);
	ck_assert_int_eq(loop_wall_us(loop), START_WALL);
	ck_assert(loop_sim_step(loop, 1000));
	ck_assert_int_eq(loop_now_us(loop), 200);
	ck_assert_int_eq(loop_wall_us(loop), START_WALL + 200);
	ck_assert(!loop_sim_step(loop, 499));
	ck_assert_int_eq(loop_now_us(loop), 499);
	ck_assert(loop_sim_step(loop, 1000));
	ck_assert(!loop_sim_step(loop, 1000));
	ck_assert_int_eq(loop_now_us(loop), 1000);
	ck_assert(!loop_sim_step(loop, 10)); /* never backwards */
	ck_assert_int_eq(loop_now_us(loop), 1000);
	ck_assert_str_eq(strbuf_str(&trace), "b200 a500 c500 ");
	strbuf_done(&trace);
	loop_free(loop);
}
END_TEST

struct relay {
	struct loop_post post;
	struct loop *loop;
	struct strbuf *trace;
	int left;
};

static void on_relay(struct loop_post *post)
{
	struct relay *r = (struct relay *)post;

	strbuf_addf(r->trace, "p%lld ", (long long)loop_now_us(r->loop));
	if (--r->left > 0)
		loop_post(r->loop, post);
}

START_TEST(posts_come_before_time_passes)
{
	struct loop *loop = loop_new_sim(0);
	struct strbuf trace = {0};
	struct relay relay = {{NULL, on_relay}, loop, &trace, 3};
	struct noted a;

	noted_init(&a, loop, &trace, 'a');
	timer_set(loop, &a.timer, 5);
	loop_post(loop, &relay.post);
	loop_run(loop); /* ends when nothing is left */
	ck_assert_str_eq(strbuf_str(&trace), "p0 p0 p0 a5 ");
	ck_assert_int_eq(loop_now_us(loop), 5);
	strbuf_done(&trace);
	loop_free(loop);
}
END_TEST

static void stop(struct timer *timer, void *arg)
{
	(void)timer;
	loop_stop(arg);
}

START_TEST(run_ends_at_a_stop)
{
	struct loop *loop = loop_new_sim(0);
	struct timer first, second;

	timer_init(&first, stop, loop);
	timer_init(&second, stop, loop);
	timer_set(loop, &first, 10);
	timer_set(loop, &second, INT64_MAX); /* no overflow: never */
	loop_run(loop);
	ck_assert_int_eq(loop_now_us(loop), 10);
	ck_assert(!timer_armed(&first));
	ck_assert(timer_armed(&second));
	timer_cancel(loop, &second);
	loop_turn(loop, 90);
	ck_assert_int_eq(loop_now_us(loop), 100);
	loop_free(loop);
}
END_TEST

static void on_hook(struct loop_hook *hook, void *arg)
{
	(void)hook;
	strbuf_adds(arg, "h ");
}

START_TEST(hooks_run_in_each_step)
{
	struct loop *loop = loop_new_sim(0);
	struct strbuf trace = {0};
	struct loop_hook hook = {NULL, on_hook, &trace};
	struct noted a, b;

	noted_init(&a, loop, &trace, 'a');
	noted_init(&b, loop, &trace, 'b');
	timer_set(loop, &a.timer, 5);
	timer_set(loop, &b.timer, 6);
	loop_hook_add(loop, &hook);
	loop_run(loop);
	ck_assert_str_eq(strbuf_str(&trace), "a5 h b6 h ");
	loop_hook_del(loop, &hook);
	strbuf_done(&trace);
	loop_free(loop);
}
END_TEST

static void on_ready(struct loop_io *io, uint32_t events, void *arg)
{
	char c = 0;

	ck_assert(events & EPOLLIN);
	ck_assert_int_eq(read(io->fd, &c, 1), 1);
	strbuf_addf(arg, "%c ", c);
}

START_TEST(descriptors_come_before_time_passes)
{
	struct loop *loop = loop_new_sim(0);
	struct strbuf trace = {0};
	struct noted a;
	struct error err;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct loop_io io = {.fd = pair[0], .events = EPOLLIN, .fn = on_ready, .arg = &trace};
	noted_init(&a, loop, &trace, 'a');
	loop_sim_touch(loop); /* nothing to look at yet */
	ck_assert_int_eq(loop_io_add(loop, &io, &err), 0);
	timer_set(loop, &a.timer, 5);
	ck_assert_int_eq(write(pair[1], "xy", 2), 2);
	loop_run(loop);
	ck_assert_str_eq(strbuf_str(&trace), "x y a5 ");
	timer_set(loop, &a.timer, 5);
	ck_assert_int_eq(write(pair[1], "z", 1), 1);
	loop_sim_touch(loop);
	loop_run(loop);
	ck_assert_str_eq(strbuf_str(&trace), "x y a5 z a10 ");
	loop_io_del(loop, &io);
	close(pair[0]);
	close(pair[1]);
	strbuf_done(&trace);
	loop_free(loop);
}
END_TEST

START_TEST(it_has_no_signals)
{
	struct loop *loop = loop_new_sim(0);
	struct error err = {0};

	ck_assert_int_eq(loop_signal(loop, 15, NULL, NULL, &err), -1);
	ck_assert_int_eq(err.code, ERR_FATAL);
	loop_free(loop);
}
END_TEST

/* --- the heap against a list that is searched from end to end ---------------------------- */

#define TIMERS 64

struct model {
	struct loop *loop;
	struct rng rng;
	struct timer timer[TIMERS];
	int64_t at[TIMERS]; /* -1: not armed */
	uint64_t seq[TIMERS], next_seq;
	int fired;
};

static void model_set(struct model *m, int i, int64_t delay)
{
	timer_set(m->loop, &m->timer[i], delay);
	m->at[i] = loop_now_us(m->loop) + (delay > 0 ? delay : 1);
	m->seq[i] = m->next_seq++;
}

static void model_cancel(struct model *m, int i)
{
	timer_cancel(m->loop, &m->timer[i]);
	m->at[i] = -1;
}

static void change_something(struct model *m)
{
	int i = (int)rng_below(&m->rng, TIMERS);

	if (rng_below(&m->rng, 3))
		model_set(m, i, (int64_t)rng_below(&m->rng, 50));
	else
		model_cancel(m, i);
}

static void model_fire(struct timer *timer, void *arg)
{
	struct model *m = arg;
	int i = (int)(timer - m->timer);

	ck_assert_int_eq(m->at[i], loop_now_us(m->loop));
	for (int k = 0; k < TIMERS; k++) {
		bool earlier = m->at[k] >= 0 && (m->at[k] < m->at[i] ||
						 (m->at[k] == m->at[i] && m->seq[k] < m->seq[i]));

		ck_assert_msg(!earlier, "%d fired before %d", i, k);
		ck_assert_int_eq(timer_armed(&m->timer[k]), k != i && m->at[k] >= 0);
	}
	m->at[i] = -1;
	m->fired++;
	for (int k = 0; k < 3; k++)
		change_something(m);
}

START_TEST(heap_agrees_with_a_model)
{
	struct model m = {.loop = loop_new_sim(0)};

	rng_seed(&m.rng, 7);
	for (int i = 0; i < TIMERS; i++) {
		timer_init(&m.timer[i], model_fire, &m);
		m.at[i] = -1;
	}
	while (m.fired < 20000) {
		change_something(&m);
		if (rng_below(&m.rng, 4) == 0)
			loop_sim_step(m.loop, INT64_MAX);
	}
	for (int i = 0; i < TIMERS; i++)
		model_cancel(&m, i);
	ck_assert(!loop_sim_step(m.loop, INT64_MAX));
	loop_free(m.loop);
}
END_TEST

RUN_TESTS("loop_sim", the_clock_moves_to_the_next_timer, posts_come_before_time_passes,
	  run_ends_at_a_stop, hooks_run_in_each_step, descriptors_come_before_time_passes,
	  it_has_no_signals, heap_agrees_with_a_model)
