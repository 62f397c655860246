/* Any bytes as JSON, as text, as names: whatever is taken must come back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "common/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* What the parser took is written and read again, and is the same value. */
static void round_trip(json_t *value)
{
	size_t n;
	char *out = json_text(value, &n);
	json_t *again = json_parse(out, n, NULL);

	must(n == strlen(out));
	must(again && json_equal(value, again));
	json_decref(again);
	free(out);
}

/* More levels than are allowed need as many brackets. */
static bool may_be_deep(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == '[' || text[i] == '{';
	return n > JSON_DEPTH_MAX;
}

/* We take what jansson takes, less what the header says; and read the same in it. */
static void as_value(const char *text, size_t len)
{
	json_t *ours = json_parse(text, len, NULL);
	json_t *theirs = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);

	if (ours) {
		must(theirs && json_equal(ours, theirs));
		round_trip(ours);
	} else {
		must(!theirs || memchr(text, '\0', len) || may_be_deep(text, len));
	}
	json_decref(ours);
	json_decref(theirs);
}

/* Text that our UTF-8 check accepts is a JSON string that the parser's own check accepts. */
static void as_string(const uint8_t *data, size_t len)
{
	struct strbuf b = {0};
	uint32_t state = 0;
	bool utf8 = ws_utf8(&state, data, len) && state == 0;
	json_t *value;

	strbuf_add_jsonn(&b, (const char *)data, len);
	value = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	must((value != NULL) == utf8);
	if (value)
		must(json_string_length(value) == len &&
		     (len == 0 || !memcmp(json_string_value(value), data, len)));
	json_decref(value);
	strbuf_done(&b);
}

static void as_subject(const char *text)
{
	char tenant[TENANT_MAX + 1], channel[CHANNEL_MAX + 1];
	unsigned part;

	trace_valid(text);
	id_valid(text);
	name_valid_key(text);
	if (subject_parse(text, &part, tenant, channel))
		must(name_valid_tenant(tenant) && name_valid_channel(channel) &&
		     part < NAMES_PARTS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = xmalloc(len + 1);

	if (len)
		memcpy(text, data, len);
	text[len] = '\0';
	as_value(text, len);
	as_string(data, len);
	as_subject(text);
	free(text);
	return 0;
}
