#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

/* Deeper than anything that was read; only a value that holds itself gets there. */
#define WRITE_DEPTH_MAX 512

static void add_value(struct strbuf *b, const json_t *value, int depth);

static void add_int(struct strbuf *b, json_int_t v)
{
	unsigned long long rest = v < 0 ? 0 - (unsigned long long)v : (unsigned long long)v;
	char digits[24];
	char *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + rest % 10);
	while (rest /= 10);
	if (v < 0)
		*--p = '-';
	strbuf_add(b, p, (size_t)(digits + sizeof(digits) - p));
}

/* 17 digits always read back the same double (IEEE 754), 15 or 16 often do and look like what was
 * sent. A real stays a real: 3 is written as 3.0. */
static void add_real(struct strbuf *b, double v)
{
	char text[40];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	strbuf_adds(b, text);
	if (!strpbrk(text, ".e"))
		strbuf_add(b, ".0", 2);
}

static void add_array(struct strbuf *b, const json_t *array, int depth)
{
	size_t n = json_array_size(array);

	strbuf_addc(b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			strbuf_addc(b, ',');
		add_value(b, json_array_get(array, i), depth);
	}
	strbuf_addc(b, ']');
}

static void add_object(struct strbuf *b, const json_t *obj, int depth)
{
	json_t *object = (json_t *)obj; /* jansson's iterators are not const; nothing is changed */
	void *at = json_object_iter(object);

	strbuf_addc(b, '{');
	for (; at; at = json_object_iter_next(object, at)) {
		strbuf_add_jsonn(b, json_object_iter_key(at), json_object_iter_key_len(at));
		strbuf_addc(b, ':');
		add_value(b, json_object_iter_value(at), depth);
		strbuf_addc(b, ',');
	}
	if (b->data[b->len - 1] == ',')
		b->data[b->len - 1] = '}';
	else
		strbuf_addc(b, '}');
}

static void add_value(struct strbuf *b, const json_t *value, int depth)
{
	if (!value || depth == WRITE_DEPTH_MAX) {
		strbuf_add(b, "null", 4);
		return;
	}
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		add_object(b, value, depth + 1);
		break;
	case JSON_ARRAY:
		add_array(b, value, depth + 1);
		break;
	case JSON_STRING:
		strbuf_add_jsonn(b, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		add_int(b, json_integer_value(value));
		break;
	case JSON_REAL:
		add_real(b, json_real_value(value));
		break;
	case JSON_TRUE:
		strbuf_add(b, "true", 4);
		break;
	case JSON_FALSE:
		strbuf_add(b, "false", 5);
		break;
	case JSON_NULL:
		strbuf_add(b, "null", 4);
		break;
	}
}

void json_add(struct strbuf *b, const json_t *value)
{
	add_value(b, value, 0);
}

char *json_text(const json_t *value, size_t *len)
{
	struct strbuf b = {0};

	add_value(&b, value, 0);
	return strbuf_detach(&b, len);
}
