/* A recursive descent over RFC 8259's grammar; the recursion ends at JSON_DEPTH_MAX. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/textscan.h"
#include "common/ws.h"

struct reader {
	const char *start, *p, *end;
	const char *why; /* the first thing that was wrong, at p */
	int depth;
	struct strbuf scratch; /* a string with escapes, a number */
};

static json_t *read_value(struct reader *r);

static void *fail(struct reader *r, const char *why)
{
	if (!r->why)
		r->why = why;
	return NULL;
}

static void skip_space(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
		r->p++;
}

/* Skips white space, and c if it comes next. */
static bool take(struct reader *r, char c)
{
	skip_space(r);
	if (r->p == r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

/* --- strings ---------------------------------------------------------------------------- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hexadecimal digits, or -1. */
static int32_t read_hex4(struct reader *r)
{
	int32_t v = 0;

	if (r->end - r->p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_value(*r->p++);

		if (digit < 0)
			return -1;
		v = v << 4 | digit;
	}
	return v;
}

static void add_utf8(struct strbuf *b, uint32_t c)
{
	char out[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = n; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(lead[n] | c);
	strbuf_add(b, out, n);
}

/* Behind "\u". Surrogates come in pairs (RFC 8259, section 7); alone they are no character. */
static bool read_unicode(struct reader *r)
{
	int32_t c = read_hex4(r);
	int32_t low;

	if (c < 0)
		return fail(r, "\\u wants four hexadecimal digits");
	if (c == 0)
		return fail(r, "NUL in a string");
	if (c >= 0xdc00 && c <= 0xdfff)
		return fail(r, "half a surrogate pair");
	if (c >= 0xd800 && c <= 0xdbff) {
		if (r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u')
			return fail(r, "half a surrogate pair");
		r->p += 2;
		low = read_hex4(r);
		if (low < 0xdc00 || low > 0xdfff)
			return fail(r, "half a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	add_utf8(&r->scratch, (uint32_t)c);
	return true;
}

/* Behind a backslash. */
static bool read_escape(struct reader *r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (r->p == r->end)
		return fail(r, "string without an end");
	if (*r->p == 'u') {
		r->p++;
		return read_unicode(r);
	}
	at = *r->p ? strchr(from, *r->p) : NULL;
	if (!at)
		return fail(r, "unknown escape");
	r->p++;
	strbuf_addc(&r->scratch, to[at - from]);
	return true;
}

static bool utf8_ok(const char *text, size_t len)
{
	uint32_t state = 0;

	return ws_utf8(&state, (const uint8_t *)text, len) && state == 0;
}

/* Behind the first quote. *text is in the input where nothing is escaped, else in the scratch:
 * valid until the next string. */
static bool read_text(struct reader *r, const char **text, size_t *len)
{
	bool escaped = false;

	strbuf_reset(&r->scratch);
	for (;;) {
		const char *from = r->p;
		uint64_t high = 0;
		size_t run = textscan_plain(from, (size_t)(r->end - from), &high);

		/* An escape cannot stand inside a character, so each run is whole. */
		if (high && !utf8_ok(from, run))
			return fail(r, "not UTF-8");
		r->p += run;
		if (r->p == r->end)
			return fail(r, "string without an end");
		if (*r->p == '"' && !escaped) {
			*text = from;
			*len = run;
			r->p++;
			return true;
		}
		strbuf_add(&r->scratch, from, run);
		if (*r->p == '"')
			break;
		if (*r->p != '\\')
			return fail(r, "control character in a string");
		escaped = true;
		r->p++;
		if (!read_escape(r))
			return false;
	}
	r->p++;
	*text = r->scratch.data;
	*len = r->scratch.len;
	return true;
}

/* --- numbers ---------------------------------------------------------------------------- */

static bool skip_digits(struct reader *r)
{
	const char *from = r->p;

	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return r->p > from;
}

static json_t *make_int(struct reader *r, const char *from)
{
	bool negative = *from == '-';
	uint64_t most = (uint64_t)INT64_MAX + negative;
	uint64_t v = 0;

	for (const char *p = from + negative; p < r->p; p++) {
		unsigned digit = (unsigned)(*p - '0');

		if (v > (most - digit) / 10)
			return fail(r, "integer beyond 64 bits");
		v = v * 10 + digit;
	}
	return json_integer((json_int_t)(negative ? 0 - v : v));
}

static json_t *make_real(struct reader *r, const char *from)
{
	double v;

	strbuf_reset(&r->scratch); /* strtod wants a NUL at the end */
	strbuf_add(&r->scratch, from, (size_t)(r->p - from));
	v = strtod(r->scratch.data, NULL);
	return isfinite(v) ? json_real(v) : fail(r, "number beyond a double");
}

static json_t *read_number(struct reader *r)
{
	const char *from = r->p;
	bool real = false;

	if (*r->p == '-')
		r->p++;
	if (r->p < r->end && *r->p == '0')
		r->p++;
	else if (!skip_digits(r))
		return fail(r, "not a JSON value");
	if (r->p < r->end && *r->p == '.') {
		r->p++;
		real = true;
		if (!skip_digits(r))
			return fail(r, "no digit behind the point");
	}
	if (r->p < r->end && (*r->p | 0x20) == 'e') {
		r->p++;
		real = true;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (!skip_digits(r))
			return fail(r, "no digit in the exponent");
	}
	return real ? make_real(r, from) : make_int(r, from);
}

/* --- values ----------------------------------------------------------------------------- */

static bool read_member(struct reader *r, json_t *obj)
{
	size_t before = json_object_size(obj);
	char *key, small[64];
	const char *text;
	json_t *value;
	size_t len;
	bool added;

	if (!take(r, '"'))
		return fail(r, "a member starts with a string");
	if (!read_text(r, &text, &len))
		return false;
	if (!take(r, ':'))
		return fail(r, "no colon behind a member's name");
	/* A name without escapes stays where it is; the scratch is the value's. */
	key = NULL;
	if (text == r->scratch.data) {
		key = len <= sizeof(small) ? small : xmalloc(len);
		memcpy(key, text, len);
		text = key;
	}
	value = read_value(r);
	added = value && json_object_setn_new_nocheck(obj, text, len, value) == 0 &&
		json_object_size(obj) > before;
	if (value && !added)
		fail(r, "the same member twice");
	if (key != small)
		free(key);
	return added;
}

static json_t *read_object(struct reader *r)
{
	json_t *obj = json_object();

	if (take(r, '}'))
		return obj;
	do {
		if (!read_member(r, obj)) {
			json_decref(obj);
			return NULL;
		}
	} while (take(r, ','));
	if (take(r, '}'))
		return obj;
	json_decref(obj);
	return fail(r, "object without an end");
}

static json_t *read_array(struct reader *r)
{
	json_t *array = json_array();

	if (take(r, ']'))
		return array;
	do {
		json_t *value = read_value(r);

		if (!value) {
			json_decref(array);
			return NULL;
		}
		json_array_append_new(array, value);
	} while (take(r, ','));
	if (take(r, ']'))
		return array;
	json_decref(array);
	return fail(r, "array without an end");
}

static json_t *read_nested(struct reader *r)
{
	json_t *value;

	if (r->depth == JSON_DEPTH_MAX)
		return fail(r, "nested deeper than 64 levels");
	r->depth++;
	value = *r->p++ == '{' ? read_object(r) : read_array(r);
	r->depth--;
	return value;
}

static json_t *read_string(struct reader *r)
{
	const char *text;
	size_t len;

	r->p++;
	return read_text(r, &text, &len) ? json_stringn_nocheck(text, len) : NULL;
}

static json_t *read_word(struct reader *r, const char *word, json_t *value)
{
	size_t n = strlen(word);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
		return fail(r, "not a JSON value");
	r->p += n;
	return value;
}

static json_t *read_value(struct reader *r)
{
	skip_space(r);
	if (r->p == r->end)
		return fail(r, "the end where a value should be");
	switch (*r->p) {
	case '{':
	case '[':
		return read_nested(r);
	case '"':
		return read_string(r);
	case 't':
		return read_word(r, "true", json_true());
	case 'f':
		return read_word(r, "false", json_false());
	case 'n':
		return read_word(r, "null", json_null());
	default:
		return read_number(r);
	}
}

json_t *json_parse(const char *text, size_t len, struct error *err)
{
	struct reader r = {.start = len ? text : ""}; /* no text may come as NULL and 0 */
	json_t *value;

	r.p = r.start;
	r.end = r.start + len;
	value = read_value(&r);
	skip_space(&r);
	if (value && r.p != r.end) {
		json_decref(value);
		value = fail(&r, "more bytes behind the value");
	}
	if (!value)
		err_set(err, ERR_REJECTED, "JSON at byte %zu: %s", (size_t)(r.p - r.start), r.why);
	strbuf_done(&r.scratch);
	return value;
}
