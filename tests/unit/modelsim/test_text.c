/* Tokens, summaries and embeddings: true of their input, whatever the input is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/rng.h"
#include "common/ws.h"
#include "tests/unit/common/suite.h"
#include "tools/modelsim/text.h"

static const char doc[] =
    "# Water works\n\n"
    "Rivers carry **water** to the sea, e.g. the long ones. The water of rivers drives "
    "[turbines](http://x.example/y). A turbine without water stands still.\n\n"
    "```\ncode is no sentence about water at all\n```\n"
    "    indented code about water is none either\n\n"
    "| water | table |\n|---|---|\n\n"
    "- Some people like `cheese` a lot more.\n"
    "- Turbines make power from the water of rivers.\n";

static char *summary(const char *text, enum manner manner)
{
	struct strbuf out = {0};

	text_summarise(text, strlen(text), manner, &out);
	return strbuf_detach(&out, NULL);
}

START_TEST(tokens_are_the_text_again)
{
	static const char *const texts[] = {"Hello, world!  Straßenbahnhaltestelle…",
					    "  leading",
					    "trailing \n ",
					    "a",
					    "日本語のテキスト",
					    "x\xff\xfe y"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		size_t len = strlen(texts[i]), at = 0, n = 0;

		while (at < len) {
			size_t one = text_token(texts[i] + at, len - at);

			ck_assert_uint_gt(one, 0);
			at += one;
			n++;
			if (i < 5) /* valid UTF-8 is never split within a character */
				ck_assert(at == len ||
					  ((unsigned char)texts[i][at] & 0xc0) != 0x80);
		}
		ck_assert_uint_eq(at, len);
		ck_assert_uint_eq(n, text_count_tokens(texts[i], len));
	}
	ck_assert_uint_eq(text_token("", 0), 0);
	ck_assert_uint_eq(text_count_tokens("Hello, world!", 13), 4);
	ck_assert_uint_eq(text_count_tokens("turbines", 8), 2); /* six letters and two */
}
END_TEST

START_TEST(key_sentences_come_from_the_document_in_order)
{
	char *text = summary(doc, MANNER_SENTENCES), *first, *second;

	first = strstr(text, "The water of rivers drives turbines.");
	second = strstr(text, "Turbines make power from the water of rivers.");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_nonnull(second);
	ck_assert(first < second);
	ck_assert_ptr_null(strstr(text, "code"));
	ck_assert_ptr_null(strstr(text, "table"));
	ck_assert_ptr_null(strstr(text, "Water works"));
	ck_assert_ptr_null(strstr(text, "**"));
	ck_assert_ptr_null(strstr(text, "http"));
	/* "e.g." does not end a sentence. */
	ck_assert_ptr_nonnull(strstr(text, "to the sea, e.g. the long ones."));
	free(text);
}
END_TEST

START_TEST(bullets_have_the_documents_title)
{
	char *text = summary(doc, MANNER_BULLETS);

	ck_assert(strncmp(text, "Water works\n\n- ", 15) == 0);
	free(text);
	text = summary("Rivers carry water. Turbines need water. Water moves turbines every day.",
		       MANNER_BULLETS);
	ck_assert(strncmp(text, "Water, ", 7) == 0); /* no heading: its most frequent words */
	free(text);
}
END_TEST

START_TEST(long_sentences_are_shortened)
{
	char *text = summary(
	    "The gate (which is old) lets the water of the whole valley through in the spring, "
	    "when the "
	    "snow of the mountains melts and the river is as high as it ever gets in a year.",
	    MANNER_PARAGRAPH);

	ck_assert_ptr_null(strstr(text, "old"));
	ck_assert_ptr_null(strstr(text, "ever gets"));
	ck_assert_ptr_nonnull(strstr(text, "The gate lets the water of the whole valley through"));
	free(text);
}
END_TEST

START_TEST(something_is_always_said)
{
	static const char *const texts[] = {
	    "",    "   \n\n ", "# Only a heading", "```\ncode\n", "!!!",   "one two",  "\xff\xfe",
	    "...", "a. b. c.", "- - - - -",        "[](",         "(((((", "| a | b |"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		for (enum manner m = MANNER_SENTENCES; m <= MANNER_PARAGRAPH; m++) {
			char *text = summary(texts[i], m);

			ck_assert_uint_gt(strlen(text), 0);
			free(text);
		}
}
END_TEST

/* Whatever comes: it ends, stays within the input's size (and a little), and valid UTF-8 stays
 * valid. */
START_TEST(random_documents)
{
	static const char *const pieces[] = {
	    "water ", "The gate. ", "\n",   "\n\n",    "# ",   "```\n", "- ",
	    "| ",     "(",          ")",    "[x](y) ", "é",    "日本 ", "…",
	    "! ",     "? ",         "    ", "e.g. ",   "12. ", "*",     "`"};
	struct rng rng;

	rng_seed(&rng, 3);
	for (int i = 0; i < 3000; i++) {
		struct strbuf in = {0};
		uint32_t state = 0;
		char *text;

		for (uint64_t n = rng_below(&rng, 60); n > 0; n--)
			strbuf_adds(&in, pieces[rng_below(&rng, sizeof(pieces) / sizeof(*pieces))]);
		text = summary(strbuf_str(&in), (enum manner)rng_below(&rng, 3));
		ck_assert(ws_utf8(&state, (const uint8_t *)text, strlen(text)) && state == 0);
		ck_assert_uint_le(strlen(text), 2 * in.len + 120);
		free(text);
		strbuf_done(&in);
	}
}
END_TEST

START_TEST(embeddings)
{
	float a[64], b[64], c[64], zero[64];
	double ab = 0, ac = 0, aa = 0, zz = 0;

	text_embed("The gate of the river", 21, a, 64);
	text_embed("the river, and the GATE", 23, b, 64);
	text_embed("cheese tastes good today", 24, c, 64);
	text_embed("...", 3, zero, 64);
	for (int i = 0; i < 64; i++) {
		aa += (double)a[i] * a[i];
		ab += (double)a[i] * b[i];
		ac += (double)a[i] * c[i];
		zz += fabs((double)zero[i]);
	}
	ck_assert(fabs(aa - 1) < 1e-5);
	ck_assert(ab > ac);
	ck_assert(zz == 0);
}
END_TEST

RUN_TESTS("text", tokens_are_the_text_again, key_sentences_come_from_the_document_in_order,
	  bullets_have_the_documents_title, long_sentences_are_shortened, something_is_always_said,
	  random_documents, embeddings)
