#include "services/router/admit_json.h"

#include <stdint.h>
#include <string.h>

struct scan {
	const uint8_t *p, *end;
};

static void space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

static bool digits(struct scan *s)
{
	const uint8_t *from = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > from;
}

static bool number(struct scan *s)
{
	if (s->p < s->end && *s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (!digits(s))
		return false;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (!digits(s))
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (!digits(s))
			return false;
	}
	return true;
}

static bool literal(struct scan *s, const char *word, size_t len)
{
	if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
		return false;
	s->p += len;
	return true;
}

/* Four hexadecimal digits; -1 if they are not. */
static int hex4(struct scan *s)
{
	if (s->end - s->p < 4)
		return -1;
	int v = 0;
	for (int i = 0; i < 4; i++) {
		int c = s->p[i];
		int d = c >= '0' && c <= '9'   ? c - '0'
			: c >= 'a' && c <= 'f' ? c - 'a' + 10
			: c >= 'A' && c <= 'F' ? c - 'A' + 10
					       : -1;
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	s->p += 4;
	return v;
}

static bool escape(struct scan *s)
{
	if (s->p == s->end)
		return false;
	switch (*s->p++) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return true;
	case 'u':
		break;
	default:
		return false;
	}
	int hi = hex4(s);
	if (hi <= 0 || (hi >= 0xDC00 && hi <= 0xDFFF))
		return false;
	if (hi < 0xD800 || hi > 0xDBFF)
		return true;
	if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
		return false;
	s->p += 2;
	int lo = hex4(s);
	return lo >= 0xDC00 && lo <= 0xDFFF;
}

static bool tail(const uint8_t *p, int n)
{
	for (int i = 0; i < n; i++)
		if ((p[i] & 0xC0) != 0x80)
			return false;
	return true;
}

/* One character of two bytes or more (RFC 3629, section 4). */
static bool multibyte(struct scan *s)
{
	const uint8_t *p = s->p;
	size_t left = (size_t)(s->end - p);
	int more = p[0] >= 0xC2 && p[0] <= 0xDF   ? 1
		   : p[0] >= 0xE0 && p[0] <= 0xEF ? 2
		   : p[0] >= 0xF0 && p[0] <= 0xF4 ? 3
						  : 0;
	if (!more || left < (size_t)more + 1 || !tail(p + 1, more))
		return false;
	if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
	    (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
		return false;
	s->p += more + 1;
	return true;
}

/* Behind the opening quote. */
static bool string(struct scan *s)
{
	while (s->p < s->end) {
		uint8_t c = *s->p;
		if (c == '"') {
			s->p++;
			return true;
		}
		if (c < 0x20)
			return false;
		if (c == '\\') {
			s->p++;
			if (!escape(s))
				return false;
		} else if (c < 0x80) {
			s->p++;
		} else if (!multibyte(s)) {
			return false;
		}
	}
	return false;
}

static bool scalar(struct scan *s)
{
	switch (*s->p) {
	case '"':
		s->p++;
		return string(s);
	case 't':
		return literal(s, "true", 4);
	case 'f':
		return literal(s, "false", 5);
	case 'n':
		return literal(s, "null", 4);
	default:
		return number(s);
	}
}

/* A member's name and its colon. */
static bool name(struct scan *s)
{
	space(s);
	if (s->p == s->end || *s->p++ != '"' || !string(s))
		return false;
	space(s);
	return s->p < s->end && *s->p++ == ':';
}

/* Behind a value: closes what ends here; false if what follows cannot. *more: a sibling follows. */
static bool closes(struct scan *s, const char *open, int *depth, bool *more)
{
	*more = false;
	while (*depth > 0) {
		space(s);
		if (s->p == s->end)
			return false;
		uint8_t c = *s->p++;
		if (c == ',') {
			*more = true;
			return open[*depth - 1] == ']' || name(s);
		}
		if (c != (uint8_t)open[*depth - 1])
			return false;
		(*depth)--;
	}
	return true;
}

bool admit_json_valid(const void *data, size_t len)
{
	if (len == 0)
		return false;
	struct scan s = {data, (const uint8_t *)data + len};
	char open[ADMIT_JSON_DEPTH]; /* what closes each level */
	int depth = 0;
	bool more = true;
	while (more) {
		space(&s);
		if (s.p == s.end)
			return false;
		if (*s.p == '{' || *s.p == '[') {
			char close = *s.p++ == '{' ? '}' : ']';
			if (depth == ADMIT_JSON_DEPTH)
				return false;
			open[depth++] = close;
			space(&s);
			if (s.p == s.end)
				return false;
			if (*s.p != (uint8_t)close) {
				if (close == '}' && !name(&s))
					return false;
				continue;
			}
		} else if (!scalar(&s)) {
			return false;
		}
		if (!closes(&s, open, &depth, &more))
			return false;
	}
	space(&s);
	return s.p == s.end;
}

bool admit_text_valid(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);
	if (len > max)
		return false;
	struct scan s = {(const uint8_t *)text, (const uint8_t *)text + len};
	while (s.p < s.end) {
		if (*s.p < 0x20 || *s.p == 0x7F)
			return false;
		if (*s.p < 0x80)
			s.p++;
		else if (!multibyte(&s))
			return false;
	}
	return true;
}
