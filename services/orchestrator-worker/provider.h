/* Who makes models and how they are spoken to: one small interface, an implementation for each
 * (openai.c, openai_embed.c, anthropic.c). A plain HTTP request (kind http of a stage) has no
 * provider: its input says everything.
 *
 * A provider turns a stage's input into the body of a request, and what comes back into one form
 * of answer, whoever gave it: a pipeline does not change with the model. Pure; threads: one owner
 * an answer. */
#ifndef WORKER_PROVIDER_H
#define WORKER_PROVIDER_H

#include <jansson.h>
#include <stdbool.h>

#include "common/err.h"
#include "common/pipeline.h"
#include "common/strbuf.h"
#include "services/orchestrator-worker/saga.h"

#define REPLY_TOOLS_MAX 128

/* A call of a function that the model wants. */
struct reply_tool {
	char *id, *name;         /* NULL: not said (yet) */
	struct strbuf arguments; /* JSON text, as the model wrote it: it need not be valid */
};

/* An answer, as far as it has come. */
struct reply {
	struct strbuf text; /* all of it so far */
	size_t fresh;       /* where what the last event added begins */
	struct reply_tool *tools;
	size_t n_tools, tools_bytes;
	json_t *vectors; /* of embeddings */
	char model[128], finish_reason[32];
	bool has_usage, finished; /* finished: the last event, or a whole answer */
	bool failed;              /* the other side reported an error in the stream */
	char error[200];
	struct saga_usage usage;
	size_t max; /* bytes of text and tools */
};

struct provider {
	const char *kind; /* of the model */
	enum stage_kind stage;
	const char *path;          /* added to the model's URL */
	const char *secret_header; /* what stands before the secret */
	const char *header;        /* one more, or NULL */
	/* The body for a stage's input. max_tokens 0: none. ERR_REJECTED for another input. */
	int (*request)(const char *input, size_t len, const char *model, int64_t max_tokens,
		       struct strbuf *out, struct error *err);
	/* The data of one event of the stream; NULL: answers come whole. -1 and *err: no event at
	 * all (ERR_REJECTED), or too long an answer (ERR_FATAL). */
	int (*event)(struct reply *r, const char *data, size_t len, struct error *err);
	/* A whole answer, not streamed. Errors as above. */
	int (*whole)(struct reply *r, const char *data, size_t len, struct error *err);
	void (*output)(const struct reply *r, struct strbuf *out); /* the stage's */
};

extern const struct provider openai_provider, openai_embed_provider, anthropic_provider;
/* NULL: a model of this kind cannot do it. */
const struct provider *provider_of(const char *model_kind, enum stage_kind stage);

void reply_init(struct reply *r, size_t max);
void reply_done(struct reply *r);
/* {text, model, finish_reason, usage, tool_calls?}, the calls in OpenAI's form. */
void reply_output(const struct reply *r, struct strbuf *out);

/* --- for the implementations --------------------------------------------------------------- */

/* No longer than its place, and not cut inside a character; value may be anything. */
void reply_copy(char *out, size_t size, const json_t *value);
/* -1: the answer is too long (ERR_FATAL). value may be anything. */
int reply_add_text(struct reply *r, const json_t *value, struct error *err) MUST_CHECK;
/* The i-th tool call gets what is not NULL; arguments are added to those before. Likewise. */
int reply_add_tool(struct reply *r, size_t i, const json_t *id, const json_t *name,
		   const char *arguments, size_t len, struct error *err) MUST_CHECK;
/* A count of tokens, 0 for anything else. */
int64_t reply_count(const json_t *usage, const char *name);
void reply_set_usage(struct reply *r, int64_t prompt, int64_t completion);
/* An object, owned; NULL and ERR_REJECTED for anything else. */
json_t *reply_parse(const char *data, size_t len, struct error *err);
/* A chat's input as an object with messages, owned; NULL and ERR_REJECTED for another form. */
json_t *chat_request_of(const char *input, size_t len, struct error *err);

#endif
