#include "services/orchestrator-worker/slice.h"

#include <string.h>

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* p is behind the opening quote; the result behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	for (; p < end; p++) {
		if (*p == '\\')
			p++;
		else if (*p == '"')
			return p + 1;
	}
	return end;
}

static const char *skip_value(const char *p, const char *end)
{
	if (p < end && *p == '"')
		return skip_string(p + 1, end);
	if (p < end && *p != '{' && *p != '[') {
		while (p < end && strchr(",]} \n\r\t", *p) == NULL)
			p++;
		return p;
	}
	for (size_t depth = 0; p < end;) {
		char c = *p++;
		if (c == '"')
			p = skip_string(p, end);
		else if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && --depth == 0)
			return p;
	}
	return end;
}

struct slice slice_member(const char *text, size_t len, const char *name)
{
	const char *end = text + len, *p = skip_space(text, end);
	size_t name_len = strlen(name);
	if (p == end || *p++ != '{')
		return (struct slice){0};
	for (;;) {
		p = skip_space(p, end);
		if (p == end || *p != '"')
			return (struct slice){0};
		const char *key = p + 1;
		p = skip_string(key, end);
		size_t key_len = (size_t)(p - key) - 1;
		p = skip_space(p, end);
		if (p == end || *p++ != ':')
			return (struct slice){0};
		p = skip_space(p, end);
		const char *value = p;
		p = skip_value(p, end);
		if (p == value)
			return (struct slice){0};
		if (key_len == name_len && memcmp(key, name, name_len) == 0)
			return (struct slice){value, (size_t)(p - value)};
		p = skip_space(p, end);
		if (p == end || *p++ != ',')
			return (struct slice){0};
	}
}

struct slice slice_text(struct slice value)
{
	if (value.len < 2 || value.p[0] != '"' || value.p[value.len - 1] != '"' ||
	    memchr(value.p, '\\', value.len) != NULL)
		return (struct slice){0};
	return (struct slice){value.p + 1, value.len - 2};
}

int64_t slice_int(struct slice value, int64_t dflt)
{
	size_t i = value.len > 0 && value.p[0] == '-';
	if (value.len == i || value.len - i > 18)
		return dflt;
	int64_t n = 0;
	for (; i < value.len; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return dflt;
		n = n * 10 + (value.p[i] - '0');
	}
	return value.p[0] == '-' ? -n : n;
}
