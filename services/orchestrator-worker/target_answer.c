#include "services/orchestrator-worker/target_answer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/json.h"
#include "services/orchestrator-worker/openai.h"

#define ERROR_BODY_MAX    16384
#define RETRY_AFTER_MAX_S 86400
#define WRAPPING          65536 /* what a whole chat answer may have around its text */

void target_answer_init(struct target_answer *a, const struct provider *provider, size_t max,
			exec_text_fn *text, void *arg)
{
	*a = (struct target_answer){.provider = provider, .max = max, .text = text, .arg = arg};
	sse_init(&a->sse, max + WRAPPING);
	reply_init(&a->reply, max);
}

void target_answer_done(struct target_answer *a)
{
	sse_done(&a->sse);
	reply_done(&a->reply);
	strbuf_done(&a->body);
	strbuf_done(&a->output);
}

void target_answer_fail(struct target_answer *a, enum call_result result, enum saga_class class,
			const char *reason, const char *message)
{
	if (a->decided)
		return;
	a->decided = true;
	a->result = result;
	a->class = class;
	a->reason = reason;
	snprintf(a->message, sizeof(a->message), "%s", message);
}

static void too_large(struct target_answer *a)
{
	char words[80];
	snprintf(words, sizeof(words), "the answer is longer than %zu bytes", a->max);
	target_answer_fail(a, CALL_REJECTED, OUTCOME_FINAL, "output_too_large", words);
}

static int on_event(void *arg, const char *data, size_t len)
{
	struct target_answer *a = arg;
	struct error err;
	if (a->reply.finished)
		return 0;
	if (a->provider->event(&a->reply, data, len, &err)) {
		if (err.code == ERR_FATAL)
			too_large(a);
		else
			target_answer_fail(a, CALL_ERROR, OUTCOME_RETRY, "bad_answer", err.msg);
		return -1;
	}
	if (a->reply.failed) {
		target_answer_fail(a, CALL_ERROR, OUTCOME_RETRY, "upstream_error", a->reply.error);
		return -1;
	}
	if (a->reply.text.len > a->reply.fresh && a->text != NULL)
		a->text(a->arg, a->reply.text.data + a->reply.fresh,
			a->reply.text.len - a->reply.fresh);
	return 0;
}

int target_answer_body(struct target_answer *a, long status, const char *content_type,
		       const char *data, size_t len, const char **fresh, size_t *fresh_len)
{
	size_t before = a->reply.text.len;
	*fresh = NULL;
	*fresh_len = 0;
	if (status >= 300 || status < 200) { /* for the message: its beginning is enough */
		size_t room = ERROR_BODY_MAX - a->body.len;
		strbuf_add(&a->body, data, len < room ? len : room);
		return 0;
	}
	a->events = a->provider != NULL && a->provider->event != NULL &&
		    strncasecmp(content_type, "text/event-stream", 17) == 0;
	a->json = strncasecmp(content_type, "application/json", 16) == 0 ||
		  strstr(content_type, "+json") != NULL;
	if (!a->events) {
		if (a->body.len + len > a->max + (a->provider != NULL ? WRAPPING : 0)) {
			too_large(a);
			return -1;
		}
		strbuf_add(&a->body, data, len);
		return 0;
	}
	if (sse_feed(&a->sse, data, len, on_event, a) != 0) {
		too_large(a); /* unless on_event() has said something else */
		return -1;
	}
	*fresh = strbuf_str(&a->reply.text) + before;
	*fresh_len = a->reply.text.len - before;
	return 0;
}

/* --- the end ------------------------------------------------------------------------------- */

/* "3.5s": a Duration of google.protobuf in JSON. 0: it is none. */
static int64_t duration_ms(const char *text)
{
	char *end;
	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	double s = strtod(text, &end);
	if (strcmp(end, "s") != 0 || !(s >= 0))
		return 0;
	return (int64_t)((s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S) * 1000);
}

/* {"error": {"details": [{"@type": "…google.rpc.RetryInfo", "retryDelay": "34s"}]}}: how Google's
 * interfaces say it, and those that are made after them. Also as a list of such an object. */
static int64_t body_retry_after_ms(const struct target_answer *a)
{
	struct error err;
	json_t *doc = json_parse(strbuf_str(&a->body), a->body.len, &err);
	const json_t *top = json_is_array(doc) ? json_array_get(doc, 0) : doc;
	const json_t *details = json_object_get(json_object_get(top, "error"), "details"), *item;
	int64_t ms = 0;
	size_t i;
	json_array_foreach(details, i, item)
	{
		int64_t one = duration_ms(json_string_value(json_object_get(item, "retryDelay")));
		ms = one > ms ? one : ms;
	}
	json_decref(doc);
	return ms;
}

/* The longer one of the two wishes. */
static int64_t retry_after_ms(const struct target_answer *a, const struct http_result *r)
{
	int64_t body = a->body.len > 0 ? body_retry_after_ms(a) : 0;
	return body > r->retry_after_ms ? body : r->retry_after_ms;
}

static void fail_status(struct target_answer *a, const struct http_result *r)
{
	char text[200], words[320];
	openai_error_text(strbuf_str(&a->body), a->body.len, text, sizeof(text));
	snprintf(words, sizeof(words), "HTTP %ld%s%s", r->status, text[0] != '\0' ? ": " : "",
		 text);
	if (r->status == 429) {
		target_answer_fail(a, CALL_RATE_LIMITED, OUTCOME_THROTTLED, "rate_limited", words);
	} else if (r->status == 408 || r->status == 409 || r->status == 425 || r->status >= 500) {
		target_answer_fail(a, CALL_ERROR, OUTCOME_RETRY, "upstream_error", words);
	} else if (r->status == 401 || r->status == 403) {
		target_answer_fail(a, CALL_REJECTED, OUTCOME_FINAL, "upstream_denied", words);
	} else {
		target_answer_fail(a, CALL_REJECTED, OUTCOME_FINAL, "upstream_rejected", words);
	}
	a->retry_after_ms = retry_after_ms(a, r);
}

static void fail_transport(struct target_answer *a, const struct http_result *r)
{
	switch (r->failure) {
	case HTTP_CONNECT:
		target_answer_fail(a, CALL_CONNECT, OUTCOME_RETRY, "connect_failed", r->words);
		break;
	case HTTP_BAD:
		target_answer_fail(a, CALL_REJECTED, OUTCOME_FINAL, "bad_target", r->words);
		break;
	case HTTP_REFUSED:
		target_answer_fail(a, CALL_REJECTED, OUTCOME_FINAL, "private_address", r->words);
		break;
	default:
		target_answer_fail(a, CALL_CUT, OUTCOME_RETRY, "cut_stream", r->words);
		break;
	}
}

static void end_model(struct target_answer *a)
{
	struct error err;
	if (!a->events && a->provider->whole(&a->reply, strbuf_str(&a->body), a->body.len, &err)) {
		if (err.code == ERR_FATAL)
			too_large(a);
		else
			target_answer_fail(a, CALL_ERROR, OUTCOME_RETRY, "bad_answer", err.msg);
	} else if (a->reply.failed) {
		target_answer_fail(a, CALL_ERROR, OUTCOME_RETRY, "upstream_error", a->reply.error);
	} else if (!a->reply.finished && a->reply.finish_reason[0] == '\0') {
		target_answer_fail(a, CALL_CUT, OUTCOME_RETRY, "cut_stream",
				   "the stream ended before the answer did");
	}
	if (!a->decided)
		a->provider->output(&a->reply, &a->output);
}

/* {status, body}: JSON as it is, other text as a string. */
static void end_http(struct target_answer *a, long status)
{
	strbuf_addf(&a->output, "{\"status\":%ld,\"body\":", status);
	struct error err;
	json_t *doc = a->json ? json_parse(strbuf_str(&a->body), a->body.len, &err) : NULL;
	if (doc == NULL) {
		json_t *text = json_stringn(strbuf_str(&a->body), a->body.len); /* checks UTF-8 */
		if (text == NULL) {
			target_answer_fail(a, CALL_REJECTED, OUTCOME_FINAL, "bad_answer",
					   "the answer is neither JSON nor UTF-8 text");
			return;
		}
		json_decref(text);
		strbuf_add_jsonn(&a->output, strbuf_str(&a->body), a->body.len);
	} else {
		json_add(&a->output, doc);
		json_decref(doc);
	}
	strbuf_addc(&a->output, '}');
}

void target_answer_end(struct target_answer *a, const struct http_result *r)
{
	if (a->decided)
		return;
	bool complete = a->events && a->reply.finished; /* what comes behind is nothing */
	if (r->failure != HTTP_DONE && !complete)
		fail_transport(a, r);
	else if (r->status >= 400 || r->status < 200 || (a->provider != NULL && r->status >= 300))
		fail_status(a, r);
	else if (a->provider != NULL)
		end_model(a);
	else
		end_http(a, r->status);
	if (!a->decided && a->output.len > a->max)
		too_large(a);
	if (!a->decided) {
		a->decided = true;
		a->class = OUTCOME_OK;
		a->result = CALL_OK;
	}
}

void target_answer_outcome(const struct target_answer *a, struct saga_outcome *outcome)
{
	*outcome = (struct saga_outcome){
	    .class = a->class,
	    .text = a->output.data,
	    .len = a->output.len,
	    .reason = a->reason,
	    .message = a->message,
	    .retry_after_ms = a->retry_after_ms,
	    .latency_ms = -1,
	    .first_token_ms = -1,
	    .has_usage = a->reply.has_usage,
	    .usage = a->reply.usage,
	};
}
