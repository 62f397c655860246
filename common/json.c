#include "common/json.h"

#include <stdlib.h>
#include <string.h>

#define JSON_DEPTH_MAX 64

/* Nesting is counted before the parser recurses into it. Text that is not JSON may be counted
 * wrongly, which does not matter: the parser refuses it. */
static bool depth_ok(const char *text, size_t len)
{
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		switch (text[i]) {
		case '"':
			for (i++; i < len && text[i] != '"'; i++)
				if (text[i] == '\\')
					i++;
			break;
		case '{':
		case '[':
			if (++depth > JSON_DEPTH_MAX)
				return false;
			break;
		case '}':
		case ']':
			depth--;
			break;
		default:
			break;
		}
	}
	return true;
}

json_t *json_parse(const char *text, size_t len, struct error *err)
{
	json_error_t why;
	json_t *value;

	/* The parser would take a NUL for the end and not look at what follows. */
	if (memchr(text, '\0', len)) {
		err_set(err, ERR_REJECTED, "JSON has a NUL byte");
		return NULL;
	}
	if (!depth_ok(text, len)) {
		err_set(err, ERR_REJECTED, "JSON is nested deeper than %d", JSON_DEPTH_MAX);
		return NULL;
	}
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (!value)
		err_set(err, ERR_REJECTED, "JSON at byte %d: %s", why.position, why.text);
	return value;
}

static int add_piece(const char *piece, size_t len, void *arg)
{
	strbuf_add(arg, piece, len);
	return 0;
}

void json_add(struct strbuf *b, const json_t *value)
{
	if (!value || json_dump_callback(value, add_piece, b, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
		strbuf_adds(b, "null");
}

char *json_text(const json_t *value, size_t *len)
{
	struct strbuf b = {0};

	json_add(&b, value);
	return strbuf_detach(&b, len);
}

static int wrong_type(const char *name, const char *wanted, struct error *err)
{
	return err_set(err, ERR_REJECTED, "%s must be %s", name, wanted);
}

static int absent(const char *name, bool required, struct error *err)
{
	return required ? err_set(err, ERR_REJECTED, "%s is missing", name) : 0;
}

int json_get_text(const json_t *obj, const char *name, bool required, const char **out,
		  struct error *err)
{
	const json_t *value = json_object_get(obj, name);

	if (!value) {
		*out = NULL;
		return absent(name, required, err);
	}
	if (!json_is_string(value))
		return wrong_type(name, "a string", err);
	*out = json_string_value(value);
	return 0;
}

int json_get_int(const json_t *obj, const char *name, bool required, int64_t min, int64_t max,
		 int64_t *out, struct error *err)
{
	const json_t *value = json_object_get(obj, name);

	if (!value)
		return absent(name, required, err);
	if (!json_is_integer(value))
		return wrong_type(name, "an integer", err);
	if (json_integer_value(value) < min || json_integer_value(value) > max)
		return err_set(err, ERR_REJECTED, "%s must be within %lld and %lld", name,
			       (long long)min, (long long)max);
	*out = json_integer_value(value);
	return 0;
}

int json_get_bool(const json_t *obj, const char *name, bool *out, struct error *err)
{
	const json_t *value = json_object_get(obj, name);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return wrong_type(name, "true or false", err);
	*out = json_is_true(value);
	return 0;
}

int json_only(const json_t *obj, const char *const *names, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)obj, key, value)
	{
		const char *const *known = names;

		while (*known && strcmp(*known, key) != 0)
			known++;
		if (!*known)
			return err_set(err, ERR_REJECTED, "%.100s is not known here", key);
	}
	return 0;
}
