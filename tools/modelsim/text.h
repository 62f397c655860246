/* What the simulated models do with words: tokens, an extractive summary, a hashed embedding.
 *
 * Pure: the answer depends on the input alone. Threads: any. Texts are UTF-8 and need no NUL. */
#ifndef MODELSIM_TEXT_H
#define MODELSIM_TEXT_H

#include <stddef.h>

#include "common/strbuf.h"

/* Length of the first token of text: leading white space and then up to six letters or digits, or
 * one other character. Never splits a UTF-8 sequence; 0 only for len 0. All tokens together are the
 * text again. */
size_t text_token(const char *text, size_t len);
size_t text_count_tokens(const char *text, size_t len);

enum manner {
	MANNER_SENTENCES, /* the key sentences, in the document's order */
	MANNER_BULLETS,   /* a title and the key statements, shortened, as a list */
	MANNER_PARAGRAPH, /* the key statements, shortened, in one paragraph */
};

/* Appends the summary of a document (plain text or Markdown: headings, code, tables and pictures
 * are no sentences). A document without a sentence is given back in its first words. */
void text_summarise(const char *doc, size_t len, enum manner manner, struct strbuf *out);

/* Feature hashing (Weinberger et al., 2009): each word adds +1 or -1 to one of n places; then the
 * vector is scaled to length 1. A text without words gives the zero vector. */
void text_embed(const char *text, size_t len, float *vector, size_t n);

#endif
