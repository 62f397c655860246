/* POST /v1/embeddings: a vector for each text, hashed from its words; answered at once. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "tools/modelsim/sim.h"

#define DIMENSIONS     256
#define DIMENSIONS_MAX 4096
#define INPUTS_MAX     2048

static void add_vector(const float *vector, size_t n, bool base64, struct strbuf *out)
{
	if (base64) { /* little-endian float32, as OpenAI's clients ask for it */
		char *text = xmalloc((n * sizeof(float) + 2) / 3 * 4 + 1);

		EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)vector,
				(int)(n * sizeof(float)));
		strbuf_addf(out, "\"%s\"", text);
		free(text);
		return;
	}
	for (size_t i = 0; i < n; i++)
		strbuf_addf(out, "%c%.9g", i == 0 ? '[' : ',', (double)vector[i]);
	strbuf_addc(out, ']');
}

static const json_t *nth_input(const json_t *input, size_t i)
{
	return json_is_array(input) ? json_array_get(input, i) : input;
}

static int check_inputs(const json_t *input, size_t n, int64_t *tokens, struct error *err)
{
	if (n == 0 || n > INPUTS_MAX)
		return err_set(err, ERR_REJECTED, "input must be a string or 1 to %d strings",
			       INPUTS_MAX);
	for (size_t i = 0; i < n; i++) {
		const json_t *text = nth_input(input, i);

		if (!json_is_string(text))
			return err_set(err, ERR_REJECTED,
				       "input must be a string or an array of strings");
		*tokens +=
		    (int64_t)text_count_tokens(json_string_value(text), json_string_length(text));
	}
	return 0;
}

static void answer(struct http_conn *conn, struct model *model, const json_t *input, size_t n,
		   size_t dimensions, bool base64, int64_t tokens)
{
	struct strbuf body = {0};
	float *vector = xcalloc(dimensions, sizeof(*vector));

	strbuf_addf(&body, "{\"object\":\"list\",\"model\":\"%s\",\"data\":[", model->name);
	for (size_t i = 0; i < n; i++) {
		const json_t *text = nth_input(input, i);

		text_embed(json_string_value(text), json_string_length(text), vector, dimensions);
		strbuf_addf(&body, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":",
			    i ? "," : "", i);
		add_vector(vector, dimensions, base64, &body);
		strbuf_addc(&body, '}');
	}
	strbuf_addf(&body, "],\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}",
		    (long long)tokens, (long long)tokens);
	model->stats.bytes_out += (int64_t)body.len;
	http_reply(conn, 200, NULL, body.data, body.len);
	strbuf_done(&body);
	free(vector);
}

void embed_request(struct sim *sim, struct http_conn *conn, const struct http_req *req)
{
	struct error err;
	struct knobs knobs;
	const char *name, *format = NULL;
	int64_t dimensions = DIMENSIONS, tokens = 0;
	struct model *model;
	json_t *doc = json_parse(req->body, req->body_len, &err), *input;
	size_t n;

	if (!doc || !json_is_object(doc) || json_get_text(doc, "model", true, &name, &err) != 0) {
		sim_error(conn, 400, "invalid_request_error", NULL,
			  doc ? "model is missing" : err.msg, 0);
		json_decref(doc);
		return;
	}
	input = json_object_get(doc, "input");
	n = json_is_array(input) ? json_array_size(input) : 1;
	model = sim_enter(sim, conn, req, name, &knobs);
	if (!model) {
		json_decref(doc);
		return;
	}
	if (json_get_int(doc, "dimensions", false, 1, DIMENSIONS_MAX, &dimensions, &err) != 0 ||
	    json_get_text(doc, "encoding_format", false, &format, &err) != 0 ||
	    check_inputs(input, n, &tokens, &err) != 0) {
		model->stats.rejected++;
		sim_error(conn, 400, "invalid_request_error", NULL, err.msg, 0);
	} else if (format && strcmp(format, "float") != 0 && strcmp(format, "base64") != 0) {
		model->stats.rejected++;
		sim_error(conn, 400, "invalid_request_error", NULL,
			  "encoding_format is float or base64", 0);
	} else if (sim_admit(sim, conn, model, &knobs, tokens, 0)) {
		answer(conn, model, input, n, (size_t)dimensions,
		       format && strcmp(format, "base64") == 0, tokens);
		model->stats.completed++;
		sim_leave(model);
	}
	json_decref(doc);
}
