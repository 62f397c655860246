/* Any bytes as what a client says: what is taken is JSON by the book, and each answer is a frame.
 */
/* links: services/edge */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/ws.h"
#include "services/edge/client_msg.h"
#include "services/edge/frames.h"
#include "services/edge/jscan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool utf8(const void *data, size_t len)
{
	uint32_t state = 0;

	return ws_utf8(&state, data, len) && state == 0;
}

/* The scanner and the parser are of one opinion, and read the same in each member. */
static void members(const char *text, size_t len)
{
	struct jmember m[16];
	struct error err;
	size_t n;
	json_t *json = json_parse(text, len, NULL);

	if (jscan_object(text, len, m, 16, &n, &err)) {
		must(!json_is_object(json) || json_object_size(json) > 16);
		json_decref(json);
		return;
	}
	must(json_is_object(json) && json_object_size(json) == n);
	for (size_t i = 0; i < n; i++) {
		struct strbuf compact = {0};
		json_t *value = json_parse(m[i].value.p, m[i].value.len, NULL), *again;
		char copy[300];
		int64_t number;

		jscan_compact(&compact, m[i].value);
		again = json_parse(strbuf_str(&compact), compact.len, NULL);
		must(value && again && json_equal(value, again));
		if (jscan_text(&m[i], copy, sizeof(copy)))
			must(json_is_string(value) && !strcmp(copy, json_string_value(value)));
		else
			must(!json_is_string(value) || json_string_length(value) >= sizeof(copy));
		if (jscan_int(&m[i], &number))
			must(json_is_integer(value) && json_integer_value(value) == number);
		json_decref(value);
		json_decref(again);
		strbuf_done(&compact);
	}
	json_decref(json);
}

static void names(const struct client_msg *m)
{
	must(!*m->channel || name_valid_channel(m->channel));
	must(!*m->type || name_valid_channel(m->type));
	must(!*m->pipeline || name_valid_tenant(m->pipeline));
	must(!*m->key || name_valid_key(m->key));
	must(!*m->task || id_valid(m->task));
	if (m->op == OP_PUBLISH)
		must(*m->channel && *m->type && m->data.len && !name_reserved_channel(m->channel) &&
		     !name_reserved_type(m->type));
	if (m->op == OP_TASK)
		must(*m->pipeline && *m->key && m->data.len);
}

static void frame(const struct strbuf *b)
{
	json_t *json = json_parse(strbuf_str(b), b->len, NULL);

	must(json_is_object(json));
	json_decref(json);
}

static void answer(const struct client_msg *m, const struct client_error *why)
{
	struct frame_buf b = {.encoding = ENCODING_JSON};

	if (why) {
		must(why->code && *why->message);
		frames_error(&b, m->id,
			     &(struct frame_error){.code = why->code, .message = why->message});
	} else {
		frames_pong(&b, m->id);
	}
	frame(&b.b);
	strbuf_done(&b.b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const enum client_op bodies[] = {OP_PUBLISH, OP_TASK};
	struct client_msg m;
	struct client_error why;
	char *text;

	if (!utf8(data, len))
		return 0; /* the inbox, and HTTP's reader, refuse it before */
	/* Without a NUL behind it: who reads beyond the end is caught. */
	text = xmalloc(len ? len : 1);
	memcpy(text, data, len);
	members(text, len);
	memset(&m, 0xa5, sizeof(m)); /* it is used again and again: nothing may be left over */
	if (client_msg_parse(text, len, &m, &why)) {
		answer(&m, &why);
	} else {
		names(&m);
		answer(&m, NULL);
	}
	for (size_t i = 0; i < 2; i++) {
		memset(&m, 0xa5, sizeof(m));
		if (!client_msg_body(text, len, bodies[i], i ? "header" : NULL, &m, &why))
			names(&m);
	}
	free(text);
	return 0;
}
