#include "services/control-plane/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "common/log.h"
#include "common/ws.h"
#include "services/control-plane/auth.h"

#define DETAIL_MAX 600

const char *const query_page[] = {"page_size", "page_token", NULL};
const char *const query_mutation[] = {"validate_only", NULL};

static const char *title_of(int status)
{
	static const struct {
		int status;
		const char *title;
	} titles[] = {
	    {400, "Bad Request"},
	    {401, "Unauthorized"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {409, "Conflict"},
	    {412, "Precondition Failed"},
	    {413, "Content Too Large"},
	    {415, "Unsupported Media Type"},
	    {422, "Unprocessable Content"},
	    {428, "Precondition Required"},
	    {503, "Service Unavailable"},
	};
	for (size_t i = 0; i < sizeof(titles) / sizeof(*titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Internal Server Error";
}

/* RFC 9457. */
static void problem(struct api_reply *reply, int status, const char *code, const char *detail)
{
	strbuf_reset(&reply->body);
	reply->status = status;
	reply->problem = true;
	reply->etag[0] = reply->location[0] = '\0';
	if (status == 503)
		reply->retry_after_s = 1;
	strbuf_addf(&reply->body, "{\"type\":\"urn:penstock:problem:%s\",\"title\":", code);
	strbuf_add_json(&reply->body, title_of(status));
	strbuf_addf(&reply->body, ",\"status\":%d,\"detail\":", status);
	strbuf_add_json(&reply->body, detail);
	strbuf_addf(&reply->body, ",\"code\":\"%s\",\"trace_id\":\"%.32s\"}", code,
		    reply->trace + 3);
}

static void take_trace(struct api_reply *reply, const char *traceparent)
{
	struct rng rng;
	rng_seed_os(&rng);
	trace_child(&rng, traceparent, reply->trace);
}

void api_refuse(struct api_reply *reply, const char *traceparent, int status, const char *code,
		const char *detail)
{
	take_trace(reply, traceparent);
	problem(reply, status, code, detail);
}

int call_fail(struct call *call, int status, const char *code, const char *fmt, ...)
{
	char detail[DETAIL_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	problem(call->reply, status, code, detail);
	return -1;
}

int call_error(struct call *call, const struct error *err)
{
	switch (err->code) {
	case ERR_REJECTED:
		return call_fail(call, 422, "schema_invalid", "%s", err->msg);
	case ERR_CONFLICT:
		return call_fail(call, 409, "conflict", "%s", err->msg);
	case ERR_TRANSIENT:
		return call_fail(call, 503, "unavailable", "%s", err->msg);
	default:
		log_at(LOG_ERROR, "request failed", LOG_S("path", call->req->path),
		       LOG_S("error", err->msg), LOG_S("trace", call->reply->trace));
		return call_fail(call, 500, "internal", "see the log for this trace");
	}
}

int call_bad_query(struct call *call, const struct error *err)
{
	return call_fail(call, 400, "bad_request", "%s", err->msg);
}

const char *call_query(const struct call *call, const char *name)
{
	for (size_t i = 0; i < call->req->n_query; i++)
		if (!strcmp(call->req->query[i].name, name))
			return call->req->query[i].value ? call->req->query[i].value : "";
	return NULL;
}

int call_query_int(struct call *call, const char *name, int64_t min, int64_t max, int64_t *out)
{
	const char *text = call_query(call, name);
	if (!text)
		return 0;
	size_t digits = strspn(text, "0123456789");
	int64_t n = digits && digits < 19 ? atoll(text) : -1;
	if (text[digits] || n < min || n > max)
		return call_fail(call, 400, "bad_request", "%s: an integer from %lld to %lld", name,
				 (long long)min, (long long)max);
	*out = n;
	return 0;
}

int call_need_body(struct call *call)
{
	if (!call->body)
		return call_fail(call, 400, "bad_request", "the request has no body");
	return 0;
}

int call_need_reason(struct call *call)
{
	const char *reason = call->req->reason;
	if (!reason || !reason[strspn(reason, " \t")])
		return call_fail(call, 400, "bad_request", "say why, in the header X-Audit-Reason");
	return 0;
}

int call_precondition(struct call *call, const json_t *current)
{
	char etag[ETAG_LEN + 1];
	if (current)
		registry_etag(current, etag);
	switch (
	    precondition(call->req->if_match, call->req->if_none_match, current ? etag : NULL)) {
	case PRE_MISSING:
		return call_fail(
		    call, 428, "precondition_required",
		    "it exists: say with If-Match which state of it you saw (its ETag)");
	case PRE_STALE:
		return call_fail(call, 412, "precondition_failed",
				 current ? "it was changed meanwhile: read it again"
					 : "it does not exist");
	default:
		return 0;
	}
}

void call_doc(struct call *call, int status, const json_t *doc)
{
	call->reply->status = status;
	registry_etag(doc, call->reply->etag);
	json_add(&call->reply->body, doc);
}

void call_doc_shown(struct call *call, int status, const json_t *doc, json_t *shown)
{
	call->reply->status = status;
	registry_etag(doc, call->reply->etag);
	json_add(&call->reply->body, shown);
	json_decref(shown);
}

void call_value(struct call *call, json_t *value)
{
	call->reply->status = 200;
	json_add(&call->reply->body, value);
	json_decref(value);
}

void call_location(struct call *call, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(call->reply->location, sizeof(call->reply->location), fmt, ap);
	va_end(ap);
}

static int verb_of(const char *method)
{
	static const char *const names[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	if (!strcmp(method, "HEAD"))
		return VERB_GET;
	for (int i = 0; i < VERB_COUNT; i++)
		if (!strcmp(method, names[i]))
			return i;
	return -1;
}

static const struct api_method *find(struct call *call)
{
	static const char *const names[] = {"GET, HEAD", "POST", "PUT", "PATCH", "DELETE"};
	int verb = verb_of(call->req->method);
	struct strbuf allow = {0};
	for (const struct api_route *r = api_routes; r->pattern; r++) {
		if (!route_match(r->pattern, call->req->path, &call->ids))
			continue;
		if (verb >= 0 && r->methods[verb].fn)
			return &r->methods[verb];
		for (int i = 0; i < VERB_COUNT; i++)
			if (r->methods[i].fn)
				strbuf_addf(&allow, "%s%s", allow.len ? ", " : "", names[i]);
		snprintf(call->reply->allow, sizeof(call->reply->allow), "%s", strbuf_str(&allow));
		strbuf_done(&allow);
		call_fail(call, 405, "method_not_allowed", "%s is not for this; see Allow",
			  call->req->method);
		return NULL;
	}
	call_fail(call, 404, "not_found", "there is nothing at this path");
	return NULL;
}

static int check_query(struct call *call, const struct api_method *method)
{
	for (size_t i = 0; i < call->req->n_query; i++) {
		const char *const *name = method->query;
		while (name && *name && strcmp(*name, call->req->query[i].name) != 0)
			name++;
		if (!name || !*name)
			return call_fail(call, 400, "bad_request", "unknown parameter %.64s",
					 call->req->query[i].name);
	}
	const char *only = call_query(call, "validate_only");
	call->validate_only = only && (!strcmp(only, "true") || !strcmp(only, "1"));
	if (only && !call->validate_only && strcmp(only, "false") != 0 && strcmp(only, "0") != 0)
		return call_fail(call, 400, "bad_request", "validate_only: true or false");
	return 0;
}

/* It goes into the audit as it is. */
static int check_reason(struct call *call)
{
	const char *reason = call->req->reason;
	uint32_t state = 0;
	if (reason && (strlen(reason) > API_REASON_MAX ||
		       !ws_utf8(&state, (const uint8_t *)reason, strlen(reason)) || state))
		return call_fail(call, 400, "bad_request",
				 "X-Audit-Reason: at most %d bytes of UTF-8", API_REASON_MAX);
	return 0;
}

static bool is_json(const char *type, bool patch)
{
	size_t n = strcspn(type, "; \t");
	return (n == 16 && !strncasecmp(type, "application/json", n)) ||
	       (patch && n == 28 && !strncasecmp(type, "application/merge-patch+json", n));
}

static int read_body(struct call *call, int verb)
{
	const struct api_request *req = call->req;
	struct error err;
	if (!req->body_len || verb == VERB_GET)
		return 0;
	if (!req->content_type || !is_json(req->content_type, verb == VERB_PATCH))
		return call_fail(call, 415, "unsupported_media_type",
				 "Content-Type must be application/json%s",
				 verb == VERB_PATCH ? " or application/merge-patch+json" : "");
	call->body = json_parse(req->body, req->body_len, &err);
	return call->body ? 0 : call_fail(call, 400, "bad_request", "%s", err.msg);
}

void api_handle(const struct api *api, const struct api_request *req, struct api_reply *reply)
{
	struct call call = {.api = api, .req = req, .reply = reply};
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	call.now_us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
	take_trace(reply, req->traceparent);
	/* Who asks comes first: a stranger does not learn which paths exist. */
	const struct api_method *method;
	if (!auth_check(&call) && (method = find(&call)) && !auth_allowed(&call, method->role) &&
	    !check_query(&call, method) && !check_reason(&call) &&
	    !read_body(&call, verb_of(req->method)))
		method->fn(&call);
	json_decref(call.body);
}

void api_reply_done(struct api_reply *reply)
{
	strbuf_done(&reply->body);
}
