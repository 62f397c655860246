/* The stage kind publish: the command of an input, the outcome of an answer. */
#include <stdlib.h>
#include <string.h>

#include "proto/command.pb-c.h"
#include "services/orchestrator-worker/publish.h"
#include "tests/unit/common/suite.h"

static Penstock__Command *command_of(const char *input, struct error *err)
{
	struct strbuf b = {0};
	struct exec_call call = {.tenant = "acme",
				 .task = "0f0f0f0f-0000-8000-8000-000000000001",
				 .stage = "say",
				 .attempt = 3,
				 .input = input,
				 .len = strlen(input),
				 .trace = "00-x",
				 .depth = 3};
	Penstock__Command *c = NULL;
	if (publish_command(&call, &b, err) == 0)
		c = penstock__command__unpack(NULL, b.len, (uint8_t *)b.data);
	strbuf_done(&b);
	return c;
}

START_TEST(command)
{
	struct error err;
	Penstock__Command *c = command_of(
	    "{\"channel\":\"room.1\",\"type\":\"note\",\"data\":{\"a\":[1]},\"version\":2}", &err);
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->tenant, "acme");
	ck_assert_str_eq(c->principal, "task:0f0f0f0f-0000-8000-8000-000000000001");
	ck_assert_str_eq(c->trace, "00-x");
	ck_assert_uint_eq(c->depth, 3);
	ck_assert_str_eq(c->publish->channel, "room.1");
	ck_assert_str_eq(c->publish->type, "note");
	ck_assert_uint_eq(c->publish->version, 2);
	/* The same for every attempt: that is what makes it one event. */
	ck_assert_str_eq(c->publish->key, "0f0f0f0f-0000-8000-8000-000000000001/say");
	ck_assert_int_eq(memcmp(c->publish->data.data, "{\"a\":[1]}", 9), 0);
	penstock__command__free_unpacked(c, NULL);
	c = command_of("{\"channel\":\"r\",\"type\":\"t\"}", &err);
	ck_assert_int_eq(memcmp(c->publish->data.data, "null", 4), 0);
	penstock__command__free_unpacked(c, NULL);
}
END_TEST

START_TEST(bad_inputs)
{
	static const char *const bad[][2] = {
	    {"\"text\"", "object"},
	    {"{\"type\":\"t\"}", "channel"},
	    {"{\"channel\":\"r\"}", "type"},
	    {"{\"channel\":\"r\",\"type\":\"t\",\"key\":\"k\"}", "key"},
	    {"{\"channel\":\"r\",\"type\":\"t\",\"version\":-1}", "version"},
	    {"{", ""}};
	struct error err;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_ptr_null(command_of(bad[i][0], &err));
		ck_assert_msg(strstr(err.msg, bad[i][1]) != NULL, "%s", err.msg);
	}
}
END_TEST

static void answer(struct publish_answer *a, const Penstock__Reply *r)
{
	size_t len = penstock__reply__get_packed_size(r);
	uint8_t *bytes = xmalloc(len + 1);
	penstock__reply__pack(r, bytes);
	publish_answer(a, bytes, len);
	free(bytes);
}

START_TEST(answers)
{
	struct publish_answer a;
	Penstock__Reply r = PENSTOCK__REPLY__INIT;
	Penstock__Accepted ok = PENSTOCK__ACCEPTED__INIT;
	Penstock__Refused no = PENSTOCK__REFUSED__INIT;
	ok.event_id = (char *)"e1";
	ok.channel = (char *)"room.1";
	ok.offset = 7;
	ok.duplicate = true;
	r.body_case = PENSTOCK__REPLY__BODY_ACCEPTED;
	r.accepted = &ok;
	answer(&a, &r);
	ck_assert_int_eq(a.outcome.class, OUTCOME_OK);
	ck_assert_str_eq(
	    a.outcome.text,
	    "{\"event_id\":\"e1\",\"channel\":\"room.1\",\"offset\":7,\"duplicate\":true}");
	publish_answer_done(&a);

	static const struct {
		const char *code;
		bool temporary;
		enum saga_class class;
	} refusals[] = {{"rate_limited", true, OUTCOME_THROTTLED},
			{"unavailable", true, OUTCOME_RETRY},
			{"schema_invalid", false, OUTCOME_FINAL}};
	r.body_case = PENSTOCK__REPLY__BODY_REFUSED;
	r.refused = &no;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		no.code = (char *)refusals[i].code;
		no.message = (char *)"words";
		no.temporary = refusals[i].temporary;
		no.retry_after_ms = 50;
		answer(&a, &r);
		ck_assert_int_eq(a.outcome.class, refusals[i].class);
		ck_assert_str_eq(a.outcome.reason, refusals[i].code);
		ck_assert_str_eq(a.outcome.message, "words");
		ck_assert_int_eq(a.outcome.retry_after_ms, 50);
		publish_answer_done(&a);
	}
	publish_answer(&a, NULL, 0); /* none came */
	ck_assert_int_eq(a.outcome.class, OUTCOME_RETRY);
	publish_answer_done(&a);
	publish_answer(&a, "\xff\xff", 2);
	ck_assert_int_eq(a.outcome.class, OUTCOME_RETRY);
	publish_answer_done(&a);
}
END_TEST

RUN_TESTS("publish", command, bad_inputs, answers)
