#include "services/edge/jscan.h"

#include <errno.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/textscan.h"

#define DEPTH_MAX      64  /* of what a client says */
#define DEPTH_VALID    256 /* of what the plane says: what clients said, and more around it */
#define KEYS_A_TIME    128 /* keys of all objects that are open at one point */
#define KEYS_AN_OBJECT 24  /* compared one with another; more are left to common/json.h */

struct scan {
	const char *p, *end;
	const char *wrong; /* why it is no JSON; NULL: nothing */
	const char *unfit; /* what is not taken though it is JSON; NULL: nothing */
	bool doubt;        /* the second opinion is needed */
	bool lax;          /* only the grammar is looked at */
	unsigned depth, max_depth;
	uint64_t high; /* not 0: a string has bytes that are not ASCII */
	size_t n_keys;
	struct slice keys[KEYS_A_TIME];
};

static bool fail(struct scan *s, const char *wrong)
{
	if (!s->wrong)
		s->wrong = wrong;
	return false;
}

static void refuse(struct scan *s, const char *unfit)
{
	if (!s->unfit)
		s->unfit = unfit;
}

static void space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static int hex4(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v * 16 + ((c | 32) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

/* p is behind the backslash's u. */
static bool unicode_escape(struct scan *s)
{
	int c, low;

	if (s->end - s->p < 4 || (c = hex4(s->p)) < 0)
		return fail(s, "bad \\u escape");
	s->p += 4;
	if (c == 0)
		refuse(s, "NUL in a string");
	else if (c >= 0xdc00 && c <= 0xdfff)
		refuse(s, "lone surrogate in a string");
	if (c < 0xd800 || c > 0xdbff)
		return true;
	if (s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' &&
	    (low = hex4(s->p + 2)) >= 0xdc00 && low <= 0xdfff)
		s->p += 6;
	else
		refuse(s, "lone surrogate in a string");
	return true;
}

/* p is at the opening quote; afterwards behind the closing one. */
static bool string(struct scan *s, bool *escaped)
{
	s->p++;
	for (;;) {
		unsigned char c;

		s->p += textscan_plain(s->p, (size_t)(s->end - s->p), &s->high);
		if (s->p == s->end)
			break;
		c = (unsigned char)*s->p++;
		if (c == '"')
			return true;
		if (c < 0x20)
			return fail(s, "control character in a string");
		*escaped = true;
		if (s->p == s->end)
			break;
		c = (unsigned char)*s->p++;
		if (c == 'u') {
			if (!unicode_escape(s))
				return false;
		} else if (!c || !strchr("\"\\/bfnrt", c)) {
			return fail(s, "bad escape in a string");
		}
	}
	return fail(s, "string without an end");
}

static size_t digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - from);
}

static bool number(struct scan *s)
{
	const char *from = s->p;
	size_t n;

	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (digits(s) == 0)
		return fail(s, "bad number");
	n = (size_t)(s->p - from);
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!digits(s))
			return fail(s, "bad number");
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!digits(s))
			return fail(s, "bad number");
		s->doubt = true;
	}
	if (n > 18)
		s->doubt = true;
	return true;
}

static bool word(struct scan *s, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, text, n))
		return fail(s, "no JSON value");
	s->p += n;
	return true;
}

static bool value(struct scan *s, enum jkind *kind);

static bool new_key(struct scan *s, size_t base, struct slice key, bool escaped)
{
	if (escaped || s->n_keys - base >= KEYS_AN_OBJECT || s->n_keys == KEYS_A_TIME) {
		s->doubt = true;
		return true;
	}
	for (size_t i = base; i < s->n_keys; i++)
		if (s->keys[i].len == key.len && !memcmp(s->keys[i].p, key.p, key.len)) {
			/* Of the outermost members nobody could say which one is meant. */
			if (s->depth == 1)
				return fail(s, "duplicate key");
			refuse(s, "duplicate key");
		}
	s->keys[s->n_keys++] = key;
	return true;
}

/* p is at the brace. out NULL: only checked. */
static bool object(struct scan *s, struct jmember *out, size_t max, size_t *n)
{
	size_t base = s->n_keys;

	if (++s->depth > s->max_depth)
		return fail(s, "nested too deeply");
	s->p++;
	space(s);
	if (s->p < s->end && *s->p == '}')
		goto end;
	for (;;) {
		struct jmember m;
		bool escaped = false;

		if (s->p == s->end || *s->p != '"')
			return fail(s, "a key was expected");
		m.key.p = s->p + 1;
		if (!string(s, &escaped))
			return false;
		m.key.len = (size_t)(s->p - 1 - m.key.p);
		if (!s->lax && !new_key(s, base, m.key, escaped))
			return false;
		space(s);
		if (s->p == s->end || *s->p++ != ':')
			return fail(s, "a colon was expected");
		space(s);
		m.value.p = s->p;
		if (!value(s, &m.kind))
			return false;
		m.value.len = (size_t)(s->p - m.value.p);
		if (out && *n == max)
			refuse(s, "too many members");
		else if (out)
			out[(*n)++] = m;
		space(s);
		if (s->p == s->end)
			return fail(s, "object without an end");
		if (*s->p == '}')
			break;
		if (*s->p++ != ',')
			return fail(s, "a comma was expected");
		space(s);
	}
end:
	s->p++;
	s->depth--;
	s->n_keys = base;
	return true;
}

static bool array(struct scan *s)
{
	enum jkind kind;

	if (++s->depth > s->max_depth)
		return fail(s, "nested too deeply");
	s->p++;
	space(s);
	if (s->p < s->end && *s->p == ']')
		goto end;
	for (;;) {
		if (!value(s, &kind))
			return false;
		space(s);
		if (s->p == s->end)
			return fail(s, "array without an end");
		if (*s->p == ']')
			break;
		if (*s->p++ != ',')
			return fail(s, "a comma was expected");
		space(s);
	}
end:
	s->p++;
	s->depth--;
	return true;
}

static bool value(struct scan *s, enum jkind *kind)
{
	bool escaped = false;

	if (s->p == s->end)
		return fail(s, "a value was expected");
	switch (*s->p) {
	case '{':
		*kind = J_OBJECT;
		return object(s, NULL, 0, NULL);
	case '[':
		*kind = J_ARRAY;
		return array(s);
	case '"':
		*kind = J_STRING;
		return string(s, &escaped);
	case 't':
		*kind = J_TRUE;
		return word(s, "true");
	case 'f':
		*kind = J_FALSE;
		return word(s, "false");
	case 'n':
		*kind = J_NULL;
		return word(s, "null");
	default:
		*kind = J_NUMBER;
		return (*s->p == '-' || (*s->p >= '0' && *s->p <= '9')) ? number(s)
									: fail(s, "no JSON value");
	}
}

/* Not initialised whole: 2 KiB of keys a message would cost more than the scan. */
static void start(struct scan *s, const char *text, size_t len, bool lax)
{
	s->p = text;
	s->end = text + len;
	s->wrong = s->unfit = NULL;
	s->doubt = false;
	s->lax = lax;
	s->depth = 0;
	s->max_depth = lax ? DEPTH_VALID : DEPTH_MAX;
	s->high = 0;
	s->n_keys = 0;
	space(s);
}

bool jscan_valid(const char *text, size_t len, bool *ascii)
{
	enum jkind kind;
	struct scan s;

	start(&s, text, len, true);
	if (!value(&s, &kind))
		return false;
	space(&s);
	*ascii = !s.high;
	return s.p == s.end;
}

/* The scan is through: what is not taken though it is JSON. */
static int check(const struct scan *s, const char *text, size_t len, struct error *err)
{
	json_t *json;

	if (s->unfit)
		return err_set(err, ERR_REJECTED, "%s", s->unfit);
	if (!s->doubt)
		return 0;
	json = json_parse(text, len, err);
	if (!json)
		return -1;
	json_decref(json);
	return 0;
}

int jscan_value(const char *text, size_t len, struct error *err)
{
	enum jkind kind;
	struct scan s;

	start(&s, text, len, false);
	s.depth = 1; /* it is a member of a message */
	if (value(&s, &kind)) {
		space(&s);
		if (s.p != s.end)
			fail(&s, "something follows the value");
	}
	if (s.wrong)
		return err_set(err, ERR_REJECTED, "%s", s.wrong);
	return check(&s, text, len, err);
}

int jscan_object(const char *text, size_t len, struct jmember *out, size_t max, size_t *n,
		 struct error *err)
{
	struct scan s;

	start(&s, text, len, false);
	*n = 0;
	if (s.p == s.end || *s.p != '{')
		return err_set(err, ERR_REJECTED, "not a JSON object");
	if (object(&s, out, max, n)) {
		space(&s);
		if (s.p != s.end)
			fail(&s, "something follows the object");
	}
	if (s.wrong) {
		*n = 0;
		return err_set(err, ERR_REJECTED, "%s", s.wrong);
	}
	return check(&s, text, len, err);
}

static size_t put_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* *p is behind the backslash of an escape that was checked, end at the closing quote. 0: NUL, or
 * half of a pair. */
static unsigned escaped_char(const char **p, const char *end)
{
	static const char names[] = "bfnrt", codes[] = "\b\f\n\r\t";
	char c = *(*p)++;
	const char *at;
	int low;
	unsigned u;

	if (c != 'u') {
		at = strchr(names, c);
		return at ? (unsigned char)codes[at - names] : (unsigned char)c;
	}
	u = (unsigned)hex4(*p);
	*p += 4;
	if (u < 0xd800 || u > 0xdfff)
		return u;
	if (u > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u' ||
	    (low = hex4(*p + 2)) < 0xdc00 || low > 0xdfff)
		return 0;
	*p += 6;
	return 0x10000 + ((u - 0xd800) << 10) + ((unsigned)low - 0xdc00);
}

bool jscan_text(const struct jmember *m, char *out, size_t cap)
{
	const char *p = m->value.p + 1, *end = m->value.p + m->value.len - 1;
	size_t n = 0;

	if (m->kind == J_TEXT)
		return slice_copy(m->value, out, cap);
	if (m->kind != J_STRING)
		return false;
	while (p < end) {
		char c[4] = {*p++};
		size_t k = 1;
		unsigned u;

		if (c[0] == '\\') {
			if (!(u = escaped_char(&p, end)))
				return false;
			k = put_utf8(c, u);
		}
		if (n + k >= cap)
			return false;
		for (size_t i = 0; i < k; i++)
			out[n++] = c[i];
	}
	out[n] = 0;
	return true;
}

void jscan_unescape(struct strbuf *b, struct slice text)
{
	const char *p = text.p, *end = text.p + text.len;

	while (p < end) {
		const char *at = memchr(p, '\\', (size_t)(end - p));
		char c[4];

		strbuf_add(b, p, (size_t)((at ? at : end) - p));
		if (!at)
			return;
		p = at + 1;
		strbuf_add(b, c, put_utf8(c, escaped_char(&p, end)));
	}
}

bool jscan_int(const struct jmember *m, int64_t *out)
{
	char text[24];
	char *end;

	if (m->kind == J_INT) {
		*out = m->number;
		return true;
	}
	if (m->kind != J_NUMBER || !slice_copy(m->value, text, 20))
		return false;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return *end == 0 && !errno;
}

void jscan_compact(struct strbuf *b, struct slice v)
{
	const char *p = v.p, *end = v.p + v.len, *from = p;

	while (p < end) {
		if (*p == '"') { /* over the whole string */
			for (p++; *p != '"'; p++)
				if (*p == '\\')
					p++;
			p++;
		} else if (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') {
			strbuf_add(b, from, (size_t)(p - from));
			while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
				p++;
			from = p;
		} else {
			p++;
		}
	}
	strbuf_add(b, from, (size_t)(end - from));
}
