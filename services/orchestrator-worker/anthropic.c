/* The Anthropic messages interface (POST {base}/messages), as an implementation of provider.h.
 *
 * Source: the Anthropic API reference, "Messages" and "Streaming messages" (version 2023-06-01).
 * The input has the form of every chat's: messages of the role system become `system`, and all
 * other parameters are passed through. The answer gets the form of every chat's as well: stop
 * reasons and tool calls are translated. */
#include <string.h>

#include "common/json.h"
#include "services/orchestrator-worker/openai.h"

#define MAX_TOKENS 4096 /* the interface demands a number */

static void add_system(struct strbuf *system, const json_t *content)
{
	size_t i;
	const json_t *part;
	if (system->len > 0)
		strbuf_adds(system, "\n\n");
	if (json_is_string(content))
		strbuf_add(system, json_string_value(content), json_string_length(content));
	json_array_foreach(content, i, part)
	{
		const json_t *text = json_object_get(part, "text");
		if (json_is_string(text))
			strbuf_add(system, json_string_value(text), json_string_length(text));
	}
}

/* Messages of the role system stand apart here. The input's own array is left as it is. */
static void move_system(json_t *request)
{
	struct strbuf system = {0};
	json_t *kept = json_array(), *message;
	size_t i;
	json_array_foreach(json_object_get(request, "messages"), i, message)
	{
		const char *role = json_string_value(json_object_get(message, "role"));
		if (role != NULL && strcmp(role, "system") == 0)
			add_system(&system, json_object_get(message, "content"));
		else
			json_array_append(kept, message);
	}
	json_object_set_new(request, "messages", kept);
	if (system.len > 0 && json_object_get(request, "system") == NULL)
		json_object_set_new(request, "system", json_stringn(system.data, system.len));
	strbuf_done(&system);
}

static int request(const char *input, size_t len, const char *model, int64_t max_tokens,
		   struct strbuf *out, struct error *err)
{
	json_t *ask = chat_request_of(input, len, err);
	if (ask == NULL)
		return -1;
	move_system(ask);
	json_object_set_new(ask, "model", json_string(model));
	if (max_tokens > 0)
		json_object_set_new(ask, "max_tokens", json_integer(max_tokens));
	else if (json_object_get(ask, "max_tokens") == NULL)
		json_object_set_new(ask, "max_tokens", json_integer(MAX_TOKENS));
	json_object_set_new(ask, "stream", json_true());
	json_add(out, ask);
	json_decref(ask);
	return 0;
}

static void take_stop(struct reply *r, const json_t *reason)
{
	static const char *const words[][2] = {{"end_turn", "stop"},
					       {"stop_sequence", "stop"},
					       {"max_tokens", "length"},
					       {"tool_use", "tool_calls"}};
	reply_copy(r->finish_reason, sizeof(r->finish_reason), reason);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(r->finish_reason, words[i][0]) == 0)
			strcpy(r->finish_reason, words[i][1]);
}

/* Counts are totals so far; a message's start has both, its end the tokens that were made. What
 * was read from a cache or put there is prompt as well. */
static void take_usage(struct reply *r, const json_t *usage)
{
	if (!json_is_object(usage))
		return;
	int64_t prompt = reply_count(usage, "input_tokens") +
			 reply_count(usage, "cache_creation_input_tokens") +
			 reply_count(usage, "cache_read_input_tokens");
	reply_set_usage(r, prompt > 0 ? prompt : r->usage.prompt_tokens,
			reply_count(usage, "output_tokens"));
}

/* A block of content, whole or its beginning: text, or the use of a tool. */
static int take_block(struct reply *r, const json_t *block, bool is_whole, struct error *err)
{
	const char *type = json_string_value(json_object_get(block, "type"));
	if (type != NULL && strcmp(type, "text") == 0)
		return reply_add_text(r, json_object_get(block, "text"), err);
	if (type == NULL || strcmp(type, "tool_use") != 0)
		return 0; /* thinking, and what is still to come */
	struct strbuf arguments = {0};
	if (is_whole) /* else the input follows in pieces */
		json_add(&arguments, json_object_get(block, "input"));
	int bad =
	    reply_add_tool(r, r->n_tools, json_object_get(block, "id"),
			   json_object_get(block, "name"), arguments.data, arguments.len, err);
	strbuf_done(&arguments);
	return bad;
}

/* Blocks come one after the other: a piece of a tool's input belongs to the newest one. */
static int take_delta(struct reply *r, const json_t *delta, struct error *err)
{
	const json_t *piece = json_object_get(delta, "partial_json");
	if (json_is_string(piece) && r->n_tools > 0)
		return reply_add_tool(r, r->n_tools - 1, NULL, NULL, json_string_value(piece),
				      json_string_length(piece), err);
	return reply_add_text(r, json_object_get(delta, "text"), err);
}

static int take_event(struct reply *r, const json_t *doc, const char *type, struct error *err)
{
	const json_t *delta = json_object_get(doc, "delta");
	if (strcmp(type, "message_start") == 0) {
		const json_t *message = json_object_get(doc, "message");
		reply_copy(r->model, sizeof(r->model), json_object_get(message, "model"));
		take_usage(r, json_object_get(message, "usage"));
	} else if (strcmp(type, "content_block_start") == 0) {
		return take_block(r, json_object_get(doc, "content_block"), false, err);
	} else if (strcmp(type, "content_block_delta") == 0) {
		return take_delta(r, delta, err);
	} else if (strcmp(type, "message_delta") == 0) {
		take_stop(r, json_object_get(delta, "stop_reason"));
		take_usage(r, json_object_get(doc, "usage"));
	} else if (strcmp(type, "message_stop") == 0) {
		r->finished = true;
	}
	return 0; /* ping, and what is still to come */
}

static int event(struct reply *r, const char *data, size_t len, struct error *err)
{
	r->fresh = r->text.len;
	json_t *doc = reply_parse(data, len, err);
	if (doc == NULL)
		return -1;
	const char *type = json_string_value(json_object_get(doc, "type"));
	int bad = 0;
	if (!openai_take_error(r, doc) && type != NULL)
		bad = take_event(r, doc, type, err);
	json_decref(doc);
	return bad;
}

static int whole(struct reply *r, const char *data, size_t len, struct error *err)
{
	json_t *doc = reply_parse(data, len, err), *block;
	size_t i;
	int bad = 0;
	if (doc == NULL)
		return -1;
	if (!openai_take_error(r, doc)) {
		json_array_foreach(json_object_get(doc, "content"), i, block)
		{
			if ((bad = take_block(r, block, true, err)) != 0)
				break;
		}
		reply_copy(r->model, sizeof(r->model), json_object_get(doc, "model"));
		take_stop(r, json_object_get(doc, "stop_reason"));
		take_usage(r, json_object_get(doc, "usage"));
	}
	r->finished = true;
	json_decref(doc);
	return bad;
}

const struct provider anthropic_provider = {
    .kind = "anthropic",
    .stage = KIND_CHAT,
    .path = "/messages",
    .secret_header = "x-api-key: ",
    .header = "anthropic-version: 2023-06-01",
    .request = request,
    .event = event,
    .whole = whole,
    .output = reply_output,
};
