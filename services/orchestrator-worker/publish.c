#include "services/orchestrator-worker/publish.h"

#include <stdio.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "proto/command.pb-c.h"

struct wanted {
	const char *channel, *type;
	int64_t version;
	json_t *data;
};

static int read_input(json_t *input, struct wanted *w, struct error *err)
{
	static const char *const members[] = {"channel", "type", "data", "version", NULL};
	*w = (struct wanted){.data = json_object_get(input, "data")};
	if (!json_is_object(input))
		return err_set(err, ERR_REJECTED, "the input of publish must be an object");
	return json_only(input, members, err) ||
		       json_get_text(input, "channel", true, &w->channel, err) ||
		       json_get_text(input, "type", true, &w->type, err) ||
		       json_get_int(input, "version", false, 0, UINT32_MAX, &w->version, err)
		   ? -1
		   : 0;
}

static void pack(const struct exec_call *call, const struct wanted *w, struct strbuf *out)
{
	Penstock__Command command = PENSTOCK__COMMAND__INIT;
	Penstock__Publish publish = PENSTOCK__PUBLISH__INIT;
	struct strbuf key = {0}, by = {0}, data = {0};
	strbuf_addf(&key, "%s/%s", call->task, call->stage);
	strbuf_addf(&by, "task:%s", call->task);
	if (w->data != NULL)
		json_add(&data, w->data);
	else
		strbuf_adds(&data, "null");
	struct id id = id_derive(call->tenant, "stage", key.data);
	/* protobuf-c's structs are not const; packing only reads. */
	publish.channel = (char *)w->channel;
	publish.type = (char *)w->type;
	publish.version = (uint32_t)w->version;
	publish.key = key.data;
	publish.data = (ProtobufCBinaryData){data.len, (uint8_t *)data.data};
	command.id = id.text;
	command.tenant = (char *)call->tenant;
	command.principal = by.data;
	command.trace = (char *)call->trace;
	command.depth = call->depth;
	command.body_case = PENSTOCK__COMMAND__BODY_PUBLISH;
	command.publish = &publish;
	strbuf_reserve(out, penstock__command__get_packed_size(&command));
	out->len += penstock__command__pack(&command, (uint8_t *)out->data + out->len);
	strbuf_done(&key);
	strbuf_done(&by);
	strbuf_done(&data);
}

int publish_command(const struct exec_call *call, struct strbuf *out, struct error *err)
{
	struct wanted w;
	json_t *input = json_parse(call->input, call->len, err);
	if (input == NULL)
		return -1;
	int r = read_input(input, &w, err);
	if (r == 0)
		pack(call, &w, out);
	json_decref(input);
	return r;
}

static void take_accepted(struct publish_answer *a, const Penstock__Accepted *ok)
{
	struct strbuf *out = &a->output;
	strbuf_adds(out, "{\"event_id\":");
	strbuf_add_json(out, ok->event_id);
	strbuf_adds(out, ",\"channel\":");
	strbuf_add_json(out, ok->channel);
	strbuf_addf(out, ",\"offset\":%llu,\"duplicate\":%s}", (unsigned long long)ok->offset,
		    ok->duplicate ? "true" : "false");
	a->outcome.class = OUTCOME_OK;
	a->outcome.text = out->data;
	a->outcome.len = out->len;
}

static void fail(struct publish_answer *a, enum saga_class class, const char *reason,
		 const char *message)
{
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
	strbuf_adds(&a->message, message);
	a->outcome.class = class;
	a->outcome.reason = a->reason;
	a->outcome.message = strbuf_str(&a->message);
}

static void take_refused(struct publish_answer *a, const Penstock__Refused *no)
{
	bool limited = strcmp(no->code, "rate_limited") == 0;
	fail(a,
	     limited         ? OUTCOME_THROTTLED
	     : no->temporary ? OUTCOME_RETRY
			     : OUTCOME_FINAL,
	     no->code, no->message);
	a->outcome.retry_after_ms = no->retry_after_ms;
}

void publish_answer(struct publish_answer *a, const void *reply, size_t len)
{
	*a = (struct publish_answer){.outcome = {.latency_ms = -1, .first_token_ms = -1}};
	Penstock__Reply *r = reply != NULL ? penstock__reply__unpack(NULL, len, reply) : NULL;
	if (r != NULL && r->body_case == PENSTOCK__REPLY__BODY_ACCEPTED)
		take_accepted(a, r->accepted);
	else if (r != NULL && r->body_case == PENSTOCK__REPLY__BODY_REFUSED)
		take_refused(a, r->refused);
	else
		fail(a, OUTCOME_RETRY, "unavailable", "the router did not answer in time");
	if (r != NULL)
		penstock__reply__free_unpacked(r, NULL);
}

void publish_answer_done(struct publish_answer *a)
{
	strbuf_done(&a->output);
	strbuf_done(&a->message);
}
