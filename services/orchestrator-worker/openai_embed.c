/* The OpenAI embeddings interface (POST {base}/embeddings), as an implementation of provider.h: a
 * text, several, or {input, …any other parameter}, to {embeddings, model, usage} with a vector for
 * each text, in their order.
 *
 * Source: the OpenAI API reference, "Embeddings". */
#include "common/json.h"
#include "services/orchestrator-worker/openai.h"

static int request(const char *input, size_t len, const char *model, int64_t max_tokens,
		   struct strbuf *out, struct error *err)
{
	(void)max_tokens; /* nothing is made that could be bounded */
	json_t *value = json_parse(input, len, err), *ask = NULL;
	if (value == NULL)
		return -1;
	if (json_is_string(value) || json_array_size(value) > 0)
		ask = json_pack("{s:O}", "input", value);
	else if (json_is_object(value) && json_object_get(value, "input") != NULL)
		ask = json_incref(value);
	json_decref(value);
	if (ask == NULL)
		return err_set(err, ERR_REJECTED,
			       "the input of embed must be a text, texts, or an object with input");
	json_object_set_new(ask, "model", json_string(model));
	json_object_set_new(ask, "encoding_format", json_string("float"));
	json_add(out, ask);
	json_decref(ask);
	return 0;
}

/* Each vector at its index, whatever their order; none missing. */
static int take_vectors(struct reply *r, const json_t *data, struct error *err)
{
	size_t n = json_array_size(data), i;
	const json_t *item;
	r->vectors = json_array();
	for (i = 0; i < n; i++)
		json_array_append_new(r->vectors, json_null());
	json_array_foreach(data, i, item)
	{
		const json_t *at = json_object_get(item, "index");
		int64_t index = json_is_integer(at) ? json_integer_value(at) : (int64_t)i;
		json_t *vector = json_object_get(item, "embedding");
		if (index < 0 || index >= (int64_t)n || json_array_size(vector) == 0 ||
		    !json_is_null(json_array_get(r->vectors, (size_t)index)))
			return err_set(err, ERR_REJECTED, "the answer is no list of vectors");
		json_array_set(r->vectors, (size_t)index, vector);
	}
	return n > 0 ? 0 : err_set(err, ERR_REJECTED, "the answer has no vectors");
}

static int whole(struct reply *r, const char *data, size_t len, struct error *err)
{
	json_t *doc = reply_parse(data, len, err);
	if (doc == NULL)
		return -1;
	const json_t *usage = json_object_get(doc, "usage");
	int bad = 0;
	if (!openai_take_error(r, doc)) {
		bad = take_vectors(r, json_object_get(doc, "data"), err);
		reply_copy(r->model, sizeof(r->model), json_object_get(doc, "model"));
		if (json_is_object(usage))
			reply_set_usage(r, reply_count(usage, "prompt_tokens"), 0);
	}
	r->finished = true;
	json_decref(doc);
	return bad;
}

static void output(const struct reply *r, struct strbuf *out)
{
	strbuf_adds(out, "{\"embeddings\":");
	json_add(out, r->vectors);
	strbuf_adds(out, ",\"model\":");
	strbuf_add_json(out, r->model);
	if (r->has_usage)
		strbuf_addf(out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}",
			    (long long)r->usage.prompt_tokens, (long long)r->usage.total_tokens);
	else
		strbuf_adds(out, ",\"usage\":null}");
}

const struct provider openai_embed_provider = {
    .kind = "openai",
    .stage = KIND_EMBED,
    .path = "/embeddings",
    .secret_header = "Authorization: Bearer ",
    .request = request,
    .whole = whole,
    .output = output,
};
