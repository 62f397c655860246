#include "services/orchestrator-worker/openai.h"

#include <string.h>

#include "common/json.h"

int openai_request(const char *input, size_t len, const char *model, int64_t max_tokens,
		   struct strbuf *out, struct error *err)
{
	json_t *request = chat_request_of(input, len, err);
	if (request == NULL)
		return -1;
	json_object_set_new(request, "model", json_string(model));
	if (max_tokens > 0)
		json_object_set_new(request, "max_tokens", json_integer(max_tokens));
	json_object_set_new(request, "stream", json_true());
	json_object_set_new(request, "stream_options", json_pack("{s:b}", "include_usage", 1));
	json_add(out, request);
	json_decref(request);
	return 0;
}

bool openai_take_error(struct reply *r, const json_t *doc)
{
	const json_t *error = json_object_get(doc, "error");
	if (error == NULL || json_is_null(error))
		return false;
	const json_t *message = json_object_get(error, "message");
	r->failed = true;
	reply_copy(r->error, sizeof(r->error), message != NULL ? message : error);
	return true;
}

static void take_usage(struct reply *r, const json_t *usage)
{
	if (!json_is_object(usage))
		return;
	reply_set_usage(r, reply_count(usage, "prompt_tokens"),
			reply_count(usage, "completion_tokens"));
	int64_t total = reply_count(usage, "total_tokens");
	if (total > 0)
		r->usage.total_tokens = total;
}

/* Calls come in pieces, each with the index of its call; whole ones have none. */
static int take_tools(struct reply *r, const json_t *calls, struct error *err)
{
	size_t i;
	const json_t *call;
	json_array_foreach(calls, i, call)
	{
		const json_t *at = json_object_get(call, "index");
		const json_t *function = json_object_get(call, "function");
		const json_t *arguments = json_object_get(function, "arguments");
		int64_t index = json_is_integer(at) ? json_integer_value(at) : (int64_t)i;
		if (index < 0)
			index = REPLY_TOOLS_MAX; /* refused */
		if (reply_add_tool(r, (size_t)index, json_object_get(call, "id"),
				   json_object_get(function, "name"), json_string_value(arguments),
				   json_string_length(arguments), err))
			return -1;
	}
	return 0;
}

/* part: where the text is in a choice: "delta" of a chunk, "message" of a whole answer. */
static int take(struct reply *r, const json_t *doc, const char *part, struct error *err)
{
	if (openai_take_error(r, doc))
		return 0;
	const json_t *choice = json_array_get(json_object_get(doc, "choices"), 0);
	const json_t *said = json_object_get(choice, part);
	if (reply_add_text(r, json_object_get(said, "content"), err) ||
	    take_tools(r, json_object_get(said, "tool_calls"), err))
		return -1;
	reply_copy(r->model, sizeof(r->model), json_object_get(doc, "model"));
	reply_copy(r->finish_reason, sizeof(r->finish_reason),
		   json_object_get(choice, "finish_reason"));
	take_usage(r, json_object_get(doc, "usage"));
	return 0;
}

static int take_bytes(struct reply *r, const char *data, size_t len, const char *part,
		      struct error *err)
{
	r->fresh = r->text.len;
	json_t *doc = reply_parse(data, len, err);
	if (doc == NULL)
		return -1;
	int bad = take(r, doc, part, err);
	json_decref(doc);
	return bad;
}

int openai_chunk(struct reply *r, const char *data, size_t len, struct error *err)
{
	r->fresh = r->text.len;
	if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
		r->finished = true;
		return 0;
	}
	return take_bytes(r, data, len, "delta", err);
}

int openai_whole(struct reply *r, const char *data, size_t len, struct error *err)
{
	if (take_bytes(r, data, len, "message", err))
		return -1;
	r->finished = true;
	return 0;
}

void openai_error_text(const char *body, size_t len, char *out, size_t size)
{
	struct error err;
	json_t *doc = json_parse(body, len, &err);
	const json_t *error = json_object_get(doc, "error");
	const json_t *message = json_object_get(error, "message");
	out[0] = '\0';
	reply_copy(out, size, message != NULL ? message : error);
	json_decref(doc);
	if (out[0] != '\0')
		return;
	size_t n = 0; /* plain printable ASCII: this is shown to people and written as JSON */
	for (size_t i = 0; i < len && n < size - 1 && n < 120; i++)
		if (body[i] >= ' ' && body[i] < 127)
			out[n++] = body[i];
	out[n] = '\0';
}

const struct provider openai_provider = {
    .kind = "openai",
    .stage = KIND_CHAT,
    .path = "/chat/completions",
    .secret_header = "Authorization: Bearer ",
    .request = openai_request,
    .event = openai_chunk,
    .whole = openai_whole,
    .output = reply_output,
};
