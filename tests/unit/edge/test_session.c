/* A session's decisions: states, operations, errors, and what happens at which time. */
#include <stdio.h>

#include "common/catalog.h"
#include <jansson.h>

#include "services/edge/session.h"
#include "tests/unit/common/suite.h"

#define S      INT64_C(1000000)
#define START  (100 * S)
#define WALL   INT64_C(1700000000000000)
#define JITTER (7 * S)

static const struct session_conf conf = {
    .limits = {65536, 262144, 3, 2},
    .connect_ms = 10000,
    .ping_ms = 25000,
    .pong_ms = 8000,
    .resume_ttl_ms = 120000,
    .renew_ms = 60000,
    .edge = "edge-a",
    .epoch = "0005f5e100000000",
};
static struct principal acme = {
    .scopes = SCOPE_PUBLISH | SCOPE_SUBSCRIBE | SCOPE_TASK, .tenant = "acme", .id = "k1"};
static struct session s;
static struct session_step step;
static const struct id session_id = {"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"};

static void fresh(bool token)
{
	session_init(&s, &conf, &session_id, token, START);
	session_step_reset(&step, &s);
}

/* The shell's part: it names the channel of a slot. */
static void say(const char *text)
{
	struct client_error why;
	static struct client_msg msg;

	session_step_reset(&step, &s);
	if (client_msg_parse(text, strlen(text), &msg, &why))
		session_refused(&s, &msg, &why, &step);
	else
		session_message(&s, &msg, &step);
	if (step.ask == ASK_SUBSCRIBE)
		s.subs[step.slot].channel = strdup(msg.channel);
	else if (step.ask == ASK_TASK && step.new_sub)
		s.subs[step.slot].channel = strdup(step.channel);
}

static void ended(unsigned slot)
{
	free((char *)s.subs[slot].channel);
	session_ended(&s, slot);
}

static void authenticated(void)
{
	session_step_reset(&step, &s);
	session_authenticated(
	    &s, &(struct session_auth){.who = &acme, .resume = "r.t", .jitter_us = JITTER}, START,
	    &step);
	ck_assert_int_eq(s.state, SESSION_OPEN);
}

static void open_session(void)
{
	acme.scopes = SCOPE_PUBLISH | SCOPE_SUBSCRIBE | SCOPE_TASK;
	acme.expires_us = 0;
	fresh(true);
	authenticated();
	session_step_reset(&step, &s);
}

static void tick(int64_t now_us)
{
	session_step_reset(&step, &s);
	session_tick(&s, now_us, WALL + now_us, &step);
}

static void done(void)
{
	for (unsigned i = 0; i < s.n_slots; i++)
		if (s.subs[i].state != SUB_FREE)
			ended(i);
	ck_assert_uint_eq(s.n_subs, 0);
	session_done(&s);
	session_step_done(&step);
}

static bool has(const char *part)
{
	return strstr(strbuf_str(&step.text.b), part) != NULL;
}

static void refused(const char *code)
{
	char part[64];

	snprintf(part, sizeof(part), "\"code\":\"%s\"", code);
	ck_assert_msg(has("{\"op\":\"error\"") && has(part), "%s", strbuf_str(&step.text.b));
	ck_assert_int_eq(step.ask, ASK_NONE);
}

static void closes(unsigned code)
{
	ck_assert_uint_eq(step.close, code);
	ck_assert_int_eq(s.state, SESSION_CLOSING);
	ck_assert_int_eq(s.due_us, INT64_MAX);
}

static void subscribed(const char *channel)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"%s\"}", channel);
	say(text);
	ck_assert_int_eq(step.ask, ASK_SUBSCRIBE);
	unsigned slot = step.slot;
	session_step_reset(&step, &s);
	session_subscribed(&s, slot, "1", &(struct sub_answer){.offset = 5, .recovered = true},
			   &step);
}

#define PUB       "{\"op\":\"publish\",\"id\":1,\"channel\":\"r\",\"type\":\"t\",\"data\":1}"
#define TASK(key) "{\"op\":\"task\",\"id\":1,\"pipeline\":\"p\",\"key\":\"" key "\",\"input\":1}"
#define SUB(ch)   "{\"op\":\"subscribe\",\"id\":1,\"channel\":\"" ch "\"}"
#define UNSUB(ch) "{\"op\":\"unsubscribe\",\"id\":1,\"channel\":\"" ch "\"}"

/* --- authentication ----------------------------------------------------------------------- */

START_TEST(connect_frame)
{
	fresh(false);
	ck_assert_int_eq(s.state, SESSION_NEW);
	say("{\"op\":\"connect\",\"token\":\"pk_k_s\"}");
	ck_assert_int_eq(step.ask, ASK_AUTH);
	ck_assert_int_eq(s.state, SESSION_CHECKING);
	say(PUB);
	refused("unauthenticated");
	ck_assert_uint_eq(step.close, 0);
	say("{\"op\":\"connect\",\"token\":\"pk_k_s\"}");
	refused("bad_request");
	authenticated();
	ck_assert_str_eq(
	    step.text.b.data,
	    "{\"op\":\"connected\",\"session\":\"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b\","
	    "\"tenant\":\"acme\",\"edge\":\"edge-a\",\"resume\":\"r.t\","
	    "\"resume_ttl_ms\":120000,\"ping_ms\":25000,\"limits\":{\"frame_bytes\":65536,"
	    "\"task_input_bytes\":262144,\"subscriptions\":3,\"commands_in_flight\":2}}");
	say("{\"op\":\"connect\",\"token\":\"pk_k_s\"}");
	refused("bad_request");
	ck_assert_int_eq(s.state, SESSION_OPEN);
	done();
}
END_TEST

START_TEST(without_a_token)
{
	fresh(false);
	say("{\"op\":\"connect\"}");
	refused("unauthenticated");
	closes(CLOSE_TOKEN);
	done();
	fresh(false);
	say("{\"op\":\"connect\",\"token\":\"\"}");
	refused("unauthenticated");
	closes(CLOSE_TOKEN);
	done();
	fresh(false);
	say(PUB);
	refused("unauthenticated");
	closes(CLOSE_TOKEN);
	done();
	fresh(false);
	say("{\"op\":\"publish\",\"id\":1}"); /* refused before it was understood */
	refused("bad_request");
	closes(CLOSE_TOKEN);
	done();
}
END_TEST

/* The same session, with no other token than the old session's. */
START_TEST(resumes)
{
	static const struct id old = {"0198a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"};

	fresh(false);
	say("{\"op\":\"connect\",\"resume\":\"a.b\"}");
	ck_assert_int_eq(step.ask, ASK_AUTH);
	ck_assert_int_eq(s.state, SESSION_CHECKING);
	session_step_reset(&step, &s);
	session_authenticated(
	    &s, &(struct session_auth){.who = &acme, .session = &old, .resume = "c.d"}, START,
	    &step);
	ck_assert(
	    has("{\"op\":\"connected\",\"session\":\"0198a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b\","));
	ck_assert(has("\"resume\":\"c.d\""));
	ck_assert_str_eq(s.id.text, old.text);
	done();
}
END_TEST

/* Both: whichever of them is good; which is for the plane to find out. */
START_TEST(resume_or_else_the_token)
{
	fresh(false);
	say("{\"op\":\"connect\",\"resume\":\"a.b\",\"token\":\"pk_k_s\"}");
	ck_assert_int_eq(step.ask, ASK_AUTH);
	authenticated();
	ck_assert_str_eq(s.id.text, session_id.text);
	done();
}
END_TEST

START_TEST(says_when_to_come_again)
{
	fresh(true);
	session_authenticated(
	    &s,
	    &(struct session_auth){.close = CLOSE_RATE, .limit = "edge.resumes", .retry_ms = 700},
	    START, &step);
	ck_assert(has("\"temporary\":true,\"retry_after_ms\":700"));
	ck_assert(has("\"details\":{\"limit\":\"edge.resumes\"}"));
	closes(CLOSE_RATE);
	done();
}
END_TEST

START_TEST(who_is_not_let_in)
{
	static const struct {
		unsigned close, becomes;
		const char *code;
	} t[] = {{CLOSE_TOKEN, CLOSE_TOKEN, "unauthenticated"},
		 {CLOSE_TENANT, CLOSE_TENANT, "forbidden"},
		 {CLOSE_RESUME, CLOSE_RESUME, "expired"},
		 {CLOSE_RATE, CLOSE_RATE, "overloaded"},
		 {0, CLOSE_CAPACITY, "unavailable"}};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		fresh(true);
		session_authenticated(&s,
				      &(struct session_auth){.close = t[i].close,
							     .limit = "edge.connects",
							     .retry_ms = 700},
				      START, &step);
		refused(t[i].code);
		closes(t[i].becomes);
		/* Nothing is said to it any more, whatever it says. */
		say(PUB);
		ck_assert_uint_eq(step.text.b.len, 0);
		say("nonsense");
		ck_assert_uint_eq(step.text.b.len, 0);
		ck_assert_uint_eq(step.close, 0);
		done();
	}
}
END_TEST

START_TEST(too_late)
{
	fresh(false);
	tick(START + 10 * S - 1);
	ck_assert_uint_eq(step.close, 0);
	tick(START + 10 * S);
	refused("unauthenticated");
	closes(CLOSE_TOKEN);
	/* An answer of the plane that comes now changes nothing. */
	session_step_reset(&step, &s);
	session_authenticated(&s, &(struct session_auth){.who = &acme, .resume = "r"}, START,
			      &step);
	ck_assert_uint_eq(step.text.b.len, 0);
	ck_assert_int_eq(s.state, SESSION_CLOSING);
	done();
}
END_TEST

/* --- subscriptions ------------------------------------------------------------------------ */

START_TEST(subscribe_and_unsubscribe)
{
	open_session();
	say(SUB("room.7"));
	ck_assert_int_eq(step.ask, ASK_SUBSCRIBE);
	ck_assert_uint_eq(step.text.b.len, 0);
	unsigned slot = step.slot;
	say(SUB("room.7"));
	refused("conflict");
	say(UNSUB("room.7"));
	refused("conflict"); /* not answered yet */
	say("{\"op\":\"ack\",\"channel\":\"room.7\",\"offset\":0}");
	refused("conflict");
	session_step_reset(&step, &s);
	session_subscribed(&s, slot, "7", &(struct sub_answer){.offset = 42, .recovered = true},
			   &step);
	ck_assert_str_eq(step.text.b.data,
			 "{\"op\":\"subscribed\",\"id\":7,\"channel\":\"room.7\",\"epoch\":"
			 "\"0005f5e100000000\",\"offset\":42,\"recovered\":true}");
	ck_assert_uint_eq(step.text2.b.len, 0);
	ck_assert_int_eq(session_find(&s, "room.7"), (int)slot);
	say("{\"op\":\"ack\",\"channel\":\"room.7\",\"offset\":3}");
	ck_assert_uint_eq(step.text.b.len, 0);
	ck_assert_int_eq(step.ask, ASK_ACK);
	ck_assert_uint_eq(step.slot, slot);
	session_step_reset(&step, &s);
	session_ack_refused("", &step);
	refused("bad_request");
	ck_assert_uint_eq(step.close, 0);
	say("{\"op\":\"ack\",\"channel\":\"other\",\"offset\":3}");
	refused("not_found");
	say(UNSUB("room.7"));
	ck_assert(has("{\"op\":\"unsubscribed\",\"id\":1,\"channel\":\"room.7\"}"));
	ck_assert_int_eq(step.ask, ASK_UNSUBSCRIBE);
	ck_assert_uint_eq(step.slot, slot);
	ended(slot);
	say(UNSUB("room.7"));
	refused("not_found");
	done();
}
END_TEST

START_TEST(what_is_gone_is_told)
{
	open_session();
	say(SUB("r"));
	session_step_reset(&step, &s);
	session_subscribed(
	    &s, 0, "1",
	    &(struct sub_answer){.offset = 90, .recovered = false, .gap_from = 3, .gap_to = 50},
	    &step);
	ck_assert(has("\"recovered\":false"));
	ck_assert_str_eq(step.text2.b.data,
			 "{\"op\":\"gap\",\"channel\":\"r\",\"from\":3,\"to\":50,\"reason\":"
			 "\"expired\",\"replayable\":false}");
	done();
}
END_TEST

START_TEST(a_failed_subscription_ends)
{
	open_session();
	say(SUB("r"));
	session_step_reset(&step, &s);
	session_subscribed(&s, 0, "1", &(struct sub_answer){.failed = true}, &step);
	ck_assert(has("\"code\":\"unavailable\"") && has("\"scope\":\"channel\"") &&
		  has("\"temporary\":true"));
	ck_assert_int_eq(step.ask, ASK_UNSUBSCRIBE);
	ended(step.slot);
	ck_assert_int_eq(session_find(&s, "r"), -1);
	done();
}
END_TEST

START_TEST(subscriptions_are_bounded)
{
	open_session();
	subscribed("a");
	subscribed("b");
	subscribed("c");
	say(SUB("d"));
	refused("overloaded");
	ck_assert(has("\"temporary\":true,\"retry_after_ms\":1000,\"details\":{\"limit\":"
		      "\"connection.subscriptions\"}"));
	ck_assert(has("\"limit\":\"connection.subscriptions\""));
	say(TASK("k"));
	refused("overloaded");
	ck_assert_uint_eq(s.in_flight, 0);
	/* The slot of one that ended is used again. */
	say(UNSUB("b"));
	unsigned slot = step.slot;
	ended(slot);
	say(SUB("d"));
	ck_assert_int_eq(step.ask, ASK_SUBSCRIBE);
	ck_assert_uint_eq(step.slot, slot);
	ck_assert_int_eq(session_find(&s, "c") >= 0, 1);
	done();
}
END_TEST

START_TEST(up_to_255_slots)
{
	struct session_conf many = conf;

	open_session();
	many.limits.subscriptions = 1000;
	s.conf = &many;
	for (int i = 0; i < 255; i++) {
		char channel[16];

		snprintf(channel, sizeof(channel), "c%d", i);
		subscribed(channel);
	}
	say(SUB("more"));
	refused("overloaded");
	ck_assert_uint_eq(s.n_subs, 255);
	ck_assert_int_eq(session_find(&s, "c254") >= 0, 1);
	done();
}
END_TEST

/* --- commands ----------------------------------------------------------------------------- */

START_TEST(publish_and_cancel)
{
	struct frame_accepted ok = {"e1", "r", "", 42, false};
	struct frame_error no = {.code = "rate_limited", .message = "m", .temporary = true};

	open_session();
	say(PUB);
	ck_assert_int_eq(step.ask, ASK_PUBLISH);
	say("{\"op\":\"cancel\",\"id\":1,\"task\":\"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b\"}");
	ck_assert_int_eq(step.ask, ASK_CANCEL);
	ck_assert_uint_eq(s.in_flight, 2);
	say(PUB);
	refused("overloaded");
	ck_assert(has("connection.commands_in_flight") && has("\"retry_after_ms\":100"));
	session_step_reset(&step, &s);
	session_accepted(&s, "7", -1, &ok, &step);
	ck_assert_str_eq(step.text.b.data, "{\"op\":\"accepted\",\"id\":7,\"event_id\":\"e1\","
					   "\"channel\":\"r\",\"offset\":42,\"duplicate\":false}");
	session_step_reset(&step, &s);
	session_command_failed(&s, "8", -1, false, &no, &step);
	refused("rate_limited");
	ck_assert(has("\"id\":8"));
	ck_assert_uint_eq(s.in_flight, 0);
	done();
}
END_TEST

START_TEST(a_task_subscribes)
{
	struct id id = id_derive("acme", "task", "k");
	struct frame_accepted ok = {"e1", "task.x", id.text, 42, false};
	char channel[CHANNEL_MAX + 1];

	open_session();
	task_channel(id.text, channel);
	say(TASK("k"));
	ck_assert_int_eq(step.ask, ASK_TASK);
	ck_assert(step.new_sub);
	ck_assert_str_eq(step.channel, channel);
	unsigned slot = step.slot;
	ck_assert_int_eq(s.subs[slot].state, SUB_TASK);
	say(TASK("k")); /* the same key shares it */
	ck_assert_int_eq(step.ask, ASK_TASK);
	ck_assert(!step.new_sub);
	ck_assert_uint_eq(step.slot, slot);
	ck_assert_uint_eq(s.n_subs, 1);
	session_step_reset(&step, &s);
	session_accepted(&s, "1", (int)slot, &ok, &step);
	ck_assert_int_eq(s.subs[slot].state, SUB_LIVE);
	session_step_reset(&step, &s);
	session_accepted(&s, "1", (int)slot, &ok, &step);
	ck_assert_uint_eq(s.in_flight, 0);
	done();
}
END_TEST

START_TEST(a_refused_task_leaves_nothing)
{
	struct frame_error no = {.code = "conflict", .message = "m"};

	open_session();
	say(TASK("k"));
	unsigned slot = step.slot;
	session_step_reset(&step, &s);
	session_command_failed(&s, "1", (int)slot, true, &no, &step);
	ck_assert_int_eq(step.ask, ASK_UNSUBSCRIBE);
	ck_assert_uint_eq(step.slot, slot);
	ended(slot);
	ck_assert_uint_eq(s.n_subs, 0);
	/* A subscription that was there before stays. */
	say(TASK("k"));
	session_step_reset(&step, &s);
	session_accepted(&s, "1", (int)slot, &(struct frame_accepted){"e", "task.x", "x", 1, false},
			 &step);
	say(TASK("k"));
	ck_assert(!step.new_sub);
	session_step_reset(&step, &s);
	session_command_failed(&s, "1", (int)slot, false, &no, &step);
	ck_assert_int_eq(step.ask, ASK_NONE);
	ck_assert_int_eq(s.subs[slot].state, SUB_LIVE);
	done();
}
END_TEST

START_TEST(scopes)
{
	static const struct {
		const char *text;
		unsigned scope;
	} t[] = {{PUB, SCOPE_PUBLISH},
		 {SUB("r"), SCOPE_SUBSCRIBE},
		 {TASK("k"), SCOPE_TASK},
		 {"{\"op\":\"cancel\",\"id\":1,\"task\":\"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b\"}",
		  SCOPE_TASK}};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		open_session();
		acme.scopes = (SCOPE_PUBLISH | SCOPE_SUBSCRIBE | SCOPE_TASK) & ~t[i].scope;
		say(t[i].text);
		refused("forbidden");
		ck_assert_uint_eq(s.in_flight + s.n_subs, 0);
		acme.scopes = t[i].scope;
		say(t[i].text);
		ck_assert_int_ne(step.ask, ASK_NONE);
		done();
	}
}
END_TEST

/* What a token may touch, name by name. */
START_TEST(patterns)
{
	static const struct {
		const char *allowed, *other;
	} t[] = {{SUB("room.1"), SUB("hall.1")}, {PUB, NULL}, {TASK("k"), NULL}};
	json_t *channels = json_pack("{s:[s], s:[s]}", "subscribe", "room.*", "publish", "r*");
	json_t *pipelines = json_pack("[s]", "p*"), *none = json_array();

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		open_session();
		acme.permit = permit_new(channels, pipelines, NULL);
		say(t[i].allowed);
		ck_assert_msg(step.ask != ASK_NONE, "%s", t[i].allowed);
		permit_unref(acme.permit);
		acme.permit = t[i].other ? permit_new(channels, pipelines, NULL)
					 : permit_new(NULL, none, NULL);
		acme.scopes = SCOPE_PUBLISH | SCOPE_SUBSCRIBE | SCOPE_TASK;
		unsigned before = s.in_flight + s.n_subs;
		say(t[i].other ? t[i].other : t[i].allowed);
		refused("forbidden");
		ck_assert_uint_eq(s.in_flight + s.n_subs, before);
		permit_unref(acme.permit);
		acme.permit = NULL;
		done();
	}
	json_decref(channels);
	json_decref(pipelines);
	json_decref(none);
}
END_TEST

/* --- nonsense ----------------------------------------------------------------------------- */

START_TEST(nonsense)
{
	open_session();
	say("{\"op\":\"fly\",\"id\":9}");
	refused("bad_request");
	ck_assert(has("\"id\":9"));
	say("{\"op\":\"ping\"}");
	refused("bad_request");
	say("{\"op\":\"ping\",\"id\":\"p\"}");
	ck_assert(has("{\"op\":\"pong\",\"id\":\"p\"}"));
	ck_assert_int_eq(s.state, SESSION_OPEN);
	say("GET / HTTP/1.1");
	refused("bad_request");
	closes(CLOSE_MESSAGE);
	done();
	open_session();
	session_too_large(&s, "4", &step);
	refused("too_large");
	closes(CLOSE_TOO_LARGE);
	session_step_reset(&step, &s);
	session_too_large(&s, "4", &step);
	ck_assert_uint_eq(step.text.b.len, 0);
	done();
}
END_TEST

/* --- time --------------------------------------------------------------------------------- */

START_TEST(pings)
{
	int64_t now = START + JITTER;

	open_session();
	tick(now - 1);
	ck_assert(!step.ping);
	for (int i = 0; i < 3; i++) {
		tick(now);
		ck_assert(step.ping);
		ck_assert_int_eq(s.due_us, now + 8 * S);
		session_pong(&s);
		session_pong(&s); /* one that nobody asked for moves nothing */
		now += 25 * S;
		ck_assert_int_eq(s.due_us, now);
	}
	tick(now);
	ck_assert(step.ping);
	tick(now + 8 * S - 1);
	ck_assert_uint_eq(step.close, 0);
	tick(now + 8 * S);
	ck_assert(!step.ping);
	closes(CLOSE_NO_PONG);
	tick(now + 100 * S);
	ck_assert_uint_eq(step.close, 0);
	done();
}
END_TEST

/* Often enough that the newest one is always good for resume_ttl_ms. */
START_TEST(resume_tokens_are_renewed)
{
	int64_t now = START + JITTER, renewed = START;
	int n = 0;

	open_session();
	for (int i = 0; i < 20; i++, now += 25 * S) {
		tick(now);
		ck_assert(step.ping);
		if (step.renew) {
			ck_assert_int_ge(now - renewed, 60 * S);
			ck_assert_int_lt(now - renewed, (60 + 25) * S);
			renewed = now;
			n++;
		}
		session_pong(&s);
	}
	ck_assert_int_ge(n, 20 * 25 / (60 + 25));
	done();
}
END_TEST

START_TEST(a_token_expires)
{
	open_session();
	acme.expires_us = WALL + START + JITTER + 25 * S;
	tick(START + JITTER);
	ck_assert(step.ping);
	session_pong(&s);
	tick(START + JITTER + 25 * S);
	refused("unauthenticated");
	closes(CLOSE_TOKEN);
	done();
}
END_TEST

/* By the clock of the session the end is known to the microsecond, whatever pings are due. */
START_TEST(a_token_expires_between_pings)
{
	int64_t end = START + 3 * S;

	open_session();
	acme.expires_us = WALL + end;
	acme.expire_at_us = end;
	fresh(true);
	authenticated();
	ck_assert_int_eq(session_due_us(&s), end);
	tick(end - 1);
	ck_assert_uint_eq(step.close, 0);
	/* The key gets more time. */
	acme.expires_us += 60 * S;
	acme.expire_at_us += 60 * S;
	tick(end);
	ck_assert_uint_eq(step.close, 0);
	ck_assert(!step.ping);
	ck_assert_int_eq(session_due_us(&s), START + JITTER);
	/* And less. */
	acme.expire_at_us = end + 2 * S;
	tick(end + 2 * S);
	refused("unauthenticated");
	closes(CLOSE_TOKEN);
	acme.expire_at_us = 0;
	done();
}
END_TEST

START_TEST(turned_away)
{
	fresh(true);
	session_turn_away(&s, &(struct frame_error){.code = "forbidden", .message = "origin"},
			  CLOSE_TOKEN, &step);
	refused("forbidden");
	closes(CLOSE_TOKEN);
	done();
}
END_TEST

START_TEST(drains)
{
	open_session();
	session_drain(&s, "http://b", 500, 10000, "shutdown", &step);
	ck_assert_str_eq(step.text.b.data, "{\"op\":\"drain\",\"url\":\"http://b\","
					   "\"reconnect_after_ms\":500,\"deadline_ms\":10000,"
					   "\"reason\":\"shutdown\"}");
	ck_assert_int_eq(s.state, SESSION_OPEN);
	session_step_reset(&step, &s);
	session_close(&s, CLOSE_DRAIN, "drain", &step);
	closes(CLOSE_DRAIN);
	session_step_reset(&step, &s);
	session_drain(&s, "http://b", 500, 10000, "shutdown", &step);
	session_close(&s, CLOSE_SLOW, "slow", &step);
	ck_assert_uint_eq(step.text.b.len, 0);
	ck_assert_uint_eq(step.close, 0);
	done();
}
END_TEST

/* What is under way when a session closes is answered and settled all the same. */
START_TEST(answers_after_the_close)
{
	open_session();
	say(PUB);
	say(SUB("r"));
	unsigned slot = step.slot;
	session_step_reset(&step, &s);
	session_close(&s, CLOSE_SLOW, "slow", &step);
	session_step_reset(&step, &s);
	session_accepted(&s, "1", -1, &(struct frame_accepted){"e", "r", "", 1, false}, &step);
	ck_assert_uint_eq(s.in_flight, 0);
	session_step_reset(&step, &s);
	session_subscribed(&s, slot, "1", &(struct sub_answer){.offset = 1}, &step);
	done();
}
END_TEST

RUN_TESTS("edge: session", connect_frame, without_a_token, resumes, resume_or_else_the_token,
	  says_when_to_come_again, who_is_not_let_in, too_late, subscribe_and_unsubscribe,
	  what_is_gone_is_told, a_failed_subscription_ends, subscriptions_are_bounded,
	  up_to_255_slots, publish_and_cancel, a_task_subscribes, a_refused_task_leaves_nothing,
	  scopes, patterns, nonsense, pings, resume_tokens_are_renewed, a_token_expires,
	  a_token_expires_between_pings, turned_away, drains, answers_after_the_close)
