/* Every frame that the edge sends, byte for byte; and the problem documents of HTTP. */
#include "services/edge/frames.h"
#include "services/edge/problem.h"
#include "tests/unit/common/suite.h"

static struct frame_buf b;

static void is(const char *expected)
{
	ck_assert_str_eq(strbuf_str(&b.b), expected);
	strbuf_done(&b.b);
}

START_TEST(connected)
{
	frames_connected(&b, &(struct frame_connected){.session = "s1",
						       .tenant = "acme",
						       .edge = "edge-a",
						       .resume = "r.t",
						       .resume_ttl_ms = 120000,
						       .ping_ms = 25000,
						       .limits = {65536, 262144, 128, 256}});
	is("{\"op\":\"connected\",\"session\":\"s1\",\"tenant\":\"acme\",\"edge\":\"edge-a\","
	   "\"resume\":\"r.t\",\"resume_ttl_ms\":120000,\"ping_ms\":25000,\"limits\":{"
	   "\"frame_bytes\":65536,\"task_input_bytes\":262144,\"subscriptions\":128,"
	   "\"commands_in_flight\":256}}");
}
END_TEST

START_TEST(subscriptions)
{
	frames_subscribed(&b, "\"7\"", "room.7", "0005f5e100000000", UINT64_MAX, true);
	is("{\"op\":\"subscribed\",\"id\":\"7\",\"channel\":\"room.7\",\"epoch\":"
	   "\"0005f5e100000000\",\"offset\":18446744073709551615,\"recovered\":true}");
	frames_subscribed(&b, "", "r", "e", 0, false);
	is("{\"op\":\"subscribed\",\"channel\":\"r\",\"epoch\":\"e\",\"offset\":0,"
	   "\"recovered\":false}");
	frames_unsubscribed(&b, "7", "r");
	is("{\"op\":\"unsubscribed\",\"id\":7,\"channel\":\"r\"}");
}
END_TEST

START_TEST(events)
{
	struct event_view e = {.id = slice_of("e1"),
			       .tenant = slice_of("acme"),
			       .channel = slice_of("room.7"),
			       .type = slice_of("chat.said"),
			       .data = slice_of("{\"a\":1}"),
			       .trace = slice_of("00-t"),
			       .version = 3,
			       .time_us = 1700000000123456};

	frames_event(&b, &e, true, 42, 41);
	is("{\"op\":\"event\",\"channel\":\"room.7\",\"type\":\"chat.said\",\"version\":3,"
	   "\"event_id\":\"e1\",\"time\":\"2023-11-14T22:13:20.123456Z\",\"trace\":\"00-t\","
	   "\"offset\":42,\"prev\":41,\"data\":{\"a\":1}}");
	/* An ephemeral one has no position; empty data is null; text is escaped. */
	e.data = (struct slice){NULL, 0};
	e.trace = (struct slice){NULL, 0};
	e.type = slice_of("a\"\n\\");
	frames_event(&b, &e, false, 42, 41);
	is("{\"op\":\"event\",\"channel\":\"room.7\",\"type\":\"a\\\"\\n\\\\\",\"version\":3,"
	   "\"event_id\":\"e1\",\"time\":\"2023-11-14T22:13:20.123456Z\",\"trace\":\"\","
	   "\"data\":null}");
	e.replay = slice_of("p1");
	e.type = slice_of("t");
	frames_event(&b, &e, false, 42, 41);
	is("{\"op\":\"event\",\"channel\":\"room.7\",\"type\":\"t\",\"version\":3,"
	   "\"event_id\":\"e1\",\"time\":\"2023-11-14T22:13:20.123456Z\",\"trace\":\"\","
	   "\"replay\":\"p1\",\"data\":null}");
}
END_TEST

START_TEST(deltas)
{
	struct delta_view d = {.channel = slice_of("task.t1"),
			       .task = slice_of("t1"),
			       .stage = slice_of("draft"),
			       .data = slice_of("gr\xc3\xbc\xc3\x9f \"x\""),
			       .attempt = 2,
			       .index = 5};

	frames_delta(&b, &d);
	is("{\"op\":\"delta\",\"channel\":\"task.t1\",\"task\":\"t1\",\"stage\":\"draft\","
	   "\"attempt\":2,\"index\":5,\"data\":\"gr\xc3\xbc\xc3\x9f \\\"x\\\"\"}");
	d.reset = true;
	frames_delta(&b, &d);
	is("{\"op\":\"reset\",\"channel\":\"task.t1\",\"task\":\"t1\",\"stage\":\"draft\","
	   "\"attempt\":2}");
}
END_TEST

START_TEST(answers)
{
	struct frame_accepted a = {"e1", "room.7", "", 42, false};

	frames_accepted(&b, "1", &a);
	is("{\"op\":\"accepted\",\"id\":1,\"event_id\":\"e1\",\"channel\":\"room.7\",\"offset\":42,"
	   "\"duplicate\":false}");
	a = (struct frame_accepted){"e1", "task.t1", "t1", 42, true};
	frames_accepted_body(&b.b, &a);
	is("{\"event_id\":\"e1\",\"channel\":\"task.t1\",\"offset\":42,\"duplicate\":true,"
	   "\"task\":\"t1\"}");
	frames_pong(&b, "\"p\"");
	is("{\"op\":\"pong\",\"id\":\"p\"}");
	frames_pong(&b, NULL);
	is("{\"op\":\"pong\"}");
}
END_TEST

START_TEST(notices)
{
	frames_gap(&b, "room.7", 3, 9, "slow_consumer", true);
	is("{\"op\":\"gap\",\"channel\":\"room.7\",\"from\":3,\"to\":9,\"reason\":"
	   "\"slow_consumer\",\"replayable\":true}");
	frames_drain(&b, "http://127.0.0.1:1", 500, 10000, "shutdown");
	is("{\"op\":\"drain\",\"url\":\"http://127.0.0.1:1\",\"reconnect_after_ms\":500,"
	   "\"deadline_ms\":10000,\"reason\":\"shutdown\"}");
}
END_TEST

START_TEST(errors)
{
	struct frame_error e = {.code = "conflict", .message = "no \"x\""};

	frames_error(&b, NULL, &e);
	is("{\"op\":\"error\",\"code\":\"conflict\",\"message\":\"no \\\"x\\\"\",\"scope\":"
	   "\"connection\",\"temporary\":false}");
	e = (struct frame_error){.code = "rate_limited",
				 .message = "m",
				 .scope = "tenant",
				 .temporary = true,
				 .retry_after_ms = 250,
				 .limit = "tenant.events_per_s"};
	frames_error(&b, "7", &e);
	is("{\"op\":\"error\",\"id\":7,\"code\":\"rate_limited\",\"message\":\"m\",\"scope\":"
	   "\"tenant\",\"temporary\":true,\"retry_after_ms\":250,\"details\":{\"limit\":"
	   "\"tenant.events_per_s\"}}");
}
END_TEST

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

START_TEST(problems)
{
	struct frame_error e = {.code = "rate_limited",
				.message = "m",
				.scope = "tenant",
				.temporary = true,
				.retry_after_ms = 250,
				.limit = "tenant.burst"};

	problem_add(&b.b, 429, &e, TRACE);
	is("{\"type\":\"urn:penstock:problem:rate_limited\",\"title\":\"Rate limited\","
	   "\"status\":429,\"code\":\"rate_limited\",\"detail\":\"m\",\"trace_id\":"
	   "\"0af7651916cd43dd8448eb211c80319c\","
	   "\"scope\":\"tenant\",\"temporary\":true,\"retry_after_ms\":250,\"limit\":"
	   "\"tenant.burst\"}");
	e = (struct frame_error){.code = "what", .message = "m"};
	problem_add(&b.b, 500, &e, "");
	is("{\"type\":\"about:blank\",\"title\":\"Error\",\"status\":500,\"code\":\"what\","
	   "\"detail\":\"m\",\"trace_id\":\"\",\"scope\":\"connection\",\"temporary\":false}");
}
END_TEST

/* The codes of PROTOCOL 2, all of them, and what an unknown one counts as. */
START_TEST(statuses)
{
	static const struct {
		const char *code;
		unsigned status;
	} t[] = {
	    {"unauthenticated", 401}, {"forbidden", 403},    {"bad_request", 400},
	    {"too_large", 413},       {"unknown_type", 422}, {"schema_invalid", 422},
	    {"rate_limited", 429},    {"overloaded", 503},   {"unavailable", 503},
	    {"conflict", 422},        {"not_found", 404},    {"expired", 410},
	    {"nothing we say", 500},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		ck_assert_msg(problem_status(t[i].code) == t[i].status, "%s", t[i].code);
}
END_TEST

RUN_TESTS("edge: frames", connected, subscriptions, events, deltas, answers, notices, errors,
	  problems, statuses)
