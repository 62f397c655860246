/* The getters; reading is in json_read.c, writing in json_write.c. */
#include "common/json.h"

#include <string.h>

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
