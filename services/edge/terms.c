#include "services/edge/terms.h"

#include <string.h>
#include <strings.h>

#include "common/slice.h"
#include "services/edge/frames.h"

#define WINDOW_MIN 8
#define WINDOW_MAX 15

static const char *const protocols[] = {
    [ENCODING_JSON] = "penstock.v1.json", [ENCODING_PROTOBUF] = "penstock.v1.protobuf"};

static const char *space(const char *p)
{
	return p + strspn(p, " \t");
}

void terms_protocol(struct ws_terms *t, const char *value)
{
	while (*value && !t->named) {
		struct slice name;

		value += strspn(value, " \t,");
		name = (struct slice){value, strcspn(value, " \t,")};
		value += name.len;
		for (unsigned i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
			if (slice_is(name, protocols[i])) {
				t->encoding = (uint8_t)i;
				t->named = true;
			}
	}
}

const char *terms_protocol_name(const struct ws_terms *t)
{
	return protocols[t->encoding];
}

/* --- the grammar of RFC 6455, 9.1 --------------------------------------------------------- */

/* A token (RFC 7230, 3.2.6); an empty one: there is none. */
static struct slice token(const char **p)
{
	static const char chars[] = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz";
	struct slice s = {*p, strspn(*p, chars)};

	*p = space(*p + s.len);
	return s;
}

struct param {
	struct slice name, value;
	bool has_value;
};

/* `; name [= value]`; the value may be quoted, but must be a token also then. False: bad syntax. */
static bool param(const char **p, struct param *out)
{
	bool quoted;

	*p = space(*p + 1);
	*out = (struct param){.name = token(p)};
	if (!out->name.len)
		return false;
	if (**p != '=')
		return true;
	*p = space(*p + 1);
	quoted = **p == '"';
	*p += quoted;
	out->value = token(p);
	out->has_value = true;
	if (quoted && **p != '"')
		return false;
	*p = space(*p + quoted);
	return out->value.len != 0;
}

/* --- permessage-deflate (RFC 7692, 7.1) --------------------------------------------------- */

struct offer {
	unsigned server_bits, client_bits; /* 0: not there */
	unsigned seen;
	bool refused;
};

static bool same(struct slice s, const char *text)
{
	return s.len == strlen(text) && !strncasecmp(s.p, text, s.len);
}

/* 8 to 15, without leading zeros; 0: something else. */
static unsigned bits(struct slice s)
{
	unsigned v = 0;

	if (s.len < 1 || s.len > 2 || s.p[0] == '0')
		return 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	return v < WINDOW_MIN || v > WINDOW_MAX ? 0 : v;
}

/* A parameter that does not exist, is there twice, or has a value that it may not have: the offer
 * is declined. */
static void take(struct offer *o, const struct param *p)
{
	static const char *const names[] = {"server_no_context_takeover",
					    "client_no_context_takeover", "server_max_window_bits",
					    "client_max_window_bits"};
	unsigned i = 0;

	while (i < 4 && !same(p->name, names[i]))
		i++;
	if (i == 4 || o->seen & 1U << i) {
		o->refused = true;
		return;
	}
	o->seen |= 1U << i;
	if (i < 2)
		o->refused |= p->has_value;
	else if (i == 2)
		o->refused |= !(o->server_bits = bits(p->value));
	else
		/* Without a value it says only that it may be answered. */
		o->refused |= !(o->client_bits = p->has_value ? bits(p->value) : WINDOW_MAX);
}

void terms_extensions(struct ws_terms *t, const char *value)
{
	const char *p = value;

	for (;;) {
		struct offer o = {0};
		struct slice name;
		struct param one;

		p += strspn(p, " \t,");
		if (!*p)
			return;
		name = token(&p);
		if (!name.len)
			return; /* whatever it is, it is no list of extensions */
		while (*p == ';') {
			if (!param(&p, &one))
				return;
			if (same(name, "permessage-deflate"))
				take(&o, &one);
		}
		if (*p && *p != ',')
			return;
		if (t->deflate || o.refused || !same(name, "permessage-deflate"))
			continue;
		t->deflate = true;
		t->server_bits = (uint8_t)o.server_bits;
		t->client_bits = (uint8_t)o.client_bits;
		t->window_bits = (uint8_t)(o.server_bits ? o.server_bits : WINDOW_MAX);
	}
}

void terms_add_extensions(const struct ws_terms *t, struct strbuf *b)
{
	strbuf_adds(b,
		    "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
	if (t->server_bits)
		strbuf_addf(b, "; server_max_window_bits=%u", t->server_bits);
	if (t->client_bits)
		strbuf_addf(b, "; client_max_window_bits=%u", t->client_bits);
}
