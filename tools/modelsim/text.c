#include "tools/modelsim/text.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PIECE_CHARS                                                                                \
	6 /* letters in a token: English text then has about 1.3 tokens a word, as real models */

/* Every byte of a multi-byte sequence counts as a letter, so that words of other scripts hold
 * together. */
static bool is_word(unsigned char c)
{
	return isalnum(c) || c >= 0x80;
}

static size_t char_len(const char *text, size_t len)
{
	size_t n = 1;

	while (n < len && ((unsigned char)text[n] & 0xc0) == 0x80)
		n++;
	return n;
}

size_t text_token(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len && isspace((unsigned char)text[at]))
		at++;
	if (at == len)
		return len;
	if (!is_word((unsigned char)text[at]))
		return at + 1;
	for (int n = 0; n < PIECE_CHARS && at < len && is_word((unsigned char)text[at]); n++)
		at += char_len(text + at, len - at);
	return at;
}

size_t text_count_tokens(const char *text, size_t len)
{
	size_t count = 0;

	for (size_t at = 0; at < len; count++)
		at += text_token(text + at, len - at);
	return count;
}

static uint64_t word_hash(const char *word, size_t len)
{
	char lower[64];

	if (len > sizeof(lower))
		len = sizeof(lower);
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)tolower((unsigned char)word[i]);
	return XXH3_64bits(lower, len);
}

/* Next run of word characters from *at; false at the end. */
static bool next_word(const char *text, size_t len, size_t *at, const char **word, size_t *word_len)
{
	while (*at < len && !is_word((unsigned char)text[*at]))
		++*at;
	*word = text + *at;
	while (*at < len && is_word((unsigned char)text[*at]))
		++*at;
	*word_len = (size_t)(text + *at - *word);
	return *word_len > 0;
}

void text_embed(const char *text, size_t len, float *vector, size_t n)
{
	const char *word;
	size_t word_len, at = 0;
	double square = 0;

	memset(vector, 0, n * sizeof(*vector));
	while (next_word(text, len, &at, &word, &word_len)) {
		uint64_t h = word_hash(word, word_len);

		vector[h % n] += h >> 63 ? 1.0f : -1.0f;
	}
	for (size_t i = 0; i < n; i++)
		square += (double)vector[i] * vector[i];
	for (size_t i = 0; square > 0 && i < n; i++)
		vector[i] = (float)(vector[i] / sqrt(square));
}

/* --- the document: Markdown without its furniture ------------------------------------------ */

struct line {
	const char *at;
	size_t len;
};

static struct line next_line(const char *doc, size_t len, size_t *at)
{
	struct line line = {doc + *at, 0};
	const char *end = memchr(line.at, '\n', len - *at);

	line.len = end ? (size_t)(end - line.at) : len - *at;
	*at += line.len + (end ? 1 : 0);
	while (line.len > 0 && isspace((unsigned char)line.at[line.len - 1]))
		line.len--;
	return line;
}

static size_t indent_of(struct line line)
{
	size_t n = 0;

	while (n < line.len && (line.at[n] == ' ' || line.at[n] == '\t'))
		n++;
	return n;
}

static bool starts(struct line line, size_t at, const char *with)
{
	return line.len - at >= strlen(with) && memcmp(line.at + at, with, strlen(with)) == 0;
}

/* Length of a list mark ("- ", "* ", "12. ") at the front, 0 for none. */
static size_t list_mark(struct line line, size_t at)
{
	size_t n = at;

	if (starts(line, at, "- ") || starts(line, at, "* ") || starts(line, at, "+ "))
		return 2;
	while (n < line.len && isdigit((unsigned char)line.at[n]))
		n++;
	return n > at && n + 1 < line.len && line.at[n] == '.' && line.at[n + 1] == ' ' ? n + 2 - at
											: 0;
}

/* Adds inline text without emphasis marks, back quotes and the targets of links; white space
 * becomes one space. */
static void add_inline(struct strbuf *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '`' || c == '*' || c == '[')
			continue;
		if (c == ']') {
			if (i + 1 < len && text[i + 1] == '(')
				while (i < len && text[i] != ')')
					i++;
			continue;
		}
		if (isspace((unsigned char)c)) {
			if (out->len > 0 && !isspace((unsigned char)out->data[out->len - 1]))
				strbuf_addc(out, ' ');
			continue;
		}
		strbuf_addc(out, c);
	}
}

/* The document as paragraphs divided by '\n'; the first heading goes to title. */
static void flatten(const char *doc, size_t len, struct strbuf *out, struct strbuf *title)
{
	bool fenced = false, open = false;
	size_t at = 0;

	while (at < len) {
		struct line line = next_line(doc, len, &at);
		size_t skip = indent_of(line), mark;

		if (starts(line, skip, "```") || starts(line, skip, "~~~")) {
			fenced = !fenced;
			open = false;
			continue;
		}
		if (fenced)
			continue;
		if (starts(line, skip, "#")) {
			while (skip < line.len && (line.at[skip] == '#' || line.at[skip] == ' '))
				skip++;
			if (title->len == 0)
				add_inline(title, line.at + skip, line.len - skip);
			open = false;
			continue;
		}
		/* An indented line is code, unless it goes on with the paragraph or list above it.
		 */
		if (skip == line.len || starts(line, skip, "|") || starts(line, skip, "![") ||
		    (skip >= 4 && !open)) {
			open = false;
			continue;
		}
		mark = list_mark(line, skip);
		if (out->len > 0)
			strbuf_addc(out, open && mark == 0 ? ' ' : '\n');
		add_inline(out, line.at + skip + mark, line.len - skip - mark);
		open = true;
	}
}

/* --- sentences ----------------------------------------------------------------------------- */

#define SENTENCES_MAX 2000
#define WORDS_MAX     65536

struct sentence {
	const char *at;
	size_t len;
	size_t words;
	double score;
	bool picked;
};

struct summary {
	struct sentence *list;
	size_t n, cap;
	uint32_t *freq; /* by hash: a collision costs nothing but a little truth */
	size_t mask;    /* places of freq - 1 */
};

/* A dot ends a sentence only before white space, and not behind a single letter or a known
 * abbreviation. */
static bool ends_here(const char *text, size_t at, size_t len)
{
	size_t start = at;

	if (text[at] != '.' && text[at] != '!' && text[at] != '?')
		return false;
	if (at + 1 < len && !isspace((unsigned char)text[at + 1]))
		return false;
	while (start > 0 && !isspace((unsigned char)text[start - 1]))
		start--;
	if (text[at] == '.' && at - start <= 1)
		return false;
	return !(at - start == 3 &&
		 (memcmp(text + start, "e.g", 3) == 0 || memcmp(text + start, "i.e", 3) == 0));
}

static void add_sentence(struct summary *s, const char *at, size_t len)
{
	const char *word;
	size_t word_len, pos = 0, words = 0;

	while (len > 0 && isspace((unsigned char)*at)) {
		at++;
		len--;
	}
	while (next_word(at, len, &pos, &word, &word_len))
		words++;
	if (words < 3 || s->n == s->cap)
		return;
	s->list[s->n++] = (struct sentence){.at = at, .len = len, .words = words};
}

static void split_sentences(struct summary *s, const struct strbuf *text)
{
	size_t start = 0;

	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] != '\n' && !ends_here(text->data, i, text->len))
			continue;
		add_sentence(s, text->data + start, i + (text->data[i] == '\n' ? 0 : 1) - start);
		start = i + 1;
	}
	if (start < text->len)
		add_sentence(s, text->data + start, text->len - start);
}

static bool stop_word(const char *word, size_t len)
{
	static const char *const words[] = {
	    "the",  "and",  "for",   "that", "with", "this",  "from",  "are",  "not",  "its",
	    "but",  "has",  "have",  "was",  "were", "will",  "can",   "may",  "then", "than",
	    "they", "them", "which", "when", "what", "who",   "all",   "any",  "into", "out",
	    "one",  "each", "you",   "your", "our",  "their", "there", "here", "been", "does",
	    "only", "also", "more",  "most", "such", "over",  "under"};

	/* U+2000 to U+2FFF: dashes, arrows, quotes. */
	if (len < 3 || (unsigned char)word[0] == 0xe2)
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strlen(words[i]) == len && strncasecmp(words[i], word, len) == 0)
			return true;
	return false;
}

static void count_words(struct summary *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const char *word;
		size_t word_len, pos = 0;

		while (next_word(s->list[i].at, s->list[i].len, &pos, &word, &word_len)) {
			if (!stop_word(word, word_len))
				s->freq[word_hash(word, word_len) & s->mask]++;
		}
	}
}

/* SumBasic's idea (Nenkova and Vanderwende, 2005): a sentence is worth the mean probability of its
 * words; words that a picked sentence has said count less from then on. Very short and very long
 * ones are held back. */
static double score(const struct summary *s, const struct sentence *sentence)
{
	const char *word;
	size_t word_len, pos = 0;
	double sum = 0;

	while (next_word(sentence->at, sentence->len, &pos, &word, &word_len))
		if (!stop_word(word, word_len))
			sum += s->freq[word_hash(word, word_len) & s->mask];
	if (sentence->words < 6)
		sum *= 0.4;
	return sum / (double)(sentence->words < 12 ? 12 : sentence->words);
}

static void damp(struct summary *s, const struct sentence *sentence)
{
	const char *word;
	size_t word_len, pos = 0;

	while (next_word(sentence->at, sentence->len, &pos, &word, &word_len))
		s->freq[word_hash(word, word_len) & s->mask] /= 2;
}

static void pick(struct summary *s, size_t want)
{
	for (size_t k = 0; k < want && k < s->n; k++) {
		struct sentence *best = NULL;

		for (size_t i = 0; i < s->n; i++) {
			struct sentence *c = &s->list[i];

			if (c->picked)
				continue;
			/* What stands first is most often what it is about. */
			c->score = score(s, c) * (i == 0 ? 2.0 : 1.0);
			if (!best || c->score > best->score)
				best = c;
		}
		if (!best)
			return;
		best->picked = true;
		damp(s, best);
	}
}

/* --- manners ------------------------------------------------------------------------------- */

#define SHORT_WORDS 18

/* A sentence without what stands in brackets, ended at a clause once it is long enough. */
static void add_short(struct strbuf *out, const struct sentence *s)
{
	size_t words = 0, start = out->len;
	int depth = 0;

	for (size_t i = 0; i < s->len; i++) {
		char c = s->at[i];

		if (c == '(')
			depth++;
		if (depth == 0 && c == ' ' && out->len > start && out->data[out->len - 1] == ' ')
			continue;
		if (depth == 0 && words >= SHORT_WORDS / 2 && (c == ';' || c == ':'))
			break;
		if (depth == 0 && words >= SHORT_WORDS && (c == ' ' || c == ','))
			break;
		if (depth == 0) {
			strbuf_addc(out, c);
			if (c == ' ')
				words++;
		}
		if (c == ')' && depth > 0)
			depth--;
	}
	while (out->len > start && strchr(" ,.;:", out->data[out->len - 1]))
		out->data[--out->len] = '\0';
}

static void write_picked(const struct summary *s, enum manner manner, const struct strbuf *title,
			 struct strbuf *out)
{
	bool first = true;

	if (manner == MANNER_BULLETS && title->len > 0)
		strbuf_addf(out, "%s\n\n", title->data);
	for (size_t i = 0; i < s->n; i++) {
		if (!s->list[i].picked)
			continue;
		if (!first)
			strbuf_addc(out, manner == MANNER_BULLETS ? '\n' : ' ');
		first = false;
		if (manner == MANNER_SENTENCES) {
			strbuf_add(out, s->list[i].at, s->list[i].len);
			continue;
		}
		if (manner == MANNER_BULLETS)
			strbuf_adds(out, "- ");
		add_short(out, &s->list[i]);
		if (manner == MANNER_PARAGRAPH)
			strbuf_addc(out, '.');
	}
}

/* Nothing that reads as a sentence: the first words as they stand. */
static void echo_words(const char *doc, size_t len, struct strbuf *out)
{
	const char *word;
	size_t word_len, at = 0, n = 0;

	while (n++ < 24 && next_word(doc, len, &at, &word, &word_len)) {
		if (n > 1)
			strbuf_addc(out, ' ');
		strbuf_add(out, word, word_len);
	}
	if (n == 1 || out->len == 0)
		strbuf_adds(out, "(nothing to summarise)");
}

/* A document without a heading is called by its most frequent words. */
static void title_from_words(const struct summary *s, struct strbuf *title)
{
	const char *best[3] = {NULL};
	size_t best_len[3] = {0};
	uint32_t best_freq[3] = {0};

	for (size_t i = 0; i < s->n; i++) {
		const char *word;
		size_t word_len, pos = 0;

		while (next_word(s->list[i].at, s->list[i].len, &pos, &word, &word_len)) {
			uint64_t h = word_hash(word, word_len);
			uint32_t f = s->freq[h & s->mask];
			bool known = stop_word(word, word_len);

			for (int k = 0; k < 3 && !known; k++)
				known = best[k] && word_hash(best[k], best_len[k]) == h;
			for (int k = 0; k < 3 && !known; k++) {
				if (f <= best_freq[k])
					continue;
				for (int m = 2; m > k; m--) {
					best[m] = best[m - 1];
					best_len[m] = best_len[m - 1];
					best_freq[m] = best_freq[m - 1];
				}
				best[k] = word;
				best_len[k] = word_len;
				best_freq[k] = f;
				known = true;
			}
		}
	}
	for (int k = 0; k < 3 && best[k]; k++) {
		size_t at = title->len + (k > 0 ? 2 : 0);

		if (k > 0)
			strbuf_adds(title, ", ");
		strbuf_add(title, best[k], best_len[k]);
		if (k == 0)
			title->data[at] = (char)toupper((unsigned char)title->data[at]);
	}
}

void text_summarise(const char *doc, size_t len, enum manner manner, struct strbuf *out)
{
	struct summary s = {0};
	struct strbuf text = {0}, title = {0};

	flatten(doc, len, &text, &title);
	/* A sentence has at least six bytes (three words), a word four: sized to the text, bounded.
	 */
	for (s.mask = 255; s.mask < WORDS_MAX - 1 && s.mask < text.len;)
		s.mask = s.mask * 2 + 1;
	s.freq = xcalloc(s.mask + 1, sizeof(*s.freq));
	s.cap = text.len / 6 + 1 < SENTENCES_MAX ? text.len / 6 + 1 : SENTENCES_MAX;
	s.list = xcalloc(s.cap, sizeof(*s.list));
	split_sentences(&s, &text);
	if (s.n == 0) {
		echo_words(doc, len, out);
	} else {
		count_words(&s);
		if (title.len == 0)
			title_from_words(&s, &title);
		pick(&s, manner == MANNER_SENTENCES ? 6 : 4);
		write_picked(&s, manner, &title, out);
	}
	free(s.list);
	free(s.freq);
	strbuf_done(&text);
	strbuf_done(&title);
}
