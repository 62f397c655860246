#include "services/orchestrator-worker/target_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/json.h"
#include "common/names.h"

#define URL_MAX_LEN        4096
#define HEADERS_FROM_INPUT 32

static void add_header(struct target_request *r, const char *name, const char *value)
{
	struct strbuf b = {0};
	strbuf_addf(&b, "%s: %s", name, value);
	r->headers[r->n_headers++] = strbuf_detach(&b, NULL);
}

/* The headers that are the same for every kind. -1 if the target's secret is not there. */
static int add_common(struct target_request *r, const struct provider *provider,
		      const struct exec_call *call, const struct model *model)
{
	struct strbuf key = {0};
	strbuf_addf(&key, "%s/%s", call->task, call->stage);
	add_header(r, "Idempotency-Key", key.data);
	strbuf_done(&key);
	if (call->trace != NULL && call->trace[0] != '\0')
		add_header(r, "traceparent", call->trace);
	if (call->kind == KIND_HTTP && call->depth > 0) {
		char depth[16];
		snprintf(depth, sizeof(depth), "%u", call->depth);
		add_header(r, HEADER_DEPTH, depth);
	}
	if (model == NULL || model->secret_env == NULL || model->secret_env[0] == '\0')
		return 0;
	const char *secret = getenv(model->secret_env);
	if (secret == NULL || secret[0] == '\0')
		return -1;
	struct strbuf header = {0};
	strbuf_addf(&header, "%s%s",
		    provider != NULL ? provider->secret_header : "Authorization: Bearer ", secret);
	r->headers[r->n_headers++] = strbuf_detach(&header, NULL);
	return 0;
}

static bool token(const char *text)
{
	static const char also[] = "!#$%&'*+-.^_`|~"; /* RFC 9110, 5.6.2 */
	for (const char *p = text; *p != '\0'; p++) {
		bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
		if (!letter && !(*p >= '0' && *p <= '9') && strchr(also, *p) == NULL)
			return false;
	}
	return text[0] != '\0';
}

/* Ours, or libcurl's business. */
static bool reserved(const char *name, const struct model *model)
{
	static const char *const ours[] = {
	    "idempotency-key",   "traceparent",         "host", "content-length", "connection",
	    "transfer-encoding", "proxy-authorization", "te",   "upgrade",        HEADER_DEPTH};
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcasecmp(name, ours[i]) == 0)
			return true;
	return model != NULL && strcasecmp(name, "authorization") == 0;
}

static int take_headers(struct target_request *r, json_t *headers, const struct model *model,
			bool *has_type, struct error *err)
{
	const char *name;
	json_t *value;
	if (headers == NULL || json_is_null(headers))
		return 0;
	if (!json_is_object(headers) || json_object_size(headers) > HEADERS_FROM_INPUT)
		return err_set(err, ERR_REJECTED, "headers must be an object of at most %d texts",
			       HEADERS_FROM_INPUT);
	json_object_foreach(headers, name, value)
	{
		const char *text = json_string_value(value);
		if (text == NULL || strpbrk(text, "\r\n") != NULL || !token(name))
			return err_set(err, ERR_REJECTED, "header %.40s is not valid", name);
		if (reserved(name, model))
			return err_set(err, ERR_REJECTED, "header %.40s may not be set", name);
		*has_type |= strcasecmp(name, "content-type") == 0;
		add_header(r, name, text);
	}
	return 0;
}

static void take_body(struct target_request *r, const json_t *body, bool has_type)
{
	if (body == NULL)
		return;
	r->has_body = true;
	if (json_is_string(body)) {
		strbuf_add(&r->body, json_string_value(body), json_string_length(body));
		if (!has_type)
			add_header(r, "Content-Type", "text/plain; charset=utf-8");
		return;
	}
	json_add(&r->body, body);
	if (!has_type)
		add_header(r, "Content-Type", "application/json");
}

/* A named target is reached at its own address only: an input may add a path to it. */
static int take_url(struct target_request *r, const char *url, const struct model *model,
		    struct error *err)
{
	struct strbuf b = {0};
	if (model != NULL) {
		if (url != NULL && url[0] != '/')
			return err_set(err, ERR_REJECTED, "url must be a path of the model's");
		strbuf_adds(&b, model->url);
		while (url != NULL && b.len > 0 && b.data[b.len - 1] == '/')
			b.data[--b.len] = '\0';
	}
	strbuf_adds(&b, url != NULL ? url : "");
	r->url = strbuf_detach(&b, NULL);
	const char *host = strstr(r->url, "://");
	if ((strncasecmp(r->url, "http://", 7) != 0 && strncasecmp(r->url, "https://", 8) != 0) ||
	    strlen(r->url) > URL_MAX_LEN)
		return err_set(err, ERR_REJECTED, "url must be http:// or https://");
	size_t len = (size_t)(host + 3 - r->url) + strcspn(host + 3, "/?#\\");
	if (len >= sizeof(r->origin))
		return err_set(err, ERR_REJECTED, "the host of the url is too long");
	memcpy(r->origin, r->url, len);
	return 0;
}

static int take_method(struct target_request *r, const char *method, bool has_body,
		       struct error *err)
{
	static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"};
	if (method == NULL)
		method = has_body ? "POST" : "GET";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i], method) == 0) {
			r->method = xstrdup(method);
			return 0;
		}
	}
	return err_set(err, ERR_REJECTED, "method must be GET, POST, PUT, PATCH, DELETE or HEAD");
}

static int make_http(struct target_request *r, const struct exec_call *call,
		     const struct model *model, struct error *err)
{
	static const char *const members[] = {"url", "method", "headers", "body", NULL};
	const char *url, *method;
	bool has_type = false;
	json_t *input = json_parse(call->input, call->len, err);
	if (input == NULL)
		return -1;
	const json_t *body = json_object_get(input, "body");
	int bad = 0;
	if (!json_is_object(input))
		bad = err_set(err, ERR_REJECTED, "the input of http must be an object");
	else if (json_only(input, members, err) ||
		 json_get_text(input, "url", model == NULL, &url, err) ||
		 json_get_text(input, "method", false, &method, err) ||
		 take_url(r, url, model, err) || take_method(r, method, body != NULL, err) ||
		 take_headers(r, json_object_get(input, "headers"), model, &has_type, err))
		bad = -1;
	else
		take_body(r, body, has_type);
	json_decref(input);
	return bad;
}

static int make_model(struct target_request *r, const struct provider *provider,
		      const struct exec_call *call, const struct model *model, struct error *err)
{
	if (take_url(r, provider->path, model, err))
		return -1;
	r->method = xstrdup("POST");
	r->has_body = true;
	add_header(r, "Content-Type", "application/json");
	add_header(r, "Accept",
		   provider->event != NULL ? "text/event-stream, application/json"
					   : "application/json");
	if (provider->header != NULL)
		r->headers[r->n_headers++] = xstrdup(provider->header);
	bool named = model->model != NULL && model->model[0] != '\0';
	return provider->request(call->input, call->len, named ? model->model : model->name,
				 call->max_tokens, &r->body, err);
}

int target_request_make(struct target_request *r, const struct provider *provider,
			const struct exec_call *call, const struct model *model,
			const char **reason, struct error *err)
{
	*r = (struct target_request){0};
	*reason = "bad_input";
	if (call->model != NULL && model == NULL) {
		*reason = "unknown_model";
		return err_set(err, ERR_REJECTED, "there is no model %s", call->model);
	}
	if (call->kind != KIND_HTTP && provider == NULL) {
		*reason = "unsupported_model";
		return err_set(err, ERR_REJECTED, "model %s is of kind %s, which has no %s",
			       call->model, model->kind, stage_kind_name(call->kind));
	}
	if (add_common(r, provider, call, model) != 0) {
		*reason = "secret_missing";
		return err_set(err, ERR_REJECTED, "the worker has no secret for model %s",
			       call->model);
	}
	return provider != NULL ? make_model(r, provider, call, model, err)
				: make_http(r, call, model, err);
}

void target_request_done(struct target_request *r)
{
	for (size_t i = 0; i < r->n_headers; i++) {
		explicit_bzero(r->headers[i], strlen(r->headers[i]));
		free(r->headers[i]);
	}
	free(r->url);
	free(r->method);
	strbuf_done(&r->body);
	*r = (struct target_request){0};
}
