#include <check.h>
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "services/orchestrator-worker/jqbox.h"

static struct loop *loop;
static struct jqbox *box;
static struct jqbox_conf conf;

struct want {
	int done;
	enum jqbox_code code;
	char *text;
	size_t len;
};

static void setup_with(unsigned helpers, size_t programs)
{
	struct error err;
	conf = (struct jqbox_conf){.helpers = helpers,
				   .budget_ms = 300,
				   .memory_mb = 256,
				   .output_max = 100000,
				   .programs = programs,
				   .queue_max = 500,
				   .queue_bytes = 4 << 20};
	box = jqbox_new(&conf, &err);
	ck_assert_ptr_nonnull(box);
	loop = loop_new(&err);
	jqbox_attach(box, loop);
}

static void setup(void)
{
	setup_with(1, 16);
}

static void teardown(void)
{
	jqbox_free(box);
	loop_free(loop);
}

static void on_result(void *arg, const struct jqbox_result *r)
{
	struct want *want = arg;
	ck_assert_int_eq(want->done, 0);
	ck_assert_uint_eq(strlen(r->text), r->len);
	want->done = 1;
	want->code = r->code;
	want->text = xstrndup(r->text, r->len);
	want->len = r->len;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void await(const struct want *want)
{
	double until = now_s() + 30;
	while (!want->done && now_s() < until)
		loop_turn(loop, 50000);
	ck_assert_msg(want->done, "no answer in time");
}

static struct jqbox_run *eval_of(struct want *want, const char *owner, const char *program,
				 const char *input)
{
	*want = (struct want){0};
	return jqbox_eval(box, owner, program, input, strlen(input), on_result, want);
}

static void eval(struct want *want, const char *program, const char *input)
{
	eval_of(want, "acme", program, input);
}

static void expect(const char *program, const char *input, enum jqbox_code code, const char *text)
{
	struct want want;
	eval(&want, program, input);
	await(&want);
	ck_assert_msg(want.code == code, "%s: %s: %s", program, jqbox_code_name(want.code),
		      want.text);
	if (text != NULL)
		ck_assert_msg(strstr(want.text, text) != NULL, "%s: %s", program, want.text);
	if (code == JQBOX_OK && text != NULL)
		ck_assert_str_eq(want.text, text);
	free(want.text);
}

START_TEST(results)
{
	expect(".", "{\"a\":[1,2]}", JQBOX_OK, "{\"a\":[1,2]}");
	expect(".input.n + 1", "{\"input\":{\"n\":41}}", JQBOX_OK, "42");
	expect("{b:.a} | tojson", "{\"a\":\"\xc3\xa4\"}", JQBOX_OK,
	       "\"{\\\"b\\\":\\\"\xc3\xa4\\\"}\"");
	expect("null", "{}", JQBOX_OK, "null");
}
END_TEST

START_TEST(errors)
{
	expect(".a |", "{}", JQBOX_SYNTAX, "syntax error");
	expect(".a |", "{}", JQBOX_SYNTAX, "syntax error"); /* from the cache, too */
	expect("error(\"boo\")", "{}", JQBOX_ERROR, "boo");
	expect("error({a:1})", "{}", JQBOX_ERROR, "{\"a\":1}");
	expect(".a.b", "{\"a\":1}", JQBOX_ERROR, "Cannot index");
	expect("empty", "{}", JQBOX_ERROR, "no result");
	expect("1,2", "{}", JQBOX_ERROR, "more than one");
	expect("1,error(\"late\")", "{}", JQBOX_ERROR, "late");
	expect("halt", "{}", JQBOX_ERROR, "halted");
	expect(".", "{\"a\":", JQBOX_ERROR, "no JSON");
	expect("[range(100000)]", "{}", JQBOX_TOO_LARGE, "too large");
	expect(".", "1", JQBOX_OK, "1"); /* the helper has survived all of it */
	struct jqbox_stats stats;
	jqbox_stats(box, &stats);
	ck_assert_uint_eq(stats.killed, 0);
	ck_assert_uint_eq(stats.queued, 0);
	ck_assert_uint_eq(stats.bytes, 0);
}
END_TEST

/* A program sees neither the worker's secrets nor its files. */
START_TEST(nothing_to_see)
{
	expect("env|length", "{}", JQBOX_OK, "1"); /* TZ */
	expect("$ENV.PENSTOCK_TEST_SECRET", "{}", JQBOX_OK, "null");
	expect("import \"x\" as x; 1", "{}", JQBOX_SYNTAX, NULL);
	expect("import \"/etc/hosts\" as $x; $x", "{}", JQBOX_SYNTAX, NULL);
	expect("input", "{}", JQBOX_ERROR, NULL);
}
END_TEST

START_TEST(loop_for_ever)
{
	struct want bad, good[50];
	eval(&bad, "def f: f; f", "{}");
	for (int i = 0; i < 50; i++)
		eval(&good[i], ".+1", "1");
	double start = now_s();
	for (int i = 0; i < 50; i++) {
		await(&good[i]);
		ck_assert_int_eq(good[i].code, JQBOX_OK);
		ck_assert_str_eq(good[i].text, "2");
		free(good[i].text);
	}
	(void)start;
	/* Nobody waited for its budget to run out: they were served aside. */
	ck_assert_int_eq(bad.done, 0);
	await(&bad);
	ck_assert_int_eq(bad.code, JQBOX_TIME);
	free(bad.text);
	expect(".", "7", JQBOX_OK, "7");
	struct jqbox_stats stats;
	jqbox_stats(box, &stats);
	ck_assert_uint_eq(stats.killed, 1);
}
END_TEST

/* The second time everybody knows: it has the suspects' helper from the start. */
START_TEST(known_looper_stays_aside)
{
	struct want bad, good;
	expect("def f: f; f", "{}", JQBOX_TIME, NULL);
	eval(&bad, "def f: f; f", "{}");
	eval(&good, "\"quick\"", "{}");
	await(&good);
	ck_assert_int_eq(bad.done, 0);
	await(&bad);
	ck_assert_int_eq(bad.code, JQBOX_TIME);
	free(bad.text);
	free(good.text);
}
END_TEST

/* Several of the same at once: the first one gives the others away, also those that were sent
 * already. */
START_TEST(many_loopers)
{
	struct want bad[4], good[50];
	expect("\"warm\"", "{}", JQBOX_OK, NULL);
	for (int i = 0; i < 4; i++)
		eval(&bad[i], "def f: f; f", "{}");
	for (int i = 0; i < 50; i++)
		eval(&good[i], "\"quick\"", "{}");
	for (int i = 0; i < 50; i++) {
		await(&good[i]);
		free(good[i].text);
	}
	/* Behind all four budgets, had they not been sent aside; one may be over there by now. */
	ck_assert_int_lt(bad[0].done + bad[1].done + bad[2].done + bad[3].done, 4);
	for (int i = 0; i < 4; i++) {
		await(&bad[i]);
		ck_assert_int_eq(bad[i].code, JQBOX_TIME);
		free(bad[i].text);
	}
}
END_TEST

/* A program that takes for ever with some documents: known, so its runs are aside. */
#define PERHAPS "def f: f; if . == 0 then f else . end"

/* One tenant's loopers: another's run aside waits for one of them, not for all. */
START_TEST(turns_aside)
{
	enum { N = 8 };
	struct want bad[N], good;
	int over = 0;
	expect(PERHAPS, "0", JQBOX_TIME, NULL);
	for (int i = 0; i < N; i++)
		eval_of(&bad[i], "looper", PERHAPS, "0");
	loop_turn(loop, 0);
	eval_of(&good, "other", PERHAPS, "7");
	await(&good);
	ck_assert_str_eq(good.text, "7");
	free(good.text);
	for (int i = 0; i < N; i++)
		over += bad[i].done;
	ck_assert_int_le(over, 1);
	for (int i = 0; i < N; i++) {
		await(&bad[i]);
		ck_assert_int_eq(bad[i].code, JQBOX_TIME);
		free(bad[i].text);
	}
}
END_TEST

/* … and there is a place for the other, in that line and beside it. */
START_TEST(places_aside)
{
	enum { N = 500 };
	static struct want bad[N];
	static struct jqbox_run *runs[N];
	struct want good;
	int refused = 0;
	expect(PERHAPS, "0", JQBOX_TIME, NULL);
	for (int i = 0; i < N; i++)
		runs[i] = eval_of(&bad[i], "looper", PERHAPS, "0");
	await(&bad[N - 1]);
	expect(".", "1", JQBOX_OK, "1");
	for (int i = 0; i < N; i++)
		refused += bad[i].done && bad[i].code == JQBOX_BUSY;
	ck_assert_int_ge(refused, N / 2);
	eval_of(&good, "other", PERHAPS, "7");
	for (int i = 1; i < N; i++) /* the first one runs */
		if (!bad[i].done)
			jqbox_cancel(runs[i]);
		else
			free(bad[i].text);
	await(&good);
	ck_assert_str_eq(good.text, "7");
	free(good.text);
	free(bad[0].text);
}
END_TEST

START_TEST(memory_hog)
{
	struct want bad, good;
	eval(&bad, "reduce range(100000000) as $i (\"0123456789\"; . + .)", "{}");
	eval(&good, ".", "1");
	await(&bad);
	ck_assert_msg(bad.code == JQBOX_MEMORY || bad.code == JQBOX_TIME ||
			  bad.code == JQBOX_CRASHED,
		      "%s", jqbox_code_name(bad.code));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	ck_assert_msg(bad.code != JQBOX_TIME, "the limit did not hold");
#endif
	await(&good);
	ck_assert_int_eq(good.code, JQBOX_OK);
	free(bad.text);
	free(good.text);
}
END_TEST

START_TEST(deep_recursion)
{
	struct want bad;
	eval(&bad, "reduce range(3000000) as $i (null; [.]) | tojson | length", "{}");
	await(&bad);
	ck_assert_int_ne(bad.code, JQBOX_OK);
	free(bad.text);
	expect(".", "1", JQBOX_OK, "1");
}
END_TEST

static int count_children(const char *comm, pid_t *first)
{
	DIR *dir = opendir("/proc");
	int n = 0;
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		char path[300], name[64] = "";
		int ppid = 0, pid = atoi(e->d_name);
		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		FILE *f = pid > 0 ? fopen(path, "r") : NULL;
		if (f == NULL)
			continue;
		char state = 0;
		int got = fscanf(f, "%*d (%63[^)]) %c %d", name, &state, &ppid);
		fclose(f);
		if (got != 3 || strcmp(name, comm) != 0 || state == 'Z')
			continue;
		if (strcmp(comm, "penstock-jqs") == 0 && ppid != getpid())
			continue;
		if (strcmp(comm, "penstock-jq") == 0) {
			pid_t nursery;
			if (count_children("penstock-jqs", &nursery) != 1 || nursery != ppid)
				continue;
		}
		n++;
		*first = pid;
	}
	closedir(dir);
	return n;
}

START_TEST(killed_from_outside)
{
	pid_t helper = 0;
	expect(".", "1", JQBOX_OK, "1");
	ck_assert_int_eq(count_children("penstock-jq", &helper), 1);
	struct want good[20];
	for (int i = 0; i < 20; i++)
		eval(&good[i], ".+1", "1");
	kill(helper, SIGKILL);
	for (int i = 0; i < 20; i++) {
		await(&good[i]);
		ck_assert_int_eq(good[i].code, JQBOX_OK);
		free(good[i].text);
	}
}
END_TEST

START_TEST(children_go_with_us)
{
	pid_t helper = 0, nursery = 0;
	expect(".", "1", JQBOX_OK, "1");
	ck_assert_int_eq(count_children("penstock-jq", &helper), 1);
	ck_assert_int_eq(count_children("penstock-jqs", &nursery), 1);
	teardown();
	double until = now_s() + 10;
	while (kill(helper, 0) == 0 && now_s() < until)
		sched_yield();
	ck_assert_int_ne(kill(nursery, 0), 0);
	ck_assert_int_ne(kill(helper, 0), 0);
	setup();
}
END_TEST

START_TEST(cancelled)
{
	struct want never = {0}, also = {0};
	struct jqbox_run *run = eval_of(&never, "acme", ".", "1");
	jqbox_cancel(run); /* not sent yet */
	run = eval_of(&also, "acme", "def f: f; f", "1");
	loop_turn(loop, 0);
	loop_turn(loop, 0);
	jqbox_cancel(run); /* running */
	expect(".", "5", JQBOX_OK, "5");
	struct jqbox_stats stats;
	double until = now_s() + 30;
	do {
		loop_turn(loop, 50000);
		jqbox_stats(box, &stats);
	} while (stats.queued > 0 && now_s() < until);
	ck_assert_uint_eq(stats.queued, 0);
	ck_assert_int_eq(never.done + also.done, 0);
}
END_TEST

START_TEST(bounded)
{
	enum { N = 600 };
	static struct want all[N];
	for (int i = 0; i < N; i++)
		eval(&all[i], ".", "1");
	int busy = 0;
	for (int i = 0; i < N; i++) {
		await(&all[i]);
		busy += all[i].code == JQBOX_BUSY;
		free(all[i].text);
	}
	ck_assert_int_eq(busy, 100);
	char *large = xmalloc(5 << 20);
	memset(large, ' ', 5 << 20);
	struct want want = {0};
	jqbox_eval(box, "acme", ".", large, 5 << 20, on_result, &want);
	await(&want);
	ck_assert_int_eq(want.code, JQBOX_BUSY);
	free(want.text);
	free(large);
}
END_TEST

/* More programs than a helper keeps. */
START_TEST(programs_come_and_go)
{
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 20; i++) {
			char program[16], result[16];
			snprintf(program, sizeof(program), ".+%d", i);
			snprintf(result, sizeof(result), "%d", i + 1);
			expect(program, "1", JQBOX_OK, result);
		}
	}
}
END_TEST

START_TEST(several_helpers)
{
	teardown();
	setup_with(3, 16);
	static struct want all[300];
	for (int i = 0; i < 300; i++)
		eval(&all[i], ".*2", "21");
	for (int i = 0; i < 300; i++) {
		await(&all[i]);
		ck_assert_str_eq(all[i].text, "42");
		free(all[i].text);
	}
}
END_TEST

/* With JQBOX_BENCH set: how many a second, 200 at a time. */
START_TEST(speed)
{
	const char *env = getenv("JQBOX_BENCH");
	int n = env != NULL ? atoi(env) : 2000, width = 200;
	const char *input =
	    "{\"input\":{\"n\":1,\"text\":\"hello world, this is some text\"},\"stages\":"
	    "{\"x\":{\"k\":[1,2,3]}},\"task\":{\"id\":\"b2f5\",\"tenant\":\"t\","
	    "\"pipeline\":\"p\",\"version\":1}}";
	static struct want all[200];
	expect(".input + {a: .stages.x}", input, JQBOX_OK, NULL);
	double start = now_s();
	clock_t cpu = clock();
	for (int at = 0; at < n; at += width) {
		for (int i = 0; i < width; i++)
			eval(&all[i], ".input + {a: .stages.x}", input);
		for (int i = 0; i < width; i++) {
			await(&all[i]);
			ck_assert_int_eq(all[i].code, JQBOX_OK);
			free(all[i].text);
		}
	}
	double s = now_s() - start;
	if (env != NULL)
		fprintf(stderr, "%.0f runs/s, %.1f us of ours each\n", n / s,
			(double)(clock() - cpu) / CLOCKS_PER_SEC * 1e6 / n);
	ck_assert(s > 0);
}
END_TEST

int main(void)
{
	setenv("PENSTOCK_TEST_SECRET", "hush", 1);
	Suite *suite = suite_create("jqbox");
	TCase *tc = tcase_create("jqbox");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, results);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, nothing_to_see);
	tcase_add_test(tc, loop_for_ever);
	tcase_add_test(tc, known_looper_stays_aside);
	tcase_add_test(tc, many_loopers);
	tcase_add_test(tc, turns_aside);
	tcase_add_test(tc, places_aside);
	tcase_add_test(tc, memory_hog);
	tcase_add_test(tc, deep_recursion);
	tcase_add_test(tc, killed_from_outside);
	tcase_add_test(tc, children_go_with_us);
	tcase_add_test(tc, cancelled);
	tcase_add_test(tc, bounded);
	tcase_add_test(tc, programs_come_and_go);
	tcase_add_test(tc, several_helpers);
	tcase_add_test(tc, speed);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
