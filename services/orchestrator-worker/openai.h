/* The OpenAI chat interface (POST {base}/chat/completions): a request from a stage's input, an
 * answer from its chunks.
 *
 * Source: the OpenAI API reference, "Chat completions" and its streaming chunks. Pure; threads: one
 * owner an answer. */
#ifndef WORKER_OPENAI_H
#define WORKER_OPENAI_H

#include <stdbool.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "services/orchestrator-worker/saga.h"

/* input: a string (one user message), an array (the messages), or an object {messages, …any other
 * parameter}. model and max_tokens (0: none) are the target's and the stage's; they win over the
 * input's, and the answer is always asked for as a stream, with its usage. ERR_REJECTED for another
 * input. */
int openai_request(const char *input, size_t len, const char *model, int64_t max_tokens,
		   struct strbuf *out, struct error *err) MUST_CHECK;

struct openai_answer {
	struct strbuf text; /* all of it so far */
	size_t fresh;       /* where what the last chunk added begins */
	char model[128], finish_reason[32];
	bool has_usage, finished; /* finished: "[DONE]", or a whole answer */
	bool failed;              /* the other side reported an error in the stream */
	char error[200];
	struct saga_usage usage;
	size_t max;
};

void openai_init(struct openai_answer *a, size_t max);
void openai_done(struct openai_answer *a);
/* The data of one event. -1 and *err: no chunk at all (ERR_REJECTED), or too long a text
 * (ERR_FATAL). */
int openai_chunk(struct openai_answer *a, const char *data, size_t len,
		 struct error *err) MUST_CHECK;
/* A whole answer, not streamed. */
int openai_whole(struct openai_answer *a, const char *data, size_t len,
		 struct error *err) MUST_CHECK;
/* {text, model, finish_reason, usage} */
void openai_output(const struct openai_answer *a, struct strbuf *out);
/* The words of an error's body ({"error": {"message": …}}), else the beginning of the body; out
 * ends in NUL. */
void openai_error_text(const char *body, size_t len, char *out, size_t size);

#endif
