/* The door: a table of commands and what becomes of them; limits in exact milliseconds; the JSON
 * check. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/rng.h"
#include "services/router/admit.h"
#include "services/router/admit_json.h"

#define S       INT64_C(1000000000)
#define TASK_ID "6d0f2b54-8f6a-8c7e-9a3b-0123456789ab"

static struct tenant acme(void)
{
	return (struct tenant){.id = "acme",
			       .active = true,
			       .weight = 1,
			       .limits = {.events_per_s = 100,
					  .burst = 200,
					  .bytes_per_s = 100000,
					  .tasks_running = 10,
					  .tasks_queued = 10,
					  .mode = LIMIT_ENFORCE}};
}

static void set_data(ProtobufCBinaryData *d, const char *text)
{
	d->data = (uint8_t *)text;
	d->len = strlen(text);
}

struct sample {
	Penstock__Command cmd;
	Penstock__Publish publish;
	Penstock__SubmitTask task;
	Penstock__CancelTask cancel;
	struct tenant tenant;
	struct event_type type;
	struct pipeline pipeline;
	struct admit_facts facts;
	struct admit_state state;
	json_t *versions;
};

static void base(struct sample *s)
{
	memset(s, 0, sizeof(*s));
	penstock__command__init(&s->cmd);
	penstock__publish__init(&s->publish);
	penstock__submit_task__init(&s->task);
	penstock__cancel_task__init(&s->cancel);
	s->tenant = acme();
	s->versions = json_loads("{\"1\":{\"state\":\"deprecated\"},\"2\":{\"state\":\"retired\"},"
				 "\"3\":{\"state\":\"active\"},\"4\":{\"state\":\"draft\"}}",
				 0, NULL);
	s->type = (struct event_type){.tenant = "acme",
				      .type = "chat.message",
				      .class = CLASS_DURABLE,
				      .latest = 3,
				      .versions = s->versions};
	s->pipeline = (struct pipeline){.name = "summary", .version = 7};
	s->facts = (struct admit_facts){.tenant = &s->tenant,
					.type = &s->type,
					.pipeline = &s->pipeline,
					.data_max = 1000,
					.input_max = 2000,
					.now_ns = 100 * S};
	s->cmd.id = (char *)"c1";
	s->cmd.tenant = (char *)"acme";
}

static void as_publish(struct sample *s)
{
	base(s);
	s->publish.channel = (char *)"room.7";
	s->publish.type = (char *)"chat.message";
	set_data(&s->publish.data, "{\"text\":\"hi\"}");
	s->cmd.body_case = PENSTOCK__COMMAND__BODY_PUBLISH;
	s->cmd.publish = &s->publish;
}

static void as_task(struct sample *s)
{
	base(s);
	s->task.pipeline = (char *)"summary";
	s->task.key = (char *)"k1";
	set_data(&s->task.input, "[1,2]");
	s->cmd.body_case = PENSTOCK__COMMAND__BODY_TASK;
	s->cmd.task = &s->task;
}

static void as_cancel(struct sample *s)
{
	base(s);
	s->cancel.task = (char *)TASK_ID;
	s->cmd.body_case = PENSTOCK__COMMAND__BODY_CANCEL;
	s->cmd.cancel = &s->cancel;
}

static struct admit_result go(struct sample *s)
{
	return admit_command(&s->cmd, &s->facts, &s->state);
}

static void quota_is(struct sample *s, int64_t limit, int64_t window_s, int64_t left,
		     int64_t reset_s)
{
	struct admit_quota q = admit_quota(&s->tenant.limits, &s->state, s->facts.now_ns);
	ck_assert_int_eq(q.limit, limit);
	ck_assert_int_eq(q.window_s, window_s);
	ck_assert_int_eq(q.remaining, left);
	ck_assert_int_eq(q.reset_s, reset_s);
}

START_TEST(quotas)
{
	struct sample s;
	as_publish(&s);
	s.tenant.limits = (struct tenant_limits){.events_per_s = 10, .burst = 25};
	quota_is(&s, 30, 3, 25, 0); /* the burst comes back within three seconds */
	go(&s);
	quota_is(&s, 30, 3, 24, 1);
	for (int i = 0; i < 24; i++)
		go(&s);
	quota_is(&s, 30, 3, 0, 3);
	ck_assert_int_eq(go(&s).action, ADMIT_REFUSE);
	quota_is(&s, 30, 3, 0, 3);
	s.facts.now_ns += S / 2;
	quota_is(&s, 30, 3, 5, 2);
	/* A burst below the rate: never more than that at once, but the rate in the long run. */
	s.tenant.limits.burst = 4;
	s.state = (struct admit_state){0};
	quota_is(&s, 10, 1, 4, 0);
	s.tenant.limits.burst = s.tenant.limits.events_per_s = INT64_MAX;
	quota_is(&s, INT64_C(999999999999999), 1, INT64_C(999999999999999), 0);
	s.tenant.limits.events_per_s = 1;
	ck_assert_int_eq(admit_quota(&s.tenant.limits, &s.state, 0).window_s, UINT32_MAX);
	/* No limit, or none that is enforced. */
	s.tenant.limits.mode = LIMIT_SHADOW;
	quota_is(&s, 0, 0, 0, 0);
	s.tenant.limits = (struct tenant_limits){0};
	quota_is(&s, 0, 0, 0, 0);
	json_decref(s.versions);
}
END_TEST

/* --- the table ------------------------------------------------------------------------------- */

static char long_text[400];
static char long_json[3000];

static void t_plain(struct sample *s)
{
	(void)s;
}
static void t_keyed(struct sample *s)
{
	s->publish.key = (char *)"order 17";
}
static void t_ephemeral(struct sample *s)
{
	s->type.class = CLASS_EPHEMERAL;
}
static void t_stream_class(struct sample *s)
{
	s->type.class = CLASS_STREAM;
}
static void t_old_version(struct sample *s)
{
	s->publish.version = 1;
}
static void t_retired_version(struct sample *s)
{
	s->publish.version = 2;
}
static void t_draft_version(struct sample *s)
{
	s->publish.version = 4;
}
static void t_no_version(struct sample *s)
{
	s->publish.version = 99;
}
static void t_nothing_active(struct sample *s)
{
	s->type.latest = 0;
}
static void t_no_tenant(struct sample *s)
{
	s->facts.tenant = NULL;
}
static void t_suspended(struct sample *s)
{
	s->tenant.active = false;
}
static void t_bad_tenant(struct sample *s)
{
	s->cmd.tenant = (char *)"a.b";
}
static void t_empty_tenant(struct sample *s)
{
	s->cmd.tenant = (char *)"";
}
static void t_no_id(struct sample *s)
{
	s->cmd.id = (char *)"";
}
static void t_long_id(struct sample *s)
{
	s->cmd.id = long_text;
}
static void t_bad_session(struct sample *s)
{
	s->cmd.session = (char *)"a\nb";
}
static void t_bad_principal(struct sample *s)
{
	s->cmd.principal = (char *)"\xff";
}
static void t_long_trace(struct sample *s)
{
	s->cmd.trace = long_text;
}
static void t_no_type(struct sample *s)
{
	s->facts.type = NULL;
}
static void t_bad_channel(struct sample *s)
{
	s->publish.channel = (char *)"room..7";
}
static void t_wild_channel(struct sample *s)
{
	s->publish.channel = (char *)"room.*";
}
static void t_bad_type(struct sample *s)
{
	s->publish.type = (char *)"";
}
static void t_task_channel(struct sample *s)
{
	s->publish.channel = (char *)"task.x";
}
static void t_task_type(struct sample *s)
{
	s->publish.type = (char *)"task.completed";
}
static void t_long_key(struct sample *s)
{
	s->publish.key = long_text;
	s->task.key = long_text;
}
static void t_too_large(struct sample *s)
{
	set_data(&s->publish.data, long_json);
	set_data(&s->task.input, long_json);
}
static void t_not_json(struct sample *s)
{
	set_data(&s->publish.data, "{\"a\":}");
	set_data(&s->task.input, "{\"a\":}");
}
static void t_no_data(struct sample *s)
{
	s->publish.data = s->task.input = (ProtobufCBinaryData){0, NULL};
}
static void t_no_pipeline(struct sample *s)
{
	s->facts.pipeline = NULL;
}
static void t_bad_pipeline(struct sample *s)
{
	s->task.pipeline = (char *)"a b";
}
static void t_bad_task(struct sample *s)
{
	s->cancel.task = (char *)"a.>";
}
static void t_empty_body(struct sample *s)
{
	s->cmd.body_case = PENSTOCK__COMMAND__BODY__NOT_SET;
}

static const struct row {
	const char *name;
	void (*kind)(struct sample *s);
	void (*change)(struct sample *s);
	enum admit_action action;
	unsigned version;
	const char *code, *scope;
} rows[] = {
    {"plain", as_publish, t_plain, ADMIT_PUBLISH_DURABLE, 3, NULL, NULL},
    {"keyed", as_publish, t_keyed, ADMIT_PUBLISH_DURABLE, 3, NULL, NULL},
    {"ephemeral", as_publish, t_ephemeral, ADMIT_PUBLISH_EPHEMERAL, 3, NULL, NULL},
    {"old version", as_publish, t_old_version, ADMIT_PUBLISH_DURABLE, 1, NULL, NULL},
    {"task", as_task, t_plain, ADMIT_TASK, 7, NULL, NULL},
    {"cancel", as_cancel, t_plain, ADMIT_CANCEL, 0, NULL, NULL},
    {"stream class", as_publish, t_stream_class, ADMIT_REFUSE, 0, "forbidden", "channel"},
    {"retired", as_publish, t_retired_version, ADMIT_REFUSE, 0, "unknown_type", "channel"},
    {"draft", as_publish, t_draft_version, ADMIT_REFUSE, 0, "unknown_type", "channel"},
    {"no version", as_publish, t_no_version, ADMIT_REFUSE, 0, "unknown_type", "channel"},
    {"none active", as_publish, t_nothing_active, ADMIT_REFUSE, 0, "unknown_type", "channel"},
    {"no tenant", as_publish, t_no_tenant, ADMIT_REFUSE, 0, "forbidden", "tenant"},
    {"suspended", as_publish, t_suspended, ADMIT_REFUSE, 0, "forbidden", "tenant"},
    {"suspended task", as_task, t_suspended, ADMIT_REFUSE, 0, "forbidden", "tenant"},
    {"suspended cancel", as_cancel, t_suspended, ADMIT_REFUSE, 0, "forbidden", "tenant"},
    {"bad tenant", as_publish, t_bad_tenant, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"empty tenant", as_cancel, t_empty_tenant, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"no id", as_publish, t_no_id, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"long id", as_publish, t_long_id, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"bad session", as_task, t_bad_session, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"bad principal", as_cancel, t_bad_principal, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"long trace", as_publish, t_long_trace, ADMIT_REFUSE, 0, "bad_request", "connection"},
    {"no type", as_publish, t_no_type, ADMIT_REFUSE, 0, "unknown_type", "channel"},
    {"bad channel", as_publish, t_bad_channel, ADMIT_REFUSE, 0, "bad_request", "channel"},
    {"wildcard", as_publish, t_wild_channel, ADMIT_REFUSE, 0, "bad_request", "channel"},
    {"bad type", as_publish, t_bad_type, ADMIT_REFUSE, 0, "bad_request", "channel"},
    {"task channel", as_publish, t_task_channel, ADMIT_REFUSE, 0, "forbidden", "channel"},
    {"task type", as_publish, t_task_type, ADMIT_REFUSE, 0, "forbidden", "channel"},
    {"long key", as_publish, t_long_key, ADMIT_REFUSE, 0, "bad_request", "channel"},
    {"long task key", as_task, t_long_key, ADMIT_REFUSE, 0, "bad_request", "tenant"},
    {"too large", as_publish, t_too_large, ADMIT_REFUSE, 0, "too_large", "channel"},
    {"too large input", as_task, t_too_large, ADMIT_REFUSE, 0, "too_large", "tenant"},
    {"not JSON", as_publish, t_not_json, ADMIT_REFUSE, 0, "bad_request", "channel"},
    {"input not JSON", as_task, t_not_json, ADMIT_REFUSE, 0, "bad_request", "tenant"},
    {"no data", as_publish, t_no_data, ADMIT_REFUSE, 0, "bad_request", "channel"},
    {"no input", as_task, t_no_data, ADMIT_REFUSE, 0, "bad_request", "tenant"},
    {"no pipeline", as_task, t_no_pipeline, ADMIT_REFUSE, 0, "not_found", "tenant"},
    {"bad pipeline", as_task, t_bad_pipeline, ADMIT_REFUSE, 0, "bad_request", "tenant"},
    {"bad task", as_cancel, t_bad_task, ADMIT_REFUSE, 0, "bad_request", "tenant"},
    {"no body", as_cancel, t_empty_body, ADMIT_REFUSE, 0, "bad_request", "connection"},
};
#define ROWS (sizeof(rows) / sizeof(*rows))

START_TEST(table)
{
	const struct row *row = &rows[_i];
	struct sample s;
	memset(long_text, 'x', sizeof(long_text) - 1);
	memset(long_json, '1', sizeof(long_json) - 1);
	row->kind(&s);
	row->change(&s);
	struct admit_result res = go(&s);
	ck_assert_msg(res.action == row->action, "%s: action %d, code %s", row->name, res.action,
		      res.refusal.code ? res.refusal.code : "-");
	ck_assert_int_eq(res.limited, ADMIT_LIMIT_NONE);
	if (row->action != ADMIT_REFUSE) {
		ck_assert_uint_eq(res.version, row->version);
		ck_assert_int_gt(s.state.events.tat_ns, 0);
	} else {
		ck_assert_str_eq(res.refusal.code, row->code);
		ck_assert_str_eq(res.refusal.scope, row->scope);
		ck_assert(!res.refusal.temporary);
		ck_assert_uint_eq(res.refusal.retry_after_ms, 0);
		/* What is refused for another reason costs nothing of the limits. */
		ck_assert_int_eq(s.state.events.tat_ns, 0);
		ck_assert_int_eq(s.state.bytes.tat_ns, 0);
	}
	json_decref(s.versions);
}
END_TEST

/* --- limits ---------------------------------------------------------------------------------- */

START_TEST(events_limit)
{
	struct sample s;
	as_publish(&s);
	for (int i = 0; i < 200; i++)
		ck_assert_int_eq(go(&s).action, ADMIT_PUBLISH_DURABLE);
	struct admit_result res = go(&s);
	ck_assert_int_eq(res.action, ADMIT_REFUSE);
	ck_assert_str_eq(res.refusal.code, "rate_limited");
	ck_assert_str_eq(res.refusal.limit, "tenant.events_per_s");
	ck_assert_str_eq(res.refusal.scope, "tenant");
	ck_assert(res.refusal.temporary);
	ck_assert_uint_eq(res.refusal.retry_after_ms, 10);
	ck_assert_int_eq(res.limited, ADMIT_LIMIT_EVENTS);
	/* Who waits as long as told gets in; not a moment earlier. */
	s.facts.now_ns += 10 * S / 1000 - 1;
	ck_assert_uint_eq(go(&s).refusal.retry_after_ms, 1);
	s.facts.now_ns += 1;
	ck_assert_int_eq(go(&s).action, ADMIT_PUBLISH_DURABLE);
	ck_assert_int_eq(go(&s).action, ADMIT_REFUSE);
	json_decref(s.versions);
}
END_TEST

START_TEST(all_kinds_share_the_limit)
{
	struct sample p, t, c;
	as_publish(&p);
	as_task(&t);
	as_cancel(&c);
	p.tenant.limits.burst = 3;
	ck_assert_int_eq(admit_command(&p.cmd, &p.facts, &p.state).action, ADMIT_PUBLISH_DURABLE);
	t.facts.tenant = c.facts.tenant = &p.tenant;
	ck_assert_int_eq(admit_command(&t.cmd, &t.facts, &p.state).action, ADMIT_TASK);
	ck_assert_int_eq(admit_command(&c.cmd, &c.facts, &p.state).action, ADMIT_CANCEL);
	p.type.class = CLASS_EPHEMERAL;
	ck_assert_str_eq(admit_command(&p.cmd, &p.facts, &p.state).refusal.code, "rate_limited");
	ck_assert_str_eq(admit_command(&t.cmd, &t.facts, &p.state).refusal.code, "rate_limited");
	ck_assert_str_eq(admit_command(&c.cmd, &c.facts, &p.state).refusal.code, "rate_limited");
	json_decref(p.versions);
	json_decref(t.versions);
	json_decref(c.versions);
}
END_TEST

START_TEST(bytes_limit)
{
	struct sample s;
	as_publish(&s);
	s.tenant.limits.bytes_per_s = 100;
	char data[] = "\"0123456789012345678901234567890123456789012345678\""; /* 51 bytes */
	set_data(&s.publish.data, data);
	ck_assert_int_eq(go(&s).action, ADMIT_PUBLISH_DURABLE);
	struct gcra events = s.state.events;
	struct admit_result res = go(&s);
	ck_assert_str_eq(res.refusal.code, "rate_limited");
	ck_assert_str_eq(res.refusal.limit, "tenant.bytes_per_s");
	ck_assert_uint_eq(res.refusal.retry_after_ms, 20);
	/* The other limit was not charged for it. */
	ck_assert_int_eq(s.state.events.tat_ns, events.tat_ns);
	json_decref(s.versions);
}
END_TEST

static void tokens_are(struct sample *s, int64_t tokens, bool pass, uint32_t retry_after_ms)
{
	struct admit_result res;
	ck_assert_int_eq(admit_tokens(&s->tenant.limits, &s->state, tokens, s->facts.now_ns, &res),
			 pass);
	ck_assert_int_eq(res.limited, pass ? ADMIT_LIMIT_NONE : ADMIT_LIMIT_TOKENS);
	if (pass)
		return;
	ck_assert_str_eq(res.refusal.code, "rate_limited");
	ck_assert_str_eq(res.refusal.limit, "tenant.tokens_per_min");
	ck_assert_uint_eq(res.refusal.retry_after_ms, retry_after_ms);
}

START_TEST(tokens_limit)
{
	struct sample s;
	as_task(&s);
	s.facts.now_ns = 1000;
	tokens_are(&s, INT64_C(1000000000), true, 0); /* there is no limit */
	s.tenant.limits.tokens_per_min = 600;
	tokens_are(&s, 500, true, 0);
	tokens_are(&s, 0, true, 0);
	tokens_are(&s, 150, false, 5000);
	tokens_are(&s, 100, true, 0);
	s.facts.now_ns += INT64_C(5000000000);
	tokens_are(&s, 50, true, 0);
	/* More than a minute has: when nothing is owed, and then it is owed. */
	tokens_are(&s, 6000, false, 60000);
	s.facts.now_ns += INT64_C(60000000000);
	tokens_are(&s, 6000, true, 0);
	tokens_are(&s, 1, false, 540100);
	tokens_are(&s, 0, true, 0);
	json_decref(s.versions);
}
END_TEST

static void settled(struct sample *s, int64_t charged, int64_t used)
{
	admit_tokens_settle(&s->tenant.limits, &s->state, charged, used, s->facts.now_ns);
}

START_TEST(tokens_settled)
{
	struct sample s;
	as_task(&s);
	s.facts.now_ns = S;
	settled(&s, 0, 1000); /* there is no limit */
	s.tenant.limits.tokens_per_min = 600;
	tokens_are(&s, 600, true, 0);
	settled(&s, 600, 100);
	tokens_are(&s, 500, true, 0);
	/* Given back twice, or too much: what is not owed is worth nothing. */
	settled(&s, 100000, 0);
	tokens_are(&s, 600, true, 0);
	tokens_are(&s, 1, false, 100);
	settled(&s, 100, 700);
	tokens_are(&s, 1, false, 60100);
	/* Whatever was used: ten minutes are owed, at most. */
	settled(&s, 0, 1000000000);
	settled(&s, 0, 1000000000);
	tokens_are(&s, 600, false, 600000);
	json_decref(s.versions);
}
END_TEST

START_TEST(tokens_in_shadow)
{
	struct sample s;
	struct admit_result res;
	as_task(&s);
	s.tenant.limits.mode = LIMIT_SHADOW;
	s.tenant.limits.tokens_per_min = 10;
	tokens_are(&s, 10, true, 0);
	ck_assert(admit_tokens(&s.tenant.limits, &s.state, 10, s.facts.now_ns, &res));
	ck_assert_int_eq(res.limited, ADMIT_LIMIT_TOKENS);
	json_decref(s.versions);
}
END_TEST

START_TEST(shadow_counts_and_lets_pass)
{
	struct sample s;
	as_publish(&s);
	s.tenant.limits.mode = LIMIT_SHADOW;
	s.tenant.limits.burst = 1;
	ck_assert_int_eq(go(&s).limited, ADMIT_LIMIT_NONE);
	struct admit_result res = go(&s);
	ck_assert_int_eq(res.action, ADMIT_PUBLISH_DURABLE);
	ck_assert_int_eq(res.limited, ADMIT_LIMIT_EVENTS);
	/* As if it had been refused: the next one in time is not over the limit. */
	s.facts.now_ns += S / 100;
	ck_assert_int_eq(go(&s).limited, ADMIT_LIMIT_NONE);
	json_decref(s.versions);
}
END_TEST

/* --- JSON ------------------------------------------------------------------------------------ */

static const struct {
	const char *text;
	bool ok;
} texts[] = {
    {"{}", true},
    {"[]", true},
    {" [ 1 , {\"a\" : null} ] ", true},
    {"\"\\u00e4\\ud83d\\ude00\\n\"", true},
    {"-0.5e+10", true},
    {"0", true},
    {"true", true},
    {"{\"a\":[{},[],\"\",1e9]}", true},
    {"\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"", true},
    {"", false},
    {" ", false},
    {"{", false},
    {"[1,]", false},
    {"{\"a\":1,}", false},
    {"{\"a\" 1}", false},
    {"{a:1}", false},
    {"[1 2]", false},
    {"[}", false},
    {"{]", false},
    {"1 1", false},
    {"01", false},
    {"-", false},
    {"1.", false},
    {"1e", false},
    {"+1", false},
    {"tru", false},
    {"nul", false},
    {"\"a", false},
    {"\"\\x\"", false},
    {"\"\\u12\"", false},
    {"\"\\u0000\"", false},
    {"\"\\ud83d\"", false},
    {"\"\\ude00\"", false},
    {"\"\\ud83d\\u0041\"", false},
    {"\"a\nb\"", false},
    {"\"\xff\"", false},
    {"\"\xc0\x80\"", false},
    {"\"\xed\xa0\x80\"", false},
    {"\"\xf4\x90\x80\x80\"", false},
    {"\"\xe2\x82\"", false},
    {"\xef\xbb\xbf{}", false},
    {"]", false},
    {",", false},
    {"NaN", false},
};
#define TEXTS (sizeof(texts) / sizeof(*texts))

START_TEST(json_texts)
{
	ck_assert_msg(admit_json_valid(texts[_i].text, strlen(texts[_i].text)) == texts[_i].ok,
		      "%s", texts[_i].text);
}
END_TEST

START_TEST(json_depth)
{
	char deep[2 * (ADMIT_JSON_DEPTH + 1)];
	memset(deep, '[', ADMIT_JSON_DEPTH);
	memset(deep + ADMIT_JSON_DEPTH, ']', ADMIT_JSON_DEPTH);
	ck_assert(admit_json_valid(deep, (size_t)2 * ADMIT_JSON_DEPTH));
	memset(deep, '[', ADMIT_JSON_DEPTH + 1);
	memset(deep + ADMIT_JSON_DEPTH + 1, ']', ADMIT_JSON_DEPTH + 1);
	ck_assert(!admit_json_valid(deep, (size_t)2 * (ADMIT_JSON_DEPTH + 1)));
}
END_TEST

/* Against the parser that the other services use, on mutated texts: what one takes the other takes,
 * but for repeated members (only the parser sees those) and numbers beyond a double. */
START_TEST(json_agrees)
{
	static const char *const seeds[] = {"{\"a\":[1,2.5,{\"b\":null}],\"c\":\"\\u00e4x\"}",
					    "[true,false,\"\xc3\xa4\",-1e3]",
					    "{\"x\":{\"y\":{\"z\":[[],{}]}}}"};
	struct rng rng;
	rng_seed(&rng, (uint64_t)_i + 99);
	for (int i = 0; i < 20000; i++) {
		char text[64];
		const char *seed = seeds[rng_below(&rng, 3)];
		size_t len = strlen(seed);
		memcpy(text, seed, len);
		for (uint64_t n = 1 + rng_below(&rng, 2); n > 0; n--)
			text[rng_below(&rng, len)] =
			    "{}[]\",:\\u0e1 tfn.-\x01\xc3\xa4\xff"[rng_below(&rng, 23)];
		struct error err;
		json_t *parsed = json_parse(text, len, &err);
		bool ours = admit_json_valid(text, len);
		if (parsed)
			ck_assert_msg(ours, "refused: %.*s", (int)len, text);
		else if (!strstr(err.msg, "duplicate") && !strstr(err.msg, "large") &&
			 !strstr(err.msg, "range") && !strstr(err.msg, "overflow"))
			ck_assert_msg(!ours, "taken: %.*s (%s)", (int)len, text, err.msg);
		json_decref(parsed);
	}
}
END_TEST

START_TEST(names)
{
	ck_assert(admit_text_valid("", 4));
	ck_assert(admit_text_valid("abcd", 4));
	ck_assert(!admit_text_valid("abcde", 4));
	ck_assert(admit_text_valid("\xc3\xa4", 4));
	ck_assert(!admit_text_valid("\xc3", 4));
	ck_assert(!admit_text_valid("a\x7f", 4));
	ck_assert(!admit_text_valid("\t", 4));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("admit");
	TCase *c = tcase_create("admit");
	tcase_add_loop_test(c, table, 0, (int)ROWS);
	tcase_add_test(c, events_limit);
	tcase_add_test(c, all_kinds_share_the_limit);
	tcase_add_test(c, bytes_limit);
	tcase_add_test(c, tokens_limit);
	tcase_add_test(c, tokens_settled);
	tcase_add_test(c, tokens_in_shadow);
	tcase_add_test(c, shadow_counts_and_lets_pass);
	tcase_add_loop_test(c, json_texts, 0, (int)TEXTS);
	tcase_add_test(c, json_depth);
	tcase_add_loop_test(c, json_agrees, 0, 5);
	tcase_add_test(c, names);
	tcase_add_test(c, quotas);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
