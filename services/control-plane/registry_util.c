#include "services/control-plane/registry_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "services/control-plane/registry.h"

int registry_object(const json_t *in, const char *what, struct error *err)
{
	if (!json_is_object(in))
		return err_set(err, ERR_REJECTED, "%s must be a JSON object", what);
	return 0;
}

int registry_same_text(const json_t *in, const char *member, const char *value, struct error *err)
{
	const char *text;
	if (json_get_text(in, member, false, &text, err))
		return -1;
	if (text && strcmp(text, value) != 0)
		return err_set(err, ERR_REJECTED, "%s: must be \"%s\" as in the path, or absent",
			       member, value);
	return 0;
}

int registry_same_int(const json_t *in, const char *member, int64_t value, struct error *err)
{
	int64_t n = value;
	if (json_get_int(in, member, false, INT64_MIN, INT64_MAX, &n, err))
		return -1;
	if (n != value)
		return err_set(err, ERR_REJECTED, "%s: must be %lld as in the path, or absent",
			       member, (long long)value);
	return 0;
}

int registry_copy_text(json_t *doc, const json_t *in, const char *member, size_t max,
		       const char *dflt, struct error *err)
{
	const char *text;
	if (json_get_text(in, member, false, &text, err))
		return -1;
	if (text && strlen(text) > max)
		return err_set(err, ERR_REJECTED, "%s: longer than %zu bytes", member, max);
	if (!text)
		text = dflt;
	if (text)
		json_object_set_new(doc, member, json_string(text));
	return 0;
}

int registry_copy_word(json_t *doc, const json_t *in, const char *member, const char *const *words,
		       struct error *err)
{
	const char *text;
	if (json_get_text(in, member, false, &text, err))
		return -1;
	if (!text)
		text = words[0];
	struct strbuf known = {0};
	for (size_t i = 0; words[i]; i++) {
		if (!strcmp(words[i], text)) {
			strbuf_done(&known);
			json_object_set_new(doc, member, json_string(text));
			return 0;
		}
		strbuf_addf(&known, "%s%s", i ? ", " : "", words[i]);
	}
	err_set(err, ERR_REJECTED, "%s: must be one of %s", member, strbuf_str(&known));
	strbuf_done(&known);
	return -1;
}

int registry_check_url(const char *url, struct error *err)
{
	const char *rest = !strncmp(url, "http://", 7)    ? url + 7
			   : !strncmp(url, "https://", 8) ? url + 8
							  : NULL;
	if (!rest || !*rest || *rest == '/' || *rest == ':')
		return err_set(err, ERR_REJECTED, "url: must be http://host… or https://host…");
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p > '~')
			return err_set(err, ERR_REJECTED,
				       "url: has a character that must be encoded");
	/* Credentials belong into secret_env: a url is shown to every operator and written to logs.
	 */
	if (memchr(rest, '@', strcspn(rest, "/?#")))
		return err_set(err, ERR_REJECTED, "url: no user or password in it; use secret_env");
	return 0;
}

int registry_copy_int(json_t *doc, const json_t *in, const char *member, int64_t min, int64_t max,
		      int64_t dflt, struct error *err)
{
	int64_t n = dflt;
	if (json_get_int(in, member, false, min, max, &n, err))
		return -1;
	json_object_set_new(doc, member, json_integer(n));
	return 0;
}

bool registry_has_text(const json_t *array, const char *text)
{
	size_t i;
	json_t *item;
	json_array_foreach((json_t *)array, i,
			   item) if (json_is_string(item) &&
				     !strcmp(json_string_value(item), text)) return true;
	return false;
}

int registry_copy_expiry(json_t *doc, const json_t *in, int64_t created_us, struct error *err)
{
	const char *text;
	char out[TIME_LEN + 1];
	int64_t at;
	if (json_get_text(in, "expires_at", false, &text, err))
		return -1;
	if (!text)
		return 0;
	if (!time_parse(text, &at))
		return err_set(err, ERR_REJECTED, "expires_at: not a time as in RFC 3339");
	if (at <= created_us)
		return err_set(err, ERR_REJECTED, "expires_at: is in the past");
	time_format(at, out);
	json_object_set_new(doc, "expires_at", json_string(out));
	return 0;
}

void registry_set_time(json_t *doc, const char *member, int64_t wall_us)
{
	char text[TIME_LEN + 1];
	time_format(wall_us, text);
	json_object_set_new(doc, member, json_string(text));
}

json_t *registry_merge(const json_t *target, const json_t *patch)
{
	if (!json_is_object(patch))
		return json_deep_copy(patch);
	json_t *out = json_is_object(target) ? json_copy((json_t *)target) : json_object();
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)patch, name, value)
	{
		if (json_is_null(value))
			json_object_del(out, name);
		else
			json_object_set_new(out, name,
					    registry_merge(json_object_get(out, name), value));
	}
	return out;
}

void registry_etag(const json_t *doc, char out[ETAG_LEN + 1])
{
	size_t len;
	char hex[65], *text = json_text(doc, &len);
	sha256_hex(text, len, hex);
	free(text);
	snprintf(out, ETAG_LEN + 1, "\"%.16s\"", hex);
}
