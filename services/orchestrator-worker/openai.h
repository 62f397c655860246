/* The OpenAI chat interface (POST {base}/chat/completions), as an implementation of provider.h.
 *
 * Source: the OpenAI API reference, "Chat completions" and its streaming chunks. */
#ifndef WORKER_OPENAI_H
#define WORKER_OPENAI_H

#include "services/orchestrator-worker/provider.h"

/* input: a string (one user message), an array (the messages), or an object {messages, …any other
 * parameter}. model and max_tokens (0: none) are the target's and the stage's; they win over the
 * input's, and the answer is always asked for as a stream, with its usage. ERR_REJECTED for another
 * input. */
int openai_request(const char *input, size_t len, const char *model, int64_t max_tokens,
		   struct strbuf *out, struct error *err) MUST_CHECK;
int openai_chunk(struct reply *r, const char *data, size_t len, struct error *err) MUST_CHECK;
int openai_whole(struct reply *r, const char *data, size_t len, struct error *err) MUST_CHECK;
/* The words of an error's body ({"error": {"message": …}}, as Anthropic's as well), else the
 * beginning of the body; out ends in NUL. */
void openai_error_text(const char *body, size_t len, char *out, size_t size);
/* {"error": …} of an answer, if there is one: r has failed. Also of embeddings. */
bool openai_take_error(struct reply *r, const json_t *doc);

#endif
