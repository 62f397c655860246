/* The projection: sequences of transitions and the task that comes out of them. */
#include <string.h>

#include "common/json.h"
#include "services/event-store/project.h"
#include "tests/unit/common/suite.h"

#define EPOCH 7

struct step {
	uint64_t seq;
	const char *type, *data;
};

static bool apply(struct project_task *t, uint64_t epoch, const char *tenant, const struct step *s)
{
	struct project_event e = {.epoch = epoch,
				  .seq = s->seq,
				  .time_us = (int64_t)s->seq * 1000000,
				  .tenant = tenant,
				  .channel = "task.t1",
				  .type = s->type,
				  .data = s->data,
				  .len = strlen(s->data)};
	return project_apply(t, &e);
}

static void apply_all(struct project_task *t, const struct step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		apply(t, EPOCH, "acme", &steps[i]);
}

/* The task's JSON holds all that `wanted` says (objects by member, arrays by index). */
static bool holds(const json_t *have, const json_t *wanted)
{
	const char *name;
	json_t *value;
	size_t i;

	if (json_is_object(wanted)) {
		json_object_foreach(
		    (json_t *)wanted, name,
		    value) if (!holds(json_object_get(have, name), value)) return false;
		return json_is_object(have);
	}
	if (json_is_array(wanted)) {
		json_array_foreach(wanted, i,
				   value) if (!holds(json_array_get(have, i), value)) return false;
		return json_array_size(have) == json_array_size(wanted);
	}
	if (json_is_null(wanted)) /* absent is as good */
		return !have || json_is_null(have);
	return json_equal(have, wanted);
}

static void check_holds(const struct project_task *t, const char *wanted)
{
	struct error err = {0};
	json_t *want = json_parse(wanted, strlen(wanted), &err), *have = project_json(t);

	ck_assert_msg(want, "%s", err.msg);
	char *text = json_text(have, NULL);
	ck_assert_msg(holds(have, want), "%s\ndoes not hold\n%s", text, wanted);
	free(text);
	json_decref(want);
	json_decref(have);
}

#define ACCEPTED                                                                                   \
	{                                                                                          \
		1, "task.accepted",                                                                \
		    "{\"task\":\"t1\",\"pipeline\":\"p\",\"version\":3,\"input\":{\"q\":1},"       \
		    "\"priority\":0,\"deadline_at\":99}"                                           \
	}
#define STARTED                                                                                    \
	{                                                                                          \
		2, "task.started", "{\"task\":\"t1\",\"worker\":\"w1\",\"claim\":5,\"run\":1}"     \
	}
#define STAGE_STARTED                                                                              \
	{                                                                                          \
		3, "task.stage.started",                                                           \
		    "{\"task\":\"t1\",\"stage\":\"a\",\"kind\":\"chat\",\"attempt\":1,"            \
		    "\"worker\":\"w1\",\"model\":\"m\"}"                                           \
	}

static const struct {
	const char *name;
	struct step steps[10];
	const char *wanted;
} table[] = {
    {"accepted only",
     {ACCEPTED},
     "{\"task\":\"t1\",\"tenant\":\"acme\",\"pipeline\":\"p\",\"version\":3,\"state\":\"accepted\","
     "\"created_at\":1000,\"started_at\":null,\"finished_at\":null,\"deadline_at\":99,"
     "\"input\":{\"q\":1},\"output\":null,\"error\":null,\"stages\":[],\"worker\":null,"
     "\"offset\":1}"},
    {"running",
     {ACCEPTED, STARTED, STAGE_STARTED},
     "{\"state\":\"running\",\"started_at\":2000,\"worker\":\"w1\",\"run\":1,\"offset\":3,"
     "\"stages\":[{\"id\":\"a\",\"kind\":\"chat\",\"state\":\"running\",\"attempt\":1,"
     "\"worker\":\"w1\",\"model\":\"m\",\"started_at\":3000}]}"},
    {"completed",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {4, "task.stage.completed",
       "{\"stage\":\"a\",\"kind\":\"chat\",\"attempt\":1,\"worker\":\"w1\",\"output\":{\"x\":1},"
       "\"duration_ms\":12,\"model\":\"m2\",\"latency_ms\":11,\"first_token_ms\":4,"
       "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,\"total_tokens\":5}}"},
      {5, "task.completed", "{\"output\":[1,2.50],\"usage\":{\"total_tokens\":5}}"}},
     "{\"state\":\"completed\",\"finished_at\":5000,\"output\":[1,2.5],"
     "\"usage\":{\"total_tokens\":5},\"stages\":[{\"id\":\"a\",\"state\":\"completed\","
     "\"model\":\"m2\",\"latency_ms\":11,\"first_token_ms\":4,\"duration_ms\":12,"
     "\"started_at\":3000,\"finished_at\":4000,\"usage\":{\"total_tokens\":5}}],\"attempts\":1}"},
    {"usage adds up while it runs",
     {ACCEPTED,
      {2, "task.stage.completed", "{\"stage\":\"a\",\"usage\":{\"total_tokens\":5}}"},
      {3, "task.stage.completed", "{\"stage\":\"b\",\"usage\":{\"total_tokens\":6}}"}},
     "{\"usage\":{\"total_tokens\":11},\"state\":\"running\"}"},
    {"retried, then another worker",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {4, "task.stage.failed",
       "{\"stage\":\"a\",\"attempt\":1,\"worker\":\"w1\",\"reason\":\"timeout\","
       "\"message\":\"slow\",\"final\":false,\"retry_at\":77}"},
      {5, "task.started", "{\"worker\":\"w2\",\"claim\":5,\"run\":2}"},
      {6, "task.stage.started",
       "{\"stage\":\"a\",\"kind\":\"chat\",\"attempt\":2,\"worker\":\"w2\"}"}},
     "{\"state\":\"running\",\"run\":2,\"worker\":\"w2\",\"attempts\":2,\"started_at\":2000,"
     "\"stages\":[{\"state\":\"running\",\"attempt\":2,\"worker\":\"w2\",\"started_at\":6000,"
     "\"error\":null,\"retry_at\":null}]}"},
    {"waits for its retry",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {4, "task.stage.failed",
       "{\"stage\":\"a\",\"attempt\":1,\"reason\":\"timeout\",\"message\":\"slow\","
       "\"final\":false,\"retry_at\":77}"}},
     "{\"state\":\"running\",\"stages\":[{\"state\":\"retrying\",\"retry_at\":77,"
     "\"error\":{\"reason\":\"timeout\",\"message\":\"slow\"}}]}"},
    {"skipped",
     {ACCEPTED,
      STARTED,
      {4, "task.stage.skipped", "{\"stage\":\"a\",\"kind\":\"chat\"}"},
      {5, "task.completed", "{\"output\":null}"}},
     "{\"state\":\"completed\",\"stages\":[{\"state\":\"skipped\",\"kind\":\"chat\"}]}"},
    {"parked and back",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {4, "task.parked", "{\"stage\":\"a\",\"reason\":\"lease\",\"not_before\":88}"}},
     "{\"state\":\"parked\",\"release_at\":88,"
     "\"stages\":[{\"state\":\"parked\",\"not_before\":88}]}"},
    {"released",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {4, "task.parked", "{\"stage\":\"a\",\"not_before\":88}"},
      {5, "task.started", "{\"run\":2}"}},
     "{\"state\":\"running\",\"run\":2,\"release_at\":null}"},
    {"delayed",
     {{1, "task.accepted",
       "{\"pipeline\":\"p\",\"input\":1,\"not_before\":88,\"deadline_at\":90}"}},
     "{\"state\":\"parked\",\"release_at\":88,\"not_before\":88,\"started_at\":null,\"stages\":[]"
     "}"},
    {"delayed, and accepted again when the stream had forgotten it",
     {{1, "task.accepted", "{\"not_before\":88}"}, {5, "task.accepted", "{\"not_before\":88}"}},
     "{\"state\":\"parked\",\"release_at\":88,\"not_before\":88}"},
    {"delayed, and begun",
     {{1, "task.accepted", "{\"not_before\":88}"}, STARTED},
     "{\"state\":\"running\",\"release_at\":null,\"not_before\":null,\"started_at\":2000}"},
    {"delayed, and cancelled",
     {{1, "task.accepted", "{\"not_before\":88}"}, {5, "task.cancelled", "{}"}},
     "{\"state\":\"cancelled\",\"release_at\":null,\"not_before\":null}"},
    {"parked until nobody knows when",
     {ACCEPTED, {4, "task.parked", "{\"not_before\":\"soon\"}"}},
     "{\"state\":\"parked\",\"release_at\":4000}"},
    {"parked beyond its deadline",
     {{1, "task.accepted", "{\"pipeline\":\"p\",\"deadline_at\":70}"},
      {4, "task.parked", "{\"not_before\":88}"}},
     "{\"state\":\"parked\",\"release_at\":70}"},
    {"cancelled while it was parked",
     {ACCEPTED, {4, "task.parked", "{\"not_before\":88}"}, {5, "task.cancelled", "{}"}},
     "{\"state\":\"cancelled\",\"release_at\":null}"},
    {"redriven",
     {{1, "task.accepted", "{\"pipeline\":\"p\",\"deadline_at\":70}"},
      STARTED,
      STAGE_STARTED,
      {5, "task.failed", "{\"stage\":\"a\",\"reason\":\"r\",\"message\":\"m\"}"},
      {6, "task.redriven", "{\"redrive_gen\":1,\"by\":\"op\"}"}},
     "{\"state\":\"parked\",\"release_at\":6000,\"redrive_gen\":1,\"error\":null,"
     "\"finished_at\":null,\"deadline_at\":null,\"stages\":[{\"state\":\"parked\"}]}"},
    {"redriven twice",
     {ACCEPTED,
      {2, "task.expired", "{}"},
      {3, "task.redriven", "{}"},
      {4, "task.started", "{\"run\":1}"},
      {5, "task.failed", "{\"reason\":\"r\"}"},
      {6, "task.redriven", "{}"}},
     "{\"state\":\"parked\",\"redrive_gen\":2,\"error\":null}"},
    {"no redrive of what was cancelled",
     {ACCEPTED, {2, "task.cancelled", "{}"}, {3, "task.redriven", "{}"}},
     "{\"state\":\"cancelled\",\"finished_at\":2000,\"redrive_gen\":null}"},
    {"failed",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {4, "task.stage.failed",
       "{\"stage\":\"a\",\"attempt\":1,\"reason\":\"r\",\"message\":\"m\",\"final\":true}"},
      {5, "task.failed", "{\"stage\":\"a\",\"reason\":\"r\",\"message\":\"m\"}"}},
     "{\"state\":\"failed\",\"error\":{\"stage\":\"a\",\"reason\":\"r\",\"message\":\"m\"},"
     "\"stages\":[{\"state\":\"failed\"}]}"},
    {"cancelled while a stage ran",
     {ACCEPTED, STARTED, STAGE_STARTED, {4, "task.cancelled", "{\"by\":\"k1\"}"}},
     "{\"state\":\"cancelled\",\"finished_at\":4000,\"stages\":[{\"state\":\"cancelled\"}],"
     "\"error\":{\"reason\":\"cancelled\",\"message\":\"cancelled by k1\"}}"},
    {"expired",
     {ACCEPTED, {2, "task.expired", "{}"}},
     "{\"state\":\"expired\",\"error\":{\"reason\":\"expired\"}}"},
    {"nothing after the end",
     {ACCEPTED, {2, "task.cancelled", "{\"by\":\"k1\"}"}, {3, "task.completed", "{\"output\":1}"}},
     "{\"state\":\"cancelled\",\"output\":null,\"finished_at\":2000,\"offset\":3}"},
    {"twice and late ones change nothing",
     {ACCEPTED,
      STARTED,
      STAGE_STARTED,
      ACCEPTED,
      STARTED,
      STAGE_STARTED,
      {2, "task.completed", "{}"}},
     "{\"state\":\"running\",\"attempts\":1,\"offset\":3}"},
    {"begins in the middle",
     {{9, "task.stage.started", "{\"stage\":\"b\",\"attempt\":4}"}},
     "{\"state\":\"running\",\"pipeline\":\"\",\"stages\":[{\"id\":\"b\",\"attempt\":4}]}"},
    {"nonsense in the data",
     {ACCEPTED,
      {2, "task.stage.started", "{\"stage\":5}"},
      {3, "task.stage.completed", "not JSON"},
      {4, "task.started", "[]"},
      {5, "task.of.the.future", "{}"}},
     "{\"state\":\"running\",\"stages\":[],\"offset\":5}"},
};

START_TEST(sequences)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct project_task t = {0};
		size_t n = 0;
		while (n < 10 && table[i].steps[n].type)
			n++;
		apply_all(&t, table[i].steps, n);
		check_holds(&t, table[i].wanted);
		project_done(&t);
	}
}
END_TEST

/* However often a prefix is folded in again, the end is the same. */
START_TEST(resume_anywhere)
{
	const struct step *steps = table[2].steps;

	for (size_t known = 0; known <= 5; known++) {
		for (size_t from = 0; from <= known; from++) {
			struct project_task t = {0};
			apply_all(&t, steps, known);
			apply_all(&t, steps + from, 5 - from);
			check_holds(&t, table[2].wanted);
			project_done(&t);
		}
	}
}
END_TEST

START_TEST(another_tenant_is_ignored)
{
	struct project_task t = {0};
	const struct step *s = table[2].steps;

	ck_assert(apply(&t, EPOCH, "acme", &s[0]));
	ck_assert(!apply(&t, EPOCH, "evil", &s[1]));
	ck_assert_int_eq(t.state, PROJECT_ACCEPTED);
	project_done(&t);
}
END_TEST

START_TEST(a_new_life_of_the_stream)
{
	struct project_task t = {0};
	const struct step *s = table[2].steps;

	apply(&t, EPOCH, "acme", &s[0]);
	apply(&t, EPOCH, "acme", &s[2]);
	/* Lower sequences, but later. */
	ck_assert(
	    apply(&t, EPOCH + 1, "acme", &(struct step){2, "task.completed", "{\"output\":1}"}));
	ck_assert_int_eq(t.state, PROJECT_COMPLETED);
	ck_assert_uint_eq(t.first_seq, 2);
	/* And what is left of the old life comes too late. */
	ck_assert(!apply(&t, EPOCH, "acme", &(struct step){50, "task.failed", "{}"}));
	project_done(&t);
}
END_TEST

START_TEST(names)
{
	ck_assert(project_is_transition("task.x", "task.accepted"));
	ck_assert(!project_is_transition("task.x", "chat"));
	ck_assert(!project_is_transition("room", "task.accepted"));
	ck_assert_ptr_null(project_task_of("task."));
	ck_assert_str_eq(project_task_of("task.x.y"), "x.y");
	for (int s = PROJECT_ACCEPTED; s <= PROJECT_EXPIRED; s++)
		ck_assert_int_eq(project_state_parse(project_state_name((enum project_state)s)), s);
	ck_assert_int_eq(project_state_parse("none"), PROJECT_NONE);
}
END_TEST

START_TEST(spans)
{
	struct project_task t = {0};
	struct error err;
	static const char wanted[] =
	    "[{\"name\":\"task\",\"start_ms\":0,\"duration_ms\":4000,\"state\":\"completed\"},"
	    "{\"name\":\"queued\",\"start_ms\":0,\"duration_ms\":1000},"
	    "{\"name\":\"stage\",\"stage\":\"a\",\"start_ms\":2000,\"duration_ms\":1000}]";
	json_t *want = json_parse(wanted, strlen(wanted), &err);

	apply_all(&t, table[2].steps, 5);
	json_t *have = project_spans(&t);
	ck_assert(holds(have, want));
	json_decref(have);
	json_decref(want);
	project_done(&t);
}
END_TEST

RUN_TESTS("project", sequences, resume_anywhere, another_tenant_is_ignored,
	  a_new_life_of_the_stream, names, spans)
