#include "common/permit.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/names.h"
#include "common/strbuf.h"

struct permit {
	_Atomic uint32_t refs;
	uint16_t n[PERMIT_N];
	uint16_t len;
	char text[]; /* the patterns, one behind the other, each with its NUL, right by right */
};

/* --- patterns ----------------------------------------------------------------------------- */

bool pattern_valid(const char *pattern)
{
	size_t n = strlen(pattern);
	char name[CHANNEL_MAX + 1];

	if (n == 0 || n > CHANNEL_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		bool star = pattern[i] == '*';

		/* Stars that are not at the end stand alone between dots. */
		if (star && i + 1 < n &&
		    ((i > 0 && pattern[i - 1] != '.') || pattern[i + 1] != '.'))
			return false;
		name[i] = star ? 'x' : pattern[i];
	}
	return name_valid_channel(name);
}

bool pattern_fits(const char *pattern, const char *name)
{
	for (; *pattern; pattern++) {
		if (*pattern != '*') {
			if (*pattern != *name++)
				return false;
		} else if (!pattern[1]) {
			return true;
		} else {
			name += strcspn(name, ".");
		}
	}
	return !*name;
}

/* --- permits ------------------------------------------------------------------------------ */

static int add_list(struct strbuf *b, const json_t *list, const char *what, uint16_t *n,
		    struct error *err)
{
	json_t *item;
	size_t i;

	*n = 0;
	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list) || json_array_size(list) > PERMIT_PATTERNS)
		return err_set(err, ERR_REJECTED, "%s: must be a list of at most %d patterns", what,
			       PERMIT_PATTERNS);
	json_array_foreach((json_t *)list, i, item)
	{
		const char *text = json_string_value(item);

		if (!text || strlen(text) != json_string_length(item) || !pattern_valid(text))
			return err_set(err, ERR_REJECTED, "%s[%zu]: is no pattern of names", what,
				       i);
		strbuf_add(b, text, strlen(text) + 1);
	}
	*n = (uint16_t)json_array_size(list);
	return 0;
}

static struct permit *make(const struct strbuf *b, const uint16_t *n, struct error *err)
{
	struct permit *p;

	if (b->len > PERMIT_BYTES) {
		err_set(err, ERR_REJECTED, "channels, pipelines: more than %d bytes of patterns",
			PERMIT_BYTES);
		return NULL;
	}
	p = xmalloc(sizeof(*p) + b->len);
	atomic_init(&p->refs, 1);
	memcpy(p->n, n, sizeof(p->n));
	p->len = (uint16_t)b->len;
	if (b->len)
		memcpy(p->text, b->data, b->len);
	return p;
}

struct permit *permit_new(const json_t *channels, const json_t *pipelines, struct error *err)
{
	struct strbuf b = {0};
	struct permit *p = NULL;
	uint16_t n[PERMIT_N];

	if (json_is_null(channels))
		channels = NULL;
	if (channels && !json_is_object(channels))
		err_set(err, ERR_REJECTED, "channels: must be an object");
	else if (!add_list(&b, json_object_get(channels, "subscribe"), "channels.subscribe",
			   &n[PERMIT_SUBSCRIBE], err) &&
		 !add_list(&b, json_object_get(channels, "publish"), "channels.publish",
			   &n[PERMIT_PUBLISH], err) &&
		 !add_list(&b, pipelines, "pipelines", &n[PERMIT_PIPELINE], err))
		p = make(&b, n, err);
	strbuf_done(&b);
	return p;
}

int permit_of_key(const json_t *doc, struct permit **out, struct error *err)
{
	json_t *channels = json_object_get(doc, "channels");
	json_t *pipelines = json_object_get(doc, "pipelines");
	bool some = channels && !json_is_null(channels),
	     other = pipelines && !json_is_null(pipelines);
	json_t *all = json_pack("{s:[s], s:[s]}", "subscribe", "*", "publish", "*");

	*out = NULL;
	if (some || other)
		*out = permit_new(some ? channels : all,
				  other ? pipelines : json_object_get(all, "publish"), err);
	json_decref(all);
	return (some || other) && !*out ? -1 : 0;
}

struct permit *permit_ref(struct permit *p)
{
	if (p)
		atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void permit_unref(struct permit *p)
{
	if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		free(p);
}

bool permit_allows(const struct permit *p, enum permit_right right, const char *name)
{
	const char *at;

	if (!p)
		return true;
	at = p->text;
	for (int r = 0; r <= (int)right; r++) {
		for (unsigned i = 0; i < p->n[r]; i++, at += strlen(at) + 1)
			if (r == (int)right && pattern_fits(at, name))
				return true;
	}
	return false;
}

bool permit_any(const struct permit *p, enum permit_right right)
{
	return !p || p->n[right] > 0;
}

bool permit_same(const struct permit *a, const struct permit *b)
{
	if (a == b || !a || !b)
		return a == b;
	return !memcmp(a->n, b->n, sizeof(a->n)) && a->len == b->len &&
	       !memcmp(a->text, b->text, a->len);
}

uint64_t permit_hash(const struct permit *p)
{
	return p ? XXH3_64bits(p->text, p->len) : 0;
}

bool permit_text(const struct permit *p, char *out, size_t size)
{
	static const char *const heads[PERMIT_N] = {"{\"channels\":{\"subscribe\":[",
						    "],\"publish\":[", "]},\"pipelines\":["};
	struct strbuf b = {0};
	const char *at = p->text;
	bool fits;

	for (int r = 0; r < PERMIT_N; r++) {
		strbuf_adds(&b, heads[r]);
		/* No pattern has a character that JSON would escape. */
		for (unsigned i = 0; i < p->n[r]; i++, at += strlen(at) + 1)
			strbuf_addf(&b, "%s\"%s\"", i ? "," : "", at);
	}
	strbuf_adds(&b, "]}");
	fits = b.len < size;
	memcpy(out, fits ? b.data : "", fits ? b.len + 1 : 1);
	strbuf_done(&b);
	return fits;
}
