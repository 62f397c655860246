#include "services/edge/jwt.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "common/base64url.h"
#include "common/json.h"
#include "services/edge/client_msg.h"

#define SECONDS_MAX 253402300799 /* the end of the year 9999 */

/* --- taking it apart ---------------------------------------------------------------------- */

static json_t *read_object(const char *text, size_t len)
{
	char json[TOKEN_MAX];
	size_t n;
	json_t *value;

	if (!base64url_decode(text, len, json, sizeof(json), &n))
		return NULL;
	value = json_parse(json, n, NULL);
	if (json_is_object(value))
		return value;
	json_decref(value);
	return NULL;
}

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int read_header(const json_t *header, struct jwt *out)
{
	const json_t *typ = json_object_get(header, "typ");
	const char *alg = text_of(header, "alg"), *kid = text_of(header, "kid");

	if (!alg || !sign_alg_parse(alg, &out->alg) || !name_valid_tenant(kid) ||
	    json_object_get(header, "crit"))
		return -1;
	if (typ && (!json_is_string(typ) || (strcasecmp(json_string_value(typ), "JWT") != 0 &&
					     strcasecmp(json_string_value(typ), "at+jwt") != 0)))
		return -1;
	strcpy(out->kid, kid);
	return 0;
}

int jwt_read(const char *token, struct jwt *out)
{
	const char *dot = strchr(token, '.'), *second = dot ? strchr(dot + 1, '.') : NULL;
	json_t *header;
	int rc;

	if (!second || strlen(token) > TOKEN_MAX)
		return -1;
	out->text = token;
	out->signed_len = (size_t)(second - token);
	/* A third dot is in no alphabet. */
	if (!base64url_decode(second + 1, strlen(second + 1), out->signature,
			      sizeof(out->signature), &out->signature_len))
		return -1;
	header = read_object(token, (size_t)(dot - token));
	rc = header ? read_header(header, out) : -1;
	json_decref(header);
	if (rc)
		return -1;
	out->claims = read_object(dot + 1, (size_t)(second - dot - 1));
	out->tenant = text_of(out->claims, "tenant");
	if (name_valid_tenant(out->tenant))
		return 0;
	jwt_done(out);
	return -1;
}

void jwt_done(struct jwt *t)
{
	json_decref(t->claims);
	t->claims = NULL;
}

/* --- what it says ------------------------------------------------------------------------- */

/* NumericDate (RFC 7519, 2): seconds since 1970, perhaps with a fraction. */
static int get_date(const json_t *claims, const char *name, bool required, int64_t *us)
{
	const json_t *value = json_object_get(claims, name);

	if (!value)
		return required ? -1 : 0;
	if (json_is_integer(value)) {
		json_int_t s = json_integer_value(value);

		if (s < 0 || s > SECONDS_MAX)
			return -1;
		*us = s * 1000000;
		return 0;
	}
	if (!json_is_real(value) || !(json_real_value(value) >= 0) ||
	    json_real_value(value) > (double)SECONDS_MAX)
		return -1;
	*us = (int64_t)floor(json_real_value(value) * 1e6);
	return 0;
}

static bool valid_sub(const char *sub)
{
	size_t n = sub ? strlen(sub) : 0;

	if (n == 0 || n > SUB_MAX)
		return false;
	for (; *sub; sub++)
		if (*sub <= ' ' || *sub > '~')
			return false;
	return true;
}

/* One name, or a list of them. */
static bool is_for_us(const json_t *aud)
{
	const json_t *item;
	size_t i;

	if (!aud)
		return true;
	if (json_is_string(aud))
		return !strcmp(json_string_value(aud), JWT_AUDIENCE);
	json_array_foreach((json_t *)aud, i, item)
	{
		if (json_is_string(item) && !strcmp(json_string_value(item), JWT_AUDIENCE))
			return true;
	}
	return false;
}

int jwt_rights(const struct jwt *t, int64_t now_us, struct jwt_rights *out)
{
	int64_t nbf_us = 0;

	out->sub = text_of(t->claims, "sub");
	if (get_date(t->claims, "exp", true, &out->expires_us) ||
	    get_date(t->claims, "nbf", false, &nbf_us) || out->expires_us <= now_us ||
	    nbf_us > now_us + JWT_SKEW_US || !valid_sub(out->sub) ||
	    !is_for_us(json_object_get(t->claims, "aud")))
		return -1;
	out->permit = permit_new(json_object_get(t->claims, "channels"),
				 json_object_get(t->claims, "pipelines"), NULL);
	return out->permit ? 0 : -1;
}
