#include "services/edge/command.h"

#include <stdlib.h>

#include "proto/command.pb-c.h"
#include "services/edge/jscan.h"

#define RETRY_MS 1000

static char *text(const char *s)
{
	return (char *)(s ? s : ""); /* protobuf-c's structs are not const; packing only reads */
}

void *command_pack(const struct client_msg *msg, const struct command_from *from, size_t *len)
{
	Penstock__Command command = PENSTOCK__COMMAND__INIT;
	Penstock__Publish publish = PENSTOCK__PUBLISH__INIT;
	Penstock__SubmitTask task = PENSTOCK__SUBMIT_TASK__INIT;
	Penstock__CancelTask cancel = PENSTOCK__CANCEL_TASK__INIT;
	struct strbuf data = {0};
	ProtobufCBinaryData bytes;
	void *out;

	command.id = text(from->id);
	command.tenant = text(from->tenant);
	command.session = text(from->session);
	command.principal = text(from->principal);
	command.trace = text(from->trace);
	command.edge = text(from->edge);
	command.quota = from->quota;
	command.depth = from->depth;
	if (msg->data.len)
		jscan_compact(&data, msg->data);
	bytes = (ProtobufCBinaryData){data.len, (uint8_t *)data.data};
	switch (msg->op) {
	case OP_PUBLISH:
		publish.channel = text(msg->channel);
		publish.type = text(msg->type);
		publish.version = msg->version;
		publish.key = text(msg->key);
		publish.data = bytes;
		command.body_case = PENSTOCK__COMMAND__BODY_PUBLISH;
		command.publish = &publish;
		break;
	case OP_TASK:
		task.pipeline = text(msg->pipeline);
		task.key = text(msg->key);
		task.input = bytes;
		task.deadline_ms = msg->deadline_ms;
		task.priority = msg->priority;
		task.not_before_ms = msg->not_before_ms;
		command.body_case = PENSTOCK__COMMAND__BODY_TASK;
		command.task = &task;
		break;
	default:
		cancel.task = text(msg->task);
		command.body_case = PENSTOCK__COMMAND__BODY_CANCEL;
		command.cancel = &cancel;
		break;
	}
	*len = penstock__command__get_packed_size(&command);
	out = xmalloc(*len + 1);
	penstock__command__pack(&command, out);
	strbuf_done(&data);
	return out;
}

static void unavailable(struct command_answer *a, const char *message)
{
	a->accepted = false;
	a->refused = (struct frame_error){.code = "unavailable",
					  .message = message,
					  .scope = "tenant",
					  .temporary = true,
					  .retry_after_ms = RETRY_MS};
}

void command_answer(const void *reply, size_t len, struct command_answer *a)
{
	Penstock__Reply *r;

	*a = (struct command_answer){.accepted = false};
	if (!reply) {
		unavailable(a, "the command was not answered in time; repeat it with the same key");
		return;
	}
	r = penstock__reply__unpack(NULL, len, reply);
	a->reply = r;
	if (r && r->quota)
		a->quota = (struct command_quota){.limit = r->quota->limit,
						  .remaining = r->quota->remaining,
						  .window_s = r->quota->window_s,
						  .reset_s = r->quota->reset_s};
	if (r && r->body_case == PENSTOCK__REPLY__BODY_ACCEPTED) {
		const Penstock__Accepted *ok = r->accepted;

		a->accepted = true;
		a->ok = (struct frame_accepted){.event_id = ok->event_id,
						.channel = ok->channel,
						.task = ok->task,
						.offset = ok->offset,
						.duplicate = ok->duplicate};
	} else if (r && r->body_case == PENSTOCK__REPLY__BODY_REFUSED) {
		const Penstock__Refused *no = r->refused;

		a->refused = (struct frame_error){.code = no->code,
						  .message = no->message,
						  .scope = no->scope,
						  .temporary = no->temporary,
						  .retry_after_ms = no->retry_after_ms,
						  .limit = no->limit};
	} else {
		unavailable(a, "the answer could not be read");
	}
}

void command_answer_done(struct command_answer *a)
{
	if (a->reply)
		penstock__reply__free_unpacked(a->reply, NULL);
	a->reply = NULL;
}
