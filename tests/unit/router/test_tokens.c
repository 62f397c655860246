/* A tenant's tokens a minute: what is charged for a ticket, and what of it is settled. */
#include <stdio.h>

#include "tests/unit/common/suite.h"
#include "tests/unit/router/hand.h"

static struct world w;

static void setup(void)
{
	world_init(&w);
	world_router(&w, 0);
}

static void teardown(void)
{
	world_done(&w);
}

/* Whatever gets a ticket is charged; what is refused, or known already, is not. */
START_TEST(tokens_a_minute)
{
	struct order o;
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":1,"
			 "\"tasks_queued\":1,\"tokens_per_min\":3100");
	world_put(&w, "pipeline.summary.2",
		  "{\"name\":\"summary\",\"version\":2,\"stages\":[{\"id\":\"a\",\"kind\":"
		  "\"chat\",\"model\":\"m\",\"max_tokens\":1000}]}");
	for (int i = 0; i < 3; i++) {
		order_task(&w, &o, "one", "1");
		ck_assert(world_ask(&w, &o).accepted);
	}
	ck_assert(world_task(&w, "two", "2").accepted);
	ck_assert_str_eq(world_task(&w, "three", "3").limit, "tenant.tasks_queued");
	world_tenant(&w, "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":1,"
			 "\"tasks_queued\":9,\"tokens_per_min\":3100");
	struct id task = id_derive("acme", "task", "x");
	ck_assert(world_release(&w, task.text, 7).accepted);
	struct answer no = world_release(&w, task.text, 8);
	ck_assert_str_eq(no.limit, "tenant.tokens_per_min");
	ck_assert_uint_gt(no.retry_after_ms, 0);
	no = world_task(&w, "four", "4");
	ck_assert_str_eq(no.code, "rate_limited");
	ck_assert_str_eq(no.limit, "tenant.tokens_per_min");
	ck_assert_int_eq(metric_get(w.router[0]->stats.limited[ADMIT_LIMIT_TOKENS][LIMIT_ENFORCE]),
			 2);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
	ck_assert_uint_eq(world_count(&w, STREAM_BACKLOG), 2);
}
END_TEST

#define OPEN_LIMITS "\"events_per_s\":10000,\"burst\":1000,\"tasks_running\":9,\"tasks_queued\":9"

/* A minute has room for one task and a little: each takes 1000 tokens by the estimate. */
static void one_a_minute(void)
{
	world_tenant(&w, OPEN_LIMITS ",\"tokens_per_min\":1100");
	world_put(&w, "pipeline.summary.2",
		  "{\"name\":\"summary\",\"version\":2,\"stages\":[{\"id\":\"a\",\"kind\":"
		  "\"chat\",\"model\":\"m\",\"max_tokens\":1000}]}");
}

static void no_tokens_left(const char *key)
{
	struct answer a = world_task(&w, key, "1");
	ck_assert_str_eq(a.code, "rate_limited");
	ck_assert_str_eq(a.limit, "tenant.tokens_per_min");
}

/* What a task did not take is there for the next one; what it took more is paid off. */
START_TEST(tokens_are_settled)
{
	struct hand h;
	one_a_minute();
	hand_open(&h, &w);
	for (int i = 0; i < 5; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%d", i);
		ck_assert(world_task(&w, key, "1").accepted);
		no_tokens_left("more");
		world_run(&w, 100000);
		ck_assert_int_eq(h.n, i + 1);
		ck_assert_uint_ne(h.charge[i], 0);
		hand_say_end(&h, i, 10);
		world_run(&w, 100000);
	}
	ck_assert(world_task(&w, "last", "1").accepted);
	world_run(&w, 100000);
	hand_say_end(&h, 5, 1000000000);
	world_run(&w, INT64_C(9) * 60000000); /* ten minutes are owed, at most */
	no_tokens_left("more");
	world_run(&w, INT64_C(2) * 60000000);
	ck_assert(world_task(&w, "more", "1").accepted);
	hand_close(&h);
}
END_TEST

/* The next owner of the part has charged nothing, so it gives nothing back. */
START_TEST(tokens_of_another_router)
{
	struct hand h;
	one_a_minute();
	hand_open(&h, &w);
	ck_assert(world_task(&w, "one", "1").accepted);
	world_run(&w, 100000);
	world_crash(&w, 0);
	world_router(&w, 1);
	while (router_parts_owned(w.router[1]) < w.conf.parts)
		world_run(&w, 100000);
	ck_assert(world_task(&w, "two", "1").accepted);
	no_tokens_left("three");
	world_run(&w, 100000);
	ck_assert_uint_ne(h.charge[0], h.charge[1]);
	hand_say_end(&h, 0, 0);
	world_run(&w, 100000);
	no_tokens_left("three");
	hand_say_end(&h, 1, 0);
	world_run(&w, 100000);
	ck_assert(world_task(&w, "three", "1").accepted);
	hand_close(&h);
}
END_TEST

/* Nobody pays for a ticket that was not stored, … */
START_TEST(tokens_of_a_ticket_refused)
{
	one_a_minute();
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 10);
	for (int i = 0; i < 3; i++) {
		struct answer a = world_task(&w, "one", "1");
		ck_assert_str_eq(a.code, "overloaded");
		a = world_release(&w, id_derive("acme", "task", "x").text, 7);
		ck_assert_str_eq(a.code, "overloaded");
	}
	/* … but for the one that is sent again until it is there. */
	world_bound(&w, STREAM_TASKS, "pen.task.>", true, 0);
	world_run(&w, 10000000);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
	ck_assert(world_task(&w, "one", "1").accepted);
	no_tokens_left("two");
}
END_TEST

/* … nor twice for one of which nobody knows whether it was. */
START_TEST(tokens_of_a_ticket_unknown)
{
	one_a_minute();
	for (int lost = 0; lost < 2; lost++) {
		world_faults(&w, (struct fake_faults){.lose_ack = 1});
		for (int i = 0; i < 3; i++) {
			struct answer a = world_release(&w, id_derive("acme", "task", "x").text, 7);
			ck_assert_str_eq(a.code, "unavailable");
		}
	}
	world_faults(&w, (struct fake_faults){0});
	ck_assert(world_release(&w, id_derive("acme", "task", "x").text, 7).accepted);
	ck_assert_uint_eq(world_count(&w, STREAM_TASKS), 1);
	no_tokens_left("two");
}
END_TEST

/* A repeat that this router does not remember has its ticket in the queue already. */
START_TEST(tokens_of_a_repeat)
{
	struct order o;
	one_a_minute();
	ck_assert(world_task(&w, "one", "1").accepted);
	world_run(&w, 60000000);
	recent_clear(w.router[0]->recent);
	order_task(&w, &o, "one", "1");
	ck_assert(world_ask(&w, &o).duplicate);
	ck_assert(world_task(&w, "two", "1").accepted);
}
END_TEST

/* What nothing was charged for gets nothing. */
START_TEST(tokens_that_were_not_charged)
{
	struct hand h;
	one_a_minute();
	world_tenant(&w, OPEN_LIMITS ",\"tokens_per_min\":1100,\"mode\":\"shadow\"");
	hand_open(&h, &w);
	for (int i = 0; i < 3; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%d", i);
		ck_assert(world_task(&w, key, "1").accepted);
	}
	world_run(&w, 100000);
	ck_assert_uint_ne(h.charge[0], 0);
	ck_assert_uint_eq(h.charge[1], 0);
	ck_assert_uint_eq(h.charge[2], 0);
	world_tenant(&w, OPEN_LIMITS ",\"tokens_per_min\":1100");
	hand_say_end(&h, 1, 0);
	hand_say_end(&h, 2, 0);
	world_run(&w, 100000);
	no_tokens_left("more");
	hand_close(&h);
}
END_TEST

RUN_TESTS_WITH("router: tokens", setup, teardown, tokens_a_minute, tokens_are_settled,
	       tokens_of_another_router, tokens_of_a_ticket_refused, tokens_of_a_ticket_unknown,
	       tokens_of_a_repeat, tokens_that_were_not_charged)
