#include "services/orchestrator-worker/openai.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"

/* The request's object, with messages in it. Owned; NULL for an input of another form. */
static json_t *request_of(json_t *input)
{
	if (json_is_string(input))
		return json_pack("{s:[{s:s, s:O}]}", "messages", "role", "user", "content", input);
	if (json_is_array(input) && json_array_size(input) > 0)
		return json_pack("{s:O}", "messages", input);
	if (json_is_object(input) && json_array_size(json_object_get(input, "messages")) > 0)
		return json_incref(input);
	return NULL;
}

int openai_request(const char *input, size_t len, const char *model, int64_t max_tokens,
		   struct strbuf *out, struct error *err)
{
	json_t *value = json_parse(input, len, err);
	if (value == NULL)
		return -1;
	json_t *request = request_of(value);
	json_decref(value);
	if (request == NULL)
		return err_set(err, ERR_REJECTED,
			       "the input of a chat must be a text, messages, or an object with "
			       "messages");
	json_object_set_new(request, "model", json_string(model));
	if (max_tokens > 0)
		json_object_set_new(request, "max_tokens", json_integer(max_tokens));
	json_object_set_new(request, "stream", json_true());
	json_object_set_new(request, "stream_options", json_pack("{s:b}", "include_usage", 1));
	json_add(out, request);
	json_decref(request);
	return 0;
}

void openai_init(struct openai_answer *a, size_t max)
{
	*a = (struct openai_answer){.max = max};
}

void openai_done(struct openai_answer *a)
{
	strbuf_done(&a->text);
}

/* No longer than its place, and not cut inside a character. */
static void copy_text(char *out, size_t size, const char *text, size_t len)
{
	if (len >= size) {
		len = size - 1;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(out, text, len);
	out[len] = '\0';
}

static void take_text(char *out, size_t size, const json_t *value)
{
	if (json_is_string(value))
		copy_text(out, size, json_string_value(value), json_string_length(value));
}

static int64_t count_of(const json_t *usage, const char *name)
{
	int64_t n = json_integer_value(json_object_get(usage, name));
	return n > 0 ? n : 0;
}

static void take_usage(struct openai_answer *a, const json_t *usage)
{
	if (!json_is_object(usage))
		return;
	a->has_usage = true;
	a->usage = (struct saga_usage){.prompt_tokens = count_of(usage, "prompt_tokens"),
				       .completion_tokens = count_of(usage, "completion_tokens"),
				       .total_tokens = count_of(usage, "total_tokens")};
	if (a->usage.total_tokens == 0)
		a->usage.total_tokens = a->usage.prompt_tokens + a->usage.completion_tokens;
}

/* part: where the text is in a choice: "delta" of a chunk, "message" of a whole answer. */
static int take(struct openai_answer *a, const json_t *doc, const char *part, struct error *err)
{
	const json_t *error = json_object_get(doc, "error");
	if (error != NULL && !json_is_null(error)) {
		const json_t *message = json_object_get(error, "message");
		a->failed = true;
		take_text(a->error, sizeof(a->error), message != NULL ? message : error);
		return 0;
	}
	const json_t *choice = json_array_get(json_object_get(doc, "choices"), 0);
	const json_t *content = json_object_get(json_object_get(choice, part), "content");
	size_t len = json_string_length(content);
	if (a->text.len + len > a->max)
		return err_set(err, ERR_FATAL, "the answer is longer than %zu bytes", a->max);
	if (len > 0)
		strbuf_add(&a->text, json_string_value(content), len);
	take_text(a->model, sizeof(a->model), json_object_get(doc, "model"));
	take_text(a->finish_reason, sizeof(a->finish_reason),
		  json_object_get(choice, "finish_reason"));
	take_usage(a, json_object_get(doc, "usage"));
	return 0;
}

static int take_bytes(struct openai_answer *a, const char *data, size_t len, const char *part,
		      struct error *err)
{
	a->fresh = a->text.len;
	json_t *doc = json_parse(data, len, err);
	if (doc == NULL || !json_is_object(doc)) {
		json_decref(doc);
		return err_set(err, ERR_REJECTED, "the answer is no JSON object");
	}
	int r = take(a, doc, part, err);
	json_decref(doc);
	return r;
}

int openai_chunk(struct openai_answer *a, const char *data, size_t len, struct error *err)
{
	a->fresh = a->text.len;
	if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
		a->finished = true;
		return 0;
	}
	return take_bytes(a, data, len, "delta", err);
}

int openai_whole(struct openai_answer *a, const char *data, size_t len, struct error *err)
{
	if (take_bytes(a, data, len, "message", err))
		return -1;
	a->finished = true;
	return 0;
}

void openai_output(const struct openai_answer *a, struct strbuf *out)
{
	strbuf_adds(out, "{\"text\":");
	strbuf_add_jsonn(out, strbuf_str(&a->text), a->text.len);
	strbuf_adds(out, ",\"model\":");
	strbuf_add_json(out, a->model);
	strbuf_adds(out, ",\"finish_reason\":");
	strbuf_add_json(out, a->finish_reason[0] != '\0' ? a->finish_reason : NULL);
	strbuf_adds(out, ",\"usage\":");
	if (a->has_usage)
		strbuf_addf(out,
			    "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
			    "\"total_tokens\":%lld}}",
			    (long long)a->usage.prompt_tokens,
			    (long long)a->usage.completion_tokens,
			    (long long)a->usage.total_tokens);
	else
		strbuf_adds(out, "null}");
}

void openai_error_text(const char *body, size_t len, char *out, size_t size)
{
	struct error err;
	json_t *doc = json_parse(body, len, &err);
	const json_t *error = json_object_get(doc, "error");
	const json_t *message = json_object_get(error, "message");
	out[0] = '\0';
	take_text(out, size, message != NULL ? message : error);
	json_decref(doc);
	if (out[0] != '\0')
		return;
	size_t n = 0; /* plain printable ASCII: this is shown to people and written as JSON */
	for (size_t i = 0; i < len && n < size - 1 && n < 120; i++)
		if (body[i] >= ' ' && body[i] < 127)
			out[n++] = body[i];
	out[n] = '\0';
}
