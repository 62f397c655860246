/* Targets over real sockets: a small HTTP server in this process (libmicrohttpd) does what its path
 * says. */
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "services/orchestrator-worker/target.h"
#include "tests/unit/common/suite.h"

static struct loop *loop;
static struct http_client *http, *guarded;
static struct catalog *catalog;
static struct metrics *metrics;
static struct worker_stats stats;
static struct targets *targets;
static struct MHD_Daemon *server;
static int port;

/* What the server saw; written by its thread. */
static _Atomic int requests, now_running, most_running, connections, hold_ms;
static char seen_body[2000], seen_auth[100], seen_key[100], seen_trace[100], seen_method[10];

/* --- the server ---------------------------------------------------------------------------- */

#define CHUNK(text)                                                                                \
	"data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define STOP                                                                                       \
	"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"                      \
	"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,"            \
	"\"total_tokens\":5}}\n\ndata: [DONE]\n\n"

#define IN_9_S "as a date" /* RFC 9110, 10.2.3: a Retry-After may be one */

struct script {
	const char *path;
	unsigned status;
	const char *type, *body;
	const char *header, *value;
	int then; /* 0: the end, 1: hangs behind the body, 2: cuts the connection */
};

static const struct script scripts[] = {
    {"/ok/chat/completions", 200, "text/event-stream", CHUNK("Hel") CHUNK("lo") STOP, NULL, NULL,
     0},
    {"/whole/chat/completions", 200, "application/json",
     "{\"model\":\"m-2\",\"choices\":[{\"message\":{\"content\":\"all\"},\"finish_reason\":"
     "\"stop\"}],"
     "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}",
     NULL, NULL, 0},
    {"/cut/chat/completions", 200, "text/event-stream", CHUNK("Hel"), NULL, NULL, 2},
    {"/short/chat/completions", 200, "text/event-stream", CHUNK("Hel"), NULL, NULL, 0},
    {"/hang/chat/completions", 200, "text/event-stream", CHUNK("Hel"), NULL, NULL, 1},
    {"/mute/chat/completions", 200, "text/event-stream", ": nothing yet\n\n", NULL, NULL, 1},
    {"/late/chat/completions", 200, "text/event-stream", CHUNK("x") STOP, NULL, NULL, 1},
    {"/broken/chat/completions", 200, "text/event-stream", "data: {nonsense\n\n", NULL, NULL, 0},
    {"/inside/chat/completions", 200, "text/event-stream",
     "data: {\"error\":{\"message\":\"engine died\"}}\n\n", NULL, NULL, 0},
    {"/429/chat/completions", 429, "application/json",
     "{\"error\":{\"message\":\"slow down\",\"type\":\"rate\"}}", "Retry-After", "7", 0},
    {"/429-until/chat/completions", 429, "application/json", "{}", "Retry-After", IN_9_S, 0},
    {"/429-json/chat/completions", 429, "application/json",
     "{\"error\":{\"code\":429,\"message\":\"quota\",\"details\":[{\"reason\":\"x\"},"
     "{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"34.5s\"}]}}",
     "Retry-After", "7", 0},
    {"/503-json/chat/completions", 503, "application/json",
     "[{\"error\":{\"details\":[{\"retryDelay\":\"3s\"}]}}]", "Retry-After", "7", 0},
    {"/503-odd/chat/completions", 503, "application/json",
     "{\"error\":{\"message\":\"odd\",\"details\":[{\"retryDelay\":\"-3s\"},{\"retryDelay\":\"3\"},"
     "{\"retryDelay\":7},7]}}",
     NULL, NULL, 0},
    {"/403/chat/completions", 403, "text/plain", "", NULL, NULL, 0},
    {"/413/chat/completions", 413, "text/plain", "", NULL, NULL, 0},
    {"/422/chat/completions", 422, "text/plain", "", NULL, NULL, 0},
    {"/503/chat/completions", 503, "text/plain", "down", NULL, NULL, 0},
    {"/400/chat/completions", 400, "application/json", "{\"error\":\"bad words\"}", NULL, NULL, 0},
    {"/401/chat/completions", 401, "text/plain", "", NULL, NULL, 0},
    {"/404/chat/completions", 404, "text/plain", "", NULL, NULL, 0},
    {"/302/chat/completions", 302, "text/plain", "", "Location", "/ok/chat/completions", 0},
    {"/json", 200, "application/json; charset=utf-8", "{\"a\": [1, 2]}", NULL, NULL, 0},
    {"/text", 200, "text/plain", "gr\xc3\xbc\xc3\x9f \"dich\"", NULL, NULL, 0},
    {"/binary", 200, "application/octet-stream", "\xff\xfe", NULL, NULL, 0},
    {"/empty", 204, "text/plain", "", NULL, NULL, 0},
    {"/moved", 302, "text/plain", "", "Location", "/json", 0},
    {"/gone", 404, "text/plain", "no such", NULL, NULL, 0},
};

struct sending {
	const struct script *script;
	int64_t born_ms;
	size_t len;
	struct MHD_Connection *connection;
};

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static ssize_t body_part(void *arg, uint64_t at, char *buf, size_t max)
{
	struct sending *s = arg;
	if (now_ms() - s->born_ms < atomic_load(&hold_ms)) {
		usleep(1000); /* of the server's own thread: it plays a slow target */
		return 0;
	}
	size_t n = s->len - (size_t)at;
	if (n == 0 && s->script->then == 2)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0 && s->script->then == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		usleep(1000);
		return 0;
	}
	n = n < max ? n : max;
	memcpy(buf, s->script->body + at, n);
	return (ssize_t)n;
}

static void body_done(void *arg)
{
	free(arg);
}

static void copy_header(struct MHD_Connection *c, const char *name, char *out, size_t size)
{
	const char *value = MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
	snprintf(out, size, "%s", value != NULL ? value : "");
}

static enum MHD_Result answer(struct MHD_Connection *c, const struct script *script)
{
	struct sending *s = malloc(sizeof(*s));
	*s = (struct sending){
	    .script = script, .born_ms = now_ms(), .len = strlen(script->body), .connection = c};
	struct MHD_Response *r =
	    MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, body_part, s, body_done);
	MHD_add_response_header(r, "Content-Type", script->type);
	char date[64];
	time_t until = time(NULL) + 9;
	struct tm tm;
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&until, &tm));
	if (script->header != NULL)
		MHD_add_response_header(r, script->header,
					strcmp(script->value, IN_9_S) ? script->value : date);
	enum MHD_Result result = MHD_queue_response(c, script->status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **state)
{
	(void)arg;
	(void)version;
	if (*state == NULL) {
		*state = &requests;
		seen_body[0] = '\0';
		return MHD_YES;
	}
	if (*size > 0) {
		size_t at = strlen(seen_body);
		snprintf(seen_body + at, sizeof(seen_body) - at, "%.*s", (int)*size, data);
		*size = 0;
		return MHD_YES;
	}
	copy_header(c, "Authorization", seen_auth, sizeof(seen_auth));
	copy_header(c, "Idempotency-Key", seen_key, sizeof(seen_key));
	copy_header(c, "traceparent", seen_trace, sizeof(seen_trace));
	snprintf(seen_method, sizeof(seen_method), "%s", method);
	atomic_fetch_add(&requests, 1);
	int n = atomic_fetch_add(&now_running, 1) + 1;
	if (n > atomic_load(&most_running))
		atomic_store(&most_running, n);
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		if (strcmp(scripts[i].path, url) == 0)
			return answer(c, &scripts[i]);
	return MHD_NO;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
			 enum MHD_RequestTerminationCode code)
{
	(void)arg;
	(void)c;
	(void)code;
	if (*state != NULL)
		atomic_fetch_sub(&now_running, 1);
}

static void on_connection(void *arg, struct MHD_Connection *c, void **state,
			  enum MHD_ConnectionNotificationCode code)
{
	(void)arg;
	(void)c;
	(void)state;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		atomic_fetch_add(&connections, 1);
}

/* --- the tests ----------------------------------------------------------------------------- */

static void model(const char *name, const char *path, const char *more)
{
	char key[64], doc[600];
	struct error err = {0};
	snprintf(key, sizeof(key), "model.%s", name);
	snprintf(doc, sizeof(doc),
		 "{\"name\":\"%s\",\"kind\":\"openai\",\"url\":\"http://127.0.0.1:%d/%s\","
		 "\"model\":\"gpt\"%s}",
		 name, port, path, more);
	ck_assert_msg(catalog_put(catalog, key, doc, strlen(doc), &err) == 0, "%s", err.msg);
}

static void setup(void)
{
	struct error err;
	server =
	    MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL,
			     MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
			     MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL, MHD_OPTION_END);
	ck_assert_ptr_nonnull(server);
	port = MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port;
	requests = now_running = most_running = connections = hold_ms = 0;
	loop = loop_new(&err);
	http = http_client_new(loop, false, &err);
	guarded = http_client_new(loop, true, &err);
	catalog = catalog_new();
	metrics = metrics_new();
	worker_stats_init(&stats, metrics);
	struct targets_conf conf = {.output_max = 1000, .waiting_max = 24, .http_concurrent = 4};
	targets = targets_new(loop, http, catalog, NULL, NULL, &stats, &conf);
}

static void teardown(void)
{
	targets_free(targets);
	http_client_free(http);
	http_client_free(guarded);
	MHD_stop_daemon(server);
	catalog_stop(catalog);
	metrics_free(metrics);
	loop_free(loop);
}

static int ended;

struct want {
	char model[70];
	struct target_job *job;
	bool done;
	int nth; /* of those that ended */
	enum saga_class class;
	char output[1500], reason[40], message[400], text[100];
	int64_t retry_after_ms, latency_ms, first_token_ms;
	struct saga_usage usage;
};

static void on_text(void *arg, const char *text, size_t len)
{
	struct want *w = arg;
	ck_assert(!w->done);
	strncat(w->text, text, len);
	strcat(w->text, "|");
}

static void on_done(void *arg, const struct saga_outcome *o)
{
	struct want *w = arg;
	ck_assert(!w->done);
	w->done = true;
	w->nth = ++ended;
	w->class = o->class;
	snprintf(w->output, sizeof(w->output), "%.*s", (int)o->len, o->text != NULL ? o->text : "");
	snprintf(w->reason, sizeof(w->reason), "%s", o->reason != NULL ? o->reason : "");
	snprintf(w->message, sizeof(w->message), "%s", o->message);
	w->retry_after_ms = o->retry_after_ms;
	w->latency_ms = o->latency_ms;
	w->first_token_ms = o->first_token_ms;
	w->usage = o->usage;
	snprintf(w->model, sizeof(w->model), "%s", o->model != NULL ? o->model : "");
}

/* What the calls are. */
static bool as_retry, as_batch;
static const char *as_tenant = "acme";

static void call(struct want *w, bool chat, const char *name, const char *input, int64_t timeout_ms)
{
	struct exec_call c = {.kind = chat ? KIND_CHAT : KIND_HTTP,
			      .tenant = as_tenant,
			      .task = "t1",
			      .stage = "s1",
			      .attempt = 1,
			      .retry = as_retry,
			      .batch = as_batch,
			      .model = name,
			      .input = input,
			      .len = strlen(input),
			      .timeout_ms = timeout_ms,
			      .trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
	*w = (struct want){0};
	w->job = target_call(targets, &c, on_text, on_done, w);
	ck_assert(!w->done);
}

static void await(const struct want *w)
{
	int64_t until = now_ms() + 20000;
	while (!w->done && now_ms() < until)
		loop_turn(loop, 20000);
	ck_assert_msg(w->done, "no end in time");
}

static void chat(struct want *w, const char *path)
{
	model("m", path, "");
	call(w, true, "m", "\"hi\"", 5000);
	await(w);
}

START_TEST(streamed)
{
	struct want w;
	setenv("TARGET_TEST_KEY", "sk-42", 1);
	model("m", "ok", ",\"secret_env\":\"TARGET_TEST_KEY\"");
	call(&w, true, "m", "\"hi\"", 5000);
	await(&w);
	ck_assert_int_eq(w.class, OUTCOME_OK);
	ck_assert_str_eq(w.text, "Hel|lo|");
	ck_assert_str_eq(w.output,
			 "{\"text\":\"Hello\",\"model\":\"m-1\",\"finish_reason\":\"stop\","
			 "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,"
			 "\"total_tokens\":5}}");
	ck_assert_int_eq(w.usage.total_tokens, 5);
	ck_assert_int_ge(w.latency_ms, w.first_token_ms);
	ck_assert_int_ge(w.first_token_ms, 0);
	ck_assert_str_eq(seen_method, "POST");
	ck_assert_str_eq(seen_auth, "Bearer sk-42");
	ck_assert_str_eq(seen_key, "t1/s1");
	ck_assert_str_eq(seen_trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	ck_assert_ptr_nonnull(strstr(seen_body, "\"stream\":true"));
	ck_assert_int_eq(metric_get(stats.calls[CALL_OK]), 1);
	ck_assert_int_eq(metric_get(stats.tokens_completion), 3);
	ck_assert_int_eq(metric_get(stats.calls_running), 0);
}
END_TEST

START_TEST(whole)
{
	struct want w;
	chat(&w, "whole");
	ck_assert_int_eq(w.class, OUTCOME_OK);
	ck_assert_ptr_nonnull(strstr(w.output, "\"text\":\"all\""));
	ck_assert_str_eq(w.text, "");
}
END_TEST

START_TEST(failures)
{
	static const struct {
		const char *path;
		enum saga_class class;
		const char *reason, *message;
		int64_t retry_after_ms;
	} all[] = {
	    {"429", OUTCOME_THROTTLED, "rate_limited", "HTTP 429: slow down", 7000},
	    {"429-json", OUTCOME_THROTTLED, "rate_limited", "HTTP 429: quota", 34500},
	    {"503-json", OUTCOME_RETRY, "upstream_error", "", 7000},
	    {"503-odd", OUTCOME_RETRY, "upstream_error", "HTTP 503: odd", 0},
	    {"403", OUTCOME_FINAL, "upstream_denied", "HTTP 403", 0},
	    {"413", OUTCOME_FINAL, "upstream_rejected", "HTTP 413", 0},
	    {"422", OUTCOME_FINAL, "upstream_rejected", "HTTP 422", 0},
	    {"503", OUTCOME_RETRY, "upstream_error", "HTTP 503: down", 0},
	    {"400", OUTCOME_FINAL, "upstream_rejected", "HTTP 400: bad words", 0},
	    {"401", OUTCOME_FINAL, "upstream_denied", "HTTP 401", 0},
	    {"404", OUTCOME_FINAL, "upstream_rejected", "HTTP 404", 0},
	    {"302", OUTCOME_FINAL, "upstream_rejected", "HTTP 302", 0},
	    {"cut", OUTCOME_RETRY, "cut_stream", "", 0},
	    {"short", OUTCOME_RETRY, "cut_stream", "", 0},
	    {"broken", OUTCOME_RETRY, "bad_answer", "", 0},
	    {"inside", OUTCOME_RETRY, "upstream_error", "engine died", 0},
	};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct want w;
		chat(&w, all[i].path);
		ck_assert_msg(w.class == all[i].class, "%s", all[i].path);
		ck_assert_str_eq(w.reason, all[i].reason);
		if (all[i].message[0] != '\0')
			ck_assert_str_eq(w.message, all[i].message);
		ck_assert_int_eq(w.retry_after_ms, all[i].retry_after_ms);
	}
	ck_assert_int_eq(requests, sizeof(all) / sizeof(all[0]));
	ck_assert_int_eq(metric_get(stats.calls_running), 0);
}
END_TEST

/* To the second, and rounded down by the way there. */
START_TEST(retry_after_as_a_date)
{
	struct want w;
	chat(&w, "429-until");
	ck_assert_int_eq(w.class, OUTCOME_THROTTLED);
	ck_assert_str_eq(w.reason, "rate_limited");
	ck_assert_int_ge(w.retry_after_ms, 6000);
	ck_assert_int_le(w.retry_after_ms, 9000);
}
END_TEST

START_TEST(timeouts)
{
	struct want w;
	model("m", "hang", "");
	call(&w, true, "m", "\"hi\"", 300);
	await(&w);
	ck_assert_str_eq(w.reason, "timeout");
	ck_assert_str_eq(w.text, "Hel|");
	model("f", "mute", ",\"first_token_timeout_ms\":200");
	int64_t start = now_ms();
	call(&w, true, "f", "\"hi\"", 60000);
	await(&w);
	ck_assert_str_eq(w.reason, "first_token_timeout");
	ck_assert_int_ge(now_ms() - start, 190);
	model("t", "hang", ",\"timeout_ms\":250");
	call(&w, true, "t", "\"hi\"", 0); /* the model's own */
	await(&w);
	ck_assert_str_eq(w.reason, "timeout");
}
END_TEST

/* [DONE] ends an answer, whatever the connection does behind it. */
START_TEST(done_is_done)
{
	struct want w;
	model("m", "late", "");
	call(&w, true, "m", "\"hi\"", 2000);
	await(&w);
	ck_assert_int_eq(w.class, OUTCOME_OK);
	ck_assert_int_lt(w.latency_ms, 1900);
}
END_TEST

START_TEST(no_connection)
{
	struct want w;
	struct error err;
	const char *doc =
	    "{\"name\":\"m\",\"kind\":\"openai\",\"url\":\"http://127.0.0.1:1\",\"model\":\"g\"}";
	ck_assert_int_eq(catalog_put(catalog, "model.m", doc, strlen(doc), &err), 0);
	call(&w, true, "m", "\"hi\"", 5000);
	await(&w);
	ck_assert_int_eq(w.class, OUTCOME_RETRY);
	ck_assert_str_eq(w.reason, "connect_failed");
	ck_assert_int_eq(metric_get(stats.calls[CALL_CONNECT]), 1);
}
END_TEST

START_TEST(never_sent)
{
	static const struct {
		bool chat;
		const char *model, *input, *reason;
	} all[] = {
	    {true, "none", "\"hi\"", "unknown_model"},
	    {true, "m", "7", "bad_input"},
	    {true, "plain", "\"hi\"", "unsupported_model"},
	    {true, "secret", "\"hi\"", "secret_missing"},
	    {false, NULL, "7", "bad_input"},
	    {false, NULL, "{}", "bad_input"},
	    {false, NULL, "{\"url\":\"file:///etc/hosts\"}", "bad_input"},
	    {false, NULL, "{\"url\":\"http://127.0.0.1/\",\"method\":\"TRACE\"}", "bad_input"},
	    {false, NULL, "{\"url\":\"http://127.0.0.1/\",\"headers\":{\"a b\":\"1\"}}",
	     "bad_input"},
	    {false, NULL, "{\"url\":\"http://127.0.0.1/\",\"headers\":{\"a\":\"1\\r\\nb: 2\"}}",
	     "bad_input"},
	    {false, NULL, "{\"url\":\"http://127.0.0.1/\",\"headers\":{\"Idempotency-Key\":\"1\"}}",
	     "bad_input"},
	    {false, NULL, "{\"url\":\"http://127.0.0.1/\",\"headers\":{\"Penstock-Depth\":\"0\"}}",
	     "bad_input"},
	    {false, "plain", "{\"url\":\"http://127.0.0.1/\"}", "bad_input"},
	    {false, NULL, "{\"url\":\"http://127.0.0.1:99999/\"}", "bad_target"},
	};
	struct error err;
	char doc[200];
	model("m", "ok", "");
	model("secret", "ok", ",\"secret_env\":\"TARGET_TEST_NOT_THERE\"");
	snprintf(doc, sizeof(doc),
		 "{\"name\":\"plain\",\"kind\":\"http\",\"url\":\"http://127.0.0.1:%d\"}", port);
	ck_assert_int_eq(catalog_put(catalog, "model.plain", doc, strlen(doc), &err), 0);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct want w;
		call(&w, all[i].chat, all[i].model, all[i].input, 5000);
		await(&w);
		ck_assert_msg(w.class == OUTCOME_FINAL, "%s", all[i].input);
		ck_assert_msg(strcmp(w.reason, all[i].reason) == 0, "%s: %s", all[i].input,
			      w.reason);
	}
	ck_assert_int_eq(requests, 0);
}
END_TEST

static void get(struct want *w, const char *path, const char *more)
{
	char input[400];
	snprintf(input, sizeof(input), "{\"url\":\"http://127.0.0.1:%d%s\"%s}", port, path, more);
	call(w, false, NULL, input, 5000);
	await(w);
}

START_TEST(plain_http)
{
	struct want w;
	get(&w, "/json", "");
	ck_assert_str_eq(w.output, "{\"status\":200,\"body\":{\"a\":[1,2]}}");
	ck_assert_str_eq(seen_method, "GET");
	get(&w, "/text", ",\"body\":{\"x\":1},\"headers\":{\"Authorization\":\"mine\"}");
	ck_assert_str_eq(w.output, "{\"status\":200,\"body\":\"gr\xc3\xbc\xc3\x9f \\\"dich\\\"\"}");
	ck_assert_str_eq(seen_method, "POST");
	ck_assert_str_eq(seen_body, "{\"x\":1}");
	ck_assert_str_eq(seen_auth, "mine");
	ck_assert_str_eq(seen_key, "t1/s1");
	get(&w, "/text", ",\"body\":\"raw\",\"method\":\"PUT\"");
	ck_assert_str_eq(seen_method, "PUT");
	ck_assert_str_eq(seen_body, "raw");
	get(&w, "/empty", "");
	ck_assert_str_eq(w.output, "{\"status\":204,\"body\":\"\"}");
	get(&w, "/moved", ""); /* not followed */
	ck_assert_str_eq(w.output, "{\"status\":302,\"body\":\"\"}");
	get(&w, "/gone", "");
	ck_assert_str_eq(w.reason, "upstream_rejected");
	get(&w, "/binary", "");
	ck_assert_str_eq(w.reason, "bad_answer");
	ck_assert_int_eq(w.class, OUTCOME_FINAL);
	ck_assert_int_lt(connections, 3); /* kept and used again */
}
END_TEST

/* Neither an address nor a name that means one: it is looked at when it is connected to, and no
 * connection of the others is used. */
START_TEST(guarded_origins)
{
	struct targets_conf conf = {
	    .output_max = 1000, .waiting_max = 20, .http_concurrent = 4, .origins = guarded};
	struct want w;
	char input[200];
	get(&w, "/json", "");
	ck_assert_int_eq(w.class, OUTCOME_OK);
	targets_free(targets);
	targets = targets_new(loop, http, catalog, NULL, NULL, &stats, &conf);
	int before = connections;
	get(&w, "/json", "");
	ck_assert_int_eq(w.class, OUTCOME_FINAL);
	ck_assert_str_eq(w.reason, "private_address");
	snprintf(input, sizeof(input), "{\"url\":\"http://localhost:%d/json\"}", port);
	call(&w, false, NULL, input, 5000);
	await(&w);
	ck_assert_str_eq(w.reason, "private_address");
	ck_assert_int_eq(connections, before);
}
END_TEST

/* As the grantor does. */
static void grant(uint32_t level, uint32_t calls, uint64_t tokens)
{
	Penstock__LeaseGrant g = PENSTOCK__LEASE_GRANT__INIT;
	int64_t now = loop_now_us(loop);
	g.level = level;
	g.calls = calls;
	g.tokens = tokens;
	ck_assert_ptr_nonnull(targets_lease(targets, "m"));
	lease_granted(targets_lease(targets, "m"), &g, 1, now, now);
}

START_TEST(concurrency)
{
	static struct want all[12];
	atomic_store(&hold_ms, 30);
	model("m", "ok", ",\"limits\":{\"concurrent\":3}");
	for (int i = 0; i < 12; i++)
		call(&all[i], true, "m", "\"hi\"", 5000);
	loop_turn(loop, 20000);
	ck_assert_int_eq(requests, 0); /* nothing without a lease */
	grant(3, 0, 0);
	struct want w;
	call(&w, true, "m", "\"hi\"", 5000); /* looks again */
	for (int i = 0; i < 12; i++) {
		await(&all[i]);
		ck_assert_int_eq(all[i].class, OUTCOME_OK);
		if (i > 0) /* first come, first served, give or take those at once */
			ck_assert(all[i > 3 ? i - 3 : 0].done);
	}
	await(&w);
	ck_assert_int_eq(most_running, 3);
	ck_assert_int_eq(requests, 13);
	ck_assert_int_eq(metric_get(stats.permits_waiting), 0);
}
END_TEST

static void tenant(const char *name, int weight)
{
	char key[64], doc[100];
	struct error err = {0};
	snprintf(key, sizeof(key), "tenant.%s", name);
	snprintf(doc, sizeof(doc), "{\"id\":\"%s\",\"weight\":%d}", name, weight);
	ck_assert_msg(catalog_put(catalog, key, doc, strlen(doc), &err) == 0, "%s", err.msg);
}

static void call_as(struct want *w, const char *who, bool batch)
{
	as_tenant = who;
	as_batch = batch;
	call(w, true, "m", "\"hi\"", 5000);
	as_tenant = "acme";
	as_batch = false;
}

/* One place, and one tenant with many calls in front of it. */
START_TEST(tenants_take_turns)
{
	static struct want many[12], heavy[4], late[2], one;
	tenant("acme", 1);
	tenant("heavy", 2);
	model("m", "ok", ",\"limits\":{\"concurrent\":1}");
	for (int i = 0; i < 12; i++)
		call_as(&many[i], "acme", i < 6);
	for (int i = 0; i < 4; i++)
		call_as(&heavy[i], "heavy", false);
	call_as(&one, "modest", false);
	grant(1, 0, 0);
	call_as(&late[0], "late", true);
	call_as(&late[1], "late", false);
	for (int i = 0; i < 12; i++)
		await(&many[i]);
	ck_assert_int_eq(most_running, 1);
	ck_assert_int_le(one.nth, 4);
	ck_assert_int_le(late[1].nth, 8);
	ck_assert_int_lt(late[1].nth, late[0].nth); /* what nobody waits for */
	ck_assert_int_le(heavy[3].nth, 10);         /* two for each of another's */
	for (int i = 1; i < 6; i++) {
		ck_assert_int_lt(many[i - 1].nth, many[i].nth);
		ck_assert_int_lt(many[i + 5].nth, many[i + 6].nth);
	}
	ck_assert_int_lt(many[11].nth, many[0].nth);
	ck_assert_int_eq(metric_get(stats.permits_waiting), 0);
}
END_TEST

/* Who has filled the line leaves places to the others. */
START_TEST(a_full_line_has_places_for_others)
{
	static struct want many[25], one;
	model("m", "ok", ",\"limits\":{\"concurrent\":1}");
	for (int i = 0; i < 25; i++)
		call_as(&many[i], "acme", false);
	call_as(&one, "modest", false);
	loop_turn(loop, 20000);
	ck_assert(many[24].done);
	ck_assert_str_eq(many[24].reason, "overloaded");
	ck_assert_int_eq(metric_get(stats.permits_waiting), 22);
	ck_assert(!one.done);
}
END_TEST

START_TEST(rate)
{
	static struct want all[4];
	model("m", "ok", ",\"limits\":{\"rpm\":2}");
	for (int i = 0; i < 4; i++)
		call(&all[i], true, "m", "\"hi\"", 5000);
	grant(100, 2, 0);
	await(&all[0]);
	await(&all[1]);
	int64_t until = now_ms() + 300;
	while (now_ms() < until)
		loop_turn(loop, 20000);
	ck_assert_int_eq(requests, 2);
	ck_assert(!all[2].done);
	ck_assert_int_eq(metric_get(stats.permits_waiting), 2);
	target_cancel(all[2].job);
	ck_assert_int_eq(metric_get(stats.permits_waiting), 1);
	model("m", "ok",
	      ",\"limits\":{\"rpm\":3}"); /* the limit is raised: the next call looks again */
	struct want w;
	call(&w, true, "m", "\"hi\"", 5000);
	grant(100, 1, 0);
	await(&all[3]);
	ck_assert_int_eq(requests, 3);
	ck_assert(!w.done);
}
END_TEST

/* Reserved before the call, settled by what came back; by all of it, if nothing came back. */
START_TEST(tokens_are_reserved_and_settled)
{
	struct want w;
	model("m", "ok", ",\"limits\":{\"tpm\":20000}");
	call(&w, true, "m", "\"hi\"", 5000);
	struct lease *lease = targets_lease(targets, "m");
	grant(100, 1, 100); /* not enough */
	loop_turn(loop, 20000);
	ck_assert_int_eq(requests, 0);
	grant(100, 1, 5000);
	struct want other;
	call(&other, true, "m", "\"hi\"", 5000);
	while (lease->running == 0)
		loop_turn(loop, 20000);
	ck_assert_int_gt(lease->held, 1000);
	await(&w);
	await(&other);
	ck_assert_int_eq(lease->held, 0);
	ck_assert_uint_eq(lease->started, 2);
	ck_assert_uint_eq(lease->settled, 10); /* five each */
	model("m", "cut", ",\"limits\":{\"tpm\":20000}");
	call(&w, true, "m", "\"hi\"", 5000);
	grant(100, 1, 5000);
	await(&w);
	ck_assert_str_eq(w.reason, "cut_stream");
	ck_assert_uint_gt(lease->settled, 100);
	ck_assert_int_eq(lease->held, 0);
}
END_TEST

/* A target learns of a hang-up later than we do: the place of a call that was cut is not free at
 * once. */
START_TEST(a_cut_call_keeps_its_place_for_a_moment)
{
	struct want a, b;
	model("m", "hang", ",\"limits\":{\"concurrent\":1}");
	call(&a, true, "m", "\"hi\"", 60000);
	call(&b, true, "m", "\"hi\"", 60000);
	grant(1, 0, 0);
	while (a.text[0] == '\0')
		loop_turn(loop, 20000);
	int64_t start = now_ms();
	target_cancel(a.job);
	while (b.text[0] == '\0')
		loop_turn(loop, 20000);
	ck_assert_int_ge(now_ms() - start, 99);
	target_cancel(b.job);
}
END_TEST

START_TEST(waiting_is_bounded)
{
	static struct want all[25];
	model("m", "hang", ",\"limits\":{\"concurrent\":1}");
	for (int i = 0; i < 25; i++)
		call(&all[i], true, "m", "\"hi\"", 20000);
	await(&all[24]);
	ck_assert_str_eq(all[24].reason, "overloaded");
	ck_assert_int_eq(all[24].class, OUTCOME_HELD);
	ck_assert_int_ge(metric_get(stats.calls_held[HELD_OVERLOADED]), 4);
}
END_TEST

START_TEST(cancel_gives_back)
{
	struct want a, b;
	model("m", "hang", ",\"limits\":{\"concurrent\":1}");
	call(&a, true, "m", "\"hi\"", 60000);
	call(&b, true, "m", "\"hi\"", 60000);
	grant(1, 0, 0);
	while (a.text[0] == '\0')
		loop_turn(loop, 20000);
	target_cancel(a.job);
	while (b.text[0] == '\0')
		loop_turn(loop, 20000);
	ck_assert(!a.done);
	ck_assert_int_eq(metric_get(stats.calls_running), 1);
	target_cancel(b.job);
	ck_assert_int_eq(metric_get(stats.calls_running), 0);
}
END_TEST

/* Calls the model n times, one after the other. */
static void repeat(struct want *w, const char *name, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		call(w, true, name, "\"hi\"", 5000);
		await(w);
	}
}

START_TEST(breaker_opens)
{
	struct want w;
	model("m", "503", "");
	repeat(&w, "m", 20);
	ck_assert_str_eq(w.reason, "upstream_error");
	ck_assert_int_eq(metric_get(stats.breakers_open), 1);
	repeat(&w, "m", 5);
	ck_assert_int_eq(w.class, OUTCOME_HELD);
	ck_assert_str_eq(w.reason, "target_down");
	ck_assert_int_gt(w.retry_after_ms, 0);
	ck_assert_int_le(w.retry_after_ms, 5000);
	ck_assert_int_eq(requests, 20); /* the target has its peace */
	ck_assert_int_eq(metric_get(stats.calls_held[HELD_DOWN]), 5);
	ck_assert_int_eq(metric_get(stats.calls_running), 0);
}
END_TEST

/* What waits when it opens is not sent any more. */
START_TEST(breaker_opens_before_a_queue)
{
	struct want all[40];
	unsigned held = 0;
	model("m", "503", ",\"limits\":{\"concurrent\":2}");
	for (size_t i = 0; i < 40; i++)
		call(&all[i], true, "m", "\"hi\"", 5000);
	grant(2, 0, 0);
	for (size_t i = 0; i < 40; i++) {
		await(&all[i]);
		held += all[i].class == OUTCOME_HELD;
	}
	ck_assert_uint_ge(held, 19); /* one may have been on its way */
	ck_assert_int_eq(requests, 40 - (int)held);
	ck_assert_int_eq(metric_get(stats.permits_waiting), 0);
}
END_TEST

START_TEST(throttled_and_rejected_keep_it_closed)
{
	struct want w;
	model("t", "429", "");
	repeat(&w, "t", 25);
	ck_assert_int_eq(w.class, OUTCOME_THROTTLED);
	model("r", "400", "");
	repeat(&w, "r", 25);
	ck_assert_int_eq(w.class, OUTCOME_FINAL);
	ck_assert_int_eq(metric_get(stats.breakers_opened), 0);
}
END_TEST

/* A stage that gives the target less time than it is known to need says nothing about it. */
START_TEST(impatience_keeps_it_closed)
{
	struct want all[20];
	model("m", "hang", "");
	for (size_t i = 0; i < 20; i++)
		call(&all[i], true, "m", "\"hi\"", 200);
	for (size_t i = 0; i < 20; i++) {
		await(&all[i]);
		ck_assert_str_eq(all[i].reason, "timeout");
	}
	ck_assert_int_eq(metric_get(stats.breakers_opened), 0);
}
END_TEST

START_TEST(fallbacks_in_order)
{
	struct want w;
	model("third", "ok", "");
	model("second", "503", "");
	model("first", "503", ",\"fallbacks\":[\"none\",\"second\",\"third\"]");
	repeat(&w, "first", 20);
	ck_assert_str_eq(w.model, "first");
	repeat(&w, "first", 20); /* the second, until that is down as well */
	ck_assert_str_eq(w.model, "second");
	repeat(&w, "first", 3);
	ck_assert_int_eq(w.class, OUTCOME_OK);
	ck_assert_str_eq(w.model, "third");
	ck_assert_int_eq(metric_get(stats.fallbacks), 23);
	model("third", "503", "");
	repeat(&w, "first", 40);
	ck_assert_int_eq(w.class, OUTCOME_HELD); /* all are down */
	ck_assert_str_eq(w.reason, "target_down");
}
END_TEST

START_TEST(retries_have_a_budget)
{
	struct want w;
	model("m", "ok", "");
	as_retry = true;
	repeat(&w, "m", 10);
	ck_assert_int_eq(w.class, OUTCOME_OK);
	repeat(&w, "m", 1);
	ck_assert_int_eq(w.class, OUTCOME_HELD);
	ck_assert_str_eq(w.reason, "retry_budget");
	ck_assert_int_gt(w.retry_after_ms, 0);
	ck_assert_int_le(w.retry_after_ms, 10000);
	as_retry = false;
	repeat(&w, "m", 10); /* first attempts are free, and one in ten may be repeated */
	ck_assert_int_eq(w.class, OUTCOME_OK);
	as_retry = true;
	repeat(&w, "m", 2);
	ck_assert_int_eq(w.class, OUTCOME_HELD);
	ck_assert_int_eq(requests, 21);
	ck_assert_int_eq(metric_get(stats.calls_again), 11);
	as_retry = false;
}
END_TEST

/* What waits for a model when that moves goes to neither address under the other one's limits. */
START_TEST(a_model_that_moves)
{
	static struct want all[6];
	model("m", "whole", ",\"limits\":{\"concurrent\":1}");
	for (int i = 0; i < 5; i++)
		call(&all[i], true, "m", "\"hi\"", 5000);
	loop_turn(loop, 20000);
	model("m", "ok", "");
	targets_config_changed(targets);
	for (int i = 0; i < 5; i++) {
		await(&all[i]);
		ck_assert_int_eq(all[i].class, OUTCOME_HELD);
		ck_assert_int_eq(all[i].retry_after_ms, 0);
	}
	ck_assert_str_eq(all[0].reason, "model_changed");
	ck_assert_int_eq(requests, 0);
	call(&all[5], true, "m", "\"hi\"", 5000);
	await(&all[5]);
	ck_assert_int_eq(all[5].class, OUTCOME_OK);
	ck_assert_int_eq(metric_get(stats.calls_held[HELD_MOVED]), 5);
	ck_assert_int_eq(metric_get(stats.permits_waiting), 0);
	/* The same with other limits is the same model, and one that is gone is none. */
	model("m", "ok", ",\"limits\":{\"concurrent\":1}");
	call(&all[0], true, "m", "\"hi\"", 5000);
	call(&all[1], true, "m", "\"hi\"", 5000);
	model("m", "ok", ",\"limits\":{\"concurrent\":2}");
	call(&all[2], true, "m", "\"hi\"", 5000);
	grant(1, 0, 0);
	await(&all[0]);
	ck_assert_int_eq(all[0].class, OUTCOME_OK);
	/* Nor does what waits need another call to be looked at, when its limit goes. */
	call(&all[4], true, "m", "\"hi\"", 5000);
	loop_turn(loop, 20000);
	model("m", "ok", "");
	targets_config_changed(targets);
	await(&all[4]);
	ck_assert_int_eq(all[4].class, OUTCOME_OK);
	struct error err;
	ck_assert_int_eq(catalog_put(catalog, "model.m", NULL, 0, &err), 0);
	call(&all[3], true, "m", "\"hi\"", 5000);
	await(&all[3]);
	ck_assert_str_eq(all[3].reason, "unknown_model");
}
END_TEST

START_TEST(too_large)
{
	struct want w;
	struct targets_conf conf = {.output_max = 4, .waiting_max = 24, .http_concurrent = 4};
	targets_free(targets);
	targets = targets_new(loop, http, catalog, NULL, NULL, &stats, &conf);
	chat(&w, "ok");
	ck_assert_str_eq(w.reason, "output_too_large");
	ck_assert_int_eq(w.class, OUTCOME_FINAL);
	get(&w, "/json", "");
	ck_assert_str_eq(w.reason, "output_too_large");
}
END_TEST

RUN_TESTS_WITH("target", setup, teardown, streamed, whole, failures, retry_after_as_a_date,
	       timeouts, done_is_done, no_connection, never_sent, plain_http, guarded_origins,
	       concurrency, tenants_take_turns, a_full_line_has_places_for_others, rate,
	       tokens_are_reserved_and_settled, a_cut_call_keeps_its_place_for_a_moment,
	       waiting_is_bounded, cancel_gives_back, too_large, breaker_opens,
	       breaker_opens_before_a_queue, throttled_and_rejected_keep_it_closed,
	       impatience_keeps_it_closed, fallbacks_in_order, retries_have_a_budget,
	       a_model_that_moves)
