/* Any bytes as what a client says in protobuf: what is taken says the same in JSON, and is taken
 * there as well; and what protobuf-c reads as a proper message of one operation is never taken for
 * none at all. */
/* links: services/edge */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/ws.h"
#include "proto/client.pb-c.h"
#include "services/edge/client_msg.h"
#include "services/edge/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void text(struct strbuf *b, const char *name, const char *value)
{
	if (!*value)
		return;
	strbuf_addf(b, ",\"%s\":", name);
	strbuf_add_json(b, value);
}

static void secret(struct strbuf *b, const char *name, struct slice s)
{
	if (!s.len)
		return;
	strbuf_addf(b, ",\"%s\":", name);
	strbuf_add_jsonn(b, s.p, s.len);
}

static void json(struct strbuf *b, const struct client_msg *m)
{
	static const char *const ops[] = {
	    [OP_CONNECT] = "connect",
	    [OP_SUBSCRIBE] = "subscribe",
	    [OP_UNSUBSCRIBE] = "unsubscribe",
	    [OP_PUBLISH] = "publish",
	    [OP_TASK] = "task",
	    [OP_CANCEL] = "cancel",
	    [OP_ACK] = "ack",
	    [OP_PING] = "ping",
	};

	strbuf_addf(b, "{\"op\":\"%s\"", ops[m->op]);
	text(b, "id", m->id);
	text(b, "channel", m->channel);
	text(b, "type", m->type);
	text(b, "pipeline", m->pipeline);
	text(b, "task", m->task);
	text(b, "key", m->key);
	secret(b, "token", m->token);
	secret(b, "resume", m->resume);
	if (m->version)
		strbuf_addf(b, ",\"version\":%u", m->version);
	if (m->deadline_ms)
		strbuf_addf(b, ",\"deadline_ms\":%u", m->deadline_ms);
	if (m->priority)
		strbuf_addf(b, ",\"priority\":%d", m->priority);
	if (m->op == OP_ACK)
		strbuf_addf(b, ",\"offset\":%llu", (unsigned long long)m->offset);
	if (m->has_after) {
		strbuf_addf(b, ",\"after\":{\"offset\":%llu", (unsigned long long)m->offset);
		text(b, "epoch", m->after_epoch);
		strbuf_addc(b, '}');
	}
	if (m->data.len) {
		strbuf_adds(b, m->op == OP_TASK ? ",\"input\":" : ",\"data\":");
		strbuf_add(b, m->data.p, m->data.len);
	}
	strbuf_addc(b, '}');
}

static void same(const struct client_msg *a, const struct client_msg *b)
{
	must(a->op == b->op && !strcmp(a->channel, b->channel) && !strcmp(a->type, b->type));
	must(!strcmp(a->pipeline, b->pipeline) && !strcmp(a->task, b->task));
	must(!strcmp(a->key, b->key) && !strcmp(a->after_epoch, b->after_epoch));
	must(a->version == b->version && a->deadline_ms == b->deadline_ms);
	must(a->priority == b->priority && a->offset == b->offset);
	must(a->has_after == b->has_after && a->token.len == b->token.len);
	must(a->resume.len == b->resume.len);
}

static void answer(const struct client_msg *m, const struct client_error *why)
{
	struct frame_buf b = {.encoding = ENCODING_PROTOBUF};
	Penstock__V1__ServerFrame *f;
	uint32_t state = 0;

	must(why->code && *why->message);
	must(ws_utf8(&state, (const uint8_t *)why->message, strlen(why->message)) && !state);
	frames_error(&b, m->id, &(struct frame_error){.code = why->code, .message = why->message});
	f = penstock__v1__server_frame__unpack(NULL, b.b.len, (uint8_t *)b.b.data);
	must(f && !strcmp(f->id, m->id));
	penstock__v1__server_frame__free_unpacked(f, NULL);
	strbuf_done(&b.b);
}

static void compare(const uint8_t *data, size_t len, enum client_op op)
{
	Penstock__V1__ClientFrame *f = penstock__v1__client_frame__unpack(NULL, len, data);

	if (!f)
		return;
	/* It is not as strict about fields that it does not know. */
	if (f->op_case != PENSTOCK__V1__CLIENT_FRAME__OP__NOT_SET && !f->base.n_unknown_fields)
		must(op != OP_NONE);
	penstock__v1__client_frame__free_unpacked(f, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct client_msg m, again;
	struct client_error why;
	struct strbuf b = {0};
	uint8_t *copy = xmalloc(len ? len : 1);

	/* Without a byte behind it: who reads beyond the end is caught. */
	memcpy(copy, data, len);
	memset(&m, 0xa5, sizeof(m));
	if (client_pb_parse(copy, len, &m, &why)) {
		answer(&m, &why);
	} else {
		/* Escaped, some characters can make an id too long for JSON. */
		for (char *c = m.id; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == '"' || *c == '\\')
				*c = '?';
		json(&b, &m);
		must(client_msg_parse(b.data, b.len, &again, &why) == 0);
		same(&m, &again);
	}
	compare(copy, len, m.op);
	strbuf_done(&b);
	free(copy);
	return 0;
}
