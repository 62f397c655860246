#include "services/orchestrator-worker/provider.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"

const struct provider *provider_of(const char *model_kind, enum stage_kind stage)
{
	static const struct provider *const all[] = {&openai_provider, &openai_embed_provider,
						     &anthropic_provider};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i]->stage == stage && strcmp(all[i]->kind, model_kind) == 0)
			return all[i];
	return NULL;
}

void reply_init(struct reply *r, size_t max)
{
	*r = (struct reply){.max = max};
}

void reply_done(struct reply *r)
{
	strbuf_done(&r->text);
	for (size_t i = 0; i < r->n_tools; i++) {
		free(r->tools[i].id);
		free(r->tools[i].name);
		strbuf_done(&r->tools[i].arguments);
	}
	free(r->tools);
	json_decref(r->vectors);
}

static void add_tools(const struct reply *r, struct strbuf *out)
{
	strbuf_adds(out, ",\"tool_calls\":[");
	for (size_t i = 0; i < r->n_tools; i++) {
		const struct reply_tool *tool = &r->tools[i];
		strbuf_adds(out, i > 0 ? ",{\"id\":" : "{\"id\":");
		strbuf_add_json(out, tool->id);
		strbuf_adds(out, ",\"type\":\"function\",\"function\":{\"name\":");
		strbuf_add_json(out, tool->name);
		strbuf_adds(out, ",\"arguments\":");
		strbuf_add_jsonn(out, strbuf_str(&tool->arguments), tool->arguments.len);
		strbuf_adds(out, "}}");
	}
	strbuf_addc(out, ']');
}

void reply_output(const struct reply *r, struct strbuf *out)
{
	strbuf_adds(out, "{\"text\":");
	strbuf_add_jsonn(out, strbuf_str(&r->text), r->text.len);
	strbuf_adds(out, ",\"model\":");
	strbuf_add_json(out, r->model);
	strbuf_adds(out, ",\"finish_reason\":");
	strbuf_add_json(out, r->finish_reason[0] != '\0' ? r->finish_reason : NULL);
	strbuf_adds(out, ",\"usage\":");
	if (r->has_usage)
		strbuf_addf(out,
			    "{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
			    "\"total_tokens\":%lld}",
			    (long long)r->usage.prompt_tokens,
			    (long long)r->usage.completion_tokens,
			    (long long)r->usage.total_tokens);
	else
		strbuf_adds(out, "null");
	if (r->n_tools > 0)
		add_tools(r, out);
	strbuf_addc(out, '}');
}

void reply_copy(char *out, size_t size, const json_t *value)
{
	if (!json_is_string(value))
		return;
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);
	if (len >= size) {
		len = size - 1;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(out, text, len);
	out[len] = '\0';
}

static int check_room(const struct reply *r, size_t len, struct error *err)
{
	if (r->text.len + r->tools_bytes + len > r->max)
		return err_set(err, ERR_FATAL, "the answer is longer than %zu bytes", r->max);
	return 0;
}

int reply_add_text(struct reply *r, const json_t *value, struct error *err)
{
	size_t len = json_string_length(value);
	if (check_room(r, len, err))
		return -1;
	if (len > 0)
		strbuf_add(&r->text, json_string_value(value), len);
	return 0;
}

int reply_add_tool(struct reply *r, size_t i, const json_t *id, const json_t *name,
		   const char *arguments, size_t len, struct error *err)
{
	if (i > r->n_tools || i >= REPLY_TOOLS_MAX)
		return err_set(err, ERR_REJECTED, "the tool calls are not in order");
	size_t bytes = len + json_string_length(id) + json_string_length(name);
	if (check_room(r, bytes, err))
		return -1;
	r->tools_bytes += bytes;
	if (i == r->n_tools) {
		r->tools = xrealloc(r->tools, (r->n_tools + 1) * sizeof(*r->tools));
		r->tools[r->n_tools++] = (struct reply_tool){0};
	}
	struct reply_tool *tool = &r->tools[i];
	if (tool->id == NULL && json_is_string(id))
		tool->id = xstrdup(json_string_value(id));
	if (tool->name == NULL && json_is_string(name))
		tool->name = xstrdup(json_string_value(name));
	if (len > 0)
		strbuf_add(&tool->arguments, arguments, len);
	return 0;
}

int64_t reply_count(const json_t *usage, const char *name)
{
	int64_t n = json_integer_value(json_object_get(usage, name));
	return n > 0 ? n : 0;
}

void reply_set_usage(struct reply *r, int64_t prompt, int64_t completion)
{
	r->has_usage = true;
	r->usage = (struct saga_usage){.prompt_tokens = prompt,
				       .completion_tokens = completion,
				       .total_tokens = prompt + completion};
}

json_t *reply_parse(const char *data, size_t len, struct error *err)
{
	json_t *doc = json_parse(data, len, err);
	if (json_is_object(doc))
		return doc;
	json_decref(doc);
	err_set(err, ERR_REJECTED, "the answer is no JSON object");
	return NULL;
}

json_t *chat_request_of(const char *input, size_t len, struct error *err)
{
	json_t *value = json_parse(input, len, err), *request = NULL;
	if (value == NULL)
		return NULL;
	if (json_is_string(value))
		request =
		    json_pack("{s:[{s:s, s:O}]}", "messages", "role", "user", "content", value);
	else if (json_is_array(value) && json_array_size(value) > 0)
		request = json_pack("{s:O}", "messages", value);
	else if (json_array_size(json_object_get(value, "messages")) > 0)
		request = json_incref(value);
	json_decref(value);
	if (request == NULL)
		err_set(err, ERR_REJECTED,
			"the input of a chat must be a text, messages, or an object with messages");
	return request;
}
